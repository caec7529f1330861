/**
 * Forwarding database of one bridge (IEEE 802.1Q clause 8.8): which port leads to a station.
 *
 * A {@link Table} keyed by VLAN and address, so bounded, with seeded hashing. An entry's value:
 *
 * ```text
 *   word 0   port index, with the bit STATIC for an entry that neither ages nor moves
 *   word 1   moves within the loop guard's window   (see loopguard.ts)
 *   word 2   when that window began
 * ```
 *
 * Flood protection. A port may learn while it holds fewer stations than there are free entries.
 * So one port that sends random sources ends with half of the table, k such ports leave 1/(k + 1)
 * of it, and a port that holds less than that can always learn. Nothing is pushed out: known
 * stations keep their service, and what is not learned is flooded until something ages. A fixed
 * limit a port (`learnedMax`) may be set on top.
 *
 * Ageing is exact at look-up: an entry not refreshed for `ageMs` counts as absent at once. Its
 * memory returns with the next sweep, which runs only while there are learned entries.
 */
import type { Cancel, Clock } from '../clock.ts'
import { StackError } from '../errors.ts'
import type { Ageing } from '../flow_notes.ts'
import { PERMANENT, Table } from '../table.ts'
import type { Mac } from './mac.ts'

/** The ageing time that IEEE 802.1Q clause 8.8.3 recommends. */
export const AGE_MS = 300_000
/** Entries of a bridge unless configured: about 350 KB. */
export const FDB_MAX = 8192
/** Ports of one bridge: every device of a node on one network. */
export const BRIDGE_PORTS_MAX = 4096

/** Sweeps in one ageing time: memory returns at the latest after 1.1 times `ageMs`. */
const SWEEPS_PER_AGE = 10
const STATIC = 0x1_0000
const PORT_MASK = 0xffff
const VALUE_WORDS = 3

export interface FdbOptions {
  readonly clock: Clock
  /** Makes hash collisions unpredictable to who chooses the addresses. */
  readonly seed: number
  readonly entriesMax: number
  readonly ageMs: number
  /** A station that was known moved or is known no more: for caches of flows. */
  readonly changed: () => void
}

/** One entry, for listings. */
export interface FdbEntry {
  readonly mac: Mac
  readonly vid: number
  readonly port: number
  readonly static: boolean
  /** Since the station was last heard; 0 if static. */
  readonly ageMs: number
}

export class Fdb implements Ageing {
  /** Words of all entries; the loop guard counts in those at {@link guardAt}. */
  readonly values: Int32Array
  readonly entriesMax: number
  readonly #clock: Clock
  readonly #ageMs: number
  readonly #table: Table
  readonly #learned = new Int32Array(BRIDGE_PORTS_MAX)
  readonly #changed: () => void
  readonly #expire = (entry: number): void => this.#remove(entry)
  #learnedCount = 0
  #cancelSweep: Cancel | undefined = undefined

  /** @throws StackError `bad-argument` for an ageing time that is not positive. */
  constructor({ clock, seed, entriesMax, ageMs, changed }: FdbOptions) {
    if (!(ageMs > 0)) throw new StackError('bad-argument', `an ageing time of ${ageMs} ms`)
    this.#clock = clock
    this.#ageMs = ageMs
    this.#changed = changed
    this.entriesMax = entriesMax
    this.#table = new Table({ keyWords: 2, valueWords: VALUE_WORDS, entriesMax, seed })
    this.values = this.#table.values
  }

  /** Live entries of both kinds, those included that have aged and wait for the sweep. */
  get count(): number {
    return this.#table.count
  }

  /** Stations that this port holds. */
  learned(port: number): number {
    return this.#learned[port]!
  }

  /** The entry of a station, or -1 if there is none or it has aged. `lo` is a signed word. */
  find(vid: number, hi: number, lo: number): number {
    const table = this.#table
    table.key[0] = (vid << 16) | hi
    table.key[1] = lo
    const entry = table.find()
    return entry >= 0 && !this.isFresh(entry) ? this.#aged(entry) : entry
  }

  port(entry: number): number {
    return this.values[entry * VALUE_WORDS]! & PORT_MASK
  }

  isStatic(entry: number): boolean {
    return (this.values[entry * VALUE_WORDS]! & STATIC) !== 0
  }

  isFresh(entry: number): boolean {
    return this.#table.seenMs[entry]! + this.#ageMs > this.#clock.nowMs
  }

  /** Refresh a learned entry if it leads to `port`. False: it is static, or the station moved. */
  refresh(entry: number, port: number): boolean {
    if (this.values[entry * VALUE_WORDS] !== port) return false
    this.#table.seenMs[entry] = this.#clock.nowMs
    return true
  }

  /** Where the loop guard's two words of this entry are in {@link values}. */
  guardAt(entry: number): number {
    return entry * VALUE_WORDS + 1
  }

  /** A learned entry now leads to `port`. */
  move(entry: number, port: number): void {
    this.#learned[this.port(entry)]!--
    this.#learned[port]!++
    this.values[entry * VALUE_WORDS] = port
    this.#table.seenMs[entry] = this.#clock.nowMs
    this.#changed()
  }

  /** True if `port` may learn another station; `learnedMax` is its own limit. */
  mayLearn(port: number, learnedMax: number): boolean {
    const held = this.#learned[port]!
    return held < learnedMax && held < this.entriesMax - this.#table.count
  }

  /** Learn a station. Preconditions: {@link find} did not find it, and {@link mayLearn}. */
  learn(vid: number, hi: number, lo: number, port: number): void {
    const entry = this.#insert(vid, hi, lo)
    this.values[entry * VALUE_WORDS] = port
    this.#learned[port]!++
    this.#learnedCount++
    this.#cancelSweep ??= this.#sweepLater()
  }

  /** Replace whatever is known of the station. @throws StackError `exhausted`. */
  addStatic(vid: number, { hi, lo }: Mac, port: number): void {
    this.removeEntry(vid, hi, lo | 0)
    if (this.#table.count === this.entriesMax && !this.#evictOldest()) {
      throw new StackError('exhausted', `all ${this.entriesMax} FDB entries are static`)
    }
    const entry = this.#insert(vid, hi, lo | 0)
    this.values[entry * VALUE_WORDS] = port | STATIC
    this.#table.seenMs[entry] = PERMANENT
  }

  /** Forget a station, learned or static. */
  removeEntry(vid: number, hi: number, lo: number): void {
    const entry = this.find(vid, hi, lo)
    if (entry >= 0) this.#remove(entry)
  }

  /** Forget what leads to `port`; its static entries too if `statics`. */
  forgetPort(port: number, statics: boolean): void {
    const table = this.#table
    for (let e = table.nextLive(0); e >= 0; e = table.nextLive(e + 1)) {
      if (this.port(e) === port && (statics || !this.isStatic(e))) this.#remove(e)
    }
  }

  /** Every entry that has not aged. Not for the data path. */
  list(): FdbEntry[] {
    const { keys, seenMs } = this.#table
    const { nowMs } = this.#clock
    const list: FdbEntry[] = []
    for (let e = this.#table.nextLive(0); e >= 0; e = this.#table.nextLive(e + 1)) {
      const ageMs = this.isStatic(e) ? 0 : nowMs - seenMs[e]!
      if (ageMs >= this.#ageMs) continue
      const key = keys[2 * e]!
      const mac = { hi: key & 0xffff, lo: keys[2 * e + 1]! >>> 0 }
      list.push({ mac, vid: key >>> 16, port: this.port(e), static: this.isStatic(e), ageMs })
    }
    return list
  }

  /** Forget all, and stop the timer. */
  close(): void {
    this.#cancelSweep?.()
    this.#cancelSweep = undefined
    this.#table.clear()
    this.#changed()
    this.#learned.fill(0)
    this.#learnedCount = 0
  }

  /** Out of line: an aged entry goes when it is met, so that -1 means "absent" to every caller. */
  #aged(entry: number): number {
    this.#remove(entry)
    return -1
  }

  #insert(vid: number, hi: number, lo: number): number {
    this.#table.key[0] = (vid << 16) | hi
    this.#table.key[1] = lo
    return this.#table.insert(this.#clock.nowMs)
  }

  #remove(entry: number): void {
    if (!this.isStatic(entry)) {
      this.#learned[this.port(entry)]!--
      this.#learnedCount--
    }
    this.#table.remove(entry)
    this.#changed()
  }

  /** The oldest learned entry makes room for a static one. False: there is none. */
  #evictOldest(): boolean {
    const { seenMs } = this.#table
    let oldest = -1
    for (let e = this.#table.nextLive(0); e >= 0; e = this.#table.nextLive(e + 1)) {
      if (!this.isStatic(e) && (oldest < 0 || seenMs[e]! < seenMs[oldest]!)) oldest = e
    }
    if (oldest >= 0) this.#remove(oldest)
    return oldest >= 0
  }

  #sweepLater(): Cancel {
    return this.#clock.after(this.#ageMs / SWEEPS_PER_AGE, () => {
      const limitMs = this.#clock.nowMs - this.#ageMs
      this.#table.sweep(limitMs, this.entriesMax, this.#expire)
      this.#cancelSweep = this.#learnedCount > 0 ? this.#sweepLater() : undefined
    })
  }
}
