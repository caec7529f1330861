/**
 * Exact-match index of tuples: chained hashing over typed arrays, two tuples an entry.
 *
 * ```text
 *   tuple --hash--> heads[bucket] -> link -> next[link] -> ... -> none      link = entry * 2 + 0, 1
 * ```
 * Links are kept plus one, so that fresh memory, all zeros, is an empty index: nothing is touched
 * before it is used. Which entries are free is the owner's business.
 */
import { hashWords } from '../hash.ts'
import { PORTS, TUPLE_WORDS } from './tuple.ts'

export class TupleIndex {
  readonly #tuples: Int32Array
  readonly #next: Int32Array
  readonly #heads: Int32Array
  readonly #mask: number
  readonly #seed: number

  constructor({ entriesMax, seed }: { readonly entriesMax: number; readonly seed: number }) {
    // For two tuples an entry 1.5 to 3 buckets, a power of two: short chains, 12 octets at most.
    const buckets = 1 << (31 - Math.clz32(entriesMax * 3))
    this.#tuples = new Int32Array(entriesMax * 2 * TUPLE_WORDS)
    this.#next = new Int32Array(entriesMax * 2)
    this.#heads = new Int32Array(buckets)
    this.#mask = buckets - 1
    this.#seed = seed | 0
  }

  get bytes(): number {
    return this.#tuples.byteLength + this.#next.byteLength + this.#heads.byteLength
  }

  /** The link with this tuple, or -1. */
  find(words: Int32Array): number {
    let link = this.#heads[this.#bucket(words, 0)]! - 1
    while (link >= 0 && !this.#matches(link, words)) link = this.#next[link]! - 1
    return link
  }

  /** Precondition: neither tuple is there. */
  add(entry: number, original: Int32Array, reply: Int32Array): void {
    const at = entry * 2 * TUPLE_WORDS
    for (let i = 0; i < TUPLE_WORDS; i++) {
      this.#tuples[at + i] = original[i]!
      this.#tuples[at + TUPLE_WORDS + i] = reply[i]!
    }
    this.#link(entry * 2)
    this.#link(entry * 2 + 1)
  }

  remove(entry: number): void {
    this.#unlink(entry * 2)
    this.#unlink(entry * 2 + 1)
  }

  word(link: number, i: number): number {
    return this.#tuples[link * TUPLE_WORDS + i]!
  }

  load(link: number, words: Int32Array): void {
    const at = link * TUPLE_WORDS
    for (let i = 0; i < TUPLE_WORDS; i++) words[i] = this.#tuples[at + i]!
  }

  #link(link: number): void {
    const bucket = this.#bucket(this.#tuples, link * TUPLE_WORDS)
    this.#next[link] = this.#heads[bucket]!
    this.#heads[bucket] = link + 1
  }

  #unlink(link: number): void {
    const bucket = this.#bucket(this.#tuples, link * TUPLE_WORDS)
    const after = this.#next[link]!
    if (this.#heads[bucket] === link + 1) {
      this.#heads[bucket] = after
      return
    }
    let at = this.#heads[bucket]! - 1
    while (this.#next[at] !== link + 1) at = this.#next[at]! - 1
    this.#next[at] = after
  }

  #matches(link: number, words: Int32Array): boolean {
    const tuples = this.#tuples
    const at = link * TUPLE_WORDS
    // Ports first: they differ most.
    if (tuples[at + PORTS] !== words[PORTS]) return false
    for (let i = 0; i < TUPLE_WORDS; i++) if (tuples[at + i] !== words[i]) return false
    return true
  }

  #bucket(words: Int32Array, at: number): number {
    return hashWords(words, at, TUPLE_WORDS, this.#seed) & this.#mask
  }
}
