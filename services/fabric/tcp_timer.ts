/** When a TCP end repeats what was not acknowledged (RFC 6298). */
import type { Cancel, Clock } from '../../stack/clock.ts'

const INITIAL_MS = 1000
/** As Linux, below the second that the RFC asks for. */
const LEAST_MS = 200
const MOST_MS = 120_000

export class RetransmitTimer {
  /** Times that it ran out since something was acknowledged. */
  retries = 0
  readonly #clock: Clock
  readonly #expired: () => void
  #timer: Cancel | undefined
  #timeoutMs = INITIAL_MS
  #meanMs = 0
  #varianceMs = 0
  /** The sequence number whose acknowledgement is timed; undefined: none is. */
  #sampled: { readonly seq: number; readonly atMs: number } | undefined

  constructor(clock: Clock, expired: () => void) {
    this.#clock = clock
    this.#expired = expired
  }

  /** Unless it runs. */
  start(): void {
    this.#timer ??= this.#clock.after(this.#timeoutMs, () => {
      this.#timer = undefined
      this.retries++
      this.#timeoutMs = Math.min(MOST_MS, this.#timeoutMs * 2)
      // What is repeated must not be timed (Karn).
      this.#sampled = undefined
      this.#expired()
    })
  }

  stop(): void {
    this.#timer?.()
    this.#timer = undefined
  }

  restart(): void {
    this.stop()
    this.start()
  }

  /** The peer is there. */
  answered(): void {
    this.retries = 0
    this.stop()
    this.#timeoutMs = INITIAL_MS
  }

  /** Octets up to `seq` have been sent for the first time. */
  sample(seq: number): void {
    this.#sampled ??= { seq, atMs: this.#clock.nowMs }
  }

  /** Octets up to `seq` have arrived. */
  acknowledged(seq: number): void {
    this.retries = 0
    const sampled = this.#sampled
    if (sampled === undefined || ((seq - sampled.seq) | 0) < 0) return
    this.#sampled = undefined
    const tookMs = this.#clock.nowMs - sampled.atMs
    const first = this.#meanMs === 0 && this.#varianceMs === 0
    this.#varianceMs = first
      ? tookMs / 2
      : (3 * this.#varianceMs + Math.abs(this.#meanMs - tookMs)) / 4
    this.#meanMs = first ? tookMs : (7 * this.#meanMs + tookMs) / 8
    const timeoutMs = this.#meanMs + 4 * this.#varianceMs
    this.#timeoutMs = Math.min(MOST_MS, Math.max(LEAST_MS, timeoutMs))
  }
}
