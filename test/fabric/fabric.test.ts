/** The library as its documentation shows it: whole networks in memory, in virtual time. */
import { describe, expect, it } from 'vitest'
import { createFabric, type Fabric } from '../../services/fabric/library.ts'
import { PcapngReader } from '../../stack/eth/pcapng_reader.ts'

async function twoNetworks(seed = 7): Promise<Fabric> {
  const fabric = await createFabric({ seed, checked: true })
  await fabric.network('front', { subnets: ['10.1.0.0/24', 'fd00:1::/64'] })
  await fabric.network('back', { subnets: ['10.2.0.0/24', 'fd00:2::/64'], mtu: 1400 })
  await fabric.sandbox('web', { networks: { front: { ipv4: '10.1.0.11', ipv6: 'fd00:1::11' } } })
  await fabric.sandbox('app', { networks: ['front'] })
  await fabric.sandbox('db', { networks: { back: { ipv4: '10.2.0.22', ipv6: 'fd00:2::22' } } })
  return fabric
}

describe('fabric', () => {
  it('reads well in a test', async () => {
    await using fabric = await createFabric({ seed: 7 })
    await fabric.network('front', { subnets: ['10.1.0.0/24', 'fd00:1::/64'], mtu: 1500 })
    const web = await fabric.sandbox('web', { networks: { front: { ipv4: '10.1.0.11' } } })
    const db = await fabric.sandbox('db', { networks: ['front'] })

    expect(await web.ping(db)).toMatchObject({ from: db.ipv4(), rttMs: 0 })

    db.udp(53).onMessage((message) => message.reply(`you said ${message.text}`))
    const client = web.udp()
    client.send('hello', db.ipv4(), 53)
    expect((await client.receive()).text).toBe('you said hello')

    fabric.link('web', 'front').faults({ delayMs: 50 })
    expect((await web.ping(db)).rttMs).toBe(100)

    const heal = fabric.partition('web', 'db')
    await expect(web.ping(db, { timeoutMs: 200 })).rejects.toThrow('no answer in 200 ms')
    heal()
    await web.ping(db)
  })

  it('reaches everybody in both families, within and across networks', async () => {
    await using fabric = await twoNetworks()
    const sandboxes = ['web', 'app', 'db']
    for (const to of sandboxes) {
      const { networks } = { networks: fabric.controller.inspect(to).sandboxes[0]!.endpoints }
      for (const address of networks.flatMap((endpoint) => endpoint.addresses)) {
        for (const from of sandboxes.filter((name) => name !== to)) {
          const target = address.slice(0, address.indexOf('/'))
          expect(await fabric.get(from).ping(target)).toMatchObject({ from: target })
        }
      }
    }
    expect(await fabric.get('web').traceroute('10.2.0.22')).toEqual(['10.1.0.1', '10.2.0.22'])
    expect(await fabric.get('web').traceroute('fd00:2::22')).toEqual(['fd00:1::1', 'fd00:2::22'])
  })

  it.each([
    ['bridged', 'web'],
    ['routed', 'db'],
  ])('tells who sends more than an endpoint takes: %s', async (_, sender) => {
    await using fabric = await twoNetworks()
    const on = { ipv4: '10.1.0.33', ipv6: 'fd00:1::33', mtu: 1300 }
    await fabric.sandbox('slim', { networks: { front: on } })
    const from = fabric.get(sender)
    const gateways = sender === 'web' ? ['10.1.0.1', 'fd00:1::1'] : ['10.2.0.1', 'fd00:2::1']
    for (const [i, to] of ['10.1.0.33', 'fd00:1::33'].entries()) {
      const header = 28 + 20 * i
      for (const bytes of [1300 - header, 56]) {
        expect(await from.ping(to, { bytes, dontFragment: true })).toMatchObject({ bytes })
      }
      const large = { bytes: 1301 - header, dontFragment: true, timeoutMs: 50 }
      const refused = { kind: 'too-big', mtuBytes: 1300 }
      await expect(from.ping(to, large)).rejects.toMatchObject({ ...refused, from: gateways[i] })
      await expect(from.ping(to, large)).rejects.toMatchObject({ ...refused, from: undefined })
      const { dontFragment: _no, ...inFragments } = large
      expect(await from.ping(to, inFragments)).toMatchObject({ bytes: large.bytes })
    }
    expect(fabric.controller.drops().map(({ reason, count }) => [reason, count])).toContainEqual([
      'frame-oversize',
      2,
    ])
  })

  it('discovers the path MTU, and carries the largest datagram in fragments', async () => {
    await using fabric = await twoNetworks()
    const [web, db] = [fabric.get('web'), fabric.get('db')]
    for (const [to, kept] of [
      ['10.2.0.22', 1372],
      ['fd00:2::22', 1352],
    ] as const) {
      await web.ping(to)
      const first = web.ping(to, { bytes: 1450, dontFragment: true })
      await expect(first).rejects.toMatchObject({ kind: 'too-big', mtuBytes: 1400 })
      expect(await web.ping(to, { bytes: kept, dontFragment: true })).toMatchObject({ bytes: kept })
      expect(await web.ping(to, { bytes: 1450 })).toMatchObject({ bytes: 1450 })
    }
    const socket = db.udp(9)
    const data = Uint8Array.from({ length: 65_507 }, (_, i) => i & 0xff)
    web.udp().send(data, '10.2.0.22', 9)
    expect((await socket.receive()).data).toEqual(data)
  })

  it('refuses ports and sizes that there are not', async () => {
    await using fabric = await twoNetworks()
    const web = fabric.get('web')
    for (const port of [99_999, 0, -1, 1.5, Number.NaN]) {
      const message = `port is from 1 to 65535, not ${port}`
      expect(() => web.udp().send('x', '10.1.0.1', port)).toThrow(message)
    }
    const refused = web.ping('10.1.0.1', { bytes: 70_000 })
    await expect(refused).rejects.toThrow('bytes is from 0 to 65507, not 70000')
    await expect(web.ping('fd00:1::1', { bytes: -1 })).rejects.toThrow('from 0 to 65527, not -1')
    expect(await web.ping('10.1.0.1', { bytes: 65_507 })).toMatchObject({ bytes: 65_507 })
  })

  it('keeps an internal network to itself', async () => {
    await using fabric = await twoNetworks()
    await fabric.network('secret', { subnets: ['10.3.0.0/24'], internal: true })
    const vault = await fabric.sandbox('vault', { networks: ['secret'] })
    await expect(fabric.get('web').ping(vault)).rejects.toThrow()
    await expect(vault.ping('10.1.0.11')).rejects.toThrow()
    await expect(vault.ping('10.3.0.1')).resolves.toMatchObject({ from: '10.3.0.1' })
  })

  it('joins, leaves and removes while traffic goes on', async () => {
    await using fabric = await twoNetworks()
    const [web, db] = [fabric.get('web'), fabric.get('db')]
    await web.ping(db)
    await db.join('front')
    expect(await web.traceroute(db.ipv4('front'))).toEqual([db.ipv4('front')])
    await db.leave('front')
    await expect(web.ping('10.1.0.3', { timeoutMs: 100 })).rejects.toThrow('no answer')
    await web.ping(db)
    await db.remove()
    await expect(web.ping('10.2.0.22')).rejects.toThrow(/ping 10.2.0.22: (no answer|host unr)/)
    const names = fabric.controller.ls().sandboxes.map(({ name }) => name)
    expect(names).toEqual(['web', 'app'])
  })

  it('notices a cable that is pulled out, and plugs in a new one', async () => {
    await using fabric = await twoNetworks()
    const [web, app] = [fabric.get('web'), fabric.get('app')]
    await web.ping(app)
    fabric.link('app', 'front').cut()
    await expect(web.ping(app.ipv4())).rejects.toThrow()
    const endpoint = () => fabric.controller.inspect('app').sandboxes[0]!.endpoints[0]!
    expect(endpoint().state).toBe('lost')
    await fabric.apply()
    expect(endpoint().state).toBe('up')
    await web.ping(app)
  })

  it('is a function of its seed', async () => {
    const run = async (seed: number): Promise<string> => {
      await using fabric = await twoNetworks(seed)
      const capture = fabric.capture()
      fabric.link('web', 'front').faults({ lossPct: 20, jitterMs: 30, duplicatePct: 10 })
      const web = fabric.get('web')
      for (let i = 0; i < 20; i++) await web.ping('10.2.0.22', { timeoutMs: 500 }).catch(() => {})
      return Buffer.from(capture.bytes()).toString('hex')
    }
    const [first, again, other] = [await run(3), await run(3), await run(4)]
    expect(again).toBe(first)
    expect(other).not.toBe(first)
  })

  it('captures what devices see', async () => {
    await using fabric = await twoNetworks()
    const capture = fabric.capture(['web/eth0'])
    await fabric.get('web').ping('10.2.0.22')
    capture.stop()
    await fabric.get('web').ping('10.2.0.22')
    const reader = new PcapngReader()
    reader.push(capture.bytes())
    const seen: string[] = []
    for (let frame = reader.next(); frame !== undefined; frame = reader.next()) {
      const isIpv4 = frame.bytes[12] === 8 && frame.bytes[13] === 0
      if (isIpv4) seen.push(`${frame.interface.name} ${frame.direction} ${frame.bytes.length}`)
    }
    expect(seen).toEqual(['web/eth0 in 98', 'web/eth0 out 98'])
    expect(reader.malformed).toBeUndefined()
    expect(capture.frames).toBeGreaterThanOrEqual(2)
  })

  it('explains a packet without sending it', async () => {
    await using fabric = await twoNetworks()
    const { steps, ends } = fabric.controller.trace({ from: 'web', to: '10.2.0.22' })
    expect(steps.length).toBeGreaterThan(2)
    expect(ends.length).toBe(1)
    expect(fabric.link('web', 'front').counts().up.sent).toBe(0)
  })

  it('counts what a link did', async () => {
    await using fabric = await twoNetworks()
    const link = fabric.link('web', 'front')
    await fabric.advance(1)
    const before = link.counts()
    link.faults({ partitioned: true }, 'down')
    await expect(fabric.get('web').ping('10.1.0.1', { timeoutMs: 10 })).rejects.toThrow()
    const { up, down } = link.counts()
    expect([up.sent - before.up.sent, up.received, up.lost]).toEqual([1, up.sent, 0])
    expect([down.sent - before.down.sent, down.received, down.lost]).toEqual([
      1,
      before.down.received,
      1,
    ])
  })

  it('refuses what cannot be had, and changes nothing', async () => {
    await using fabric = await twoNetworks()
    const before = fabric.controller.ls()
    await expect(fabric.network('front')).rejects.toThrow('there is a network front already')
    const overlap = fabric.network('third', { subnets: ['10.1.0.128/25'] })
    await expect(overlap).rejects.toThrow(/overlap/)
    await expect(fabric.sandbox('web')).rejects.toThrow('there is a sandbox web already')
    await expect(fabric.sandbox('x', { networks: ['nowhere'] })).rejects.toThrow(/nowhere/)
    expect(() => fabric.link('web', 'back')).toThrow('web has no interface in back')
    const web = fabric.get('web')
    const again = web.join('front', { ipv4: '10.1.0.99' })
    await expect(again).rejects.toMatchObject({ code: 'exists' })
    for (const network of ['back', 'nowhere']) {
      await expect(web.leave(network)).rejects.toMatchObject({
        code: 'not-found',
        message: `web has no interface in ${network}`,
      })
    }
    expect(() => fabric.get('nobody')).toThrow('no sandbox nobody')
    await expect(fabric.get('web').exec(['true'])).rejects.toThrow('exec needs a kernel')
    expect(() => fabric.get('web').ipv4('back')).toThrow('web has no IPv4 address in back')
    expect(fabric.controller.ls()).toEqual(before)
  })

  it('runs on the system clock', async () => {
    await using fabric = await createFabric({ clock: 'system' })
    await fabric.network('front')
    const a = await fabric.sandbox('a', { networks: ['front'] })
    const b = await fabric.sandbox('b', { networks: ['front'] })
    fabric.link('a', 'front').faults({ delayMs: 20 })
    const { rttMs } = await a.ping(b)
    expect(rttMs).toBeGreaterThanOrEqual(38)
    expect(rttMs).toBeLessThan(2000)
    const waiting = expect(a.udp(1).receive()).rejects.toThrow(/closed/)
    await fabric.close()
    await waiting
  })

  it('says where an option is wrong', async () => {
    await using fabric = await twoNetworks()
    const flat = fabric.network('flat', { mtu: 12 })
    await expect(flat).rejects.toThrow(
      'networks.flat.driver_opts.com.docker.network.driver.mtu: expected a whole number from 68',
    )
    await fabric.service('www', { network: 'front', ports: [80], backends: ['web'] })
    const leave = fabric.get('web').leave('front')
    await expect(leave).rejects.toThrow('services.www.backends.0: sandbox "web" is not on network')
    await fabric.network('constructor')
    const twice = fabric.sandbox('x', { networks: ['front', 'front'] })
    await expect(twice).rejects.toThrow('sandbox "x": network "front" is given twice')
  })

  it('refuses options that there are not, instead of ignoring them', async () => {
    await using fabric = await twoNetworks()
    const web = fabric.get('web')
    const unknown = { gateway: '10.1.0.1', timeout: 5, loss: 1 } as object
    await expect(fabric.route('10.9.0.0/16', unknown)).rejects.toThrow('unknown key "gateway"')
    await expect(web.ping('app', unknown)).rejects.toThrow('unknown key "timeout"')
    await expect(web.traceroute('app', unknown)).rejects.toThrow('unknown key "timeout"')
    await expect(web.fetch('http://app/', unknown)).rejects.toThrow('unknown key "timeout"')
    await expect(web.exec(['true'], unknown)).rejects.toThrow('unknown key "timeout"')
    await expect(web.udp().receive(unknown)).rejects.toThrow('unknown key "timeout"')
    expect(() => web.udp().send('x', 'app', 7, unknown)).toThrow('unknown key "timeout"')
    await expect(fabric.replay('web/eth0', new Uint8Array(), unknown)).rejects.toThrow('"timeout"')
    for (const ttl of [0, 256]) {
      await expect(web.ping('app', { ttl })).rejects.toThrow('options of a ping: ttl')
    }
    for (const ms of [Number.NaN, -1, Number.POSITIVE_INFINITY]) {
      await expect(fabric.advance(ms)).rejects.toThrow('time to pass, in ms')
    }
    for (const segmentBytes of [0, -5, 0.5, Number.NaN, 'x' as never]) {
      const sent = () => web.udp().send('data', 'app', 7, { segmentBytes })
      expect(sent).toThrow('options of a datagram: segmentBytes')
    }
    const body = {} as never
    await expect(web.fetch('http://app/', { body })).rejects.toThrow('body: expected text or bytes')
    const isolated = 'yes' as never
    await expect(fabric.network('third', { isolated })).rejects.toThrow('"third": isolated')
    const where = 'options of sandbox "web" in network "back": unknown key "gateway"'
    await expect(web.join('back', unknown)).rejects.toThrow(where)
    const other = fabric.sandbox('other', { networks: { back: unknown } })
    await expect(other).rejects.toThrow('"other" in network "back": unknown key "gateway"')
    expect(() => web.connect('app', 65_536)).toThrow('65536 is not a TCP port')
    const link = fabric.link('web', 'front')
    expect(() => link.faults({}, 'in' as 'up')).toThrow('direction of faults of web/eth0')
  })

  it('says that it is closed to whoever still uses it', async () => {
    for (const clock of ['virtual', 'system'] as const) {
      const fabric = await createFabric({ clock })
      await fabric.network('front')
      const web = await fabric.sandbox('web', { networks: ['front'] })
      const link = fabric.link('web', 'front')
      const closing = fabric.close()
      await expect(web.ping('10.1.0.1')).rejects.toThrow('the fabric is closed')
      await closing
      await expect(fabric.advance(1)).rejects.toThrow('the fabric is closed')
      await expect(fabric.run(() => Promise.resolve())).rejects.toThrow('the fabric is closed')
      await expect(fabric.replay('web/eth0', new Uint8Array())).rejects.toThrow('fabric is closed')
      for (const use of [
        () => web.listen(80, () => {}),
        () => web.resolve('web'),
        () => web.ipv4(),
        () => fabric.link('web', 'front'),
        () => link.faults({ lossPct: 1 }),
        () => fabric.partition('web', 'web'),
        () => fabric.capture(),
      ]) {
        expect(use).toThrow('the fabric is closed')
      }
    }
  })

  it('says so when something was not given back', async () => {
    const fabric = await twoNetworks()
    const link = fabric.link('web', 'front')
    expect(link.device).toBe('web/eth0')
    const { pool } = fabric.controller.node.context
    pool.alloc(100)
    await expect(fabric.close()).rejects.toThrow(/1 packets and 0 timers were not given back/)
  })
})
