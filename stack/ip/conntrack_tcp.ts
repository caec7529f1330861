/**
 * TCP as a middle box sees it: the state that a connection is in. States and transitions are those
 * of Linux (nf_conntrack_proto_tcp), and so is what a segment may be to a state:
 *
 * ```text
 *   a state     the connection is in it from now on, if its windows admit the segment
 *   INVALID     it cannot be; the segment changes nothing and does not pass
 *   IGNORE      it passes and changes nothing: perhaps the ends know of something that we missed
 * ```
 * Which segments a connection's windows admit is in conntrack_windows.ts.
 */
import { u32 } from '../bytes.ts'
import { Reset, Windows } from './conntrack_windows.ts'
import * as tcp from './tcp.ts'
import { isWhole, locate, offsetOf } from './transport.ts'

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

const INVALID = -1
const IGNORE = -2

/**
 * Rows: SYN, SYN+ACK, FIN, ACK, RST. Columns: the states in the order of {@link TcpState}. One
 * differs from Linux, which replaces a connection in time_wait by one the other way round when its
 * server sends a SYN: here it goes on as one that both ends opened, since its tuples must stay.
 */
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
  Int8Array.of(V, 9, V, V, V, V, V, 9, V, 9),
  Int8Array.of(V, 2, G, G, G, G, G, G, G, 2),
  Int8Array.of(V, V, 4, 4, 6, 6, 6, 7, 8, V),
  Int8Array.of(V, G, 2, 3, 5, 5, 7, 7, 8, G),
  Int8Array.of(V, 8, 8, 8, 8, 8, 8, 8, 8, 8),
]

const { Syn, Ack, Fin, Rst } = tcp.Flag

/** The row of a segment, -1 if no TCP sends these flags together. */
function row(flags: number): number {
  switch (flags & (Syn | Ack | Fin | Rst)) {
    case Syn:
      return 0
    case Syn | Ack:
      return 1
    case Fin | Ack:
      return 2
    case Ack:
      return 3
    case Rst:
    case Rst | Ack:
      return 4
    default:
      return -1
  }
}

/** State after a segment: a {@link TcpState}, {@link INVALID} or {@link IGNORE}. */
export function nextState(state: number, flags: number, reply: boolean): number {
  const at = row(flags)
  return at < 0 ? INVALID : (reply ? REPLY : ORIGINAL)[at]![state]!
}

/** True if the packet at `ip` is whole, and a SYN that begins a connection. */
export function isOpening(mem: Uint8Array, ip: number, end: number): boolean {
  const located = locate(mem, ip, end)
  const at = ip + offsetOf(located)
  return isWhole(located) && tcp.isOpening(mem, at, end - at)
}

/** True if nothing is to come but what was sent twice. */
export function isOver(state: number): boolean {
  return state === TcpState.TimeWait || state === TcpState.Close
}

/**
 * What a segment did to its connection. `Ignored`: it may pass and nothing is changed. `Anew`: it
 * began another connection in the place of one that was over.
 */
export const Step = { Refused: 0, Ignored: 1, Taken: 2, Anew: 3 } as const

/** State and windows of every connection, by entry or flow (`entry * 2 + direction`). */
export class TcpTracker {
  readonly #states: Uint8Array
  readonly #windows: Windows

  constructor(entriesMax: number) {
    this.#states = new Uint8Array(entriesMax)
    this.#windows = new Windows(entriesMax)
  }

  get bytes(): number {
    return this.#states.byteLength + this.#windows.bytes
  }

  reset(entry: number): void {
    this.#states[entry] = TcpState.None
    this.#windows.reset(entry)
  }

  state(entry: number): number {
    return this.#states[entry]!
  }

  /** The sequence number after the last octet that this direction sent. A signed word. */
  nextSequence(flow: number): number {
    return this.#windows.end(flow)
  }

  /** True if one end has sent what the other has not acknowledged. */
  isUnacknowledged(entry: number): boolean {
    return this.#windows.isUnacknowledged(entry)
  }

  /**
   * The segment of `flow` whose TCP header is at `at` and which ends at `end`; `whole`: it is no
   * fragment. Returns a {@link Step}.
   */
  step(flow: number, mem: Uint8Array, at: number, end: number, whole: boolean): number {
    if (!tcp.isHeader(mem, at, end - at)) return Step.Refused
    const entry = flow >>> 1
    const windows = this.#windows
    const state = this.#states[entry]!
    const flags = tcp.flags(mem, at)
    let next = nextState(state, flags, (flow & 1) === 1)
    if (next === INVALID) return Step.Refused
    if (next === IGNORE) {
      if (!this.#isMissedOpening(flow, mem, at)) return this.#ignore(flow, state, flags)
      windows.reset(entry)
      windows.trust(entry)
      next = TcpState.SynRecv
    }
    const anew = isOver(state) && !isOver(next)
    if (anew) windows.reset(entry)
    if ((flags & Rst) !== 0) {
      next = this.#afterReset(flow, u32(mem, at + tcp.SEQ), state)
      if (next === INVALID) return Step.Refused
    }
    const payload = end - at - tcp.headerBytes(mem, at)
    const answer = (flags & Rst) !== 0 && windows.isStray(flow ^ 1)
    const opening = state === TcpState.SynSent
    if (!answer && !windows.admits(flow, mem, at, payload, opening)) return Step.Refused
    if (!whole) windows.trust(entry)
    this.#states[entry] = next
    return anew ? Step.Anew : Step.Taken
  }

  /** A SYN+ACK for a SYN that was ignored: the ends agree on a connection that we do not know. */
  #isMissedOpening(flow: number, mem: Uint8Array, at: number): boolean {
    const both = (tcp.flags(mem, at) & (Syn | Ack)) === (Syn | Ack)
    if (!both || !this.#windows.isStray(flow ^ 1)) return false
    return !this.#windows.isEnd(flow ^ 1, u32(mem, at + tcp.ACK))
  }

  /**
   * Remember a SYN that was ignored, and an answer to a SYN that acknowledges something else: what
   * comes back tells what they were.
   */
  #ignore(flow: number, state: number, flags: number): number {
    const awaited = state === TcpState.SynSent || state === TcpState.SynSent2
    if ((flags & (Syn | Ack)) === Syn || awaited) this.#windows.stray(flow)
    return Step.Ignored
  }

  /** State after a reset, or INVALID. */
  #afterReset(flow: number, seq: number, state: number): number {
    if (this.#windows.isStray(flow ^ 1)) return TcpState.Close
    const what = this.#windows.judgeReset(flow, seq)
    if (what === Reset.Stale) return INVALID
    const kept = what === Reset.Doubtful && state === TcpState.Established
    return kept ? state : TcpState.Close
  }
}
