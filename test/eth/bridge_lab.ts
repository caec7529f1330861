/**
 * A bridge on a virtual clock whose ports end in lists: what tests of the bridge share.
 *
 * `send` injects octets by a port and tells where which octets came out; `balance` checks that no
 * packet is left and that every one that went in or was copied came out or was counted as dropped.
 */
import { expect } from 'vitest'
import { VirtualClock } from '../../stack/clock.ts'
import { Counters } from '../../stack/counters.ts'
import { DROP_COUNT, DROP_NAMES, type DropName } from '../../stack/drop.ts'
import { Bridge, type BridgeOptions } from '../../stack/eth/bridge.ts'
import type { BridgePort, BridgePortOptions } from '../../stack/eth/bridge_port.ts'
import type { GroupFilter } from '../../stack/eth/group_filter.ts'
import type { BridgeEvent } from '../../stack/eth/learning.ts'
import { type Packet, Pool } from '../../stack/packet.ts'

export interface Delivery {
  readonly port: string
  readonly bytes: string
}

export interface Tag {
  readonly vid: number
  readonly priority?: number
  readonly tpid?: number
}

export interface FrameFields {
  readonly dst: string
  readonly src: string
  /** 802.1Q tags, outermost first. */
  readonly tags?: readonly Tag[]
  readonly type?: number
  readonly payload?: readonly number[] | Uint8Array
}

/** Octets of an Ethernet frame. */
export function frame({
  dst,
  src,
  tags = [],
  type = 0x0800,
  payload = [],
}: FrameFields): Uint8Array {
  const bytes = [...octets(dst), ...octets(src)]
  for (const { vid, priority = 0, tpid = 0x8100 } of tags) {
    const tci = (priority << 13) | vid
    bytes.push(tpid >>> 8, tpid & 0xff, tci >>> 8, tci & 0xff)
  }
  return Uint8Array.from([...bytes, type >>> 8, type & 0xff, ...payload])
}

function octets(mac: string): number[] {
  return mac.split(':').map((pair) => Number.parseInt(pair, 16))
}

/** `02:00:00:00:00:NN`. */
export function station(number: number): string {
  const hex = number.toString(16).padStart(8, '0')
  return `02:00:${hex.replace(/..(?!$)/g, '$&:')}`
}

export const BROADCAST = 'ff:ff:ff:ff:ff:ff'

export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}

export class BridgeLab {
  readonly counters: Counters = new Counters()
  readonly pool: Pool
  readonly clock: VirtualClock = new VirtualClock()
  readonly bridge: Bridge
  readonly events: BridgeEvent[] = []
  readonly ports: Map<string, BridgePort> = new Map()
  /** Called for each frame that leaves, before it is noted: to re-enter the bridge. */
  onOutput: (port: string, packet: Packet) => void = () => {}
  readonly #numbers = new Map<string, number>()
  #deliveries: Delivery[] = []
  #sent = 0
  #delivered = 0

  constructor(
    options: Partial<BridgeOptions> & {
      /** Makes what knows who wants which group. */
      readonly groupsOf?: (pool: Pool, clock: VirtualClock) => GroupFilter
    } = {},
    counts = { smallCount: 64, largeCount: 4 },
  ) {
    this.pool = new Pool({ ...counts, counters: this.counters, checked: true })
    const groups = options.groupsOf?.(this.pool, this.clock)
    this.bridge = new Bridge({
      name: 'lab',
      pool: this.pool,
      clock: this.clock,
      seed: 42,
      log: (event) => this.events.push(event),
      ...(groups === undefined ? {} : { groups }),
      ...options,
    })
  }

  add(name: string, options: Partial<BridgePortOptions> = {}): BridgePort {
    const number = this.counters.acquirePort()
    const port = this.bridge.addPort({
      name,
      port: number,
      output: (packet) => this.#output(name, packet),
      ...options,
    })
    this.ports.set(name, port)
    this.#numbers.set(name, number)
    return port
  }

  /** Frames that came out, in the order of their ports' addition. */
  send(port: string, bytes: Uint8Array, facts: Partial<Packet> = {}): Delivery[] {
    this.#deliveries = []
    this.inject(port, bytes, facts)
    return this.#deliveries
  }

  /** Names of the ports by which it came out. */
  reach(port: string, fields: FrameFields): string[] {
    return this.send(port, frame(fields)).map((delivery) => delivery.port)
  }

  inject(port: string, bytes: Uint8Array, facts: Partial<Packet> = {}): void {
    const packet = this.pool.alloc(bytes.length)
    if (packet === undefined) throw new Error('the lab has no packet left')
    this.pool.mem.set(bytes, packet.head)
    packet.len = bytes.length
    Object.assign(packet, { ingress: this.#numbers.get(port) ?? 0, ...facts })
    if (!packet.traced) this.#sent++
    this.ports.get(port)!.input(packet)
  }

  /** Drops with a reason, counted against a port. */
  drops(port: string, reason: DropName): number {
    return this.counters.drops(this.#numbers.get(port)!, DROP_NAMES.indexOf(reason))
  }

  station(mac: string, vid = 0): string | undefined {
    return this.bridge.fdb().find((entry) => entry.mac === mac && entry.vid === vid)?.port
  }

  /** Let time pass, and run what falls due. */
  wait(ms: number): void {
    const untilMs = this.clock.nowMs + ms
    while (this.clock.step(untilMs)) {}
    this.clock.jump(untilMs)
  }

  /** Close, and check that nothing is left: no packet, no timer, no frame unaccounted for. */
  balance(): void {
    this.bridge.close()
    expect(this.pool.leaks()).toEqual([])
    expect(this.clock.pending).toBe(0)
    let dropped = 0
    for (let reason = 0; reason < DROP_COUNT; reason++) dropped += this.counters.dropTotal(reason)
    expect(this.#delivered + dropped).toBeGreaterThanOrEqual(this.#sent)
  }

  #output(port: string, packet: Packet): void {
    this.onOutput(port, packet)
    if (!packet.traced) this.#delivered++
    const bytes = this.pool.mem.slice(packet.head, packet.head + packet.len)
    this.#deliveries.push({ port, bytes: hex(bytes) })
    this.pool.free(packet)
  }
}
