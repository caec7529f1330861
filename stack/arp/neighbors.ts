/**
 * Neighbors: from a next hop's address to a frame on its link, IPv4 by ARP (RFC 826) and IPv6 by
 * neighbor discovery (RFC 4861), with one cache and one set of states for both.
 *
 * ```text
 *   send ─> reachable? ─> Ethernet header ─> link.output
 *             │ no                     ▲
 *             ├─ stale, delay, probe ──┘ sent at once; verified meanwhile
 *             └─ unknown ─> wait (bounded) and ask ─ answer ─> sent in order
 *                                            └ no answer ─> unreachable(packet)
 * ```
 *
 * A neighbor in use is verified every 15 to 45 s by asking it alone, while its traffic goes on: no
 * packet is lost or delayed when reachability runs out. This class is the face: the states are in
 * resolver.ts, the answers in responder.ts, the bounds and who is displaced in neighbor_cache.ts.
 *
 * Not done: hints of reachability from above (RFC 4861 §7.3.1), which would save probes only; a
 * Router flag per neighbor, as routes here are configured and not learned.
 */
import { type Address, formatWords } from '../address.ts'
import type { Clock } from '../clock.ts'
import { DropReason } from '../drop.ts'
import { StackError } from '../errors.ts'
import { formatMac, type Mac } from '../eth/mac.ts'
import type { Packet, Pool } from '../packet.ts'
import type { Random } from '../random.ts'
import { groupHi, groupLo, isGroup } from './group.ts'
import { KEY_WORDS, type NeighborCache, STATE_NAMES, State } from './neighbor_cache.ts'
import type { NeighborLink } from './neighbor_link.ts'
import { FAILED_HOLD_MS, Resolver } from './resolver.ts'
import { Responder } from './responder.ts'

export type { NeighborLink }

/** A network of a thousand with both families on every link of a busy router. */
const ENTRIES_MAX = 8192

export interface NeighborsOptions {
  readonly pool: Pool
  readonly clock: Clock
  readonly random: Random
  readonly entriesMax?: number
  /** False: a host, whose advertisements do not carry the R flag. Default: true. */
  readonly router?: boolean
  /**
   * Takes ownership of a packet (IP header at its head) whose next hop does not answer, and ends
   * it as `neighbor-failed`.
   */
  readonly unreachable: (link: NeighborLink, packet: Packet) => void
  /**
   * The address in `words`, whose MAC was known, is at another or is not known any more: for caches
   * of flows. Must not call back.
   */
  readonly changed?: (link: NeighborLink, words: Int32Array) => void
}

export interface NeighborEntry {
  readonly link: string
  readonly address: string
  readonly mac: string | undefined
  readonly state: (typeof STATE_NAMES)[number]
  /** Since it was last confirmed or heard; without a MAC, since the first question or failure. */
  readonly ageMs: number
}

export class Neighbors {
  readonly #pool: Pool
  readonly #clock: Clock
  readonly #options: NeighborsOptions
  readonly #resolver: Resolver
  readonly #cache: NeighborCache
  readonly #responder: Responder

  constructor(options: NeighborsOptions) {
    const { pool, clock, random, unreachable, changed } = options
    const { entriesMax = ENTRIES_MAX, router = true } = options
    this.#pool = pool
    this.#clock = clock
    this.#options = options
    const resolver = new Resolver({ pool, clock, random, entriesMax, unreachable, changed })
    this.#resolver = resolver
    this.#cache = resolver.cache
    this.#responder = new Responder({ pool, clock, router, heard: resolver.heard })
  }

  /** Precondition: no other link has its index. */
  addLink(link: NeighborLink): void {
    this.#resolver.links[link.index] = link
  }

  /** Forget the link and its neighbors; packets that wait there are dropped. Idempotent. */
  removeLink(link: NeighborLink): void {
    if (this.#resolver.links[link.index] !== link) return
    this.#forgetWhere((entry) => this.#resolver.linkOf(entry) === link)
    this.#resolver.links[link.index] = undefined
    this.#responder.forget(link)
  }

  /**
   * Send an IP packet to a next hop: `words[at]` and the three words after it, an IPv4 address
   * mapped. Takes ownership. Multicast and broadcast addresses go to their group MAC.
   * Preconditions: the IP header is at the head, with 14 octets of headroom.
   */
  send(link: NeighborLink, packet: Packet, words: Int32Array, at: number): void {
    const cache = this.#cache
    const entry = cache.find(link.index, words, at)
    const { nowMs } = this.#clock
    if (entry >= 0 && nowMs < cache.untilMs[entry]! && !packet.traced) {
      cache.table.seenMs[entry] = nowMs
      if (packet.recorded) this.#pool.notes.neighbor = entry
      return this.#resolver.emit(link, packet, cache.macHi(entry), cache.macLo(entry))
    }
    if (entry < 0 && isGroup(link, words, at)) {
      return this.#resolver.emit(link, packet, groupHi(words, at), groupLo(words, at))
    }
    if (packet.traced) return this.#explain(link, packet, words, at, entry)
    if (entry < 0) return this.#resolver.resolve(link, packet, words, at)
    this.#resolver.sendUnsure(link, packet, entry, nowMs)
  }

  /** True if a packet to this entry would be sent at once, and nothing else be done. */
  isUsable(entry: number): boolean {
    return this.#cache.isUsable(entry, this.#clock.nowMs)
  }

  /** A packet is sent to this entry by whoever knows its MAC. */
  touch(entry: number): void {
    this.#cache.table.seenMs[entry] = this.#clock.nowMs
  }

  /** A frame of EtherType ARP from the link, head at the Ethernet header. Takes ownership. */
  receiveArp(link: NeighborLink, packet: Packet): void {
    this.#responder.receiveArp(link, packet)
  }

  /** As {@link receiveArp}, for IPv6 frames with ICMPv6 of type 135 or 136. Takes ownership. */
  receiveNd(link: NeighborLink, packet: Packet): void {
    this.#responder.receiveNd(link, packet)
  }

  /** @throws StackError `exhausted` if the cache is full of neighbors in use. */
  setPermanent(link: NeighborLink, address: Address, { hi, lo }: Mac): void {
    const cache = this.#cache
    let entry = cache.find(link.index, address.words, 0)
    const known = entry >= 0 && cache.isKnown(entry)
    if (entry < 0) entry = this.#resolver.create(link, address.words, 0)
    if (entry < 0) throw new StackError('exhausted', 'too many neighbors')
    cache.setMac(entry, hi, lo)
    cache.rest(entry, State.Permanent, this.#clock.nowMs)
    if (known) this.#options.changed?.(link, address.words)
    this.#resolver.release(link, entry)
  }

  /** Forget one neighbor, permanent or not. Idempotent. */
  forget(link: NeighborLink, address: Address): void {
    const entry = this.#cache.find(link.index, address.words, 0)
    if (entry >= 0) this.#resolver.remove(entry, DropReason.NeighborFailed)
  }

  /** Forget what was learned, on one link or on all; what is permanent stays. */
  flush(link?: NeighborLink): void {
    const { nowMs } = this.#clock
    this.#forgetWhere((entry) => {
      if (this.#cache.state(entry, nowMs) === State.Permanent) return false
      return link === undefined || this.#resolver.linkOf(entry) === link
    })
  }

  /** Forget everything; no timer is left. */
  close(): void {
    for (const link of this.#resolver.links) if (link !== undefined) this.removeLink(link)
    this.#resolver.close()
  }

  list(): NeighborEntry[] {
    const cache = this.#cache
    const { nowMs } = this.#clock
    const all: NeighborEntry[] = []
    for (let e = cache.table.nextLive(0); e >= 0; e = cache.table.nextLive(e + 1)) {
      const mac = { hi: cache.macHi(e), lo: cache.macLo(e) }
      all.push({
        link: this.#resolver.linkOf(e).name,
        address: formatWords(cache.table.keys, e * KEY_WORDS + 1),
        mac: cache.isKnown(e) ? formatMac(mac) : undefined,
        state: STATE_NAMES[cache.state(e, nowMs)]!,
        ageMs: nowMs - cache.sinceMs[e]!,
      })
    }
    return all
  }

  #forgetWhere(matches: (entry: number) => boolean): void {
    const { table } = this.#cache
    for (let e = table.nextLive(0); e >= 0; e = table.nextLive(e + 1)) {
      if (matches(e)) this.#resolver.remove(e, DropReason.DeviceDown)
    }
  }

  #explain(link: NeighborLink, packet: Packet, words: Int32Array, at: number, entry: number): void {
    const cache = this.#cache
    const { nowMs } = this.#clock
    const address = formatWords(words, at)
    const state = entry < 0 ? State.Incomplete : cache.state(entry, nowMs)
    if (state === State.Failed && nowMs - cache.sinceMs[entry]! < FAILED_HOLD_MS) {
      this.#pool.trace?.step(`neighbors ${link.name}`, `${address} did not answer`)
      return this.#options.unreachable(link, packet)
    }
    if (entry < 0 || !cache.isKnown(entry)) {
      this.#pool.trace?.end('queued', `would wait until ${address} answers on ${link.name}`)
      return this.#pool.free(packet)
    }
    const hi = cache.macHi(entry)
    const lo = cache.macLo(entry)
    const text = `${address} is at ${formatMac({ hi, lo })} (${STATE_NAMES[state]})`
    this.#pool.trace?.step(`neighbors ${link.name}`, text)
    this.#resolver.emit(link, packet, hi, lo)
  }
}
