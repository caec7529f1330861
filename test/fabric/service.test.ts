/** Services of a fabric in memory, and options that are refused. */
import { describe, expect, it } from 'vitest'
import { createFabric, type NetworkOptions } from '../../services/fabric/library.ts'

describe('a service of a fabric', () => {
  it('spreads what its address is asked, drains, and goes', async () => {
    await using fabric = await createFabric({ seed: 3 })
    await fabric.network('front', { subnets: ['10.1.0.0/24', 'fd00:1::/64'] })
    for (const name of ['web1', 'web2']) {
      const web = await fabric.sandbox(name, { networks: ['front'] })
      web.udp(7000).onMessage((question) => question.reply(name))
    }
    const client = await fabric.sandbox('client', { networks: ['front'] })
    const shop = await fabric.service('shop', {
      network: 'front',
      ports: ['7000/udp'],
      backends: ['web1', 'web2'],
      scheduler: 'rr',
      vip: ['10.1.0.100', 'fd00:1::100'],
    })
    expect(shop.vips).toEqual(['10.1.0.100', 'fd00:1::100'])
    const ask = async (to: string): Promise<string> => {
      const socket = client.udp()
      socket.send('who', to, 7000)
      const { text } = await socket.receive({ timeoutMs: 500 })
      socket.close()
      return text
    }
    for (const vip of shop.vips) {
      expect([await ask(vip), await ask(vip)].toSorted()).toEqual(['web1', 'web2'])
    }
    expect(client.resolve('shop')).toBe('10.1.0.100')
    await shop.drain('web1')
    expect([await ask('shop'), await ask('shop')]).toEqual(['web2', 'web2'])
    await expect(shop.drain('web3')).rejects.toThrow('web3')
    await shop.remove()
    await expect(ask('10.1.0.100')).rejects.toThrow()
  })

  it('is refused as a file would be', async () => {
    await using fabric = await createFabric()
    await fabric.network('front')
    const backends = ['nobody']
    const service = { network: 'front', ports: [80], backends }
    await expect(fabric.service('shop', service)).rejects.toThrow('nobody')
    await expect(fabric.service('shop', { ...service, ports: [] })).rejects.toThrow('"ports"')
    expect(fabric.controller.services()).toEqual([])
  })
})

it('keeps endpoints of one split horizon apart', async () => {
  await using fabric = await createFabric()
  await fabric.network('lan', { subnets: ['10.1.0.0/24'] })
  const join = async (name: string, ipv4: string, splitHorizon: number) =>
    await fabric.sandbox(name, { networks: { lan: { ipv4, splitHorizon } } })
  const a = await join('a', '10.1.0.11', 7)
  await join('b', '10.1.0.12', 7)
  await join('c', '10.1.0.13', 8)
  await expect(a.ping('10.1.0.12', { timeoutMs: 200 })).rejects.toThrow()
  expect((await a.ping('10.1.0.13')).from).toBe('10.1.0.13')
})

describe('options that there are not', () => {
  it.each([
    [{ sed: 4 }, 'unknown key "sed"; did you mean "seed"?'],
    [{ devices: 'foo' }, 'devices'],
    [{ clock: 'x' }, 'clock'],
    [{ seed: 1.5 }, 'seed'],
    [{ packets: { tiny: 3 } }, 'tiny'],
  ])('%j of a fabric', async (options, why) => {
    const wrong = options as object
    await expect(createFabric(wrong)).rejects.toThrow(why)
  })

  it('of networks, sandboxes and faults', async () => {
    await using fabric = await createFabric()
    const wrong = { subnet: ['10.1.0.0/24'] } as NetworkOptions
    await expect(fabric.network('front', wrong)).rejects.toThrow('did you mean "subnets"?')
    await fabric.network('front', { subnets: ['10.1.0.0/24'] })
    const networks = { front: { ipv5: '10.1.0.9' } as object }
    await expect(fabric.sandbox('web', { networks })).rejects.toThrow('ipv5')
    await fabric.sandbox('web', { networks: ['front'] })
    const link = fabric.link('web', 'front')
    for (const lossPct of [-5, 200]) expect(() => link.faults({ lossPct })).toThrow('lossPct')
    expect(() => link.faults({ lossPc: 3 } as object)).toThrow('did you mean "lossPct"?')
  })
})
