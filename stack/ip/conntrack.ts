/**
 * Connection tracking: which connection a packet belongs to, and what state that is in.
 *
 * ```text
 *   packet -> tuple -> index (tuple_index.ts) -> entry: state, when it ends, mark, TCP windows,
 *                                                       packets and octets each way
 * ```
 * An entry has two tuples: what the first packet looked like, and what its answers look like; they
 * differ from each other's inverse where addresses are translated (nat.ts). A **flow** is an entry
 * seen in one direction, `entry * 2 + direction`; `flow ^ 1` is the other.
 *
 * All in typed arrays, {@link ENTRY_BYTES} an entry. The memory is taken at construction but
 * touched only as entries come. Time is kept in tenths of a second.
 *
 * Full: a new connection takes the place of one nearby that nobody answered yet, else it is
 * refused. So a flood of SYNs from invented sources replaces itself, and established connections
 * stay. Expired entries go by a sweep that runs only while there are entries.
 */
import type { Cancel, Clock } from '../clock.ts'
import { DropReason } from '../drop.ts'
import { StackError } from '../errors.ts'
import type { Packet, Pool } from '../packet.ts'
import { type ConntrackFilter, type ConntrackRow, listFlows } from './conntrack_list.ts'
import { IGNORE, INVALID, nextState, TcpState, Windows } from './conntrack_tcp.ts'
import { DEFAULT_TIMEOUTS, type Timeouts } from './conntrack_timeouts.ts'
import * as ipv4 from './ipv4.ts'
import * as tcp from './tcp.ts'
import { kindOf, PROTOCOL, readTuple, TUPLE_WORDS, TupleKind, transportOf } from './tuple.ts'
import { TupleIndex } from './tuple_index.ts'

export const Direction = { Original: 0, Reply: 1 } as const
/** Connections at most, unless told: what Linux takes on a machine of 16 GB. */
export const ENTRIES_MAX = 262_144
/** Octets an entry with both directions: index 96, windows 26, counters 24, the rest 14. */
export const ENTRY_BYTES = 160

const TICK_MS = 100
/** Whole table in a second. */
const SWEEPS = 10
/** Entries looked at for one to give up when the table is full. */
const EARLY_DROP_MAX = 64

const Status = { Live: 1, Answered: 2, Assured: 4 } as const

/** What happened to a connection, for listeners. */
export type ConntrackChange = 'new' | 'update' | 'destroy'

export interface ConntrackOptions {
  readonly pool: Pool
  readonly clock: Clock
  readonly seed: number
  readonly entriesMax?: number
  readonly timeouts?: Partial<Timeouts>
}

export class Conntrack {
  readonly entriesMax: number
  /** Called just before an entry goes, for whatever cause, with its Original flow. */
  ended: (flow: number) => void = () => {}
  /** Hears every new entry, change of state and end, while somebody listens. */
  changed: ((flow: number, change: ConntrackChange) => void) | undefined = undefined
  readonly #pool: Pool
  readonly #clock: Clock
  readonly #timeouts: Timeouts
  readonly #tcpTimeouts: readonly number[]
  readonly #index: TupleIndex
  /** Entry + 1 of the free one after a free one; 0: none. */
  readonly #nextFree: Int32Array
  readonly #status: Uint8Array
  readonly #state: Uint8Array
  /** Tick in which it ends. */
  readonly #expires: Int32Array
  readonly #marks: Int32Array
  readonly #packets: Uint32Array
  readonly #octets: Float64Array
  readonly #windows: Windows
  readonly #scratch = new Int32Array(TUPLE_WORDS)
  /** Entries below it were used once. */
  #fresh = 0
  /** Entry + 1 of the first free one below it; 0: none. */
  #free = 0
  #count = 0
  #hand = 0
  #sweep: Cancel | undefined

  constructor({ pool, clock, seed, entriesMax = ENTRIES_MAX, timeouts = {} }: ConntrackOptions) {
    if (entriesMax < 1) throw new StackError('bad-argument', 'conntrack needs room for one entry')
    this.entriesMax = entriesMax
    this.#pool = pool
    this.#clock = clock
    const t = { ...DEFAULT_TIMEOUTS, ...timeouts }
    this.#timeouts = t
    this.#tcpTimeouts = tcpTimeouts(t)
    this.#index = new TupleIndex({ entriesMax, seed })
    this.#nextFree = new Int32Array(entriesMax)
    this.#status = new Uint8Array(entriesMax)
    this.#state = new Uint8Array(entriesMax)
    this.#expires = new Int32Array(entriesMax)
    this.#marks = new Int32Array(entriesMax)
    this.#packets = new Uint32Array(entriesMax * 2)
    this.#octets = new Float64Array(entriesMax * 2)
    this.#windows = new Windows(entriesMax)
  }

  get count(): number {
    return this.#count
  }

  /** Octets of memory that a full table takes. */
  get bytes(): number {
    const own = [this.#nextFree, this.#status, this.#state, this.#expires, this.#marks]
    const counters = this.#packets.byteLength + this.#octets.byteLength
    const rest = own.reduce((total, { byteLength }) => total + byteLength, counters)
    return this.#index.bytes + this.#windows.bytes + rest
  }

  /** The flow with this tuple, or -1. */
  find(words: Int32Array): number {
    return this.#index.find(words)
  }

  isTaken(words: Int32Array): boolean {
    return this.find(words) >= 0
  }

  /**
   * A new connection; its flow of direction Original, or -1: the table is full of connections that
   * may not be dropped, or one of the tuples is taken.
   */
  insert(original: Int32Array, reply: Int32Array): number {
    if (this.isTaken(original) || this.isTaken(reply)) return -1
    const entry = this.#take()
    if (entry < 0) return -1
    this.#index.add(entry, original, reply)
    this.#status[entry] = Status.Live
    this.#state[entry] = TcpState.None
    this.#marks[entry] = 0
    this.#packets.fill(0, entry * 2, entry * 2 + 2)
    this.#octets.fill(0, entry * 2, entry * 2 + 2)
    this.#windows.reset(entry)
    this.#count++
    this.#expires[entry] = this.#now() + this.#ticks(this.#timeouts.genericMs)
    this.#sweep ??= this.#clock.after(TICK_MS, () => this.#tick())
    this.changed?.(entry * 2, 'new')
    return entry * 2
  }

  /**
   * A packet of `flow`, its IP header at `ip`, before it is translated; also the first one. Returns
   * 0 if it may pass, else a drop reason; what may not pass changes nothing.
   */
  update(flow: number, packet: Packet, ip: number): number {
    const entry = flow >>> 1
    const reply = (flow & 1) === 1
    const end = packet.head + packet.len
    const { mem } = this.#pool
    const result = readTuple(mem, ip, end, this.#scratch)
    const protocol = this.#index.word(flow, PROTOCOL) & 0xff
    if (protocol === ipv4.Protocol.Tcp && kindOf(result) === TupleKind.Flow) {
      const at = ip + transportOf(result)
      if (!this.#updateTcp(flow, at, end)) return DropReason.ConntrackInvalid
    } else {
      if (reply) this.#status[entry]! |= Status.Answered
      else if ((this.#status[entry]! & Status.Answered) !== 0) {
        this.#status[entry]! |= Status.Assured
      }
      this.#expires[entry] = this.#now() + this.#ticks(this.#idleMs(entry, protocol))
    }
    this.#packets[flow]!++
    this.#octets[flow]! += end - ip
    return 0
  }

  #updateTcp(flow: number, at: number, end: number): boolean {
    const { mem } = this.#pool
    const entry = flow >>> 1
    if (!tcp.isHeader(mem, at, end - at)) return false
    const state = this.#state[entry]!
    const flags = tcp.flags(mem, at)
    const next = nextState(state, flags, (flow & 1) === 1)
    if (next === INVALID) return false
    const anew = next === TcpState.SynSent && state >= TcpState.TimeWait
    if (anew) this.#windows.reset(entry)
    if (!this.#windows.admits(flow, mem, at, end - at - tcp.headerBytes(mem, at))) return false
    if (next === IGNORE) return true
    if ((flow & 1) === 1) this.#status[entry]! |= Status.Answered
    if (next >= TcpState.Established && next !== TcpState.SynSent2 && next !== TcpState.Close) {
      this.#status[entry]! |= Status.Assured
    }
    this.#state[entry] = next
    this.#expires[entry] = this.#now() + this.#tcpTimeouts[next]!
    if (next !== state) this.changed?.(flow & ~1, 'update')
    return true
  }

  #idleMs(entry: number, protocol: number): number {
    const t = this.#timeouts
    if (protocol === ipv4.Protocol.Udp) {
      return (this.#status[entry]! & Status.Assured) !== 0 ? t.udpStreamMs : t.udpMs
    }
    const icmp = protocol === ipv4.Protocol.Icmp || protocol === ipv4.Protocol.Icmp6
    return icmp ? t.icmpMs : t.genericMs
  }

  tupleWord(flow: number, i: number): number {
    return this.#index.word(flow, i)
  }

  loadTuple(flow: number, words: Int32Array): void {
    this.#index.load(flow, words)
  }

  /** What the user of this table keeps with the entry of a flow. */
  mark(flow: number): number {
    return this.#marks[flow >>> 1]!
  }

  setMark(flow: number, mark: number): void {
    this.#marks[flow >>> 1] = mark
  }

  isLive(flow: number): boolean {
    return (this.#status[flow >>> 1]! & Status.Live) !== 0
  }

  isAssured(flow: number): boolean {
    return (this.#status[flow >>> 1]! & Status.Assured) !== 0
  }

  isAnswered(flow: number): boolean {
    return (this.#status[flow >>> 1]! & Status.Answered) !== 0
  }

  /** A {@link TcpState}; 0 for other protocols. */
  state(flow: number): number {
    return this.#state[flow >>> 1]!
  }

  /** Packets and octets seen of this direction. */
  packets(flow: number): number {
    return this.#packets[flow]!
  }

  octets(flow: number): number {
    return this.#octets[flow]!
  }

  /** Milliseconds until it is forgotten. */
  remainingMs(flow: number): number {
    return Math.max(0, this.#expires[flow >>> 1]! - this.#now()) * TICK_MS
  }

  /** The first live entry's Original flow at or after `flow`, or -1: for listings. */
  nextLive(flow: number): number {
    for (let entry = (flow + 1) >>> 1; entry < this.#fresh; entry++) {
      if ((this.#status[entry]! & Status.Live) !== 0) return entry * 2
    }
    return -1
  }

  /** Connections that fit, oldest place first. */
  list(filter: ConntrackFilter = {}): ConntrackRow[] {
    return listFlows(this, filter).map(({ row }) => row)
  }

  /** Forget the connections that fit; returns how many. */
  delete(filter: ConntrackFilter): number {
    const all = listFlows(this, filter)
    for (const { flow } of all) this.remove(flow)
    return all.length
  }

  /** Forget a connection. Precondition: it is live. */
  remove(flow: number): void {
    const entry = flow >>> 1
    this.ended(entry * 2)
    this.changed?.(entry * 2, 'destroy')
    this.#index.remove(entry)
    this.#status[entry] = 0
    this.#nextFree[entry] = this.#free
    this.#free = entry + 1
    this.#count--
  }

  /** Forget everything; no timer is left. */
  close(): void {
    this.#sweep?.()
    this.#sweep = undefined
    for (let flow = this.nextLive(0); flow >= 0; flow = this.nextLive(flow + 2)) this.remove(flow)
  }

  #take(): number {
    if (this.#free === 0 && this.#fresh === this.entriesMax) this.#dropEarly()
    if (this.#free > 0) {
      const entry = this.#free - 1
      this.#free = this.#nextFree[entry]!
      return entry
    }
    return this.#fresh < this.entriesMax ? this.#fresh++ : -1
  }

  /** Forget one connection that was never answered, or is over, if there is one near the hand. */
  #dropEarly(): void {
    const now = this.#now()
    for (let i = 0; i < Math.min(EARLY_DROP_MAX, this.entriesMax); i++) {
      const entry = this.#hand
      this.#hand = entry + 1 < this.#fresh ? entry + 1 : 0
      const unassured = (this.#status[entry]! & Status.Assured) === 0
      if (unassured || this.#expires[entry]! <= now) return this.remove(entry * 2)
    }
  }

  #tick(): void {
    const now = this.#now()
    const budget = Math.ceil(this.#fresh / SWEEPS)
    for (let i = 0; i < budget; i++) {
      const entry = this.#hand
      this.#hand = entry + 1 < this.#fresh ? entry + 1 : 0
      if ((this.#status[entry]! & Status.Live) !== 0 && this.#expires[entry]! <= now) {
        this.remove(entry * 2)
      }
    }
    this.#sweep = this.#count > 0 ? this.#clock.after(TICK_MS, () => this.#tick()) : undefined
  }

  #now(): number {
    return Math.floor(this.#clock.nowMs / TICK_MS)
  }

  #ticks(durationMs: number): number {
    return Math.ceil(durationMs / TICK_MS)
  }
}

/** Ticks by {@link TcpState}. */
function tcpTimeouts(t: Timeouts): number[] {
  return [
    t.tcpSynSentMs,
    t.tcpSynSentMs,
    t.tcpSynRecvMs,
    t.tcpEstablishedMs,
    t.tcpFinWaitMs,
    t.tcpCloseWaitMs,
    t.tcpLastAckMs,
    t.tcpTimeWaitMs,
    t.tcpCloseMs,
    t.tcpSynSentMs,
  ].map((durationMs) => Math.ceil(durationMs / TICK_MS))
}
