/**
 * Questions about names that are not ours: from the cache, else from forwarders.
 *
 * ```text
 *   fresh in the cache ------------------------------------> the answer
 *   asked already by somebody -----------------------------> waits for the same answer
 *   else: exchange with the forwarders (exchange.ts) ------> the answer, kept
 *   stale, and no answer in 1.8 s, or none at all ---------> the stale one, with a TTL of 30 s
 * ```
 *
 * Equal questions go out once, which also keeps a forger from getting many chances at one answer
 * (RFC 5452 §5). Forwarders that did not answer are asked last for a while. Everything is bounded:
 * who comes when {@link WAITING_MAX} wait is told SERVFAIL.
 */
import type { Cancel, Clock } from '../../stack/clock.ts'
import { Cache, type Cached } from './cache.ts'
import { Exchange } from './exchange.ts'
import { type DnsHost, formatServer, type Server } from './host.ts'
import type { Say } from './local.ts'
import type { Name } from './name.ts'
import { Rcode } from './wire.ts'

/** Exchanges at a time: each has a socket, or one a forwarder. */
const EXCHANGES_MAX = 256
/** Clients that wait at a time: Docker's bound. */
const WAITING_MAX = 1024
/** RFC 8767 §5: client response timer, failure recheck timer. */
const STALE_AFTER_MS = 1800
const RECHECK_MS = 30_000
/** Docker's bound, as many as a resolv.conf has. */
const SERVERS_MAX = 3
const FAILED_MAX = 256

export interface Question {
  readonly name: Name
  readonly type: number
  readonly dnssecOk: boolean
  readonly checkingDisabled: boolean
}

/** Who is asked, and how. */
export interface Group {
  readonly servers: readonly Server[]
  readonly parallel: boolean
}

/** What a client is told: records of which so much of their time is over. */
export interface Outcome {
  readonly entry: Pick<Cached, 'rcode' | 'answers' | 'soa'>
  readonly ageS: number
  readonly isStale: boolean
  /** The same can be told until then; 0: only this once. */
  readonly untilMs: number
}

export interface ForwarderSettings {
  readonly entriesMax: number
  readonly staleMs: number
  readonly timeoutMs: number
  readonly randomCase: boolean
}

interface Waiter {
  readonly say: Say | undefined
  done: ((outcome: Outcome) => void) | undefined
  cancel: Cancel | undefined
}

interface Running {
  readonly exchange: Exchange
  readonly waiters: Waiter[]
}

const FAILED: Outcome = {
  entry: { rcode: Rcode.ServFail, answers: [], soa: undefined },
  ageS: 0,
  isStale: false,
  untilMs: 0,
}

export class Forwarder {
  readonly cache: Cache
  /** Exchanges begun, and those that nobody answered. */
  asked = 0
  failed = 0
  refused = 0
  readonly #clock: Clock
  readonly #host: DnsHost
  readonly #running = new Map<string, Running>()
  /** Forwarders that did not answer: until when they come last. */
  readonly #failedUntil = new Map<string, number>()
  /** How often answers became others: by settings, or forgotten. */
  changes = 0
  #settings: ForwarderSettings = { entriesMax: 0, staleMs: 0, timeoutMs: 2000, randomCase: true }
  #waiting = 0

  constructor({ clock, host }: { readonly clock: Clock; readonly host: DnsHost }) {
    this.#clock = clock
    this.#host = host
    this.cache = new Cache(clock)
  }

  configure(settings: ForwarderSettings): void {
    this.changes++
    this.#settings = settings
    if (settings.entriesMax < this.cache.size) this.cache.clear()
    this.cache.entriesMax = settings.entriesMax
    this.cache.staleMs = settings.staleMs
    this.#failedUntil.clear()
  }

  /** Clients that wait for an answer. */
  get waiting(): number {
    return this.#waiting
  }

  /** Ask; `done` is told once, maybe within the call. */
  ask(question: Question, group: Group, done: (outcome: Outcome) => void, say?: Say): void {
    const servers = group.servers.slice(0, SERVERS_MAX)
    const key = keyOf(question, servers)
    const cached = this.cache.find(key)
    if (cached !== undefined && this.#answers(cached, say)) {
      const fresh = this.cache.isFresh(cached)
      return done(this.#outcome(cached, fresh))
    }
    this.cache.misses++
    if (servers.length === 0) {
      say?.('there is no forwarder to ask')
      return done(cached === undefined ? FAILED : this.#outcome(cached))
    }
    const running = this.#running.get(key)
    const full = running === undefined && this.#running.size >= EXCHANGES_MAX
    if (full || this.#waiting >= WAITING_MAX) {
      this.refused++
      say?.('too many questions wait already')
      return done(FAILED)
    }
    const waiter: Waiter = { done, say, cancel: undefined }
    this.#waiting++
    if (cached !== undefined) {
      waiter.cancel = this.#clock.after(STALE_AFTER_MS, () => this.#tell(waiter, cached))
    }
    if (running !== undefined) {
      say?.('the same is being asked already')
      running.waiters.push(waiter)
      return
    }
    this.#start({ key, question, servers, parallel: group.parallel, waiter, cached })
  }

  /** Forget questions on their way and all answers; nobody is told. Idempotent. */
  close(): void {
    for (const { exchange, waiters } of this.#running.values()) {
      exchange.close()
      for (const { cancel } of waiters) cancel?.()
    }
    this.#running.clear()
    this.#waiting = 0
    this.forget()
  }

  /** Forget all answers; how many there were. */
  forget(): number {
    this.changes++
    return this.cache.clear()
  }

  #start(o: {
    readonly key: string
    readonly question: Question
    readonly servers: readonly Server[]
    readonly parallel: boolean
    readonly waiter: Waiter
    readonly cached: Cached | undefined
  }): void {
    const { key, waiter, cached } = o
    const waiters = [waiter]
    const { timeoutMs, randomCase } = this.#settings
    const exchange = new Exchange({
      clock: this.#clock,
      host: this.#host,
      question: o.question,
      servers: o.parallel ? o.servers : this.#healthyFirst(o.servers),
      parallel: o.parallel,
      randomCase,
      timeoutMs,
      say: (step) => {
        for (const { say } of waiters) say?.(step)
      },
      judged: (server, answers) => this.#judge(server, answers),
      done: (reply) => {
        this.#running.delete(key)
        const known = reply?.rcode === Rcode.NoError || reply?.rcode === Rcode.NxDomain
        if (!known) this.failed++
        if (!known && cached !== undefined) cached.retryMs = this.#clock.nowMs + RECHECK_MS
        const failure = reply ?? FAILED.entry
        const entry = !known && cached !== undefined ? cached : this.cache.store(key, failure)
        for (const each of waiters) this.#tell(each, entry)
      },
    })
    this.#running.set(key, { exchange, waiters })
    this.asked++
    exchange.start()
  }

  #tell(waiter: Waiter, entry: Cached): void {
    const { done } = waiter
    if (done === undefined) return
    waiter.done = undefined
    waiter.cancel?.()
    this.#waiting--
    done(this.#outcome(entry))
  }

  /** Is what is in the cache an answer for now? */
  #answers(cached: Cached, say: Say | undefined): boolean {
    const { cache } = this
    const ageS = Math.floor(cache.ageMs(cached) / 1000)
    if (cache.isFresh(cached)) {
      cache.hits++
      say?.(`in the cache for ${ageS} s`)
      return true
    }
    say?.(`in the cache, but stale: ${ageS} s old`)
    return this.#clock.nowMs < cached.retryMs
  }

  /** @param isKept It is in the cache and fresh, so that the second which it is in can be told. */
  #outcome(entry: Cached, isKept = false): Outcome {
    const isStale = !this.cache.isFresh(entry) && entry.freshMs > 0
    if (isStale) this.cache.stale++
    const ageS = Math.floor(this.cache.ageMs(entry) / 1000)
    const untilMs = isKept ? entry.storedMs + Math.min((ageS + 1) * 1000, entry.freshMs) : 0
    return { entry, isStale, ageS, untilMs }
  }

  #healthyFirst(servers: readonly Server[]): readonly Server[] {
    const late = (server: Server): boolean => {
      return (this.#failedUntil.get(formatServer(server)) ?? 0) > this.#clock.nowMs
    }
    return [...servers.filter((one) => !late(one)), ...servers.filter(late)]
  }

  #judge(server: Server, answers: boolean): void {
    const key = formatServer(server)
    if (answers) this.#failedUntil.delete(key)
    else if (this.#failedUntil.size < FAILED_MAX) {
      this.#failedUntil.set(key, this.#clock.nowMs + RECHECK_MS)
    }
  }
}

function keyOf(
  { name, type, dnssecOk, checkingDisabled }: Question,
  servers: readonly Server[],
): string {
  const who = servers.map(formatServer).join(' ')
  return `${who}|${type}|${dnssecOk ? 'd' : ''}${checkingDisabled ? 'c' : ''}|${name}`
}

/** What a key of the cache is about. */
export function readKey(key: string): {
  readonly servers: string
  readonly type: number
  readonly name: Name
} {
  // A name may have any octet in it, the mark as well.
  const [, servers, type, name] = /^([^|]*)\|(\d+)\|[dc]*\|(.*)$/s.exec(key)!
  return { servers: servers!, type: Number(type), name: name as Name }
}
