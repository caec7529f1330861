/**
 * Packets that belong to a connection without having its tuple: ICMP errors about its packets
 * (RFC 5508 §4), and later fragments of them.
 *
 * An error is known by what it quotes, and goes the other way. Its destination and the quote become
 * what the sender of the quoted packet knows. The source stays if it is a router on the way, so
 * that traceroute shows it; behind a translation it becomes the address that is known outside
 * (RFC 5508 REQ-5).
 */
import { loadWords } from '../address.ts'
import { u8 } from '../bytes.ts'
import { DropReason } from '../drop.ts'
import type { Packet, Pool } from '../packet.ts'
import { type Conntrack, Direction } from './conntrack.ts'
import * as icmp from './icmp.ts'
import * as ipv4 from './ipv4.ts'
import * as ipv6 from './ipv6.ts'
import { explain, explainEnd } from './nat_explain.ts'
import { Fate, type NatFragments } from './nat_fragments.ts'
import type { NatMarks } from './nat_marks.ts'
import { isFour } from './nat_rules.ts'
import type { RouterInterface } from './router_interface.ts'
import * as translate from './translate.ts'
import { hasTransport, locate, offsetOf, protocolOf } from './transport.ts'
import { DST, invert, PORTS, SRC, TUPLE_WORDS } from './tuple.ts'

export interface NatRelatedOptions {
  readonly pool: Pool
  readonly conntrack: Conntrack
  readonly marks: NatMarks
  readonly fragments: NatFragments
}

export class NatRelated {
  readonly #pool: Pool
  readonly #conntrack: Conntrack
  readonly #marks: NatMarks
  readonly #fragments: NatFragments
  readonly #other = new Int32Array(TUPLE_WORDS)
  readonly #scratch = new Int32Array(TUPLE_WORDS)

  constructor({ pool, conntrack, marks, fragments }: NatRelatedOptions) {
    this.#pool = pool
    this.#conntrack = conntrack
    this.#marks = marks
    this.#fragments = fragments
  }

  /**
   * An error about a packet of a connection goes the other way; before routing, IP header at `ip`.
   * `quoted`: the tuple of that packet. False: dropped.
   */
  enterError(packet: Packet, ip: number, quoted: Int32Array): boolean {
    const { mem } = this.#pool
    invert(quoted, this.#scratch)
    const flow = this.#conntrack.find(this.#scratch)
    if (flow < 0) return true
    const four = isFour(quoted)
    const to = this.#scratch
    loadWords(mem, ip + (four ? ipv4.DST : ipv6.DST), four ? 4 : 6, to, DST)
    let toSender = true
    for (let i = 0; i < 4; i++) toSender &&= to[DST + i] === quoted[SRC + i]
    const at = ip + offsetOf(locate(mem, ip, packet.head + packet.len))
    // A redirect is about neighbors, whose addresses are not the ones behind a translation.
    if (!toSender || (four && u8(mem, at) === icmp.Type4.Redirect)) {
      const text = 'an error about a connection, not to who sent what it quotes'
      if (packet.traced) explain(this.#pool, text)
      this.#pool.drop(packet, DropReason.ConntrackInvalid)
      return false
    }
    const unreachable = four ? icmp.Type4.Unreachable : icmp.Type6.Unreachable
    const tooBig = four && u8(mem, at + 1) === icmp.Code4.FragmentationNeeded
    if (!packet.traced && u8(mem, at) === unreachable && !tooBig) this.#refused(flow)
    this.#conntrack.loadTuple(flow ^ 1, this.#other)
    translate.putErrorDestination(mem, packet, ip, this.#other)
    packet.flow = flow
    if (packet.traced) explainEnd(this.#pool, 'an error: destination', this.#other, SRC)
    return true
  }

  /** A later fragment goes where its first went. */
  enterFragment(from: RouterInterface, packet: Packet, ip: number): boolean {
    const { mem } = this.#pool
    if (!this.#fragments.read(mem, ip, packet.head + packet.len)) return true
    const flow = this.flowOfFragment()
    if (flow === Fate.Passed) return true
    if (flow < 0) {
      this.#fragments.hold(from, packet)
      return false
    }
    this.#conntrack.loadTuple(flow ^ 1, this.#other)
    translate.putDestination(mem, packet, ip, this.#other)
    packet.flow = flow
    if (packet.traced) explainEnd(this.#pool, 'a later fragment: destination', this.#other, SRC)
    return true
  }

  /** The flow of the fragment whose key was read, if it is still that one; else a fate. */
  flowOfFragment(): number {
    const flow = this.#fragments.find()
    if (flow < 0) return flow
    if (!this.#conntrack.isLive(flow)) return Fate.Unknown
    const { key } = this.#fragments
    for (let i = 0; i < PORTS; i++) {
      if (this.#conntrack.tupleWord(flow, i) !== key[i]) return Fate.Unknown
    }
    return flow
  }

  /** An ICMP error says so; of a connection that was answered, it may be about anything. */
  #refused(flow: number): void {
    if ((flow & 1) !== Direction.Reply || this.#conntrack.isAnswered(flow)) return
    this.#marks.failed(flow)
  }

  /**
   * After routing, `head` at the IP header: the other half of what {@link enterError} did. False:
   * it is no error, and untouched.
   */
  leaveError(packet: Packet, flow: number): boolean {
    const { mem } = this.#pool
    const conntrack = this.#conntrack
    const { head, len } = packet
    if (!isError(mem, head, head + len)) return false
    const other = this.#other
    conntrack.loadTuple(flow ^ 1, other)
    let hidden = false
    for (let i = 0; i < 4; i++) hidden ||= conntrack.tupleWord(flow, SRC + i) !== other[DST + i]
    translate.putErrorSource(mem, packet, head, other, hidden)
    return true
  }
}

/** True for a checked packet of a connection that is an ICMP error about it. */
function isError(mem: Uint8Array, ip: number, end: number): boolean {
  const located = locate(mem, ip, end)
  if (!hasTransport(located)) return false
  const protocol = protocolOf(located)
  const type = u8(mem, ip + offsetOf(located))
  if (protocol === ipv4.Protocol.Icmp) return icmp.isError4(type)
  return protocol === ipv4.Protocol.Icmp6 && icmp.isError6(type)
}
