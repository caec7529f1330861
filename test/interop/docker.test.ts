/** Docker's daemon with our network driver: what a user of Docker types, and what comes of it. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ask, serve } from '../netns/ask.ts'
import { hasTool } from '../netns/lab.ts'
import { DockerLab, IMAGE } from './docker_lab.ts'
import { HOST4, HOST6, LAN4, LAN6 } from './host_lab.ts'

const tools = [
  hasTool('dockerd', 'docker.io'),
  hasTool('busybox', 'busybox-static'),
  hasTool('nft', 'nftables'),
  hasTool('iptables', 'iptables'),
].every(Boolean)

/** Of what keeps Docker itself busy. */
const BUSY_MS = 300_000
/** Of fifty containers at once, which Docker takes minutes for on two busy processors. */
const CROWD_MS = 600_000

const SINK = `require('net').createServer({ allowHalfOpen: true }, s => { let n = 0;
  s.on('data', d => { n += d.length }); s.on('end', () => s.end(n + ' ')) })
  .listen(7000, '::', () => console.log('up'))`
/** Sends so many octets in a hundred pieces, one every 50 ms, and says what the sink counted. */
const SOURCE = (to: string, bytes: number) => `const s = require('net').connect(7000, '${to}');
  let i = 0; const piece = Buffer.alloc(${bytes / 100});
  const timer = setInterval(() => { s.write(piece); if (++i === 1) console.log('begun');
    if (i === 100) { clearInterval(timer); s.end() } }, 50);
  s.on('data', d => process.stdout.write(d)); s.on('error', e => console.log(e.code))`

/**
 * Docker 20.10 may count an endpoint too many where many come or go at once, of its own bridge
 * networks too; it counts anew when it starts.
 * Preconditions: tapline has no endpoint of the network; `web` and `app` run.
 */
async function removeEmpty(lab: DockerLab, name: string): Promise<void> {
  const inspect = ['network', 'inspect', '-f', '{{len .Containers}}', name]
  expect((await lab.docker(...inspect)).trim()).toBe('0')
  const { code, stderr } = await lab.exec('host', 'docker', 'network', 'rm', name)
  if (code === 0) return
  expect(stderr).toContain('has active endpoints')
  await lab.stopDocker()
  await lab.startDocker()
  await lab.docker('start', 'web', 'app')
  await lab.docker('network', 'rm', name)
}

describe.runIf(tools)('docker', () => {
  const lab = new DockerLab()
  const network = (name: string, ...args: string[]) =>
    lab.docker('network', 'create', '-d', 'tapline', '--ipam-driver', 'tapline', ...args, name)

  beforeAll(async () => {
    await lab.open()
    await lab.startTapline()
    await network('front', '--subnet', '10.77.0.0/16', '--ipv6', '--subnet', 'fd77::/64')
    await network('back', '--subnet', '10.78.0.0/24', '--gateway', '10.78.0.254')
    await lab.container('web', '--network', 'front', '-p', '8080:80', '-p', '5353:53/udp')
    await lab.container('app', '--network', 'front')
    await serve(lab, 'web', 80)
    await serve(lab, 'web', 53, 'udp')
  })

  afterAll(async () => {
    await lab.close()
  })

  it('gives containers addresses, a gateway and each other', async () => {
    const out = await lab.docker('exec', 'app', 'ping', '-c2', 'web')
    expect(out).toContain('2 packets received')
    expect(await lab.machine.ping('app', '10.77.0.1')).toBe(3)
    expect(await lab.machine.ping('app', 'fd77::1')).toBe(3)
    expect(await ask(lab, 'app', '10.77.0.2', 80)).toBe('from 10.77.0.3')
    expect(await ask(lab, 'app', 'fd77::2', 80)).toBe('from fd77::3')
    expect(await lab.must('app', 'ip', 'route')).toContain('default via 10.77.0.1 dev eth0')
  })

  it('publishes ports, and containers see their clients', async () => {
    expect(await ask(lab, 'lan', HOST4, 8080)).toBe(`from ${LAN4}`)
    expect(await ask(lab, 'lan', HOST6, 8080)).toBe(`from ${LAN6}`)
    expect(await ask(lab, 'lan', HOST4, 5353, 'udp')).toBe(`from ${LAN4}`)
    expect(await ask(lab, 'host', HOST4, 8080)).toBe(`from ${HOST4}`)
    expect(await ask(lab, 'host', '127.0.0.1', 8080)).toContain('from 198.1')
    expect(await ask(lab, 'app', HOST4, 8080)).toBe('from 10.77.0.3')
  })

  it('lets containers out under the address of the host', async () => {
    await serve(lab, 'lan', 9000)
    expect(await ask(lab, 'app', LAN4, 9000)).toBe(`from ${HOST4}`)
    expect(await ask(lab, 'app', LAN6, 9000)).toBe(`from ${HOST6}`)
  })

  it('changes published ports of a running container', async () => {
    const sandbox = (await lab.tapline('ports')).match(/8080\/tcp +(\w+)/)![1]!
    await lab.tapline('ports', 'add', '8081:80', sandbox)
    expect(await ask(lab, 'lan', HOST4, 8081)).toBe(`from ${LAN4}`)
    await lab.tapline('ports', 'rm', '8081')
    expect(await ask(lab, 'lan', HOST4, 8081)).toBe('ECONNREFUSED')
  })

  it('connects and disconnects a running container', async () => {
    await lab.container('db', '--network', 'back', '--ip', '10.78.0.20')
    expect(await lab.must('db', 'ip', 'route')).toContain('default via 10.78.0.254')
    expect(await lab.machine.ping('app', '10.78.0.20'), 'another network').toBe(0)
    expect(await ask(lab, 'db', HOST4, 8080), 'what it publishes').toContain('from 10.78.0.20')
    await lab.docker('network', 'connect', '--ip', '10.78.0.30', 'back', 'app')
    expect(await lab.must('app', 'ip', '-br', 'addr')).toMatch(/eth1 .*10\.78\.0\.30/)
    expect(await lab.machine.ping('app', '10.78.0.20')).toBe(3)
    await lab.docker('network', 'disconnect', 'back', 'app')
    expect(await lab.must('app', 'ip', '-br', 'addr')).not.toContain('eth1')
    expect(await lab.machine.ping('app', '10.77.0.2')).toBe(3)
    await lab.docker('rm', '-f', 'db')
  })

  it('lets networks reach each other that are not to be separate', async () => {
    const separate = ['-o', 'tapline.separate=false']
    await network('near', '--subnet', '10.81.0.0/24', ...separate)
    await lab.container('near1', '--network', 'near')
    expect(await lab.machine.ping('near1', '10.77.0.2')).toBe(3)
    await lab.docker('rm', '-f', 'near1')
    await lab.docker('network', 'rm', 'near')
  })

  it('keeps an internal network inside', async () => {
    await network('inner', '--internal', '--subnet', '10.79.0.0/24')
    await lab.container('in1', '--network', 'inner')
    await lab.container('in2', '--network', 'inner')
    expect(await lab.must('in1', 'ip', 'route')).toBe(
      '10.79.0.0/24 dev eth0 proto kernel scope link src 10.79.0.2',
    )
    expect(await lab.machine.ping('in1', '10.79.0.3')).toBe(3)
    await lab.must('in1', 'ip', 'route', 'add', 'default', 'via', '10.79.0.1')
    expect(await ask(lab, 'in1', LAN4, 9000)).not.toContain('from')
    expect(await lab.machine.ping('in1', '10.77.0.2')).toBe(0)
    await lab.docker('rm', '-f', 'in1', 'in2')
    await lab.docker('network', 'rm', 'inner')
  })

  it('refuses what it cannot do, in words', async () => {
    const refused = async (...args: string[]) => {
      const { code, stderr } = await lab.exec('host', 'docker', ...args)
      expect(code).not.toBe(0)
      return stderr
    }
    const create = ['network', 'create', '-d', 'tapline', '--ipam-driver', 'tapline']
    const mtu = 'com.docker.network.driver.mtu=twelve'
    expect(await refused(...create, '-o', mtu, 'bad')).toContain('expected a whole number')
    expect(await refused(...create, '-o', 'parent=eth0', 'bad')).toContain('"parent"')
    expect(await refused(...create, '--subnet', '10.77.1.0/24', 'bad')).toContain(
      '10.77.1.0/24 overlaps the pool 10.77.0.0/16',
    )
    expect(await refused(...create, '--subnet', '192.0.2.0/25', 'bad')).toContain(
      `192.0.2.0/25 overlaps ${HOST4}/24, which this host has on eth0`,
    )
    const run = ['run', '--rm', '--network', 'front']
    expect(await refused(...run, '-p', '8080:80', IMAGE, 'sh')).toContain(
      'port 8080/tcp is published already',
    )
    expect(await refused(...run, '-p', '203.0.113.9:8282:80', IMAGE, 'sh')).toContain(
      '203.0.113.9 is no address of this host',
    )
    const server = await serve(lab, 'host', 8282)
    expect(await refused(...run, '-p', '8282:80', IMAGE, 'sh')).toContain('is in use on this host')
    server.kill('SIGKILL')
    expect(await refused(...run, '--ip', '10.77.0.2', IMAGE, 'sh')).toContain('10.77.0.2 is taken')
    expect(lab.state().endpoints).toHaveLength(2)
  })

  it('keeps a transfer going while tapline is killed and started again', async () => {
    const sink = lab.spawn('web', process.execPath, '-e', SINK)
    await new Promise((resolve) => sink.stdout!.once('data', resolve))
    const bytes = 10_000_000
    const source = lab.spawn('app', process.execPath, '-e', SOURCE('10.77.0.2', bytes))
    let out = ''
    source.stdout!.on('data', (data: Buffer) => {
      out += data.toString()
    })
    await lab.machine.until(async () => out.includes('begun'))
    expect(await lab.stopTapline('SIGKILL')).toBe(null)
    await lab.startTapline()
    await lab.machine.until(async () => out.includes(`${bytes} `))
    // Once more in the gentle way: interfaces stay, and what the host was set to is put back.
    expect(await lab.stopTapline()).toBe(0)
    expect(await lab.must('host', 'nft', 'list', 'ruleset')).not.toContain('tapline')
    expect(await lab.must('app', 'ip', '-br', 'link')).toContain('eth0')
    await lab.startTapline()
    expect(await ask(lab, 'app', '10.77.0.2', 80)).toBe('from 10.77.0.3')
    expect(await ask(lab, 'lan', HOST4, 8080)).toBe(`from ${LAN4}`)
  })

  it(
    'starts fifty containers at once, and lets go of them',
    async () => {
      await network('crowd', '--subnet', '10.80.0.0/24', '--ipv6', '--subnet', 'fd80::/64')
      const names = Array.from({ length: 50 }, (_, i) => `many${i}`)
      await Promise.all(names.map((name) => lab.container(name, '--network', 'crowd')))
      const addressesOf = async (name: string): Promise<string[]> => {
        const text = await lab.must(name, 'ip', '-br', 'addr', 'show', 'eth0')
        return [...text.matchAll(/ ((10\.80|fd80)\S+)\//g)].map(([, address]) => address!)
      }
      const addresses = (await Promise.all(names.map(addressesOf))).flat()
      expect(new Set(addresses).size).toBe(100)
      // Each one the gateway of both families, and the next one.
      const reached = await Promise.all(
        names.map(async (name, i) => {
          const next = addresses[(2 * i + 2) % addresses.length]!
          const from = (to: string) => lab.machine.ping(name, to)
          return [await from('10.80.0.1'), await from('fd80::1'), await from(next)].join()
        }),
      )
      expect(new Set(reached)).toEqual(new Set(['3,3,3']))
      await lab.docker('rm', '-f', ...names)
      expect(lab.state().endpoints).toHaveLength(2)
      expect(await lab.links()).toEqual([])
      await removeEmpty(lab, 'crowd')
      expect(lab.state().networks).toHaveLength(2)
      expect(lab.state().pools).toHaveLength(3)
    },
    CROWD_MS,
  )

  it(
    'outlives a restart of Docker',
    async () => {
      await lab.stopDocker()
      // As after a start of the host: Docker looks for its plugins before it makes rules.
      const chain = ['-D FORWARD -j DOCKER-USER', '-F DOCKER-USER', '-X DOCKER-USER']
      for (const rule of chain) await lab.must('host', 'iptables', ...rule.split(' '))
      await lab.startDocker()
      await lab.docker('start', 'web', 'app')
      await lab.must('host', 'iptables', '-C', 'DOCKER-USER', '-o', 'tapline0', '-j', 'ACCEPT')
      await serve(lab, 'web', 80)
      expect(await ask(lab, 'lan', HOST4, 8080)).toBe(`from ${LAN4}`)
      expect(await lab.machine.ping('app', '10.77.0.1')).toBe(3)
      await lab.stopDocker('SIGKILL')
      await lab.startDocker()
      await lab.docker('start', 'web', 'app')
      await serve(lab, 'web', 80)
      expect(await ask(lab, 'lan', HOST4, 8080)).toBe(`from ${LAN4}`)
    },
    BUSY_MS,
  )

  it('leaves nothing behind', async () => {
    await lab.docker('rm', '-f', 'web', 'app')
    await lab.docker('network', 'rm', 'front', 'back')
    expect(lab.state()).toEqual({ version: 2, networks: [], endpoints: [], pools: [] })
    expect(await lab.links()).toEqual([])
    expect(await lab.stopTapline()).toBe(0)
    expect(await lab.must('host', 'nft', 'list', 'ruleset')).not.toContain('tapline')
  })
})
