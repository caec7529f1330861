/**
 * Three daemons on three hosts (namespaces on one kernel bridge) that know of each other's
 * endpoints by gossip alone: reached, moved, claimed twice, cut off from gossip, killed.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Lab, must, until } from './lab.ts'
import { makeHub } from './wire.ts'

/** How long a dead node's endpoints stay, as the files say; a third of what is usual. */
const KEEP_DEAD_MS = 20_000
/** From a node's death until all members say so, at most. */
const DETECT_MS = 30_000
const SHARED = '10.2.0.50'
const SHARED_MAC = '02:00:00:00:00:50'

/** Host `n` of the underlay, with its daemon. */
class Host {
  readonly lab: Lab = new Lab()
  readonly n: number
  readonly netns: string

  constructor(n: number) {
    this.n = n
    this.netns = this.lab.ns(`h${n}`)
    // Not `ip netns exec`: namespaces that the daemon makes would be seen by nobody else.
    this.lab.within = ['nsenter', `--net=/var/run/netns/${this.netns}`]
  }

  /** With a sandbox that has the shared address, under this name. */
  file(shared?: string): string {
    const { n, lab } = this
    const more =
      shared === undefined
        ? ''
        : `  ${shared}:
    netns: ${lab.ns(shared)}
    networks: { back: { ipv4_address: ${SHARED}, mac_address: "${SHARED_MAC}" } }
`
    return `name: h${n}
networks:
  back:
    driver: overlay
    driver_opts: { com.docker.network.driver.overlay.vxlanid_list: "4097" }
    ipam: { config: [ { subnet: 10.2.0.0/24 } ] }
sandboxes:
  app${n}:
    netns: ${lab.ns(`app${n}`)}
    networks: { back: { ipv4_address: 10.2.0.1${n} } }
${more}node:
  name: n${n}
  underlay: { address: 10.200.0.${n} }
  gossip: { join: [ 10.200.0.1, 10.200.0.2 ], endpoint_timeout: ${KEEP_DEAD_MS / 1000}s }
`
  }

  async apply(shared?: string): Promise<void> {
    this.lab.write(this.file(shared))
    const { code, stderr } = await this.lab.cli('apply', this.lab.file)
    if (code !== 0) throw new Error(stderr)
  }

  /** How many members it says are alive. */
  async alive(): Promise<number> {
    const { stdout } = await this.lab.cli('members')
    return stdout.match(/ alive /g)?.length ?? 0
  }

  /** VTEP of the MAC in this host's forwarding table. */
  async stations(): Promise<string> {
    return (await this.lab.cli('fdb', '--json')).stdout
  }
}

describe('overlay by gossip', () => {
  const hosts = [new Host(1), new Host(2), new Host(3)] as const
  const [a, b, c] = hosts
  const middle = a.lab.ns('mid')

  beforeAll(async () => {
    const names = hosts.map((host) => host.netns)
    makeHub(middle, names, 'eth0')
    for (const host of hosts) await host.lab.up(host.file(host === a ? 'mover' : undefined))
  })

  afterAll(async () => {
    for (const { lab } of hosts) await lab.close()
  })

  it('reaches sandboxes of all hosts, with no peer in any file', async () => {
    for (const [from, to] of [
      [a, 2],
      [b, 3],
      [c, 1],
    ] as const) {
      const ping = (): Promise<number> => from.lab.ping(`app${from.n}`, `10.2.0.1${to}`)
      await until(`n${from.n} to n${to}`, async () => (await ping()) === 3, 20_000)
    }
    expect(await c.lab.ping('app3', SHARED)).toBe(3)
  })

  it('follows a sandbox that moves, with less than a second lost', async () => {
    const ping = c.lab.exec('app3', 'ping', '-n', '-c160', '-i0.05', '-W1', SHARED)
    await new Promise((resolve) => setTimeout(resolve, 1500))
    await b.apply('mover')
    await a.apply()
    const { stdout } = await ping
    const received = Number(/(\d+) received/.exec(stdout)![1])
    expect(received, stdout.slice(-200)).toBeGreaterThan(160 - 20)
    expect(await c.lab.ping('app3', SHARED)).toBe(3)
    expect(c.lab.log).not.toContain('two endpoints claim')
  })

  it('leaves an address with the older of two sandboxes, and says so on all hosts', async () => {
    const neighbor = async (): Promise<string> =>
      (await c.lab.exec('app3', 'ip', 'neigh', 'show', SHARED)).stdout.match(/lladdr \S+/)![0]
    expect(await c.lab.ping('app3', SHARED)).toBe(3)
    const before = await neighbor()
    await a.apply('double')
    const claim = `two endpoints claim ${SHARED}`
    for (const { lab } of hosts) {
      await until('reported', async () => lab.log.includes(claim), 10_000)
    }
    expect(await c.stations()).toContain('10.200.0.2')
    expect(await c.lab.ping('app3', SHARED)).toBe(3)
    expect(await neighbor(), 'what the younger one announced').toBe(before)
    await a.apply()
  })

  it('goes on forwarding while gossip is cut off', async () => {
    const table = 'table inet cut { chain c { type filter hook input priority 0 ;'
    const rules = `${table} udp dport 7946 drop ; tcp dport 7946 drop ; } ; }`
    for (const { netns } of hosts) await must('ip', 'netns', 'exec', netns, 'nft', rules)
    const ping = c.lab.exec('app3', 'ping', '-n', '-c60', '-i0.2', '-W2', SHARED)
    // Each is alone now, and takes the others for dead.
    for (const host of hosts)
      await until('alone', async () => (await host.alive()) === 1, DETECT_MS)
    expect(await c.lab.ping('app3', SHARED)).toBe(3)
    expect((await ping).stdout).toMatch(/ 60 received/)
    for (const { netns } of hosts) {
      await must('ip', 'netns', 'exec', netns, 'nft', 'delete table inet cut')
    }
    await until('all back', async () => (await c.alive()) === 3, 60_000)
    expect(await c.lab.ping('app3', SHARED)).toBe(3)
  })

  it('keeps endpoints of a killed host for the stated time, and no longer', async () => {
    await b.lab.stop('SIGKILL')
    const start = performance.now()
    await until('taken for dead', async () => (await c.alive()) === 2, DETECT_MS)
    await new Promise((resolve) => setTimeout(resolve, KEEP_DEAD_MS / 2))
    expect(await c.stations(), 'kept').toContain('10.200.0.2')
    const gone = async (): Promise<boolean> => !(await c.stations()).includes('10.200.0.2')
    await until('gone', gone, KEEP_DEAD_MS + DETECT_MS)
    expect(performance.now() - start).toBeGreaterThan(KEEP_DEAD_MS)
    expect(await c.lab.ping('app3', '10.2.0.11')).toBe(3)
    // Started again, it is known at once.
    b.lab.readyLine = ''
    await b.lab.up(b.file('mover'))
    await until('back', async () => (await c.lab.ping('app3', SHARED)) === 3, 20_000)
  })

  it('takes its endpoints along when a host says that it leaves', async () => {
    expect((await b.lab.stop()).code).toBe(0)
    const gone = async (): Promise<boolean> => !(await c.stations()).includes('10.200.0.2')
    // Far sooner than those of a dead one; asking takes its time on a busy machine.
    await until('gone', gone, 15_000)
  })
})
