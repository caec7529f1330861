/**
 * The main job, as the kernels of the sandboxes see it: IPv4 and IPv6, within and across
 * networks, with both engines.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { hasTool, Lab } from './lab.ts'

const REPLY = 'reply-from-the-server'

function file(lab: Lab): string {
  return `
name: ${lab.prefix}
networks:
  front:
    enable_ipv6: true
    ipam: { config: [ { subnet: 10.1.0.0/24 }, { subnet: "fd00:1::/64" } ] }
  back:
    enable_ipv6: true
    driver_opts: { com.docker.network.driver.mtu: "1400" }
    ipam: { config: [ { subnet: 10.2.0.0/24 }, { subnet: "fd00:2::/64" } ] }
  vault:
    internal: true
    enable_ipv6: true
    ipam: { config: [ { subnet: 10.3.0.0/24 }, { subnet: "fd00:3::/64" } ] }
sandboxes:
  a:
    netns: ${lab.ns('a')}
    networks: { front: { ipv4_address: 10.1.0.11, ipv6_address: "fd00:1::11" } }
  b:
    netns: ${lab.ns('b')}
    networks: { front: { ipv4_address: 10.1.0.12, ipv6_address: "fd00:1::12" } }
  c:
    netns: ${lab.ns('c')}
    networks: { back: { ipv4_address: 10.2.0.13, ipv6_address: "fd00:2::13" } }
  v:
    netns: ${lab.ns('v')}
    networks: { vault: { ipv4_address: 10.3.0.14, ipv6_address: "fd00:3::14" } }
  w:
    netns: ${lab.ns('w')}
    networks: { vault: { ipv4_address: 10.3.0.15, ipv6_address: "fd00:3::15" } }
`
}

/** One exchange with a server in `to`, by node itself: `kind` is udp4, udp6 or tcp. */
async function exchange(
  lab: Lab,
  {
    from,
    to,
    address,
    kind,
    bytes,
  }: Record<'from' | 'to' | 'address' | 'kind', string> & {
    bytes: number
  },
): Promise<string> {
  const server =
    kind === 'tcp'
      ? `require('net').createServer(s => { let n = 0; s.on('data', d => { n += d.length;
          if (n >= ${bytes}) s.end('${REPLY} ' + n) }) }).listen(7777, '::',
          () => console.log('up'))`
      : `const s = require('dgram').createSocket('${kind}'); s.on('message', (m, r) =>
          s.send('${REPLY} ' + m.length, r.port, r.address)); s.bind(7777, () => console.log('up'))`
  const client =
    kind === 'tcp'
      ? `const s = require('net').connect(7777, '${address}');
          s.on('connect', () => s.write(Buffer.alloc(${bytes})));
          s.on('data', d => process.stdout.write(d)); s.on('end', () => process.exit(0))`
      : `const s = require('dgram').createSocket('${kind}'); s.on('message', m => {
          console.log(m.toString()); process.exit(0) });
          const again = () => s.send(Buffer.alloc(${bytes}), 7777, '${address}'); again();
          setInterval(again, 500)`
  // A datagram is sent again: the first one may be what discovers the path MTU.
  const child = lab.spawn(to, process.execPath, '-e', server)
  await new Promise<void>((resolve) => child.stdout!.once('data', () => resolve()))
  const limit = 'setTimeout(() => process.exit(3), 8000).unref();'
  const { stdout, stderr } = await lab.exec(from, process.execPath, '-e', limit + client)
  child.kill('SIGKILL')
  return stdout.trim() + stderr.trim()
}

describe.each(['io_uring', 'poll'])('traffic through %s', (engine) => {
  const lab = new Lab()

  beforeAll(async () => {
    await lab.up(file(lab), ['--engine', engine])
  })

  afterAll(async () => {
    const { code } = await lab.stop()
    expect(code).toBe(0)
    expect(lab.leftovers()).toEqual([])
    await lab.close()
  })

  it.each([
    ['within a network', 'a', '10.1.0.12'],
    ['within a network, IPv6', 'a', 'fd00:1::12'],
    ['to the gateway', 'a', '10.1.0.1'],
    ['to the gateway, IPv6', 'a', 'fd00:1::1'],
    ['across networks', 'a', '10.2.0.13'],
    ['across networks, IPv6', 'a', 'fd00:2::13'],
    ['within an internal network', 'v', '10.3.0.15'],
    ['within an internal network, IPv6', 'v', 'fd00:3::15'],
  ])('ping %s', async (_, from, to) => {
    expect(await lab.ping(from, to)).toBe(3)
  })

  it.each([
    ['into an internal network', 'a', '10.3.0.14'],
    ['into an internal network, IPv6', 'a', 'fd00:3::14'],
    ['out of an internal network', 'v', '10.1.0.11'],
    ['out of an internal network, IPv6', 'v', 'fd00:1::11'],
    ['to the gateway of another network from an internal one', 'v', '10.1.0.1'],
  ])('no ping %s', async (_, from, to) => {
    expect(await lab.ping(from, to, '-c1', '-W1')).toBe(0)
  })

  it.each([
    ['udp4', 'b', '10.1.0.12', 1000],
    ['udp6', 'b', 'fd00:1::12', 1000],
    ['udp4', 'c', '10.2.0.13', 1000],
    ['udp6', 'c', 'fd00:2::13', 1000],
    ['udp4', 'b', '10.1.0.12', 65_507],
    ['udp4', 'c', '10.2.0.13', 65_507],
    ['udp6', 'c', 'fd00:2::13', 65_000],
    ['tcp', 'b', '10.1.0.12', 3_000_000],
    ['tcp', 'b', 'fd00:1::12', 3_000_000],
    ['tcp', 'c', '10.2.0.13', 3_000_000],
    ['tcp', 'c', 'fd00:2::13', 3_000_000],
  ])('%s to %s at %s, %d bytes', async (kind, to, address, bytes) => {
    const text = await exchange(lab, { from: 'a', to, address, kind, bytes })
    expect(text).toBe(`${REPLY} ${bytes}`)
  })

  it('traceroute shows the gateway', async () => {
    if (!hasTool('traceroute', 'traceroute')) return
    for (const [flag, gateway, target] of [
      ['-4', '10.1.0.1', '10.2.0.13'],
      ['-6', 'fd00:1::1', 'fd00:2::13'],
    ]) {
      const { stdout } = await lab.exec('a', 'traceroute', flag!, '-n', '-q1', '-w2', target!)
      expect(stdout).toMatch(new RegExp(`\\n\\s*1  ${gateway} [\\s\\S]*\\n\\s*2  ${target} `))
    }
  })

  it('path MTU discovery works from 1500 to 1400', async () => {
    // The first such ping is answered by the router with the next network's MTU...
    const first = await lab.exec('a', 'ping', '-n', '-c1', '-W2', '-Mdo', '-s1472', '10.2.0.13')
    expect(first.stdout + first.stderr).toMatch(/mtu ?= ?1400/i)
    const six = await lab.exec('a', 'ping', '-n', '-c1', '-W2', '-Mdo', '-s1452', 'fd00:2::13')
    expect(six.stdout + six.stderr).toMatch(/mtu ?[=:] ?1400/i)
    // ...which the kernel then knows.
    const route = await lab.exec('a', 'ip', 'route', 'get', '10.2.0.13')
    expect(route.stdout).toContain('mtu 1400')
    expect(await lab.ping('a', '10.2.0.13', '-Mdo', '-s1372')).toBe(3)
    expect(await lab.ping('a', 'fd00:2::13', '-Mdo', '-s1352')).toBe(3)
    // With DF clear the router fragments.
    expect(await lab.ping('a', '10.2.0.13', '-Mdont', '-s1472')).toBe(3)
  })

  it('answers a ping of 65,507 octets from the gateway', async () => {
    expect(await lab.ping('a', '10.1.0.1', '-s65507')).toBe(3)
    expect(await lab.ping('a', 'fd00:1::1', '-s65000')).toBe(3)
  })

  it('tells about unreachable hosts and ports', async () => {
    const host = await lab.exec('a', 'ping', '-n', '-c1', '-W5', '10.2.0.99')
    expect(host.stdout).toMatch(/From 10\.1\.0\.1 .*Destination Host Unreachable/)
    const net = await lab.exec('a', 'ping', '-n', '-c1', '-W2', '192.0.2.1')
    expect(net.stdout).toMatch(/From 10\.1\.0\.1 .*Destination Net Unreachable/)
    const script = `const s = require('dgram').createSocket('udp4');
      s.on('error', e => { console.log(e.code); process.exit() });
      s.connect(7777, '10.1.0.1', () => s.send('x'))`
    const port = await lab.exec('a', process.execPath, '-e', script)
    expect(port.stdout).toBe('ECONNREFUSED\n')
    const tcp = `require('net').connect(80, '10.1.0.1').on('error', e => console.log(e.code))`
    expect((await lab.exec('a', process.execPath, '-e', tcp)).stdout).toBe('ECONNREFUSED\n')
  })

  it('keeps duplicate address detection working', async () => {
    const claim = ['ip', 'addr', 'add', 'fd00:1::12/64', 'dev', 'eth0']
    await lab.exec('a', ...claim)
    await expect
      .poll(async () => (await lab.exec('a', 'ip', 'addr', 'show', 'eth0')).stdout, {
        timeout: 5000,
      })
      .toMatch(/fd00:1::12\/64 .*dadfailed/)
    await lab.exec('a', 'ip', 'addr', 'del', 'fd00:1::12/64', 'dev', 'eth0')
    // It may ask for its neighbor anew, and a busy machine takes its time.
    await expect.poll(() => lab.ping('a', 'fd00:1::12'), { timeout: 10_000 }).toBe(3)
  })
})
