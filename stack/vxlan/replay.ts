/**
 * Which numbers of a sender were seen: a sliding window (RFC 6479), so that a datagram counts once
 * however often it comes, and may come out of order.
 *
 * ```text
 *   words of 32 numbers each, used in turn; the window slides by whole words
 *   | … too old … | window: at least WINDOW numbers | top | not yet seen …
 * ```
 */

const WORDS = 64
const WORD_BITS = 32
/** Numbers below the highest that are still told apart. */
export const WINDOW: number = (WORDS - 1) * WORD_BITS

export class ReplayWindow {
  readonly #bits = new Int32Array(WORDS)
  #top = -1

  /** True: not seen before, and recent enough to tell. */
  isFresh(number: number): boolean {
    if (number > this.#top) return true
    if (this.#top - number >= WINDOW) return false
    const word = Math.floor(number / WORD_BITS) % WORDS
    return (this.#bits[word]! & (1 << (number % WORD_BITS))) === 0
  }

  /** It was seen. Precondition: {@link isFresh}. */
  mark(number: number): void {
    const word = Math.floor(number / WORD_BITS)
    if (number > this.#top) {
      const before = Math.floor(this.#top / WORD_BITS)
      const steps = Math.min(word - before, WORDS)
      for (let i = 1; i <= steps; i++) this.#bits[(before + i + WORDS) % WORDS] = 0
      this.#top = number
    }
    this.#bits[word % WORDS]! |= 1 << (number % WORD_BITS)
  }
}
