/**
 * How long a suspect member has to show that it lives (Lifeguard, "local health aware suspicion").
 *
 * The time begins at `maxMs` and shrinks to `minMs` as `wanted` others confirm the suspicion, by
 * the logarithm of how many did: where nobody else sees the member fail, it is probably us.
 */
import type { Cancel, Clock } from '../../stack/clock.ts'

export interface SuspicionOptions {
  readonly clock: Clock
  /** Who began it; its own confirmation does not count. */
  readonly from: string
  readonly minMs: number
  readonly maxMs: number
  /** Confirmations after which `minMs` holds. 0: it holds from the beginning. */
  readonly wanted: number
  readonly onTimeout: () => void
}

export class Suspicion {
  readonly #options: SuspicionOptions
  readonly #startMs: number
  readonly #confirmed = new Set<string>()
  #cancel: Cancel

  constructor(options: SuspicionOptions) {
    this.#options = options
    const { clock, from, onTimeout } = options
    this.#startMs = clock.nowMs
    this.#confirmed.add(from)
    this.#cancel = clock.after(this.timeoutMs, onTimeout)
  }

  /** From its beginning to its end, as things stand. */
  get timeoutMs(): number {
    const { minMs, maxMs, wanted } = this.#options
    if (wanted < 1) return minMs
    const share = Math.log(this.#confirmed.size) / Math.log(wanted + 1)
    return Math.max(minMs, Math.floor(maxMs - share * (maxMs - minMs)))
  }

  /** Another one suspects it as well. True if that was news, which is then worth telling. */
  confirm(from: string): boolean {
    const { clock, wanted, onTimeout } = this.#options
    if (this.#confirmed.size > wanted || this.#confirmed.has(from)) return false
    this.#confirmed.add(from)
    this.#cancel()
    const leftMs = this.#startMs + this.timeoutMs - clock.nowMs
    this.#cancel = clock.after(Math.max(0, leftMs), onTimeout)
    return true
  }

  /** It lives, or is dead. Idempotent. */
  cancel(): void {
    this.#cancel()
  }
}
