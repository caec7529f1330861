/**
 * Forwarding: what happens to a packet between the look-up of its route and its way out.
 *
 * The order is that of RFC 1812 §5.2.1: policy, hops, then size. The packet is changed only when
 * it will be sent, so that an ICMP error quotes it as it came; `postrouting` is the last to be
 * asked (hooks.ts).
 */
import { DropReason } from '../drop.ts'
import * as eth from '../eth/frame.ts'
import { GsoType, type Packet, type Pool, pull } from '../packet.ts'
import type { Egress } from './egress.ts'
import type { Route } from './fib.ts'
import type { Hooks } from './hooks.ts'
import type { IcmpErrors } from './icmp_errors.ts'
import * as ipv4 from './ipv4.ts'
import * as ipv6 from './ipv6.ts'
import { Problems } from './problems.ts'
import type { RouterInterface } from './router_interface.ts'
import { segmentAt, segmentCount, superHeaderBytes } from './segment.ts'

export interface ForwardOptions {
  readonly pool: Pool
  readonly egress: Egress
  readonly errors: IcmpErrors
  readonly hooks: Hooks
}

export class Forward {
  readonly #pool: Pool
  readonly #egress: Egress
  readonly #errors: IcmpErrors
  readonly #hooks: Hooks

  constructor({ pool, egress, errors, hooks }: ForwardOptions) {
    this.#pool = pool
    this.#egress = egress
    this.#errors = errors
    this.#hooks = hooks
  }

  /**
   * Send on a checked packet, `head` at the Ethernet header, by a route that leads through `out`.
   * `linkOnly`: one of its addresses may not leave its link (RFC 4291 §2.5.6, RFC 3927 §2.7). Takes
   * ownership. Drops: `network-internal`, `network-separate`, `ttl-exceeded`, `ip-martian`,
   * `mtu-exceeded`, `frame-offload-bad`, `pool-empty`.
   */
  send(
    from: RouterInterface,
    packet: Packet,
    out: RouterInterface,
    route: Route,
    linkOnly: boolean,
  ): void {
    const pool = this.#pool
    const { mem } = pool
    const barrier = barrierBetween(from, out)
    if (barrier > 0 && !this.#hooks.admits(from, out, packet)) return pool.drop(packet, barrier)
    pull(packet, eth.HEADER_BYTES)
    const ip = packet.head
    const four = mem[ip]! >>> 4 === 4
    const hops = four ? ipv4.ttl(mem, ip) : ipv6.hopLimit(mem, ip)
    if (hops <= 1) return this.#errors.refuse(packet, Problems.HopsExceeded, 0, from)
    if (linkOnly) return this.#errors.refuse(packet, Problems.Scope, 0, from)
    let largestBytes = packet.len
    if (packet.gsoType !== GsoType.None) {
      const headerBytes = superHeaderBytes(mem, packet, ip)
      if (headerBytes < 0) return pool.drop(packet, DropReason.FrameOffloadBad)
      largestBytes = Math.min(packet.len, headerBytes + packet.gsoSize)
    }
    if (largestBytes > out.mtuBytes) {
      if (!four || ipv4.dontFragment(mem, ip)) {
        return this.#errors.refuse(packet, Problems.TooBig, out.mtuBytes, from)
      }
    }
    if (packet.recorded) pool.notes.mtuBytes = out.mtuBytes
    if (!this.#hooks.postrouting(from, out, packet)) return
    if (largestBytes > out.mtuBytes && packet.gsoType !== GsoType.None) {
      return this.#resegment(packet, out, route)
    }
    if (four) ipv4.decrementTtl(mem, ip)
    else ipv6.decrementHopLimit(mem, ip)
    this.#egress.send(packet, out, route.via)
  }

  /** A super-frame whose segments must be fragmented: they have to be made first. */
  #resegment(packet: Packet, out: RouterInterface, route: Route): void {
    const pool = this.#pool
    const { mem } = pool
    const ip = packet.head
    const headerBytes = superHeaderBytes(mem, packet, ip)
    const count = segmentCount(packet, headerBytes)
    if (packet.traced) {
      pool.trace?.step('router', `a super-frame, cut into ${count} segments and fragmented`)
      return this.#egress.send(packet, out, route.via)
    }
    ipv4.decrementTtl(mem, ip)
    const { via } = route
    for (let i = 0; i < count; i++) {
      const segment = segmentAt(pool, packet, ip, headerBytes, i)
      if (segment === undefined) return pool.drop(packet, DropReason.PoolEmpty)
      this.#egress.send(segment, out, via)
    }
    pool.free(packet)
  }
}

/** Why nothing passes between two networks but what is published; 0: all may. */
function barrierBetween(from: RouterInterface, out: RouterInterface): number {
  if (from.internal || out.internal) return DropReason.NetworkInternal
  return from.separate && out.separate && from !== out ? DropReason.NetworkSeparate : 0
}
