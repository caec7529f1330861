/**
 * The backends of a service, and which of them a new connection gets.
 *
 * ```text
 *   pick:   does the client stick to one that is ready?   else the scheduler (schedulers.ts)
 *   ready = up, not draining (of weight 0), not ejected
 * ```
 *
 * Connections that live are not this file's business: connection tracking keeps them where they
 * are, so whatever changes here moves none of them. What lives is only counted, what is over and
 * remembered is not; the index of a backend that was removed is used again when its last connection
 * is forgotten.
 *
 * Passive ejection: who refuses or does not answer {@link FAILURES_MAX} connections in a row gets
 * none for {@link EJECTION_MS}, twice as long each further time up to {@link EJECTION_MAX_MS}; but
 * never more than half of the backends, since then the trouble is likely elsewhere. A connection
 * that ends without having failed is a success. If all that are up are ejected, they are tried.
 *
 * A backend that comes up, or back, gets its share little by little over the time of slow start.
 */
import type { Clock } from '../clock.ts'
import { StackError } from '../errors.ts'
import { Affinity } from './affinity.ts'
import { BackendField } from './backend_field.ts'
import {
  type BackendCounts,
  type BackendSpec,
  type BackendStatus,
  type BackendsOptions,
  type Balance,
  type BalanceSettings,
  WEIGHT_MAX,
} from './balance.ts'
import { hashAddress, mix } from './rendezvous.ts'
import { newScheduler, type Scheduler } from './schedulers.ts'
import { SRC, TUPLE_WORDS } from './tuple.ts'

/** Failures in a row that eject. */
export const FAILURES_MAX = 5
export const EJECTION_MS = 10_000
export const EJECTION_MAX_MS = 300_000
/** Least share of a backend that starts slowly, and how often it is raised meanwhile. */
const RAMP_MIN = 0.1
const RAMP_STEPS = 50

interface Backend {
  readonly address: Int32Array
  readonly port: number
  up: boolean
  draining: boolean
  /** Removed, and kept for the connections that it still has. */
  removed: boolean
  /** Connections that are remembered, over or not. */
  known: number
  total: number
  failures: number
  /** Failures since the last success. */
  streak: number
  /** Failed connections whose end is still to come: that will be no success. */
  unsettled: number
  ejections: number
  ejectedUntilMs: number
  /** When its slow start begins; -Infinity: long ago. */
  startedMs: number
}

const LONG_AGO = Number.NEGATIVE_INFINITY

export class Backends implements Balance {
  /** Connections given to backends, and refused because there was none. */
  flows = 0
  refusals = 0
  readonly #clock: Clock
  readonly #seed: number
  readonly #field = new BackendField()
  readonly #backends: (Backend | undefined)[] = []
  #scheduler: Scheduler
  #settings: BalanceSettings
  #affinity: Affinity | undefined
  /** When `ready` is to be found anew: now, or when time alone changes it. */
  #staleMs = LONG_AGO
  /** True if the scheduler is to be told that others take part: once for many changes. */
  #isOther = false
  /** The last pick, for whom, and whether the scheduler made it. */
  #picked = -1
  #scheduled = false
  readonly #client = new Int32Array(TUPLE_WORDS)

  constructor({ clock, seed, ...settings }: BackendsOptions) {
    this.#clock = clock
    this.#seed = seed
    this.#settings = settings
    this.#scheduler = newScheduler(settings.scheduler)
    this.configure(settings)
  }

  /** Change how connections are spread. Those that live stay. */
  configure(settings: BalanceSettings): void {
    const { scheduler, affinityMs } = settings
    if (scheduler !== this.#settings.scheduler) {
      this.#scheduler = newScheduler(scheduler)
      this.#isOther = true
    }
    if (affinityMs === 0) this.#affinity = undefined
    else {
      this.#affinity ??= new Affinity({ seed: this.#seed, timeoutMs: affinityMs })
      this.#affinity.timeoutMs = affinityMs
    }
    this.#settings = settings
    this.#staleMs = LONG_AGO
  }

  /** @throws StackError `exhausted`, `bad-argument`. Returns the index of a new backend. */
  add({ address, port = 0, weight, up }: BackendSpec): number {
    checkWeight(weight)
    const field = this.#field
    let index = this.#backends.indexOf(undefined)
    if (index < 0) {
      if (!field.extend()) throw new StackError('exhausted', 'a service has too many backends')
      index = field.size - 1
    }
    this.#backends[index] = {
      address: address.words,
      port,
      up,
      draining: weight === 0,
      removed: false,
      known: 0,
      total: 0,
      failures: 0,
      streak: 0,
      unsettled: 0,
      ejections: 0,
      ejectedUntilMs: LONG_AGO,
      startedMs: this.#clock.nowMs,
    }
    field.identities[index] = mix(hashAddress(address.words, 0, 0), port)
    field.configured[index] = weight
    this.#changed()
    return index
  }

  /** No new connection; when the last one is forgotten its index is free. */
  remove(index: number): void {
    const backend = this.#backends[index]!
    backend.removed = true
    backend.draining = true
    this.#field.configured[index] = 0
    this.#affinity?.forget(index)
    this.#changed()
    this.#retire(index)
  }

  /** With weight 0 it drains: it keeps its connections and its place, and gets no new ones. */
  setWeight(index: number, weight: number): void {
    checkWeight(weight)
    this.#backends[index]!.draining = weight === 0
    this.#staleMs = LONG_AGO
    if (weight === 0 || this.#field.configured[index] === weight) return
    this.#field.configured[index] = weight
    this.#changed()
  }

  /** What health checks found. Coming up begins a slow start. */
  setUp(index: number, up: boolean): void {
    const backend = this.#backends[index]!
    if (backend.up === up) return
    backend.up = up
    if (up) backend.startedMs = this.#clock.nowMs
    this.#staleMs = LONG_AGO
  }

  /** Precondition: it was added, and is not removed. */
  counts(index: number): BackendCounts {
    const { total, failures } = this.#backends[index]!
    const { configured, active } = this.#field
    return {
      status: this.#status(index),
      weight: configured[index]!,
      active: active[index]!,
      total,
      failures,
    }
  }

  /** Clients that stick to a backend. */
  get clients(): number {
    return this.#affinity?.count ?? 0
  }

  pick(words: Int32Array, nowMs: number): number {
    const field = this.#field
    if (nowMs >= this.#staleMs) this.#refresh(nowMs)
    this.#picked = -1
    if (field.readyCount === 0) return -1
    const kept = this.#affinity === undefined ? -1 : this.#affinity.find(words, nowMs)
    this.#scheduled = kept < 0 || field.isReady[kept] === 0
    this.#picked = this.#scheduled ? this.#scheduler.pick(field, words) : kept
    if (this.#affinity !== undefined) {
      for (let i = 0; i < 4; i++) this.#client[SRC + i] = words[SRC + i]!
    }
    return this.#picked
  }

  addressWords(backend: number): Int32Array {
    return this.#backends[backend]!.address
  }

  targetPort(backend: number): number {
    return this.#backends[backend]!.port
  }

  opened(index: number): void {
    const backend = this.#backends[index]!
    this.#field.active[index]!++
    backend.known++
    backend.total++
    this.flows++
    if (this.#picked !== index) return
    this.#picked = -1
    if (this.#scheduled) this.#scheduler.took(this.#field, index)
    this.#affinity?.note(this.#client, index, this.#clock.nowMs)
  }

  closed(index: number): void {
    this.#field.active[index]!--
    const backend = this.#backends[index]!
    if (backend.unsettled > 0) backend.unsettled--
    else backend.streak = 0
  }

  reopened(index: number): void {
    this.#field.active[index]!++
  }

  forgotten(index: number): void {
    this.#backends[index]!.known--
    this.#retire(index)
  }

  failed(index: number): void {
    const backend = this.#backends[index]!
    backend.failures++
    // A connection may fail more than once: each datagram to a closed port is refused.
    backend.unsettled = Math.min(backend.unsettled + 1, this.#field.active[index]!)
    backend.streak++
    if (backend.streak >= FAILURES_MAX) this.#eject(backend)
  }

  refused(): void {
    this.refusals++
  }

  #eject(backend: Backend): void {
    const { nowMs } = this.#clock
    if (backend.ejectedUntilMs > nowMs) return
    let up = 0
    let out = 1
    for (let i = 0; i < this.#backends.length; i++) {
      if (!this.#isAble(i)) continue
      up++
      if (this.#backends[i]!.ejectedUntilMs > nowMs) out++
    }
    backend.streak = 0
    if (2 * out > up) return
    if (nowMs - backend.ejectedUntilMs > EJECTION_MAX_MS) backend.ejections = 0
    const forMs = Math.min(EJECTION_MS * 2 ** backend.ejections, EJECTION_MAX_MS)
    backend.ejections++
    backend.ejectedUntilMs = nowMs + forMs
    backend.startedMs = backend.ejectedUntilMs
    this.#staleMs = LONG_AGO
  }

  #status(index: number): BackendStatus {
    const { draining, up, ejectedUntilMs } = this.#backends[index]!
    if (draining) return 'draining'
    if (!up) return 'down'
    return ejectedUntilMs > this.#clock.nowMs ? 'ejected' : 'up'
  }

  /** Up, and to be given connections: all but ejection. */
  #isAble(index: number): boolean {
    const backend = this.#backends[index]
    return backend?.up === true && !backend.draining
  }

  /** Find who is ready, and until when that stays. */
  #refresh(nowMs: number): void {
    const field = this.#field
    if (this.#isOther) this.#scheduler.changed(field)
    this.#isOther = false
    this.#staleMs = Number.POSITIVE_INFINITY
    this.#gather(nowMs, false)
    if (field.readyCount === 0) this.#gather(nowMs, true)
  }

  /** `ejected`: take those who are. */
  #gather(nowMs: number, ejected: boolean): void {
    const field = this.#field
    field.readyCount = 0
    for (let i = 0; i < field.size; i++) {
      field.isReady[i] = 0
      if (!this.#isAble(i)) continue
      const { ejectedUntilMs, startedMs } = this.#backends[i]!
      if (ejectedUntilMs > nowMs) this.#staleMs = Math.min(this.#staleMs, ejectedUntilMs)
      if (ejectedUntilMs > nowMs !== ejected) continue
      field.isReady[i] = 1
      field.ready[field.readyCount++] = i
      field.ramps[i] = this.#ramp(nowMs, startedMs)
    }
  }

  #ramp(nowMs: number, startedMs: number): number {
    const { slowStartMs } = this.#settings
    const ranMs = nowMs - startedMs
    if (ranMs >= slowStartMs) return 1
    this.#staleMs = Math.min(this.#staleMs, nowMs + slowStartMs / RAMP_STEPS)
    return Math.max(RAMP_MIN, ranMs / slowStartMs)
  }

  /** Others take part, or with other weights. */
  #changed(): void {
    this.#isOther = true
    this.#staleMs = LONG_AGO
  }

  #retire(index: number): void {
    const { removed, known } = this.#backends[index]!
    if (!removed || known > 0) return
    this.#backends[index] = undefined
  }
}

function checkWeight(weight: number): void {
  if (Number.isInteger(weight) && weight >= 0 && weight <= WEIGHT_MAX) return
  throw new StackError('bad-argument', `a weight is from 0 to ${WEIGHT_MAX}, not ${weight}`)
}
