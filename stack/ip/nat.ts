/**
 * Address translation with connections (RFC 3022, RFC 4787, RFC 5382, RFC 5508): masquerading,
 * published ports, virtual addresses. Destinations change before routing, sources after it.
 *
 * ```text
 *   prerouting    known connection: destination as its other tuple says
 *                 new: published port or service? destination becomes the target    -> PENDING
 *   routing, MTU, hops
 *   postrouting   known: source as its other tuple says
 *                 PENDING: may it? masquerade? choose a port, make the connection, source
 * ```
 *
 * All that translation needs to know of a connection is its two tuples (conntrack.ts): a packet of
 * one becomes the inverse of the other. The mark of an entry says what must end with it.
 * Connections that are not translated are tracked if they cross an external leg, so that answers
 * may return; between networks of the node packets are only looked up.
 *
 * A client and a target on one network would answer each other directly, without the translation
 * back: such connections are hairpins, and `bypasses` finds their answers for the network's edge.
 * A client that is its own target gets the address it asked for as source: nobody accepts packets
 * from himself.
 */
import type { Address } from '../address.ts'
import { u8 } from '../bytes.ts'
import type { Clock } from '../clock.ts'
import { DropReason } from '../drop.ts'
import * as eth from '../eth/frame.ts'
import { NO_FLOW, type Packet, type Pool } from '../packet.ts'
import type { Random } from '../random.ts'
import { type Conntrack, Direction } from './conntrack.ts'
import { isOpening, isOver } from './conntrack_tcp.ts'
import type { HookParts, Hooks } from './hooks.ts'
import * as ipv4 from './ipv4.ts'
import * as ipv6 from './ipv6.ts'
import { explain, explainEnd } from './nat_explain.ts'
import { NatFragments } from './nat_fragments.ts'
import { NatLegs, type NatNetwork } from './nat_legs.ts'
import { NatMarks } from './nat_marks.ts'
import { NatRelated } from './nat_related.ts'
import {
  isPublished,
  NatRules,
  type PortMapping,
  type Rule,
  type VirtualService,
} from './nat_rules.ts'
import { NatStart, PENDING, ruleOf } from './nat_start.ts'
import { type Dependence, type PortPolicy, PortPool } from './port_pool.ts'
import type { RouterInterface } from './router_interface.ts'
import * as translate from './translate.ts'
import { DST, invert, kindOf, readTuple, SRC, TUPLE_WORDS, TupleKind } from './tuple.ts'

export interface NatOptions extends NatPolicy, HookParts {
  readonly pool: Pool
  readonly clock: Clock
  readonly random: Random
  /** Whose `ended`, `moved` and `unanswered` are taken over. */
  readonly conntrack: Conntrack
}

/** How translation behaves towards the outside: by RFC 4787 §4 and §5. */
export interface NatPolicy extends PortPolicy {
  /**
   * Who outside may send to a mapping that a connection has made: everybody, the address that it
   * was made for, or only its port. Default `endpoint-dependent`: the last.
   */
  readonly filtering?: Dependence
}

export class Nat implements Hooks {
  readonly #pool: Pool
  readonly #conntrack: Conntrack
  readonly #legs: NatLegs
  readonly #rules: NatRules
  readonly #ports: PortPool
  readonly #marks: NatMarks
  readonly #fragments: NatFragments
  readonly #start: NatStart
  readonly #related: NatRelated
  readonly #parts: Parameters<typeof ruleOf>[0]
  readonly #other = new Int32Array(TUPLE_WORDS)
  readonly #scratch = new Int32Array(TUPLE_WORDS)

  constructor(options: NatOptions) {
    const { pool, clock, random, conntrack, fib4, fib6, serves } = options
    this.#pool = pool
    this.#conntrack = conntrack
    const { changed } = pool.notes
    const legs = new NatLegs(changed)
    const rules = new NatRules(changed)
    const ports = new PortPool({
      random,
      isTaken: (tuple) => conntrack.isTaken(tuple),
      isReserved: (tuple) => ruleOf({ fib4, fib6, rules }, tuple) !== undefined,
    })
    const fragments = new NatFragments({ pool, clock, random })
    const marks = new NatMarks({ conntrack, rules, ports, seed: random.bits() })
    const tables = { conntrack, fib4, fib6, legs, rules, marks, ports, fragments }
    const parts = { pool, clock, serves, ...tables }
    this.#legs = legs
    this.#rules = rules
    this.#ports = ports
    this.#marks = marks
    this.#fragments = fragments
    this.#parts = parts
    this.#start = new NatStart(parts)
    this.#related = new NatRelated(parts)
    this.configure(options)
  }

  /** From now on; connections that live stay as they are. */
  configure(policy: NatPolicy): void {
    this.#ports.configure(policy)
    const filtering = policy.filtering ?? 'endpoint-dependent'
    this.#start.filtering = filtering
    this.#marks.followPeers(filtering === 'address-dependent')
    this.#pool.notes.changed()
  }

  /** Live connections whose two ends are on one network. */
  get hairpins(): number {
    return this.#marks.hairpins
  }

  /** Mappings in use. */
  get mappings(): number {
    return this.#ports.count
  }

  /** The policy of a leg; undefined: forget it. */
  setNetwork(iface: RouterInterface, network: NatNetwork | undefined): void {
    this.#legs.setNetwork(iface, network)
  }

  /** Whether a leg leads outside. One that no longer does ends what was masqueraded. */
  setExternal(iface: RouterInterface, external: boolean): void {
    this.#legs.setExternal(iface, external)
    if (!external) this.#marks.endMasqueraded()
  }

  /**
   * @throws StackError `exists` if any of its ports is taken, `bad-argument`, `exhausted`; nothing
   * is changed then.
   */
  publish(mapping: PortMapping): void {
    this.#rules.publish(mapping)
  }

  /** Its connections end at once. Idempotent. */
  unpublish(mapping: PortMapping): void {
    this.#marks.remove(this.#rules.find(mapping))
  }

  /** See {@link NatRules.setAliases}. */
  setAliases(aliases: readonly Address[], own: readonly Address[]): void {
    this.#rules.setAliases(aliases, own)
  }

  /** @throws as {@link publish}. Precondition: its balance has at most 4096 backends. */
  addService(service: VirtualService): void {
    this.#rules.addService(service)
  }

  /** Its connections end at once. Idempotent. */
  removeService(service: VirtualService): void {
    this.#marks.remove(this.#rules.find(service))
  }

  /** End the connections that a backend of a service has. */
  endBackend(service: VirtualService, backend: number): void {
    this.#marks.endBackend(this.#rules.find(service), backend)
  }

  /** Give back what waits; no timer is left. The connection table is its owner's to close. */
  close(): void {
    this.#fragments.close()
  }

  prerouting(from: RouterInterface, packet: Packet): boolean {
    const conntrack = this.#conntrack
    if (conntrack.count === 0 && this.#rules.count === 0 && this.#legs.externals === 0) return true
    const { mem } = this.#pool
    const ip = packet.head + eth.HEADER_BYTES
    const end = packet.head + packet.len
    const kind = kindOf(readTuple(mem, ip, end, this.#start.original))
    if (kind === TupleKind.Fragment) return this.#related.enterFragment(from, packet, ip)
    if (kind === TupleKind.Error) return this.#related.enterError(packet, ip, this.#start.original)
    if (kind !== TupleKind.Flow) return true
    const first = this.#fragments.read(mem, ip, end)
    let flow = conntrack.find(this.#start.original)
    // A SYN in time_wait or closed begins another connection (RFC 9293 §3.6.1).
    if (flow >= 0 && isOver(conntrack.state(flow)) && isOpening(mem, ip, end)) {
      // It may go elsewhere: other rules, other backends.
      if (!packet.traced) conntrack.remove(flow)
      flow = NO_FLOW
    }
    if (flow < 0) return this.#start.enter(from, packet, ip, first)
    const datagram = first && !packet.traced ? this.#fragments.begin() : -1
    if (!this.#enterKnown(packet, ip, flow)) return false
    if (datagram >= 0) this.#fragments.settle(datagram, flow)
    return true
  }

  postrouting(from: RouterInterface, out: RouterInterface, packet: Packet): boolean {
    const { flow } = packet
    if (flow === PENDING) return this.#start.settle(from, out, packet)
    if (flow >= 0) this.#leave(packet, flow)
    else if (this.#legs.externals > 0) return this.#leaveUntracked(from, out, packet)
    return true
  }

  admits(from: RouterInterface, out: RouterInterface, { flow }: Packet): boolean {
    if (flow === PENDING) return mayCross(this.#start.rule, from, out)
    if (flow < 0) return false
    const rule = this.#marks.ruleOf(flow)
    // Answers pass where their connection was admitted.
    if ((flow & 1) === Direction.Reply) return rule !== undefined
    return mayCross(rule, from, out)
  }

  restore(packet: Packet): void {
    const { mem } = this.#pool
    const { flow, head, len } = packet
    const came = this.#scratch
    if (flow === PENDING) came.set(this.#start.original)
    else if (flow < 0 || !this.#conntrack.isLive(flow)) return
    else {
      if (kindOf(readTuple(mem, head, head + len, came)) !== TupleKind.Flow) return
      if (!this.#isOf(came, flow)) return
      this.#conntrack.loadTuple(flow, came)
    }
    invert(came, this.#other)
    translate.putDestination(mem, packet, head, this.#other)
    translate.putSource(mem, packet, head, this.#other)
  }

  reserves(tuple: Int32Array): boolean {
    return ruleOf(this.#parts, tuple) !== undefined
  }

  /**
   * For the edge of a network: is this frame (`head` at the Ethernet header) the answer in a
   * hairpin, which must go through the router although it is to a neighbor?
   */
  bypasses(packet: Packet): boolean {
    if (this.#marks.hairpins === 0) return false
    const { mem } = this.#pool
    const { head, len } = packet
    if (!eth.isHeader(len)) return false
    const ip = head + eth.HEADER_BYTES
    const bytes = len - eth.HEADER_BYTES
    const type = eth.type(mem, head)
    if (type === eth.EtherType.Ipv4) {
      if (!ipv4.isHeader(mem, ip, bytes)) return false
    } else if (type !== eth.EtherType.Ipv6 || !ipv6.isHeader(mem, ip, bytes)) return false
    const tuple = this.#scratch
    const kind = kindOf(readTuple(mem, ip, head + len, tuple))
    let flow = NO_FLOW
    if (kind === TupleKind.Flow) flow = this.#conntrack.find(tuple)
    else if (kind === TupleKind.Error) {
      invert(tuple, this.#other)
      flow = this.#conntrack.find(this.#other)
    } else if (kind === TupleKind.Fragment && this.#fragments.read(mem, ip, head + len)) {
      flow = this.#related.flowOfFragment()
    }
    return flow >= 0 && (flow & 1) === Direction.Reply && this.#marks.isHairpin(flow)
  }

  /** A packet of a connection. False: dropped. */
  #enterKnown(packet: Packet, ip: number, flow: number): boolean {
    const conntrack = this.#conntrack
    if (!packet.traced) {
      const reason = conntrack.update(flow, packet, ip)
      if (reason > 0) {
        this.#pool.drop(packet, reason)
        return false
      }
    }
    conntrack.loadTuple(flow ^ 1, this.#other)
    const changed = translate.putDestination(this.#pool.mem, packet, ip, this.#other)
    packet.flow = flow
    if (packet.traced) {
      if (changed) explainEnd(this.#pool, 'a known connection: destination', this.#other, SRC)
      else explain(this.#pool, 'a known connection, whose destination stays')
    }
    return true
  }

  #leave(packet: Packet, flow: number): void {
    const { mem } = this.#pool
    if (this.#related.leaveError(packet, flow)) return
    this.#conntrack.loadTuple(flow ^ 1, this.#other)
    const changed = translate.putSource(mem, packet, packet.head, this.#other)
    if (changed && packet.traced) explainEnd(this.#pool, 'source', this.#other, DST)
  }

  /** What has no connection does not come in where that is needed, nor out with its own address. */
  #leaveUntracked(from: RouterInterface, out: RouterInterface, packet: Packet): boolean {
    const four = u8(this.#pool.mem, packet.head) >>> 4 === 4
    const guarded = this.#legs.isGuarded(from, out, four)
    if (!guarded && this.#legs.masquerade(from, out, four) === 'none') return true
    if (packet.traced) explain(this.#pool, 'of no connection')
    return this.#drop(packet, DropReason.ConntrackInvalid)
  }

  /** True if a packet's tuple is the flow's as it came, or after any step of its translation. */
  #isOf(tuple: Int32Array, flow: number): boolean {
    const conntrack = this.#conntrack
    const mine = (at: number): boolean => {
      for (let i = 0; i < 4; i++) {
        const word = tuple[at + i]
        const other = conntrack.tupleWord(flow ^ 1, (at ^ DST) + i)
        if (word !== conntrack.tupleWord(flow, at + i) && word !== other) return false
      }
      return true
    }
    return mine(SRC) && mine(DST)
  }

  #drop(packet: Packet, reason: number): false {
    this.#pool.drop(packet, reason)
    return false
  }
}

/**
 * True if who connects may be led by this rule although a leg is internal: to the own network
 * always, out of an internal one never, into one by what is published there.
 */
function mayCross(rule: Rule | undefined, from: RouterInterface, out: RouterInterface): boolean {
  if (rule === undefined) return false
  return out === from || (!from.internal && isPublished(rule))
}
