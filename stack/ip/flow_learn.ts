/**
 * The learning half of the flow cache: a packet takes the long way, and what became of it is kept.
 *
 * ```text
 *   record: hops, notes.begin -> next ... -> notes.left: keys as it came and as it left -> entry
 *                                       \-> notes.dropped: nobody is told?               -> entry
 * ```
 *
 * Kept is only what flows do: a frame that is bridged leaves as it came; one that is routed has
 * other MACs, one hop less, and if it is translated other addresses and ports. The rest is the
 * difference of the two keys, as it goes into checksums (RFC 1624 §3).
 *
 * Limits: {@link PATHS_MAX} paths; when they are full, all begins anew.
 */
import { u8 } from '../bytes.ts'
import { difference, fold } from '../checksum.ts'
import type { Clock } from '../clock.ts'
import { DropReason } from '../drop.ts'
import * as eth from '../eth/frame.ts'
import { type FlowTable, INGRESS, MACS, PORTS, PROTOCOL, SRC } from '../flow_table.ts'
import { NO_FLOW, type Output, type Packet, type Pool } from '../packet.ts'
import { FlowGuards } from './flow_guards.ts'
import { Kind, readKey } from './flow_key.ts'
import { type FlowEnd, FlowPath } from './flow_path.ts'
import * as ipv4 from './ipv4.ts'
import * as ipv6 from './ipv6.ts'
import type { PolicyFlows } from './policy_flows.ts'

/** More would be ways between hundreds of endpoints all at once; then all begins anew. */
const PATHS_MAX = 65_536

/** Drops that nobody is told of, and that rest on nothing but configuration and the key. */
const SILENT: ReadonlySet<number> = new Set([
  DropReason.MacSpoofed,
  DropReason.BridgeIsolated,
  DropReason.BridgeSamePort,
  DropReason.IpSpoofed,
  DropReason.IpMartian,
  DropReason.RouteBlackhole,
  DropReason.NetworkInternal,
  DropReason.NetworkSeparate,
  DropReason.NotPublished,
  DropReason.PolicyDenied,
])

/** Both MACs, in words. */
export const MAC_WORDS = 3
/** What one hop less adds to the sum of an IPv4 header. */
const HOP_LESS = ~0x0100 & 0xffff
/** The port of the key's first word; see flow_key.ts. */
const INGRESS_SHIFT = 16

/** A key for each family. */
export interface Keys {
  readonly four: Int32Array
  readonly six: Int32Array
}

export interface FlowLearnerOptions {
  readonly pool: Pool
  readonly clock: Clock
  /** Where the entries go, by family. */
  readonly four: FlowTable
  readonly six: FlowTable
}

export class FlowLearner {
  /** Keys of the packet at hand, or recorded: whoever records it has read it into these. */
  readonly came: Keys
  /** By number; those of a former epoch are nobody's. */
  paths: FlowPath[] = []
  readonly #pool: Pool
  readonly #clock: Clock
  readonly #four: FlowTable
  readonly #six: FlowTable
  /** Keys of the recorded packet as it left. */
  readonly #after: Keys
  /** Scratch for the end of a recorded packet. */
  readonly #end: { -readonly [K in keyof FlowEnd]: FlowEnd[K] } = {
    output: undefined,
    port: 0,
    reason: -1,
    translated: false,
    macs: new Int32Array(MAC_WORDS),
  }
  /** Numbers of the paths from each counters port. */
  readonly #pathsOf = new Map<number, number[]>()
  #pathsEpoch = 0
  /** Of each table; undefined: no endpoint has a policy. */
  #guards4: FlowGuards | undefined
  #guards6: FlowGuards | undefined
  /** Of the recorded packet: its kind and hops when it came. */
  #kind: number = Kind.None
  #hops = 0

  constructor({ pool, clock, four, six }: FlowLearnerOptions) {
    this.#pool = pool
    this.#clock = clock
    this.#four = four
    this.#six = six
    this.came = keysFor(four, six)
    this.#after = keysFor(four, six)
    pool.notes.left = (packet, output, to) => this.#left(packet, output, to)
    pool.notes.dropped = (packet, reason) => this.#dropped(packet, reason)
  }

  /**
   * Send the packet the long way, and keep what is decided about it. Precondition: its key, of
   * family `kind`, is in {@link came}.
   */
  record(packet: Packet, kind: number, next: Output): void {
    this.#kind = kind
    this.#hops = this.#hopsAt(packet)
    this.#pool.notes.begin(packet)
    next(packet)
    // It may wait somewhere, or be another's by now: these notes are not about it any more.
    packet.recorded = false
  }

  /** Entries rest on what these policies admitted. */
  guard(flows: PolicyFlows): void {
    this.#guards4 = new FlowGuards(flows, this.#four)
    this.#guards6 = new FlowGuards(flows, this.#six)
  }

  guardsOf(table: FlowTable): FlowGuards | undefined {
    return table === this.#four ? this.#guards4 : this.#guards6
  }

  /** The recorded packet leaves: if it did what flows do, keep it. */
  #left(packet: Packet, output: Output, port: number): void {
    packet.recorded = false
    const { mem, notes } = this.#pool
    const forwarded = notes.mtuBytes > 0
    const after = this.#after
    const kind = readKey(mem, packet, 0, after.four, after.six)
    if (kind !== this.#kind || this.#hopsAt(packet) !== this.#hops - (forwarded ? 1 : 0)) return
    const key = this.#keyOf(this.came)
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
    const key = this.#keyOf(this.came)
    if (reason === DropReason.PolicyDenied && !this.#isAsItCame(packet, key)) return
    const end = this.#end
    end.output = undefined
    end.port = 0
    end.reason = reason
    end.translated = false
    end.macs.fill(0)
    this.#keep(packet, key, key)
  }

  /**
   * False if it was translated before a policy denied it: a flow that this policy admits later has
   * other tuples than the entry's key, so that {@link FlowTable.forget} would not find it.
   */
  #isAsItCame(packet: Packet, key: Int32Array): boolean {
    const after = this.#after
    const kind = readKey(this.#pool.mem, packet, 0, after.four, after.six)
    return kind === this.#kind && isSame(key, this.#keyOf(after), PORTS, key.length)
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
    const addresses = differences(key, left, SRC, key.length)
    const icmp4 = key[PROTOCOL] === ipv4.Protocol.Icmp
    const pseudo = icmp4 ? 0 : fold(addresses)
    const header = fold(addresses + HOP_LESS)
    words[at + table.epochAt] = notes.epoch
    words[at + table.pathAt] = (pseudo << 16) | path
    words[at + table.flowAt] = packet.flow >= 0 ? packet.flow : NO_FLOW
    for (let i = SRC; i < key.length; i++) words[at + table.addressesAt + i - SRC] = left[i]!
    words[at + table.portsAt] = left[PORTS]!
    const transport = fold(pseudo + difference(key[PORTS]!, left[PORTS]!))
    words[at + table.checksumsAt] = (transport << 16) | header
    words[at + table.usedAt] = this.#clock.nowMs
    this.guardsOf(table)?.keep(entry, notes)
  }

  /** Paths of the epoch to the device with this counters port. */
  pathsTo(port: number): FlowPath[] {
    if (this.#pathsEpoch !== this.#pool.notes.epoch) return []
    return this.paths.filter((path) => path.output !== undefined && path.port === port)
  }

  /** The number of the path that the notes and `#end` are of. */
  #pathOf(ingress: number): number {
    const { notes } = this.#pool
    if (this.#pathsEpoch !== notes.epoch || this.paths.length === PATHS_MAX) {
      if (this.#pathsEpoch === notes.epoch) notes.changed()
      this.#pathsEpoch = notes.epoch
      this.paths = []
      this.#pathsOf.clear()
    }
    let numbers = this.#pathsOf.get(ingress)
    if (numbers === undefined) {
      numbers = []
      this.#pathsOf.set(ingress, numbers)
    }
    for (let i = 0; i < numbers.length; i++) {
      if (this.paths[numbers[i]!]!.is(notes, this.#end)) return numbers[i]!
    }
    numbers.push(this.paths.length)
    return this.paths.push(new FlowPath(notes, this.#end)) - 1
  }

  #keyOf({ four, six }: Keys): Int32Array {
    return this.#kind === Kind.Four ? four : six
  }

  #hopsAt({ head }: Packet): number {
    const ip = head + eth.HEADER_BYTES
    return u8(this.#pool.mem, ip + (this.#kind === Kind.Four ? ipv4.TTL : ipv6.HOP_LIMIT))
  }
}

/** Empty keys for these tables. */
export function keysFor(four: FlowTable, six: FlowTable): Keys {
  return { four: new Int32Array(four.keyWords), six: new Int32Array(six.keyWords) }
}

function isSame(a: Int32Array, b: Int32Array, from: number, to: number): boolean {
  for (let i = from; i < to; i++) if (a[i] !== b[i]) return false
  return true
}

/** What is to be added to a sum over these words, not folded. */
function differences(before: Int32Array, after: Int32Array, from: number, to: number): number {
  let total = 0
  for (let i = from; i < to; i++) total += difference(before[i]!, after[i]!)
  return total
}
