/**
 * TCP as a middle box sees it: which state a connection is in, and whether a segment can belong to
 * it. States and transitions are those that Linux uses; the window test is Guido van Rooij's
 * ("Real Stateful TCP Packet Filtering in IP Filter", 2001), as lenient as the kernel's.
 *
 * Four limits, for a segment from one end (the sender) to the other (the receiver):
 *
 * ```text
 *   seq <= sender.maxEnd                     not beyond what the receiver may take
 *   end >= sender.end - receiver.maxWindow   not older than a whole window
 *   ack <= receiver.end                      acknowledges nothing that was not sent
 *   ack >= receiver.end - 66000 or so        nor anything too old
 * ```
 * A connection that is first seen in the middle is believed (its window scale is not known), and
 * then no window is asked.
 */
import { u8, u16, u32 } from '../bytes.ts'
import * as tcp from './tcp.ts'

export const TcpState = {
  None: 0,
  SynSent: 1,
  SynRecv: 2,
  Established: 3,
  FinWait: 4,
  CloseWait: 5,
  LastAck: 6,
  TimeWait: 7,
  Close: 8,
  /** A SYN from both ends. */
  SynSent2: 9,
} as const

export const TCP_STATE_NAMES: readonly string[] = [
  'none',
  'syn_sent',
  'syn_recv',
  'established',
  'fin_wait',
  'close_wait',
  'last_ack',
  'time_wait',
  'close',
  'syn_sent2',
]

/** The segment cannot be; the segment changes nothing. */
export const INVALID = -1
export const IGNORE = -2

/** Rows: SYN, SYN+ACK, FIN, ACK, RST. Columns: the states in the order of {@link TcpState}. */
const V = INVALID
const G = IGNORE
const ORIGINAL: readonly Int8Array[] = [
  Int8Array.of(1, 1, G, G, G, G, G, 1, 1, 9),
  Int8Array.of(V, V, 2, V, V, V, V, V, V, 2),
  Int8Array.of(V, V, 4, 4, 6, 6, 6, 7, 8, V),
  Int8Array.of(3, V, 3, 3, 5, 5, 7, 7, 8, V),
  Int8Array.of(V, 8, 8, 8, 8, 8, 8, 8, 8, 8),
]
const REPLY: readonly Int8Array[] = [
  Int8Array.of(V, 9, V, V, V, V, V, 1, V, 9),
  Int8Array.of(V, 2, G, G, G, G, G, G, G, 2),
  Int8Array.of(V, V, 4, 4, 6, 6, 6, 7, 8, V),
  Int8Array.of(V, G, 2, 3, 5, 5, 7, 7, 8, G),
  Int8Array.of(V, 8, 8, 8, 8, 8, 8, 8, 8, 8),
]

const { Syn, Ack, Fin, Rst } = tcp.Flag
const KNOWN_FLAGS = Syn | Ack | Fin | Rst

function row(flags: number): number {
  if ((flags & Rst) !== 0) return 4
  if ((flags & Syn) !== 0) return (flags & Ack) !== 0 ? 1 : 0
  if ((flags & Fin) !== 0) return 2
  return (flags & Ack) !== 0 ? 3 : -1
}

/** State after a segment: a {@link TcpState}, {@link INVALID} or {@link IGNORE}. */
export function nextState(state: number, flags: number, reply: boolean): number {
  const set = flags & KNOWN_FLAGS
  if ((set & Syn) !== 0 && (set & (Fin | Rst)) !== 0) return INVALID
  const at = row(set)
  return at < 0 ? INVALID : (reply ? REPLY : ORIGINAL)[at]![state]!
}

/** Words a direction in {@link Windows}. */
const WORDS = 3
const END = 0
const MAX_END = 1
const MAX_WINDOW = 2
/** Without option the scale is 0; RFC 7323 §2.3 has 14 as the largest. */
const SCALE_MAX = 14
const OPTION_SCALE = 3
/** What an acknowledgement may lag behind, at least. */
const ACK_LAG = 66_000
/** In the scale's octet: the option was seen; no window is asked of this direction. */
const SCALED = 0x40
const LIBERAL = 0x80
const SCALE_MASK = 0x0f

/** What both ends of each connection have sent and may send; index: `entry * 2 + direction`. */
export class Windows {
  readonly #words: Int32Array
  readonly #scales: Uint8Array

  constructor(entriesMax: number) {
    this.#words = new Int32Array(entriesMax * 2 * WORDS)
    this.#scales = new Uint8Array(entriesMax * 2)
  }

  get bytes(): number {
    return this.#words.byteLength + this.#scales.byteLength
  }

  reset(entry: number): void {
    this.#words.fill(0, entry * 2 * WORDS, (entry + 1) * 2 * WORDS)
    this.#scales.fill(0, entry * 2, entry * 2 + 2)
  }

  /**
   * True if the segment at `at` (its TCP header) with `payload` octets can belong to `flow`; then
   * it is remembered. Precondition: the whole TCP header is there.
   */
  admits(flow: number, mem: Uint8Array, at: number, payload: number): boolean {
    const words = this.#words
    const flags = tcp.flags(mem, at)
    const sender = flow * WORDS
    const receiver = (flow ^ 1) * WORDS
    const seq = u32(mem, at + tcp.SEQ) | 0
    const syn = (flags & Syn) !== 0
    const end = (seq + payload + (syn ? 1 : 0) + ((flags & Fin) !== 0 ? 1 : 0)) | 0
    let ack = u32(mem, at + tcp.ACK) | 0
    let window = u16(mem, at + tcp.SEQ + 10)
    if (words[sender + MAX_WINDOW] === 0 || syn) {
      this.#open(flow, mem, at, end, window)
      if (syn && (flags & Ack) === 0) return true
    }
    if ((flags & Ack) === 0 || ((flags & Rst) !== 0 && ack === 0)) ack = words[receiver + END]!
    if (!syn) window <<= this.#scales[flow]! & SCALE_MASK
    if (words[receiver + MAX_WINDOW] === 0) {
      words[receiver + END] = ack
      words[receiver + MAX_END] = ack
    }
    const liberal = ((this.#scales[flow]! | this.#scales[flow ^ 1]!) & LIBERAL) !== 0
    if (!liberal && !this.#fits(sender, receiver, seq, end, ack)) return false
    if (words[sender + MAX_WINDOW]! >>> 0 < window) words[sender + MAX_WINDOW] = window
    if (((end - words[sender + END]!) | 0) > 0) words[sender + END] = end
    const upTo = (ack + Math.max(window, 1)) | 0
    if (((upTo - words[receiver + MAX_END]!) | 0) > 0) words[receiver + MAX_END] = upTo
    return true
  }

  #fits(sender: number, receiver: number, seq: number, end: number, ack: number): boolean {
    const words = this.#words
    const lag = Math.max(ACK_LAG, words[sender + MAX_WINDOW]! >>> 0)
    return (
      ((seq - words[sender + MAX_END]!) | 0) <= 0 &&
      ((end - words[sender + END]! + words[receiver + MAX_WINDOW]!) | 0) >= 0 &&
      ((ack - words[receiver + END]!) | 0) <= 0 &&
      ((ack - words[receiver + END]! + lag) | 0) >= 0
    )
  }

  /** The first segment of a direction. */
  #open(flow: number, mem: Uint8Array, at: number, end: number, window: number): void {
    const words = this.#words
    const sender = flow * WORDS
    const syn = (tcp.flags(mem, at) & Syn) !== 0
    words[sender + END] = end
    words[sender + MAX_WINDOW] = Math.max(window, 1)
    if (!syn) {
      words[sender + MAX_END] = (end + Math.max(window, 1)) | 0
      if (words[(flow ^ 1) * WORDS + MAX_WINDOW] === 0) this.#scales[flow]! |= LIBERAL
      return
    }
    words[sender + MAX_END] = end
    const scale = scaleOption(mem, at)
    this.#scales[flow] = scale < 0 ? 0 : scale | SCALED
    // Both ends must speak of it, or neither's counts (RFC 7323 §2.2).
    const answer = (tcp.flags(mem, at) & Ack) !== 0
    if (answer && (this.#scales[flow]! & this.#scales[flow ^ 1]! & SCALED) === 0) {
      this.#scales[flow] = 0
      this.#scales[flow ^ 1] = 0
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
