/**
 * Finished answers, to be given again to who asks the same: found by the octets of the query,
 * before anything of it is read.
 *
 * ```text
 *   [ id | flags, counts, question, OPT ]   of one sandbox, octet for octet --> answer without id
 * ```
 *
 * All that an answer depends on is in the key, or ends it:
 *
 * * letters of the name, EDNS, its size, DO, CD, RD: octets of the query;
 * * names, settings, forwarders: any change of them changes the generation, and ends all answers;
 * * TTLs that count down: an answer of a forwarder is kept until the second is over, then it is
 *   written anew, which is also when another resolv.conf of the host's is seen;
 * * turns among several addresses, and health: such answers are not kept.
 *
 * Two places a query, in tables that never grow: what comes is put over what was there. Long
 * queries and long answers are not kept.
 */
import type { Clock } from '../../stack/clock.ts'

/** A power of two. */
const SLOTS = 4096
/** A name of 80 characters, an OPT record and a cookie fit. */
const KEY_BYTES_MAX = 128
const ANSWER_BYTES_MAX = 256
const SLOT_BYTES = KEY_BYTES_MAX + ANSWER_BYTES_MAX
/** Octets of the identifier, which is the asker's own. */
const ID_BYTES = 2
/** FNV-1a. */
const BASIS = 0x811c9dc5
const PRIME = 0x01000193

export interface RepeatsOptions {
  readonly clock: Clock
  /** Another number whenever answers may be others. */
  readonly generation: () => number
}

/** Of whom an answer is, and for how long. */
export interface Keeping {
  readonly asker: number
  /** It ends here, if the generation does not end it before. */
  readonly untilMs: number
  /** It was learned from a forwarder. */
  readonly learned: boolean
}

export class Repeats {
  /** Answers given again, and those of them that forwarders had told. */
  hits = 0
  /** Was what {@link answer} gave last learned from a forwarder? */
  learned = false
  readonly #options: RepeatsOptions
  readonly #mem = new Uint8Array(SLOTS * SLOT_BYTES)
  readonly #askers = new Int32Array(SLOTS)
  /** 0: nothing is there. */
  readonly #keyBytes = new Uint8Array(SLOTS)
  readonly #answerBytes = new Uint16Array(SLOTS)
  readonly #learned = new Uint8Array(SLOTS)
  readonly #generations = new Float64Array(SLOTS)
  readonly #untilMs = new Float64Array(SLOTS)
  /** The query that {@link note} was given, without its identifier. */
  readonly #noted = new Uint8Array(KEY_BYTES_MAX)
  #notedBytes = 0

  constructor(options: RepeatsOptions) {
    this.#options = options
  }

  /** Write the answer over the query at `at`; octets of it, 0: it is not known. */
  answer(mem: Uint8Array, at: number, bytes: number, asker: number): number {
    const length = bytes - ID_BYTES
    if (length <= 0 || length > KEY_BYTES_MAX) return 0
    const key = at + ID_BYTES
    const first = hash(mem, key, length, asker)
    let slot = first
    if (!this.#holds(slot, mem, key, length, asker)) {
      slot = first ^ 1
      if (!this.#holds(slot, mem, key, length, asker)) return 0
    }
    const { clock, generation } = this.#options
    if (this.#generations[slot] !== generation() || clock.nowMs >= this.#untilMs[slot]!) {
      this.#keyBytes[slot] = 0
      return 0
    }
    this.hits++
    this.learned = this.#learned[slot] === 1
    const from = slot * SLOT_BYTES + KEY_BYTES_MAX
    const answerBytes = this.#answerBytes[slot]!
    for (let i = 0; i < answerBytes; i++) mem[key + i] = this.#mem[from + i]!
    return ID_BYTES + answerBytes
  }

  /** Remember a query while its answer is being written over it. */
  note(mem: Uint8Array, at: number, bytes: number): void {
    const length = bytes - ID_BYTES
    this.#notedBytes = length > 0 && length <= KEY_BYTES_MAX ? length : 0
    for (let i = 0; i < this.#notedBytes; i++) this.#noted[i] = mem[at + ID_BYTES + i]!
  }

  /** The message at `at` is the answer to the query that was noted last. */
  keep(mem: Uint8Array, at: number, bytes: number, { asker, untilMs, learned }: Keeping): void {
    const answerBytes = bytes - ID_BYTES
    const length = this.#notedBytes
    const { clock, generation } = this.#options
    if (length === 0 || answerBytes > ANSWER_BYTES_MAX || untilMs <= clock.nowMs) return
    const noted = this.#noted
    const first = hash(noted, 0, length, asker)
    const slot = this.#isFree(first, noted, length, asker) ? first : first ^ 1
    const to = slot * SLOT_BYTES
    for (let i = 0; i < length; i++) this.#mem[to + i] = noted[i]!
    for (let i = 0; i < answerBytes; i++) {
      this.#mem[to + KEY_BYTES_MAX + i] = mem[at + ID_BYTES + i]!
    }
    this.#askers[slot] = asker
    this.#keyBytes[slot] = length
    this.#answerBytes[slot] = answerBytes
    this.#learned[slot] = learned ? 1 : 0
    this.#generations[slot] = generation()
    this.#untilMs[slot] = untilMs
    this.#notedBytes = 0
  }

  /** Is nothing there that is worth keeping, or the same query? */
  #isFree(slot: number, noted: Uint8Array, length: number, asker: number): boolean {
    const { clock, generation } = this.#options
    if (this.#keyBytes[slot] === 0 || this.#generations[slot] !== generation()) return true
    if (clock.nowMs >= this.#untilMs[slot]!) return true
    return this.#holds(slot, noted, 0, length, asker)
  }

  #holds(slot: number, mem: Uint8Array, key: number, length: number, asker: number): boolean {
    if (this.#keyBytes[slot] !== length || this.#askers[slot] !== asker) return false
    const own = this.#mem
    const from = slot * SLOT_BYTES
    for (let i = 0; i < length; i++) if (own[from + i] !== mem[key + i]) return false
    return true
  }
}

function hash(mem: Uint8Array, at: number, bytes: number, asker: number): number {
  let h = BASIS ^ asker
  for (let i = 0; i < bytes; i++) h = Math.imul(h ^ mem[at + i]!, PRIME)
  return (h ^ (h >>> 15)) & (SLOTS - 1)
}
