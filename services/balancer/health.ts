/**
 * Is one backend well? Asked again and again; so many answers of one kind in a row change the
 * verdict.
 *
 * ```text
 *   starting --1 success--> up --`retries` failures in a row--> down --`rise` successes--> up
 *            --1 failure--> down
 * ```
 *
 * One check at a time, `intervalMs` from start to start; the second is at a random time within the
 * first interval, so that checks of many backends spread out. A failure of what is up is looked
 * into sooner, just so much that a backend which dies is out within `intervalMs` x `retries` of its
 * death, its last timeout included (of one retry: one interval and the timeout). A check that could
 * not be made says nothing.
 */
import type { Cancel, Clock } from '../../stack/clock.ts'
import type { Random } from '../../stack/random.ts'
import type { HealthcheckConfig } from '../config/model.ts'

/** What one check found. `healthy` undefined: it could not be made. */
export interface Verdict {
  readonly healthy: boolean | undefined
  /** For people: `refused`, `no answer in 1000 ms`. */
  readonly detail: string
}

/**
 * Ask a backend once. `done` is told once and not within the call, in the time that the
 * configuration gives; never after it was taken back.
 */
export type Check = (done: (verdict: Verdict) => void) => Cancel

export interface HealthCheckOptions {
  readonly clock: Clock
  readonly random: Random
  readonly config: HealthcheckConfig
  readonly check: Check
  /** It was found up, or down; also the first time. */
  readonly changed: (up: boolean, detail: string) => void
}

export class HealthCheck {
  /** What the last check found. */
  detail = 'not checked yet'
  readonly #options: HealthCheckOptions
  #up: boolean | undefined
  /** The last answer that said something. */
  #healthy = false
  /** Answers in a row against what it is held to be. */
  #against = 0
  #checks = 0
  #cancel: Cancel

  /** The first check is at once. */
  constructor(options: HealthCheckOptions) {
    this.#options = options
    this.#cancel = options.clock.after(0, () => this.#ask())
  }

  /** Ask no more. Idempotent. */
  close(): void {
    this.#cancel()
  }

  #ask(): void {
    const { clock, check } = this.#options
    const startedMs = clock.nowMs
    this.#cancel = check((verdict) => {
      const delayMs = startedMs + this.#judge(verdict) - clock.nowMs
      this.#cancel = clock.after(Math.max(0, delayMs), () => this.#ask())
      this.#announce()
    })
  }

  /** Count an answer. Returns when to ask again, from the start of this one. */
  #judge({ healthy, detail }: Verdict): number {
    const { config, random } = this.#options
    const { intervalMs, timeoutMs, retries } = config
    if (healthy !== undefined) {
      this.detail = detail
      this.#healthy = healthy
      this.#against = healthy === this.#up ? 0 : this.#against + 1
    }
    this.#checks++
    if (this.#checks === 1) return timeoutMs + random.below(Math.max(1, intervalMs - timeoutMs))
    const suspected = this.#up === true && this.#against > 0 && retries > 1
    return suspected ? Math.max(timeoutMs, intervalMs - timeoutMs / (retries - 1)) : intervalMs
  }

  /** Tell if that changes what it is held to be. */
  #announce(): void {
    const { config, changed } = this.#options
    let needed = 1
    if (this.#up !== undefined) needed = this.#up ? config.retries : config.rise
    if (this.#against < needed) return
    this.#against = 0
    this.#up = this.#healthy
    changed(this.#up, this.detail)
  }
}
