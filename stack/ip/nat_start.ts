/**
 * The first packet of a connection, before and after routing: where it is sent, whether it may be,
 * and what its answers will look like.
 *
 * ```text
 *   enter    published port or service? the destination becomes the target
 *   settle   let in from outside? tracked? masqueraded? a port; then the entry and its mark
 * ```
 *
 * What is known of it in between is kept here, for one packet at a time: each runs to completion.
 */
import type { Clock } from '../clock.ts'
import { DropReason } from '../drop.ts'
import { NO_FLOW, type Packet, type Pool } from '../packet.ts'
import type { Conntrack } from './conntrack.ts'
import type { HookParts } from './hooks.ts'
import * as ipv4 from './ipv4.ts'
import * as ipv6 from './ipv6.ts'
import { explain, explainEnd } from './nat_explain.ts'
import { Fate, type NatFragments } from './nat_fragments.ts'
import type { Masquerade, NatLegs } from './nat_legs.ts'
import { BACKENDS_MAX, Flag, type NatMarks } from './nat_marks.ts'
import { isFour, isPublished, type NatRules, type Rule } from './nat_rules.ts'
import type { Dependence, PortPool } from './port_pool.ts'
import type { RouterInterface } from './router_interface.ts'
import * as translate from './translate.ts'
import { hasTransport, locate, offsetOf, protocolOf } from './transport.ts'
import { DST, invert, isEchoReply, PORTS, PROTOCOL, Sctp, SRC, TUPLE_WORDS } from './tuple.ts'

/** `Packet.flow` between the hooks, of the first packet of a connection. */
export const PENDING = -2

export interface NatStartOptions extends HookParts {
  readonly pool: Pool
  readonly clock: Clock
  readonly conntrack: Conntrack
  readonly legs: NatLegs
  readonly rules: NatRules
  readonly marks: NatMarks
  readonly ports: PortPool
  readonly fragments: NatFragments
}

export class NatStart {
  /** The tuple of the packet as it came; the caller of `enter` reads it. */
  readonly original: Int32Array = new Int32Array(TUPLE_WORDS)
  /** The rule that it is translated by. */
  rule: Rule | undefined = undefined
  /** Who may use a mapping from outside. */
  filtering: Dependence = 'endpoint-dependent'
  /** It comes to a mapping of another's, which lets it in. */
  #mapped = false
  /** The tuple of what will come back. */
  readonly #reply = new Int32Array(TUPLE_WORDS)
  #backend = 0
  /** The entry of its fragments, or -1. */
  #datagram = -1
  readonly #options: NatStartOptions

  constructor(options: NatStartOptions) {
    this.#options = options
  }

  /**
   * Before routing, IP header at `ip`. `first`: it is the first of several fragments, whose key was
   * read. False: dropped.
   */
  enter(from: RouterInterface, packet: Packet, ip: number, first: boolean): boolean {
    const { pool, fragments, legs } = this.#options
    const reply = this.#reply
    const found = ruleOf(this.#options, this.original)
    const kept = (found?.mapping ?? found?.service)?.outsideOnly === true
    const hidden = kept && !legs.isExternal(from)
    const served = found?.any === true && this.#isServed(from, packet, ip)
    const rule = hidden || served ? undefined : found
    this.rule = rule
    this.#datagram = -1
    invert(this.original, reply)
    packet.flow = PENDING
    this.#mapped = rule === undefined && this.#aimMapped(from)
    if (this.#mapped) {
      // If it goes nowhere, the next may find no mapping.
      packet.recorded = false
      translate.putDestination(pool.mem, packet, ip, reply)
      if (packet.traced) explainEnd(pool, 'a mapping that lets it in: destination', reply, SRC)
    }
    if (rule !== undefined) {
      // If it goes nowhere, the next may all the same have a backend that is reached.
      packet.recorded = false
      if (!this.#aim(rule)) {
        if (packet.traced) explain(pool, 'a virtual service, and no backend may take it')
        else rule.service?.balance.refused?.()
        return this.#drop(packet, DropReason.NoBackend)
      }
      translate.putDestination(pool.mem, packet, ip, reply)
      const what = rule.service === undefined ? 'published port' : 'virtual service'
      if (packet.traced) explainEnd(pool, `a ${what}: destination`, reply, SRC)
    }
    if (!first || packet.traced) return true
    this.#datagram = fragments.begin()
    if (rule === undefined && !this.#mapped && isOwn(this.#options, this.original)) {
      fragments.settle(this.#datagram, Fate.Passed)
    }
    return true
  }

  /** After routing, `head` at the IP header. False: dropped. */
  settle(from: RouterInterface, out: RouterInterface, packet: Packet): boolean {
    const { pool, legs, fragments } = this.#options
    const { rule } = this
    packet.flow = NO_FLOW
    const published = rule !== undefined && isPublished(rule)
    if (!published && !this.#mapped && legs.isGuarded(from, out, isFour(this.original))) {
      if (packet.traced) explain(pool, `new, from outside, to what ${out.name} does not publish`)
      // Another client's mapping may let it in next time.
      if (this.filtering !== 'endpoint-dependent') packet.recorded = false
      return this.#drop(packet, DropReason.NotPublished)
    }
    const masquerade = legs.masquerade(from, out, isFour(this.original))
    const inside = rule === undefined && !legs.isExternal(from) && !legs.isExternal(out)
    const stray = isEchoReply(this.original)
    if (inside || (stray && masquerade === 'none')) {
      if (this.#datagram >= 0) fragments.settle(this.#datagram, Fate.Passed)
      return true
    }
    if (stray) {
      if (packet.traced) explain(pool, 'an answer to no question that is known')
      return this.#drop(packet, DropReason.ConntrackInvalid)
    }
    const reason = this.#chooseSource(packet, out, masquerade)
    if (reason > 0) return this.#drop(packet, reason)
    if (packet.traced) {
      if (translate.putSource(pool.mem, packet, packet.head, this.#reply)) {
        explainEnd(pool, 'source', this.#reply, DST)
      }
      return true
    }
    const hairpin = rule !== undefined && out === from && !this.#isOwnTarget()
    if (this.#mapped) return this.#connect(packet, Flag.Masqueraded)
    const flags = (masquerade === 'none' ? 0 : Flag.Masqueraded) | (hairpin ? Flag.Hairpin : 0)
    return this.#connect(packet, flags)
  }

  /**
   * True if it is for the leg's own gateway address, and a service of the router takes it there: so
   * names and leases stay where sandboxes look for them, whatever is published at any address.
   */
  #isServed(from: RouterInterface, packet: Packet, ip: number): boolean {
    const { pool, legs, serves } = this.#options
    if (legs.isExternal(from) || legOf(this.#options, this.original) !== from.index) return false
    const located = locate(pool.mem, ip, packet.head + packet.len)
    if (!hasTransport(located)) return false
    return serves(from, packet, protocolOf(located), ip + offsetOf(located))
  }

  /** Put the target into `#reply` as source. False: there is none. */
  #aim(rule: Rule): boolean {
    const reply = this.#reply
    const { mapping, service } = rule
    let port = rule.targetPort + (this.original[PORTS]! & 0xffff) - rule.port
    let words: Int32Array
    this.#backend = 0
    if (service !== undefined) {
      const { balance } = service
      const backend = balance.pick(this.original, this.#options.clock.nowMs)
      if (backend < 0 || backend >= BACKENDS_MAX) return false
      this.#backend = backend
      words = balance.addressWords(backend)
      port = balance.targetPort?.(backend) || port
    } else {
      words = mapping!.target.words
    }
    for (let i = 0; i < 4; i++) reply[SRC + i] = words[i]!
    reply[PORTS] = (port << 16) | (reply[PORTS]! & 0xffff)
    return true
  }

  /** Put who has the mapping that it is sent to into `#reply` as source. False: nobody may. */
  #aimMapped(from: RouterInterface): boolean {
    const { legs, ports, marks } = this.#options
    if (this.filtering === 'endpoint-dependent' || !legs.isExternal(from)) return false
    if (this.filtering === 'address-dependent' && !marks.spokeTo(this.original)) return false
    const reply = this.#reply
    const port = ports.ownerOf(this.original, reply)
    if (port < 0) return false
    reply[PORTS] = (port << 16) | (reply[PORTS]! & 0xffff)
    return true
  }

  /** Put source and port into `#reply` as destination. 0, or why that cannot be. */
  #chooseSource(packet: Packet, out: RouterInterface, masquerade: Masquerade): number {
    const { pool, conntrack, ports } = this.#options
    const { original } = this
    const reply = this.#reply
    if (masquerade !== 'none') {
      const four = isFour(original)
      const to = packet.head + (four ? ipv4.DST : ipv6.DST)
      const address =
        masquerade === 'interface' ? out.sourceFor(pool.mem, to, four ? 4 : 6) : masquerade
      if (address === undefined || address === out.linkLocal) {
        if (packet.traced) explain(pool, `${out.name} has no address of this family`)
        return DropReason.NatPortsExhausted
      }
      for (let i = 0; i < 4; i++) reply[DST + i] = address.words[i]!
    } else if (this.rule !== undefined && this.#isOwnTarget()) {
      for (let i = 0; i < 4; i++) reply[DST + i] = original[DST + i]!
    }
    if (masquerade === 'none' && !conntrack.isTaken(reply)) return 0
    let port = -1
    if (!hasPorts(original)) port = conntrack.isTaken(reply) ? -1 : 0
    else if (masquerade === 'none') port = ports.chooseShared(original, reply)
    else port = ports.choose(original, reply)
    return port < 0 ? DropReason.NatPortsExhausted : 0
  }

  /** Make the connection, and send its first packet as it says. */
  #connect(packet: Packet, wanted: number): boolean {
    const { pool, conntrack, marks, ports, fragments } = this.#options
    const flow = conntrack.insert(this.original, this.#reply)
    if (flow < 0) return this.#drop(packet, DropReason.ConntrackFull)
    let flags = wanted
    if ((wanted & Flag.Masqueraded) !== 0 && !this.#mapped && hasPorts(this.original)) {
      if (ports.hold(this.original, this.#reply)) flags |= Flag.Held
    }
    marks.begin(flow, this.rule, this.#backend, flags)
    const reason = conntrack.update(flow, packet, packet.head)
    if (reason > 0) {
      conntrack.remove(flow)
      return this.#drop(packet, reason)
    }
    translate.putSource(pool.mem, packet, packet.head, this.#reply)
    packet.flow = flow
    if (this.#datagram >= 0) fragments.settle(this.#datagram, flow)
    return true
  }

  /** True if the client is where its connection is sent. */
  #isOwnTarget(): boolean {
    for (let i = 0; i < 4; i++) {
      if (this.original[SRC + i] !== this.#reply[SRC + i]) return false
    }
    return true
  }

  #drop(packet: Packet, reason: number): false {
    this.#options.pool.drop(packet, reason)
    return false
  }
}

type Fibs = Pick<HookParts, 'fib4' | 'fib6'>

/** The rule for the destination of a tuple. */
export function ruleOf(
  parts: Fibs & Pick<NatStartOptions, 'rules'>,
  tuple: Int32Array,
): Rule | undefined {
  const { rules } = parts
  if (rules.count === 0) return undefined
  const exact = rules.findExact(tuple)
  if (exact !== undefined) return exact
  const any = rules.findAny(tuple)
  if (any !== undefined && isOwn(parts, tuple) && !rules.isVirtual(tuple)) return any
  return rules.findAliased(tuple)
}

/** True if the destination of a tuple is an address of the router. */
function isOwn(fibs: Fibs, tuple: Int32Array): boolean {
  return legOf(fibs, tuple) >= 0
}

/** The index of the leg that has the destination of a tuple as its address, or -1. */
function legOf({ fib4, fib6 }: Fibs, tuple: Int32Array): number {
  const fib = isFour(tuple) ? fib4 : fib6
  const id = fib.lookup(tuple, DST)
  if (id < 0) return -1
  const { kind, link } = fib.route(id)
  return kind === 'local' ? link! : -1
}

/** True if connections of the tuple's protocol have ports, or identifiers instead. */
function hasPorts(tuple: Int32Array): boolean {
  const protocol = tuple[PROTOCOL]! & 0xff
  return (
    protocol === ipv4.Protocol.Tcp ||
    protocol === ipv4.Protocol.Udp ||
    protocol === Sctp ||
    protocol === ipv4.Protocol.Icmp ||
    protocol === ipv4.Protocol.Icmp6
  )
}
