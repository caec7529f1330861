/**
 * The memory of the flow cache: exact match, in typed arrays, one table for each family.
 *
 * ```text
 *   tags      4 hashes a bucket, side by side: one look tells which entry to read
 *   words     an entry: 16 words for IPv4, which are one cache line, 32 for IPv6
 *
 *   0              1       4         5      6 ...                         IPv4  IPv6
 *   port | type    MACs    protocol  ports  source, destination           6, 7  6-9, 10-13
 *   action: epoch, path, connection, source, destination, ports, checksums, used
 * ```
 *
 * An entry is found by all words of its key. The hash is only of protocol, ports and addresses, so
 * that all entries of a connection can be found without knowing by which way they come
 * ({@link FlowTable.forget}).
 *
 * Full: the entry of its bucket that was used longest ago makes room. Entries that drop may only
 * take the last place of each bucket, a quarter of the table: a flood that is refused cannot push
 * out what passes. Memory is touched only as entries come.
 */
import { hashWords } from './hash.ts'

export const INGRESS = 0
export const MACS = 1
export const PROTOCOL = 4
export const PORTS = 5
export const SRC = 6

const WAYS = 4
/** Words of an action that are not addresses: epoch, path, flow, ports, checksums, used. */
const ACTION_WORDS = 6

export interface FlowTableOptions {
  /** Words of an address: 1 for IPv4, 4 for IPv6. */
  readonly addressWords: number
  /** Rounded up to a power of two. */
  readonly entriesMax: number
  readonly seed: number
}

export class FlowTable {
  readonly addressWords: number
  readonly entriesMax: number
  readonly words: Int32Array
  /** Packets and octets of each entry. */
  readonly tally: Float64Array
  readonly keyWords: number
  /** Words of an entry, and where in it the parts of its action are. */
  readonly stride: number
  readonly epochAt: number
  readonly pathAt: number
  readonly flowAt: number
  readonly addressesAt: number
  readonly portsAt: number
  readonly checksumsAt: number
  readonly usedAt: number
  readonly #tags: Int32Array
  readonly #mask: number
  readonly #seed: number

  constructor({ addressWords, entriesMax, seed }: FlowTableOptions) {
    const keyWords = SRC + 2 * addressWords
    const whole = keyWords + ACTION_WORDS + 2 * addressWords
    const entries = Math.max(WAYS, 1 << (32 - Math.clz32(entriesMax - 1)))
    this.addressWords = addressWords
    this.keyWords = keyWords
    this.entriesMax = entries
    this.stride = 1 << (32 - Math.clz32(whole - 1))
    this.epochAt = keyWords
    this.pathAt = keyWords + 1
    this.flowAt = keyWords + 2
    this.addressesAt = keyWords + 3
    this.portsAt = this.addressesAt + 2 * addressWords
    this.checksumsAt = this.portsAt + 1
    this.usedAt = this.portsAt + 2
    this.words = new Int32Array(entries * this.stride)
    this.tally = new Float64Array(entries * 2)
    this.#tags = new Int32Array(entries)
    this.#mask = entries / WAYS - 1
    this.#seed = seed | 0
  }

  /** Octets that one entry takes. */
  get entryBytes(): number {
    return 4 * this.stride + 4 + 16
  }

  /** The entry with this key, whatever its epoch; -1: there is none. */
  find(key: Int32Array): number {
    const tag = this.#tag(key)
    const first = (tag & this.#mask) * WAYS
    for (let entry = first; entry < first + WAYS; entry++) {
      if (this.#tags[entry] === tag && this.#matches(entry, key, 0)) return entry
    }
    return -1
  }

  /**
   * An entry for this key, its action to be filled in, its tally zero; the one there was, if any.
   * `drops`: it takes the last place of its bucket. `nowMs` is the time as a signed word.
   */
  insert(key: Int32Array, drops: boolean, epoch: number, nowMs: number): number {
    const tag = this.#tag(key)
    let entry = this.find(key)
    if (entry < 0) entry = this.#victim((tag & this.#mask) * WAYS, drops, epoch, nowMs)
    const at = entry * this.stride
    for (let i = 0; i < this.keyWords; i++) this.words[at + i] = key[i]!
    this.#tags[entry] = tag
    this.tally[2 * entry] = 0
    this.tally[2 * entry + 1] = 0
    return entry
  }

  /** Forget all entries with the protocol, ports and addresses of this key, by whatever way. */
  forget(key: Int32Array): void {
    const tag = this.#tag(key)
    const first = (tag & this.#mask) * WAYS
    for (let entry = first; entry < first + WAYS; entry++) {
      if (this.#tags[entry] === tag && this.#matches(entry, key, PROTOCOL)) this.#tags[entry] = 0
    }
  }

  /** The first entry at or after `from` that holds something, or -1: for listings. */
  next(from: number): number {
    for (let entry = from; entry < this.entriesMax; entry++) {
      if (this.#tags[entry] !== 0) return entry
    }
    return -1
  }

  #victim(first: number, drops: boolean, epoch: number, nowMs: number): number {
    let victim = first + WAYS - 1
    if (drops) return victim
    let oldestMs = -1
    for (let entry = first; entry < first + WAYS; entry++) {
      const at = entry * this.stride
      if (this.#tags[entry] === 0 || this.words[at + this.epochAt] !== epoch) return entry
      const idleMs = (nowMs - this.words[at + this.usedAt]!) | 0
      if (idleMs <= oldestMs) continue
      oldestMs = idleMs
      victim = entry
    }
    return victim
  }

  /** True if the words from `from` on of its key are those of `key`. */
  #matches(entry: number, key: Int32Array, from: number): boolean {
    const { words } = this
    const at = entry * this.stride
    for (let i = from; i < this.keyWords; i++) if (words[at + i] !== key[i]) return false
    return true
  }

  /** Never 0, which is an empty place. */
  #tag(key: Int32Array): number {
    return hashWords(key, PROTOCOL, this.keyWords - PROTOCOL, this.#seed) || 1
  }
}
