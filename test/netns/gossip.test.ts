/**
 * Two daemons on two hosts (namespaces joined by a veth pair) and a serf agent: they find each
 * other and each other's sandboxes by gossip, exchange keys, and notice who goes.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { GossipView, KeyRow } from '../../services/gossip/gossip.ts'
import { hasTool, Lab, must, type Result, run, until } from './lab.ts'

const KEY = Buffer.alloc(32, 7).toString('base64')
const NEXT_KEY = Buffer.alloc(16, 9).toString('base64')

/** Host `n` of the underlay, with its daemon. */
class Host {
  readonly lab: Lab = new Lab()
  readonly n: number
  readonly netns: string

  constructor(n: number) {
    this.n = n
    this.netns = this.lab.ns(`h${n}`)
    // `ip netns exec` would hide the namespaces that the daemon makes.
    this.lab.within = ['nsenter', `--net=/run/netns/${this.netns}`]
    writeFileSync(join(this.lab.folder, 'keys.b64'), `# of the lab\n${KEY}\n`, { mode: 0o600 })
  }

  get keys(): string[] {
    return readFileSync(join(this.lab.folder, 'keys.b64'), 'utf8').trim().split('\n')
  }

  /** Its network has no peers: all that it knows comes by gossip. */
  file(joining: number): string {
    const { n, lab } = this
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
node:
  name: n${n}
  underlay: { address: 10.200.0.${n} }
  gossip: { join: [ 10.200.0.${joining} ], keys_file: keys.b64 }
`
  }

  async states(): Promise<Record<string, string>> {
    const { members } = await this.lab.json<GossipView>('members')
    return Object.fromEntries(members.map(({ name, state }) => [name, state]))
  }

  serf(...args: string[]): Promise<Result> {
    return run(['ip', 'netns', 'exec', this.netns, 'serf', ...args])
  }
}

describe.runIf(hasTool('serf', 'serf'))('gossip between daemons', () => {
  const [a, b] = [new Host(1), new Host(2)]
  let agent: ChildProcess
  let agentLog = ''

  beforeAll(async () => {
    for (const { netns } of [a, b]) {
      await must('ip', 'netns', 'add', netns)
      await must('ip', '-n', netns, 'link', 'set', 'lo', 'up')
    }
    const veth = ['type', 'veth', 'peer', 'name', 'eth0', 'netns', b.netns]
    await must('ip', '-n', a.netns, 'link', 'add', 'eth0', ...veth)
    for (const { netns, n } of [a, b]) {
      await must('ip', '-n', netns, 'addr', 'add', `10.200.0.${n}/24`, 'dev', 'eth0')
      await must('ip', '-n', netns, 'link', 'set', 'eth0', 'up')
    }
    // A third address on the second host, for the agent.
    await must('ip', '-n', b.netns, 'addr', 'add', '10.200.0.9/24', 'dev', 'eth0')
    await a.lab.up(a.file(2))
    await b.lab.up(b.file(1))
    agent = spawn(
      'ip',
      [
        'netns',
        'exec',
        b.netns,
        'serf',
        'agent',
        '-node=s1',
        '-bind=10.200.0.9',
        `-encrypt=${KEY}`,
        '-join=10.200.0.1',
        '-log-level=debug',
      ],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    )
    agent.stdout!.on('data', (data: Buffer) => {
      agentLog += data.toString()
    })
  })

  afterAll(async () => {
    agent.kill('SIGKILL')
    await a.lab.close()
    await b.lab.close()
  })

  it('shows all members on all hosts, with their tags', async () => {
    const alive = { n1: 'alive', n2: 'alive', s1: 'alive' }
    for (const host of [a, b]) {
      await until(
        'all there',
        async () => {
          return JSON.stringify(await host.states()) === JSON.stringify(alive)
        },
        15_000,
      )
    }
    const { encrypted, members } = await a.lab.json<GossipView>('members')
    expect(encrypted).toBe(true)
    expect(members[0]).toMatchObject({ name: 'n1', self: true, address: '10.200.0.1', port: 7946 })
    expect(members[1]?.tags).toEqual({ tapline: '1', vtep: '10.200.0.2' })
    const { stdout } = await a.lab.cli('members')
    expect(stdout).toMatch(/^MEMBER +ADDRESS +PORT +STATE +TAGS\nn1 \(this node\) /)
    expect((await b.serf('members')).stdout).toMatch(/n1 +10\.200\.0\.1:7946 +alive/)
  })

  it('joins sandboxes of both hosts, which know nothing of each other but by gossip', async () => {
    await until('a ping', async () => (await a.lab.ping('app1', '10.2.0.12')) === 3, 15_000)
    expect(await b.lab.ping('app2', '10.2.0.11')).toBe(3)
  })

  it('sends user events, and logs those of serf', async () => {
    expect(await a.lab.cli('event', 'deploy', 'v42')).toMatchObject({ code: 0 })
    await b.serf('event', 'reload', 'now')
    await until(
      'events',
      async () => {
        const logged = [a, b].every(({ lab }) => /user event reload/.test(lab.log))
        return (
          logged && b.lab.log.includes('user event deploy') && /user-event: deploy/.test(agentLog)
        )
      },
      10_000,
    )
    expect((await a.lab.cli('event', 'x'.repeat(600))).code).toBe(2)
  })

  it('exchanges keys on all members, and keeps them', async () => {
    expect(await a.lab.cli('keys', 'install', NEXT_KEY)).toMatchObject({
      code: 0,
      stdout: 'installed on 3 members\n',
    })
    expect(await a.lab.cli('keys', 'use', NEXT_KEY)).toMatchObject({ code: 0 })
    const listed = await b.lab.json<KeyRow[]>('keys')
    expect(listed.map(({ ok, primary }) => [ok, primary])).toEqual(Array(3).fill([true, NEXT_KEY]))
    expect(await b.lab.cli('keys', 'remove', KEY)).toMatchObject({ code: 0 })
    const { stdout } = await a.lab.cli('keys')
    expect(stdout).toMatch(new RegExp(`^KEY +MEMBERS +PRIMARY OF\n${NEXT_KEY} +3 +3\n$`))
    for (const host of [a, b]) expect(host.keys).toEqual([NEXT_KEY])
    expect((await a.lab.cli('keys', 'use', KEY)).code).toBe(1)
    expect((await a.lab.cli('keys', 'use', 'none')).code).toBe(2)
    expect(await a.lab.ping('app1', '10.2.0.12')).toBe(3)
  })

  it('notices a leave at once, and takes the node back', async () => {
    const { code, ms } = await b.lab.stop()
    expect(code).toBe(0)
    expect(ms).toBeLessThan(8000)
    await until('left', async () => (await a.states())['n2'] === 'left', 1000)
    expect(agentLog).not.toContain('EventMemberFailed')
    b.lab.readyLine = ''
    await b.lab.up(b.file(1))
    await until('back', async () => (await a.states())['n2'] === 'alive', 10_000)
    await until('a ping', async () => (await a.lab.ping('app1', '10.2.0.12')) === 3, 15_000)
  })

  it('applies a file without gossip, and with it again', async () => {
    a.lab.write(a.file(2).replace(/ {2}gossip:.*\n/, ''))
    expect(await a.lab.cli('apply', a.lab.file)).toMatchObject({ code: 0 })
    expect(await a.lab.cli('members')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('no gossip'),
    })
    await until('left', async () => (await b.states())['n1'] === 'left', 5000)
    a.lab.write(a.file(2))
    expect(await a.lab.cli('apply', a.lab.file)).toMatchObject({ code: 0 })
    await until('back', async () => (await b.states())['n1'] === 'alive', 10_000)
    await until('a ping', async () => (await b.lab.ping('app2', '10.2.0.11')) === 3, 15_000)
  })

  it('notices a node that is killed', async () => {
    await b.lab.stop('SIGKILL')
    await until('failed', async () => (await a.states())['n2'] === 'dead', 40_000)
    expect(agentLog).toContain('EventMemberFailed: n2')
    expect(await a.lab.end()).toEqual({ code: 0, left: [a.netns] })
  })
})
