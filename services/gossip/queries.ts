/**
 * Questions to all members, and their answers.
 *
 * ```text
 *   asker ── query, as a broadcast ──> everybody; each sends it on once
 *   asker <── ack, answer ── each for itself, in a datagram to the address in the query
 * ```
 *
 * A query is told from others by its Lamport time and its number. Whoever asks waits until all
 * that are known have answered, or for the query's time, which grows with the cluster.
 */
import type { Cancel, Clock } from '../../stack/clock.ts'
import { StackError } from '../../stack/errors.ts'
import type { Random } from '../../stack/random.ts'
import { GOSSIP_INTERVAL_MS } from './defaults.ts'
import { LAMPORT_MAX, LamportClock } from './lamport.ts'
import type { Query, QueryResponse } from './serf_messages.ts'
import { QueryFlag } from './serf_messages.ts'

/** serf's `QueryBuffer`, `QueryTimeoutMult`, and `QuerySizeLimit`. */
const QUERIES_MAX = 512
const QUERIES_AT_MAX = 64
const TIMEOUT_MULT = 16
export const QUERY_BYTES_MAX = 1024
export const RESPONSE_BYTES_MAX = 1024
/** Own queries that wait for answers at a time. */
const OPEN_MAX = 64

/** By the names of those who answered. */
export type Answers = ReadonlyMap<string, Uint8Array>

interface Slot {
  readonly time: number
  readonly ids: number[]
}

interface Open {
  readonly time: number
  readonly wanted: ReadonlySet<string>
  readonly answers: Map<string, Uint8Array>
  readonly finish: () => void
}

export class Queries {
  readonly clock: LamportClock = new LamportClock()
  readonly #clock: Clock
  readonly #random: Random
  readonly #slots: (Slot | undefined)[] = new Array<Slot | undefined>(QUERIES_MAX).fill(undefined)
  readonly #open = new Map<number, Open>()
  #minTime = 0

  constructor(clock: Clock, random: Random) {
    this.#clock = clock
    this.#random = random
  }

  /** True if it was not seen before. */
  receive({ time, id }: Query): boolean {
    if (time >= LAMPORT_MAX) return false
    this.clock.witness(time)
    if (time < this.#minTime) return false
    if (this.clock.time > QUERIES_MAX && time < this.clock.time - QUERIES_MAX) return false
    const at = time % QUERIES_MAX
    let slot = this.#slots[at]
    if (slot === undefined || slot.time !== time) {
      slot = { time, ids: [] }
      this.#slots[at] = slot
    }
    if (slot.ids.includes(id) || slot.ids.length >= QUERIES_AT_MAX) return false
    slot.ids.push(id)
    return true
  }

  ignoreBefore(time: number): void {
    if (time < LAMPORT_MAX) this.#minTime = Math.max(this.#minTime, time)
  }

  /** How long answers are waited for, with so many members. */
  timeoutMs(members: number): number {
    return GOSSIP_INTERVAL_MS * TIMEOUT_MULT * Math.max(1, Math.ceil(Math.log10(members + 1)))
  }

  /** Time and number of a new query. */
  next(): { readonly time: number; readonly id: number } {
    return { time: this.clock.tick(), id: this.#random.bits() >>> 0 }
  }

  /** Answers to a query of ours, from `wanted`. @throws StackError `exhausted` */
  collect(query: Query, wanted: ReadonlySet<string>): Promise<Answers> {
    if (this.#open.size >= OPEN_MAX) {
      throw new StackError('exhausted', `${OPEN_MAX} queries already wait for their answers`)
    }
    return new Promise((resolve) => {
      const answers = new Map<string, Uint8Array>()
      let cancel: Cancel = () => {}
      const finish = (): void => {
        cancel()
        this.#open.delete(query.id)
        resolve(answers)
      }
      cancel = this.#clock.after(query.timeoutMs, finish)
      this.#open.set(query.id, { time: query.time, wanted, answers, finish })
    })
  }

  onResponse({ id, time, from, flags, payload }: QueryResponse): void {
    const open = this.#open.get(id)
    if (open === undefined || open.time !== time || (flags & QueryFlag.Ack) !== 0) return
    if (!open.wanted.has(from) || open.answers.has(from)) return
    open.answers.set(from, payload)
    if (open.answers.size === open.wanted.size) open.finish()
  }

  /** Answer those that wait with what there is. */
  close(): void {
    for (const { finish } of [...this.#open.values()]) finish()
  }
}
