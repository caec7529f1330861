/**
 * What the parts of a simulation share: the node, its hosts and cables, the seeded generator, and
 * the minutes of what was done and what was found wrong.
 */
import type { NodeLimits } from '../../services/build_node.ts'
import { Controller } from '../../services/controller.ts'
import { VirtualDriver } from '../../services/fabric/driver.ts'
import type { Host } from '../../services/fabric/host.ts'
import { MemoryLinks } from '../../services/fabric/memory_links.ts'
import { QUIET } from '../../services/log.ts'
import type { Cable } from '../../stack/eth/memory.ts'
import { PcapngWriter } from '../../stack/eth/pcapng.ts'
import { Random } from '../../stack/random.ts'
import { packetOf } from '../conformance/device.ts'
import type { Frame, Parties } from '../fuzz/corpus.ts'
import { Ledger } from './ledger.ts'
import { newWorld, type World } from './world.ts'

export interface LabOptions {
  readonly seed: number
  /** Remember allocations and poison freed packets: for looking into a failure. */
  readonly checked?: boolean
  /** Receives the blocks of a capture of everything. */
  readonly record?: (bytes: Uint8Array) => void
}

/** Small, as making the tables of a daemon takes longer than a simulation. */
export const LIMITS: NodeLimits = { connectionsMax: 1024, flowsMax: 256 }

export class Lab {
  readonly random: Random
  readonly ledger: Ledger
  readonly driver: VirtualDriver = new VirtualDriver()
  readonly links: MemoryLinks
  readonly controller: Controller
  /** What was done, in words. */
  readonly acts: string[] = []
  /** What was found wrong. */
  readonly faults: string[] = []
  /** With flipped bits about, a checksum may once be right by chance. */
  readonly corrupting: boolean
  world: World
  /** Pings that were answered. */
  pings = 0

  constructor({ seed, checked = false, record }: LabOptions) {
    // Neighboring seeds must not begin alike.
    this.random = new Random(Math.imul(seed + 1, 0x9e3779b1))
    const { random, driver } = this
    this.ledger = new Ledger({ smallCount: 512, largeCount: 24, checked })
    const { pool } = this.ledger
    this.corrupting = random.chance(30)
    this.world = newWorld(random)
    this.links = new MemoryLinks({ pool, driver, random: new Random(random.bits()) })
    this.ledger.watch(this.links)
    this.controller = new Controller({
      pool,
      clock: driver.clock,
      random: new Random(random.bits()),
      links: this.links,
      log: QUIET,
      ...LIMITS,
      onDevice: (device, added) => (added ? driver.add(device) : driver.remove(device)),
    })
    if (record !== undefined) this.#record(record)
  }

  one<T>(list: readonly T[]): T | undefined {
    return list[this.random.below(Math.max(1, list.length))]
  }

  hosts(): Host[] {
    const found = this.world.sandboxes.map(({ name }) => this.links.host(name))
    return found.filter((host) => host !== undefined)
  }

  cables(): Cable[] {
    const { sandboxes } = this.controller.ls()
    return sandboxes
      .flatMap(({ endpoints }) => endpoints)
      .filter(({ state, device }) => state === 'up' && device !== null)
      .map(({ device }) => this.links.cable(device!))
  }

  cable(): Cable | undefined {
    return this.one(this.cables())
  }

  /** An address of somebody, the gateway's, or nobody's. */
  target(): string {
    const random = this.random
    const network = this.one(this.world.networks)
    if (network === undefined || random.chance(5)) return '10.77.0.1'
    const last = random.chance(10) ? 1 : 10 + random.below(8)
    if (!network.six || random.chance(60)) return `10.${network.n}.0.${last}`
    const six = this.controller
      .inspect()
      .sandboxes.flatMap(({ endpoints }) => endpoints.flatMap(({ addresses }) => addresses))
      .filter((address) => address.includes(':'))
    const address = this.one(six)
    return address === undefined || last === 1
      ? `fd00:${network.n}::1`
      : address.slice(0, address.indexOf('/'))
  }

  /** Somebody who knows somebody, for frames. */
  parties(): Parties | undefined {
    const { networks, sandboxes } = this.controller.inspect()
    const network = this.one(networks)
    const far = this.one(networks)
    if (network === undefined || far === undefined || network.gatewayMac === null) return undefined
    const members = sandboxes.flatMap(({ endpoints }) =>
      endpoints.filter((endpoint) => endpoint.network === network.name && endpoint.mac !== null),
    )
    const [a, b] = [this.one(members), this.one(members)]
    if (a === undefined || b === undefined) return undefined
    const pick = (list: readonly string[], mark: string, otherwise: string): string => {
      const found = list.find((address) => address.includes(mark))
      return found === undefined ? otherwise : found.replace(/\/.*/, '')
    }
    return {
      mac: a.mac!,
      ip4: pick(a.addresses, '.', '10.1.0.250'),
      ip6: pick(a.addresses, ':', 'fd00:1::250'),
      peerMac: b.mac!,
      peerIp4: pick(b.addresses, '.', '10.1.0.251'),
      peerIp6: pick(b.addresses, ':', 'fd00:1::251'),
      gatewayMac: network.gatewayMac,
      gatewayIp4: pick(network.gateways, '.', '10.1.0.1'),
      gatewayIp6: pick(network.gateways, ':', 'fd00:1::1'),
      farIp4: pick(far.gateways, '.', '10.2.0.1').replace(/1$/, '11'),
      farIp6: pick(far.gateways, ':', 'fd00:2::1').replace(/1$/, '11'),
    }
  }

  inject(cable: Cable, frame: Frame): void {
    const packet = packetOf(this.ledger.pool, frame)
    if (packet !== undefined) cable.b.transmit(packet)
  }

  /** All that a trace could have changed. */
  snapshot(): string {
    const { controller: it, timers } = {
      controller: this.controller,
      timers: this.driver.pending,
    }
    const stats = { ...it.stats(), uptimeMs: 0 }
    const live = this.ledger.live
    return JSON.stringify([live, timers, it.fdb(), it.neigh(), it.drops(), it.routes(), stats])
  }

  #record(write: (bytes: Uint8Array) => void): void {
    const writer = new PcapngWriter({ write })
    const interfaces = new Map<string, number>()
    this.controller.attachCapture('all', (device, direction, mem, at, bytes) => {
      const id = interfaces.get(device) ?? writer.addInterface(device)
      interfaces.set(device, id)
      writer.packet(id, mem, at, bytes, this.driver.clock.nowMs * 1000, direction)
    })
  }
}
