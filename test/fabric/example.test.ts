import { expect, test } from 'vitest'
import { createFabric } from '../../services/fabric/library.ts'

test('the web tier survives a bad link to its database', async () => {
  await using fabric = await createFabric({ seed: 7 })
  await fabric.network('front', { subnets: ['10.1.0.0/24', 'fd00:1::/64'] })
  await fabric.network('back', { subnets: ['10.2.0.0/24'], mtu: 1400 })
  const web = await fabric.sandbox('web', { networks: { front: { ipv4: '10.1.0.11' } } })
  const db = await fabric.sandbox('db', { networks: ['back'] })

  // Routed: one hop in between, which costs one from the TTL.
  expect(await web.ping(db)).toMatchObject({ from: '10.2.0.2', ttl: 63, rttMs: 0 })
  expect(await web.traceroute('10.2.0.2')).toEqual(['10.1.0.1', '10.2.0.2'])

  // A service, and a client that asks until it is answered.
  db.udp(5432).onMessage((query) => query.reply(`rows for ${query.text}`))
  const client = web.udp()
  const ask = async (): Promise<string> => {
    client.send('select 1', db.ipv4(), 5432)
    return (await client.receive({ timeoutMs: 200 })).text
  }
  expect(await ask()).toBe('rows for select 1')

  // One frame in three is lost, and the others take 50 ms: of virtual time.
  fabric.link('db', 'back').faults({ lossPct: 33, delayMs: 50 })
  let answers = 0
  for (let i = 0; i < 100; i++)
    answers += await ask().then(
      () => 1,
      () => 0,
    )
  expect(answers).toBeGreaterThan(30)
  expect(answers).toBeLessThan(60)

  // Nothing at all between the two, then all well again.
  const heal = fabric.partition('web', 'db')
  await expect(ask()).rejects.toThrow('no datagram for port')
  heal()
  fabric.link('db', 'back').faults({})
  expect(await ask()).toBe('rows for select 1')
})
