/**
 * The node asks a station of its networks whether it is there: a SYN, an echo request, a datagram.
 *
 * ```text
 *   probe -> source address of the leg, free port or identifier, packet -> egress
 *            waiting, by the tuple of what was sent                                -> done, once
 *   local -> hears: SYN+ACK (reset), RST, echo reply, datagram, ICMP error  ----------^
 *   clock -> silent -------------------------------------------------------------------^
 * ```
 *
 * A half-open connection is no state of the node: a SYN with ACK of our sequence number is an
 * answer, and is reset (RFC 9293 §3.5.2) before an application hears of it. What answers nothing
 * that was asked is left to local.ts, which refuses it like any other.
 *
 * Bounded by {@link PROBES_MAX}; ports are drawn anew for each probe, so that what a far station
 * remembers of the last one cannot answer for this one. `done` is never called within `probe`.
 */
import { type Address, putAddress } from '../address.ts'
import { put16, put32, u8, u16, u32 } from '../bytes.ts'
import { finish } from '../checksum.ts'
import type { Cancel, Clock } from '../clock.ts'
import * as eth from '../eth/frame.ts'
import { type Packet, type Pool, pull } from '../packet.ts'
import type { Random } from '../random.ts'
import { Table } from '../table.ts'
import { consume } from './consume.ts'
import { DEFAULT_TTL, type Egress } from './egress.ts'
import { ipHeaderBytes, pseudo, putIpHeader } from './header.ts'
import * as icmp from './icmp.ts'
import * as ipv4 from './ipv4.ts'
import * as ipv6 from './ipv6.ts'
import { reset } from './reset.ts'
import type { RouterInterface } from './router_interface.ts'
import * as tcp from './tcp.ts'
import {
  DST,
  invert,
  kindOf,
  PORTS,
  PROTOCOL,
  readTuple,
  SRC,
  TUPLE_WORDS,
  TupleKind,
  transportOf,
} from './tuple.ts'
import * as udp from './udp.ts'

/** Probes on their way at a time. */
export const PROBES_MAX = 1024
/** Ports tried before a probe is given up as unsent. */
const DRAWS_MAX = 16
const PORT_MIN = 1024
const PORT_COUNT: number = 65_536 - PORT_MIN
const TCP_WINDOW = 65_535

export interface Probe {
  /** `tcp`: a SYN; `icmp`: an echo request; `udp`: a datagram. */
  readonly kind: 'tcp' | 'icmp' | 'udp'
  readonly target: Address
  /** Not of `icmp`. */
  readonly port: number
  /** Of `udp`. Left out: empty. At most what fits the MTU. */
  readonly data?: Uint8Array
  /** Of `udp`: is this payload an answer? Left out: whatever comes. */
  readonly accepts?: (mem: Uint8Array, at: number, bytes: number) => boolean
  readonly timeoutMs: number
  readonly done: (result: ProbeResult) => void
}

/**
 * `refused`: a reset, or its port is closed. `unreachable`: an ICMP error, or no way there.
 * `silent`: nothing in time. `unsent`: this node could not ask, which says nothing of the other.
 */
export type ProbeResult = 'answered' | 'refused' | 'unreachable' | 'silent' | 'unsent'

export interface ProberOptions {
  readonly pool: Pool
  readonly clock: Clock
  readonly random: Random
  readonly egress: Egress
  /** True if what is sent to the destination of this tuple goes elsewhere than to this node. */
  readonly isReserved: (tuple: Int32Array) => boolean
}

interface Waiting {
  readonly probe: Probe
  readonly entry: number
  /** Of its SYN. */
  readonly sequence: number
  cancel: Cancel
}

export class Prober {
  readonly #options: ProberOptions
  readonly #table: Table
  /** By entry of the table. */
  readonly #waiting: (Waiting | undefined)[] = []
  readonly #tuple = new Int32Array(TUPLE_WORDS)
  readonly #reply = new Int32Array(TUPLE_WORDS)

  constructor(options: ProberOptions) {
    this.#options = options
    const seed = options.random.bits()
    this.#table = new Table({
      keyWords: TUPLE_WORDS,
      valueWords: 0,
      entriesMax: PROBES_MAX,
      seed,
    })
  }

  /** Probes on their way. */
  get count(): number {
    return this.#table.count
  }

  /** Ask; `done` is told once, unless it is taken back before. */
  probe(probe: Probe): Cancel {
    const { clock, egress, pool } = this.#options
    const packet = pool.alloc(headerBytes(probe) + (probe.data?.length ?? 0))
    if (packet === undefined) return this.#tell(probe, 'unsent')
    const { family } = probe.target
    const destination = packet.head + (family === 4 ? ipv4.DST : ipv6.DST)
    putAddress(pool.mem, destination, probe.target)
    const out = egress.towards(pool.mem, destination, family)
    const source = out?.sourceFor(pool.mem, destination, family)
    const entry = source === undefined ? -1 : this.#enter(probe, source)
    if (out === undefined || source === undefined || entry < 0) {
      pool.free(packet)
      return this.#tell(probe, source === undefined ? 'unreachable' : 'unsent')
    }
    const sequence = this.#options.random.bits() >>> 0
    const waiting: Waiting = { probe, entry, sequence, cancel: () => {} }
    waiting.cancel = clock.after(probe.timeoutMs, () => this.#finish(waiting, 'silent'))
    this.#waiting[entry] = waiting
    this.#write(packet, waiting, source)
    egress.originate(packet, out)
    return () => this.#forget(waiting)
  }

  /**
   * Is this packet to the node the answer to a probe? If so it is taken. Valid as local.ts has
   * checked it, `head` at the Ethernet header, and no echo request.
   */
  hears(from: RouterInterface, packet: Packet): boolean {
    if (this.#table.count === 0) return false
    const { pool } = this.#options
    const { mem } = pool
    const ip = packet.head + eth.HEADER_BYTES
    const read = readTuple(mem, ip, packet.head + packet.len, this.#reply)
    const kind = kindOf(read)
    if (kind !== TupleKind.Flow && kind !== TupleKind.Error) return false
    if (kind === TupleKind.Flow) invert(this.#reply, this.#table.key)
    else this.#table.key.set(this.#reply)
    const entry = this.#table.find()
    const waiting = entry < 0 ? undefined : this.#waiting[entry]
    if (waiting === undefined) return false
    const at = ip + transportOf(read)
    const end = packet.head + packet.len
    const result =
      kind === TupleKind.Error
        ? errorOf(mem, at, waiting.probe.target.family)
        : answerOf(mem, at, end, waiting)
    if (result === undefined) return false
    if (!packet.traced) {
      if (waiting.probe.kind === 'tcp' && result === 'answered') this.#reset(from, packet, at)
      this.#finish(waiting, result)
    }
    consume(pool, packet, 'the answer to a probe of this node')
    return true
  }

  /** Forget all; nobody is told. */
  close(): void {
    for (const waiting of this.#waiting) if (waiting !== undefined) this.#forget(waiting)
  }

  #tell({ done }: Probe, result: ProbeResult): Cancel {
    return this.#options.clock.after(0, () => done(result))
  }

  #finish(waiting: Waiting, result: ProbeResult): void {
    if (this.#forget(waiting)) waiting.probe.done(result)
  }

  /** False if it was done already. */
  #forget(waiting: Waiting): boolean {
    const { entry } = waiting
    if (this.#waiting[entry] !== waiting) return false
    waiting.cancel()
    this.#waiting[entry] = undefined
    this.#table.remove(entry)
    return true
  }

  /** A new entry under a tuple with a port of ours; -1: there is none. `#tuple` is it. */
  #enter({ kind, target, port }: Probe, source: Address): number {
    const tuple = this.#tuple
    for (let i = 0; i < 4; i++) {
      tuple[SRC + i] = source.words[i]!
      tuple[DST + i] = target.words[i]!
    }
    tuple[PROTOCOL] = protocolOf(kind, target)
    for (let draw = 0; draw < DRAWS_MAX; draw++) {
      const own = PORT_MIN + this.#options.random.below(PORT_COUNT)
      tuple[PORTS] = (own << 16) | (kind === 'icmp' ? 0 : port)
      this.#table.key.set(tuple)
      if (this.#table.find() >= 0) continue
      invert(tuple, this.#reply)
      if (!this.#options.isReserved(this.#reply)) return this.#table.insert(0)
    }
    return -1
  }

  /** The tuple is there. */
  #write(packet: Packet, { probe, sequence }: Waiting, source: Address): void {
    const { pool, egress } = this.#options
    const { mem } = pool
    const { kind, target, data } = probe
    const { head } = packet
    const four = target.family === 4
    const at = head + ipHeaderBytes(target)
    packet.len = headerBytes(probe) + (data?.length ?? 0)
    const bytes = head + packet.len - at
    const protocol = protocolOf(kind, target)
    putIpHeader(mem, head, {
      from: source,
      to: target,
      protocol,
      bytes,
      ttl: DEFAULT_TTL,
      id: four ? egress.identify() : 0,
    })
    mem.fill(0, at, at + bytes)
    const ports = this.#tuple[PORTS]!
    const [srcPort, dstPort] = [ports >>> 16, ports & 0xffff]
    if (kind === 'icmp') putEcho(mem, at, four, srcPort)
    else if (kind === 'tcp') {
      const [flags, window] = [tcp.Flag.Syn, TCP_WINDOW]
      tcp.putHeader(mem, at, { srcPort, dstPort, seq: sequence, ack: 0, flags, window })
    } else {
      put32(mem, at, ports)
      put16(mem, at + udp.LENGTH, bytes)
      if (data !== undefined) mem.set(data, at + udp.HEADER_BYTES)
    }
    // Of ICMP, only ICMPv6 covers a pseudo-header.
    const field = checksumOf(kind)
    if (!four || kind !== 'icmp') put16(mem, at + field, pseudo(mem, head, protocol, bytes))
    finish(mem, at, field, at + bytes)
  }

  /** End the connection that the far station believes to begin. */
  #reset(from: RouterInterface, packet: Packet, at: number): void {
    const { pool, egress } = this.#options
    pull(packet, eth.HEADER_BYTES)
    const answer = reset(pool, packet, at, egress.identify())
    if (answer !== undefined) egress.originate(answer, from)
  }
}

function protocolOf(kind: Probe['kind'], { family }: Address): number {
  if (kind === 'tcp') return ipv4.Protocol.Tcp
  if (kind === 'udp') return ipv4.Protocol.Udp
  return family === 4 ? ipv4.Protocol.Icmp : ipv4.Protocol.Icmp6
}

/** Of IP and of the transport. */
function headerBytes({ kind, target }: Probe): number {
  return ipHeaderBytes(target) + (kind === 'tcp' ? tcp.HEADER_BYTES : udp.HEADER_BYTES)
}

function checksumOf(kind: Probe['kind']): number {
  if (kind === 'tcp') return tcp.CHECKSUM
  return kind === 'udp' ? udp.CHECKSUM : icmp.CHECKSUM
}

function putEcho(mem: Uint8Array, at: number, four: boolean, id: number): void {
  mem[at] = four ? icmp.Type4.Echo : icmp.Type6.Echo
  put16(mem, at + icmp.REST, id)
  put16(mem, at + icmp.REST + 2, 1)
}

/** What a packet of the connection says; undefined: nothing to us. */
function answerOf(
  mem: Uint8Array,
  at: number,
  end: number,
  { probe, sequence }: Waiting,
): ProbeResult | undefined {
  if (probe.kind === 'icmp') return 'answered'
  if (probe.kind === 'udp') {
    const bytes = u16(mem, at + udp.LENGTH) - udp.HEADER_BYTES
    const data = at + udp.HEADER_BYTES
    const accepted = data + bytes <= end && (probe.accepts?.(mem, data, bytes) ?? true)
    return accepted ? 'answered' : undefined
  }
  const { Syn, Rst, Ack } = tcp.Flag
  const flags = tcp.flags(mem, at)
  // RFC 9293 §3.10.7.3: in SYN-SENT only what acknowledges the SYN counts, a reset too.
  if ((flags & Ack) === 0 || u32(mem, at + tcp.ACK) !== (sequence + 1) >>> 0) return undefined
  if ((flags & Rst) !== 0) return 'refused'
  return (flags & Syn) !== 0 ? 'answered' : undefined
}

/** What an ICMP error says that quotes the probe; undefined: nothing to us. */
function errorOf(mem: Uint8Array, at: number, family: number): ProbeResult | undefined {
  const [type, code] = [u8(mem, at), u8(mem, at + 1)]
  const [unreachable, closed] =
    family === 4
      ? [icmp.Type4.Unreachable, icmp.Code4.Port]
      : [icmp.Type6.Unreachable, icmp.Code6.Port]
  if (type === unreachable) return code === closed ? 'refused' : 'unreachable'
  const exceeded = family === 4 ? icmp.Type4.TimeExceeded : icmp.Type6.TimeExceeded
  return type === exceeded ? 'unreachable' : undefined
}
