/** Answers that are given again: only where they are what would be answered anew. */
import dns from 'dns-packet'
import { expect, it } from 'vitest'
import { DEFAULT_DNS } from '../../../services/config/dns_model.ts'
import { Repeats } from '../../../services/dns/repeats.ts'
import type { Manner } from '../../../services/dns/server.ts'
import { LATER, NameServer } from '../../../services/dns/server.ts'
import { UDP_BYTES } from '../../../services/dns/wire.ts'
import { createFabric, type Fabric } from '../../../services/fabric/library.ts'
import { VirtualClock } from '../../../stack/clock.ts'
import { Random } from '../../../stack/random.ts'
import { ask, query, text } from './ask.ts'
import { MemoryHost, zone } from './memory_host.ts'

const GATEWAY = '10.1.0.1'
const RNG = 20_261_129

async function open(host?: MemoryHost): Promise<Fabric> {
  const fabric = await createFabric({
    checked: true,
    ...(host !== undefined && {
      dns: (clock) => {
        host.clock = clock
        return host
      },
    }),
  })
  await fabric.network('front', { subnets: ['10.1.0.0/24', 'fd00:1::/64'] })
  await fabric.network('back', { subnets: ['10.2.0.0/24'] })
  const front = { ipv4: '10.1.0.11', ipv6: 'fd00:1::11', aliases: ['www', '*.shop'] }
  await fabric.sandbox('web', { networks: { front, back: { ipv4: '10.2.0.11' } } })
  await fabric.sandbox('app', { networks: { front: { ipv4: '10.1.0.12', aliases: ['www'] } } })
  return fabric
}

function namesOf(fabric: Fabric): Fabric['controller']['node']['names'] {
  return fabric.controller.node.names
}

it('gives the same again to who asks the same, each with its own identifier', async () => {
  const fabric = await open()
  const { repeats } = namesOf(fabric).server
  const app = fabric.get('app')
  const first = await ask(app, GATEWAY, 'web', { id: 1 })
  const hits = repeats.hits
  const second = await ask(app, GATEWAY, 'web', { id: 0xfffe })
  expect(repeats.hits).toBe(hits + 1)
  expect(second).toEqual({ ...first, id: 0xfffe })
  // Other letters, other sizes and another asker are other queries.
  const other = await ask(app, GATEWAY, 'wEb')
  expect(other.questions![0]!.name).toBe('wEb')
  expect((await ask(app, GATEWAY, 'web', { edns: 4096 })).additionals).toHaveLength(1)
  expect(text(await ask(fabric.get('web'), GATEWAY, 'web'))).toBe('NOERROR 10.1.0.11')
  expect(repeats.hits).toBe(hits + 1)
  await fabric.close()
})

it('forgets when names change, and keeps taking turns', async () => {
  const fabric = await open()
  const app = fabric.get('app')
  const asked = async (name: string): Promise<string> => text(await ask(app, GATEWAY, name))
  for (let i = 0; i < 3; i++) expect(await asked('new')).toBe('SERVFAIL')
  await fabric.sandbox('new', { networks: { front: { ipv4: '10.1.0.20' } } })
  for (let i = 0; i < 3; i++) expect(await asked('new')).toBe('NOERROR 10.1.0.20')
  await fabric.get('new').remove()
  expect(await asked('new')).toBe('SERVFAIL')
  const turns = new Set<string>()
  for (let i = 0; i < 4; i++) turns.add(await asked('www'))
  expect(turns.size).toBe(2)
  namesOf(fabric).configure({ ...DEFAULT_DNS, ttlS: 5 })
  await asked('web')
  expect((await ask(app, GATEWAY, 'web')).answers).toMatchObject([{ ttl: 5 }])
  await fabric.close()
})

it('counts TTLs of forwarders down, and forgets with their answers', async () => {
  const host = new MemoryHost()
  const fabric = await open(host)
  const { server, forwarder } = namesOf(fabric)
  host.servers.set('192.0.2.53', zone({ 'far.example': '198.51.100.7' }, 4))
  const app = fabric.get('app')
  const ttls: number[] = []
  for (let i = 0; i < 14; i++) {
    const { answers } = await ask(app, GATEWAY, 'far.example')
    ttls.push((answers![0] as { ttl: number }).ttl)
    await fabric.advance(250)
  }
  expect(new Set(ttls)).toEqual(new Set([4, 3, 2, 1]))
  expect([...ttls].sort((a, b) => b - a)).toEqual(ttls)
  expect(server.repeats.hits).toBeGreaterThan(3)
  expect(forwarder!.cache.hits).toBe(13)
  expect(host.asked).toHaveLength(1)
  // Over: it is asked for anew.
  await fabric.advance(4000)
  host.servers.set('192.0.2.53', zone({ 'far.example': '198.51.100.8' }))
  for (let i = 0; i < 3; i++) {
    expect(text(await ask(app, GATEWAY, 'far.example'))).toBe('NOERROR 198.51.100.8')
  }
  host.servers.set('192.0.2.53', zone({ 'far.example': '198.51.100.9' }))
  fabric.controller.flushNames()
  expect(text(await ask(app, GATEWAY, 'far.example'))).toBe('NOERROR 198.51.100.9')
  // Who wants no cache has none.
  fabric.controller.flushNames()
  namesOf(fabric).configure({ ...DEFAULT_DNS, cacheMax: 0 })
  host.asked.length = 0
  for (let i = 0; i < 3; i++) await ask(app, GATEWAY, 'far.example')
  expect(host.asked).toHaveLength(3)
  await fabric.close()
})

/** Queries that are alike in most octets, some of them broken. */
function pool(random: Random): Buffer[] {
  const names = ['web', 'app', 'a.shop', 'web.front', 'nobody', 'localhost', 'x.invalid']
  const types = ['A', 'AAAA', 'TXT', 'MX', 'PTR', 'ANY']
  return Array.from({ length: 300 }, () => {
    const name = names[random.below(names.length)]!
    const type = types[random.below(types.length)]!
    const edns = [undefined, 0, 512, 4096][random.below(4)]
    const flags = random.below(4) === 0 ? 0 : dns.RECURSION_DESIRED
    const message = query(name, { type, flags, ...(edns !== undefined && { edns }) })
    if (random.below(3) > 0) return message
    if (random.below(2) === 0) return message.subarray(0, random.below(message.length + 1))
    message[random.below(message.length)] = random.below(256)
    return message
  })
}

it('answers as a server does that never heard the query, whatever it is', async () => {
  const fabric = await open()
  const { registry, server } = namesOf(fabric)
  const { clock } = fabric.controller.node.context
  const random = new Random(RNG)
  const messages = pool(random)
  const [own, fresh] = [new Uint8Array(UDP_BYTES), new Uint8Array(UDP_BYTES)]
  for (let step = 0; step < 2000; step++) {
    if (step % 500 === 499) namesOf(fabric).configure({ ...DEFAULT_DNS, ttlS: step })
    const scope = registry.scope(['web', 'app'][random.below(2)]!)
    const manner: Manner = { scope, maxBytes: UDP_BYTES, isStream: false }
    const message = messages[random.below(messages.length)]!
    own.fill(0xa5)
    fresh.fill(0xa5)
    own.set(message)
    fresh.set(message)
    const options = { clock, registry, forwarder: undefined, hostServers: () => [] }
    const anew = new NameServer(options, { ...server.config })
    const length = server.respond(own, 0, message.length, manner)
    const expected = anew.respond(fresh, 0, message.length, manner)
    expect(length, message.toString('hex')).toBe(expected)
    if (length === LATER) continue
    const [given, right] = [own.subarray(0, length), fresh.subarray(0, length)]
    expect(Buffer.from(given).toString('hex')).toBe(Buffer.from(right).toString('hex'))
  }
  expect(server.repeats.hits, `seed ${RNG}`).toBeGreaterThan(300)
  await fabric.close()
})

it('never grows, and mixes nothing up when far more is asked than it holds', () => {
  let generation = 1
  const repeats = new Repeats({ clock: new VirtualClock(), generation: () => generation })
  const mem = new Uint8Array(64)
  const put = (number: number): void => {
    mem.fill(0)
    new DataView(mem.buffer).setUint32(8, number)
  }
  const ask = (number: number, asker: number): number => {
    put(number)
    return repeats.answer(mem, 0, 20, asker)
  }
  const count = 20_000
  const keeping = { untilMs: Number.POSITIVE_INFINITY, learned: false }
  for (let i = 0; i < count; i++) {
    put(i)
    repeats.note(mem, 0, 20)
    mem[20] = i & 0xff
    mem[21] = (i >>> 8) & 0xff
    repeats.keep(mem, 0, 22, { ...keeping, asker: i % 7 })
  }
  let found = 0
  for (let i = 0; i < count; i++) {
    if (ask(i, i % 7) === 0) continue
    found++
    expect(mem[20]! | (mem[21]! << 8)).toBe(i & 0xffff)
  }
  expect(found).toBeGreaterThan(1000)
  expect(found).toBeLessThanOrEqual(4096)
  for (let i = 0; i < count; i++) expect(ask(i, 8)).toBe(0)
  generation++
  for (let i = 0; i < count; i++) expect(ask(i, i % 7)).toBe(0)
})
