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
 * All in typed arrays, at most {@link ENTRY_BYTES} octets an entry, asked for at construction; the
 * system gives pages of it only as entries come. Time is kept in tenths of a second.
 *
 * Full: a new connection takes the place of one that is not assured (nobody answered, or nobody
 * took up the answer) or is over, the first of {@link EARLY_DROP_MAX} places; else it is refused.
 * So a flood of packets from invented sources replaces itself, and assured connections stay.
 * Expired entries go by a sweep that runs only while there are entries.
 */
import type { Cancel, Clock } from '../clock.ts'
import { DropReason } from '../drop.ts'
import { StackError } from '../errors.ts'
import type { Packet, Pool } from '../packet.ts'
import { ConntrackCounters } from './conntrack_counters.ts'
import { isOver, Step, TcpState, TcpTracker } from './conntrack_tcp.ts'
import { DEFAULT_TIMEOUTS, idleMs, type Timeouts, tcpTimeoutsMs } from './conntrack_timeouts.ts'
import * as ipv4 from './ipv4.ts'
import { strideOf } from './stride.ts'
import { isWhole, locate, offsetOf } from './transport.ts'
import { PROTOCOL } from './tuple.ts'
import { TupleIndex } from './tuple_index.ts'

export const Direction = { Original: 0, Reply: 1 } as const
/** Connections at most, unless told: what Linux takes with more than 4 GB of memory. */
const ENTRIES_MAX = 262_144
/** Octets an entry at most, both directions: index 100, windows 26, counters 24, the rest 10. */
export const ENTRY_BYTES = 160

const TICK_MS = 100
/** The sweep looks at every entry once in this time, so many at a time. */
const SWEEP_MS = 1000
const SWEEP_BUDGET = 4096
/** Entries looked at for one to give up when the table is full. */
export const EARLY_DROP_MAX = 64
/** SYNs without an answer until nobody is held to be there: three seconds of a common TCP. */
export const OPENINGS_MAX = 3

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
  /** Called with the Original flow when its time is over, before {@link ended}. */
  expired: (flow: number) => void = () => {}
  /** Called with the Original flow when an entry begins, and before it goes: for flow caches. */
  turned: (flow: number) => void = () => {}
  /** Called when a packet of `flow` has taken its TCP connection out of the state `before`. */
  moved: (flow: number, before: number) => void = () => {}
  /** Called once, with the Original flow, when {@link OPENINGS_MAX} SYNs had no answer. */
  unanswered: (flow: number) => void = () => {}
  /** Hears every new entry, change of state and end, while somebody listens. */
  changed: ((flow: number, change: ConntrackChange) => void) | undefined = undefined
  readonly #pool: Pool
  readonly #clock: Clock
  #timeouts: Timeouts = DEFAULT_TIMEOUTS
  #tcpTimeoutsMs: readonly number[] = []
  readonly #index: TupleIndex
  readonly #status: Uint8Array
  /** Tick in which it ends; of a free entry: the next free one + 1, 0 if none. */
  readonly #expires: Int32Array
  readonly #marks: Int32Array
  readonly #counters: ConntrackCounters
  readonly #tcp: TcpTracker
  /** Entries below it were used once. */
  #fresh = 0
  /** Entry + 1 of the first free one below it; 0: none. */
  #free = 0
  #count = 0
  /** Where the sweep goes on, and where the search for one to give up does. */
  #hand = 0
  #victim = 0
  readonly #stride: number
  #sweep: Cancel | undefined

  constructor({ pool, clock, seed, entriesMax = ENTRIES_MAX, timeouts = {} }: ConntrackOptions) {
    if (entriesMax < 1) throw new StackError('bad-argument', 'conntrack needs room for one entry')
    this.entriesMax = entriesMax
    this.#pool = pool
    this.#clock = clock
    this.configure(timeouts)
    this.#stride = strideOf(entriesMax)
    this.#index = new TupleIndex({ entriesMax, seed })
    this.#status = new Uint8Array(entriesMax)
    this.#expires = new Int32Array(entriesMax)
    this.#marks = new Int32Array(entriesMax)
    this.#counters = new ConntrackCounters(entriesMax)
    this.#tcp = new TcpTracker(entriesMax)
  }

  /** What is left out has its default. A connection that lives takes it with its next packet. */
  configure(timeouts: Partial<Timeouts>): void {
    this.#timeouts = { ...DEFAULT_TIMEOUTS, ...timeouts }
    this.#tcpTimeoutsMs = tcpTimeoutsMs(this.#timeouts)
  }

  get count(): number {
    return this.#count
  }

  /** Octets of memory that a full table takes. */
  get bytes(): number {
    const own = [this.#status, this.#expires, this.#marks]
    const parts = this.#index.bytes + this.#tcp.bytes + this.#counters.bytes
    return own.reduce((total, { byteLength }) => total + byteLength, parts)
  }

  /** Octets an entry of it, both directions. */
  get entryBytes(): number {
    return this.bytes / this.entriesMax
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
    this.#marks[entry] = 0
    this.#counters.reset(entry)
    this.#tcp.reset(entry)
    this.#count++
    this.#expire(entry, this.#timeouts.genericMs)
    this.#sweep ??= this.#clock.after(SWEEP_MS, this.#tick)
    this.turned(entry * 2)
    return entry * 2
  }

  /**
   * A packet of `flow`, its IP header at `ip`, before it is translated; also the first one. Returns
   * 0 if it may pass, else a drop reason; what may not pass changes nothing. Preconditions: its
   * tuple is that of `flow`; it ends where its IP header says, padding cut off.
   */
  update(flow: number, packet: Packet, ip: number): number {
    const entry = flow >>> 1
    const end = packet.head + packet.len
    const state = this.#tcp.state(entry)
    const status = this.#status[entry]!
    const protocol = this.#index.word(flow, PROTOCOL) & 0xff
    if (protocol === ipv4.Protocol.Tcp) {
      if (!this.#updateTcp(flow, ip, end)) return DropReason.ConntrackInvalid
    } else {
      const answered = (status & Status.Answered) !== 0
      const icmp = protocol === ipv4.Protocol.Icmp || protocol === ipv4.Protocol.Icmp6
      if ((flow & 1) === Direction.Reply) this.#status[entry]! |= Status.Answered
      else if (answered && !icmp) this.#status[entry]! |= Status.Assured
      this.#expire(entry, idleMs(this.#timeouts, protocol, this.isAssured(flow)))
    }
    const isNew = !this.#counters.isSeen(entry)
    this.#counters.count(flow, end - ip)
    if (isNew) this.changed?.(flow & ~1, 'new')
    else if (protocol === ipv4.Protocol.Tcp) {
      if (this.#tcp.state(entry) !== state) this.changed?.(flow & ~1, 'update')
    } else if (this.#status[entry] !== status) this.changed?.(flow & ~1, 'update')
    return 0
  }

  #updateTcp(flow: number, ip: number, end: number): boolean {
    const { mem } = this.#pool
    const entry = flow >>> 1
    const before = this.#tcp.state(entry)
    const located = locate(mem, ip, end)
    const step = this.#tcp.step(flow, mem, ip + offsetOf(located), end, isWhole(located))
    if (step <= Step.Ignored) return step === Step.Ignored
    const state = this.#tcp.state(entry)
    let status = step === Step.Anew ? Status.Live : this.#status[entry]!
    if ((flow & 1) === Direction.Reply) status |= Status.Answered
    // After a handshake, or an answer in a connection that was picked up in its middle.
    const open = before === TcpState.SynRecv || before === TcpState.Established
    const stays = open && state === TcpState.Established
    if (stays && (status & Status.Answered) !== 0) status |= Status.Assured
    this.#status[entry] = status
    this.#expire(entry, this.#tcpMs(entry, state))
    if (state !== before) this.moved(flow, before)
    else if (state === TcpState.SynSent && this.packets(flow) === OPENINGS_MAX - 1) {
      this.unanswered(flow)
    }
    return true
  }

  #tcpMs(entry: number, state: number): number {
    const stateMs = this.#tcpTimeoutsMs[state]!
    const leastMs = this.#timeouts.tcpUnacknowledgedMs
    return stateMs > leastMs && this.#tcp.isUnacknowledged(entry) ? leastMs : stateMs
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
    return this.#tcp.state(flow >>> 1)
  }

  /** The sequence number after the last octet that this direction of a TCP connection sent. */
  nextSequence(flow: number): number {
    return this.#tcp.nextSequence(flow)
  }

  /** Packets and octets seen of this direction. */
  packets(flow: number): number {
    return this.#counters.packets[flow]!
  }

  octets(flow: number): number {
    return this.#counters.octets[flow]!
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

  /** Forget a connection. Idempotent. */
  remove(flow: number): void {
    const entry = flow >>> 1
    if (!this.isLive(flow)) return
    // No more from here on: whoever hears of its end may want to end it too.
    this.#status[entry]! &= ~Status.Live
    this.ended(entry * 2)
    this.turned(entry * 2)
    if (this.#counters.isSeen(entry)) this.changed?.(entry * 2, 'destroy')
    this.#index.remove(entry)
    this.#expires[entry] = this.#free
    this.#free = entry + 1
    this.#count--
    if (this.#count > 0) return
    this.#free = 0
    this.#fresh = 0
    this.#hand = 0
  }

  /** Forget everything; no timer is left. */
  close(): void {
    this.#sweep?.()
    this.#sweep = undefined
    for (let flow = this.nextLive(0); flow >= 0; flow = this.nextLive(flow + 2)) this.remove(flow)
  }

  #take(): number {
    if (this.#count === this.entriesMax) this.#dropEarly()
    if (this.#free > 0) {
      const entry = this.#free - 1
      this.#free = this.#expires[entry]!
      return entry
    }
    return this.#fresh < this.entriesMax ? this.#fresh++ : -1
  }

  /** Forget one connection that is not assured, or is over, if one is found soon. */
  #dropEarly(): void {
    for (let i = 0; i < Math.min(EARLY_DROP_MAX, this.entriesMax); i++) {
      const entry = this.#victim
      this.#victim = (entry + this.#stride) % this.entriesMax
      const assured = (this.#status[entry]! & Status.Assured) !== 0
      const over = isOver(this.#tcp.state(entry)) || this.#expires[entry]! <= this.#now()
      if (!assured || over) return this.remove(entry * 2)
    }
  }

  readonly #tick = (): void => {
    const now = this.#now()
    for (let i = Math.min(this.#fresh, SWEEP_BUDGET); i > 0 && this.#count > 0; i--) {
      const entry = this.#hand
      this.#hand = entry + 1 < this.#fresh ? entry + 1 : 0
      if (!this.isLive(entry * 2) || this.#expires[entry]! > now) continue
      this.expired(entry * 2)
      this.remove(entry * 2)
    }
    const rounds = Math.ceil(this.#fresh / SWEEP_BUDGET)
    this.#sweep = this.#count > 0 ? this.#clock.after(SWEEP_MS / rounds, this.#tick) : undefined
  }

  #expire(entry: number, afterMs: number): void {
    this.#expires[entry] = this.#now() + Math.ceil(afterMs / TICK_MS)
  }

  #now(): number {
    return Math.floor(this.#clock.nowMs / TICK_MS)
  }
}
