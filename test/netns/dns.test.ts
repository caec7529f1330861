/**
 * Names as programs in sandboxes ask for them: by libc and by dig, at 127.0.0.11 and at gateways,
 * over UDP and TCP; forwarders on the far side of the uplink; what is left when all is over.
 */
import { existsSync, readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { addNetns, deleteNetns } from '../../stack/native/netns.ts'
import { hasTool, Lab, until } from './lab.ts'
import { OUT4, OWN4 } from './outside.ts'

const tools = hasTool('dig', 'bind9-dnsutils') && hasTool('dnsmasq', 'dnsmasq-base')

function file(lab: Lab): string {
  return `
name: ${lab.prefix}
networks:
  front:
    enable_ipv6: true
    ipam: { config: [ { subnet: 10.1.0.0/24 }, { subnet: "fd00:1::/64" } ] }
  back: { ipam: { config: [ { subnet: 10.2.0.0/24 } ] } }
  vault: { internal: true, ipam: { config: [ { subnet: 10.3.0.0/24 } ] } }
sandboxes:
  web1:
    netns: ${lab.ns('web1')}
    dns: ${OUT4}
    dns_search: [ far.test ]
    networks: { front: { ipv4_address: 10.1.0.11, ipv6_address: "fd00:1::11", aliases: [ www ] } }
    ports: [ "8080:80" ]
  web2:
    netns: ${lab.ns('web2')}
    networks: { front: { ipv4_address: 10.1.0.12, aliases: [ www ] }, back: {} }
  db: { netns: ${lab.ns('db')}, networks: { back: { ipv4_address: 10.2.0.12 } } }
  near: { netns: ${lab.ns('near')}, dns: 10.2.0.12, networks: [ back ] }
  plain: { netns: ${lab.ns('plain')}, networks: [ back ] }
  safe: { netns: ${lab.ns('safe')}, dns: ${OUT4}, networks: [ vault ] }
  names: { netns: ${lab.ns('names')}, networks: [ front ], ports: [ "5353:53/udp" ] }
services:
  shop:
    network: front
    vip: 10.1.0.100
    ports: [ { target: 80, name: shopping } ]
    backends: [ web1, web2 ]
  pool:
    network: front
    endpoint_mode: dnsrr
    ports: [ 80 ]
    backends: [ web1, web2 ]
uplink:
  netns: ${lab.ns('out')}
  addresses: [ ${OWN4}/24 ]
  peer_addresses: [ ${OUT4}/24 ]
  gateway: ${OUT4}
`
}

describe.skipIf(!tools)('names in namespaces', () => {
  const lab = new Lab()

  async function dig(from: string, ...args: string[]): Promise<string[]> {
    const command = ['dig', '+short', '+time=5', '+tries=1', ...args]
    const { stdout } = await lab.exec(from, ...command)
    return stdout.trim().split('\n').sort()
  }

  /** Status and flags, such as `NXDOMAIN qr rd ra`. */
  async function status(from: string, ...args: string[]): Promise<string> {
    const { stdout } = await lab.exec(from, 'dig', '+time=5', '+tries=1', ...args)
    const [, code] = /status: (\w+)/.exec(stdout) ?? []
    const [, flags] = /flags: ([a-z ]+);/.exec(stdout) ?? []
    return `${code} ${flags}`
  }

  beforeAll(async () => {
    // Somebody else's namespace, with its `lo` down.
    addNetns(lab.ns('plain'))
    await lab.up(file(lab))
    const config = [
      ...['--keep-in-foreground', '--no-resolv', '--no-hosts', '--conf-file=/dev/null'],
      ...['--local-ttl=60', `--listen-address=${OUT4}`, '--bind-interfaces', '--pid-file='],
      ...['--address=/www.far.test/198.51.100.7', '--address=/far.test/', '--user=root'],
      ...Array.from({ length: 120 }, (_, i) => `--host-record=big.test,198.51.100.${i + 1}`),
    ]
    lab.spawn('out', 'dnsmasq', ...config)
    const asked = ['+time=1', '+tries=1', '+short', `@${OUT4}`, 'www.far.test']
    const answers = async (): Promise<boolean> =>
      (await lab.exec('out', 'dig', ...asked)).stdout.includes('198.51.100.7')
    await until('the forwarder answers', answers, 20_000)
  })

  afterAll(async () => {
    expect(await lab.end()).toEqual({ code: 0, left: [lab.ns('plain')] })
    expect(existsSync(`/etc/netns/${lab.ns('web1')}`)).toBe(false)
  })

  it('is what resolv.conf names, in every namespace that was made', async () => {
    const conf = (name: string): string => {
      return readFileSync(`/etc/netns/${lab.ns(name)}/resolv.conf`, 'utf8')
    }
    expect(conf('web1')).toContain('nameserver 127.0.0.11\nsearch far.test\noptions ndots:0\n')
    // Who is a name server keeps its port 53, and asks the gateways.
    expect(conf('names')).toContain('nameserver 10.1.0.1\nnameserver fd00:1::1\n')
  })

  it('serves libc', async () => {
    const { stdout } = await lab.exec('web2', 'getent', 'ahostsv4', 'web1')
    expect(stdout).toMatch(/^10\.1\.0\.11 /)
    expect((await lab.exec('web2', 'getent', 'hosts', '10.2.0.12')).stdout).toMatch(/db\.back/)
    expect((await lab.exec('names', 'getent', 'hosts', 'web2')).stdout).toMatch(/web2/)
    expect((await lab.exec('db', 'getent', 'hosts', 'web1.front')).code).not.toBe(0)
  })

  it.each([
    [['@127.0.0.11']],
    [['@127.0.0.11', '+tcp']],
    [['@10.1.0.1']],
    [['@fd00:1::1']],
    [['@10.1.0.1', '+tcp']],
    [['@fd00:1::1', '+tcp', '+keepopen']],
    [['@127.0.0.11', '+noedns']],
    [['@127.0.0.11', '+cookie', '+nsid']],
  ])('answers dig %j', async (way) => {
    expect(await dig('web2', ...way, 'www')).toEqual(['10.1.0.11', '10.1.0.12'])
    expect(await dig('web2', ...way, 'web1', 'AAAA')).toEqual(['fd00:1::11'])
    expect(await dig('web2', ...way, 'shop')).toEqual(['10.1.0.100'])
    expect(await dig('web2', ...way, 'tasks.shop')).toEqual(['10.1.0.11', '10.1.0.12'])
    expect(await dig('web2', ...way, 'pool.front')).toEqual(['10.1.0.11', '10.1.0.12'])
    expect(await dig('web2', ...way, 'db')).toEqual(['10.2.0.12'])
    expect(await dig('web2', ...way, '_http._tcp.shop', 'SRV')).toEqual(['0 1 80 shop.front.'])
    expect(await dig('web2', ...way, '_shopping._tcp.shop', 'SRV')).toEqual(['0 1 80 shop.front.'])
    expect(await dig('web2', ...way, '_http._tcp.web1', 'SRV')).toEqual(['0 1 80 web1.front.'])
    expect(await dig('web2', ...way, '-x', '10.1.0.11')).toEqual(['web1.front.'])
    expect(await status('web2', ...way, 'db', 'AAAA')).toMatch(/^NOERROR qr aa rd ra/)
    expect(await status('web2', ...way, '-c', 'CH', 'version.bind', 'TXT')).toMatch(/^REFUSED/)
  })

  it.each([['+notcp'], ['+tcp']])('answers where lo was down, by %s', async (way) => {
    expect(await dig('plain', '@127.0.0.11', way, 'db')).toEqual(['10.2.0.12'])
    expect(existsSync(`/etc/netns/${lab.ns('plain')}`)).toBe(false)
  })

  it("asks a sandbox's own forwarders from inside it, over UDP and TCP", async () => {
    expect(await dig('web1', 'www.far.test')).toEqual(['198.51.100.7'])
    expect(await dig('web1', '+search', 'www')).toEqual(['10.1.0.11', '10.1.0.12'])
    const { stdout } = await lab.exec('web1', 'getent', 'hosts', 'www.far.test')
    expect(stdout).toMatch(/^198\.51\.100\.7 /)
    expect(await status('web1', 'none.far.test')).toMatch(/^NXDOMAIN/)
    expect(await dig('web1', 'big.test')).toHaveLength(120)
    const cut = await status('web1', '+ignore', '+bufsize=512', 'big.test')
    expect(cut).toMatch(/^NOERROR qr tc/)
  })

  it('asks a forwarder that is a sandbox, and nobody else where it does not know', async () => {
    const config = ['--keep-in-foreground', '--no-resolv', '--no-hosts', '--conf-file=/dev/null']
    const own = ['--address=/www.near.test/198.51.100.9', '--listen-address=10.2.0.12']
    const rest = ['--bind-interfaces', '--pid-file=', '--user=root']
    const server = lab.spawn('db', 'dnsmasq', ...config, ...own, ...rest)
    const knows = async (): Promise<boolean> => {
      return (await dig('near', 'www.near.test')).includes('198.51.100.9')
    }
    await until('the sandbox answers', knows, 20_000)
    expect(await status('near', 'www.far.test')).toMatch(/^REFUSED/)
    const { stdout } = await lab.cli('dns', 'resolve', '--from', 'near', 'other.far.test')
    expect(stdout).toContain(`forwarders of the sandbox: 10.2.0.12 from ${lab.ns('near')}\n`)
    // It would keep its namespace alive.
    const ended = new Promise((resolve) => server.once('exit', resolve))
    server.kill()
    await ended
  })

  it.each([['10.1.0.1'], ['fd00:1::1'], ['127.0.0.11']])(
    'gives a long answer whole at %s: truncated, and then over TCP',
    async (at) => {
      expect(await status('web1', '+ignore', `@${at}`, 'big.test')).toMatch(/^NOERROR qr tc/)
      expect(await dig('web1', `@${at}`, 'big.test')).toHaveLength(120)
    },
  )

  it('resets what comes to TCP port 53 from outside', async () => {
    const { stdout } = await lab.exec('out', 'dig', '+tcp', '+time=2', '+tries=1', `@${OWN4}`, 'a')
    expect(stdout).toMatch(/connection refused/)
  })

  it('lets nothing out of an internal network', async () => {
    expect(await status('safe', 'www.far.test')).toMatch(/^SERVFAIL/)
    expect(await dig('safe', 'safe')).toEqual(['10.3.0.2'])
  })

  it('answers nobody outside', async () => {
    const { stdout } = await lab.exec('out', 'dig', '+time=1', '+tries=1', `@${OWN4}`, 'web1')
    expect(stdout).toMatch(/no servers could be reached|connection refused|timed out/)
  })

  it('explains', async () => {
    const { stdout } = await lab.cli('dns', 'resolve', '--from', 'web1', 'www.far.test')
    expect(stdout).toContain('network front has no name www.far.test')
    expect(stdout).toContain(`forwarders of the sandbox: ${OUT4} from ${lab.ns('web1')}`)
    expect(stdout).toMatch(/www\.far\.test \d+ IN A 198\.51\.100\.7/)
    expect((await lab.cli('dns')).stdout).toMatch(/front +tasks\.pool +tasks +10\.1\.0\.11/)
    expect((await lab.cli('dns', 'cache')).stdout).toMatch(/big\.test +A +NOERROR +120/)
  })

  it('lets a namespace die that is taken away', async () => {
    deleteNetns(lab.ns('db'))
    const deadline = performance.now() + 10_000
    for (;;) {
      const { stdout } = await lab.cli('ls')
      if (/db .*lost/.test(stdout)) break
      if (performance.now() > deadline) throw new Error(`db is not lost:\n${stdout}`)
      await new Promise((resolve) => setTimeout(resolve, 200))
    }
    expect((await lab.cli('apply', lab.file)).code).toBe(0)
    expect(await dig('db', '@127.0.0.11', 'web2')).toEqual(['10.2.0.2'])
  })
})
