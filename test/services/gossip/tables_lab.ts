/** Nodes with gossip sources on an instant cluster, and what their overlay networks were told. */
import { GossipSource } from '../../../services/gossip/gossip_source.ts'
import type { EndpointRecord, PeerListener } from '../../../services/overlay/peer_source.ts'
import { formatAddress, parseAddress } from '../../../stack/address.ts'
import { VirtualClock } from '../../../stack/clock.ts'
import { formatMac, type Mac } from '../../../stack/eth/mac.ts'
import { Random } from '../../../stack/random.ts'
import { type InstantCluster, InstantNet } from './instant_cluster.ts'

/** Remembers what it was told: what an overlay network would have in force. */
export class Told implements PeerListener {
  readonly vteps: Set<string> = new Set()
  /** By MAC: `addresses @ vtep`. */
  readonly endpoints: Map<string, string> = new Map()
  readonly conflicts: string[] = []
  /** Each call, for order. */
  calls = 0

  addVtep(_vni: number, vtep: EndpointRecord['vtep']): void {
    this.calls++
    if (this.vteps.has(formatAddress(vtep))) throw new Error('told twice')
    this.vteps.add(formatAddress(vtep))
  }

  removeVtep(_vni: number, vtep: EndpointRecord['vtep']): void {
    this.calls++
    if (!this.vteps.delete(formatAddress(vtep))) throw new Error('was not there')
  }

  setEndpoint({ mac, addresses, vtep, name }: EndpointRecord): void {
    this.calls++
    const list = addresses.map(formatAddress).join(',')
    this.endpoints.set(formatMac(mac), `${name} ${list} @ ${formatAddress(vtep)}`)
  }

  removeEndpoint(_vni: number, mac: Mac): void {
    this.calls++
    if (!this.endpoints.delete(formatMac(mac))) throw new Error('was not there')
  }

  conflict(address: EndpointRecord['vtep'], kept: EndpointRecord, refused: EndpointRecord): void {
    const who = `${kept.name}/${kept.node} not ${refused.name}/${refused.node}`
    this.conflicts.push(`${formatAddress(address)} ${who}`)
  }

  /** In a fixed order. */
  get list(): string[] {
    return [...this.endpoints].map(([mac, text]) => `${mac} ${text}`).sort()
  }
}

export interface LabNode {
  readonly name: string
  readonly cluster: InstantCluster
  readonly source: GossipSource
  readonly told: Map<number, Told>
}

export class GossipLab {
  readonly clock: VirtualClock = new VirtualClock()
  readonly random: Random
  readonly net: InstantNet
  readonly nodes: Map<string, LabNode> = new Map()
  readonly #keepDeadMs: number | undefined
  #boot = 1_700_000_000_000

  constructor({ seed, keepDeadMs }: { seed: number; keepDeadMs?: number }) {
    this.random = new Random(seed)
    this.net = new InstantNet(this.clock, this.random)
    this.#keepDeadMs = keepDeadMs
  }

  /** `n7` has the VTEP 10.200.0.7. */
  start(name: string, options: { boot?: number } = {}): LabNode {
    const number = Number(name.slice(1))
    const vtep = `10.200.${number >> 8}.${number & 255}`
    const cluster = this.net.add(name, vtep)
    const source = new GossipSource({
      cluster,
      clock: this.clock,
      random: new Random(this.random.bits()),
      vtep: parseAddress(vtep),
      boot: options.boot ?? this.#boot++,
      ...(this.#keepDeadMs === undefined ? {} : { keepDeadMs: this.#keepDeadMs }),
    })
    const node = { name, cluster, source, told: new Map<number, Told>() }
    this.nodes.set(name, node)
    return node
  }

  startMany(count: number, vni?: number): LabNode[] {
    return Array.from({ length: count }, (_, i) => {
      const node = this.start(`n${i + 1}`)
      if (vni !== undefined) this.join(node, vni)
      return node
    })
  }

  /** `fail`: as by SIGKILL. */
  stop(name: string, how: 'leave' | 'fail'): void {
    const node = this.nodes.get(name)!
    this.nodes.delete(name)
    void node.source.close()
    this.net.remove(name, how)
  }

  join(node: LabNode, vni: number): Told {
    const told = new Told()
    node.told.set(vni, told)
    node.source.join(vni, told)
    return told
  }

  /** Let time pass; promises settle on the way. */
  async run(ms: number): Promise<void> {
    const end = this.clock.nowMs + ms
    for (let i = 0; this.clock.step(end); i++) if (i % 64 === 0) await Promise.resolve()
    this.clock.jump(end)
    await Promise.resolve()
  }

  /** Undefined: `true` did not come within the time. */
  async until(test: () => boolean, limitMs: number): Promise<number | undefined> {
    const start = this.clock.nowMs
    while (this.clock.nowMs - start < limitMs) {
      if (test()) return this.clock.nowMs - start
      await this.run(50)
    }
    return test() ? this.clock.nowMs - start : undefined
  }
}

/** Endpoint `number` of network `vni` on a node: MAC and address are made of the number. */
export function endpoint(
  node: LabNode,
  number: number,
  change: Partial<Pick<EndpointRecord, 'name' | 'aliases' | 'mac' | 'addresses' | 'vni'>> = {},
): EndpointRecord {
  const address = `10.${1 + (number >> 16)}.${(number >> 8) & 255}.${number & 255}`
  return {
    vni: 7,
    mac: { hi: 0x0200, lo: number },
    addresses: [parseAddress(address)],
    name: `c${number}`,
    aliases: [],
    vtep: node.cluster.self.address,
    node: node.name,
    ...change,
  }
}
