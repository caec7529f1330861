/** A rate limit with a burst: tokens come in with time, each use takes one. */
export class TokenBucket {
  readonly #perMs: number
  readonly #burst: number
  #tokens: number
  #atMs = 0

  constructor({ perS, burst }: { readonly perS: number; readonly burst: number }) {
    this.#perMs = perS / 1000
    this.#burst = burst
    this.#tokens = burst
  }

  /** Take one if there is one. `nowMs` never goes back. */
  take(nowMs: number): boolean {
    this.#tokens = Math.min(this.#burst, this.#tokens + (nowMs - this.#atMs) * this.#perMs)
    this.#atMs = nowMs
    if (this.#tokens < 1) return false
    this.#tokens--
    return true
  }
}
