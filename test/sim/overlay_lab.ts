/**
 * Two or three nodes with an overlay network between them, driven by a seed: each with packet
 * memory and a ledger of its own, on one virtual clock, and wires that delay, lose, duplicate,
 * corrupt and are narrower than the nodes were told.
 */
import { parseConfig } from '../../services/config/parse.ts'
import { Controller } from '../../services/controller.ts'
import { VirtualDriver } from '../../services/fabric/driver.ts'
import type { Host } from '../../services/fabric/host.ts'
import { MemoryLinks } from '../../services/fabric/memory_links.ts'
import { QUIET } from '../../services/log.ts'
import { parseAddress } from '../../stack/address.ts'
import type { Lane, LaneCounts } from '../../stack/eth/lane.ts'
import type { Cable } from '../../stack/eth/memory.ts'
import { Random } from '../../stack/random.ts'
import { MemoryNet } from '../../stack/udp/memory_net.ts'
import type { MemoryUnderlay, MemoryUnderlayOptions } from '../../stack/udp/memory_underlay.ts'
import { type NetworkOptions, networkFor, type Place, sandboxesFor, vtep } from '../overlay/lab.ts'
import { LIMITS } from './lab.ts'
import { Ledger, type Wires } from './ledger.ts'

/** Remembers every wire and underlay there ever was, which the books need. */
class WatchedNet extends MemoryNet {
  readonly underlays: MemoryUnderlay[] = []
  readonly #wires = new Map<Lane, { readonly from: string; readonly to: string }>()

  override open(options: MemoryUnderlayOptions): MemoryUnderlay {
    const underlay = super.open(options)
    this.underlays.push(underlay)
    return underlay
  }

  override lane(from: MemoryUnderlay, to: MemoryUnderlay): Lane {
    const lane = super.lane(from, to)
    this.#wires.set(lane, { from: from.name, to: to.name })
    return lane
  }

  leaving(name: string): LaneCounts[] {
    return [...this.#wires].filter(([, { from }]) => from === name).map(([lane]) => lane.counts)
  }

  arriving(name: string): LaneCounts[] {
    return [...this.#wires].filter(([, { to }]) => to === name).map(([lane]) => lane.counts)
  }
}

class SimNode {
  readonly number: number
  readonly ledger: Ledger
  readonly links: MemoryLinks
  readonly controller: Controller
  readonly #net: WatchedNet
  readonly #name: string

  constructor(number: number, driver: VirtualDriver, net: WatchedNet, random: Random) {
    this.number = number
    this.#net = net
    this.#name = `udp ${vtep(number)}:4789 in memory`
    this.ledger = new Ledger({ smallCount: 768, largeCount: 24, checked: true, wires: this.#wires })
    const { pool } = this.ledger
    this.links = new MemoryLinks({ pool, driver, random: new Random(random.bits()), net })
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
  }

  get underlays(): MemoryUnderlay[] {
    return this.#net.underlays.filter(({ name }) => name === this.#name)
  }

  async apply(file: object): Promise<void> {
    const node = { name: `n${this.number}`, underlay: { address: vtep(this.number) } }
    const { config, faults } = parseConfig(JSON.stringify({ name: 'sim', node, ...file }), 'sim')
    if (config === undefined) throw new Error(faults.map(({ message }) => message).join('\n'))
    await this.controller.apply(config)
  }

  /** Why the books do not balance. */
  audit(): string[] {
    return this.ledger.audit().map((fault) => `node ${this.number}: ${fault}`)
  }

  get #wires(): Wires {
    return {
      kindOf: (port) => this.#kindOf(port),
      leaving: () => this.#net.leaving(this.#name),
      arriving: () => this.#net.arriving(this.#name),
      waiting: () => this.underlays.reduce((sum, { waiting }) => sum + waiting, 0),
    }
  }

  #kindOf(port: number): 'tunnel' | 'underlay' | 'device' {
    const open = this.underlays.at(-1)
    if (open?.port === port) return 'underlay'
    const segments = this.controller?.node.network('net')?.overlay?.segments ?? []
    return segments.some(({ tunnel }) => tunnel.port === port) ? 'tunnel' : 'device'
  }
}

/** Where sandboxes may be; which exist, and at which node, is the seed's. */
const SLOTS = [11, 12, 13, 14, 15, 16].map((last) => ({
  name: `s${last}`,
  ipv4: `10.2.${last % 2}.${last}`,
  ipv6: `fd00:2::${last}`,
}))
const SUBNETS = ['10.2.0.0/24', '10.2.1.0/24', 'fd00:2::/64']

export class OverlaySim {
  readonly random: Random
  readonly driver: VirtualDriver = new VirtualDriver()
  readonly net: WatchedNet
  readonly nodes: readonly SimNode[]
  /** What was done, in words. */
  readonly acts: string[] = []
  readonly corrupting: boolean
  places: readonly Place[]
  /** Sandboxes that files of other nodes do not tell of. */
  readonly unknown: readonly string[]
  readonly #options: NetworkOptions

  constructor(seed: number) {
    // Neighboring seeds must not begin alike.
    this.random = new Random(Math.imul(seed + 1, 0x85ebca6b))
    const { random, driver } = this
    this.net = new WatchedNet({ clock: driver.clock, random: new Random(random.bits()) })
    const count = 2 + random.below(2)
    this.nodes = Array.from(
      { length: count },
      (_, i) => new SimNode(i + 1, driver, this.net, new Random(random.bits())),
    )
    this.corrupting = random.chance(25)
    this.places = SLOTS.map((slot) => ({ ...slot, node: 1 + random.below(count) }))
    const flag = (pct: number): string => String(random.chance(pct))
    this.unknown = random.chance(40) ? ['s12', 's15'] : []
    this.#options = {
      subnets: SUBNETS,
      peers: this.nodes.map(({ number }) => number),
      unknown: this.unknown,
      driverOpts: {
        'tapline.vxlan_learning': flag(40),
        'tapline.vxlan_inner_vlan': flag(20),
        'tapline.igmp_snooping': flag(60),
        'tapline.arp_proxy': flag(80),
        'tapline.offload': flag(60),
      },
    }
  }

  one<T>(list: readonly T[]): T {
    return list[this.random.below(list.length)]!
  }

  host(place: Place): Host | undefined {
    return this.nodes[place.node - 1]!.links.host(place.name)
  }

  cable(place: Place): Cable | undefined {
    const name = `${place.name}/eth0`
    const { links, controller } = this.nodes[place.node - 1]!
    const { sandboxes } = controller.ls()
    const up = sandboxes.flatMap(({ endpoints }) => endpoints).some(({ device }) => device === name)
    return up ? links.cable(name) : undefined
  }

  async apply(node: SimNode): Promise<void> {
    const net = networkFor(node.number, this.places, this.#options)
    const sandboxes = sandboxesFor(node.number, this.places, 'net')
    await node.apply({ networks: { net }, sandboxes })
  }

  /** A node without its network: tunnels are closed in the middle of what goes on. */
  async empty(node: SimNode): Promise<void> {
    await node.apply({})
  }

  audit(): string[] {
    return this.nodes.flatMap((node) => node.audit())
  }

  /** The underlay address of a node. */
  address(number: number): ReturnType<typeof parseAddress> {
    return parseAddress(vtep(number))
  }

  /** In the middle of whatever goes on: everything must come back. */
  async close(): Promise<string[]> {
    const faults: string[] = []
    for (const { controller } of this.nodes) await controller.close()
    faults.push(...this.audit())
    for (const { links } of this.nodes) links.close()
    this.driver.close()
    for (const { ledger } of this.nodes) {
      for (const leak of ledger.pool.leaks()) faults.push(`leaked ${leak}`)
    }
    if (this.driver.pending > 0) faults.push(`${this.driver.pending} timers are left`)
    return [...faults, ...this.audit()]
  }
}
