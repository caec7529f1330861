/**
 * The policy of one endpoint: what it may send, and what may be sent to it.
 *
 * ```text
 *   device -> [flow cache] -> egress -> bridge ...        ... bridge -> ingress -> device
 *
 *   of an admitted flow, its answers included     passes   (policy_flows.ts)
 *   an ICMP error about an admitted flow          passes
 *   new: first rule that matches, else default    allowed: the flow is admitted; denied: dropped
 * ```
 *
 * Judged is what the endpoint itself sees: addresses before translation on its way out, and after
 * it on its way in. What a link needs (link_needs.ts) always passes; so does ARP. Frames that are
 * neither are no flow: the default decides.
 *
 * Some packets are judged each by itself, since no state can be right for them:
 * later fragments whose first was not admitted here, echo replies that nobody asked for, ICMP that
 * is neither echo nor error. A TCP connection that is met in its middle is admitted only if the
 * rules allow it whoever opened it: nobody can tell who did. A SYN on a connection that is over is
 * a new one, also from the other side.
 *
 * Other rules are asked about all flows at once: those that they do not allow end ({@link set}).
 */
import { loadWords } from '../address.ts'
import { u8 } from '../bytes.ts'
import { DropReason } from '../drop.ts'
import * as eth from '../eth/frame.ts'
import { NO_FLOW, type Output, type Packet, type Pool } from '../packet.ts'
import type { Conntrack } from './conntrack.ts'
import { isOver } from './conntrack_tcp.ts'
import * as icmp from './icmp.ts'
import * as ipv4 from './ipv4.ts'
import * as ipv6 from './ipv6.ts'
import { isNeeded } from './link_needs.ts'
import { isFour } from './nat_rules.ts'
import { NO_STATE, PolicyFlows, Way } from './policy_flows.ts'
import { DEFAULT, type PolicyRules, RuleList } from './policy_rules.ts'
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

/** What {@link Policy} answers beside drop reasons. */
const PASSES = -1

export interface PolicySpec {
  readonly egress: PolicyRules
  readonly ingress: PolicyRules
}

export interface PolicyOptions {
  readonly pool: Pool
  readonly flows: PolicyFlows
  /** Counters port of the endpoint's device: whose flows these are. */
  readonly port: number
  /** Of the device, for traces. */
  readonly name: string
  readonly spec: PolicySpec
}

export class Policy {
  readonly #pool: Pool
  readonly #flows: PolicyFlows
  readonly #table: Conntrack
  readonly #port: number
  readonly #name: string
  /** By {@link Way}. */
  #lists: readonly RuleList[]
  readonly #tuple = new Int32Array(TUPLE_WORDS)
  readonly #other = new Int32Array(TUPLE_WORDS)

  constructor({ pool, flows, port, name, spec }: PolicyOptions) {
    this.#pool = pool
    this.#flows = flows
    this.#port = port
    this.#name = name
    this.#lists = listsOf(spec)
    flows.open()
    this.#table = flows.table
    pool.notes.changed()
  }

  /** Other rules from now on. */
  set(spec: PolicySpec): void {
    this.#lists = listsOf(spec)
    this.#pool.notes.changed()
    this.#flows.end(this.#port, (flow) => this.#stays(flow))
  }

  /** It is asked no more. */
  close(): void {
    this.#pool.notes.changed()
    this.#flows.end(this.#port, () => false)
  }

  /** What the endpoint sends, to `next` if it may pass. */
  egress(next: Output): Output {
    return (packet) => this.#way(packet, Way.Egress, next)
  }

  /** What is sent to the endpoint, to `next` if it may pass. */
  ingress(next: Output): Output {
    return (packet) => this.#way(packet, Way.Ingress, next)
  }

  #way(packet: Packet, way: number, next: Output): void {
    const reason = this.#judge(packet, way)
    if (reason === PASSES) next(packet)
    else this.#pool.drop(packet, reason)
  }

  /** {@link PASSES}, or a drop reason. */
  #judge(packet: Packet, way: number): number {
    const { mem } = this.#pool
    const { head, len } = packet
    if (!eth.isHeader(len)) return PASSES
    const ip = head + eth.HEADER_BYTES
    const bytes = len - eth.HEADER_BYTES
    const type = eth.type(mem, head)
    let end = ip
    if (type === eth.EtherType.Ipv4) {
      if (!ipv4.isHeader(mem, ip, bytes)) return DropReason.IpMalformed
      end += ipv4.totalBytes(mem, ip)
    } else if (type === eth.EtherType.Ipv6) {
      if (!ipv6.isHeader(mem, ip, bytes)) return DropReason.IpMalformed
      end += ipv6.HEADER_BYTES + ipv6.payloadBytes(mem, ip)
    } else return type === eth.EtherType.Arp ? PASSES : this.#verdict(packet, way, DEFAULT)
    const words = this.#tuple
    const result = readTuple(mem, ip, end, words)
    const kind = kindOf(result)
    if (kind === TupleKind.Malformed) return DropReason.IpMalformed
    // An address of IPv6 that is in truth one of IPv4 would be asked the rules for IPv4.
    if (type === eth.EtherType.Ipv6 && isFour(words)) return DropReason.IpMartian
    if (kind === TupleKind.Fragment) return this.#fragment(packet, way, end)
    const at = ip + transportOf(result)
    if (kind === TupleKind.Error) return this.#error(packet, way)
    if (isNeeded(mem, ip, at, words[PROTOCOL]!, words[PORTS]!)) return PASSES
    if (kind === TupleKind.None) return this.#alone(packet, way)
    return this.#flow(packet, way, at, end)
  }

  /** A packet of some flow; its tuple is read. */
  #flow(packet: Packet, way: number, at: number, end: number): number {
    const flows = this.#flows
    const table = this.#table
    const words = this.#tuple
    const protocol = words[PROTOCOL]!
    const reply = isEchoReply(this.#pool.mem, at, protocol)
    words[PROTOCOL]! |= PolicyFlows.word(this.#port, way)
    let flow = table.find(words)
    const opens = protocol === ipv4.Protocol.Tcp && tcp.isOpening(this.#pool.mem, at, end - at)
    if (flow >= 0 && opens && isOver(table.state(flow))) {
      if (!packet.traced) table.remove(flow)
      flow = NO_FLOW
    }
    if (reply !== undefined && reply !== (flow >= 0 && (flow & 1) === 1)) {
      return this.#alone(packet, way)
    }
    if (flow < 0) return this.#fresh(packet, way, opens || protocol !== ipv4.Protocol.Tcp)
    if (packet.traced) this.#explain(way, `of a flow that ${this.#whoAdmitted(flow)} admitted`)
    else flows.touch(flow, packet)
    return this.#admitted(packet, way, flow)
  }

  /** The first packet of a flow. `opens`: it can be nothing else. */
  #fresh(packet: Packet, way: number, opens: boolean): number {
    const words = this.#tuple
    const flows = this.#flows
    const rule = this.#lists[way]!.match(words, true)
    if (!this.#lists[way]!.allows(rule)) return this.#verdict(packet, way, rule)
    if (!opens) {
      invert(words, this.#other)
      const back = this.#lists[way ^ 1]!.match(this.#other, true)
      if (!this.#lists[way ^ 1]!.allows(back)) {
        if (packet.traced)
          this.#explain(way, 'TCP in its middle, and the other end may not open it')
        return DropReason.PolicyDenied
      }
    }
    if (packet.traced) return this.#verdict(packet, way, rule)
    const flow = flows.admit(words)
    if (flow === NO_STATE) return DropReason.ConntrackFull
    if (flows.touch(flow, packet)) return this.#admitted(packet, way, flow)
    this.#table.remove(flow)
    packet.recorded = false
    return PASSES
  }

  #admitted(packet: Packet, way: number, flow: number): number {
    const { mem, notes } = this.#pool
    const ip = packet.head + eth.HEADER_BYTES
    if (packet.recorded) notes.admitted(way, flow, this.#table.mark(flow))
    else if (!packet.traced) {
      const { fragments } = this.#flows
      if (fragments.read(mem, ip, packet.head + packet.len)) {
        fragments.key[PROTOCOL]! |= PolicyFlows.word(this.#port, way)
        fragments.settle(fragments.begin(), flow)
      }
    }
    return PASSES
  }

  /** A later fragment goes as its first did. */
  #fragment(packet: Packet, way: number, end: number): number {
    const table = this.#table
    const { fragments } = this.#flows
    const words = this.#tuple
    if (!fragments.read(this.#pool.mem, packet.head + eth.HEADER_BYTES, end)) {
      return DropReason.IpMalformed
    }
    fragments.key[PROTOCOL]! |= PolicyFlows.word(this.#port, way)
    words[PROTOCOL]! |= PolicyFlows.word(this.#port, way)
    const flow = fragments.find()
    if (flow < 0 || !table.isLive(flow)) return this.#alone(packet, way)
    for (let i = SRC; i < DST + 4; i++) {
      if (table.tupleWord(flow, i) !== words[i]) return this.#alone(packet, way)
    }
    if (table.tupleWord(flow, PROTOCOL) !== words[PROTOCOL]) return this.#alone(packet, way)
    if (packet.traced) this.#explain(way, 'a fragment of an admitted flow')
    return PASSES
  }

  /** An ICMP error: the tuple is of what it quotes, which went the other way. */
  #error(packet: Packet, way: number): number {
    const { mem } = this.#pool
    const words = this.#tuple
    words[PROTOCOL]! |= PolicyFlows.word(this.#port, way ^ 1)
    if (this.#table.find(words) >= 0) {
      if (packet.traced) this.#explain(way, 'an ICMP error about an admitted flow')
      return PASSES
    }
    readEnds(mem, packet.head + eth.HEADER_BYTES, words)
    return this.#alone(packet, way)
  }

  /** A packet without a flow is asked for by itself. */
  #alone(packet: Packet, way: number): number {
    const rule = this.#lists[way]!.match(this.#tuple, false)
    const verdict = this.#verdict(packet, way, rule)
    // Another like it may be of a flow that begins meanwhile.
    if (verdict === PASSES) packet.recorded = false
    return verdict
  }

  #verdict(packet: Packet, way: number, rule: number): number {
    const list = this.#lists[way]!
    const allowed = list.allows(rule)
    if (packet.traced) {
      this.#explain(way, `${allowed ? 'allowed' : 'denied'} by ${list.describe(rule)}`)
    }
    return allowed ? PASSES : DropReason.PolicyDenied
  }

  /** True if the rules allow what was admitted. */
  #stays(flow: number): boolean {
    const list = this.#lists[this.#flows.wayOf(flow)]!
    this.#table.loadTuple(flow, this.#tuple)
    return list.allows(list.match(this.#tuple, true))
  }

  #whoAdmitted(flow: number): string {
    const first = flow & ~1
    const list = this.#lists[this.#flows.wayOf(first)]!
    this.#table.loadTuple(first, this.#other)
    return list.describe(list.match(this.#other, true))
  }

  #explain(way: number, text: string): void {
    const element = `policy ${this.#name}`
    this.#pool.trace?.step(element, `${way === Way.Egress ? 'egress' : 'ingress'}: ${text}`)
  }
}

function listsOf({ egress, ingress }: PolicySpec): readonly RuleList[] {
  return [new RuleList(egress, DST), new RuleList(ingress, SRC)]
}

/** Whose the packet at `ip` itself is, where that is ICMP. */
function readEnds(mem: Uint8Array, ip: number, words: Int32Array): void {
  const four = u8(mem, ip) >>> 4 === 4
  loadWords(mem, ip + (four ? ipv4.SRC : ipv6.SRC), four ? 4 : 6, words, SRC)
  loadWords(mem, ip + (four ? ipv4.DST : ipv6.DST), four ? 4 : 6, words, DST)
  words[PORTS] = 0
  words[PROTOCOL] = four ? ipv4.Protocol.Icmp : ipv4.Protocol.Icmp6
}

/** Undefined: no echo at all. */
function isEchoReply(mem: Uint8Array, at: number, protocol: number): boolean | undefined {
  const six = protocol === ipv4.Protocol.Icmp6
  return six || protocol === ipv4.Protocol.Icmp ? icmp.isEchoReply(u8(mem, at), six) : undefined
}
