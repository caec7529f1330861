/**
 * The server's side of one TCP connection (RFC 9293), as far as questions need it: messages in,
 * each after its length (RFC 1035 §4.2.2), messages out.
 *
 * ```text
 *   SYN ──► SYN+ACK ──► open: segments in order are taken, others asked for again
 *                        │    what is written goes out in the peer's window, again after a timeout
 *                        ▼
 *                       FIN of the peer, everything answered and acknowledged ──► over
 * ```
 *
 * Left out, as it is not needed for a few kilobytes to a neighbor: window scaling, selective
 * acknowledgments, timestamps, urgent data, congestion control beyond a fixed window of ten
 * segments (RFC 6928). Everything is bounded; what exceeds it ends the connection by a reset.
 */
import type { Cancel, Clock } from '../../stack/clock.ts'
import { Flag } from '../../stack/ip/tcp.ts'
import { HEADER_BYTES, TCP_BYTES_MAX } from './wire.ts'

/** Unanswered segments in flight (RFC 6928). */
const WINDOW_SEGMENTS = 10
const TIMEOUT_MS = 300
const TIMEOUTS_MAX = 6
/** RFC 7766 §6.2.3. */
const IDLE_MS = 10_000
/** What may come in before it makes a message: one of the longest. */
const WINDOW_BYTES = 0xffff
const UNSENT_BYTES_MAX = 256 * 1024

export interface Segment {
  readonly seq: number
  readonly ack: number
  readonly flags: number
  readonly window: number
  readonly data: Uint8Array
}

export interface StreamOptions {
  readonly clock: Clock
  /** Initial sequence number. */
  readonly iss: number
  /** Octets of data that fit into a segment. */
  readonly mssBytes: number
  readonly send: (segment: Segment) => void
  /** A question. */
  readonly heard: (message: Uint8Array) => void
  /** It is over; told once. */
  readonly closed: () => void
}

export class Stream {
  readonly #options: StreamOptions
  /** Oldest number that is not acknowledged; what `#out` begins with, once the SYN is. */
  #una: number
  /** Octets of `#out` sent, and one more if the FIN is. */
  #sent = 0
  #out: Buffer = Buffer.alloc(0)
  #fin = false
  #next: number
  #in: Buffer = Buffer.alloc(0)
  #window = 0
  #established = false
  #peerFin = false
  /** Questions without an answer yet. */
  #waiting = 0
  #timeouts = 0
  #retry: Cancel | undefined
  #idle: Cancel
  #over = false

  /** Answers the SYN `first`. */
  constructor(options: StreamOptions, first: Segment) {
    this.#options = options
    this.#una = options.iss
    this.#next = (first.seq + 1) >>> 0
    this.#window = first.window
    this.#idle = options.clock.after(IDLE_MS, () => this.abort())
    this.#emit(Flag.Syn | Flag.Ack, this.#una, new Uint8Array(0))
    this.#arm()
  }

  segment(segment: Segment): void {
    if (this.#over) return
    const { flags, seq, ack } = segment
    if ((flags & Flag.Rst) !== 0) {
      if (seq === this.#next) this.#end()
      return
    }
    if ((flags & Flag.Syn) !== 0) return this.#acknowledge()
    if ((flags & Flag.Ack) === 0) return
    const limit = this.#established ? this.#sent : 1
    const acked = (ack - this.#una) | 0
    if (acked > limit) return this.#acknowledge()
    this.#window = segment.window
    if (acked > 0) this.#acked(acked)
    if (!this.#established) return
    this.#take(segment)
    if (!this.#over) this.#push()
  }

  /** Answer a question. */
  reply(message: Uint8Array): void {
    if (this.#over) return
    this.#waiting--
    const { length } = message
    this.#out = Buffer.concat([this.#out, Uint8Array.of(length >>> 8, length), message])
    if (this.#out.length > UNSENT_BYTES_MAX) return this.abort()
    this.#push()
  }

  /** End it now; the peer is told. Idempotent. */
  abort(): void {
    if (this.#over) return
    this.#emit(Flag.Rst | Flag.Ack, this.#seq(this.#sent), new Uint8Array(0))
    this.#end()
  }

  #seq(offset: number): number {
    return (this.#una + offset) >>> 0
  }

  #acked(count: number): void {
    const { clock } = this.#options
    this.#una = (this.#una + count) >>> 0
    this.#timeouts = 0
    this.#retry?.()
    this.#retry = undefined
    this.#idle()
    this.#idle = clock.after(IDLE_MS, () => this.abort())
    if (!this.#established) {
      this.#established = true
      return
    }
    this.#sent -= count
    const finished = count > this.#out.length
    this.#out = this.#out.subarray(Math.min(count, this.#out.length))
    if (finished) return this.#end()
    if (this.#sent > 0) this.#arm()
  }

  /** Data and FIN of the peer, if they are next. */
  #take({ seq, flags, data }: Segment): void {
    const fin = (flags & Flag.Fin) !== 0
    if (data.length === 0 && !fin) return
    const old = (this.#next - seq) | 0
    const fresh = old >= 0 && old <= data.length && !this.#peerFin
    const room = WINDOW_BYTES + 2 - this.#in.length
    if (!fresh || data.length - old > room) return this.#acknowledge()
    if (old < data.length) {
      this.#in = Buffer.concat([this.#in, data.subarray(old)])
      this.#next = (this.#next + data.length - old) >>> 0
    }
    if (fin) {
      this.#peerFin = true
      this.#next = (this.#next + 1) >>> 0
    }
    this.#acknowledge()
    this.#deliver()
  }

  #deliver(): void {
    while (this.#in.length >= 2 && !this.#over) {
      const length = this.#in.readUInt16BE(0)
      if (length < HEADER_BYTES || length > TCP_BYTES_MAX) return this.abort()
      if (this.#in.length < length + 2) return
      const message = this.#in.subarray(2, length + 2)
      this.#in = this.#in.subarray(length + 2)
      this.#waiting++
      this.#options.heard(message)
    }
  }

  /** Send what the window takes; at last the FIN. */
  #push(): void {
    const { mssBytes } = this.#options
    if (this.#peerFin && this.#waiting === 0) this.#fin = true
    const out = this.#out
    const all = out.length + (this.#fin ? 1 : 0)
    const limit = Math.min(all, Math.max(1, Math.min(this.#window, WINDOW_SEGMENTS * mssBytes)))
    while (this.#sent < limit) {
      const data = out.subarray(this.#sent, Math.min(this.#sent + mssBytes, out.length, limit))
      const last = this.#fin && this.#sent + data.length === out.length
      const flags = Flag.Ack | (data.length > 0 ? Flag.Psh : 0) | (last ? Flag.Fin : 0)
      this.#emit(flags, this.#seq(this.#sent), data)
      this.#sent += data.length + (last ? 1 : 0)
      if (last) break
    }
    if (this.#sent > 0) this.#arm()
  }

  #arm(): void {
    const delayMs = TIMEOUT_MS << this.#timeouts
    this.#retry ??= this.#options.clock.after(delayMs, () => {
      this.#retry = undefined
      if (++this.#timeouts > TIMEOUTS_MAX) return this.abort()
      if (this.#established) {
        this.#sent = 0
        return this.#push()
      }
      this.#emit(Flag.Syn | Flag.Ack, this.#una, new Uint8Array(0))
      this.#arm()
    })
  }

  #acknowledge(): void {
    if (this.#established) this.#emit(Flag.Ack, this.#seq(this.#sent), new Uint8Array(0))
    else this.#emit(Flag.Syn | Flag.Ack, this.#una, new Uint8Array(0))
  }

  #emit(flags: number, seq: number, data: Uint8Array): void {
    const window = Math.max(0, Math.min(WINDOW_BYTES, WINDOW_BYTES + 2 - this.#in.length))
    this.#options.send({ flags, seq, ack: this.#next, window, data })
  }

  #end(): void {
    this.#over = true
    this.#retry?.()
    this.#idle()
    this.#options.closed()
  }
}
