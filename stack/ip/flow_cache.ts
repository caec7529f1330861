/**
 * The flow cache: in front of all elements, what they decided about the packets before.
 *
 * ```text
 *   device -> [captures] -> input: key -> table -+-> path.may -> conntrack -> rewrite -> output
 *                                                |      | no
 *                                                +------+-> next: the elements
 *                                                               notes (flow_notes.ts) -> entry
 * ```
 *
 * It must not show: with it the same packets come out, byte by byte, and every counter, timer and
 * table of the elements is as without it. So an entry is made from a packet that really went the
 * long way, by comparing how it came and how it left; each packet is asked again what depends on
 * it alone (checksum, hops, size, TCP window); and an entry is void as soon as anything changes:
 *
 * ```text
 *   configuration, routes, stations that move or go, MACs of neighbors    FlowNotes.changed: all
 *   a connection that begins or ends                                      forget: its two tuples
 *   a station's age, a neighbor's reachability                            asked for each packet
 * ```
 *
 * Dropped packets are cached too where nobody is told of them. An entry of a translated flow holds
 * new addresses and ports, and what they change in the checksums (RFC 1624 §3).
 *
 * Limits: {@link FLOWS_MAX} flows a family, {@link PATHS_MAX} paths; see flow_table.ts for what
 * happens beyond.
 */
import { put16, put32, u8, u16 } from '../bytes.ts'
import { fold } from '../checksum.ts'
import type { Clock } from '../clock.ts'
import { DropReason } from '../drop.ts'
import * as eth from '../eth/frame.ts'
import { FlowTable, INGRESS, MACS, PORTS, PROTOCOL, SRC } from '../flow_table.ts'
import { NO_FLOW, type Output, type Packet, type Pool } from '../packet.ts'
import type { Conntrack } from './conntrack.ts'
import { Kind, readKey } from './flow_key.ts'
import { type FlowRow, listFlows } from './flow_list.ts'
import { type FlowEnd, FlowPath, type NextHops } from './flow_path.ts'
import * as icmp from './icmp.ts'
import * as ipv4 from './ipv4.ts'
import * as ipv6 from './ipv6.ts'
import { isFour } from './nat_rules.ts'
import * as tcp from './tcp.ts'
import * as Tuple from './tuple.ts'

/** Flows of each family, unless told. */
export const FLOWS_MAX = 262_144
/** More would be ways between hundreds of endpoints all at once; then all begins anew. */
export const PATHS_MAX = 65_536

/** Drops that nobody is told of, and that rest on nothing but configuration and the key. */
const SILENT: ReadonlySet<number> = new Set([
  DropReason.MacSpoofed,
  DropReason.BridgeIsolated,
  DropReason.BridgeSamePort,
  DropReason.IpSpoofed,
  DropReason.IpMartian,
  DropReason.RouteBlackhole,
  DropReason.NetworkInternal,
  DropReason.NotPublished,
  DropReason.PolicyDenied,
])

const MAC_WORDS = 3
const UDP_CHECKSUM = 6
/** The port of the key's first word; see flow_key.ts. */
const INGRESS_SHIFT = 16

/** A key for each family. */
interface Keys {
  readonly four: Int32Array
  readonly six: Int32Array
}

export interface FlowCacheOptions {
  readonly pool: Pool
  readonly clock: Clock
  readonly seed: number
  /** Whose `turned` is taken over. */
  readonly conntrack: Conntrack
  readonly nextHops: NextHops
  /** Default {@link FLOWS_MAX}, of each family. */
  readonly flowsMax?: number
}

export class FlowCache {
  readonly #pool: Pool
  readonly #clock: Clock
  readonly #conntrack: Conntrack
  readonly #nextHops: NextHops
  readonly #four: FlowTable
  readonly #six: FlowTable
  /** Keys of the packet at hand, or recorded; as it left; and of what is forgotten. */
  readonly #came: Keys
  readonly #after: Keys
  readonly #forgotten: Keys
  readonly #tuple = new Int32Array(Tuple.TUPLE_WORDS)
  /** Scratch for the end of a recorded packet. */
  readonly #end: { -readonly [K in keyof FlowEnd]: FlowEnd[K] } = {
    output: undefined,
    port: 0,
    reason: -1,
    translated: false,
    macs: new Int32Array(MAC_WORDS),
  }
  /** By number; those of a former epoch are nobody's. */
  #paths: FlowPath[] = []
  /** Numbers of the paths from each counters port. */
  readonly #pathsOf = new Map<number, number[]>()
  #pathsEpoch = 0
  /** Of the recorded packet: its kind and hops when it came. */
  #kind: number = Kind.None
  #hops = 0

  constructor(options: FlowCacheOptions) {
    const { pool, clock, seed, conntrack, nextHops, flowsMax = FLOWS_MAX } = options
    this.#pool = pool
    this.#clock = clock
    this.#conntrack = conntrack
    this.#nextHops = nextHops
    this.#four = new FlowTable({ addressWords: 1, entriesMax: flowsMax, seed })
    this.#six = new FlowTable({ addressWords: 4, entriesMax: flowsMax, seed })
    this.#came = this.#keys()
    this.#after = this.#keys()
    this.#forgotten = this.#keys()
    pool.notes.left = (packet, output, to) => this.#left(packet, output, to)
    pool.notes.dropped = (packet, reason) => this.#dropped(packet, reason)
    conntrack.turned = (flow) => this.#turned(flow)
  }

  /** The way in from the device with counters port `port`; what is not known goes to `next`. */
  input(port: number, next: Output): Output {
    return (packet) => {
      if (packet.traced) return next(packet)
      const { mem, notes } = this.#pool
      const { four, six } = this.#came
      const kind = readKey(mem, packet, port, four, six)
      if (kind === Kind.None) return next(packet)
      const table = kind === Kind.Four ? this.#four : this.#six
      const entry = table.find(kind === Kind.Four ? four : six)
      if (entry < 0 || table.words[entry * table.stride + table.epochAt] !== notes.epoch) {
        return this.#record(packet, kind, next)
      }
      if (!this.#pass(packet, table, entry)) next(packet)
    }
  }

  /** Flows that are cached now, the latest first. */
  list(): FlowRow[] {
    const { epoch } = this.#pool.notes
    const now = { epoch, nowMs: this.#clock.nowMs, paths: this.#paths }
    const rows = [...listFlows(this.#four, now), ...listFlows(this.#six, now)]
    return rows.sort((a, b) => a.idleMs - b.idleMs || b.bytes - a.bytes)
  }

  /** False: the packet must go the long way; nothing is changed. */
  #pass(packet: Packet, table: FlowTable, entry: number): boolean {
    const { mem } = this.#pool
    const { words } = table
    const at = entry * table.stride
    const four = table === this.#four
    const path = this.#paths[words[at + table.pathAt]! & 0xffff]!
    if (!path.may(mem, packet, four, this.#nextHops)) return false
    path.touch(this.#nextHops)
    words[at + table.usedAt] = this.#clock.nowMs
    table.tally[2 * entry]!++
    table.tally[2 * entry + 1]! += packet.len
    const flow = words[at + table.flowAt]!
    if (flow >= 0) {
      const reason = this.#conntrack.update(flow, packet, packet.head + eth.HEADER_BYTES)
      if (reason > 0) {
        this.#pool.drop(packet, reason)
        return true
      }
    }
    const { output } = path
    if (output === undefined) {
      this.#pool.drop(packet, path.reason)
      return true
    }
    if (path.mtuBytes > 0) {
      if (four) this.#rewrite4(packet, path, at)
      else this.#rewrite6(packet, path, at)
    }
    output(packet)
    return true
  }

  #rewrite4(packet: Packet, path: FlowPath, at: number): void {
    const { mem } = this.#pool
    const table = this.#four
    const { words } = table
    const ip = packet.head + eth.HEADER_BYTES
    putMacs(mem, packet.head, path.macs)
    mem[ip + ipv4.TTL]!--
    const checksums = words[at + table.checksumsAt]!
    const header = ip + ipv4.CHECKSUM
    put16(mem, header, ~fold((~u16(mem, header) & 0xffff) + (checksums & 0xffff)))
    if (!path.translated) return
    put32(mem, ip + ipv4.SRC, words[at + table.addressesAt]!)
    put32(mem, ip + ipv4.DST, words[at + table.addressesAt + 1]!)
    this.#rewriteTransport(packet, ip + ipv4.HEADER_BYTES, table, at)
  }

  #rewrite6(packet: Packet, path: FlowPath, at: number): void {
    const { mem } = this.#pool
    const table = this.#six
    const { words } = table
    const ip = packet.head + eth.HEADER_BYTES
    putMacs(mem, packet.head, path.macs)
    mem[ip + ipv6.HOP_LIMIT]!--
    if (!path.translated) return
    for (let i = 0; i < 8; i++)
      put32(mem, ip + ipv6.SRC + 4 * i, words[at + table.addressesAt + i]!)
    this.#rewriteTransport(packet, ip + ipv6.HEADER_BYTES, table, at)
  }

  /** Ports or identifier, and the checksum: a partial one holds the addresses only. */
  #rewriteTransport(packet: Packet, l4: number, table: FlowTable, at: number): void {
    const { mem } = this.#pool
    const { words } = table
    const protocol = words[at + PROTOCOL]!
    const ports = words[at + table.portsAt]!
    let field = l4 + icmp.CHECKSUM
    if (protocol === ipv4.Protocol.Tcp || protocol === ipv4.Protocol.Udp) {
      put32(mem, l4, ports)
      field = l4 + (protocol === ipv4.Protocol.Tcp ? tcp.CHECKSUM : UDP_CHECKSUM)
    } else put16(mem, l4 + icmp.REST, (ports >>> 16) | ports)
    const before = u16(mem, field)
    if (packet.csumStart !== 0 && packet.csumStart + packet.csumOffset === field) {
      put16(mem, field, fold(before + (words[at + table.pathAt]! >>> 16)))
      return
    }
    const udp = protocol === ipv4.Protocol.Udp
    if (udp && before === 0) return
    const whole = words[at + table.checksumsAt]! >>> 16
    const after = ~fold((~before & 0xffff) + whole) & 0xffff
    put16(mem, field, udp && after === 0 ? 0xffff : after)
  }

  /** Send the packet the long way, and keep what is decided about it. */
  #record(packet: Packet, kind: number, next: Output): void {
    this.#kind = kind
    this.#hops = this.#hopsAt(packet)
    this.#pool.notes.begin(packet)
    next(packet)
    // It may wait somewhere, or be another's by now: these notes are not about it any more.
    packet.recorded = false
  }

  /** The recorded packet leaves: if it did what flows do, keep it. */
  #left(packet: Packet, output: Output, port: number): void {
    packet.recorded = false
    const { mem, notes } = this.#pool
    const forwarded = notes.mtuBytes > 0
    const after = this.#after
    const kind = readKey(mem, packet, 0, after.four, after.six)
    if (kind !== this.#kind || this.#hopsAt(packet) !== this.#hops - (forwarded ? 1 : 0)) return
    const key = this.#keyOf(this.#came)
    const left = this.#keyOf(after)
    const translated = !isSame(key, left, PORTS, key.length)
    if (!forwarded && (translated || !isSame(key, left, MACS, PROTOCOL))) return
    const end = this.#end
    end.output = output
    end.port = port
    end.reason = -1
    end.translated = translated
    for (let i = 0; i < MAC_WORDS; i++) end.macs[i] = left[MACS + i]!
    this.#keep(packet, key, left)
  }

  /** The recorded packet is dropped. */
  #dropped(packet: Packet, reason: number): void {
    packet.recorded = false
    if (!SILENT.has(reason)) return
    const end = this.#end
    end.output = undefined
    end.port = 0
    end.reason = reason
    end.translated = false
    end.macs.fill(0)
    const key = this.#keyOf(this.#came)
    this.#keep(packet, key, key)
  }

  /** An entry for `key`, whose packets leave with what `left` says. */
  #keep(packet: Packet, key: Int32Array, left: Int32Array): void {
    const { notes } = this.#pool
    const table = this.#kind === Kind.Four ? this.#four : this.#six
    const drops = this.#end.output === undefined
    const path = this.#pathOf(key[INGRESS]! >>> INGRESS_SHIFT)
    const entry = table.insert(key, drops, notes.epoch, this.#clock.nowMs | 0)
    const at = entry * table.stride
    const { words } = table
    const addresses = difference(key, left, SRC, key.length)
    const icmp4 = key[PROTOCOL] === ipv4.Protocol.Icmp
    const pseudo = icmp4 ? 0 : fold(addresses)
    const hops = (this.#hops << 8) | key[PROTOCOL]!
    const header = fold(addresses + (~hops & 0xffff) + hops - 0x100)
    words[at + table.epochAt] = notes.epoch
    words[at + table.pathAt] = (pseudo << 16) | path
    words[at + table.flowAt] = packet.flow >= 0 ? packet.flow : NO_FLOW
    for (let i = SRC; i < key.length; i++) words[at + table.addressesAt + i - SRC] = left[i]!
    words[at + table.portsAt] = left[PORTS]!
    words[at + table.checksumsAt] =
      (fold(pseudo + difference(key, left, PORTS, PORTS + 1)) << 16) | header
    words[at + table.usedAt] = this.#clock.nowMs
  }

  /** The number of the path that the notes and `#end` are of. */
  #pathOf(ingress: number): number {
    const { notes } = this.#pool
    if (this.#pathsEpoch !== notes.epoch || this.#paths.length === PATHS_MAX) {
      if (this.#pathsEpoch === notes.epoch) notes.changed()
      this.#pathsEpoch = notes.epoch
      this.#paths = []
      this.#pathsOf.clear()
    }
    let numbers = this.#pathsOf.get(ingress)
    if (numbers === undefined) {
      numbers = []
      this.#pathsOf.set(ingress, numbers)
    }
    for (let i = 0; i < numbers.length; i++) {
      if (this.#paths[numbers[i]!]!.is(notes, this.#end)) return numbers[i]!
    }
    numbers.push(this.#paths.length)
    return this.#paths.push(new FlowPath(notes, this.#end)) - 1
  }

  /** A connection begins or ends: what is known of its packets is no more true. */
  #turned(flow: number): void {
    this.#conntrack.loadTuple(flow, this.#tuple)
    this.#forget(this.#tuple)
    this.#conntrack.loadTuple(flow ^ 1, this.#tuple)
    this.#forget(this.#tuple)
  }

  #forget(tuple: Int32Array): void {
    const four = isFour(tuple)
    const key = four ? this.#forgotten.four : this.#forgotten.six
    key[PROTOCOL] = tuple[Tuple.PROTOCOL]! & 0xff
    key[PORTS] = tuple[Tuple.PORTS]!
    if (four) {
      key[SRC] = tuple[Tuple.SRC + 3]!
      key[SRC + 1] = tuple[Tuple.DST + 3]!
      this.#four.forget(key)
    } else {
      for (let i = 0; i < 8; i++) key[SRC + i] = tuple[Tuple.SRC + i]!
      this.#six.forget(key)
    }
  }

  #keys(): Keys {
    return { four: new Int32Array(this.#four.keyWords), six: new Int32Array(this.#six.keyWords) }
  }

  #keyOf({ four, six }: Keys): Int32Array {
    return this.#kind === Kind.Four ? four : six
  }

  #hopsAt({ head }: Packet): number {
    const ip = head + eth.HEADER_BYTES
    return u8(this.#pool.mem, ip + (this.#kind === Kind.Four ? ipv4.TTL : ipv6.HOP_LIMIT))
  }
}

function isSame(a: Int32Array, b: Int32Array, from: number, to: number): boolean {
  for (let i = from; i < to; i++) if (a[i] !== b[i]) return false
  return true
}

function putMacs(mem: Uint8Array, frame: number, macs: Int32Array): void {
  for (let i = 0; i < MAC_WORDS; i++) put32(mem, frame + 4 * i, macs[i]!)
}

/** What is to be added to a sum over these words, not folded; 0 if they are the same. */
function difference(before: Int32Array, after: Int32Array, from: number, to: number): number {
  let total = 0
  for (let i = from; i < to; i++) {
    if (before[i] === after[i]) continue
    const removed = ~before[i]!
    total += (removed >>> 16) + (removed & 0xffff) + (after[i]! >>> 16) + (after[i]! & 0xffff)
  }
  return total
}
