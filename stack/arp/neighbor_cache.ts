/**
 * The neighbor cache: who is where on which link, and how sure that is (RFC 4861 §5.1, §7.3.2).
 *
 * ```text
 *   key: link index, four words of address     value: state, MAC, asks
 *   untilMs  the address may be used without a thought until then; 0 unless reachable
 *   sinceMs  when it was last confirmed or heard, or when it failed
 *   dueMs    when the state ends by itself; only for entries in the pending list
 * ```
 *
 * Reachable is a matter of time, not of a timer: an entry whose `untilMs` has passed *is* stale,
 * and costs nothing until it is used. Only states in which something is awaited (incomplete,
 * delay, probe, and failed until it is forgotten) are in the pending list, which is all that the
 * resolver's timer looks at.
 *
 * Bounded, by this order of eviction: failed entries, entries that a whole retransmission time
 * has not answered, stale ones, the other incomplete ones; the least recently used first. What is
 * reachable, being verified, or permanent stays, so a scan of absent addresses never breaks a
 * conversation. The search looks at a few entries from where the last one stopped.
 */
import type { Random } from '../random.ts'
import { Table } from '../table.ts'

/** RFC 4861 §10. */
const REACHABLE_MS = 30_000
export const RETRANS_MS = 1_000

export const State = {
  Incomplete: 0,
  Reachable: 1,
  Stale: 2,
  Delay: 3,
  Probe: 4,
  Failed: 5,
  Permanent: 6,
} as const

export const STATE_NAMES = [
  'incomplete',
  'reachable',
  'stale',
  'delay',
  'probe',
  'failed',
  'permanent',
] as const

/** Words of a key: the link's index, then the address. */
export const KEY_WORDS = 5
const VALUE_WORDS = 4
const STATE = 0
const HI = 1
const LO = 2
const ASKS = 3

/** A subnet's worth of neighbors. A power of two. */
const RECENT_SLOTS = 256

/** Entries looked at for one eviction. */
const EVICTION_SCAN = 64

export class NeighborCache {
  readonly table: Table
  readonly untilMs: Float64Array
  readonly sinceMs: Float64Array
  readonly dueMs: Float64Array
  /** Entries with something due, in no order: the first `pendingCount`. */
  readonly pending: Int32Array
  pendingCount = 0
  readonly #pendingAt: Int32Array
  /**
   * The entry found last for each low bits of an address: saves hashing five words a packet. It
   * is believed only with the right key and `untilMs` set, which a removed entry has not.
   */
  readonly #recent = new Int32Array(RECENT_SLOTS)
  readonly #random: Random
  #hand = 0

  constructor({ entriesMax, random }: { entriesMax: number; random: Random }) {
    const seed = random.bits()
    this.table = new Table({ keyWords: KEY_WORDS, valueWords: VALUE_WORDS, entriesMax, seed })
    this.untilMs = new Float64Array(entriesMax)
    this.sinceMs = new Float64Array(entriesMax)
    this.dueMs = new Float64Array(entriesMax)
    this.pending = new Int32Array(entriesMax)
    this.#pendingAt = new Int32Array(entriesMax).fill(-1)
    this.#random = random
  }

  find(link: number, words: Int32Array, at: number): number {
    const slot = (words[at + 3]! ^ link) & (RECENT_SLOTS - 1)
    const recent = this.#recent[slot]!
    if (this.untilMs[recent]! > 0 && this.#isKey(recent, link, words, at)) return recent
    const { key } = this.table
    key[0] = link
    key[1] = words[at]!
    key[2] = words[at + 1]!
    key[3] = words[at + 2]!
    key[4] = words[at + 3]!
    const entry = this.table.find()
    if (entry >= 0) this.#recent[slot] = entry
    return entry
  }

  /** A new incomplete entry for the key just looked for; -1 if full. */
  insert(nowMs: number): number {
    const entry = this.table.insert(nowMs)
    if (entry >= 0) {
      this.untilMs[entry] = 0
      this.sinceMs[entry] = nowMs
    }
    return entry
  }

  /** Forget an entry. Precondition: nothing waits for it. */
  remove(entry: number): void {
    this.settle(entry)
    this.untilMs[entry] = 0
    this.table.remove(entry)
  }

  /** The state now: reachable only while it lasts. */
  state(entry: number, nowMs: number): number {
    const state = this.table.values[entry * VALUE_WORDS + STATE]!
    return state === State.Reachable && nowMs >= this.untilMs[entry]! ? State.Stale : state
  }

  /** True if the entry has a MAC. */
  isKnown(entry: number): boolean {
    const state = this.table.values[entry * VALUE_WORDS + STATE]!
    return state !== State.Incomplete && state !== State.Failed
  }

  /** True if a packet to it is sent at once and changes nothing: reachable, or being verified. */
  isUsable(entry: number, nowMs: number): boolean {
    if (nowMs < this.untilMs[entry]!) return true
    const state = this.table.values[entry * VALUE_WORDS + STATE]!
    return state === State.Delay || state === State.Probe
  }

  macHi(entry: number): number {
    return this.table.values[entry * VALUE_WORDS + HI]!
  }

  /** Signed. */
  macLo(entry: number): number {
    return this.table.values[entry * VALUE_WORDS + LO]!
  }

  setMac(entry: number, hi: number, lo: number): void {
    this.table.values[entry * VALUE_WORDS + HI] = hi
    this.table.values[entry * VALUE_WORDS + LO] = lo
  }

  /** Solicitations sent in this state. */
  asks(entry: number): number {
    return this.table.values[entry * VALUE_WORDS + ASKS]!
  }

  /** One more, and the next in a retransmission time. */
  asked(entry: number, nowMs: number): void {
    this.table.values[entry * VALUE_WORDS + ASKS]!++
    this.#await(entry, nowMs + RETRANS_MS)
  }

  /** Enter a state that lasts until something happens: stale or permanent. */
  rest(entry: number, state: number, nowMs: number): void {
    this.#enter(entry, state)
    this.settle(entry)
    this.untilMs[entry] = state === State.Permanent ? Number.POSITIVE_INFINITY : 0
    this.sinceMs[entry] = nowMs
  }

  /**
   * The neighbor has shown that it is there. It counts as reachable for 15 to 45 s, drawn anew
   * each time so that neighbors learned together are not probed together (RFC 4861 §6.3.2).
   */
  confirm(entry: number, nowMs: number): void {
    const factor = 0.5 + this.#random.below(1024) / 1024
    this.#enter(entry, State.Reachable)
    this.settle(entry)
    this.untilMs[entry] = nowMs + REACHABLE_MS * factor
    this.sinceMs[entry] = nowMs
  }

  /** Enter a state that ends by itself at `dueMs`. */
  enter(entry: number, state: number, dueMs: number): void {
    this.#enter(entry, state)
    this.untilMs[entry] = 0
    this.#await(entry, dueMs)
  }

  /** Nothing is awaited of this entry any more. */
  settle(entry: number): void {
    const at = this.#pendingAt[entry]!
    if (at < 0) return
    const moved = this.pending[--this.pendingCount]!
    this.pending[at] = moved
    this.#pendingAt[moved] = at
    this.#pendingAt[entry] = -1
  }

  /**
   * The entry that another may displace, or -1. Looks at a few, from after the last one displaced:
   * of equals, the one that was here first goes first.
   */
  victim(nowMs: number): number {
    const { table } = this
    const steps = Math.min(EVICTION_SCAN, table.entriesMax)
    let best = -1
    let bestRank = 0
    let entry = this.#hand
    for (let i = 0; i < steps; i++) {
      const rank = this.#rank(entry, nowMs)
      const older = rank === bestRank && rank > 0 && table.seenMs[entry]! < table.seenMs[best]!
      if (rank > bestRank || older) {
        best = entry
        bestRank = rank
      }
      entry = entry + 1 < table.entriesMax ? entry + 1 : 0
    }
    if (best >= 0) entry = best + 1 < table.entriesMax ? best + 1 : 0
    this.#hand = entry
    return best
  }

  #isKey(entry: number, link: number, words: Int32Array, at: number): boolean {
    const { keys } = this.table
    const from = entry * KEY_WORDS
    return (
      keys[from + 4] === words[at + 3] &&
      keys[from] === link &&
      keys[from + 1] === words[at] &&
      keys[from + 2] === words[at + 1] &&
      keys[from + 3] === words[at + 2]
    )
  }

  /** How readily an entry is given up; 0: never. Asked of full tables only: every entry is live. */
  #rank(entry: number, nowMs: number): number {
    const state = this.state(entry, nowMs)
    if (state === State.Failed) return 4
    if (state === State.Incomplete) return nowMs - this.sinceMs[entry]! >= RETRANS_MS ? 3 : 1
    return state === State.Stale ? 2 : 0
  }

  #enter(entry: number, state: number): void {
    this.table.values[entry * VALUE_WORDS + STATE] = state
    this.table.values[entry * VALUE_WORDS + ASKS] = 0
  }

  #await(entry: number, dueMs: number): void {
    this.dueMs[entry] = dueMs
    if (this.#pendingAt[entry]! >= 0) return
    this.#pendingAt[entry] = this.pendingCount
    this.pending[this.pendingCount++] = entry
  }
}
