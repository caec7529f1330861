/**
 * Groups over tunnels: three nodes in memory, each a bridge that snoops with a querier, and a
 * tunnel that keeps what each of the other nodes wants. Nodes without receivers get nothing.
 */
import { afterEach, describe, expect, it } from 'vitest'
import { parseAddress } from '../../stack/address.ts'
import { VirtualClock } from '../../stack/clock.ts'
import { Count } from '../../stack/counters.ts'
import { Bridge } from '../../stack/eth/bridge.ts'
import type { BridgePort } from '../../stack/eth/bridge_port.ts'
import { GroupRole } from '../../stack/eth/group_filter.ts'
import { parseMac } from '../../stack/eth/mac.ts'
import { Querier } from '../../stack/ip/querier.ts'
import { Snooper } from '../../stack/ip/snooping.ts'
import { Pool } from '../../stack/packet.ts'
import { Random } from '../../stack/random.ts'
import { MemoryNet } from '../../stack/udp/memory_net.ts'
import type { MemoryUnderlay } from '../../stack/udp/memory_underlay.ts'
import type { Tunnel } from '../../stack/vxlan/tunnel.ts'
import { Vtep } from '../../stack/vxlan/vtep.ts'
import { data, join, leave } from '../ip/group_lab.ts'

const GATEWAY = '02:00:00:00:aa:01'
const GROUPS = ['239.1.2.3', 'ff05::1:3'] as const
const NODES = 3

interface Node {
  readonly pool: Pool
  readonly underlay: MemoryUnderlay
  readonly tunnel: Tunnel
  readonly groups: Snooper
  readonly wants: Snooper
  readonly ports: readonly BridgePort[]
  /** Octets of groups other than those of the link, by host. */
  readonly got: number[]
  close(): void
}

class World {
  readonly clock: VirtualClock = new VirtualClock()
  readonly net: MemoryNet = new MemoryNet({ clock: this.clock, random: new Random(3) })
  readonly nodes: Node[] = []

  constructor() {
    for (let i = 0; i < NODES; i++) this.nodes.push(this.#node(i))
    for (const [i, { tunnel }] of this.nodes.entries()) {
      for (let k = 0; k < NODES; k++) if (k !== i) tunnel.addMember(vtepOf(k))
    }
    this.wait(60_000)
  }

  #node(i: number): Node {
    const { clock } = this
    const pool = new Pool({ smallCount: 64, largeCount: 4, checked: true })
    const snooping = { pool, clock, seed: i, vlans: 1 }
    const groups = new Snooper({ ...snooping, portsMax: 16 })
    const isComplete = (family: number): boolean => groups.hasQuerier(0, family)
    const wants = new Snooper({ ...snooping, portsMax: 16, isComplete })
    const role = GroupRole.Reports
    const bridge = new Bridge({ name: 'back', pool, clock, seed: i, groups })
    const underlay = this.net.open({ pool, address: vtepOf(i), udpPort: 4789 })
    const vtep = new Vtep({ pool, underlay })
    const gateway = { mac: parseMac(GATEWAY), nodeMac: parseMac(`02:00:00:00:bb:0${i}`) }
    const tunnel = vtep.open({ name: 'back', clock, seed: i, vni: 4097, gateway, groups: wants })
    const output = tunnel.transmit
    const lead = bridge.addPort({ name: 'tunnel', port: tunnel.port, output, groupRole: role })
    tunnel.output = lead.input
    const got = [0, 0]
    const ports = got.map((_, host) =>
      bridge.addPort({
        name: `h${host}`,
        port: pool.counters.acquirePort(),
        fastLeave: true,
        output: (packet) => {
          const { mem } = pool
          const six = mem[packet.head + 12] === 0x86
          const link = six ? (mem[packet.head + 39]! & 15) <= 2 : mem[packet.head + 30] === 224
          if (!link) got[host]!++
          pool.free(packet)
        },
      }),
    )
    const leg = bridge.addPort({
      name: 'gateway',
      port: 0,
      groupRole: GroupRole.Never,
      output: (packet) => pool.free(packet),
    })
    const querier = new Querier({
      pool,
      clock,
      snooper: groups,
      vid: 0,
      mac: gateway.mac,
      address4: parseAddress('10.1.0.1'),
      address6: parseAddress('fe80::1'),
      send: leg.input,
    })
    const close = (): void => {
      querier.close()
      vtep.close()
      underlay.close()
      for (const filter of [groups, wants]) filter.close()
      bridge.close()
    }
    return { pool, underlay, tunnel, groups, wants, ports, got, close }
  }

  wait(ms: number): void {
    const untilMs = this.clock.nowMs + ms
    do for (const { underlay } of this.nodes) underlay.poll(64)
    while (this.clock.step(untilMs))
    this.clock.jump(untilMs)
  }

  send(node: number, host: number, bytes: Uint8Array): void {
    const { pool, ports } = this.nodes[node]!
    const packet = pool.alloc(bytes.length)!
    pool.mem.set(bytes, packet.head)
    packet.len = bytes.length
    ports[host]!.input(packet)
    this.wait(1)
  }

  /** Datagrams that reached each node's underlay, and what its hosts got, meanwhile. */
  during(run: () => void): { tunnels: number[]; hosts: number[][] } {
    const tunnels = (): number[] =>
      this.nodes.map(({ pool, underlay }) => pool.counters.value(underlay.port, Count.RxPackets))
    const before = tunnels()
    for (const { got } of this.nodes) got.fill(0)
    run()
    return {
      tunnels: tunnels().map((count, i) => count - before[i]!),
      hosts: this.nodes.map(({ got }) => [...got]),
    }
  }

  close(): void {
    for (const node of this.nodes) node.close()
    for (const { pool } of this.nodes) expect(pool.leaks()).toEqual([])
    expect(this.clock.pending).toBe(0)
  }
}

function vtepOf(node: number): ReturnType<typeof parseAddress> {
  return parseAddress(`10.200.0.${node + 1}`)
}

let world: World
afterEach(() => world.close())

describe.each(GROUPS)('%s', (group) => {
  it('goes by the tunnel to nodes with receivers only', () => {
    world = new World()
    const nobody = world.during(() => world.send(0, 0, data(group)))
    expect(nobody).toEqual({
      tunnels: [0, 0, 0],
      hosts: [
        [0, 0],
        [0, 0],
        [0, 0],
      ],
    })
    // The report goes to both other nodes.
    const joined = world.during(() => world.send(1, 1, join(group)))
    expect(joined.tunnels).toEqual([1, 0, 1])
    const one = world.during(() => {
      for (let i = 0; i < 50; i++) world.send(0, 0, data(group))
    })
    expect(one).toEqual({
      tunnels: [0, 50, 0],
      hosts: [
        [0, 0],
        [0, 50],
        [0, 0],
      ],
    })
    world.send(2, 0, join(group, 0x0c))
    world.send(0, 1, join(group, 0x0d))
    const all = world.during(() => world.send(0, 0, data(group)))
    expect(all).toEqual({
      tunnels: [0, 1, 1],
      hosts: [
        [0, 1],
        [0, 1],
        [1, 0],
      ],
    })
    world.send(1, 1, leave(group))
    world.wait(4000)
    const fewer = world.during(() => world.send(0, 0, data(group)))
    expect(fewer).toEqual({
      tunnels: [0, 0, 1],
      hosts: [
        [0, 1],
        [0, 0],
        [1, 0],
      ],
    })
  })

  it('a receiver beside one that leaves keeps its group, by the question of its own node', () => {
    world = new World()
    world.send(1, 0, join(group))
    world.send(1, 1, join(group, 0x0c))
    world.send(1, 0, leave(group))
    // Its node asks, and it answers, which the others hear.
    world.wait(600)
    world.send(1, 1, join(group, 0x0c))
    world.wait(10_000)
    const { hosts } = world.during(() => world.send(0, 0, data(group)))
    expect(hosts).toEqual([
      [0, 0],
      [0, 1],
      [0, 0],
    ])
  })

  it('is forgotten when a node goes, and when it falls silent', () => {
    world = new World()
    world.send(1, 0, join(group))
    world.send(2, 0, join(group, 0x0c))
    world.nodes[0]!.tunnel.removeMember(vtepOf(1))
    expect(world.nodes[0]!.wants.list().length).toBe(1)
    world.wait(261_000)
    const { tunnels } = world.during(() => world.send(0, 0, data(group)))
    expect(tunnels).toEqual([0, 0, 0])
  })
})

it('groups of the link, and broadcasts, go everywhere', () => {
  world = new World()
  expect(world.during(() => world.send(0, 0, data('224.0.0.251'))).tunnels).toEqual([0, 1, 1])
  expect(world.during(() => world.send(0, 0, data('ff02::fb'))).tunnels).toEqual([0, 1, 1])
  const broadcast = data('239.1.2.3')
  broadcast.fill(0xff, 0, 6)
  broadcast.set([255, 255, 255, 255], 30)
  expect(world.during(() => world.send(0, 0, broadcast)).tunnels).toEqual([0, 1, 1])
})

it('a node that is new gets every group until it can have said what it wants', () => {
  world = new World()
  const { tunnel, groups } = world.nodes[0]!
  tunnel.removeMember(vtepOf(2))
  tunnel.addMember(vtepOf(2))
  groups.awaitNews()
  const sent = () => world.during(() => world.send(0, 0, data('239.1.2.3'))).tunnels
  expect(sent()).toEqual([0, 0, 1])
  world.wait(42_000)
  expect(sent()).toEqual([0, 0, 0])
})

it('questions of a node stay on it', () => {
  world = new World()
  const { tunnels } = world.during(() => world.wait(300_000))
  expect(tunnels).toEqual([0, 0, 0])
})
