/** Overlay networks of three nodes in memory that know of each other by gossip's tables. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { GossipSource } from '../../services/gossip/gossip_source.ts'
import { formatPrefix } from '../../stack/address.ts'
import { formatMac } from '../../stack/eth/mac.ts'
import { Random } from '../../stack/random.ts'
import { InstantNet } from '../services/gossip/instant_cluster.ts'
import { type LabNode, OverlayLab, VNI, vtep } from './lab.ts'

type Endpoint = { readonly ipv4_address?: string; readonly mac_address?: string }

describe('an overlay by gossip', () => {
  let lab: OverlayLab
  let sources: GossipSource[]

  beforeEach(() => {
    lab = new OverlayLab(3)
    const { clock } = lab.driver
    const net = new InstantNet(clock, new Random(5))
    sources = lab.nodes.map(({ number, address, controller }) => {
      const source = new GossipSource({
        cluster: net.add(`n${number}`, vtep(number)),
        clock,
        random: new Random(number),
        vtep: address,
        boot: number,
      })
      controller.node.context.overlays.addSource(source)
      return source
    })
  })

  afterEach(async () => {
    for (const [i, { controller }] of lab.nodes.entries()) {
      controller.node.context.overlays.removeSource(sources[i]!)
      await sources[i]!.close()
    }
    lab.pass(1000)
    await lab.finish()
  })

  /** A node with these sandboxes; then time for others to hear of it. */
  const apply = async (
    number: number,
    sandboxes: Readonly<Record<string, Endpoint>>,
    network: object = {},
  ): Promise<string[]> => {
    const ipam = { config: [{ subnet: '10.42.0.0/24' }] }
    const back = { driver: 'overlay', driver_opts: { [VNI]: '7' }, ipam, ...network }
    const wanted = Object.entries(sandboxes).map(([name, endpoint]) => {
      return [name, { networks: { back: endpoint } }] as const
    })
    const file = { networks: { back }, sandboxes: Object.fromEntries(wanted) }
    const steps = await lab.node(number).apply(file)
    lab.pass(2000)
    return steps
  }

  const ends = ({ controller }: LabNode): string[] =>
    [...controller.node.state.endpoints.values()].map(({ deviceName, addresses, mac }) => {
      return `${deviceName} ${addresses.map(formatPrefix)} ${formatMac(mac!)}`
    })

  const conflicts = ({ controller }: LabNode): string[] =>
    controller.inspect('back').networks[0]!.overlay!.conflicts.map(({ address, kept, refused }) => {
      return `${address}: ${kept.name}/${kept.node}, not ${refused.name}/${refused.node}`
    })

  const claims = ({ logged }: LabNode): number =>
    logged.filter((line) => line.startsWith('two endpoints claim')).length

  it('gives no endpoint what another node has', async () => {
    for (const number of [1, 2, 3]) await apply(number, {})
    await apply(3, { c3: {} })
    await apply(1, { c1: {} })
    expect(ends(lab.node(3))).toEqual(['c3/eth0 10.42.0.2/24 02:42:0a:2a:00:02'])
    expect(ends(lab.node(1))).toEqual(['c1/eth0 10.42.0.3/24 02:42:0a:2a:00:03'])
    expect(lab.nodes.flatMap(conflicts)).toEqual([])
    // Another node that claims its address moves nothing here.
    await apply(2, { b2: { ipv4_address: '10.42.0.3', mac_address: '02:42:0a:2a:00:03' } })
    expect(await apply(1, { c1: {} })).toEqual([])
    for (const node of lab.nodes) {
      expect(conflicts(node), `n${node.number}`).toEqual(['10.42.0.3: c1/n1, not b2/n2'])
    }
  })

  it('lists a conflict once, the same on all nodes, and no longer than there is one', async () => {
    for (const number of [1, 2, 3]) await apply(number, {})
    const shared = { ipv4_address: '10.42.0.50' }
    for (const remedy of [{}, { b1: { ipv4_address: '10.42.0.51' } }]) {
      await apply(3, { b3: { ...shared, mac_address: '02:00:00:00:00:03' } })
      await apply(1, { b1: { ...shared, mac_address: '02:00:00:00:00:01' } })
      const before = lab.nodes.map(claims)
      lab.pass(90_000)
      for (const node of lab.nodes)
        expect(conflicts(node)).toEqual(['10.42.0.50: b3/n3, not b1/n1'])
      await apply(1, remedy)
      expect(lab.nodes.flatMap(conflicts)).toEqual([])
      expect(lab.nodes.map(claims), 'logged when it began').toEqual(before)
      await apply(1, {})
      await apply(3, {})
    }
    expect(lab.nodes.map(claims)).toEqual([2, 2, 2])
  })

  it('ends a conflict, too, when the older gives way', async () => {
    for (const number of [1, 2, 3]) await apply(number, {})
    const shared = { ipv4_address: '10.42.0.50' }
    await apply(3, { b3: { ...shared, mac_address: '02:00:00:00:00:03' } })
    await apply(1, { b1: { ...shared, mac_address: '02:00:00:00:00:01' } })
    await apply(3, { b3: { ipv4_address: '10.42.0.53', mac_address: '02:00:00:00:00:03' } })
    expect(lab.nodes.flatMap(conflicts)).toEqual([])
    await apply(1, {})
  })
})
