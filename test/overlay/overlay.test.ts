/** Overlay networks between three nodes in memory, from files to pings. */
import { afterEach, describe, expect, it } from 'vitest'
import { networkFor, OverlayLab, type Place, sandboxesFor } from './lab.ts'

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
})
