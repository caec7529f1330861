/** Names of sandboxes on other nodes of an overlay network: known at every node's own gateway. */
import { expect, it } from 'vitest'
import { parseMac } from '../../stack/eth/mac.ts'
import { networkFor, OverlayLab, type Place, sandboxesFor } from './lab.ts'

const PLACES: readonly Place[] = [
  { node: 1, name: 'a1', ipv4: '10.2.0.11', ipv6: 'fd00:2::11' },
  { node: 2, name: 'b1', ipv4: '10.2.0.21', ipv6: 'fd00:2::21' },
  { node: 3, name: 'c1', ipv4: '10.2.0.31', ipv6: 'fd00:2::31' },
]
const SUBNETS = ['10.2.0.0/24', 'fd00:2::/64']

async function applyAll(lab: OverlayLab, places: readonly Place[]): Promise<void> {
  for (const node of lab.nodes) {
    const back = networkFor(node.number, places, { subnets: SUBNETS })
    await node.apply({ networks: { back }, sandboxes: sandboxesFor(node.number, places, 'back') })
  }
}

it('follows endpoints of other nodes, and keeps what it was told last', async () => {
  const lab = new OverlayLab(3)
  await applyAll(lab, PLACES)
  const { controller } = lab.node(1)
  const asked = async (name: string, type?: string): Promise<string> => {
    const { rcode, records } = await controller.resolveName({ from: 'a1', name, type })
    return [rcode, ...records.map((record) => record.split(' ').at(-1))].join(' ')
  }
  expect(await asked('c1')).toBe('NOERROR 10.2.0.31')
  expect(await asked('c1.back', 'AAAA')).toBe('NOERROR fd00:2::31')
  expect(await asked('31.0.2.10.in-addr.arpa', 'PTR')).toBe('NOERROR c1.back')
  const row = controller.names().names.find(({ name }) => name === 'b1')
  expect(row).toMatchObject({ kind: 'remote', addresses: ['10.2.0.21', 'fd00:2::21'] })
  // Hours without a word of the others change nothing.
  lab.pass(7_200_000)
  expect(await asked('b1')).toBe('NOERROR 10.2.0.21')
  await applyAll(lab, PLACES.slice(0, 2))
  expect(await asked('c1')).toBe('SERVFAIL')
  expect(await asked('b1')).toBe('NOERROR 10.2.0.21')
  await lab.finish()
})

it('takes no name from another node that is none', async () => {
  const lab = new OverlayLab(3)
  await applyAll(lab, PLACES)
  const { controller } = lab.node(1)
  const { overlays } = controller.node.context
  const told = {
    vni: 5001,
    mac: parseMac('02:00:00:00:00:99'),
    addresses: [],
    vtep: lab.node(2).address,
    node: 'n2',
  }
  for (const name of ['', '*', '..', 'a b', 'x'.repeat(300), '\u0000', 'ok']) {
    overlays.names!.setRemote('back', { ...told, name, aliases: [name, '*', 'good'] })
  }
  const names = controller.names().names.map(({ name }) => name)
  expect(names.sort()).toEqual(['a1', 'b1', 'c1', 'good', 'ok'])
  await lab.finish()
})
