/**
 * The machine behind neighbors.ts: what happens to an entry of the cache when a packet wants it,
 * when something is heard of it, and when time passes (RFC 4861 §7.2, §7.3; RFC 826).
 *
 * ```text
 *   incomplete ─answer─> reachable ─time─> stale ─used─> delay ─5 s─> probe ─answer─> reachable
 *       └─ 3 asks ─> failed                                             └─ 3 asks ─> forgotten
 * ```
 *
 * One coarse timer serves all entries and runs only while one of them awaits something, so an
 * idle link costs nothing.
 *
 * `link.output` and `unreachable` may call back into `send` before they return (a proxy answers at
 * once; an ICMP error needs a neighbor too). So every method first brings the cache into its new
 * state and then calls out, and uses no entry after such a call.
 */
import { put16, put32, u8 } from '../bytes.ts'
import type { Cancel, Clock } from '../clock.ts'
import { DropReason } from '../drop.ts'
import * as eth from '../eth/frame.ts'
import { type Packet, type Pool, push } from '../packet.ts'
import type { Random } from '../random.ts'
import { isGroup } from './group.ts'
import { KEY_WORDS, NeighborCache, RETRANS_MS, State } from './neighbor_cache.ts'
import type { NeighborLink } from './neighbor_link.ts'
import { NeighborQueues } from './neighbor_queue.ts'
import { Heard, type ResponderOptions } from './responder.ts'
import { addressOf, solicit } from './solicit.ts'

/** RFC 4861 §10: DELAY_FIRST_PROBE_TIME, MAX_MULTICAST_SOLICIT and MAX_UNICAST_SOLICIT. */
const DELAY_MS = 5_000
const ASKS_MAX = 3
/** After a failure, packets are refused this long without asking again. */
export const FAILED_HOLD_MS = 1_000
/** A failed neighbor stays in listings this long. */
const FAILED_KEEP_MS = 20_000
/** Every awaited time is a multiple of it. */
const SWEEP_MS: number = RETRANS_MS / 4

/** Waiting packets a neighbor: the largest datagram is 45 fragments at an MTU of 1500. */
const QUEUE_MAX = 64
/** Waiting packets in all, and at most this part of the pool: the data path needs the rest. */
const WAITING_MAX = 512
const WAITING_POOL_SHARE = 1 / 4

export interface ResolverOptions {
  readonly pool: Pool
  readonly clock: Clock
  readonly random: Random
  readonly entriesMax: number
  readonly unreachable: (link: NeighborLink, packet: Packet) => void
  readonly changed: ((link: NeighborLink, words: Int32Array) => void) | undefined
}

export class Resolver {
  readonly cache: NeighborCache
  readonly links: (NeighborLink | undefined)[] = []
  readonly #pool: Pool
  readonly #clock: Clock
  readonly #unreachable: ResolverOptions['unreachable']
  readonly #changed: ResolverOptions['changed']
  readonly #queues: NeighborQueues
  #timer: Cancel | undefined

  constructor({ pool, clock, random, entriesMax, unreachable, changed }: ResolverOptions) {
    this.#pool = pool
    this.#clock = clock
    this.#unreachable = unreachable
    this.#changed = changed
    this.cache = new NeighborCache({ entriesMax, random })
    const share = Math.ceil(pool.packets.length * WAITING_POOL_SHARE)
    const packetsMax = Math.min(WAITING_MAX, share)
    this.#queues = new NeighborQueues({ entriesMax, packetsMax })
  }

  emit(link: NeighborLink, packet: Packet, hi: number, lo: number): void {
    const { mem } = this.#pool
    push(packet, eth.HEADER_BYTES)
    const frame = packet.head
    put16(mem, frame, hi)
    put32(mem, frame + 2, lo)
    put16(mem, frame + eth.SRC, link.mac.hi)
    put32(mem, frame + eth.SRC + 2, link.mac.lo)
    const version = u8(mem, frame + eth.HEADER_BYTES) >>> 4
    eth.putType(mem, frame, version === 4 ? eth.EtherType.Ipv4 : eth.EtherType.Ipv6)
    link.output(packet)
  }

  /** To a neighbor that is known but not known to be reachable, or not known to be there. */
  sendUnsure(link: NeighborLink, packet: Packet, entry: number, nowMs: number): void {
    const cache = this.cache
    const state = cache.state(entry, nowMs)
    cache.table.seenMs[entry] = nowMs
    if (state === State.Incomplete) return this.#wait(packet, entry)
    if (state === State.Failed) {
      const held = nowMs - cache.sinceMs[entry]! < FAILED_HOLD_MS
      if (held) return this.#unreachable(link, packet)
      cache.sinceMs[entry] = nowMs
      cache.enter(entry, State.Incomplete, nowMs)
      this.#wait(packet, entry)
      return this.#ask(entry)
    }
    if (state === State.Stale) this.#delay(entry, nowMs)
    if (packet.recorded) this.#pool.notes.neighbor = entry
    this.emit(link, packet, cache.macHi(entry), cache.macLo(entry))
  }

  /** RFC 4861 §7.3.3: the neighbor may show by itself that it is there; if not, ask. */
  #delay(entry: number, nowMs: number): void {
    this.cache.enter(entry, State.Delay, nowMs + DELAY_MS)
    this.#arm()
  }

  /** To an address never asked for. */
  resolve(link: NeighborLink, packet: Packet, words: Int32Array, at: number): void {
    if (this.links[link.index] !== link) return this.#pool.drop(packet, DropReason.DeviceDown)
    const entry = this.create(link, words, at)
    if (entry < 0) return this.#pool.drop(packet, DropReason.NeighborTableFull)
    this.cache.enter(entry, State.Incomplete, this.#clock.nowMs)
    this.#wait(packet, entry)
    this.#ask(entry)
  }

  /** A new entry, for which another may have to go; -1: none may. */
  create(link: NeighborLink, words: Int32Array, at: number): number {
    const cache = this.cache
    const { nowMs } = this.#clock
    const entry = cache.insert(nowMs)
    if (entry >= 0) return entry
    const victim = cache.victim(nowMs)
    if (victim < 0) return -1
    this.remove(victim, DropReason.NeighborTableFull)
    cache.find(link.index, words, at)
    return cache.insert(nowMs)
  }

  /** Queue a packet; where there is no room, in place of the one that has waited longest. */
  #wait(packet: Packet, entry: number): void {
    packet.recorded = false
    const queues = this.#queues
    const crowded = queues.count(entry) === QUEUE_MAX
    if (crowded || queues.isFull) {
      const from = crowded ? entry : queues.longest
      const dropped = from < 0 ? packet : queues.shift(from)
      this.#pool.drop(dropped, DropReason.NeighborQueueFull)
      if (from < 0) return
    }
    queues.push(entry, packet)
  }

  /** Ask everybody, or in probe the neighbor alone. */
  #ask(entry: number): void {
    const cache = this.cache
    const { nowMs } = this.#clock
    cache.asked(entry, nowMs)
    this.#arm()
    const link = this.linkOf(entry)
    const probe = cache.state(entry, nowMs) === State.Probe
    const to = probe ? { hi: cache.macHi(entry), lo: cache.macLo(entry) } : undefined
    const target = addressOf(cache.table.keys, entry * KEY_WORDS + 1)
    const packet = solicit(this.#pool, link, target, to)
    if (packet !== undefined) link.output(packet)
  }

  /** A message said where a station is (RFC 4861 §7.2.3 and §7.2.5; RFC 826). */
  readonly heard: ResponderOptions['heard'] = (link, words, hi, lo, how): void => {
    const cache = this.cache
    const { nowMs } = this.#clock
    const entry = cache.find(link.index, words, 0)
    if (entry < 0) return this.#meet(link, words, hi, lo, how)
    const state = cache.state(entry, nowMs)
    if (state === State.Permanent) return
    const known = cache.isKnown(entry)
    const named = (how & Heard.Mac) !== 0
    if (!known && !named) return
    const moved = named && (!known || cache.macHi(entry) !== hi || cache.macLo(entry) !== lo)
    if (moved && known && (how & Heard.Override) === 0) {
      if (state === State.Reachable) cache.rest(entry, State.Stale, nowMs)
      return
    }
    if (moved) cache.setMac(entry, hi, lo)
    if ((how & Heard.Confirmed) !== 0) cache.confirm(entry, nowMs)
    else if (moved) cache.rest(entry, State.Stale, nowMs)
    if (moved && known) this.#changed?.(link, words)
    if (!known) this.release(link, entry)
  }

  /** Whoever asks for us will be answered: remember it, but displace nobody for it. */
  #meet(link: NeighborLink, words: Int32Array, hi: number, lo: number, how: number): void {
    if ((how & Heard.Create) === 0 || isGroup(link, words, 0)) return
    if (this.links[link.index] !== link) return
    const { nowMs } = this.#clock
    const entry = this.cache.insert(nowMs)
    if (entry < 0) return
    this.cache.setMac(entry, hi, lo)
    this.cache.rest(entry, State.Stale, nowMs)
  }

  /** The address is known: send what waited for it. */
  release(link: NeighborLink, entry: number): void {
    const cache = this.cache
    const hi = cache.macHi(entry)
    const lo = cache.macLo(entry)
    let node = this.#queues.detach(entry)
    const { nowMs } = this.#clock
    if (node >= 0 && cache.state(entry, nowMs) === State.Stale) this.#delay(entry, nowMs)
    while (node >= 0) {
      const after = this.#queues.after(node)
      this.emit(link, this.#queues.release(node), hi, lo)
      node = after
    }
  }

  /** Nobody answered: tell the senders (RFC 4861 §7.2.2). */
  #fail(entry: number, nowMs: number): void {
    const link = this.linkOf(entry)
    this.cache.enter(entry, State.Failed, nowMs + FAILED_KEEP_MS)
    this.cache.sinceMs[entry] = nowMs
    let node = this.#queues.detach(entry)
    while (node >= 0) {
      const after = this.#queues.after(node)
      this.#unreachable(link, this.#queues.release(node))
      node = after
    }
  }

  remove(entry: number, reason: number): void {
    const { keys } = this.cache.table
    const words = keys.slice(entry * KEY_WORDS + 1, (entry + 1) * KEY_WORDS)
    const link = this.linkOf(entry)
    const known = this.cache.isKnown(entry)
    let node = this.#queues.detach(entry)
    this.cache.remove(entry)
    while (node >= 0) {
      const after = this.#queues.after(node)
      this.#pool.drop(this.#queues.release(node), reason)
      node = after
    }
    if (known) this.#changed?.(link, words)
  }

  linkOf(entry: number): NeighborLink {
    return this.links[this.cache.table.keys[entry * KEY_WORDS]!]!
  }

  /** No timer is left. Precondition: the cache is empty. */
  close(): void {
    this.#timer?.()
    this.#timer = undefined
  }

  #arm(): void {
    this.#timer ??= this.#clock.after(SWEEP_MS, this.#sweep)
  }

  readonly #sweep = (): void => {
    const cache = this.cache
    this.#timer = undefined
    // Backwards, as an entry that leaves the list is replaced by its last; what a callback
    // changes on top of that is seen by the next sweep.
    for (let i = cache.pendingCount - 1; i >= 0; i--) {
      if (i >= cache.pendingCount) continue
      const entry = cache.pending[i]!
      if (cache.dueMs[entry]! <= this.#clock.nowMs) this.#expire(entry, this.#clock.nowMs)
    }
    if (cache.pendingCount > 0) this.#arm()
  }

  #expire(entry: number, nowMs: number): void {
    const cache = this.cache
    const state = cache.state(entry, nowMs)
    if (state === State.Failed) return this.remove(entry, DropReason.NeighborFailed)
    if (state === State.Delay) {
      cache.enter(entry, State.Probe, nowMs)
      return this.#ask(entry)
    }
    if (cache.asks(entry) < ASKS_MAX) return this.#ask(entry)
    if (state === State.Incomplete) this.#fail(entry, nowMs)
    else this.remove(entry, DropReason.NeighborFailed)
  }
}
