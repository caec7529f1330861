/** Overlay networks between three nodes in memory, from files to pings. */
import { afterEach, describe, expect, it } from 'vitest'
import type { Segment } from '../../services/overlay/segment.ts'
import { overlayCheck, peers } from '../../services/views_overlay.ts'
import { parseAddress } from '../../stack/address.ts'
import { parseMac } from '../../stack/eth/mac.ts'
import { macOf, networkFor, OverlayLab, type Place, sandboxesFor } from './lab.ts'

const SUBNETS = ['10.2.0.0/24', '10.3.0.0/24', 'fd00:2::/64']
const PLACES: readonly Place[] = [
  { node: 1, name: 'a1', ipv4: '10.2.0.11', ipv6: 'fd00:2::11' },
  { node: 1, name: 'a2', ipv4: '10.2.0.12', ipv6: 'fd00:2::12' },
  { node: 2, name: 'b1', ipv4: '10.2.0.21', ipv6: 'fd00:2::21' },
  { node: 2, name: 'b2', ipv4: '10.3.0.22' },
  { node: 3, name: 'c1', ipv4: '10.2.0.31', ipv6: 'fd00:2::31' },
]

let lab: OverlayLab | undefined

async function open(
  places: readonly Place[] = PLACES,
  options: Partial<Parameters<typeof networkFor>[2]> = {},
): Promise<OverlayLab> {
  lab = new OverlayLab(3)
  await applyAll(lab, places, options)
  return lab
}

async function applyAll(
  it: OverlayLab,
  places: readonly Place[],
  options: Partial<Parameters<typeof networkFor>[2]> = {},
): Promise<void> {
  for (const node of it.nodes) {
    const back = networkFor(node.number, places, { subnets: SUBNETS, ...options })
    const sandboxes = sandboxesFor(node.number, places, 'back')
    await node.apply({ networks: { back }, sandboxes })
  }
}

afterEach(async () => {
  await lab?.finish()
  lab = undefined
})

describe('overlay', () => {
  it('pings across nodes, in both families', async () => {
    const it = await open()
    const a1 = it.node(1).host('a1')
    for (const to of ['10.2.0.21', '10.2.0.31', 'fd00:2::21', 'fd00:2::31']) {
      expect((await a1.ping(to)).from).toBe(to)
    }
    expect(it.node(1).drops('vxlan-unknown-vtep')).toBe(0)
  })

  it('routes between subnets at the node of the sender', async () => {
    const it = await open()
    const { from, ttl } = await it.node(1).host('a1').ping('10.3.0.22')
    expect([from, ttl]).toEqual(['10.3.0.22', 63])
    // There and back, nobody saw the other node's gateway.
    for (const node of it.nodes) expect(node.drops('vxlan-gateway')).toBe(0)
    expect(await it.node(2).host('b2').ping('10.2.0.31')).toMatchObject({ from: '10.2.0.31' })
    expect(await it.node(2).host('b2').ping('10.3.0.1')).toMatchObject({ from: '10.3.0.1' })
  })

  it('asks no other node for an address that is known', async () => {
    const it = await open()
    it.pass(1000)
    const before = it.node(1).tunnel('back').tx
    for (let i = 0; i < 3; i++) {
      await it.node(1).host('a1').ping('10.2.0.21')
      // Long enough for what hosts and router know to be asked for again.
      it.pass(120_000)
    }
    expect(it.node(1).tunnel('back').tx - before).toBe(3)
  })

  it('carries datagrams of every size both ways, through the flow cache', async () => {
    const it = await open()
    const server = it.node(2).host('b1').udp(7000)
    const client = it.node(1).host('a1').udp()
    for (const bytes of [1, 1000, 1422, 4000]) {
      const data = new Uint8Array(bytes).fill(bytes & 0xff)
      for (let i = 0; i < 4; i++) {
        client.send(data, '10.2.0.21', 7000)
        const message = await server.receive()
        expect(Buffer.from(message.data).equals(data)).toBe(true)
        message.reply(data)
        expect((await client.receive()).data.length).toBe(bytes)
      }
    }
    const cached = it
      .node(1)
      .controller.flows()
      .filter(({ to }) => to === 'back/tunnel')
    expect(cached.length).toBeGreaterThan(0)
    expect(
      it
        .node(2)
        .controller.flows()
        .some(({ from }) => from === 'back/tunnel'),
    ).toBe(true)
  })

  it('gives a network the MTU that fits into the underlay, and forwards no more', async () => {
    const it = await open()
    expect(it.node(1).controller.ls().networks[0]?.mtu).toBe(1450)
    const a1 = it.node(1).host('a1')
    expect((await a1.ping('10.2.0.21', { bytes: 1422, dontFragment: true })).from).toBe('10.2.0.21')
    expect((await a1.ping('10.3.0.22', { bytes: 1422, dontFragment: true })).from).toBe('10.3.0.22')
  })

  describe('with a path between nodes that is narrower than said', () => {
    const narrow = async (): Promise<OverlayLab> => {
      const it = await open()
      it.net.setFaults({ mtuBytes: 1400 })
      // The first packet that does not fit shows it to the underlay, and is lost.
      const big = { bytes: 1422, timeoutMs: 500 }
      await expect(it.node(1).host('a1').ping('10.2.0.21', big)).rejects.toThrow('no answer')
      return it
    }

    it('tells senders from the gateway what fits, in both families', async () => {
      const it = await narrow()
      const a1 = it.node(1).host('a1')
      for (const [to, from, headerBytes] of [
        ['10.2.0.21', '10.2.0.1', 28],
        ['fd00:2::21', 'fd00:2::1', 48],
      ] as const) {
        const most = 1350 - headerBytes
        const ping = (bytes: number) => a1.ping(to, { bytes, dontFragment: true })
        const told = { kind: 'too-big', from, mtuBytes: 1350 }
        await expect(ping(most + 1)).rejects.toMatchObject(told)
        const known = { kind: 'too-big', mtuBytes: 1350 }
        await expect(ping(1450 - headerBytes)).rejects.toMatchObject(known)
        expect((await ping(most)).bytes).toBe(most)
      }
    })

    it('tells who is routed into the tunnel, too', async () => {
      const it = await narrow()
      const b2 = it.node(2).host('b2')
      const ping = b2.ping('10.2.0.11', { bytes: 1422, dontFragment: true, timeoutMs: 500 })
      await expect(ping).rejects.toThrow('no answer')
      const again = b2.ping('10.2.0.11', { bytes: 1422, dontFragment: true })
      await expect(again).rejects.toMatchObject({ from: '10.3.0.1', mtuBytes: 1350 })
    })

    it('loses what may be fragmented, without a word, and fits no more than a rate', async () => {
      const it = await narrow()
      const a1 = it.node(1).host('a1')
      const before = it.node(1).drops('frame-oversize')
      const lost = a1.ping('10.2.0.21', { bytes: 1422, timeoutMs: 500 })
      await expect(lost).rejects.toThrow('no answer')
      expect(it.node(1).drops('frame-oversize') - before).toBe(1)
      const kinds = await Promise.all(
        Array.from({ length: 120 }, () =>
          a1.ping('10.2.0.21', { bytes: 1422, dontFragment: true, timeoutMs: 500 }).then(
            () => 'answered',
            ({ kind }: { kind: string }) => kind,
          ),
        ),
      )
      const told = kinds.filter((kind) => kind === 'too-big').length
      expect(told).toBeGreaterThanOrEqual(50)
      expect(told).toBeLessThan(70)
      expect(kinds).not.toContain('answered')
    })

    it('explains it in a trace', async () => {
      const it = await narrow()
      const { controller } = it.node(1)
      const request = { from: 'a1', to: '10.2.0.21', df: true, size: 1400 }
      const { steps, ends } = controller.trace(request)
      const text = steps.map((step) => step.text).join('\n')
      expect(text).toMatch(/would answer ICMP packet too big from 10.2.0.1/)
      expect(ends).toMatchObject([{ verdict: 'dropped', detail: 'underlay-mtu' }])
    })
  })

  it('takes nothing from a tunnel that is from an endpoint of this node', async () => {
    const it = await open()
    const { node } = it.node(2).controller
    const { tunnel } = node.network('back')!.overlay!.segments[0]!
    const { pool } = it.node(2)
    const forged = pool.alloc(60)!
    forged.len = 60
    pool.mem.fill(0, forged.head, forged.head + 60)
    // To b1, which is at node 2 and takes it, from a1, which is at node 1 and gets it.
    pool.mem.set([2, 0, 0, 0, 0, 11, 2, 0, 0, 0, 0, 11, 0x88, 0xb5], forged.head)
    tunnel.transmit(forged)
    it.pass(10)
    expect(it.node(1).drops('vxlan-own-source')).toBe(1)
    expect((await it.node(2).host('b1').ping('10.2.0.11')).from).toBe('10.2.0.11')
    // Where the endpoint is no more, its MAC may be anybody's.
    await applyAll(
      it,
      PLACES.map((p) => (p.name === 'a1' ? { ...p, node: 2 } : p)),
    )
    expect((await it.node(1).host('a2').ping('10.2.0.11')).from).toBe('10.2.0.11')
    expect(it.node(1).drops('vxlan-own-source')).toBe(1)
  })

  it('finds an endpoint that no file tells of by asking every node once', async () => {
    const it = await open(PLACES, { unknown: ['c1'] })
    it.pass(1000)
    const before = it.node(1).tunnel('back').tx
    expect((await it.node(1).host('a1').ping('10.2.0.31')).from).toBe('10.2.0.31')
    // The question, and the ping to a station that the tunnel does not know: once to each node.
    expect(it.node(1).tunnel('back').tx - before).toBe(4)
    expect(it.node(2).drops('vxlan-unknown-vtep')).toBe(0)
  })

  it('follows an endpoint that moves, and one that comes again with another MAC', async () => {
    const it = await open()
    const a1 = it.node(1).host('a1')
    await a1.ping('10.2.0.21')
    const moved = PLACES.map((p) => (p.name === 'b1' ? { ...p, node: 3 } : p))
    await applyAll(it, moved)
    const began = it.driver.clock.nowMs
    expect((await a1.ping('10.2.0.21')).from).toBe('10.2.0.21')
    expect(it.driver.clock.nowMs - began).toBeLessThan(1000)
    const renewed = moved.map((p) => (p.name === 'b1' ? { ...p, mac: '02:00:00:00:ff:21' } : p))
    await applyAll(it, renewed)
    const again = it.driver.clock.nowMs
    it.pass(10)
    expect((await a1.ping('10.2.0.21')).from).toBe('10.2.0.21')
    expect(it.driver.clock.nowMs - again).toBeLessThan(1000)
    // To this node, and away again.
    for (const node of [1, 2]) {
      await applyAll(
        it,
        renewed.map((p) => (p.name === 'b1' ? { ...p, node } : p)),
      )
      const here = it.driver.clock.nowMs
      it.pass(10)
      expect((await a1.ping('10.2.0.21')).from).toBe('10.2.0.21')
      expect(it.driver.clock.nowMs - here).toBeLessThan(1000)
    }
    for (const node of it.nodes) expect(overlayCheck(node.controller.node).differences).toEqual([])
  })

  it('changes what a file tells of others without touching the network', async () => {
    const it = await open()
    const more = [...PLACES, { node: 3, name: 'c2', ipv4: '10.2.0.32' }]
    const back = networkFor(1, more, { subnets: SUBNETS })
    const steps = await it.node(1).apply({
      networks: { back },
      sandboxes: sandboxesFor(1, more, 'back'),
    })
    expect(steps).toEqual(['update-network back'])
  })

  it('goes on while an underlay is cut, and after', async () => {
    const it = await open()
    const a1 = it.node(1).host('a1')
    await a1.ping('10.2.0.21')
    it.net.setFaultsBetween(it.node(1).address, it.node(2).address, { partitioned: true })
    await expect(a1.ping('10.2.0.21', { timeoutMs: 500 })).rejects.toThrow()
    expect((await a1.ping('10.2.0.31')).from).toBe('10.2.0.31')
    it.net.setFaults({ delayMs: 5, jitterMs: 5, duplicatePct: 20, reorderPct: 20 })
    for (let i = 0; i < 20; i++) expect((await a1.ping('10.2.0.21')).from).toBe('10.2.0.21')
  })

  it('keeps networks of the same subnet apart on one underlay', async () => {
    lab = new OverlayLab(4)
    const red: readonly Place[] = [
      { node: 1, name: 'r1', ipv4: '10.2.0.11' },
      { node: 2, name: 'r2', ipv4: '10.2.0.12' },
    ]
    const blue: readonly Place[] = [
      { node: 3, name: 'x1', ipv4: '10.2.0.11' },
      { node: 4, name: 'x2', ipv4: '10.2.0.12' },
    ]
    for (const [places, vni, peers] of [
      [red, 7001, [1, 2, 3, 4]],
      [blue, 7002, [1, 2, 3, 4]],
    ] as const) {
      for (const { node } of places) {
        const net = networkFor(node, places, { subnets: ['10.2.0.0/24'], vni, peers })
        const sandboxes = sandboxesFor(node, places, 'net')
        await lab.node(node).apply({ networks: { net }, sandboxes })
      }
    }
    const heard = lab.node(4).host('x2').udp(7000)
    const sender = lab.node(1).host('r1').udp()
    const served = lab.node(2).host('r2').udp(7000)
    sender.send(Uint8Array.of(1, 2, 3), '10.2.0.12', 7000)
    expect([...(await served.receive()).data]).toEqual([1, 2, 3])
    await expect(heard.receive({ timeoutMs: 1000 })).rejects.toThrow()
    expect((await lab.node(3).host('x1').ping('10.2.0.12')).from).toBe('10.2.0.12')
    await expect(lab.node(1).host('r1').ping('10.2.0.99')).rejects.toThrow()
    // What is flooded to all reaches nodes of the other network, and ends there.
    expect(lab.node(3).drops('vxlan-unknown-vni')).toBeGreaterThan(0)
    expect(lab.node(4).tunnel('net').rx).toBeLessThan(10)
  })

  it('keeps networks of the same subnet apart on the same nodes', async () => {
    lab = new OverlayLab(2)
    const options = {
      subnets: ['10.2.0.0/24', 'fd00:2::/64'],
      driverOpts: { 'tapline.gateway': 'false' },
    }
    const places = (name: string): readonly Place[] =>
      [1, 2].map((node) => ({
        node,
        name: `${name}${node}`,
        ipv4: `10.2.0.1${node}`,
        ipv6: `fd00:2::1${node}`,
        mac: `02:00:00:00:0${name === 'r' ? 1 : 2}:1${node}`,
      }))
    for (const number of [1, 2]) {
      const network = (name: string, vni: number): object => ({
        ...networkFor(number, places(name), { ...options, vni, peers: [1, 2] }),
        internal: true,
      })
      await lab.node(number).apply({
        networks: { red: network('r', 7001), blue: network('x', 7002) },
        sandboxes: {
          ...sandboxesFor(number, places('r'), 'red'),
          ...sandboxesFor(number, places('x'), 'blue'),
        },
      })
    }
    for (const to of ['10.2.0.12', 'fd00:2::12']) {
      const [mine, other] = ['r2', 'x2'].map((name) => lab!.node(2).host(name).udp(7000))
      const sender = lab.node(1).host('r1').udp()
      sender.send(Uint8Array.of(1, 2, 3), to, 7000)
      expect([...(await mine!.receive()).data]).toEqual([1, 2, 3])
      await expect(other!.receive({ timeoutMs: 500 })).rejects.toThrow()
      expect((await lab.node(1).host('x1').ping(to)).from).toBe(to)
      for (const socket of [mine!, other!, sender]) socket.close()
    }
    await expect(lab.node(1).host('r1').ping('10.2.0.1'), 'no gateway').rejects.toThrow()
    for (const number of [1, 2]) {
      const { node } = lab.node(number).controller
      expect(overlayCheck(node).differences).toEqual([])
    }
  })

  it('mends tables that do not say what is known, and tells what differed', async () => {
    const it = await open()
    const { node } = it.node(1).controller
    const overlay = node.network('back')!.overlay!
    expect(overlayCheck(node)).toEqual({ differences: [], repaired: 0 })
    const [{ tunnel }] = overlay.segments as [Segment]
    tunnel.removeStation(parseMac('02:00:00:00:00:15'))
    tunnel.addStation(parseMac('02:00:00:00:99:99'), it.node(3).address)
    overlay.bindings.delete(parseAddress('10.2.0.31'))
    overlay.bridge.removeStatic(parseMac('02:00:00:00:00:1f'))
    tunnel.removeMember(it.node(2).address)
    const { differences } = overlayCheck(node)
    const said = differences.map(({ table, key, expected, found }) => [table, key, expected, found])
    expect(said).toEqual([
      ['bridge', '02:00:00:00:00:1f', 'tunnel 0', null],
      ['tunnel', '02:00:00:00:00:15', '10.200.0.2', null],
      ['tunnel', '02:00:00:00:99:99', null, '10.200.0.3'],
      ['members', '10.200.0.2', 'member', null],
      ['bindings', '10.2.0.31', '02:00:00:00:00:1f', null],
    ])
    it.pass(31_000)
    expect(overlayCheck(node)).toEqual({ differences: [], repaired: 5 })
    expect(it.node(1).logged).toContain('tables of overlay networks were mended')
  })

  it('mends flows that go where a station is no more', async () => {
    const it = await open()
    const [a1, b1] = [it.node(1).host('a1').udp(), it.node(2).host('b1').udp(7000)]
    for (let i = 0; i < 3; i++) {
      a1.send('x', '10.2.0.21', 7000)
      await b1.receive()
    }
    const { node } = it.node(1).controller
    expect(overlayCheck(node).differences).toEqual([])
    // As if the cache were not told that something has changed.
    const { notes } = it.node(1).pool
    const { epoch } = notes
    const moved = PLACES.map((p) => (p.name === 'b1' ? { ...p, node: 3 } : p))
    const back = networkFor(1, moved, { subnets: SUBNETS })
    await it.node(1).apply({ networks: { back }, sandboxes: sandboxesFor(1, moved, 'back') })
    notes.epoch = epoch
    const { differences } = overlayCheck(node)
    const mac = macOf(PLACES[2]!)
    const [expected, found] = ['10.200.0.3', '10.200.0.2']
    expect(differences).toEqual([
      { network: 'back', vni: 5001, table: 'flows', key: mac, expected, found },
    ])
    it.pass(31_000)
    expect(overlayCheck(node)).toEqual({ differences: [], repaired: 1 })
  })

  it('shows where stations are, its peers, and how a packet would cross', async () => {
    const it = await open()
    const { controller } = it.node(1)
    const rows = controller.fdb('back').filter(({ vtep }) => vtep !== null)
    expect(rows.map(({ mac, vtep, port }) => [mac, vtep, port])).toContainEqual([
      '02:00:00:00:00:15',
      '10.200.0.2',
      'tunnel',
    ])
    expect(peers(controller.node)).toMatchObject([
      { network: 'back', vni: 5001, vtep: '10.200.0.2', member: true, endpoints: 2, pathMtu: 1500 },
      { network: 'back', vni: 5001, vtep: '10.200.0.3', member: true, endpoints: 1, pathMtu: 1500 },
    ])
    const { steps, ends } = controller.trace({ from: 'a1', to: '10.2.0.21' })
    expect(steps.map(({ text }) => text).join('\n')).toMatch(/VXLAN with VNI 5001 to 10.200.0.2/)
    expect(ends[0]?.verdict).toBe('transmitted')
    const [detail] = controller.inspect('back').networks
    expect(detail?.overlay).toMatchObject({ vni: 5001, node: 'n1', vtep: '10.200.0.1' })
    expect(detail?.overlay?.remote.map(({ name }) => name)).toEqual(['b1', 'b2', 'c1'])
    expect(controller.stats().devices.map(({ device }) => device)).toContain('back/tunnel')
  })

  it('has overlay networks of their own in VLANs', async () => {
    lab = new OverlayLab(2)
    const place = (node: number, name: string, last: number, vid: number) => ({
      node,
      name,
      ipv4: `10.2.0.${last}`,
      vid,
    })
    const places = [
      place(1, 'p1', 11, 1),
      place(1, 'q1', 12, 10),
      place(2, 'p2', 21, 1),
      place(2, 'q2', 22, 10),
    ]
    for (const node of lab.nodes) {
      const { number } = node
      const driverOpts = { 'tapline.vlan_filtering': 'true', 'tapline.vlan_vni': '10:5010' }
      const subnets = ['10.2.0.0/24']
      const net = networkFor(number, [], { subnets, peers: [1, 2], driverOpts })
      const own = places.filter((each) => each.node === number)
      const entries = own.map(({ name, ipv4, vid }) => {
        const opts = { 'tapline.vlan_pvid': String(vid) }
        return [name, { networks: { net: { ipv4_address: ipv4, driver_opts: opts } } }]
      })
      await node.apply({ networks: { net }, sandboxes: Object.fromEntries(entries) })
    }
    expect((await lab.node(1).host('p1').ping('10.2.0.21')).from).toBe('10.2.0.21')
    expect((await lab.node(1).host('q1').ping('10.2.0.22')).from).toBe('10.2.0.22')
    await expect(lab.node(1).host('p1').ping('10.2.0.22')).rejects.toThrow()
    await expect(lab.node(1).host('q1').ping('10.2.0.21')).rejects.toThrow()
  })

  it('does the same without a flow cache', async () => {
    const seen = []
    for (const flowsMax of [undefined, 0]) {
      lab = new OverlayLab(3, flowsMax)
      await applyAll(lab, PLACES)
      const server = lab.node(2).host('b2').udp(7000)
      const client = lab.node(1).host('a1').udp(6000)
      const log: unknown[] = []
      for (let i = 0; i < 30; i++) {
        client.send(new Uint8Array(10 + i), '10.3.0.22', 7000)
        const { data, address, ttl, reply } = await server.receive()
        log.push([data.length, address, ttl])
        reply(data)
        log.push((await client.receive()).ttl)
        if (i === 10) lab.pass(60_000)
      }
      for (const node of lab.nodes) log.push(node.tunnel('back'), node.controller.drops())
      seen.push(log)
      const cached = lab
        .node(1)
        .controller.flows()
        .reduce((sum, { packets }) => sum + packets, 0)
      expect(cached > 0).toBe(flowsMax === undefined)
      await lab.finish()
      lab = undefined
    }
    expect(seen[0]).toEqual(seen[1])
  })
})
