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
 * long way, by comparing how it came and how it left (flow_learn.ts); each packet is asked again
 * what depends on it alone (checksum, hops, size, TCP window); and an entry is void as soon as
 * anything changes:
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
 * Limits: {@link FLOWS_MAX} flows a family; see flow_table.ts for what happens beyond.
 */
import { put16, put32, u16 } from '../bytes.ts'
import { fold } from '../checksum.ts'
import type { Clock } from '../clock.ts'
import * as eth from '../eth/frame.ts'
import type { Mac } from '../eth/mac.ts'
import { FlowTable, PORTS, PROTOCOL, SRC } from '../flow_table.ts'
import type { Output, Packet, Pool } from '../packet.ts'
import type { Conntrack } from './conntrack.ts'
import type { FlowGuards } from './flow_guards.ts'
import { Kind, readKey } from './flow_key.ts'
import { FlowLearner, type Keys, keysFor, MAC_WORDS } from './flow_learn.ts'
import { type FlowRow, listFlows } from './flow_list.ts'
import type { FlowPath, NextHops } from './flow_path.ts'
import * as icmp from './icmp.ts'
import * as ipv4 from './ipv4.ts'
import * as ipv6 from './ipv6.ts'
import { isFour } from './nat_rules.ts'
import { type PolicyFlows, Way } from './policy_flows.ts'
import * as tcp from './tcp.ts'
import { mend } from './translate.ts'
import * as Tuple from './tuple.ts'
import * as udp from './udp.ts'

/** Flows of each family, unless told. */
const FLOWS_MAX = 262_144

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
  readonly #learner: FlowLearner
  /** Keys of what is forgotten. */
  readonly #forgotten: Keys
  readonly #tuple = new Int32Array(Tuple.TUPLE_WORDS)

  constructor(options: FlowCacheOptions) {
    const { pool, clock, seed, conntrack, nextHops, flowsMax = FLOWS_MAX } = options
    this.#pool = pool
    this.#clock = clock
    this.#conntrack = conntrack
    this.#nextHops = nextHops
    this.#four = new FlowTable({ addressWords: 1, entriesMax: flowsMax, seed })
    this.#six = new FlowTable({ addressWords: 4, entriesMax: flowsMax, seed })
    this.#learner = new FlowLearner({ pool, clock, four: this.#four, six: this.#six })
    this.#forgotten = keysFor(this.#four, this.#six)
    conntrack.turned = (flow) => this.#turned(conntrack, flow)
  }

  /** Where endpoints have a policy, entries rest on what it admitted. `opened` is taken over. */
  guard(flows: PolicyFlows): void {
    flows.opened = (conntrack) => {
      this.#learner.guard(flows)
      conntrack.turned = (flow) => this.#turned(conntrack, flow)
    }
  }

  /** The way in from the device with counters port `port`; what is not known goes to `next`. */
  input(port: number, next: Output): Output {
    return (packet) => {
      if (packet.traced) return next(packet)
      const { mem, notes } = this.#pool
      const { four, six } = this.#learner.came
      const kind = readKey(mem, packet, port, four, six)
      if (kind === Kind.None) return next(packet)
      const table = kind === Kind.Four ? this.#four : this.#six
      const entry = table.find(kind === Kind.Four ? four : six)
      if (entry < 0 || table.words[entry * table.stride + table.epochAt] !== notes.epoch) {
        return this.#learner.record(packet, kind, next)
      }
      const guards = this.#learner.guardsOf(table)
      if (guards?.holds(entry) === false) return this.#learner.record(packet, kind, next)
      if (!this.#pass(packet, table, entry, guards)) next(packet)
    }
  }

  /** Flows that are cached now, the latest first. */
  list(): FlowRow[] {
    const { epoch } = this.#pool.notes
    const now = { epoch, nowMs: this.#clock.nowMs, paths: this.#learner.paths }
    const rows = [...listFlows(this.#four, now), ...listFlows(this.#six, now)]
    return rows.sort((a, b) => a.idleMs - b.idleMs || b.bytes - a.bytes)
  }

  /**
   * The ways that flows take to the device with this counters port: the MAC that frames are for,
   * and what they go into.
   */
  waysTo(port: number): { readonly mac: Mac; readonly output: Output }[] {
    return this.#learner.pathsTo(port).map(({ macs: [a = 0, b = 0], output }) => ({
      mac: { hi: a >>> 16, lo: ((a << 16) | (b >>> 16)) >>> 0 },
      output: output!,
    }))
  }

  /** False: the packet must go the long way; nothing is changed. */
  #pass(packet: Packet, table: FlowTable, entry: number, guards: FlowGuards | undefined): boolean {
    const { mem } = this.#pool
    const { words } = table
    const at = entry * table.stride
    const four = table === this.#four
    const path = this.#learner.paths[words[at + table.pathAt]! & 0xffff]!
    if (!path.may(mem, packet, four, this.#nextHops)) return false
    path.hear()
    words[at + table.usedAt] = this.#clock.nowMs
    table.tally[2 * entry]!++
    table.tally[2 * entry + 1]! += packet.len
    guards?.touch(entry, Way.Egress, packet)
    const flow = words[at + table.flowAt]!
    if (flow >= 0) {
      const reason = this.#conntrack.update(flow, packet, packet.head + eth.HEADER_BYTES)
      if (reason > 0) {
        this.#pool.drop(packet, reason)
        return true
      }
    }
    path.touch(this.#nextHops)
    guards?.touch(entry, Way.Ingress, packet)
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
    mend(mem, ip + ipv4.CHECKSUM, checksums & 0xffff, 0)
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
      field = l4 + (protocol === ipv4.Protocol.Tcp ? tcp.CHECKSUM : udp.CHECKSUM)
    } else put16(mem, l4 + icmp.REST, (ports >>> 16) | ports)
    if (packet.csumStart !== 0 && packet.csumStart + packet.csumOffset === field) {
      put16(mem, field, fold(u16(mem, field) + (words[at + table.pathAt]! >>> 16)))
    } else mend(mem, field, words[at + table.checksumsAt]! >>> 16, protocol)
  }

  /** A connection begins or ends: what is known of its packets is no more true. */
  #turned(conntrack: Conntrack, flow: number): void {
    conntrack.loadTuple(flow, this.#tuple)
    this.#forget(this.#tuple)
    conntrack.loadTuple(flow ^ 1, this.#tuple)
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
}

function putMacs(mem: Uint8Array, frame: number, macs: Int32Array): void {
  for (let i = 0; i < MAC_WORDS; i++) put32(mem, frame + 4 * i, macs[i]!)
}
