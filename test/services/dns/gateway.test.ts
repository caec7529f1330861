/** Names asked at gateway addresses, in memory: what is known, and to whom. */
import { expect, it } from 'vitest'
import { createFabric, type Fabric } from '../../../services/fabric/library.ts'
import { answers, ask } from './ask.ts'

async function open(): Promise<Fabric> {
  const fabric = await createFabric({ checked: true })
  await fabric.network('front', { subnets: ['10.1.0.0/24', 'fd00:1::/64'] })
  await fabric.network('back', { subnets: ['10.2.0.0/24'] })
  await fabric.network('vault', { subnets: ['10.3.0.0/24'], internal: true })
  await fabric.sandbox('web', {
    networks: {
      front: { ipv4: '10.1.0.11', ipv6: 'fd00:1::11', aliases: ['www', '*.shop', 'a.b.lan'] },
      back: { ipv4: '10.2.0.11', aliases: ['inner'] },
    },
  })
  await fabric.sandbox('web2', { networks: { front: { ipv4: '10.1.0.12', aliases: ['www'] } } })
  await fabric.sandbox('db', { networks: { back: { ipv4: '10.2.0.12' } } })
  await fabric.sandbox('safe', { networks: { vault: { ipv4: '10.3.0.12' } } })
  return fabric
}

it('answers names, aliases, wildcards and name.network of shared networks', async () => {
  const fabric = await open()
  const web2 = fabric.get('web2')
  for (const gateway of ['10.1.0.1', 'fd00:1::1']) {
    const asked = (name: string, type = 'A') => answers(web2, gateway, name, type)
    expect(await asked('web')).toBe('NOERROR 10.1.0.11')
    expect(await asked('WEB')).toBe('NOERROR 10.1.0.11')
    expect(await asked('web.front')).toBe('NOERROR 10.1.0.11')
    expect(await asked('web', 'AAAA')).toBe('NOERROR fd00:1::11')
    expect(await asked('a.b.lan')).toBe('NOERROR 10.1.0.11')
    expect(await asked('x.y.shop')).toBe('NOERROR 10.1.0.11')
    expect(await asked('shop')).toBe('SERVFAIL')
    expect(await asked('web', 'MX')).toBe('NOERROR')
    expect(await asked('web', 'TXT')).toBe('NOERROR sandbox=web,network=front')
    // Of networks that web2 is not on.
    expect(await asked('inner')).toBe('SERVFAIL')
    expect(await asked('web.back')).toBe('SERVFAIL')
    expect(await asked('db')).toBe('SERVFAIL')
    expect(await asked('localhost')).toBe('NOERROR 127.0.0.1')
    expect(await asked('x.invalid')).toBe('NXDOMAIN')
  }
  expect(await answers(fabric.get('web'), '10.1.0.1', 'db')).toBe('NOERROR 10.2.0.12')
  expect(await answers(fabric.get('web'), '10.1.0.1', 'db', 'AAAA')).toBe('NOERROR')
  expect(await answers(fabric.get('web'), '10.2.0.1', 'web2')).toBe('NOERROR 10.1.0.12')
  await fabric.close()
})

it('takes turns among those who share an alias', async () => {
  const fabric = await open()
  const seen = new Set<string>()
  for (let i = 0; i < 4; i++) seen.add(await answers(fabric.get('web'), '10.1.0.1', 'www'))
  expect([...seen].sort()).toEqual(['NOERROR 10.1.0.11 10.1.0.12', 'NOERROR 10.1.0.12 10.1.0.11'])
  await fabric.close()
})

it('knows what addresses are called', async () => {
  const fabric = await open()
  const web2 = fabric.get('web2')
  const asked = (name: string) => answers(web2, '10.1.0.1', name, 'PTR')
  expect(await asked('11.0.1.10.in-addr.arpa')).toBe('NOERROR web.front')
  const six = `1.1.0.0.${'0.'.repeat(20)}1.0.0.0.0.0.d.f.ip6.arpa`
  expect(await asked(six)).toBe('NOERROR web.front')
  // Of another network, and of nobody.
  expect(await asked('12.0.2.10.in-addr.arpa')).toBe('NXDOMAIN')
  expect(await asked('99.0.1.10.in-addr.arpa')).toBe('NXDOMAIN')
  expect(await asked('1.2.0.192.in-addr.arpa')).toBe('SERVFAIL')
  await fabric.close()
})

it('says that it knows, and for how long', async () => {
  const fabric = await open()
  const packet = await ask(fabric.get('web'), '10.1.0.1', 'wEb', { edns: 4096, id: 4711 })
  expect(packet).toMatchObject({ id: 4711, rcode: 'NOERROR', flag_aa: true, flag_tc: false })
  expect(packet.questions).toEqual([{ name: 'wEb', type: 'A', class: 'IN' }])
  expect(packet.answers).toMatchObject([{ name: 'wEb', ttl: 600, data: '10.1.0.11' }])
  expect(packet.additionals).toMatchObject([{ type: 'OPT', udpPayloadSize: 1232 }])
  await fabric.close()
})

it('forgets who leaves', async () => {
  const fabric = await open()
  await fabric.get('web').leave('back')
  expect(await answers(fabric.get('web'), '10.1.0.1', 'db')).toBe('SERVFAIL')
  await fabric.get('web').remove()
  expect(await answers(fabric.get('web2'), '10.1.0.1', 'web')).toBe('SERVFAIL')
  expect(await answers(fabric.get('web2'), '10.1.0.1', 'www')).toBe('NOERROR 10.1.0.12')
  await fabric.close()
})

it('answers at gateways whatever is published at port 53', async () => {
  const fabric = await open()
  for (const protocol of ['udp', 'tcp']) {
    await fabric.controller.addPort(`53:53/${protocol}`, 'web')
  }
  for (const gateway of ['10.1.0.1', 'fd00:1::1']) {
    expect(await answers(fabric.get('web2'), gateway, 'www')).toMatch('NOERROR 10.1.0.1')
    expect(await answers(fabric.get('web'), gateway, 'web2')).toBe('NOERROR 10.1.0.12')
  }
  await fabric.close()
})
