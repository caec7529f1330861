/**
 * One of two nodes that are compared: what comes out of its devices is kept, and all that a user
 * can see of it is one text. Its devices are leaves: a frame is handed to the node and what the
 * node sends is kept, with its offload facts.
 */

import { buildNode } from '../../services/build_node.ts'
import type { Config } from '../../services/config/model.ts'
import { diff } from '../../services/diff.ts'
import type { Borrowed, LinkRequest, Links } from '../../services/links.ts'
import type { Node } from '../../services/node.ts'
import { plan } from '../../services/plan.ts'
import { EMPTY, type State } from '../../services/state.ts'
import { trace } from '../../services/trace.ts'
import type { TraceRequest } from '../../services/trace_request.ts'
import { VirtualClock } from '../../stack/clock.ts'
import { Count } from '../../stack/counters.ts'
import type { Device, Offload } from '../../stack/device.ts'
import { DROP_COUNT, DROP_NAMES, DropReason } from '../../stack/drop.ts'
import { StackError } from '../../stack/errors.ts'
import { egressRefusal } from '../../stack/eth/egress.ts'
import { listConnections } from '../../stack/ip/conntrack_list.ts'
import { type Output, type Packet, Pool } from '../../stack/packet.ts'
import { Random } from '../../stack/random.ts'
import type { Frame } from './twin_frames.ts'

const SMALL_COUNT = 64
const LARGE_COUNT = 6
const CONNECTIONS_MAX = 256
const FIELDS = Object.values(Count)

/** A frame that a node sent. */
export interface Sent extends Frame {
  readonly device: string
}

export function isSame(a: Sent, b: Sent): boolean {
  const { facts } = a
  return (
    a.device === b.device &&
    a.bytes.equals(b.bytes) &&
    facts.gsoType === b.facts.gsoType &&
    facts.gsoSize === b.facts.gsoSize &&
    facts.csumStart === b.facts.csumStart &&
    facts.csumOffset === b.facts.csumOffset
  )
}

export function textOf(sent: Sent | undefined): string {
  if (sent === undefined) return 'nothing'
  const { device, bytes, facts } = sent
  return `${device} ${bytes.length} octets ${bytes.toString('hex', 0, 80)} ${JSON.stringify(facts)}`
}

class Leaf implements Device {
  readonly name: string
  readonly kind = 'leaf'
  readonly port: number
  readonly mtuBytes: number
  readonly offload: Offload
  output: Output
  onLost: (why: string) => void = () => {}
  readonly #pool: Pool
  readonly #sent: Sent[]
  #closed = false

  constructor(pool: Pool, request: LinkRequest, sent: Sent[]) {
    const { deviceName, mtuBytes, offload } = request
    this.name = deviceName
    this.port = pool.counters.acquirePort()
    this.mtuBytes = mtuBytes
    this.offload = { csum: offload, tso: offload, uso: offload }
    this.output = (packet) => pool.drop(packet, DropReason.DeviceDown)
    this.#pool = pool
    this.#sent = sent
  }

  poll(): number {
    return 0
  }

  transmit(packet: Packet): void {
    const pool = this.#pool
    const refusal = this.refusal(packet)
    if (refusal >= 0) return pool.drop(packet, refusal)
    const { head, len, gsoType, gsoSize, csumOffset } = packet
    const csumStart = packet.csumStart === 0 ? 0 : packet.csumStart - head
    pool.counters.transmitted(this.port, len)
    const bytes = Buffer.from(pool.mem.subarray(head, head + len))
    const facts = { gsoType, gsoSize, csumStart, csumOffset }
    this.#sent.push({ device: this.name, bytes, facts })
    pool.free(packet)
  }

  refusal(packet: Packet): number {
    if (this.#closed) return DropReason.DeviceDown
    return egressRefusal(this.#pool.mem, packet, this)
  }

  flush(): void {}

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#pool.counters.releasePort(this.port)
  }
}

/** Memory that one node after the other works in. */
export function twinPool(): Pool {
  return new Pool({ smallCount: SMALL_COUNT, largeCount: LARGE_COUNT })
}

export class Side implements Links {
  readonly describe = 'leaves'
  readonly pool: Pool
  readonly clock: VirtualClock = new VirtualClock()
  readonly node: Node
  readonly sent: Sent[] = []
  /** What captures saw, and what else was said, in order. */
  readonly told: string[] = []
  readonly #leaves = new Map<string, Leaf>()
  #capture: (() => void) | undefined

  constructor(pool: Pool, seed: number, flowsMax: number) {
    this.pool = pool
    const say = (_: object, message: string): void => {
      this.told.push(message)
    }
    this.node = buildNode({
      pool,
      clock: this.clock,
      random: new Random(seed),
      links: this,
      log: { info: () => {}, warn: say, error: say },
      flowsMax,
      connectionsMax: CONNECTIONS_MAX,
    })
  }

  prepare(): void {}

  release(): void {}

  close(): void {}

  borrow(): Borrowed {
    throw new Error('nothing to borrow')
  }

  attach(request: LinkRequest): Device {
    const leaf = new Leaf(this.pool, request, this.sent)
    this.#leaves.set(leaf.name, leaf)
    return leaf
  }

  detach(device: Device): void {
    if (this.#leaves.get(device.name) === device) this.#leaves.delete(device.name)
    device.close()
  }

  get state(): State {
    return this.node.state
  }

  /** Bring the node to a configuration. */
  async apply(config: Config): Promise<void> {
    const { state } = this.node
    for (const step of diff(state, plan(config, state))) await this.node.run(step)
  }

  /** A frame comes in by a device; false: there is no such device. */
  inject(device: string, { bytes, facts }: Frame): void {
    const leaf = this.#leaves.get(device)
    const packet = this.pool.alloc(bytes.length)
    if (leaf === undefined || packet === undefined) {
      if (packet !== undefined) this.pool.free(packet)
      return
    }
    const { head } = packet
    this.pool.mem.set(bytes, head)
    packet.len = bytes.length
    packet.ingress = leaf.port
    packet.gsoType = facts.gsoType
    packet.gsoSize = facts.gsoSize
    packet.csumStart = facts.csumStart === 0 ? 0 : head + facts.csumStart
    packet.csumOffset = facts.csumOffset
    this.pool.counters.received(leaf.port, bytes.length)
    leaf.output(packet)
  }

  lose(device: string): void {
    this.#leaves.get(device)?.onLost('its namespace is gone')
  }

  pass(ms: number): void {
    const until = this.clock.nowMs + ms
    while (this.clock.step(until)) {}
    this.clock.jump(until)
  }

  trace(request: TraceRequest): void {
    try {
      this.told.push(JSON.stringify(trace(this.node, request)))
    } catch (error) {
      if (!(error instanceof StackError)) throw error
      this.told.push(error.message)
    }
  }

  /** Begin to watch all devices, or end it. */
  watch(): void {
    if (this.#capture !== undefined) {
      this.#capture()
      this.#capture = undefined
      return
    }
    this.#capture = this.node.attachCapture('all', (device, direction, mem, at, bytes) => {
      const seen = Buffer.from(mem.subarray(at, at + bytes)).toString('base64')
      this.told.push(`${device} ${direction} ${seen}`)
    })
  }

  /** All that users see but the flows themselves. */
  view(): string[] {
    const { node, pool, clock } = this
    const { nat, conntrack, router, tally, policies } = node.context
    const lines = [
      `nat ${nat.mappings} mappings, ${nat.hairpins} hairpins, ${conntrack.count} connections`,
      `pool ${pool.idleSmall} ${pool.idleLarge}, ${clock.pending} timers`,
      `lost ${tally.lostDevices}`,
      `devices ${this.#counts(0)}`,
    ]
    for (const leaf of this.#leaves.values()) lines.push(`${leaf.name} ${this.#counts(leaf.port)}`)
    for (const row of listConnections(conntrack)) lines.push(JSON.stringify(row))
    const judged = policies.count === 0 ? [] : listConnections(policies.table)
    for (const row of judged) lines.push(`policy ${JSON.stringify(row)}`)
    for (const row of router.neighbors.list()) lines.push(JSON.stringify(row))
    for (const network of node.networks()) {
      for (const row of network.bridge.fdb())
        lines.push(`${network.state.name} ${JSON.stringify(row)}`)
      for (const row of network.bridge.ports())
        lines.push(`${network.state.name} ${JSON.stringify(row)}`)
    }
    for (const name of node.services.states.keys()) {
      lines.push(`${name} ${JSON.stringify(node.services.stats(name))}`)
    }
    return [...lines, ...this.told]
  }

  /** Take all away; what is left then, for people. */
  async finish(): Promise<string[]> {
    this.#capture?.()
    for (const step of diff(this.node.state, EMPTY)) await this.node.run(step)
    this.node.close()
    const left = this.pool.leaks()
    if (this.clock.pending > 0) left.push(`${this.clock.pending} timers`)
    return left
  }

  #counts(port: number): string {
    const { counters } = this.pool
    let text = ''
    if (port > 0) for (const field of FIELDS) text += `${counters.value(port, field)} `
    for (let reason = 0; reason < DROP_COUNT; reason++) {
      const count = counters.drops(port, reason)
      if (count > 0) text += `${DROP_NAMES[reason]} ${count} `
    }
    return text
  }
}
