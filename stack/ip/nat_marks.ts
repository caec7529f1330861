/**
 * What address translation keeps with a connection, and gives back when it ends, for whatever
 * cause: the port it holds, its place at a backend, its being a hairpin.
 *
 * ```text
 *   mark of an entry   | backend 12 | rule 16 | flags 4 |
 * ```
 */
import { type Conntrack, Direction, OPENINGS_MAX } from './conntrack.ts'
import { isOver, TcpState } from './conntrack_tcp.ts'
import * as ipv4 from './ipv4.ts'
import { NatPeers } from './nat_peers.ts'
import { type NatRules, RULES_MAX, type Rule } from './nat_rules.ts'
import type { PortPool } from './port_pool.ts'
import { PROTOCOL, TUPLE_WORDS } from './tuple.ts'

/**
 * `Hairpin`: client and target are on one network. `Ruled`: it has a rule and a backend. `Held`: it
 * holds a mapping of the port pool. `Masqueraded`: its source is an egress address.
 */
export const Flag = { Hairpin: 1, Ruled: 2, Held: 4, Masqueraded: 8 } as const
/** Backends of a service that a mark can tell apart. */
export const BACKENDS_MAX = 4096
const RULE_SHIFT = 4
const RULE_MASK: number = (RULES_MAX - 1) << RULE_SHIFT
const BACKEND_SHIFT = 20
const BACKEND_MASK: number = -1 << BACKEND_SHIFT

export interface NatMarksOptions {
  /** Whose `ended`, `moved` and `unanswered` are taken over. */
  readonly conntrack: Conntrack
  readonly rules: NatRules
  readonly ports: PortPool
  readonly seed: number
}

export class NatMarks {
  /** Live connections whose two ends are on one network. */
  hairpins = 0
  readonly #conntrack: Conntrack
  readonly #rules: NatRules
  readonly #ports: PortPool
  readonly #seed: number
  /** Of connections that hold a mapping; undefined: nobody asks. */
  #peers: NatPeers | undefined
  /** True while connections are ended because of a change, not of what their ends do. */
  #ending = false
  readonly #original = new Int32Array(TUPLE_WORDS)
  readonly #reply = new Int32Array(TUPLE_WORDS)

  constructor({ conntrack, rules, ports, seed }: NatMarksOptions) {
    this.#seed = seed
    this.#conntrack = conntrack
    this.#rules = rules
    this.#ports = ports
    conntrack.ended = (flow) => this.#ended(flow)
    conntrack.moved = (flow, before) => this.#moved(flow, before)
    conntrack.unanswered = (flow) => this.failed(flow)
  }

  /** A new connection, through a rule or not. `flags` without `Ruled`. */
  begin(flow: number, rule: Rule | undefined, backend: number, flags: number): void {
    let mark = flags
    if (rule !== undefined) {
      mark |= Flag.Ruled | (rule.id << RULE_SHIFT) | (backend << BACKEND_SHIFT)
      rule.flows++
      rule.service?.balance.opened(backend)
    }
    if ((flags & Flag.Hairpin) !== 0) this.hairpins++
    this.#conntrack.setMark(flow, mark)
    if (this.#peers !== undefined && (flags & Flag.Held) !== 0) this.#addPeer(flow)
  }

  /** Know whom connections speak to, those that live included, or forget it. */
  followPeers(wanted: boolean): void {
    if (wanted === (this.#peers !== undefined)) return
    this.#peers = wanted ? new NatPeers(this.#seed) : undefined
    if (!wanted) return
    const conntrack = this.#conntrack
    for (let flow = conntrack.nextLive(0); flow >= 0; flow = conntrack.nextLive(flow + 2)) {
      if ((conntrack.mark(flow) & Flag.Held) !== 0) this.#addPeer(flow)
    }
  }

  /** True if a mapping's owner speaks to the sender of this tuple through it. */
  spokeTo(tuple: Int32Array): boolean {
    return this.#peers?.has(tuple) === true
  }

  /** The rule that a connection came by, or undefined. */
  ruleOf(flow: number): Rule | undefined {
    const mark = this.#conntrack.mark(flow)
    return (mark & Flag.Ruled) === 0 ? undefined : this.#ruleOf(mark)
  }

  isHairpin(flow: number): boolean {
    return (this.#conntrack.mark(flow) & Flag.Hairpin) !== 0
  }

  /** The target of a connection refused it, or did not answer: its balance hears of it. */
  failed(flow: number): void {
    const mark = this.#conntrack.mark(flow)
    if ((mark & Flag.Ruled) === 0) return
    this.#ruleOf(mark).service?.balance.failed(mark >>> BACKEND_SHIFT)
  }

  /** Take a rule back; its connections end at once. */
  remove(rule: Rule | undefined): void {
    if (rule === undefined) return
    if (rule.flows > 0) this.#end(Flag.Ruled | (rule.id << RULE_SHIFT), Flag.Ruled | RULE_MASK)
    this.#rules.remove(rule)
  }

  /** End the connections of a rule that go to one backend. */
  endBackend(rule: Rule | undefined, backend: number): void {
    if (rule === undefined || rule.flows === 0) return
    const wanted = Flag.Ruled | (rule.id << RULE_SHIFT) | (backend << BACKEND_SHIFT)
    this.#end(wanted, Flag.Ruled | RULE_MASK | BACKEND_MASK)
  }

  endMasqueraded(): void {
    this.#end(Flag.Masqueraded, Flag.Masqueraded)
  }

  #addPeer(flow: number): void {
    this.#conntrack.loadTuple(flow | Direction.Reply, this.#reply)
    this.#peers?.add(this.#reply)
  }

  #end(wanted: number, mask: number): void {
    const conntrack = this.#conntrack
    this.#ending = true
    for (let flow = conntrack.nextLive(0); flow >= 0; flow = conntrack.nextLive(flow + 2)) {
      if ((conntrack.mark(flow) & mask) === wanted) conntrack.remove(flow)
    }
    this.#ending = false
  }

  #ended(flow: number): void {
    const conntrack = this.#conntrack
    const mark = conntrack.mark(flow)
    if ((mark & Flag.Hairpin) !== 0) this.hairpins--
    if ((mark & Flag.Held) !== 0) {
      conntrack.loadTuple(flow | Direction.Original, this.#original)
      conntrack.loadTuple(flow | Direction.Reply, this.#reply)
      this.#ports.release(this.#original, this.#reply)
      this.#peers?.remove(this.#reply)
    }
    if ((mark & Flag.Ruled) === 0) return
    const rule = this.#ruleOf(mark)
    rule.flows--
    const balance = rule.service?.balance
    if (balance === undefined) return
    const backend = mark >>> BACKEND_SHIFT
    if (!isOver(conntrack.state(flow))) {
      if (!this.#ending && this.#isUnanswered(flow)) balance.failed(backend)
      balance.closed(backend)
    }
    balance.forgotten(backend)
  }

  /** Its backend hears of its end when it is over, not when it is forgotten. */
  #moved(flow: number, before: number): void {
    const balance = this.ruleOf(flow)?.service?.balance
    if (balance === undefined) return
    const over = isOver(this.#conntrack.state(flow))
    if (over === isOver(before)) return
    const backend = this.#conntrack.mark(flow) >>> BACKEND_SHIFT
    if (!over) return balance.reopened(backend)
    const isRefused = before === TcpState.SynSent && (flow & 1) === Direction.Reply
    // Who was silent for so long has failed it already.
    const isKnown = this.#conntrack.packets(flow ^ 1) >= OPENINGS_MAX
    if (isRefused && !isKnown) balance.failed(backend)
    balance.closed(backend)
  }

  /**
   * A TCP connection that waited its time for an answer, and is not known for that yet; UDP may
   * have none to wait for.
   */
  #isUnanswered(flow: number): boolean {
    const conntrack = this.#conntrack
    if (conntrack.isAnswered(flow) || conntrack.remainingMs(flow) > 0) return false
    if (conntrack.packets(flow) >= OPENINGS_MAX) return false
    return (conntrack.tupleWord(flow, PROTOCOL) & 0xff) === ipv4.Protocol.Tcp
  }

  #ruleOf(mark: number): Rule {
    return this.#rules.rule((mark & RULE_MASK) >>> RULE_SHIFT)
  }
}
