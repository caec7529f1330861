/**
 * To the outside and in from it through a daemon in memory: ports that come and go while it runs,
 * what the commands print and the API says of ports, services and connections.
 */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { runCommand } from '../../services/cli/program.ts'
import type { ConnectionEvent } from '../../services/connection_events.ts'
import type { Host } from '../../services/fabric/host.ts'
import type { Inspection, Listing, RouteRow } from '../../services/views.ts'
import type { Stats } from '../../services/views_counters.ts'
import type { CachedFlow } from '../../services/views_flows.ts'
import type { PortRow, ServiceRow } from '../../services/views_outside.ts'
import type { ConntrackRow } from '../../stack/ip/conntrack_list.ts'
import { DaemonLab, eventually } from './daemon_lab.ts'

const FILE = `
name: shop
networks:
  front: { enable_ipv6: true, ipam: { config: [{ subnet: 10.1.0.0/24 }, { subnet: "fd00::/64" }] } }
sandboxes:
  web:
    networks: { front: { ipv4_address: 10.1.0.11, ipv6_address: "fd00::11" } }
    ports: [ "53:5300/udp" ]
  app: { networks: { front: { ipv4_address: 10.1.0.12, ipv6_address: "fd00::12" } } }
services:
  lb:
    { network: front, endpoint_mode: dnsrr, backends: { web: { weight: 2 }, app: }, ports: [ 80 ] }
uplink:
  netns: outside
  addresses: [ 203.0.113.2/24, "2001:db8::2/64" ]
  peer_addresses: [ 203.0.113.1/24, "2001:db8::1/64" ]
  gateway: [ 203.0.113.1, "2001:db8::1" ]
`

let lab: DaemonLab

beforeEach(async () => {
  lab = new DaemonLab(FILE)
  await lab.daemon.start()
})

afterEach(async () => {
  expect(await lab.close()).toEqual([])
})

function host(name: string): Host {
  return lab.links.host(name)!
}

/** A command in this process: its exit code, and all that it wrote. */
async function tapline(...args: string[]): Promise<[number, string]> {
  let written = ''
  const spies = [process.stdout, process.stderr].map((stream) =>
    vi.spyOn(stream, 'write').mockImplementation((chunk: string | Uint8Array) => {
      written += chunk.toString()
      return true
    }),
  )
  try {
    return [await runCommand([...args, '--socket', lab.socketPath]), written]
  } finally {
    for (const spy of spies) spy.mockRestore()
  }
}

/** Who a server in a sandbox says has asked it, when the outside asks a port of the node. */
async function ask(
  address: string,
  port: number,
  server = 'web',
  at = 5300,
  from = 'outside',
): Promise<string> {
  const served = host(server).udp(at)
  served.onMessage((message) =>
    served.send(`${server} hears ${message.address}`, message.address, message.port),
  )
  const client = host(from).udp()
  try {
    client.send('who?', address, port)
    const { text, address: by } = await client.receive({ timeoutMs: 500 })
    expect(by, 'the answer comes from whom was asked').toBe(address)
    return text
  } finally {
    served.close()
    client.close()
  }
}

describe('published ports', () => {
  it('let the outside in, with its address, in both families', async () => {
    expect(await ask('203.0.113.2', 53)).toBe('web hears 203.0.113.1')
    expect(await ask('2001:db8::2', 53)).toBe('web hears 2001:db8::1')
  })

  it('are added and removed while it runs; the file has the last word', async () => {
    await expect(ask('203.0.113.2', 7000)).rejects.toThrow()
    expect(await tapline('ports', 'add', '7000-7009:5300-5309/udp', 'app')).toEqual([
      0,
      '7000-7009:5300-5309/udp leads to app on front\n',
    ])
    expect(await ask('203.0.113.2', 7000, 'app')).toBe('app hears 203.0.113.1')
    expect(await ask('2001:db8::2', 7009, 'app', 5309)).toBe('app hears 2001:db8::1')
    expect(await tapline('ports', 'rm', '7000-7009/udp')).toEqual([
      0,
      '7000-7009:5300-5309/udp no longer leads to app on front\n',
    ])
    await expect(ask('203.0.113.2', 7000, 'app')).rejects.toThrow()
    await tapline('ports', 'rm', '53/udp')
    expect(await lab.client.get<PortRow[]>('ports')).toEqual([])
    const { steps } = await lab.client.post<{ steps: { action: string }[] }>('apply', {
      file: lab.file,
      text: FILE,
    })
    expect(steps.map(({ action }) => action)).toEqual(['publish'])
    expect(await ask('203.0.113.2', 53)).toBe('web hears 203.0.113.1')
  })

  it('lead to the next sandbox at once, though datagrams of one socket go on', async () => {
    const client = host('outside').udp()
    const seen: string[] = []
    const servers = ['web', 'app'].map((name) =>
      host(name)
        .udp(5300)
        .onMessage(() => seen.push(name)),
    )
    client.send('1', '203.0.113.2', 53)
    await eventually(() => seen.length === 1)
    await lab.client.post('ports/remove', { spec: '53/udp' })
    await lab.client.post('ports/add', { spec: '53:5300/udp', sandbox: 'app' })
    client.send('2', '203.0.113.2', 53)
    await eventually(() => seen.length === 2)
    expect(seen).toEqual(['web', 'app'])
    for (const socket of [client, ...servers]) socket.close()
  })

  it('that cannot be had change nothing', async () => {
    const before = await lab.client.get<PortRow[]>('ports')
    for (const [args, code, message] of [
      [['add', '50-60:1-11/udp', 'app'], 1, '50-60:1-11/udp overlaps 53:5300/udp of sandbox "web"'],
      [['add', '80:80', 'nobody'], 1, 'no sandbox "nobody"'],
      [['add', '0:80', 'app'], 2, '"0:80": "0" is not a port from 1 to 65535'],
      [['add', '', 'app'], 2, '"": "" is not a port from 1 to 65535 or a range'],
      [['add', '203.0.113.9:80:80', 'app'], 2, "203.0.113.9 is another machine's: the uplink has"],
      [['add', '224.0.0.1:80:80', 'app'], 2, '224.0.0.1 is a multicast group'],
      [['add', '127.0.0.1:80:80', 'app'], 2, '127.0.0.1 leads nowhere'],
      [['rm', '54/udp'], 1, 'no published port "54/udp"'],
    ] as const) {
      const [exit, written] = await tapline('ports', ...args)
      expect(exit).toBe(code)
      expect(written).toContain(`tapline: ${message}`)
    }
    expect(await lab.client.get<PortRow[]>('ports')).toEqual(before)
    await expect(lab.client.post('ports/add', { spec: '80:80' })).rejects.toThrow(
      'wanted { spec: string, sandbox: string }',
    )
  })
})

describe('connections', () => {
  it('are listed, filtered, followed and forgotten', async () => {
    const stream = await lab.client.stream('conntrack/events', { sandbox: 'web' })
    const events: ConnectionEvent[] = []
    stream.body.setEncoding('utf8').on('data', (text: string) => {
      for (const line of text.trim().split('\n')) events.push(JSON.parse(line) as ConnectionEvent)
    })
    await ask('203.0.113.2', 53)
    await host('app').ping('203.0.113.1')
    const list = (query: Record<string, string | number> = {}): Promise<ConntrackRow[]> =>
      lab.client.get<ConntrackRow[]>('conntrack', query)
    const [udp] = await list({ protocol: 'udp' })
    expect(udp).toMatchObject({
      state: 'replied',
      original: { src: '203.0.113.1', dst: '203.0.113.2', dstPort: 53, packets: 1 },
      reply: { src: '10.1.0.11', srcPort: 5300, dst: '203.0.113.1', packets: 1 },
    })
    expect(await list()).toHaveLength(2)
    expect(await list({ sandbox: 'web' })).toEqual(await list({ protocol: 'udp' }))
    expect((await list({ sandbox: 'app' })).map(({ protocol }) => protocol)).toEqual(['icmp'])
    expect(await list({ dst: '203.0.113.2', port: 5300 })).toHaveLength(1)
    expect(await list({ src: '203.0.113.2' })).toEqual([])
    expect(await list({ protocol: 17 })).toHaveLength(1)
    expect(await list({ protocol: 'UDP' })).toHaveLength(1)
    await ask('2001:db8::2', 53)
    expect(await list({ dst: '2001:DB8:0:0::2' })).toHaveLength(1)
    expect(await list({ address: '2001:0db8::0:1' })).toHaveLength(1)
    await tapline('conntrack', 'delete', '--dst', '2001:DB8:0::2')
    const [code, table] = await tapline('conntrack', '--proto', 'udp')
    expect(code).toBe(0)
    const client = '203\\.0\\.113\\.1:\\d+'
    const way = `${client} +203\\.0\\.113\\.2:53 +10\\.1\\.0\\.11:5300 +${client}`
    expect(table).toMatch(new RegExp(`^udp +replied +${way} +2 `, 'm'))
    expect(await tapline('conntrack', 'delete', '--sandbox', 'web')).toEqual([
      0,
      '1 connection forgotten\n',
    ])
    expect((await list()).map(({ protocol }) => protocol)).toEqual(['icmp'])
    await eventually(() => events.some(({ change }) => change === 'destroy'))
    expect(events[0]).toMatchObject({ change: 'new', protocol: 'udp' })
    expect(events.every(({ protocol }) => protocol === 'udp')).toBe(true)
    stream.close()
  })

  it('are not forgotten by mistake', async () => {
    const [code, written] = await tapline('conntrack', 'delete')
    expect([code, written]).toEqual([2, expect.stringContaining('say which, or --all')])
    expect((await tapline('conntrack', 'delete', '--all'))[0]).toBe(0)
    expect((await tapline('conntrack', '--port', '0'))[0]).toBe(2)
    expect((await tapline('conntrack', '--sandbox', 'nobody'))[0]).toBe(1)
    for (const [option, value, message] of [
      ['--src', 'foo', 'src is one IPv4 or IPv6 address, such as 10.1.0.11, not "foo"'],
      ['--dst', '10.1', 'dst is one IPv4 or IPv6 address, such as 10.1.0.11, not "10.1"'],
      ['--address', '203.0.113.1/24', 'address is one IPv4 or IPv6 address, such as'],
      ['--proto', '300', 'no protocol 300; numbers go to 255'],
    ] as const) {
      const told = [2, expect.stringContaining(`tapline: ${message}`)]
      expect(await tapline('conntrack', option, value)).toEqual(told)
      expect(await tapline('conntrack', 'delete', option, value)).toEqual(told)
    }
    await expect(lab.client.get('conntrack', { port: 70_000 })).rejects.toThrow('to 65535')
    await expect(lab.client.get('conntrack', { port: 'x' })).rejects.toThrow('port is a number')
  })
})

describe('flows', () => {
  it('are in the cache after their first packets, with what became of them', async () => {
    const client = host('outside').udp()
    const server = host('web').udp(5300)
    let heard = 0
    server.onMessage(() => heard++)
    for (let i = 1; i <= 4; i++) {
      client.send('again', '203.0.113.2', 53)
      await eventually(() => heard === i)
    }
    const list = (device?: string): Promise<CachedFlow[]> =>
      lab.client.get<CachedFlow[]>('flows', { device })
    const [flow] = await list('web/eth0')
    expect(flow).toMatchObject({
      from: 'uplink',
      to: 'web/eth0',
      protocol: 'udp',
      original: { src: '203.0.113.1', dst: '203.0.113.2', dstPort: 53 },
      translated: { src: '203.0.113.1', dst: '10.1.0.11', dstPort: 5300 },
      routed: true,
      tracked: true,
      drop: null,
    })
    expect(flow!.packets).toBeGreaterThan(0)
    const [code, table] = await tapline('flows')
    expect(code).toBe(0)
    expect(table).toMatch(/^uplink +udp +203\.0\.113\.1:\d+ +203\.0\.113\.2:53 +web\/eth0 /m)
    expect(await list('app/eth0')).toEqual([])
    await lab.client.post('ports/remove', { spec: '53/udp' })
    expect(await list(), 'any change ends all').toEqual([])
    expect((await tapline('flows', 'nobody/eth0'))[0]).toBe(1)
    client.close()
    server.close()
  })
})

describe('services', () => {
  it('are published as sandboxes are: on every address or one, in ranges, and listed', async () => {
    const entry = `  pool: { network: front, vip: 10.1.0.100, backends: [ app ], ports:
           [ "7100-7101:5300-5301/udp", "203.0.113.2:7200:5302/udp" ] }\n`
    const text = FILE.replace('uplink:', `${entry}uplink:`)
    await lab.client.post('apply', { file: lab.file, text })
    expect(await ask('203.0.113.2', 7101, 'app', 5301)).toBe('app hears 203.0.113.1')
    expect(await ask('2001:db8::2', 7100, 'app')).toBe('app hears 2001:db8::1')
    expect(await ask('203.0.113.2', 7200, 'app', 5302)).toBe('app hears 203.0.113.1')
    await expect(ask('2001:db8::2', 7200, 'app', 5302)).rejects.toThrow()
    expect(await ask('10.1.0.1', 7100, 'app', 5300, 'web')).toBe('app hears 10.1.0.11')
    await expect(ask('10.1.0.1', 7200, 'app', 5302, 'web')).rejects.toThrow()
    const [, table] = await tapline('ports')
    expect(table).toMatch(
      /^7100-7101\/udp +service pool +front +10\.1\.0\.100 fd00::\S+ +5300-5301$/m,
    )
    const rows = await lab.client.get<PortRow[]>('ports')
    expect(rows.map(({ sandbox, service }) => sandbox ?? service)).toEqual(['web', 'pool', 'pool'])
    const whose = '203.0.113.2:7200/udp is of service "pool"'
    expect((await tapline('ports', 'rm', '203.0.113.2:7200/udp'))[1]).toContain(whose)
  })

  it('are shown with their backends, and drained', async () => {
    const [service] = await lab.client.get<ServiceRow[]>('services')
    expect(service).toMatchObject({ name: 'lb', mode: 'dnsrr', vips: [], scheduler: null })
    expect(await tapline('drain', 'lb', 'web')).toEqual([0, 'web is being drained\n'])
    const [, table] = await tapline('services')
    expect(table).toMatch(/^lb +front +dnsrr +80\/tcp +- +web +10\.1\.0\.11 fd00::11 +0 /m)
    expect(await tapline('drain', 'lb', 'web')).toEqual([0, 'it is drained already\n'])
    expect((await tapline('drain', 'lb', 'nobody'))[0]).toBe(1)
  })
})

describe('views', () => {
  it('show the way out', async () => {
    const listing = await lab.client.get<Listing>('ls')
    expect(listing.uplink).toMatchObject({ netns: 'outside', state: 'up', interface: null })
    expect(listing.ports.map(({ published }) => published)).toEqual(['53/udp'])
    expect(listing.services).toHaveLength(1)
    const routes = await lab.client.get<RouteRow[]>('routes')
    expect(routes.filter(({ network }) => network === 'uplink').map((r) => r.destination)).toEqual(
      expect.arrayContaining(['0.0.0.0/0', '::/0', '203.0.113.0/24', '2001:db8::/64']),
    )
    const { devices } = await lab.client.get<Stats>('stats')
    expect(devices.at(-1)).toMatchObject({ device: 'uplink', network: 'uplink', sandbox: '' })
    const [, text] = await tapline('ls')
    expect(text).toMatch(/^tap +outside +203\.0\.113\.2\/24 2001:db8::2\/64 /m)
    expect(text).toMatch(/^53\/udp +web +front +10\.1\.0\.11 fd00::11 +5300$/m)
  })

  it('are of one thing where it is named', async () => {
    const one = (name: string): Promise<Inspection> => lab.client.get('inspect', { name })
    expect(await one('lb')).toMatchObject({
      services: [{ name: 'lb' }],
      sandboxes: [],
      uplink: null,
    })
    expect((await one('web')).ports).toHaveLength(1)
    expect((await one('uplink')).uplink?.addresses).toContain('203.0.113.2/24')
    const [, text] = await tapline('inspect', 'lb')
    expect(text).toMatch(
      /^ {2}backend web: 10\.1\.0\.11 fd00::11, weight 2, unchecked, 0 flows, 0 in all, 0 failed$/m,
    )
    expect((await tapline('inspect', 'uplink'))[1]).toMatch(/^ {2}netns: +outside$/m)
  })

  it('have no host in memory, and keep the uplink that they have', async () => {
    const text = FILE.replace(/uplink:.*/s, 'uplink: host\n')
    await expect(lab.daemon.apply({ text, file: 'f', dryRun: false })).rejects.toThrow(
      /have no host/,
    )
    expect((await lab.client.get<Listing>('ls')).uplink).toMatchObject({ host: false, state: 'up' })
    expect((await lab.client.get<PortRow[]>('ports')).map((row) => row.port)).toEqual([53])
  })

  it('say that the uplink was lost, and apply opens it again', async () => {
    lab.links.cut('uplink')
    await eventually(() => lab.logged.some((line) => line.startsWith('lost the uplink')))
    expect((await lab.client.get<Listing>('ls')).uplink?.state).toBe('lost')
    const { steps } = await lab.client.post<{ steps: { action: string }[] }>('apply', {
      file: lab.file,
      text: FILE,
    })
    expect(steps.map(({ action }) => action)).toEqual(['close-uplink', 'open-uplink'])
    expect(await ask('203.0.113.2', 53)).toBe('web hears 203.0.113.1')
  })
})

describe('traces of what comes from outside', () => {
  it('tell of published ports, of what is not, and of policy', async () => {
    const policy = 'policy: { ingress: [ { action: deny, from: 198.51.100.0/24 } ] }'
    await lab.client.post('apply', {
      file: lab.file,
      text: FILE.replace('"fd00::11" }', `"fd00::11", ${policy} }`),
    })
    expect(await ask('203.0.113.2', 53)).toBe('web hears 203.0.113.1')
    const udp = ['trace', '--from', 'uplink', '--to', '203.0.113.2', '--proto', 'udp']
    const [code, text] = await tapline(...udp, '--dport', '53', '--expect', 'transmitted')
    expect(text).toContain('203.0.113.1 sends to 203.0.113.2 (udp, 0 octets of payload, TTL 64)')
    expect(text).toMatch(/a published port: destination becomes 10.1.0.11 port 5300/)
    expect(text).toContain('transmitted by web/eth0')
    expect(code).toBe(0)
    const denied = await tapline(...udp, '--dport', '53', '--source', '198.51.100.7')
    expect(denied[1]).toMatch(/ingress: denied by .*dropped for policy-denied/s)
    const closed = await tapline(...udp, '--dport', '54', '--expect', 'transmitted')
    expect(closed[0]).toBe(1)
    const past = ['trace', '--from', 'uplink', '--to', '10.1.0.11', '--proto', 'sctp']
    expect((await tapline(...past))[1]).toContain('dropped for not-published')
  })
})
