/**
 * The DHCP server as real clients see it: busybox's udhcpc and ISC's dhclient in sandboxes whose
 * interfaces have no address until they ask.
 */
import { execFileSync } from 'node:child_process'
import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { hasTool, Lab } from './lab.ts'

const udhcpc = hasTool('udhcpc', 'udhcpc')
const busybox = hasTool('busybox', 'busybox')
const dhclient = hasTool('dhclient', 'isc-dhcp-client')

function file(lab: Lab): string {
  const sandbox = (name: string, host: number): string => `
  ${name}:
    netns: ${lab.ns(name)}
    networks: { lan: { ipv4_address: 10.1.0.${host}, driver_opts: { tapline.dhcp: "true" } } }`
  return `
name: ${lab.prefix}
networks:
  lan:
    driver_opts:
      tapline.dhcp: "true"
      tapline.mac_guard: "false"
      tapline.dhcp_range: 10.1.0.200-10.1.0.201
      tapline.dhcp_lease: 10m
      tapline.dhcp_routes: "10.9.0.0/16 via 10.1.0.5"
      tapline.dns: "10.1.0.1, 192.0.2.53"
      tapline.dns_search: "shop.example, example"
      com.docker.network.driver.mtu: "1400"
    ipam: { config: [ { subnet: 10.1.0.0/24 } ] }
sandboxes:${sandbox('a', 11)}${sandbox('b', 12)}
  far:
    netns: ${lab.ns('far')}
    networks: { lan: { ipv4_address: 10.1.0.13 } }
`
}

interface LeaseRow {
  readonly address: string
  readonly mac: string
  readonly kind: string
}

describe.skipIf(!udhcpc)('udhcpc', () => {
  const lab = new Lab()
  const script = join(lab.folder, 'script')

  /** Ask once; what the client was told, by the names that udhcpc has for it. */
  async function ask(sandbox: string, ...args: string[]): Promise<Record<string, string>> {
    const options = ['mtu', 'search', 'staticroutes'].flatMap((name) => ['-O', name])
    const once = ['-f', '-q', '-n', '-t', '3', '-T', '1', '-A', '1']
    const command = ['busybox', 'udhcpc', '-i', 'eth0', ...once, '-s', script, ...options, ...args]
    const { stdout } = await lab.exec(sandbox, ...command)
    const lines = stdout.split('\n').filter((line) => /^\w+=/.test(line))
    return Object.fromEntries(lines.map((line) => line.split(/=(.*)/).slice(0, 2)))
  }

  beforeAll(async () => {
    // What udhcpc calls with what it got: takes the address, and shows the rest.
    const take = 'ip addr flush dev eth0; ip addr add $ip/$mask dev eth0; ip route add default via'
    const text = `#!/bin/sh\ncase $1 in bound|renew)
${take} $router; echo event=$1; env;; deconfig) ip addr flush dev eth0;; *) echo event=$1;; esac\n`
    writeFileSync(script, text)
    chmodSync(script, 0o755)
    await lab.up(file(lab))
  })

  afterAll(async () => {
    expect(await lab.end()).toEqual({ code: 0, left: [] })
  })

  it('gets the address of its endpoint, with every option, and passes traffic', async () => {
    expect((await lab.exec('a', 'ip', '-4', 'addr', 'show', 'dev', 'eth0')).stdout).toBe('')
    const told = await ask('a', '-r', '10.1.0.77')
    expect(told).toMatchObject({
      event: 'bound',
      ip: '10.1.0.11',
      mask: '24',
      router: '10.1.0.1',
      dns: '10.1.0.1 192.0.2.53',
      domain: 'shop.example',
      search: 'shop.example example',
      staticroutes: '10.9.0.0/16 10.1.0.5 0.0.0.0/0 10.1.0.1',
      mtu: '1400',
      lease: '600',
      serverid: '10.1.0.1',
    })
    expect(await lab.ping('a', '10.1.0.13')).toBe(3)
    expect(await lab.ping('a', '10.1.0.1')).toBe(3)
  })

  it('gets addresses of the pool for other stations, until none is left', async () => {
    const as = async (last: number): Promise<string | undefined> => {
      await lab.exec('b', 'ip', 'link', 'set', 'eth0', 'address', `02:00:00:00:77:0${last}`)
      return (await ask('b'))['ip']
    }
    expect(await as(1)).toBe('10.1.0.200')
    expect(await lab.ping('b', '10.1.0.13')).toBe(3)
    expect(await lab.ping('far', '10.1.0.200')).toBe(3)
    expect(await as(2)).toBe('10.1.0.201')
    expect(await as(3)).toBeUndefined()
    expect(lab.log).toContain('no address left to lease on network lan (10.1.0.200 to 10.1.0.201)')
    const { stdout } = await lab.cli('inspect', 'lan')
    expect(stdout).toMatch(/dhcp: .*2 of 2 in use, \d+ refused: no address left: all 2 of/)
    const rows = await lab.json<LeaseRow[]>('leases')
    expect(rows.map(({ address, mac, kind }) => `${address} ${mac.slice(-2)} ${kind}`)).toEqual([
      '10.1.0.11 0b static',
      '10.1.0.200 01 bound',
      '10.1.0.201 02 bound',
    ])
    expect(await as(1), 'it has one').toBe('10.1.0.200')
  })

  it('renews and releases', async () => {
    const command = ['busybox', 'udhcpc', '-i', 'eth0', '-f', '-R', '-s', script]
    const client = lab.spawn('b', ...command)
    let out = ''
    client.stdout!.on('data', (data: Buffer) => {
      out += data.toString()
    })
    await expect.poll(() => out, { timeout: 20_000 }).toContain('event=bound')
    client.kill('SIGUSR1')
    await expect.poll(() => out, { timeout: 20_000 }).toContain('event=renew')
    client.kill('SIGTERM')
    const kinds = async (): Promise<string[]> =>
      (await lab.json<LeaseRow[]>('leases')).map(({ kind }) => kind)
    await expect.poll(kinds, { timeout: 10_000 }).toContain('free')
  })
})

describe.skipIf(!dhclient)('dhclient', () => {
  const lab = new Lab()
  const script = join(lab.folder, 'script')
  const config = join(lab.folder, 'dhclient.conf')

  beforeAll(async () => {
    const show = 'echo "begin $reason"; env | grep ^new_; echo "end $reason"'
    writeFileSync(script, `#!/bin/sh\n${show}\nexit 0\n`)
    chmodSync(script, 0o755)
    writeFileSync(
      config,
      `option rfc3442 code 121 = array of unsigned integer 8;
timeout 20;
request subnet-mask, routers, domain-name, domain-name-servers, domain-search, interface-mtu,
  rfc3442;
`,
    )
    await lab.up(file(lab))
  })

  afterAll(async () => {
    expect(await lab.end()).toEqual({ code: 0, left: [] })
  })

  it('gets the address of its endpoint with every option, and gives it back', async () => {
    const files = ['-lf', join(lab.folder, 'leases'), '-pf', join(lab.folder, 'pid')]
    const command = ['dhclient', '-cf', config, '-sf', script, ...files]
    const client = lab.spawn('a', ...command, '-d', '-v', 'eth0')
    let out = ''
    client.stdout!.on('data', (data: Buffer) => {
      out += data.toString()
    })
    await expect.poll(() => out, { timeout: 30_000 }).toContain('end BOUND')
    const lines = out.slice(out.indexOf('begin BOUND'), out.indexOf('end BOUND')).split('\n')
    const told = Object.fromEntries(lines.map((line) => line.split(/=(.*)/).slice(0, 2)))
    expect(told).toMatchObject({
      new_ip_address: '10.1.0.11',
      new_subnet_mask: '255.255.255.0',
      new_routers: '10.1.0.1',
      new_domain_name: 'shop.example',
      new_domain_name_servers: '10.1.0.1 192.0.2.53',
      new_domain_search: 'shop.example. example.',
      new_interface_mtu: '1400',
      new_rfc3442: '16 10 9 10 1 0 5 0 10 1 0 1',
      new_dhcp_lease_time: '600',
      new_dhcp_server_identifier: '10.1.0.1',
    })
    const held = async (): Promise<number> => (await lab.json<LeaseRow[]>('leases')).length
    expect(await held()).toBe(1)
    await lab.exec('a', 'ip', 'addr', 'add', '10.1.0.11/24', 'dev', 'eth0')
    await lab.exec('a', ...command, '-r', 'eth0')
    await expect.poll(held, { timeout: 10_000 }).toBe(0)
  })
})

describe.skipIf(!busybox)('an endpoint on a network outside, with udhcpd there', () => {
  const lab = new Lab()

  function ip(...args: string[]): void {
    execFileSync('ip', args)
  }

  beforeAll(async () => {
    const [host, out] = [lab.ns('host'), lab.ns('out')]
    for (const name of [host, out]) ip('netns', 'add', name)
    ip('-n', host, 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', out)
    ip('-n', out, 'addr', 'add', '192.0.2.1/24', 'dev', 'eth0')
    for (const name of [host, out]) ip('-n', name, 'link', 'set', 'eth0', 'up')
    const config = join(lab.folder, 'udhcpd.conf')
    writeFileSync(
      config,
      `interface eth0
start 192.0.2.100
end 192.0.2.110
lease_file ${join(lab.folder, 'udhcpd.leases')}
pidfile ${join(lab.folder, 'udhcpd.pid')}
option subnet 255.255.255.0
option router 192.0.2.1
option lease 300
`,
    )
    writeFileSync(join(lab.folder, 'udhcpd.leases'), '')
    lab.spawn('out', 'busybox', 'udhcpd', '-f', '-I', '192.0.2.1', config)
    await lab.up(`
name: ${lab.prefix}
networks:
  lan:
    driver: macvlan
    driver_opts: { parent: eth0, tapline.parent_netns: ${host} }
    ipam: { driver: dhcp }
sandboxes:
  a: { netns: ${lab.ns('a')}, networks: [ lan ] }
  b: { netns: ${lab.ns('b')}, networks: [ lan ] }
`)
  })

  afterAll(async () => {
    expect((await lab.stop()).code).toBe(0)
    await lab.close()
  })

  it('is given its address and route by it', async () => {
    const addresses = async (): Promise<string[]> => {
      const { sandboxes } = await lab.json<{
        sandboxes: { endpoints: { addresses: string[] }[] }[]
      }>('ls')
      return sandboxes.flatMap(({ endpoints }) => endpoints[0]!.addresses)
    }
    await expect.poll(addresses, { timeout: 30_000 }).toHaveLength(2)
    const [a, b] = (await addresses()).map((text) => text.replace('/24', ''))
    expect(a).toMatch(/^192\.0\.2\.1[01]\d$/)
    const { stdout } = await lab.exec('a', 'ip', 'route')
    expect(stdout).toContain('default via 192.0.2.1 dev eth0')
    expect(await lab.ping('a', '192.0.2.1')).toBe(3)
    expect(await lab.ping('out', a!)).toBe(3)
    expect(await lab.ping('a', b!)).toBe(3)
  })
})
