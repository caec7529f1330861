/** Names that are not ours: which forwarders are asked, what is believed, what is kept. */
import dns from 'dns-packet'
import { expect, it } from 'vitest'
import type { DnsConfig } from '../../../services/config/dns_model.ts'
import { DEFAULT_DNS } from '../../../services/config/dns_model.ts'
import { parseName } from '../../../services/dns/name.ts'
import { createFabric, type Fabric } from '../../../services/fabric/library.ts'
import { parseAddress } from '../../../stack/address.ts'
import { answers, ask } from './ask.ts'
import { type Behavior, MemoryHost, reply, zone } from './memory_host.ts'

const GATEWAY = '10.1.0.1'

class Lab {
  readonly fabric: Fabric
  readonly host: MemoryHost

  private constructor(fabric: Fabric, host: MemoryHost) {
    this.fabric = fabric
    this.host = host
  }

  static async open(config: Partial<DnsConfig> = {}, inside = false): Promise<Lab> {
    const host = new MemoryHost()
    if (inside) host.listen = () => () => {}
    const fabric = await createFabric({
      dns: (clock) => {
        host.clock = clock
        return host
      },
    })
    await fabric.network('front', { subnets: ['10.1.0.0/24'] })
    await fabric.network('vault', { subnets: ['10.3.0.0/24'], internal: true })
    await fabric.sandbox('web', { networks: ['front'] })
    await fabric.sandbox('app', { networks: ['front'] })
    await fabric.sandbox('safe', { networks: ['vault'] })
    fabric.controller.node.names.configure({ ...DEFAULT_DNS, ...config })
    return new Lab(fabric, host)
  }

  serve(server: string, behavior: Behavior): void {
    this.host.servers.set(server, behavior)
  }

  ask(name: string, type = 'A', from = 'web'): Promise<string> {
    const gateway = from === 'safe' ? '10.3.0.1' : GATEWAY
    return answers(this.fabric.get(from), gateway, name, type)
  }

  /** Servers that were asked since the last call. */
  seen(): string[] {
    return this.host.asked.splice(0).map(({ server, way }) => `${server} ${way}`)
  }

  async close(): Promise<void> {
    await this.fabric.close()
    expect(this.host.open, 'no socket is left').toBe(0)
  }
}

const SERVERS = ['192.0.2.1', '192.0.2.2'].map((text) => ({
  address: parseAddress(text),
  port: 53,
}))

it("asks the host's resolver, and keeps what it says for as long as that is true", async () => {
  const lab = await Lab.open()
  lab.serve('192.0.2.53', zone({ 'www.example': '198.51.100.7' }))
  expect(await lab.ask('www.Example')).toBe('NOERROR 198.51.100.7')
  await lab.fabric.advance(100_000)
  const packet = await ask(lab.fabric.get('app'), GATEWAY, 'www.example')
  expect(packet.answers).toMatchObject([{ ttl: 200, name: 'www.example' }])
  expect(packet.flag_aa).toBe(false)
  expect(lab.seen()).toEqual(['192.0.2.53 udp'])
  await lab.fabric.advance(201_000)
  expect(await lab.ask('www.example')).toBe('NOERROR 198.51.100.7')
  expect(lab.seen()).toEqual(['192.0.2.53 udp'])
  // RFC 2308: a name that is not there is kept for the lesser of TTL and minimum of its SOA.
  expect(await lab.ask('none.example')).toBe('NXDOMAIN')
  await lab.fabric.advance(59_000)
  expect(await lab.ask('none.example')).toBe('NXDOMAIN')
  expect(lab.seen()).toEqual(['192.0.2.53 udp'])
  await lab.fabric.advance(2000)
  expect(await lab.ask('none.example')).toBe('NXDOMAIN')
  expect(lab.seen()).toEqual(['192.0.2.53 udp'])
  // Without an SOA it is not kept at all.
  lab.serve('192.0.2.53', (asked) => [reply(asked, { rcode: 3 })])
  expect(await lab.ask('gone.example')).toBe('NXDOMAIN')
  expect(await lab.ask('gone.example')).toBe('NXDOMAIN')
  expect(lab.seen()).toHaveLength(2)
  await lab.close()
})

it('keeps no more than it is told to, also from now on', async () => {
  const lab = await Lab.open()
  lab.serve('192.0.2.53', zone({ 'www.example': '198.51.100.7' }))
  for (let i = 0; i < 2; i++) expect(await lab.ask('www.example')).toBe('NOERROR 198.51.100.7')
  expect(lab.seen()).toHaveLength(1)
  lab.fabric.controller.node.names.configure({ ...DEFAULT_DNS, cacheMax: 0 })
  for (let i = 0; i < 2; i++) expect(await lab.ask('www.example')).toBe('NOERROR 198.51.100.7')
  expect(lab.seen()).toHaveLength(2)
  await lab.close()
})

it('asks the next where one fails, and believes NXDOMAIN', async () => {
  const lab = await Lab.open({ servers: SERVERS })
  for (const rcode of [2, 5]) {
    lab.serve('192.0.2.1', (asked) => [reply(asked, { rcode })])
    lab.serve('192.0.2.2', zone({ 'www.example': '198.51.100.7' }))
    expect(await lab.ask('www.example')).toBe('NOERROR 198.51.100.7')
    expect(lab.seen()).toEqual(['192.0.2.1 udp', '192.0.2.2 udp'])
    lab.fabric.controller.flushNames()
  }
  lab.serve('192.0.2.1', zone({}))
  expect(await lab.ask('www.example')).toBe('NXDOMAIN')
  expect(lab.seen()).toEqual(['192.0.2.1 udp'])
  lab.fabric.controller.flushNames()
  // Silent: after two seconds the other, which is then asked first for a while.
  lab.serve('192.0.2.1', () => [])
  expect(await lab.ask('www.example')).toBe('NOERROR 198.51.100.7')
  expect(await lab.ask('else.example')).toBe('NXDOMAIN')
  expect(lab.seen()).toEqual(['192.0.2.1 udp', '192.0.2.1 udp', '192.0.2.2 udp', '192.0.2.2 udp'])
  lab.serve('192.0.2.2', () => [new Error('ECONNREFUSED')])
  expect(await lab.ask('third.example')).toBe('SERVFAIL')
  await lab.close()
})

it('asks once more where a datagram was lost, and goes on with that forwarder', async () => {
  const lab = await Lab.open({ servers: SERVERS })
  const known = zone({ 'www.example': '198.51.100.7', 'else.example': '198.51.100.8' })
  let lost = 1
  lab.serve('192.0.2.1', (asked) => (lost-- > 0 ? [] : known(asked)))
  const startMs = lab.fabric.nowMs
  expect(await lab.ask('www.example')).toBe('NOERROR 198.51.100.7')
  expect(lab.fabric.nowMs - startMs).toBeLessThan(1100)
  expect(await lab.ask('else.example')).toBe('NOERROR 198.51.100.8')
  expect(lab.seen()).toEqual(['192.0.2.1 udp', '192.0.2.1 udp', '192.0.2.1 udp'])
  await lab.close()
})

it('asks all at once if it is to', async () => {
  const lab = await Lab.open({ servers: SERVERS, strategy: 'parallel' })
  lab.serve('192.0.2.1', (asked) => [reply(asked, { rcode: 2 })])
  lab.serve('192.0.2.2', (asked) => [
    Buffer.alloc(1),
    ...zone({ 'a.example': '198.51.100.7' })(asked),
  ])
  expect(await lab.ask('a.example')).toBe('NOERROR 198.51.100.7')
  expect(lab.seen()).toEqual(['192.0.2.1 udp', '192.0.2.2 udp'])
  await lab.close()
})

it('asks by zone, by sandbox and by network', async () => {
  const server = (text: string) => [{ address: parseAddress(text), port: 53 }]
  const lab = await Lab.open({
    servers: SERVERS.slice(0, 1),
    zones: [
      { zone: parseName('corp.example'), servers: server('192.0.2.10') },
      { zone: parseName('lab.corp.example'), servers: server('192.0.2.11') },
      { zone: parseName('nobody.example'), servers: [] },
    ],
    networks: [{ network: 'front', servers: server('192.0.2.12') }],
    sandboxes: [
      {
        sandbox: 'app',
        servers: server('192.0.2.13'),
        search: [],
        options: ['ndots:1'],
        hosts: [{ name: parseName('mirror'), address: parseAddress('198.51.100.1') }],
      },
    ],
  })
  const all = ['1', '10', '11', '12', '13']
  for (const at of all) {
    lab.serve(`192.0.2.${at}`, (asked) => {
      const name = asked.packet.questions![0]!.name
      return [reply(asked, { answers: [{ type: 'A', name, ttl: 60, data: `198.51.100.${at}` }] })]
    })
  }
  expect(await lab.ask('x.corp.example')).toBe('NOERROR 198.51.100.10')
  expect(await lab.ask('corp.example')).toBe('NOERROR 198.51.100.10')
  expect(await lab.ask('x.lab.corp.example')).toBe('NOERROR 198.51.100.11')
  expect(await lab.ask('xcorp.example')).toBe('NOERROR 198.51.100.12')
  expect(await lab.ask('x.nobody.example')).toBe('NXDOMAIN')
  // What one sandbox learned from its own forwarders is not told to others.
  expect(await lab.ask('xcorp.example', 'A', 'app')).toBe('NOERROR 198.51.100.13')
  expect(await lab.ask('mirror', 'A', 'app')).toBe('NOERROR 198.51.100.1')
  expect(await lab.ask('mirror', 'AAAA', 'app')).toBe('NOERROR')
  expect(await lab.ask('single', 'A', 'app')).toBe('NOERROR')
  expect(await lab.ask('single')).toBe('NOERROR 198.51.100.12')
  await lab.close()
})

it.each([['order'], ['parallel']] as const)(
  "asks a sandbox's and a network's own forwarders from inside only, by %s",
  async (strategy) => {
    const server = (...all: string[]) => {
      return all.map((text) => ({ address: parseAddress(text), port: 53 }))
    }
    const own = { sandbox: 'app', search: [], options: [], hosts: [] }
    const lab = await Lab.open(
      {
        strategy,
        networks: [{ network: 'front', servers: server('10.1.0.53') }],
        sandboxes: [{ ...own, servers: server('10.1.0.54', '127.0.0.53', '::1') }],
      },
      true,
    )
    // The same addresses as the host sees them: strangers, with answers of their own.
    for (const at of ['10.1.0.53', '10.1.0.54']) lab.serve(at, zone({}))
    lab.serve('10.1.0.53 from web', (asked) => [reply(asked, { rcode: 2 })])
    expect(await lab.ask('www.example')).toBe('SERVFAIL')
    expect(lab.seen()).toEqual(['10.1.0.53 from web udp'])
    lab.serve('10.1.0.53 from web', () => [])
    expect(await lab.ask('else.example')).toBe('SERVFAIL')
    expect(lab.seen()).toEqual(['10.1.0.53 from web udp', '10.1.0.53 from web udp'])
    // One who was silent is not passed over for a stranger, now or later.
    lab.serve('10.1.0.53 from web', zone({ 'third.example': '198.51.100.7' }))
    expect(await lab.ask('third.example')).toBe('NOERROR 198.51.100.7')
    expect(lab.seen()).toEqual(['10.1.0.53 from web udp'])
    for (const at of ['10.1.0.54 from app', '127.0.0.53', '::1']) {
      lab.serve(at, (asked) => [reply(asked, { rcode: 5 })])
    }
    expect(await lab.ask('www.example', 'A', 'app')).toBe('REFUSED')
    expect(lab.seen()).toEqual(['10.1.0.54 from app udp', '127.0.0.53 udp', '::1 udp'])
    await lab.close()
  },
)

it('lets nothing out of internal networks', async () => {
  const lab = await Lab.open()
  lab.serve('192.0.2.53', zone({ 'www.example': '198.51.100.7' }))
  expect(await lab.ask('www.example', 'A', 'safe')).toBe('SERVFAIL')
  expect(await lab.ask('safe', 'A', 'safe')).toBe('NOERROR 10.3.0.2')
  // Nor addresses of this node, whoever asks.
  expect(await lab.ask('2.0.3.10.in-addr.arpa', 'PTR')).toBe('NXDOMAIN')
  expect(lab.seen()).toEqual([])
  await lab.close()
})

it('goes over to TCP for what is truncated, and to no EDNS for who knows none', async () => {
  const lab = await Lab.open()
  const full = zone({ 'big.example': '198.51.100.7' })
  lab.serve('192.0.2.53', (asked) => {
    if (asked.way === 'tcp') return full(asked)
    if ((asked.packet.additionals?.length ?? 0) > 0) return [reply(asked, { rcode: 1 })]
    return [reply(asked, { flags: dns.TRUNCATED_RESPONSE })]
  })
  expect(await lab.ask('big.example')).toBe('NOERROR 198.51.100.7')
  expect(lab.seen()).toEqual(['192.0.2.53 udp', '192.0.2.53 udp', '192.0.2.53 tcp'])
  await lab.close()
})

it('answers with what is stale rather than with nothing (RFC 8767)', async () => {
  const lab = await Lab.open()
  lab.serve('192.0.2.53', zone({ 'www.example': '198.51.100.7' }))
  await lab.ask('www.example')
  await lab.fabric.advance(400_000)
  lab.serve('192.0.2.53', () => [])
  const startMs = lab.fabric.nowMs
  const packet = await ask(lab.fabric.get('web'), GATEWAY, 'www.example')
  expect(packet.answers).toMatchObject([{ ttl: 30, data: '198.51.100.7' }])
  expect(lab.fabric.nowMs - startMs).toBeGreaterThanOrEqual(1800)
  expect(lab.fabric.nowMs - startMs).toBeLessThan(1900)
  await lab.fabric.advance(1000)
  lab.seen()
  // It failed: for half a minute nobody is asked again.
  expect(await lab.ask('www.example')).toBe('NOERROR 198.51.100.7')
  expect(lab.seen()).toEqual([])
  await lab.fabric.advance(31_000)
  lab.serve('192.0.2.53', zone({ 'www.example': '198.51.100.8' }))
  expect(await lab.ask('www.example')).toBe('NOERROR 198.51.100.8')
  await lab.fabric.advance(90_000_000)
  lab.serve('192.0.2.53', () => [])
  expect(await lab.ask('www.example')).toBe('SERVFAIL')
  await lab.close()
})

it('asks once what many want to know', async () => {
  const lab = await Lab.open()
  lab.serve('192.0.2.53', zone({ 'www.example': '198.51.100.7' }))
  const asked = Array.from({ length: 20 }, (_, i) =>
    lab.ask('www.example', 'A', i % 2 ? 'web' : 'app'),
  )
  expect(new Set(await Promise.all(asked))).toEqual(new Set(['NOERROR 198.51.100.7']))
  expect(lab.seen()).toHaveLength(1)
  await lab.close()
})
