/**
 * What policy remembers of flows that it admitted, for all endpoints of a node that have one.
 *
 * Each endpoint judges its own view of a packet (before translation or after it), and so has flows
 * of its own. They are entries of one connection table, whose last word says whose they are:
 *
 * ```text
 *   addresses | ports | protocol 0-7, way 8, zone 9-20        zone: counters port of the endpoint
 *   way         0: what the endpoint sends, 1: what is sent to it; a flow's answers go the other
 * ```
 *
 * Only what the table says of time matters here: how long a flow lives in its state. A segment that
 * TCP's windows do not admit passes, and changes nothing. The mark of an entry is a serial number,
 * so that who remembers a flow by its number can tell whether it is still the same.
 *
 * Limit: {@link FLOWS_MAX} flows; memory is asked for when the first endpoint gets a policy, and
 * the system gives pages of it only as flows come. Full: see conntrack.ts.
 */
import type { Clock } from '../clock.ts'
import * as eth from '../eth/frame.ts'
import type { Packet, Pool } from '../packet.ts'
import type { Random } from '../random.ts'
import { Conntrack } from './conntrack.ts'
import * as ipv4 from './ipv4.ts'
import * as ipv6 from './ipv6.ts'
import { NatFragments } from './nat_fragments.ts'
import { invert, PROTOCOL, TUPLE_WORDS } from './tuple.ts'

/** Unless told: as many as are tracked for translation. */
const FLOWS_MAX = 262_144

/** Which way a packet goes, seen from the endpoint. */
export const Way = { Egress: 0, Ingress: 1 } as const
const WAY_SHIFT = 8
const ZONE_SHIFT = 9

/** A flow that is not there; see {@link PolicyFlows.admit}. */
export const NO_STATE = -1

export interface PolicyFlowsOptions {
  readonly pool: Pool
  readonly clock: Clock
  readonly random: Random
  /** Default {@link FLOWS_MAX}. */
  readonly flowsMax?: number
}

export class PolicyFlows {
  /** Called when the table is made: for caches of flows. */
  opened: (conntrack: Conntrack) => void = () => {}
  readonly #options: PolicyFlowsOptions
  readonly #pool: Pool
  readonly #reply = new Int32Array(TUPLE_WORDS)
  #conntrack: Conntrack | undefined
  #fragments: NatFragments | undefined
  #serial = 0

  constructor(options: PolicyFlowsOptions) {
    this.#options = options
    this.#pool = options.pool
  }

  /** Flows that are remembered. */
  get count(): number {
    return this.#conntrack?.count ?? 0
  }

  /** Of which flow fragments are; nothing is held. */
  get fragments(): NatFragments {
    return this.#fragments!
  }

  /** The flows. Precondition of all but {@link count}, {@link end} and {@link close}: opened. */
  get table(): Conntrack {
    return this.#conntrack!
  }

  /** The first endpoint gets a policy. Idempotent. */
  open(): void {
    if (this.#conntrack !== undefined) return
    const { pool, clock, random, flowsMax = FLOWS_MAX } = this.#options
    this.#conntrack = new Conntrack({ pool, clock, seed: random.bits(), entriesMax: flowsMax })
    this.#fragments = new NatFragments(this.#options)
    this.opened(this.#conntrack)
  }

  /** What tells flows of an endpoint that go this way, beside the protocol. */
  static word(zone: number, way: number): number {
    return (zone << ZONE_SHIFT) | (way << WAY_SHIFT)
  }

  /** The way that the packets of this flow go. */
  wayOf(flow: number): number {
    return (this.table.tupleWord(flow, PROTOCOL) >>> WAY_SHIFT) & 1
  }

  /** Remember a flow; {@link NO_STATE}: there is no room. Precondition: it is not known. */
  admit(original: Int32Array): number {
    const reply = this.#reply
    invert(original, reply)
    reply[PROTOCOL]! ^= 1 << WAY_SHIFT
    const flow = this.table.insert(original, reply)
    if (flow < 0) return NO_STATE
    this.#serial = (this.#serial + 1) | 0
    this.table.setMark(flow, this.#serial)
    return flow
  }

  /** A packet of `flow` passes, `head` at its Ethernet header. False: not in the flow's state. */
  touch(flow: number, packet: Packet): boolean {
    const { mem } = this.#pool
    const { head, len } = packet
    const ip = head + eth.HEADER_BYTES
    const four = eth.type(mem, head) === eth.EtherType.Ipv4
    const bytes = four ? ipv4.totalBytes(mem, ip) : ipv6.HEADER_BYTES + ipv6.payloadBytes(mem, ip)
    packet.len = eth.HEADER_BYTES + bytes
    const taken = this.table.update(flow, packet, ip) === 0
    packet.len = len
    return taken
  }

  /** True if the flow is the one that had this serial number. */
  holds(flow: number, serial: number): boolean {
    return this.table.isLive(flow) && this.table.mark(flow) === serial
  }

  /** Forget the flows of an endpoint but those that `stays` is true of; asked with the first. */
  end(zone: number, stays: (flow: number) => boolean): void {
    const table = this.#conntrack
    if (table === undefined) return
    for (let flow = table.nextLive(0); flow >= 0; flow = table.nextLive(flow + 2)) {
      const whose = table.tupleWord(flow, PROTOCOL) >>> ZONE_SHIFT
      if (whose === zone && !stays(flow)) table.remove(flow)
    }
  }

  /** Forget everything; no timer is left. */
  close(): void {
    this.#conntrack?.close()
    this.#fragments?.close()
  }
}
