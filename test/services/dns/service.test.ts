/** The name service on a whole node in memory: services, health, other nodes, rates, strangers. */
import { afterEach, beforeEach, expect, it } from 'vitest'
import { parseConfig } from '../../../services/config/parse.ts'
import { createFabric, type Fabric } from '../../../services/fabric/library.ts'
import { ownersName } from '../../../services/stack_owner.ts'
import type { NamesView } from '../../../services/views_dns.ts'
import { parseAddress } from '../../../stack/address.ts'
import { DropReason } from '../../../stack/drop.ts'
import { parseMac } from '../../../stack/eth/mac.ts'
import { answers, ask, query } from './ask.ts'

const GATEWAY = '10.1.0.1'
const NETWORKS = { front: { ipam: { config: [{ subnet: '10.1.0.0/24' }] } } }
const SANDBOXES = Object.fromEntries(
  ['app', 'one', 'two'].map((name, i) => {
    return [name, { netns: name, networks: { front: { ipv4_address: `10.1.0.1${i}` } } }]
  }),
)

let fabric: Fabric

beforeEach(async () => {
  fabric = await createFabric()
  await fabric.network('front', { subnets: ['10.1.0.0/24'] })
  for (const [i, name] of ['app', 'one', 'two'].entries()) {
    await fabric.sandbox(name, { networks: { front: { ipv4: `10.1.0.1${i}` } } })
  }
})

afterEach(() => fabric.close())

/** Bring the node to what a file with these networks and sandboxes, and this, would say. */
async function apply(more: object): Promise<string[]> {
  const file = { name: 'fabric', networks: NETWORKS, sandboxes: SANDBOXES, ...more }
  const { config, faults } = parseConfig(JSON.stringify(file), 'file')
  expect(faults).toEqual([])
  const { steps } = await fabric.controller.apply(config!)
  return steps.map(({ action, subject }) => `${action} ${subject}`)
}

function asked(name: string, type = 'A'): Promise<string> {
  return answers(fabric.get('app'), GATEWAY, name, type)
}

function dropped(reason: number): number {
  const { pool } = fabric.controller.node.context
  return pool.counters.dropTotal(reason)
}

function dnsrr(more: object = {}): object {
  const check = { type: 'udp', port: 7000, interval: '1s', timeout: '500ms', retries: 1 }
  const service = {
    network: 'front',
    endpoint_mode: 'dnsrr',
    ports: [{ target: 7000, protocol: 'udp', name: 'echo' }],
    backends: { one: { weight: 3 }, two: {} },
    healthcheck: check,
    aliases: ['rounds', '*.pool'],
    ...more,
  }
  return { services: { pool: service } }
}

it('answers with the backends that are up, or with all, as it is told', async () => {
  await apply(dnsrr())
  const socket = fabric.get('one').udp(7000)
  await fabric.advance(5000)
  for (const name of ['pool', 'tasks.pool', 'pool.front', 'rounds', 'a.pool']) {
    expect(await asked(name)).toBe('NOERROR 10.1.0.11')
  }
  expect(await asked('_echo._udp.pool', 'SRV')).toBe('NOERROR one.front:7000/3')
  const other = fabric.get('two').udp(7000)
  await fabric.advance(5000)
  expect((await asked('pool')).split(' ').sort()).toEqual(['10.1.0.11', '10.1.0.12', 'NOERROR'])
  socket.close()
  other.close()
  await fabric.advance(5000)
  expect(await asked('pool')).toBe('NOERROR')
  expect(await asked('_echo._udp.pool', 'SRV')).toBe('NOERROR')
  expect(await apply(dnsrr({ dns_answers: 'all' }))).toEqual(['update-service pool'])
  expect((await asked('pool')).split(' ')).toHaveLength(3)
  expect(await apply({})).toEqual(['delete-service pool'])
  expect(await asked('pool')).toBe('SERVFAIL')
})

it('leaves drained backends out of turns, but not out of tasks', async () => {
  const backends = { one: { weight: 0 }, two: {} }
  await apply(dnsrr({ backends, healthcheck: undefined }))
  expect(await asked('pool')).toBe('NOERROR 10.1.0.12')
  expect((await asked('tasks.pool')).split(' ')).toHaveLength(3)
})

it('lets a service hide a sandbox of its name, and gives the name back', async () => {
  expect(await asked('one')).toBe('NOERROR 10.1.0.11')
  const ports = [{ target: 80 }]
  await apply({
    services: { one: { network: 'front', vip: '10.1.0.99', ports, backends: ['two'] } },
  })
  expect(await asked('one')).toBe('NOERROR 10.1.0.99')
  expect(await asked('tasks.one')).toBe('NOERROR 10.1.0.12')
  expect(await asked('99.0.1.10.in-addr.arpa', 'PTR')).toBe('NOERROR one.front')
  expect(await asked('_http._tcp.one', 'SRV')).toBe('NOERROR one.front:80/1')
  expect(await asked('_80._tcp.one', 'SRV')).toBe('NOERROR one.front:80/1')
  expect(await asked('_https._tcp.one', 'SRV')).toBe('NXDOMAIN')
  await apply({})
  expect(await asked('one')).toBe('NOERROR 10.1.0.11')
})

it('does what the file says of names without touching anything else', async () => {
  expect(await apply({ dns: { ttl: '5s' } })).toEqual(['update-dns names'])
  const packet = await ask(fabric.get('app'), GATEWAY, 'one')
  expect(packet.answers).toMatchObject([{ ttl: 5 }])
  const hosts = { ...SANDBOXES, app: { ...SANDBOXES['app'], extra_hosts: ['far=192.0.2.9'] } }
  expect(await apply({ sandboxes: hosts })).toEqual(['update-dns names'])
  expect(await asked('far')).toBe('NOERROR 192.0.2.9')
  expect(await answers(fabric.get('one'), GATEWAY, 'far')).toBe('SERVFAIL')
  expect(await apply({ dns: { enabled: false } })).toEqual(['update-dns names'])
  await expect(asked('one')).rejects.toThrow()
  expect(await apply({})).toEqual(['update-dns names'])
  expect(await asked('one')).toBe('NOERROR 10.1.0.11')
})

it('knows endpoints of other nodes until they are taken back, however long that is', async () => {
  const { registry } = fabric.controller.node.names
  const record = {
    vni: 4097,
    mac: parseMac('02:42:0a:01:00:50'),
    addresses: [parseAddress('10.1.0.80')],
    vtep: parseAddress('10.200.0.2'),
    name: 'distant',
    aliases: ['afar', 'one'],
    node: 'n2',
  }
  registry.setRemote('front', record)
  expect(await asked('distant')).toBe('NOERROR 10.1.0.80')
  expect(await asked('80.0.1.10.in-addr.arpa', 'PTR')).toBe('NOERROR distant.front')
  expect((await asked('one')).split(' ').sort()).toEqual(['10.1.0.11', '10.1.0.80', 'NOERROR'])
  await fabric.advance(3_600_000)
  expect(await asked('afar')).toBe('NOERROR 10.1.0.80')
  registry.setRemote('front', { ...record, addresses: [parseAddress('10.1.0.81')], aliases: [] })
  expect(await asked('distant')).toBe('NOERROR 10.1.0.81')
  expect(await asked('afar')).toBe('SERVFAIL')
  registry.removeRemote('front', record.mac)
  expect(await asked('distant')).toBe('SERVFAIL')
  expect(await asked('one')).toBe('NOERROR 10.1.0.11')
})

it('answers each sandbox at its rate, and the others all the same', async () => {
  await apply({ dns: { queries_per_s: 5 } })
  const socket = fabric.get('one').udp()
  let heard = 0
  socket.onMessage(() => heard++)
  for (let i = 0; i < 50; i++) socket.send(query('two', { id: i }), GATEWAY, 53)
  await fabric.advance(100)
  expect(heard).toBe(5)
  expect(dropped(DropReason.RateLimited)).toBe(45)
  expect(await asked('two')).toBe('NOERROR 10.1.0.12')
  await fabric.advance(1000)
  socket.send(query('two'), GATEWAY, 53)
  await fabric.advance(100)
  expect(heard).toBe(6)
  socket.close()
})

it('shows what it knows, and explains', async () => {
  await apply(dnsrr({ healthcheck: undefined }))
  const view: NamesView = fabric.controller.names()
  expect(view.names).toContainEqual({
    network: 'front',
    name: '*.pool',
    kind: 'service',
    addresses: ['10.1.0.11', '10.1.0.12'],
  })
  expect(view.resolvers).toContainEqual(
    expect.objectContaining({ sandbox: 'app', loopback: false }),
  )
  const known = await fabric.controller.resolveName({ from: 'app', name: 'one.front' })
  expect(known).toMatchObject({
    steps: ['app is on front', 'network front has one (sandbox)'],
    rcode: 'NOERROR',
    records: ['one.front 600 IN A 10.1.0.11'],
  })
  const unknown = await fabric.controller.resolveName({ from: 'app', name: 'x.example' })
  expect(unknown.steps.at(-1)).toBe('there is no forwarder to ask')
  expect(unknown.rcode).toBe('SERVFAIL')
  expect(() => fabric.controller.resolveName({ from: 'nobody', name: 'x' })).toThrow(/no sandbox/)
  expect(() => fabric.controller.resolveName({ from: 'app', name: 'a..b' })).toThrow(/label/)
})

it('explains names to those who share a stack, and not to those on the host', async () => {
  const sandboxes = {
    ...SANDBOXES,
    side: { network_mode: 'container:one' },
    guest: { network_mode: 'host' },
    alone: { networks: [] },
  }
  await apply({ sandboxes })
  const { controller } = fabric
  const told = await controller.resolveName({ from: 'side', name: 'two' })
  expect(told).toMatchObject({
    from: 'side',
    rcode: 'NOERROR',
    records: ['two 600 IN A 10.1.0.12'],
  })
  expect(told.steps[0]).toBe('side shares the stack of one, and its resolver')
  expect(() => controller.resolveName({ from: 'guest', name: 'two' })).toThrow(
    "guest is on the host's stack: it has the host's resolver",
  )
  const lonely = await controller.resolveName({ from: 'alone', name: 'two' })
  expect(lonely.rcode).toBe('SERVFAIL')
  expect(lonely.steps).toContain('it is on no network: nothing is asked outside')
  const { sandboxes: known } = controller.node.state
  expect(['side', 'side/eth0', 'one/eth1', 'x/y'].map((name) => ownersName(known, name))).toEqual([
    'one',
    'one/eth0',
    'one/eth1',
    'x/y',
  ])
  expect(controller.trace({ from: 'side', to: '10.1.0.12' }).from).toBe('one/eth0')
  expect(controller.trace({ from: 'side/eth0', to: '10.1.0.12' }).from).toBe('one/eth0')
})

it('takes an address asked for PTR as its reverse name', async () => {
  const asked = { from: 'app', name: '10.1.0.12', type: 'ptr' }
  const told = await fabric.controller.resolveName(asked)
  expect(told).toMatchObject({
    name: '12.0.1.10.in-addr.arpa',
    records: ['12.0.1.10.in-addr.arpa 600 IN PTR two.front'],
  })
  const six = await fabric.controller.resolveName({ ...asked, name: 'fd00::12' })
  expect(six.name).toBe(`2.1.${'0.'.repeat(26)}0.0.d.f.ip6.arpa`)
})
