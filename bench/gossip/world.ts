/**
 * A cluster of gossip sources over serf and memberlist, in memory and in virtual time: what a run
 * does depends on its seed alone.
 *
 * ```text
 *   announce ─> GossipSource ─> Tables ─> Meter ─> Serf ─> Memberlist ─> MemoryNetwork
 *   Mirror   <─ GossipSource                               delay, loss, partition, death
 * ```
 *
 * A mirror is what an overlay network would have in force. It and the truth are compared by a hash
 * that is kept with each change, so that asking a thousand nodes whether they agree is cheap; in
 * the end everything is compared once more, one by one.
 */
import type { Cluster, ClusterListener, Member } from '../../services/gossip/cluster.ts'
import { GOSSIP_PORT } from '../../services/gossip/defaults.ts'
import { GossipSource } from '../../services/gossip/gossip_source.ts'
import { Joiner } from '../../services/gossip/joiner.ts'
import { MemoryNetwork, type MemoryTransport } from '../../services/gossip/memory_transport.ts'
import { Serf } from '../../services/gossip/serf.ts'
import { QUIET } from '../../services/log.ts'
import type { EndpointRecord, PeerListener } from '../../services/overlay/peer_source.ts'
import { type Address, ipv4 } from '../../stack/address.ts'
import { VirtualClock } from '../../stack/clock.ts'
import type { Mac } from '../../stack/eth/mac.ts'
import { Random } from '../../stack/random.ts'

/** First VTEP: 10.200.0.0. */
const VTEP_BASE = 0x0ac8_0000
/** Promises settle after so many events. */
const SETTLE_EVENTS = 32

/** Endpoints by MAC number, and a hash of all of them. */
class Mirror implements PeerListener {
  readonly endpoints: Map<number, number> = new Map()
  readonly vteps: Set<number> = new Set()
  hash = 0
  conflicts = 0

  addVtep(_vni: number, vtep: Address): void {
    this.vteps.add(vtep.words[3]!)
  }

  removeVtep(_vni: number, vtep: Address): void {
    this.vteps.delete(vtep.words[3]!)
  }

  setEndpoint({ mac, vtep }: Pick<EndpointRecord, 'mac' | 'vtep'>): void {
    this.removeEndpoint(0, mac)
    this.endpoints.set(mac.lo, vtep.words[3]!)
    this.hash ^= mix(mac.lo, vtep.words[3]!)
  }

  removeEndpoint(_vni: number, { lo }: Mac): void {
    const vtep = this.endpoints.get(lo)
    if (vtep === undefined) return
    this.endpoints.delete(lo)
    this.hash ^= mix(lo, vtep)
  }

  conflict(): void {
    this.conflicts++
  }
}

function mix(a: number, b: number): number {
  let hash = Math.imul(a ^ 0x9e37_79b9, 0x85eb_ca6b) ^ Math.imul(b ^ (b >>> 15), 0xc2b2_ae35)
  hash = Math.imul(hash ^ (hash >>> 13), 0x27d4_eb2f)
  return hash ^ (hash >>> 16)
}

/** Counts what tables send, apart from what membership does. */
class Meter implements Cluster {
  messages = 0
  bytes = 0
  readonly #inner: Cluster

  constructor(inner: Cluster) {
    this.#inner = inner
  }

  get self(): Member {
    return this.#inner.self
  }

  get messageBytesMax(): number {
    return this.#inner.messageBytesMax
  }

  members(): readonly Member[] {
    return this.#inner.members()
  }

  member(name: string): Member | undefined {
    return this.#inner.member(name)
  }

  subscribe(listener: ClusterListener): () => void {
    return this.#inner.subscribe(listener)
  }

  send(member: Member, message: Uint8Array): void {
    this.#count(message)
    this.#inner.send(member, message)
  }

  sendReliable(member: Member, message: Uint8Array): Promise<void> {
    this.#count(message)
    return this.#inner.sendReliable(member, message)
  }

  #count(message: Uint8Array): void {
    this.messages++
    this.bytes += message.length
  }
}

export interface WorldNode {
  readonly name: string
  readonly number: number
  readonly vtep: Address
  readonly transport: MemoryTransport
  readonly joiner: Joiner
  readonly serf: Serf
  readonly meter: Meter
  readonly source: GossipSource
  readonly mirrors: Map<number, Mirror>
  /** Its endpoints, by network. */
  readonly own: Map<number, Mirror>
}

export interface Traffic {
  /** Datagrams and streams that left, of membership and tables. */
  readonly messages: number
  readonly bytes: number
  /** Of these, what tables sent, without the envelopes. */
  readonly tableMessages: number
  readonly tableBytes: number
}

export class GossipWorld {
  readonly clock: VirtualClock = new VirtualClock()
  readonly random: Random
  readonly network: MemoryNetwork
  readonly nodes: Map<string, WorldNode> = new Map()
  /** All endpoints that there are, by network. */
  readonly truth: Map<number, Mirror> = new Map()
  /** What nodes sent that are no more. */
  #sent: Traffic = { messages: 0, bytes: 0, tableMessages: 0, tableBytes: 0 }
  #number = 0
  #boot = 1_800_000_000_000
  #events = 0

  constructor(seed: number) {
    this.random = new Random(seed)
    this.network = new MemoryNetwork({
      clock: this.clock,
      random: this.random,
      faults: { delayMs: 0.5, jitterMs: 1 },
    })
  }

  /** Of an endpoint that is not there yet. */
  freshNumber(): number {
    return ++this.#number
  }

  /** A node that takes part in these networks, and joins the cluster by way of others. */
  start(number: number, vnis: readonly number[]): WorldNode {
    const name = `n${number}`
    const vtep = ipv4(VTEP_BASE + number)
    const transport = this.network.open(vtep, GOSSIP_PORT)
    const { clock } = this
    const random = new Random(this.random.bits())
    const serf = new Serf({ clock, random, log: QUIET, transport, name })
    const meter = new Meter(serf)
    const boot = this.#boot++
    const source = new GossipSource({ cluster: meter, clock, random, vtep, boot })
    const others = [...this.nodes.values()]
    const mirrors = new Map<number, Mirror>()
    const own = new Map<number, Mirror>()
    serf.start()
    const first = others[this.random.below(Math.max(1, others.length))]
    const list = first === undefined ? [] : [{ address: first.vtep, port: GOSSIP_PORT }]
    const joiner = new Joiner({ clock, random, log: QUIET, serf, list: async () => list })
    void joiner.start()
    const node = { name, number, vtep, transport, joiner, serf, meter, source, mirrors, own }
    this.nodes.set(name, node)
    for (const vni of vnis) this.join(node, vni)
    return node
  }

  join(node: WorldNode, vni: number): void {
    const mirror = new Mirror()
    node.mirrors.set(vni, mirror)
    node.own.set(vni, new Mirror())
    if (!this.truth.has(vni)) this.truth.set(vni, new Mirror())
    node.source.join(vni, mirror)
  }

  /** Start so many, `perSecond` of them a second, and let them find each other. */
  async startMany(
    count: number,
    perSecond: number,
    vnisOf: (i: number) => number[],
  ): Promise<void> {
    for (let i = 1; i <= count; i++) {
      this.start(i, vnisOf(i))
      await this.run(1000 / perSecond)
    }
  }

  /** As by SIGKILL: its endpoints are gone once the others take it for dead. */
  kill(node: WorldNode): void {
    void node.transport.close()
    shut(node)
    this.#sent = sumTraffic(this.#sent, node)
    this.nodes.delete(node.name)
    for (const [vni, own] of node.own) {
      for (const lo of own.endpoints.keys()) this.truth.get(vni)!.removeEndpoint(vni, macOf(lo))
    }
  }

  announce(node: WorldNode, vni: number, number: number): void {
    const mac = macOf(number)
    const { vtep } = node
    node.own.get(vni)!.setEndpoint({ mac, vtep })
    this.truth.get(vni)!.setEndpoint({ mac, vtep })
    node.source.announce({
      vni,
      mac,
      vtep,
      addresses: [ipv4(0x0a01_0000 + number)],
      name: `c${number}`,
      aliases: [],
      node: node.name,
    })
  }

  withdraw(node: WorldNode, vni: number, number: number): void {
    const mac = macOf(number)
    node.own.get(vni)!.removeEndpoint(vni, mac)
    this.truth.get(vni)!.removeEndpoint(vni, mac)
    node.source.withdraw(vni, mac)
  }

  async run(ms: number): Promise<void> {
    const end = this.clock.nowMs + ms
    while (this.clock.step(end)) {
      if (++this.#events % SETTLE_EVENTS === 0) await Promise.resolve()
    }
    this.clock.jump(end)
    await Promise.resolve()
  }

  /** Milliseconds until it is so, looked at every `stepMs`; undefined: not within the limit. */
  async until(isSo: () => boolean, limitMs: number, stepMs = 50): Promise<number | undefined> {
    const startMs = this.clock.nowMs
    while (!isSo()) {
      if (this.clock.nowMs - startMs >= limitMs) return undefined
      await this.run(stepMs)
    }
    return this.clock.nowMs - startMs
  }

  /** Every node has in force exactly what others have in its networks. */
  isAgreed(): boolean {
    for (const node of this.nodes.values()) {
      for (const [vni, mirror] of node.mirrors) {
        const truth = this.truth.get(vni)!
        const own = node.own.get(vni)!
        const { size } = mirror.endpoints
        if (size !== truth.endpoints.size - own.endpoints.size) return false
        if (mirror.hash !== (truth.hash ^ own.hash)) return false
      }
    }
    return true
  }

  /** All differences, each in words. */
  differences(limit = 10): string[] {
    const found: string[] = []
    for (const { name, mirrors, own } of this.nodes.values()) {
      for (const [vni, { endpoints }] of mirrors) {
        const { endpoints: all } = this.truth.get(vni)!
        const mine = own.get(vni)!.endpoints
        for (const [mac, vtep] of all) {
          if (found.length >= limit) return found
          if (!mine.has(mac) && endpoints.get(mac) !== vtep) found.push(`${name} lacks ${mac}`)
        }
        for (const mac of endpoints.keys()) {
          if (found.length >= limit) return found
          if (!all.has(mac) || mine.has(mac)) found.push(`${name} has a ghost ${mac}`)
        }
      }
    }
    return found
  }

  /** Of all nodes together. */
  traffic(): Traffic {
    return [...this.nodes.values()].reduce(sumTraffic, this.#sent)
  }

  close(): void {
    for (const node of this.nodes.values()) {
      shut(node)
      void node.transport.close()
    }
    this.nodes.clear()
  }
}

function sumTraffic(sum: Traffic, { transport, meter }: WorldNode): Traffic {
  const { datagramsOut, datagramBytesOut, streamsOut, streamBytesOut } = transport.counters
  return {
    messages: sum.messages + datagramsOut + streamsOut,
    bytes: sum.bytes + datagramBytesOut + streamBytesOut,
    tableMessages: sum.tableMessages + meter.messages,
    tableBytes: sum.tableBytes + meter.bytes,
  }
}

function shut({ source, joiner, serf }: WorldNode): void {
  void source.close()
  joiner.close()
  serf.close()
}

function macOf(number: number): Mac {
  return { hi: 0x0200, lo: number }
}
