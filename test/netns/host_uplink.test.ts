/**
 * The host as the outside. A namespace plays the host and runs the daemon, another one a machine
 * on its LAN; what the daemon sets on the host is compared with what was there before.
 */
import { execFileSync } from 'node:child_process'
import { dirname } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { transferNet } from '../../services/config/transfer.ts'
import { formatAddress, formatPrefix } from '../../stack/address.ts'
import { ask, serve } from './ask.ts'
import { hasTool, Lab } from './lab.ts'
import { expectOut, FRONT, onFront } from './outside.ts'
import { ASK_UDP, NAMED_UDP, Talk } from './talk.ts'

const HOST4 = '192.0.2.1'
const HOST6 = '2001:db8:1::1'
/** A second address of the host. */
const SECOND4 = '192.0.2.9'
const LAN4 = '192.0.2.50'
const LAN6 = '2001:db8:1::50'

const nft = hasTool('nft', 'nftables')

function ip(...args: string[]): string {
  return execFileSync('ip', args, { encoding: 'utf8' })
}

/** Host and LAN, without a daemon. */
function land(lab: Lab): void {
  const [host, lan] = [lab.ns('host'), lab.ns('lan')]
  for (const name of [host, lan]) {
    ip('netns', 'add', name)
    ip('-n', name, 'link', 'set', 'lo', 'up')
  }
  ip('-n', host, 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', lan)
  // Addresses of their own would come late, when what was there before is written down already.
  for (const name of [host, lan]) ip('-n', name, 'link', 'set', 'eth0', 'addrgenmode', 'none', 'up')
  for (const address of [`${HOST4}/24`, `${HOST6}/64`, `${SECOND4}/24`]) {
    ip('-n', host, 'addr', 'add', address, 'dev', 'eth0', ...nodad(address))
  }
  for (const address of [`${LAN4}/24`, `${LAN6}/64`]) {
    ip('-n', lan, 'addr', 'add', address, 'dev', 'eth0', ...nodad(address))
  }
  // Not `ip netns exec`, whose mounts the rest of the machine does not see.
  lab.within = ['nsenter', `--net=/run/netns/${host}`]
  // Settings that are easily lost when forwarding is turned on and off again.
  for (const setting of [
    'net.ipv4.conf.all.accept_redirects=0',
    'net.ipv4.conf.lo.forwarding=1',
    'net.ipv6.conf.lo.forwarding=1',
    'net.ipv6.conf.eth0.accept_ra=1',
    'net.ipv4.conf.all.rp_filter=1',
  ]) {
    execFileSync('ip', ['netns', 'exec', host, 'sysctl', '-qw', setting])
  }
}

function nodad(address: string): string[] {
  return address.includes(':') ? ['nodad'] : []
}

function file(lab: Lab, more = ''): string {
  return `
name: ${lab.prefix}
networks:
${FRONT}
sandboxes:
${onFront(lab, 'web', 11)}
    ports: [ "8080:80", "5353:53/udp", "127.0.0.1:8090:80", "[::1]:8090:80", "${SECOND4}:8091:80",
             "9000-9099:9000-9099" ]
${onFront(lab, 'app', 12)}
    ports: [ "${HOST4}:8091:81" ]
services:
  pool:
    network: front
    vip: 10.1.0.100
    ports: [ { target: 80, published: 8099 } ]
    backends: [ web ]
uplink: ${more || 'host'}
`
}

/** What the host must look like again: rules, links, routes, settings. */
async function look(lab: Lab): Promise<Record<string, string>> {
  const out = async (...command: string[]) => (await lab.exec('host', ...command)).stdout
  const settings = await out('sysctl', '-a', '-r', '^net\\.ipv[46]\\.(conf|ip_forward)')
  return {
    rules: await out('nft', 'list', 'ruleset'),
    links: await out('ip', '-br', 'link'),
    routes: (await out('ip', 'route')) + (await out('ip', '-6', 'route', 'show', 'table', 'all')),
    settings: settings.replace(/.*stable_secret.*\n/g, ''),
  }
}

/** A program that counts what one client sends, and tells it. */
function sinkOf(port: number): string {
  return `const server = require('net').createServer({ allowHalfOpen: true }, s => { let n = 0;
    s.on('data', d => { n += d.length }); s.on('end', () => s.end(n + ' ')) });
    server.listen(${port}, '::', () => console.log('up'))`
}

describe.runIf(nft)('uplink on the host', () => {
  const lab = new Lab()
  const [host4, host6] = transferNet(lab.prefix).peerAddresses.map(({ address }) =>
    formatAddress(address),
  )

  beforeAll(async () => {
    land(lab)
    await lab.up(file(lab))
    await serve(lab, 'web', 80)
    await serve(lab, 'web', 53, 'udp')
    await serve(lab, 'web', 9099)
  })

  afterAll(async () => {
    await lab.close()
  })

  it('lets sandboxes out under the address of the host', async () => {
    await expectOut(lab, 'lan', [
      [LAN4, HOST4],
      [LAN6, HOST6],
    ])
  })

  it('lets other machines in by the addresses of the host, and they are seen', async () => {
    expect(await ask(lab, 'lan', HOST4, 8080)).toBe(`from ${LAN4}`)
    expect(await ask(lab, 'lan', HOST6, 8080)).toBe(`from ${LAN6}`)
    expect(await ask(lab, 'lan', HOST4, 5353, 'udp')).toBe(`from ${LAN4}`)
    expect(await ask(lab, 'lan', HOST6, 5353, 'udp')).toBe(`from ${LAN6}`)
    expect(await ask(lab, 'lan', HOST4, 9099)).toBe(`from ${LAN4}`)
    expect(await ask(lab, 'lan', HOST4, 8099)).toBe(`from ${LAN4}`)
  })

  it('lets the host in by its addresses, by 127.0.0.1 and by ::1', async () => {
    expect(await ask(lab, 'host', HOST4, 8080)).toBe(`from ${HOST4}`)
    expect(await ask(lab, 'host', HOST6, 8080)).toBe(`from ${HOST6}`)
    expect(await ask(lab, 'host', '127.0.0.1', 8080)).toBe(`from ${host4}`)
    expect(await ask(lab, 'host', '::1', 8080)).toBe(`from ${host6}`)
    expect(await ask(lab, 'host', HOST4, 5353, 'udp')).toBe(`from ${HOST4}`)
    expect(await ask(lab, 'host', '127.0.0.1', 5353, 'udp')).toBe(`from ${host4}`)
    expect(await ask(lab, 'host', '::1', 5353, 'udp')).toBe(`from ${host6}`)
    expect(await ask(lab, 'host', '127.0.0.1', 8099)).toBe(`from ${host4}`)
  })

  it('leads sandboxes to published ports by the addresses of the host', async () => {
    expect(await ask(lab, 'app', HOST4, 8080)).toBe('from 10.1.0.12')
    expect(await ask(lab, 'app', HOST6, 8080)).toBe('from fd00:1::12')
    expect(await ask(lab, 'app', HOST4, 5353, 'udp')).toBe('from 10.1.0.12')
    expect(await ask(lab, 'app', HOST6, 5353, 'udp')).toBe('from fd00:1::12')
    expect(await ask(lab, 'app', SECOND4, 8091)).toBe('from 10.1.0.12')
    expect(await ask(lab, 'app', HOST4, 8099)).toBe('from 10.1.0.12')
  })

  it('keeps ports of one address to that address', async () => {
    expect(await ask(lab, 'host', '127.0.0.1', 8090)).toBe(`from ${host4}`)
    expect(await ask(lab, 'host', '::1', 8090)).toBe(`from ${host6}`)
    expect(await ask(lab, 'lan', HOST4, 8090)).toBe('ECONNREFUSED')
    expect(await ask(lab, 'lan', HOST6, 8090)).toBe('ECONNREFUSED')
    expect(await ask(lab, 'app', HOST4, 8090)).toBe('ECONNREFUSED')
    // Stand-ins are nobody's address, for sandboxes.
    for (const i of [3, 4]) {
      const standIn = host4!.replace(/\d+$/, (last) => `${Number(last) - 1 + i}`)
      expect(await ask(lab, 'app', standIn, 8090)).not.toContain('from')
    }
    const other = await serve(lab, 'app', 81)
    expect(await ask(lab, 'lan', HOST4, 8091)).toBe(`from ${LAN4}`)
    other.kill('SIGKILL')
    expect(await ask(lab, 'lan', HOST4, 8091)).toBe('ECONNREFUSED')
    expect(await ask(lab, 'lan', SECOND4, 8091)).toBe(`from ${LAN4}`)
  })

  it('leaves the host its own ports, also for sandboxes', async () => {
    const server = await serve(lab, 'host', 7003)
    expect(await ask(lab, 'lan', HOST4, 7003)).toBe(`from ${LAN4}`)
    expect(await ask(lab, 'host', '::1', 7003)).toBe('from ::1')
    expect(await ask(lab, 'host', '127.0.0.1', 7003)).toBe('from 127.0.0.1')
    expect(await ask(lab, 'app', HOST4, 7003)).toMatch(/^from 198\.1[89]\./)
    server.kill('SIGKILL')
  })

  it('leaves other machines the ports that are published here', async () => {
    const server = await serve(lab, 'lan', 9050)
    expect(await ask(lab, 'app', LAN4, 9050)).toBe(`from ${HOST4}`)
    expect(await ask(lab, 'app', LAN6, 9050)).toBe(`from ${HOST6}`)
    expect(await ask(lab, 'host', LAN4, 9050)).toBe(`from ${HOST4}`)
    server.kill('SIGKILL')
  })

  it('lets nobody around the published addresses', async () => {
    const [router4, router6] = transferNet(lab.prefix).addresses.map(({ address }) =>
      formatAddress(address),
    )
    await lab.exec('lan', 'ip', 'route', 'add', `${router4}/32`, 'via', HOST4)
    await lab.exec('lan', 'ip', 'route', 'add', `${router6}/128`, 'via', HOST6)
    await lab.exec('lan', 'ip', 'route', 'add', '10.1.0.0/24', 'via', HOST4)
    expect(await ask(lab, 'lan', router4!, 8080)).toBe('')
    expect(await ask(lab, 'lan', router6!, 8080)).toBe('')
    expect(await ask(lab, 'lan', '10.1.0.11', 80)).not.toContain('from')
  })

  it('knows addresses that the host comes by later', async () => {
    await lab.exec('host', 'ip', 'addr', 'add', '192.0.2.77/24', 'dev', 'eth0')
    expect(await ask(lab, 'lan', '192.0.2.77', 8080)).toBe(`from ${LAN4}`)
    await expect
      .poll(() => ask(lab, 'app', '192.0.2.77', 8080), { timeout: 10_000, interval: 1000 })
      .toBe('from 10.1.0.12')
    await lab.exec('host', 'ip', 'addr', 'del', '192.0.2.77/24', 'dev', 'eth0')
  })

  it('publishes and takes away while it runs', async () => {
    expect(await ask(lab, 'lan', HOST4, 8181)).toBe('ECONNREFUSED')
    expect((await lab.cli('ports', 'add', '8181:80', 'web')).code).toBe(0)
    expect(await ask(lab, 'lan', HOST4, 8181)).toBe(`from ${LAN4}`)
    expect(await ask(lab, 'host', '::1', 8181)).toBe(`from ${host6}`)
    expect(await ask(lab, 'app', HOST4, 8181)).toBe('from 10.1.0.12')
    expect((await lab.cli('ports', 'rm', '8181')).code).toBe(0)
    expect(await ask(lab, 'lan', HOST4, 8181)).toBe('ECONNREFUSED')
    expect(await ask(lab, 'host', '::1', 8181)).toBe('ECONNREFUSED')
    const server = await serve(lab, 'host', 8181)
    expect(await ask(lab, 'lan', HOST4, 8181)).toBe(`from ${LAN4}`)
    server.kill('SIGKILL')
  })

  it('takes no port from a program of the host', async () => {
    const server = await serve(lab, 'host', 8282)
    const refused = await lab.cli('ports', 'add', '8282:80', 'web')
    expect(refused.code).toBe(1)
    expect(refused.stderr).toContain(
      'port 8282/tcp is in use on this host: a program has [::]:8282',
    )
    expect((await lab.cli('ports')).stdout).not.toContain('8282')
    expect(await ask(lab, 'lan', HOST4, 8282)).toBe(`from ${LAN4}`)
    server.kill('SIGKILL')
    expect((await lab.cli('ports', 'add', '8282:80', 'web')).code).toBe(0)
    expect((await lab.cli('ports', 'rm', '8282')).code).toBe(0)
  })

  it('shows it', async () => {
    const { uplink } = await lab.json<{ uplink: object }>('inspect')
    expect(uplink).toMatchObject({ host: true, interface: 'tapline0', netns: null, state: 'up' })
    expect((await lab.cli('ls')).stdout).toMatch(/UPLINK +NETNS.*\ntapline0 +the host/)
  })

  it('carries much in few frames both ways', async () => {
    const bytes = 50_000_000
    const sink = lab.spawn('web', process.execPath, '-e', sinkOf(9001))
    await new Promise((resolve) => sink.stdout!.once('data', resolve))
    const source = `const s = require('net').connect(9001, '${HOST4}');
      s.end(Buffer.alloc(${bytes})); s.on('data', d => process.stdout.write(d))`
    const { stdout } = await lab.exec('lan', process.execPath, '-e', source)
    expect(stdout).toBe(`${bytes} `)
    sink.kill('SIGKILL')
  })

  it('heeds router advertisements although it forwards', async () => {
    const { settings } = await look(lab)
    expect(settings).toContain('net.ipv6.conf.eth0.accept_ra = 2\n')
    expect(settings).toContain('net.ipv6.conf.all.forwarding = 1\n')
    expect(settings).toContain('net.ipv4.ip_forward = 1\n')
  })
})

describe.runIf(nft)('the host, before and after', () => {
  const lab = new Lab()
  const other = new Lab()
  const twin = new Lab()
  let before: Record<string, string>

  beforeAll(async () => {
    land(lab)
    before = await look(lab)
  })

  // What one test left running would be in the way of all after it.
  afterEach(() => lab.stop())

  afterAll(async () => {
    for (const one of [twin, other, lab]) await one.close()
  })

  it('is put back as it was', async () => {
    await lab.up(file(lab))
    expect(await look(lab)).not.toEqual(before)
    expect((await lab.stop()).code).toBe(0)
    expect(await look(lab)).toEqual(before)
  })

  it('undoes what a killed daemon left', async () => {
    await lab.up(file(lab))
    const during = await look(lab)
    await lab.stop('SIGKILL')
    expect((await look(lab))['rules']).toContain(`tapline_${lab.prefix}`)
    await lab.up(file(lab))
    expect((await look(lab))['rules']).toBe(during['rules'])
    expect((await lab.stop()).code).toBe(0)
    expect(await look(lab)).toEqual(before)
  })

  it('changes nothing if a port is taken at the start', async () => {
    const server = await serve(lab, 'host', 9050)
    await expect(lab.up(file(lab))).rejects.toThrow(/port 9050\/tcp is in use on this host/)
    expect((await lab.stop()).code).toBe(1)
    expect(await look(lab)).toEqual(before)
    server.kill('SIGKILL')
  })

  it('tells of a chain of the host that drops what it forwards', async () => {
    const chain = '{ type filter hook forward priority 0; policy drop; }'
    const make = (table: string) => `add table ip ${table}; add chain ip ${table} FORWARD ${chain}`
    const accept = ['iifname', 'oifname'].map(
      (key) => `add rule ip open DOCKER-USER ${key} tapline0 counter accept`,
    )
    const user = ['add chain ip open DOCKER-USER', ...accept].join('; ')
    await lab.exec('host', 'nft', `${make('wall')}; ${make('open')}; ${user}`)
    await lab.up(file(lab))
    expect(lab.log).toContain('ip wall FORWARD')
    expect(lab.log).toContain('comes from and goes to tapline0')
    expect(lab.log).not.toContain('ip open FORWARD')
    await lab.exec('host', 'nft', 'delete table ip wall; delete table ip open')
    await lab.stop()
    expect(await look(lab)).toEqual(before)
  })

  it('refuses a transfer net that the host has already, and says what to do', async () => {
    const [first] = transferNet(lab.prefix).peerAddresses
    const taken = formatPrefix(first!)
    await lab.exec('host', 'ip', 'addr', 'add', taken, 'dev', 'eth0')
    await expect(lab.up(file(lab))).rejects.toThrow(/is on eth0 of this host already.*another name/)
    expect((await lab.stop()).code).toBe(1)
    await lab.exec('host', 'ip', 'addr', 'del', taken, 'dev', 'eth0')
    expect(await look(lab)).toEqual(before)
  })

  it('ends well although somebody flushed the rules', async () => {
    await lab.up(file(lab))
    const server = await serve(lab, 'web', 80)
    await lab.exec('host', 'nft', 'flush ruleset')
    // The next change makes the table anew, with all ports.
    expect((await lab.cli('ports', 'rm', '5353/udp')).code).toBe(0)
    expect(await ask(lab, 'lan', HOST4, 8080)).toBe(`from ${LAN4}`)
    server.kill('SIGKILL')
    await lab.exec('host', 'nft', 'flush ruleset')
    expect((await lab.stop()).code).toBe(0)
    expect(await look(lab)).toEqual(before)
  })

  it('says what to install where nft is missing', async () => {
    const bare = new Lab()
    const folder = dirname(execFileSync('sh', ['-c', 'command -v nft'], { encoding: 'utf8' }))
    const hide = ['unshare', '-m', 'sh', '-c', 'mount -t tmpfs none "$0" && exec "$@"', folder]
    bare.within = [...lab.within, ...hide]
    await expect(bare.up(file(lab))).rejects.toThrow(/needs the program nft: install/)
    await bare.close()
    expect(await look(lab)).toEqual(before)
  })

  it('is led anew by the next apply after its TAP was lost', async () => {
    await lab.up(file(lab))
    const server = await serve(lab, 'web', 80)
    const state = async () => (await lab.json<{ uplink: { state: string } }>('ls')).uplink.state
    await lab.exec('host', 'ip', 'link', 'del', 'tapline0')
    await expect.poll(state).toBe('lost')
    expect((await lab.cli('apply', lab.file)).code).toBe(0)
    expect(await state()).toBe('up')
    const answer = () => ask(lab, 'lan', HOST4, 8080)
    await expect.poll(answer, { timeout: 10_000 }).toBe(`from ${LAN4}`)
    expect(await ask(lab, 'host', '::1', 8090)).toContain('from fd')
    server.kill('SIGKILL')
    expect((await lab.stop()).code).toBe(0)
    expect(await look(lab)).toEqual(before)
  })

  it('is shared by two daemons, and the last one puts it back', async () => {
    for (const daemon of [other, twin]) daemon.within = lab.within
    await lab.up(file(lab))
    await other.up(
      `name: ${other.prefix}\nnetworks: { n: {} }\nsandboxes: { s: { netns: ${other.ns('s')},` +
        ' networks: [ n ], ports: [ "8500:80" ] } }\nuplink: host\n',
    )
    await serve(other, 's', 80)
    expect(await ask(lab, 'lan', HOST4, 8500)).toBe(`from ${LAN4}`)
    await expect(twin.up(file(lab))).rejects.toThrow(/is another daemon's, by tapline0/)
    expect((await lab.stop()).code).toBe(0)
    expect(await ask(lab, 'lan', HOST4, 8500)).toBe(`from ${LAN4}`)
    expect(await look(lab)).not.toEqual(before)
    expect(await other.end()).toEqual({ code: 0, left: [] })
    expect(await look(lab)).toEqual(before)
  })
})

/**
 * Sends to address `args[0]`, port `args[1]`, from one port of its own again and again, and for
 * each line tells who answers from now on; empty: nobody did in two seconds.
 */
const INSIST = `
  const socket = dgram.createSocket(args[0].includes(':') ? 'udp6' : 'udp4')
  let waiting = false
  const answer = (name) => {
    if (waiting) tell(name)
    waiting = false
  }
  socket.on('message', (message) => answer(message.toString()))
  socket.bind(0, () => tell('sends'))
  setInterval(() => socket.send('x', Number(args[1]), args[0]), 20)
  told(() => {
    waiting = true
    setTimeout(() => answer(''), 2000)
  })
`

describe.runIf(nft)('UDP from one port again and again', () => {
  const lab = new Lab()
  let clients: Talk[] = []
  const servers: Talk[] = []

  beforeAll(() => land(lab))

  afterEach(async () => {
    for (const { child } of [...clients, ...servers.splice(0)]) child.kill('SIGKILL')
    await lab.stop()
  })

  afterAll(() => lab.close())

  /** Clients on the LAN and on the host, by all that leads to the host. */
  async function insist(port: number): Promise<void> {
    const ways = [
      ['lan', HOST4],
      ['lan', HOST6],
      ['host', '127.0.0.1'],
      ['host', '::1'],
      ['host', HOST4],
    ] as const
    clients = ways.map(([from, to]) => new Talk(lab, from, INSIST, to, String(port)))
    for (const client of clients) expect(await client.hear()).toBe('"sends"')
  }

  function answers(): Promise<string[]> {
    return Promise.all(clients.map((client) => client.ask<string>('who')))
  }

  async function serves(name: string): Promise<void> {
    const server = new Talk(lab, name, NAMED_UDP, '5353', name)
    servers.push(server)
    expect(await server.hear()).toBe('"listens"')
  }

  const two = `
name: ${lab.prefix}
networks:
${FRONT}
sandboxes:
${onFront(lab, 'web', 11)}
    ports: [ "5300:5353/udp" ]
${onFront(lab, 'app', 12)}
uplink: host
`
  const ALL = ['web', 'web', 'web', 'web', 'web']
  const NONE = ['', '', '', '', '']

  it('is led to a port that is published later, and no more when it is taken away', async () => {
    await lab.up(two)
    await serves('web')
    await insist(5400)
    expect(await answers()).toEqual(NONE)
    expect((await lab.cli('ports', 'add', '5400:5353/udp', 'web')).code).toBe(0)
    expect(await answers()).toEqual(ALL)
    // The host's own again.
    expect((await lab.cli('ports', 'rm', '5400/udp')).code).toBe(0)
    const own = lab.spawn('host', process.execPath, '-e', OWN)
    await new Promise((resolve) => own.stdout!.once('data', resolve))
    expect(await answers()).toEqual(['host', 'host', 'host', 'host', 'host'])
    own.kill('SIGKILL')
  })

  it('follows a port that moves to one address and to another sandbox', async () => {
    await lab.up(two)
    await serves('web')
    await serves('app')
    await insist(5300)
    expect(await answers()).toEqual(ALL)
    const moved = `    ports: [ "${HOST4}:5300:5353/udp", "[${HOST6}]:5300:5353/udp" ]\nuplink:`
    lab.write(two.replace('    ports: [ "5300:5353/udp" ]\n', '').replace('uplink:', moved))
    expect((await lab.cli('apply', lab.file)).code).toBe(0)
    expect(await answers()).toEqual(['app', 'app', '', '', 'app'])
  })

  it('is led by the next daemon if it began without one', async () => {
    await lab.up(two)
    await lab.stop('SIGKILL')
    await insist(5300)
    await lab.up(two)
    await serves('web')
    expect(await answers()).toEqual(ALL)
    // And when it goes on meanwhile.
    await lab.stop('SIGKILL')
    await lab.up(two)
    expect(await answers()).toEqual(ALL)
  })

  it('leaves what the host forwards, and what it tracks of other ports', async () => {
    await lab.up(two)
    await serves('web')
    const out = await lab.exec(
      'host',
      'nft',
      'add table ip track; add chain ip track c {' +
        ' type filter hook prerouting priority 0; }; add rule ip track c ct state new counter',
    )
    expect(out.code).toBe(0)
    const far = new Talk(lab, 'lan', NAMED_UDP, '5400', 'far')
    expect(await far.hear()).toBe('"listens"')
    const asker = new Talk(lab, 'app', ASK_UDP, LAN4, '5400')
    expect(await asker.ask('x')).toBe('far')
    const news = async () => {
      const { stdout } = await lab.exec('host', 'nft', 'list', 'table', 'ip', 'track')
      return Number(/packets (\d+)/.exec(stdout)![1])
    }
    const before = await news()
    expect((await lab.cli('ports', 'add', '5400:5353/udp', 'web')).code).toBe(0)
    expect(await asker.ask('x')).toBe('far')
    expect(await news()).toBe(before)
    await lab.exec('host', 'nft', 'delete', 'table', 'ip', 'track')
  })
})

/** A program of the host's own that answers at port 5400. */
const OWN = `const s = require('dgram').createSocket('udp6'); s.on('message', (m, r) =>
  s.send('host', r.port, r.address)); s.bind(5400, () => console.log('up'))`
