/**
 * Several whole nodes in memory, each with its own packet memory, on one virtual clock and one
 * underlay between them. Node N has the underlay address 10.200.0.N.
 */
import { expect } from 'vitest'
import { parseConfig } from '../../services/config/parse.ts'
import { Controller } from '../../services/controller.ts'
import { VirtualDriver } from '../../services/fabric/driver.ts'
import type { Host } from '../../services/fabric/host.ts'
import { MemoryLinks } from '../../services/fabric/memory_links.ts'
import type { Log } from '../../services/log.ts'
import { type Address, parseAddress } from '../../stack/address.ts'
import { Count } from '../../stack/counters.ts'
import { DROP_NAMES, type DropName } from '../../stack/drop.ts'
import { Pool } from '../../stack/packet.ts'
import { Random } from '../../stack/random.ts'
import { MemoryNet } from '../../stack/udp/memory_net.ts'

export class LabNode {
  readonly number: number
  readonly pool: Pool
  readonly links: MemoryLinks
  readonly controller: Controller
  readonly logged: string[] = []

  constructor(number: number, driver: VirtualDriver, net: MemoryNet, flowsMax?: number) {
    this.number = number
    this.pool = new Pool({ smallCount: 1024, largeCount: 32, checked: true })
    const random = new Random(100 + number)
    this.links = new MemoryLinks({ pool: this.pool, driver, random, net })
    const say = (_: object, message: string): void => {
      this.logged.push(message)
    }
    const log: Log = { info: () => {}, warn: say, error: say }
    this.controller = new Controller({
      pool: this.pool,
      clock: driver.clock,
      random: new Random(200 + number),
      links: this.links,
      log,
      onDevice: (device, added) => (added ? driver.add(device) : driver.remove(device)),
      ...(flowsMax === undefined ? {} : { flowsMax }),
    })
  }

  get address(): Address {
    return parseAddress(vtep(this.number))
  }

  /** `file` without name and node, which are this node's. */
  async apply(file: object): Promise<string[]> {
    const node = { name: `n${this.number}`, underlay: { address: vtep(this.number) } }
    const text = JSON.stringify({ name: 'lab', node, ...file })
    const { config, faults } = parseConfig(text, 'lab.yaml')
    expect(faults).toEqual([])
    const { steps } = await this.controller.apply(config!)
    return steps.map(({ action, subject }) => `${action} ${subject}`)
  }

  host(sandbox: string): Host {
    return this.links.host(sandbox)!
  }

  drops(reason: DropName): number {
    return this.pool.counters.dropTotal(DROP_NAMES.indexOf(reason))
  }

  /** Frames into and out of the tunnel of a network. */
  tunnel(network: string): { rx: number; tx: number } {
    const { port } = this.controller.node.network(network)!.overlay!
    const { counters } = this.pool
    return { rx: counters.value(port, Count.RxPackets), tx: counters.value(port, Count.TxPackets) }
  }
}

export class OverlayLab {
  readonly driver: VirtualDriver = new VirtualDriver()
  readonly net: MemoryNet = new MemoryNet({ clock: this.driver.clock, random: new Random(9) })
  readonly nodes: LabNode[]

  constructor(count: number, flowsMax?: number) {
    this.nodes = Array.from(
      { length: count },
      (_, i) => new LabNode(i + 1, this.driver, this.net, flowsMax),
    )
  }

  node(number: number): LabNode {
    return this.nodes[number - 1]!
  }

  pass(ms: number): void {
    this.driver.pass(ms)
  }

  /** Close, and prove that nothing is left. */
  async finish(): Promise<void> {
    for (const { controller } of this.nodes) await controller.close()
    for (const { pool } of this.nodes) {
      expect(pool.leaks()).toEqual([])
      const port = pool.counters.acquirePort()
      expect(port, 'all counters given back').toBe(1)
    }
    expect(this.driver.pending).toBe(0)
    this.driver.close()
  }
}

export function vtep(number: number): string {
  return `10.200.0.${number}`
}

export const VNI = 'com.docker.network.driver.overlay.vxlanid_list'

export interface Place {
  readonly node: number
  readonly name: string
  readonly ipv4: string
  readonly ipv6?: string
  readonly mac?: string
}

/** MAC by the last octet of its address. */
export function macOf({ ipv4, mac }: Place): string {
  const [, , c, d] = ipv4.split('.').map(Number)
  const two = (n: number): string => n.toString(16).padStart(2, '0')
  return mac ?? `02:00:00:00:${two(c!)}:${two(d!)}`
}

export interface NetworkOptions {
  readonly subnets: readonly string[]
  readonly vni?: number
  readonly peers?: readonly number[]
  /** Endpoints of other nodes that the file does not tell of. */
  readonly unknown?: readonly string[]
  readonly driverOpts?: object
}

/** The network as the file of one node has it: the places of the others are its records. */
export function networkFor(number: number, places: readonly Place[], o: NetworkOptions): object {
  const { subnets, vni = 5001, peers = [1, 2, 3], unknown = [], driverOpts = {} } = o
  const others = places.filter(({ node, name }) => node !== number && !unknown.includes(name))
  return {
    driver: 'overlay',
    enable_ipv6: subnets.some((subnet) => subnet.includes(':')),
    driver_opts: { [VNI]: String(vni), ...driverOpts },
    ipam: { config: subnets.map((subnet) => ({ subnet })) },
    peers: peers.filter((peer) => peer !== number).map(vtep),
    remote: others.map((place) => ({
      vtep: vtep(place.node),
      mac: macOf(place),
      ipv4_address: place.ipv4,
      ...(place.ipv6 && { ipv6_address: place.ipv6 }),
      name: place.name,
    })),
  }
}

/** The sandboxes of one node, on network `net`. */
export function sandboxesFor(number: number, places: readonly Place[], net: string): object {
  const own = places.filter(({ node }) => node === number)
  const entries = own.map((place) => {
    const endpoint = {
      ipv4_address: place.ipv4,
      mac_address: macOf(place),
      ...(place.ipv6 && { ipv6_address: place.ipv6 }),
    }
    return [place.name, { networks: { [net]: endpoint } }]
  })
  return Object.fromEntries(entries)
}
