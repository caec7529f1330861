import { describe, expect, it } from 'vitest'
import { KEEP_DEAD_MS } from '../../../services/gossip/nodes.ts'
import { TOMBSTONE_MS } from '../../../services/gossip/replica.ts'
import { NOTICE_MS } from './instant_cluster.ts'
import { endpoint, GossipLab, type LabNode, type Told } from './tables_lab.ts'

const VNI = 7

function told(node: LabNode, vni = VNI): Told {
  return node.told.get(vni)!
}

/** All nodes were told the same of the endpoints that are not their own. */
function expectAgreement(nodes: Iterable<LabNode>, endpoints: ReadonlyMap<string, LabNode>): void {
  for (const node of nodes) {
    const others = [...endpoints].filter(([, owner]) => owner !== node)
    expect([...told(node).endpoints.keys()].sort()).toEqual(others.map(([mac]) => mac).sort())
  }
}

const mac = (number: number): string => `02:00:00:00:00:${number.toString(16).padStart(2, '0')}`

describe('gossip source', () => {
  it('finds the endpoints of other nodes, and hears when they change and go', async () => {
    const lab = new GossipLab({ seed: 1 })
    const [a, b, c] = lab.startMany(3, VNI) as [LabNode, LabNode, LabNode]
    await lab.run(3000)
    expect([...told(a).vteps].sort()).toEqual(['10.200.0.2', '10.200.0.3'])
    a.source.announce(endpoint(a, 1))
    a.source.announce(endpoint(a, 1))
    b.source.announce(endpoint(b, 2, { aliases: ['db'] }))
    const ms = await lab.until(() => told(c).endpoints.size === 2, 2000)
    expect(ms).toBeLessThan(1000)
    expect(told(c).list).toEqual([
      `${mac(1)} c1 10.1.0.1 @ 10.200.0.1`,
      `${mac(2)} c2 10.1.0.2 @ 10.200.0.2`,
    ])
    expect(told(a).list).toEqual([`${mac(2)} c2 10.1.0.2 @ 10.200.0.2`])
    expect(
      c.source
        .records(VNI)
        .map(({ aliases, node }) => [node, aliases])
        .sort(),
    ).toEqual([
      ['n1', []],
      ['n2', ['db']],
    ])
    b.source.withdraw(VNI, endpoint(b, 2).mac)
    a.source.announce(endpoint(a, 1, { addresses: [] }))
    await lab.run(1000)
    expect(told(c).list).toEqual([`${mac(1)} c1  @ 10.200.0.1`])
    expect(told(a).list).toEqual([])
    const { calls } = told(c)
    await lab.run(60_000)
    expect(told(c).calls, 'nothing is told without a reason').toBe(calls)
    expect(c.source.tables.stats).toEqual({ malformed: 0, strange: 0, reboots: 0 })
  })

  it('tells a node only of the networks that it has joined, and all of them', async () => {
    const lab = new GossipLab({ seed: 2 })
    const [a, b, c] = lab.startMany(3) as [LabNode, LabNode, LabNode]
    for (const vni of [7, 8]) lab.join(a, vni)
    lab.join(b, 8)
    lab.join(c, 9)
    await lab.run(2000)
    for (let i = 1; i <= 40; i++) a.source.announce(endpoint(a, i, { vni: 7 + (i % 2) }))
    c.source.announce(endpoint(c, 99, { vni: 9 }))
    await lab.run(2000)
    expect(told(b, 8).endpoints.size).toBe(20)
    expect(told(c, 9).endpoints.size).toBe(0)
    expect(b.source.tables.replica(7)).toBeUndefined()
    expect([b, c].map(({ source }) => source.tables.stats.strange)).toEqual([0, 0])
    const late = lab.join(c, 7)
    expect(await lab.until(() => late.endpoints.size === 20, 3000)).toBeLessThan(2500)
    c.source.leave(7)
    await lab.run(1000)
    expect(told(a, 7).vteps.size).toBe(0)
    a.source.withdraw(7, endpoint(a, 2).mac)
    const again = lab.join(c, 7)
    await lab.run(3000)
    expect(again.endpoints.size).toBe(19)
    c.source.announce(endpoint(c, 77))
    await lab.run(1000)
    expect(told(a, 7).endpoints.size).toBe(1)
  })

  it('heals a partition of 30 s without losing anything, and without ghosts', async () => {
    const lab = new GossipLab({ seed: 3 })
    const nodes = lab.startMany(6, VNI)
    await lab.run(2000)
    const where = new Map<string, LabNode>()
    for (const [i, node] of nodes.entries()) {
      for (const number of [i + 1, i + 11]) {
        node.source.announce(endpoint(node, number))
        where.set(mac(number), node)
      }
    }
    await lab.run(3000)
    expectAgreement(nodes, where)
    const isLeft = (name: string): boolean => name < 'n4'
    lab.net.connected = (x, y) => isLeft(x) === isLeft(y)
    lab.net.notice()
    await lab.run(15_000)
    expectAgreement(nodes, where)
    nodes[0]!.source.withdraw(VNI, endpoint(nodes[0]!, 1).mac)
    nodes[5]!.source.withdraw(VNI, endpoint(nodes[5]!, 6).mac)
    nodes[5]!.source.announce(endpoint(nodes[5]!, 66))
    where.delete(mac(1))
    where.delete(mac(6))
    where.set(mac(66), nodes[5]!)
    await lab.run(15_000)
    expect(told(nodes[1]!).endpoints.has(mac(6)), 'not heard of yet').toBe(true)
    lab.net.connected = () => true
    lab.net.notice()
    await lab.run(NOTICE_MS + 4000)
    expectAgreement(nodes, where)
    expect(nodes.every((node) => told(node).vteps.size === 5)).toBe(true)
  })

  it('brings nothing back after a partition that outlived tombstones and the dead', async () => {
    const lab = new GossipLab({ seed: 4 })
    const nodes = lab.startMany(4, VNI)
    await lab.run(2000)
    const [a] = nodes as [LabNode]
    for (let i = 1; i <= 20; i++) a.source.announce(endpoint(a, i))
    await lab.run(2000)
    lab.net.connected = (x, y) => (x === 'n4') === (y === 'n4')
    // Membership does not notice: the cut-off node keeps what it was told.
    for (let i = 1; i <= 19; i++) a.source.withdraw(VNI, endpoint(a, i).mac)
    await lab.run(2 * TOMBSTONE_MS)
    expect(told(nodes[3]!).endpoints.size).toBe(20)
    expect(nodes[1]!.source.tables.replica(VNI)!.count).toBe(1)
    lab.net.connected = () => true
    await lab.run(30_000)
    for (const node of nodes.slice(1)) expect(told(node).endpoints.size).toBe(1)
  })

  it('keeps what an unreachable node said, and forgets it when it is dead for long', async () => {
    const lab = new GossipLab({ seed: 5 })
    const [a, b, c] = lab.startMany(3, VNI) as [LabNode, LabNode, LabNode]
    await lab.run(2000)
    c.source.announce(endpoint(c, 1))
    b.source.announce(endpoint(b, 2))
    await lab.run(2000)
    lab.stop('n3', 'fail')
    await lab.run(NOTICE_MS + KEEP_DEAD_MS - 1000)
    expect(told(a).list).toHaveLength(2)
    await lab.run(2000)
    expect(told(a).list).toHaveLength(1)
    expect([...told(a).vteps]).toEqual(['10.200.0.2'])
    lab.stop('n2', 'leave')
    await lab.run(500)
    expect(told(a).list).toEqual([])
    expect(told(a).vteps.size).toBe(0)
    expect(a.source.tables.replica(VNI)!.count).toBe(0)
  })

  it('takes back a node that was away for longer than it is remembered', async () => {
    const lab = new GossipLab({ seed: 6 })
    const [a, b, c] = lab.startMany(3, VNI) as [LabNode, LabNode, LabNode]
    await lab.run(2000)
    for (const [i, node] of [a, b, c].entries()) node.source.announce(endpoint(node, i + 1))
    await lab.run(2000)
    lab.net.connected = (x, y) => (x === 'n3') === (y === 'n3')
    lab.net.notice()
    await lab.run(NOTICE_MS + KEEP_DEAD_MS + 5000)
    expect(told(a).endpoints.size).toBe(1)
    expect(told(c).endpoints.size).toBe(0)
    lab.net.connected = () => true
    lab.net.notice()
    await lab.run(NOTICE_MS + 3000)
    for (const node of [a, b, c]) expect(told(node).endpoints.size).toBe(2)
  })

  it('believes the later life of a node, also if its clock was set back', async () => {
    for (const boot of [undefined, 5]) {
      const lab = new GossipLab({ seed: 7 })
      const [a, b, c] = lab.startMany(3, VNI) as [LabNode, LabNode, LabNode]
      await lab.run(2000)
      c.source.announce(endpoint(c, 1))
      c.source.announce(endpoint(c, 2))
      await lab.run(2000)
      lab.stop('n3', 'fail')
      await lab.run(1000)
      const again = lab.start('n3', boot === undefined ? {} : { boot })
      lab.join(again, VNI)
      again.source.announce(endpoint(again, 2))
      again.source.announce(endpoint(again, 3))
      await lab.run(5000)
      for (const node of [a, b]) {
        expect([...told(node).endpoints.keys()].sort()).toEqual([mac(2), mac(3)])
      }
      expect(again.source.tables.stats.reboots).toBe(boot === undefined ? 0 : 1)
    }
  })

  it('sees that a node took the place of a dead one', async () => {
    const lab = new GossipLab({ seed: 8 })
    const [a, , c] = lab.startMany(3, VNI) as [LabNode, LabNode, LabNode]
    await lab.run(2000)
    c.source.announce(endpoint(c, 1))
    await lab.run(2000)
    lab.stop('n3', 'fail')
    await lab.run(NOTICE_MS + 1000)
    expect(told(a).endpoints.size).toBe(1)
    // n259 has the address 10.200.1.3, so not this one; the same address is what counts.
    lab.net.add('other', '10.200.0.3')
    await lab.run(500)
    expect(told(a).endpoints.size).toBe(0)
  })

  it('reaches everyone through 30 % loss', async () => {
    const lab = new GossipLab({ seed: 9 })
    lab.net.lossPct = 30
    const nodes = lab.startMany(30, VNI)
    await lab.run(1000)
    const where = new Map<string, LabNode>()
    for (const [i, node] of nodes.entries()) {
      for (const number of [i + 1, i + 101]) {
        node.source.announce(endpoint(node, number))
        where.set(mac(number), node)
      }
    }
    const whole = (): boolean => nodes.every((node) => told(node).endpoints.size === 58)
    expect(await lab.until(whole, 30_000)).toBeLessThan(10_000)
    expectAgreement(nodes, where)
  })
})

describe('damaged messages', () => {
  it('are counted, break nothing, and do not last', async () => {
    const lab = new GossipLab({ seed: 30 })
    const seen: Uint8Array[] = []
    const carry = lab.net.carry.bind(lab.net)
    lab.net.carry = (from, to, bytes, reliable) => {
      seen.push(bytes)
      return carry(from, to, bytes, reliable)
    }
    const [a, b, c] = lab.startMany(3, VNI) as [LabNode, LabNode, LabNode]
    await lab.run(2000)
    for (const [i, node] of [a, b, c].entries()) node.source.announce(endpoint(node, i + 1))
    await lab.run(3000)
    const { random } = lab
    for (let n = 0; n < 20_000; n++) {
      const bytes = seen[random.below(seen.length)]!.slice()
      for (let i = 0; i <= random.below(4); i++) bytes[random.below(bytes.length)] = random.bits()
      a.cluster.hear(bytes.subarray(0, random.chance(20) ? random.below(bytes.length) : undefined))
      if (n % 100 === 0) await lab.run(10)
    }
    expect(a.source.tables.stats.malformed).toBeGreaterThan(1000)
    // What was made up of a node lasts until the node has a new life, or is gone.
    for (const name of ['n2', 'n3']) lab.stop(name, 'fail')
    const again = [lab.start('n2', { boot: 2 ** 47 }), lab.start('n3', { boot: 2 ** 47 })]
    for (const node of again) lab.join(node, VNI)
    again[0]!.source.announce(endpoint(again[0]!, 5))
    await lab.run(KEEP_DEAD_MS + NOTICE_MS + 30_000)
    expect(told(again[1]!).endpoints.has(mac(5))).toBe(true)
    expect(told(a).endpoints.has(mac(5))).toBe(true)
  })
})

describe('claims of one address', () => {
  it('follow a sandbox that moves at once, whoever tells first', async () => {
    const lab = new GossipLab({ seed: 20 })
    const [a, b, c] = lab.startMany(3, VNI) as [LabNode, LabNode, LabNode]
    await lab.run(2000)
    a.source.announce(endpoint(a, 1))
    await lab.run(2000)
    b.source.announce(endpoint(b, 1))
    const here = `${mac(1)} c1 10.1.0.1 @ 10.200.0.2`
    expect(await lab.until(() => told(c).list[0] === here, 1000)).toBeLessThan(1000)
    expect(told(a).list).toEqual([here])
    a.source.withdraw(VNI, endpoint(a, 1).mac)
    await lab.run(10_000)
    expect(told(c).list).toEqual([here])
    expect(told(b).list).toEqual([])
    // And back, with the withdrawal first.
    b.source.withdraw(VNI, endpoint(b, 1).mac)
    a.source.announce(endpoint(a, 1))
    await lab.run(1000)
    expect(told(c).list).toEqual([`${mac(1)} c1 10.1.0.1 @ 10.200.0.1`])
    expect([a, b, c].flatMap((node) => told(node).conflicts)).toEqual([])
  })

  it('stay with the older if two nodes go on to have the same sandbox', async () => {
    const lab = new GossipLab({ seed: 21 })
    const [a, b, c] = lab.startMany(3, VNI) as [LabNode, LabNode, LabNode]
    await lab.run(2000)
    a.source.announce(endpoint(a, 1))
    await lab.run(2000)
    b.source.announce(endpoint(b, 1))
    await lab.run(10_000)
    for (const node of [b, c]) {
      expect(told(node).list).toEqual([`${mac(1)} c1 10.1.0.1 @ 10.200.0.1`])
    }
    expect(told(a).list).toEqual([])
    for (const node of [a, b, c]) {
      expect(told(node).conflicts).toEqual(['10.1.0.1 c1/n1 not c1/n2'])
      expect(node.source.conflicts(VNI)).toHaveLength(1)
    }
    a.source.withdraw(VNI, endpoint(a, 1).mac)
    await lab.run(1000)
    expect(told(c).list).toEqual([`${mac(1)} c1 10.1.0.1 @ 10.200.0.2`])
    expect(told(c).conflicts).toHaveLength(1)
    expect(c.source.conflicts(VNI)).toEqual([])
  })

  it('stay with the older if another sandbox claims the address or the MAC', async () => {
    const lab = new GossipLab({ seed: 22 })
    const [a, b, c] = lab.startMany(3, VNI) as [LabNode, LabNode, LabNode]
    await lab.run(2000)
    const first = endpoint(a, 1)
    a.source.announce(first)
    await lab.run(2000)
    const second = endpoint(b, 2)
    const third = endpoint(c, 3)
    b.source.announce({ ...second, addresses: [...second.addresses, ...first.addresses] })
    c.source.announce({ ...third, mac: first.mac })
    await lab.run(5000)
    expect(told(c).list).toEqual([
      `${mac(1)} c1 10.1.0.1 @ 10.200.0.1`,
      `${mac(2)} c2 10.1.0.2 @ 10.200.0.2`,
    ])
    expect(told(a).list).toEqual([`${mac(2)} c2 10.1.0.2 @ 10.200.0.2`])
    for (const node of [a, b, c]) {
      expect(told(node).conflicts.sort()).toEqual([
        '10.1.0.1 c1/n1 not c2/n2',
        '10.1.0.3 c1/n1 not c3/n3',
      ])
    }
    a.source.withdraw(VNI, first.mac)
    await lab.run(1000)
    expect(told(a).list).toEqual([
      `${mac(1)} c3 10.1.0.3 @ 10.200.0.3`,
      `${mac(2)} c2 10.1.0.2,10.1.0.1 @ 10.200.0.2`,
    ])
  })

  it('are decided the same way on both sides of a partition, once it is healed', async () => {
    const lab = new GossipLab({ seed: 23 })
    const nodes = lab.startMany(4, VNI)
    await lab.run(2000)
    lab.net.connected = (x, y) => x < 'n3' === y < 'n3'
    lab.net.notice()
    await lab.run(6000)
    nodes[0]!.source.announce(endpoint(nodes[0]!, 1, { name: 'x' }))
    nodes[2]!.source.announce(endpoint(nodes[2]!, 1, { name: 'y' }))
    await lab.run(2000)
    lab.net.connected = () => true
    lab.net.notice()
    await lab.run(NOTICE_MS + 5000)
    const lists = [nodes[1]!, nodes[3]!].map((node) => told(node).list)
    expect(lists[0]).toHaveLength(1)
    expect(lists[1]).toEqual(lists[0])
    for (const node of nodes) expect(told(node).conflicts).toHaveLength(1)
  })
})
