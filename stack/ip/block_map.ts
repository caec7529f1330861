/** A bit for every 8-octet block of the largest datagram, for each of several datagrams. */

const WORDS = 256

export class BlockMap {
  /** Blocks of a datagram: 65,536 octets. */
  static readonly COUNT: number = WORDS * 32
  readonly #bits: Int32Array

  constructor(datagrams: number) {
    this.#bits = new Int32Array(datagrams * WORDS)
  }

  clear(datagram: number): void {
    this.#bits.fill(0, datagram * WORDS, (datagram + 1) * WORDS)
  }

  /** Set blocks `from` to `to` - 1. */
  set(datagram: number, from: number, to: number): void {
    for (let word = from >>> 5; word << 5 < to; word++) {
      this.#bits[datagram * WORDS + word]! |= mask(word, from, to)
    }
  }

  /** True if any block of `from` to `to` - 1 is set. */
  any(datagram: number, from: number, to: number): boolean {
    for (let word = from >>> 5; word << 5 < to; word++) {
      if ((this.#bits[datagram * WORDS + word]! & mask(word, from, to)) !== 0) return true
    }
    return false
  }

  /** True if every block of `from` to `to` - 1 is set. */
  all(datagram: number, from: number, to: number): boolean {
    for (let word = from >>> 5; word << 5 < to; word++) {
      const wanted = mask(word, from, to)
      if ((this.#bits[datagram * WORDS + word]! & wanted) !== wanted) return false
    }
    return true
  }
}

/** The bits of word number `word` that lie in blocks `from` to `to` - 1. */
function mask(word: number, from: number, to: number): number {
  const low = Math.max(0, from - 32 * word)
  const high = Math.min(32, to - 32 * word)
  if (high <= low) return 0
  return (high === 32 ? -1 : (1 << high) - 1) & (-1 << low)
}
