/** ARP and neighbor discovery against the kernel's own: who answers, who may claim what. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { hasTool, Lab, type Result } from './lab.ts'

interface Neighbor {
  readonly network: string
  readonly address: string
  readonly state: string
  readonly mac?: string
}

/** `front` answers for its endpoints, `plain` floods; both guard. */
function file(lab: Lab): string {
  const six = 'enable_ipv6: true'
  const host = (name: string, network: string, net: number, n: number): string => `
  ${name}:
    netns: ${lab.ns(name)}
    networks: { ${network}: { ipv4_address: 10.${net}.0.${n}, ipv6_address: "fd00:${net}::${n}" } }`
  return `
name: ${lab.prefix}
networks:
  front:
    ${six}
    ipam: { config: [ { subnet: 10.1.0.0/24 }, { subnet: "fd00:1::/64" } ] }
  plain:
    ${six}
    driver_opts: { tapline.arp_proxy: "false" }
    ipam: { config: [ { subnet: 10.2.0.0/24 }, { subnet: "fd00:2::/64" } ] }
sandboxes:${host('a', 'front', 1, 11)}${host('b', 'front', 1, 12)}${host('c', 'front', 1, 13)}
${host('p', 'plain', 2, 11)}${host('q', 'plain', 2, 12)}
`
}

describe('neighbors', () => {
  const lab = new Lab()
  const ip = (name: string, ...args: string[]): Promise<Result> => lab.exec(name, 'ip', ...args)
  const neighbors = async (name: string): Promise<string> => (await ip(name, 'neigh')).stdout
  const drops = async (reason: string): Promise<number> => {
    const all = await lab.json<{ reason: string; count: number }[]>('drops')
    return all.filter((drop) => drop.reason === reason).reduce((sum, { count }) => sum + count, 0)
  }

  beforeAll(() => lab.up(file(lab)), 90_000)
  afterAll(() => lab.close())

  it('are answered for: no question reaches a third station', async () => {
    if (!hasTool('tcpdump', 'tcpdump')) return
    // Duplicate address detection of starting hosts (from ::) is for everybody to hear.
    const filter = 'arp or (icmp6 and ip6[40] == 135 and not src host ::)'
    const heard = lab.spawn('c', 'tcpdump', '-lni', 'eth0', filter)
    let text = ''
    heard.stdout!.on('data', (data: Buffer) => {
      text += data.toString()
    })
    await new Promise<void>((resolve) => heard.stderr!.once('data', () => resolve()))
    expect(await lab.ping('a', '10.1.0.12')).toBe(3)
    expect(await lab.ping('a', 'fd00:1::12')).toBe(3)
    expect(await lab.ping('a', '10.1.0.1')).toBe(3)
    expect(text).toBe('')
    // Nobody is known to have this address: the question is flooded, so the listener works.
    await lab.ping('a', '10.1.0.99', '-c1', '-W1')
    await expect.poll(() => text, { timeout: 5_000 }).toContain('who-has 10.1.0.99')
    heard.kill('SIGKILL')
  })

  it.each([
    ['a', 1],
    ['p', 2],
  ])('are who they are, with and without the proxy: %s', async (from, net) => {
    expect(await lab.ping(from, `10.${net}.0.12`)).toBe(3)
    expect(await lab.ping(from, `fd00:${net}::12`)).toBe(3)
    expect(await lab.ping(from, `fd00:${net}::1`)).toBe(3)
    const known = await neighbors(from)
    expect(known).toMatch(new RegExp(`10\\.${net}\\.0\\.12 dev eth0 lladdr 02:`))
    expect(known).toMatch(new RegExp(`fd00:${net}::12 dev eth0 lladdr 02:`))
    expect(known, 'the gateway is a router').toMatch(
      new RegExp(`fd00:${net}::1 dev eth0 lladdr 02:[0-9a-f:]+ router`),
    )
  })

  it('of the router are listed with their state, and one that is not there fails', async () => {
    expect(await lab.ping('a', '10.2.0.11')).toBe(3)
    const { stdout } = await lab.exec('a', 'ping', '-n', '-c2', '-W4', '10.2.0.99')
    expect(stdout).toContain('From 10.1.0.1 icmp_seq=1 Destination Host Unreachable')
    const { stdout: six } = await lab.exec('a', 'ping', '-n', '-c2', '-W4', 'fd00:2::99')
    expect(six).toContain('Destination unreachable: Address unreachable')
    const all = await lab.json<Neighbor[]>('neigh')
    const state = (address: string): string | undefined =>
      all.find((neighbor) => neighbor.address === address)?.state
    expect(state('10.2.0.11')).toMatch(/reachable|stale|delay/)
    expect(state('10.2.0.99')).toBe('failed')
    expect(state('fd00:2::99')).toBe('failed')
  })

  it.each([
    ['a', 'fd00:1::12'],
    ['p', 'fd00:2::12'],
    ['a', 'fd00:1::1'],
  ])('cannot take the address of another (RFC 4862 §5.4): %s, %s', async (name, address) => {
    await ip(name, 'addr', 'add', `${address}/64`, 'dev', 'eth0')
    const show = async (): Promise<string> =>
      (await ip(name, '-6', 'addr', 'show', 'dev', 'eth0')).stdout
    await expect.poll(show, { timeout: 10_000 }).toContain(`${address}/64 scope global dadfailed`)
    await ip(name, 'addr', 'del', `${address}/64`, 'dev', 'eth0')
  })

  it('may take an address that is free, and are found there', async () => {
    await ip('b', 'addr', 'add', 'fd00:1::b0/64', 'dev', 'eth0')
    await ip('b', 'addr', 'add', '10.1.0.176/24', 'dev', 'eth0')
    await expect
      .poll(async () => (await ip('b', '-6', 'addr')).stdout, { timeout: 10_000 })
      .toMatch(/fd00:1::b0\/64 scope global \n/)
    expect(await lab.ping('a', 'fd00:1::b0')).toBe(3)
    expect(await lab.ping('a', '10.1.0.176')).toBe(3)
    expect(await lab.ping('p', '10.1.0.176'), 'through the router').toBe(3)
  })

  it.each([
    ['a', 1],
    ['p', 2],
  ])('are not believed when they claim what is not theirs: %s', async (name, net) => {
    if (!hasTool('arping', 'iputils-arping')) return
    const before = await drops('arp-spoofed')
    await ip(name, 'addr', 'add', `10.${net}.0.1/24`, 'dev', 'eth0')
    // A broadcast request and an unasked reply, both saying that the gateway is here.
    await lab.exec(name, 'arping', '-c1', '-w1', '-U', '-I', 'eth0', `10.${net}.0.1`)
    await lab.exec(name, 'arping', '-c1', '-w1', '-A', '-I', 'eth0', `10.${net}.0.1`)
    await ip(name, 'addr', 'del', `10.${net}.0.1/24`, 'dev', 'eth0')
    expect(await drops('arp-spoofed')).toBeGreaterThanOrEqual(before + 2)
    const other = name === 'a' ? 'b' : 'q'
    expect(await lab.ping(other, `10.${net}.0.1`)).toBe(3)
  })

  it('are told of conflicts before they take an address (RFC 5227 §2.1)', async () => {
    if (!hasTool('arping', 'iputils-arping')) return
    const probe = (address: string): Promise<Result> =>
      lab.exec('c', 'arping', '-D', '-c2', '-w3', '-I', 'eth0', address)
    expect((await probe('10.1.0.12')).code).toBe(1)
    expect((await probe('10.1.0.1')).code).toBe(1)
    expect((await probe('10.1.0.77')).code).toBe(0)
    expect((await probe('10.1.0.13')).code, 'its own').toBe(0)
  })
})
