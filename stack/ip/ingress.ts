/**
 * What the router makes of a frame: the trust boundary between a network and everything behind.
 *
 * Headers are checked here once, so that every later accessor is total; padding is cut off. Nothing
 * is said to a sender that lies about who it is: its packets end as `ip-martian` or `ip-spoofed`
 * before any answer is thought of. Then one look-up tells whether a packet is ours, to be
 * forwarded, or to go nowhere.
 */

import { formatPrefix, loadWords } from '../address.ts'
import type { Neighbors } from '../arp/neighbors.ts'
import { u8 } from '../bytes.ts'
import { DropReason } from '../drop.ts'
import * as eth from '../eth/frame.ts'
import { isMacAt } from '../eth/mac.ts'
import { type Packet, type Pool, pull } from '../packet.ts'
import type { Advertiser } from './advertise.ts'
import { consume } from './consume.ts'
import type { Delivery } from './delivery.ts'
import type { Fib, Route } from './fib.ts'
import type { Forward } from './forward.ts'
import type { Hooks } from './hooks.ts'
import * as icmp from './icmp.ts'
import type { IcmpErrors } from './icmp_errors.ts'
import * as ipv4 from './ipv4.ts'
import * as ipv6 from './ipv6.ts'
import { judgeOptions, SOURCE_ROUTE } from './options.ts'
import { type Problem, Problems } from './problems.ts'
import type { RouterInterface } from './router_interface.ts'
import { Scope, scope4, scope6 } from './scope.ts'

export interface IngressOptions {
  readonly pool: Pool
  readonly fib4: Fib
  readonly fib6: Fib
  /** By index; a hole where one was removed. So are the advertisers. */
  readonly interfaces: readonly (RouterInterface | undefined)[]
  readonly advertisers: readonly (Advertiser | undefined)[]
  readonly neighbors: Neighbors
  readonly forward: Forward
  readonly delivery: Delivery
  readonly errors: IcmpErrors
  readonly hooks: Hooks
}

export class Ingress {
  readonly #pool: Pool
  readonly #fib4: Fib
  readonly #fib6: Fib
  readonly #interfaces: readonly (RouterInterface | undefined)[]
  readonly #advertisers: readonly (Advertiser | undefined)[]
  readonly #neighbors: Neighbors
  readonly #forward: Forward
  readonly #delivery: Delivery
  readonly #errors: IcmpErrors
  readonly #hooks: Hooks
  readonly #words = new Int32Array(4)

  constructor(options: IngressOptions) {
    this.#pool = options.pool
    this.#fib4 = options.fib4
    this.#fib6 = options.fib6
    this.#interfaces = options.interfaces
    this.#advertisers = options.advertisers
    this.#neighbors = options.neighbors
    this.#forward = options.forward
    this.#delivery = options.delivery
    this.#errors = options.errors
    this.#hooks = options.hooks
  }

  /** A frame that came in by `from`, `head` at the Ethernet header. Takes ownership. */
  receive(from: RouterInterface, packet: Packet): void {
    const { mem } = this.#pool
    const { head, len } = packet
    if (!eth.isHeader(len)) return this.#pool.drop(packet, DropReason.FrameRunt)
    if (this.#interfaces[from.index] !== from) return this.#pool.drop(packet, DropReason.DeviceDown)
    const group = eth.isGroup(mem, head)
    if (!group && !isMacAt(mem, head, from.mac)) return this.#pool.drop(packet, DropReason.NotForUs)
    const type = eth.type(mem, head)
    if (packet.recorded) this.#pool.notes.routed = true
    if (type === eth.EtherType.Ipv4) return this.#receive4(from, packet, group)
    if (type === eth.EtherType.Ipv6) return this.#receive6(from, packet, group)
    if (type === eth.EtherType.Arp) return this.#neighbors.receiveArp(from.link, packet)
    this.#pool.drop(packet, DropReason.NotForUs)
  }

  #receive4(from: RouterInterface, packet: Packet, group: boolean): void {
    const pool = this.#pool
    const { mem } = pool
    const ip = packet.head + eth.HEADER_BYTES
    if (!ipv4.isHeader(mem, ip, packet.len - eth.HEADER_BYTES) || !ipv4.isIntact(mem, ip)) {
      return pool.drop(packet, DropReason.IpMalformed)
    }
    packet.len = eth.HEADER_BYTES + ipv4.totalBytes(mem, ip)
    const bad = ipv4.headerBytes(mem, ip) > ipv4.HEADER_BYTES ? judgeOptions(mem, ip) : 0
    if (bad === SOURCE_ROUTE) return pool.drop(packet, DropReason.IpOptions)
    if (!isOffloadFit(packet, ip + ipv4.HEADER_BYTES)) {
      return pool.drop(packet, DropReason.FrameOffloadBad)
    }
    const to = scope4(mem, ip + ipv4.DST)
    const source = scope4(mem, ip + ipv4.SRC)
    if (to === Scope.Multicast) return pool.drop(packet, DropReason.IpMulticast)
    if (to === Scope.Broadcast) {
      if (bad > 0) return pool.drop(packet, DropReason.IpOptions)
      return this.#broadcast4(from, packet, source)
    }
    if (source > Scope.LinkLocal || to > Scope.LinkLocal) {
      return pool.drop(packet, DropReason.IpMartian)
    }
    loadWords(mem, ip + ipv4.SRC, 4, this.#words)
    if (!this.#isRoutedBack(from, packet, this.#fib4)) return
    if (!group && !this.#hooks.prerouting(from, packet)) return
    loadWords(mem, ip + ipv4.DST, 4, this.#words)
    const id = this.#fib4.lookup(this.#words, 0)
    const route = id < 0 ? undefined : this.#fib4.route(id)
    if (route?.kind === 'broadcast') {
      if (route.link !== from.index) return pool.drop(packet, DropReason.IpBroadcast)
      if (bad > 0) return pool.drop(packet, DropReason.IpOptions)
      return this.#delivery.receive4(from, packet, true)
    }
    if (group) return pool.drop(packet, DropReason.IpBroadcast)
    if (bad > 0) return this.#refuse(from, packet, Problems.Option, bad << 24)
    if (route === undefined) return this.#noRoute(from, packet)
    const linkOnly = source === Scope.LinkLocal || to === Scope.LinkLocal
    this.#route(from, packet, route, linkOnly)
  }

  /** To 255.255.255.255; a host that has no address yet may ask so (RFC 1122 §3.2.1.3 a). */
  #broadcast4(from: RouterInterface, packet: Packet, source: number): void {
    const { mem } = this.#pool
    const at = packet.head + eth.HEADER_BYTES + ipv4.SRC
    loadWords(mem, at, 4, this.#words)
    if (this.#words[3] !== 0) {
      if (source > Scope.LinkLocal) return this.#pool.drop(packet, DropReason.IpMartian)
      if (!this.#isRoutedBack(from, packet, this.#fib4)) return
    }
    this.#delivery.receive4(from, packet, true)
  }

  #receive6(from: RouterInterface, packet: Packet, group: boolean): void {
    const pool = this.#pool
    const { mem } = pool
    const ip = packet.head + eth.HEADER_BYTES
    if (!ipv6.isHeader(mem, ip, packet.len - eth.HEADER_BYTES)) {
      return pool.drop(packet, DropReason.IpMalformed)
    }
    packet.len = eth.HEADER_BYTES + ipv6.HEADER_BYTES + ipv6.payloadBytes(mem, ip)
    if (!isOffloadFit(packet, ip + ipv6.HEADER_BYTES)) {
      return pool.drop(packet, DropReason.FrameOffloadBad)
    }
    if (ipv6.nextHeader(mem, ip) === ipv4.Protocol.Icmp6 && ipv6.payloadBytes(mem, ip) > 0) {
      const type = u8(mem, ip + ipv6.HEADER_BYTES)
      if (type >= icmp.Type6.RouterSolicitation && type <= icmp.Type6.Redirect) {
        return this.#discovery(from, packet, type)
      }
    }
    const to = scope6(mem, ip + ipv6.DST)
    const source = scope6(mem, ip + ipv6.SRC)
    if (source === Scope.Multicast || to === Scope.Martian) {
      return pool.drop(packet, DropReason.IpMartian)
    }
    if (source === Scope.Martian) return this.#nameless6(from, packet, to)
    if (source === Scope.Unicast) {
      loadWords(mem, ip + ipv6.SRC, 6, this.#words)
      if (!this.#isRoutedBack(from, packet, this.#fib6)) return
    }
    if (to === Scope.Multicast) return this.#delivery.receive6(from, packet, true)
    if (group) return pool.drop(packet, DropReason.IpBroadcast)
    if (to === Scope.LinkLocal) {
      const own = from.isLinkLocal(mem, ip + ipv6.DST)
      if (own) return this.#delivery.receive6(from, packet, false)
      return pool.drop(packet, DropReason.IpMartian)
    }
    if (!this.#hooks.prerouting(from, packet)) return
    loadWords(mem, ip + ipv6.DST, 6, this.#words)
    const id = this.#fib6.lookup(this.#words, 0)
    if (id < 0) return this.#noRoute(from, packet)
    this.#route(from, packet, this.#fib6.route(id), source === Scope.LinkLocal)
  }

  /** Neighbor and router discovery stay on their link, whatever the destination says. */
  #discovery(from: RouterInterface, packet: Packet, type: number): void {
    if (type === icmp.Type6.NeighborSolicitation || type === icmp.Type6.NeighborAdvertisement) {
      return this.#neighbors.receiveNd(from.link, packet)
    }
    const advertiser = this.#advertisers[from.index]
    if (type === icmp.Type6.RouterSolicitation && advertiser !== undefined) {
      return advertiser.solicited(packet)
    }
    consume(this.#pool, packet, 'router discovery, which concerns hosts')
  }

  /** From `::`, as a host without an address says what groups it is in (RFC 3590). */
  #nameless6(from: RouterInterface, packet: Packet, to: number): void {
    const { mem } = this.#pool
    const source = packet.head + eth.HEADER_BYTES + ipv6.SRC
    for (let i = 0; i < 16; i++) {
      if (mem[source + i] !== 0) return this.#pool.drop(packet, DropReason.IpMartian)
    }
    if (to !== Scope.Multicast) return this.#pool.drop(packet, DropReason.IpMartian)
    this.#delivery.receive6(from, packet, true)
  }

  /** Strict reverse path (RFC 3704 §2.2) of the source in `#words`. False: it is dropped. */
  #isRoutedBack(from: RouterInterface, packet: Packet, fib: Fib): boolean {
    if (!from.strictSource) return true
    const id = fib.lookup(this.#words, 0)
    const route = id < 0 ? undefined : fib.route(id)
    const { traced } = packet
    if (route?.link === from.index && (route.kind === 'connected' || route.kind === 'static')) {
      if (traced) this.#say(`the source is routed back through ${from.name}`)
      return true
    }
    if (traced) this.#say(`the source is not routed back through ${from.name}`)
    const broadcast = route?.kind === 'broadcast'
    this.#pool.drop(packet, broadcast ? DropReason.IpMartian : DropReason.IpSpoofed)
    return false
  }

  /** To an address that has a route. `linkOnly` as in {@link Forward.send}. */
  #route(from: RouterInterface, packet: Packet, route: Route, linkOnly: boolean): void {
    const pool = this.#pool
    const out = route.link === undefined ? undefined : this.#interfaces[route.link]
    if (packet.traced) this.#say(`route ${formatPrefix(route.prefix)}, ${route.kind}`)
    if (out === undefined) return pool.drop(packet, DropReason.RouteBlackhole)
    if (route.kind !== 'local') return this.#forward.send(from, packet, out, route, linkOnly)
    if (out !== from && (from.internal || out.internal)) {
      return pool.drop(packet, DropReason.NetworkInternal)
    }
    const four = route.prefix.address.family === 4
    if (four) this.#delivery.receive4(from, packet, false)
    else this.#delivery.receive6(from, packet, false)
  }

  #noRoute(from: RouterInterface, packet: Packet): void {
    if (from.internal) return this.#pool.drop(packet, DropReason.NetworkInternal)
    this.#refuse(from, packet, Problems.NoRoute, 0)
  }

  #refuse(from: RouterInterface, packet: Packet, what: Problem, rest: number): void {
    pull(packet, eth.HEADER_BYTES)
    this.#errors.refuse(packet, what, rest, from)
  }

  #say(text: string): void {
    this.#pool.trace?.step('router', text)
  }
}

/** True if a partial checksum lies behind the IP header and inside the packet. */
export function isOffloadFit({ csumStart, csumOffset, head, len }: Packet, least: number): boolean {
  if (csumStart === 0) return true
  return csumStart >= least && csumStart + csumOffset + 2 <= head + len
}
