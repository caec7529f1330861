/**
 * Answers of forwarders, kept for as long as they say (RFC 1035, RFC 2308), and longer for when no
 * forwarder answers (RFC 8767).
 *
 * Keys name the forwarders that were asked as well as the question: what one sandbox learned from
 * its own resolvers is not told to a sandbox with others. The least recently used goes first, by
 * number of entries and by octets.
 */
import type { Clock } from '../../stack/clock.ts'
import { negativeTtlS, type Rec, type Reply } from './reply.ts'
import { Rcode } from './wire.ts'

/** A day: what a TTL above it says is taken for (RFC 8767 §4 suggests a week at most). */
const TTL_MAX_S = 86_400
/** RFC 2308 §5: one to three hours work well. */
const NEGATIVE_MAX_S = 3600
/** RFC 2308 §7.1 and RFC 9520 §3.2: failures too are kept, shortly. */
const FAILURE_S = 5
const BYTES_MAX = 8 << 20
const RECORD_OVERHEAD_BYTES = 64

export interface Cached {
  readonly rcode: number
  readonly answers: readonly Rec[]
  readonly soa: Rec | undefined
  readonly storedMs: number
  readonly freshMs: number
  readonly bytes: number
  /** Do not ask again before, while it is stale. */
  retryMs: number
}

export class Cache {
  entriesMax = 0
  staleMs = 0
  hits = 0
  misses = 0
  /** Answers given although they were too old. */
  stale = 0
  readonly #clock: Clock
  /** In the order of use. */
  readonly #entries = new Map<string, Cached>()
  #bytes = 0

  constructor(clock: Clock) {
    this.#clock = clock
  }

  get size(): number {
    return this.#entries.size
  }

  get bytes(): number {
    return this.#bytes
  }

  /** Fresh, or stale but not yet too old for that; undefined: not there. */
  find(key: string): Cached | undefined {
    const entry = this.#entries.get(key)
    if (entry === undefined) return undefined
    this.#entries.delete(key)
    if (this.ageMs(entry) >= entry.freshMs + (entry.answers.length > 0 ? this.staleMs : 0)) {
      this.#bytes -= entry.bytes
      return undefined
    }
    this.#entries.set(key, entry)
    return entry
  }

  isFresh(entry: Cached): boolean {
    return this.ageMs(entry) < entry.freshMs
  }

  ageMs({ storedMs }: Cached): number {
    return this.#clock.nowMs - storedMs
  }

  /** Keep an answer; it is returned as it can be given now. */
  store(key: string, reply: Pick<Reply, 'rcode' | 'answers' | 'soa'>): Cached {
    const { rcode, answers, soa } = reply
    const records = soa === undefined ? answers : [...answers, soa]
    const size = (sum: number, { owner, data }: Rec): number =>
      sum + owner.length + data.length + RECORD_OVERHEAD_BYTES
    const entry: Cached = {
      rcode,
      answers,
      soa,
      storedMs: this.#clock.nowMs,
      freshMs: lifetimeS(reply) * 1000,
      bytes: records.reduce(size, key.length + RECORD_OVERHEAD_BYTES),
      retryMs: 0,
    }
    this.#remove(key)
    if (entry.freshMs === 0 || this.entriesMax === 0) return entry
    this.#entries.set(key, entry)
    this.#bytes += entry.bytes
    for (const oldest of this.#entries.keys()) {
      if (this.#entries.size <= this.entriesMax && this.#bytes <= BYTES_MAX) break
      this.#remove(oldest)
    }
    return entry
  }

  /** How many were forgotten. */
  clear(): number {
    const { size } = this.#entries
    this.#entries.clear()
    this.#bytes = 0
    return size
  }

  entries(): IterableIterator<[string, Cached]> {
    return this.#entries.entries()
  }

  #remove(key: string): void {
    const entry = this.#entries.get(key)
    if (entry === undefined) return
    this.#bytes -= entry.bytes
    this.#entries.delete(key)
  }
}

/** 0: it may not be kept. */
function lifetimeS({ rcode, answers, soa }: Pick<Reply, 'rcode' | 'answers' | 'soa'>): number {
  if (rcode !== Rcode.NoError && rcode !== Rcode.NxDomain) return FAILURE_S
  const shortest = answers.reduce((least, { ttlS }) => Math.min(least, ttlS), TTL_MAX_S)
  if (rcode === Rcode.NoError && soa === undefined) return answers.length === 0 ? 0 : shortest
  if (soa === undefined) return 0
  return Math.min(shortest, negativeTtlS(soa), NEGATIVE_MAX_S)
}
