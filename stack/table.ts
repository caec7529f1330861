/**
 * The one bounded hash table: FDB, neighbors, reassembly, and whatever else maps a few 32-bit
 * words to a few 32-bit words and forgets what is not used.
 *
 * Chained hashing over typed arrays. An entry is a small number that stays the same while the
 * entry lives, so timers and other tables may hold it. All memory is taken at construction; the
 * table never grows, and a full table says so (`insert` returns -1): the policy is the caller's.
 *
 * ```text
 *   heads[hash & mask] -> entry -> next[entry] -> ... -> -1
 *   keys[entry * keyWords ...]   values[entry * valueWords ...]   seenMs[entry]
 * ```
 *
 * Use: put the key's words into `key`, then call `find`, `insert` or `remove`. A scratch array
 * instead of arguments lets one class serve keys of two words and of ten, without allocation.
 */
import { StackError } from './errors.ts'
import { hashWords } from './hash.ts'

export interface TableOptions {
  readonly keyWords: number
  readonly valueWords: number
  readonly entriesMax: number
  /** Makes collisions unpredictable to whoever chooses the keys. */
  readonly seed: number
}

/** `seenMs` of an entry that does not age. */
export const PERMANENT: number = Number.POSITIVE_INFINITY

export class Table {
  /** Scratch: the key that the next call is about. */
  readonly key: Int32Array
  readonly keys: Int32Array
  readonly values: Int32Array
  /** When each entry was last of use; {@link PERMANENT}: never forgotten. */
  readonly seenMs: Float64Array
  readonly entriesMax: number
  readonly keyWords: number
  readonly valueWords: number
  readonly #heads: Int32Array
  readonly #next: Int32Array
  readonly #live: Uint8Array
  readonly #mask: number
  readonly #seed: number
  #free = 0
  #count = 0
  #hand = 0

  constructor({ keyWords, valueWords, entriesMax, seed }: TableOptions) {
    if (entriesMax < 1) throw new StackError('bad-argument', 'a table needs room for one entry')
    this.keyWords = keyWords
    this.valueWords = valueWords
    this.entriesMax = entriesMax
    this.key = new Int32Array(keyWords)
    this.keys = new Int32Array(entriesMax * keyWords)
    this.values = new Int32Array(entriesMax * valueWords)
    this.seenMs = new Float64Array(entriesMax)
    const buckets = 1 << (32 - Math.clz32(Math.max(1, entriesMax - 1)))
    this.#heads = new Int32Array(buckets).fill(-1)
    this.#next = new Int32Array(entriesMax)
    this.#live = new Uint8Array(entriesMax)
    this.#mask = buckets - 1
    this.#seed = seed | 0
    for (let i = 0; i < entriesMax; i++) this.#next[i] = i + 1 < entriesMax ? i + 1 : -1
  }

  get count(): number {
    return this.#count
  }

  /** The entry with key `key`, or -1. */
  find(): number {
    let entry = this.#heads[this.#bucket()]!
    while (entry >= 0 && !this.#matches(entry)) entry = this.#next[entry]!
    return entry
  }

  /** A new entry for `key`, its values zero; -1 if full. Precondition: `find() < 0`. */
  insert(nowMs: number): number {
    const entry = this.#free
    if (entry < 0) return -1
    this.#free = this.#next[entry]!
    const bucket = this.#bucket()
    const { key, keyWords, valueWords } = this
    for (let i = 0; i < keyWords; i++) this.keys[entry * keyWords + i] = key[i]!
    for (let i = 0; i < valueWords; i++) this.values[entry * valueWords + i] = 0
    this.seenMs[entry] = nowMs
    this.#next[entry] = this.#heads[bucket]!
    this.#heads[bucket] = entry
    this.#live[entry] = 1
    this.#count++
    return entry
  }

  /** Forget `entry`. `key` is overwritten with the entry's key. Precondition: it is live. */
  remove(entry: number): void {
    const { key, keyWords } = this
    for (let i = 0; i < keyWords; i++) key[i] = this.keys[entry * keyWords + i]!
    const bucket = this.#bucket()
    const after = this.#next[entry]!
    if (this.#heads[bucket] === entry) this.#heads[bucket] = after
    else {
      let at = this.#heads[bucket]!
      while (this.#next[at] !== entry) at = this.#next[at]!
      this.#next[at] = after
    }
    this.#live[entry] = 0
    this.#next[entry] = this.#free
    this.#free = entry
    this.#count--
  }

  /**
   * Look at up to `budget` entries from where the last sweep stopped, and call `expire` for each
   * that was last seen before `olderThanMs`; it may remove the entry.
   */
  sweep(olderThanMs: number, budget: number, expire: (entry: number) => void): void {
    const steps = Math.min(budget, this.entriesMax)
    for (let i = 0; i < steps; i++) {
      const entry = this.#hand
      this.#hand = entry + 1 < this.entriesMax ? entry + 1 : 0
      if (this.#live[entry] === 1 && this.seenMs[entry]! < olderThanMs) expire(entry)
    }
  }

  /** The first live entry at or after `from`, or -1: for listings, never on the data path. */
  nextLive(from: number): number {
    return this.#live.indexOf(1, from)
  }

  clear(): void {
    for (let e = this.nextLive(0); e >= 0; e = this.nextLive(e + 1)) this.remove(e)
  }

  #matches(entry: number): boolean {
    const { key, keys, keyWords } = this
    const at = entry * keyWords
    for (let i = 0; i < keyWords; i++) if (keys[at + i] !== key[i]) return false
    return true
  }

  #bucket(): number {
    return hashWords(this.key, 0, this.keyWords, this.#seed) & this.#mask
  }
}
