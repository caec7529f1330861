/**
 * The router's way out: next hop, MTU, fragments. Forwarded packets come with their route looked
 * up; the router's own (echo replies, ICMP errors, resets, datagrams of services) are routed here.
 *
 * Packets arrive with `head` at the IP header and at least 14 octets of headroom.
 */

import { type Address, type Family, formatAddress, formatPrefix, loadWords } from '../address.ts'
import type { Neighbors } from '../arp/neighbors.ts'
import { u16 } from '../bytes.ts'
import { DropReason } from '../drop.ts'
import { GsoType, type Packet, type Pool } from '../packet.ts'
import type { Random } from '../random.ts'
import type { Fib, Route } from './fib.ts'
import { fragment4, fragment6, payloadBytes4, payloadBytes6 } from './fragment.ts'
import * as ipv4 from './ipv4.ts'
import * as ipv6 from './ipv6.ts'
import type { RouterInterface } from './router_interface.ts'
import { Scope, scope6 } from './scope.ts'
import { completeChecksum } from './segment.ts'

/** Hops that the router's own packets may take (RFC 1122 §3.2.1.7, as assigned by IANA). */
export const DEFAULT_TTL = 64

export interface EgressOptions {
  readonly pool: Pool
  readonly random: Random
  readonly fib4: Fib
  readonly fib6: Fib
  readonly neighbors: Neighbors
  /** By index; a hole where one was removed. */
  readonly interfaces: readonly (RouterInterface | undefined)[]
}

export class Egress {
  readonly #pool: Pool
  readonly #fib4: Fib
  readonly #fib6: Fib
  readonly #neighbors: Neighbors
  readonly #interfaces: readonly (RouterInterface | undefined)[]
  readonly #words = new Int32Array(4)
  #nextId: number

  constructor({ pool, random, fib4, fib6, neighbors, interfaces }: EgressOptions) {
    this.#pool = pool
    this.#fib4 = fib4
    this.#fib6 = fib6
    this.#neighbors = neighbors
    this.#interfaces = interfaces
    this.#nextId = random.bits()
  }

  /** An identification for a datagram of our own (RFC 791 §3.2, RFC 8200 §4.5): a signed word. */
  identify(): number {
    this.#nextId = (this.#nextId + 1) | 0
    return this.#nextId
  }

  /** The interface towards the address at `at`, or undefined if it is not reached through one. */
  towards(mem: Uint8Array, at: number, family: Family): RouterInterface | undefined {
    const route = this.#route(mem, at, family)
    return route?.link === undefined ? undefined : this.#interfaces[route.link]
  }

  /**
   * Send a packet of the router's own, its header complete and its destination unicast. To a
   * link-local destination it goes out by `from`, to all others as routed. Takes ownership.
   * Drops: `no-route`, `pool-empty`.
   */
  originate(packet: Packet, from: RouterInterface): void {
    const { mem } = this.#pool
    const six = mem[packet.head]! >>> 4 === 6
    const destination = packet.head + (six ? ipv6.DST : ipv4.DST)
    if (six && scope6(mem, destination) === Scope.LinkLocal) {
      return this.send(packet, from, undefined)
    }
    const route = this.#route(mem, destination, six ? 6 : 4)
    const out = route?.link === undefined ? undefined : this.#interfaces[route.link]
    if (out === undefined) return this.#pool.drop(packet, DropReason.NoRoute)
    this.send(packet, out, route?.via)
  }

  /** The address at `at`, if it is one of the router's that more than its own link can reach. */
  own(mem: Uint8Array, at: number, family: Family): Address | undefined {
    const route = this.#lookup(mem, at, family)
    return route?.kind === 'local' ? route.prefix.address : undefined
  }

  #route(mem: Uint8Array, at: number, family: Family): Route | undefined {
    const route = this.#lookup(mem, at, family)
    return route?.kind === 'connected' || route?.kind === 'static' ? route : undefined
  }

  #lookup(mem: Uint8Array, at: number, family: Family): Route | undefined {
    loadWords(mem, at, family, this.#words)
    const fib = family === 4 ? this.#fib4 : this.#fib6
    const id = fib.lookup(this.#words, 0)
    return id < 0 ? undefined : fib.route(id)
  }

  /**
   * Send to the next hop: `via`, or where the packet says. What is too big is fragmented, so who
   * must not fragment has asked before. Takes ownership. Drops: `pool-empty`.
   */
  send(packet: Packet, out: RouterInterface, via: Address | undefined): void {
    if (packet.gsoType === GsoType.None && packet.len > out.mtuBytes)
      return this.#fragment(packet, out, via)
    if (packet.traced) this.#explain(packet, out, via)
    this.#hop(packet, out, via)
  }

  #hop(packet: Packet, out: RouterInterface, via: Address | undefined): void {
    if (via !== undefined) return this.#neighbors.send(out.link, packet, via.words, 0)
    const { mem } = this.#pool
    if (mem[packet.head]! >>> 4 === 4) loadWords(mem, packet.head + ipv4.DST, 4, this.#words)
    else loadWords(mem, packet.head + ipv6.DST, 6, this.#words)
    this.#neighbors.send(out.link, packet, this.#words, 0)
  }

  #fragment(packet: Packet, out: RouterInterface, via: Address | undefined): void {
    const pool = this.#pool
    const { mem } = pool
    const { mtuBytes } = out
    packet.recorded = false
    if (packet.traced) pool.trace?.step('router', `fragmented to MTU ${mtuBytes} of ${out.name}`)
    if (!completeChecksum(mem, packet)) return pool.drop(packet, DropReason.FrameOffloadBad)
    const four = mem[packet.head]! >>> 4 === 4
    const id = four ? 0 : this.identify()
    const payload = four
      ? u16(mem, packet.head + ipv4.TOTAL) - ipv4.headerBytes(mem, packet.head)
      : ipv6.payloadBytes(mem, packet.head)
    for (let from = 0; from < payload; ) {
      const piece = four
        ? fragment4(pool, packet, mtuBytes, from)
        : fragment6(pool, packet, { mtuBytes, from, id })
      if (piece === undefined) return pool.drop(packet, DropReason.PoolEmpty)
      from += four ? payloadBytes4(mem, piece) : payloadBytes6(piece)
      this.#hop(piece, out, via)
    }
    pool.free(packet)
  }

  #explain(packet: Packet, out: RouterInterface, via: Address | undefined): void {
    const hop = via === undefined ? 'on the link' : `via ${formatAddress(via)}`
    const leg = out.addresses.map(formatPrefix).join(', ')
    this.#pool.trace?.step('router', `${packet.len} octets to ${out.name} (${leg}), ${hop}`)
  }
}
