/**
 * What a TCP end has received: put in order, and held until its stream takes it.
 *
 * What comes ahead of order is kept as far as the window goes, and at most {@link EARLY_MAX}
 * segments; the rest is sent again by the peer.
 */

/** Octets that wait to be read; the window that is offered. */
const WINDOW_BYTES = 65_535
const EARLY_MAX = 256

/** Of two sequence numbers, how far the first is ahead of the second. */
export function ahead(a: number, b: number): number {
  return (a - b) | 0
}

export interface Reader {
  /** False: no more until {@link Inbox.resume}. */
  received(data: Uint8Array): boolean
  /** The peer sends no more. */
  ended(): void
}

export class Inbox {
  /** Next sequence number in order. */
  expected = 0
  /** All that the peer sent is here, its FIN too. */
  finReceived = false
  readonly #reader: Reader
  /** Segments ahead of order, by sequence number. */
  readonly #early = new Map<number, Uint8Array>()
  /** In order, and not taken by the stream yet. */
  readonly #held: Uint8Array[] = []
  #heldBytes = 0
  #paused = false
  #finSaid = false

  constructor(reader: Reader) {
    this.#reader = reader
  }

  /** The window to offer. */
  get windowBytes(): number {
    return Math.max(0, WINDOW_BYTES - this.#heldBytes)
  }

  /** Data, and perhaps the end of it. */
  take(seq: number, data: Uint8Array, fin: boolean): void {
    const old = ahead(this.expected, seq)
    if (old > data.length || this.finReceived) return
    if (old < 0) {
      const fits = -old + data.length <= this.windowBytes && this.#early.size < EARLY_MAX
      if (fits && !fin) this.#early.set(seq, data)
      return
    }
    this.#accept(data.subarray(old, old + Math.max(1, this.windowBytes)))
    while (this.#takeEarly());
    if (fin && this.expected === (seq + data.length) >>> 0) {
      this.expected = (this.expected + 1) >>> 0
      this.finReceived = true
      this.#early.clear()
    }
    this.#deliver()
  }

  /** The stream takes data again. True: the window has grown, and the peer should hear of it. */
  resume(): boolean {
    if (!this.#paused) return false
    const before = this.windowBytes
    this.#paused = false
    this.#deliver()
    return this.windowBytes > before
  }

  /** What came ahead of order and is in order now. */
  #takeEarly(): boolean {
    for (const [seq, data] of this.#early) {
      const old = ahead(this.expected, seq)
      if (old < 0) continue
      this.#early.delete(seq)
      this.#accept(data.subarray(old))
      return true
    }
    return false
  }

  #accept(data: Uint8Array): void {
    if (data.length === 0) return
    this.expected = (this.expected + data.length) >>> 0
    this.#held.push(data)
    this.#heldBytes += data.length
  }

  #deliver(): void {
    while (!this.#paused && this.#held.length > 0) {
      const data = this.#held.shift()!
      this.#heldBytes -= data.length
      this.#paused = !this.#reader.received(data)
    }
    if (!this.finReceived || this.#finSaid || this.#held.length > 0) return
    this.#finSaid = true
    this.#reader.ended()
  }
}
