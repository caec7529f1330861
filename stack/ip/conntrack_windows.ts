/**
 * Which segments can belong to a TCP connection: what both ends have sent, acknowledged and
 * offered, after Guido van Rooij ("Real Stateful TCP Packet Filtering in IP Filter", 2001), as
 * lenient as Linux. For a segment from one end (the sender) to the other (the receiver):
 *
 * ```text
 *   seq <= receiver.acked + receiver.window    not beyond what the receiver may take
 *   end >= sender.end - receiver.window        not older than a whole window
 *   ack <= receiver.end                        acknowledges nothing that was not sent
 *   ack >= receiver.end - 66000 or so          nor anything too old
 * ```
 * `window` is the largest that was offered. Without data only the acknowledgement is asked: probes
 * and keep-alives lie about their sequence number. A reset is asked for it always.
 *
 * Nothing is asked of a connection that was first seen in its middle (its window scale is not
 * known), nor after a fragmented segment (its length is not known): these are trusted.
 */
import { u8, u16, u32 } from '../bytes.ts'
import * as tcp from './tcp.ts'

/** What a reset is to a connection; see {@link Windows.judgeReset}. */
export const Reset = { Stale: 0, Ends: 1, Doubtful: 2 } as const

/** Words of a direction: end of what it sent, highest it acknowledged, largest window offered. */
const WORDS = 3
const END = 0
const ACKED = 1
const WINDOW = 2
/** RFC 7323 §2.3 has 14 as the largest, and so 2^30 octets as the largest window. */
const SCALE_MAX = 14
const WINDOW_MAX = 1 << 30
const OPTION_SCALE = 3
/** What an acknowledgement may lag behind, at least. */
const ACK_LAG = 66_000
/**
 * Facts of a direction, one octet. `Strayed`: its last segment was one that the state had no use
 * for; `Acknowledged`: its word ACKED counts; `Scaled`: it offered the option.
 */
const Fact = {
  Scale: 0x0f,
  Strayed: 0x10,
  Acknowledged: 0x20,
  Scaled: 0x40,
  Trusted: 0x80,
} as const
const { Syn, Ack, Fin, Rst } = tcp.Flag

/** By flow, `entry * 2 + direction`. All zero: no segment of it was seen. */
export class Windows {
  readonly #words: Int32Array
  readonly #facts: Uint8Array

  constructor(entriesMax: number) {
    this.#words = new Int32Array(entriesMax * 2 * WORDS)
    this.#facts = new Uint8Array(entriesMax * 2)
  }

  get bytes(): number {
    return this.#words.byteLength + this.#facts.byteLength
  }

  reset(entry: number): void {
    this.#words.fill(0, entry * 2 * WORDS, (entry + 1) * 2 * WORDS)
    this.#facts.fill(0, entry * 2, entry * 2 + 2)
  }

  /** Ask nothing of this connection's segments any more. */
  trust(entry: number): void {
    this.#facts[entry * 2]! |= Fact.Trusted
    this.#facts[entry * 2 + 1]! |= Fact.Trusted
  }

  /** A segment of `flow` in a state that has no use for it: perhaps we have missed something. */
  stray(flow: number): void {
    this.#facts[flow]! |= Fact.Strayed
    this.#facts[flow ^ 1]! &= ~Fact.Strayed
  }

  /** True if the last segment was a stray one, of `flow`. */
  isStray(flow: number): boolean {
    return (this.#facts[flow]! & Fact.Strayed) !== 0
  }

  /** The sequence number after all that this direction has sent. A signed word. */
  end(flow: number): number {
    return this.#words[flow * WORDS + END]!
  }

  /** True if an acknowledgement is of just what this direction has sent. */
  isEnd(flow: number, ack: number): boolean {
    return this.#words[flow * WORDS + END] === (ack | 0)
  }

  /** True if one end has sent what the other has not acknowledged. */
  isUnacknowledged(entry: number): boolean {
    return this.#lacks(entry * 2) || this.#lacks(entry * 2 + 1)
  }

  #lacks(flow: number): boolean {
    const words = this.#words
    if (words[flow * WORDS + WINDOW] === 0) return false
    if ((this.#facts[flow ^ 1]! & Fact.Acknowledged) === 0) return true
    return ((words[flow * WORDS + END]! - words[(flow ^ 1) * WORDS + ACKED]!) | 0) > 0
  }

  /**
   * What a reset with sequence number `seq` is. `Doubtful`: it may be somebody's guess, and its
   * receiver will ask for a better one if it is in its window (RFC 5961 §3).
   */
  judgeReset(flow: number, seq: number): number {
    if ((this.#facts[flow ^ 1]! & Fact.Acknowledged) === 0) return Reset.Ends
    const words = this.#words
    const ahead = (seq - words[(flow ^ 1) * WORDS + ACKED]!) | 0
    if (ahead < 0) return Reset.Stale
    return ahead === 0 || (seq | 0) === words[flow * WORDS + END] ? Reset.Ends : Reset.Doubtful
  }

  /**
   * True if the segment at `at` (its TCP header) with `payload` octets can belong to `flow`; then
   * it is remembered unless it is a reset; else nothing is changed. `opening`: the connection's
   * first SYN has no answer yet. Precondition: the whole TCP header is there.
   */
  admits(flow: number, mem: Uint8Array, at: number, payload: number, opening: boolean): boolean {
    const words = this.#words
    const sender = flow * WORDS
    const receiver = (flow ^ 1) * WORDS
    const flags = tcp.flags(mem, at)
    const syn = (flags & Syn) !== 0
    let seq = u32(mem, at + tcp.SEQ) | 0
    const last = (seq + payload + (syn ? 1 : 0) + ((flags & Fin) !== 0 ? 1 : 0)) | 0
    const first = syn || words[sender + WINDOW] === 0
    if (syn && (flags & Ack) === 0) {
      this.#open(flow, mem, at, last)
      return true
    }
    let end = last
    const senderEnd = first ? last : words[sender + END]!
    const heard = words[receiver + WINDOW] !== 0
    const said = u32(mem, at + tcp.ACK) | 0
    const acks = (flags & Ack) !== 0 && ((flags & Rst) === 0 || said !== 0)
    const receiverEnd = heard || !acks ? words[receiver + END]! : said
    const ack = acks ? said : receiverEnd
    if (seq === end && ((flags & Rst) === 0 || (seq === 0 && opening))) {
      seq = senderEnd
      end = senderEnd
    }
    const limit = (words[receiver + ACKED]! + words[receiver + WINDOW]!) | 0
    const limited = (this.#facts[flow ^ 1]! & Fact.Acknowledged) !== 0
    const behind = (receiverEnd - ack) | 0
    const fits =
      (first || !limited || ((seq - limit) | 0) <= 0) &&
      ((end - senderEnd + words[receiver + WINDOW]!) | 0) >= 0 &&
      behind >= 0 &&
      behind <= Math.max(ACK_LAG, words[sender + WINDOW]!)
    if (!fits && (this.#facts[flow]! & Fact.Trusted) === 0) return false
    // Else two guesses would do: the first moves the end to where the second is believed.
    if ((flags & Rst) !== 0) return true
    if (first) this.#open(flow, mem, at, last)
    else if (((end - senderEnd) | 0) > 0) words[sender + END] = end
    if (limited && ((end - limit) | 0) > 0) {
      this.#offer(flow ^ 1, Math.min(words[receiver + WINDOW]! + ((end - limit) | 0), WINDOW_MAX))
    }
    if (!heard) words[receiver + END] = receiverEnd
    this.#offer(flow, syn ? 0 : u16(mem, at + tcp.WINDOW) << (this.#facts[flow]! & Fact.Scale))
    if (acks) this.#acknowledge(flow, ack)
    this.#facts[flow]! &= ~Fact.Strayed
    this.#facts[flow ^ 1]! &= ~Fact.Strayed
    return true
  }

  #offer(flow: number, window: number): void {
    if (this.#words[flow * WORDS + WINDOW]! < window) this.#words[flow * WORDS + WINDOW] = window
  }

  #acknowledge(flow: number, ack: number): void {
    const known = (this.#facts[flow]! & Fact.Acknowledged) !== 0
    if (known && ((ack - this.#words[flow * WORDS + ACKED]!) | 0) <= 0) return
    this.#words[flow * WORDS + ACKED] = ack
    this.#facts[flow]! |= Fact.Acknowledged
  }

  /** The first segment of a direction, or a SYN that begins it anew. */
  #open(flow: number, mem: Uint8Array, at: number, end: number): void {
    const words = this.#words
    const flags = tcp.flags(mem, at)
    words[flow * WORDS + END] = end
    // Not scaled in a SYN (RFC 7323 §2.2); one, since zero is for a direction not heard of.
    words[flow * WORDS + WINDOW] = Math.max(1, u16(mem, at + tcp.WINDOW))
    if ((flags & Syn) === 0) {
      if (words[(flow ^ 1) * WORDS + WINDOW] === 0) this.trust(flow >>> 1)
      return
    }
    const scale = scaleOption(mem, at)
    this.#facts[flow]! &= ~(Fact.Scale | Fact.Scaled)
    if (scale >= 0) this.#facts[flow]! |= Fact.Scaled | scale
    // Both ends must speak of it, or neither's counts (RFC 7323 §2.2).
    if ((flags & Ack) !== 0 && (this.#facts[flow]! & this.#facts[flow ^ 1]! & Fact.Scaled) === 0) {
      this.#facts[flow]! &= ~Fact.Scale
      this.#facts[flow ^ 1]! &= ~Fact.Scale
    }
  }
}

/** The window scale that a SYN offers, or -1. */
function scaleOption(mem: Uint8Array, at: number): number {
  const end = at + tcp.headerBytes(mem, at)
  for (let option = at + tcp.HEADER_BYTES; option < end; ) {
    const kind = u8(mem, option)
    if (kind === 0) return -1
    if (kind === 1) {
      option++
      continue
    }
    if (option + 2 > end) return -1
    const bytes = u8(mem, option + 1)
    if (bytes < 2 || option + bytes > end) return -1
    if (kind === OPTION_SCALE && bytes === 3) return Math.min(u8(mem, option + 2), SCALE_MAX)
    option += bytes
  }
  return -1
}
