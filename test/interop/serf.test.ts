/**
 * Clusters of ours and of real serf agents, on loopback addresses: both see the same members, in
 * the protocol's time, with encryption and without.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { decodeKeyAnswer, encodeKeyRequest, KeyQuery } from '../../services/gossip/key_queries.ts'
import { formatKey, Keyring } from '../../services/gossip/keyring.ts'
import { type NodeTransport, openNodeTransport } from '../../services/gossip/node_transport.ts'
import { Serf } from '../../services/gossip/serf.ts'
import type { UserEvent } from '../../services/gossip/serf_messages.ts'
import { QUIET } from '../../services/log.ts'
import { parseAddress } from '../../stack/address.ts'
import { every, SystemClock } from '../../stack/clock.ts'
import { Random } from '../../stack/random.ts'
import { hasTool, run, until } from '../netns/lab.ts'

const PORT = 7946
const RPC_PORT = 7373
const KEY = Uint8Array.from({ length: 32 }, (_, i) => 7 * i)
const NEXT_KEY = Uint8Array.from({ length: 32 }, (_, i) => 11 * i)

/** A rumor may miss a node of a few; the exchange of states every 30 s tells it, then. */
const ALL_KNOW_MS = 45_000

/** Addresses of this process: several suites may run at once. */
let serial = 0
const nextAddress = (): string => {
  serial++
  return `127.${1 + (process.pid % 250)}.${(process.pid >> 8) % 250}.${serial}`
}

const clock = new SystemClock()

class Agent {
  readonly name: string
  readonly address: string = nextAddress()
  readonly child: ChildProcess
  log = ''

  constructor(name: string, ...args: string[]) {
    this.name = name
    const bind = [`-bind=${this.address}:${PORT}`, `-rpc-addr=${this.address}:${RPC_PORT}`]
    this.child = spawn(
      'serf',
      ['agent', `-node=${name}`, ...bind, '-log-level=debug', '-tag', 'role=agent', ...args],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    )
    for (const stream of [this.child.stdout!, this.child.stderr!]) {
      stream.on('data', (data: Buffer) => {
        this.log += data.toString()
      })
    }
  }

  async call(...args: string[]): Promise<string> {
    const [command, ...rest] = args
    const rpc = `-rpc-addr=${this.address}:${RPC_PORT}`
    const { stdout, stderr } = await run(['serf', command!, rpc, ...rest])
    return stdout + stderr
  }

  /** Name to status and tags. */
  async members(): Promise<Record<string, string>> {
    const lines = (await this.call('members')).split('\n').filter((line) => line.includes(':'))
    return Object.fromEntries(
      lines.map((line) => {
        const [name, , status, tags = ''] = line.trim().split(/\s+/)
        return [name!, `${status} ${tags}`.trim()]
      }),
    )
  }
}

class Ours {
  readonly serf: Serf
  readonly transport: NodeTransport
  readonly told: string[] = []
  readonly messages: string[] = []
  readonly events: UserEvent[] = []

  constructor(name: string, transport: NodeTransport, key?: Uint8Array) {
    this.transport = transport
    const keyring = key && new Keyring([key])
    this.serf = new Serf({
      clock,
      random: new Random(serial),
      log: QUIET,
      transport,
      name,
      tags: { role: 'ours' },
      ...(keyring && { keyring }),
    })
    this.serf.subscribe({
      onMember: (event, member) => this.told.push(`${event} ${member.name}`),
      onMessage: (bytes) => this.messages.push(Buffer.from(bytes).toString()),
    })
    this.serf.onUserEvent((event) => this.events.push(event))
    this.serf.start()
  }

  static async open(name: string, key?: Uint8Array): Promise<Ours> {
    return new Ours(name, await openNodeTransport(parseAddress(nextAddress()), PORT), key)
  }

  join(agent: Agent): Promise<unknown> {
    return this.serf.join([{ address: parseAddress(agent.address), port: PORT }])
  }

  state(name: string): string | undefined {
    return this.serf.members().find((member) => member.name === name)?.state
  }

  async close(): Promise<void> {
    this.serf.close()
    await this.transport.close()
  }
}

describe.runIf(hasTool('serf', 'serf')).each([
  ['plain', undefined],
  ['encrypted', KEY],
])('a cluster with serf, %s', (_, key) => {
  const ours: Ours[] = []
  const agents: Agent[] = []
  const names = ['n1', 'n2', 'n3', 's1']
  let agent: Agent
  let cancel = (): void => {}

  beforeAll(async () => {
    cancel = every(clock, 20, () => {})
    agent = new Agent('s1', ...(key ? [`-encrypt=${formatKey(key)}`] : []))
    agents.push(agent)
    await until('agent runs', () => agent.log.includes('Serf agent running'), 20_000)
    for (const name of ['n1', 'n2', 'n3']) ours.push(await Ours.open(name, key))
    for (const one of ours) expect(await one.join(agent)).toEqual([])
  })

  afterAll(async () => {
    cancel()
    for (const { child } of agents) child.kill('SIGKILL')
    for (const one of ours) await one.close()
  })

  it('has the same members on both sides, with their tags', async () => {
    const alive = (one: Ours): boolean => names.every((name) => one.state(name) === 'alive')
    await until('all see all', () => ours.every(alive), ALL_KNOW_MS)
    for (const { serf } of ours) {
      const tags = Object.fromEntries(serf.members().map((m) => [m.name, m.tags['role']]))
      expect(tags).toEqual({ n1: 'ours', n2: 'ours', n3: 'ours', s1: 'agent' })
    }
    const theirs = { n1: 1, n2: 1, n3: 1 }
    const expected = Object.fromEntries(
      Object.keys(theirs).map((name) => [name, expect.stringMatching(/^alive .*role=ours/)]),
    )
    expect(await agent.members()).toEqual({ ...expected, s1: 'alive role=agent' })
  })

  it('carries user events both ways, once', async () => {
    ours[1]!.serf.event('from-ours', Buffer.from('payload one'))
    await agent.call('event', 'from-serf', 'payload two')
    const seen = (one: Ours): string[] =>
      one.events.map(({ name, payload }) => `${name} ${Buffer.from(payload).toString()}`).sort()
    const wanted = ['from-ours payload one', 'from-serf payload two']
    await until('events', () => ours.every((one) => seen(one).length === 2), 10_000)
    await until('the agent hears', () => agent.log.includes('user-event: from-ours'), 10_000)
    await new Promise((resolve) => setTimeout(resolve, 2000))
    for (const one of ours) expect(seen(one)).toEqual(wanted)
    expect(agent.log.split('Received event: user-event: from-ours')).toHaveLength(2)
  })

  it('keeps its own messages among its own', async () => {
    const [a, b] = ours
    const members = a!.serf.members()
    const to = members.find(({ name }) => name === 'n2')!
    const other = members.find(({ name }) => name === 's1')!
    a!.serf.send(to, Buffer.from('datagram'))
    await a!.serf.sendReliable(to, Buffer.from('z'.repeat(100_000)))
    a!.serf.send(other, Buffer.from('nothing'))
    await expect(a!.serf.sendReliable(other, Buffer.from('nothing'))).rejects.toThrow(
      'not a tapline',
    )
    await until('messages', () => b!.messages.length === 2, 5000)
    expect(b!.messages.map(({ length }) => length)).toEqual([8, 100_000])
    expect(agent.log).not.toMatch(/unknown type|\[ERR\]/)
  })

  it('is asked for its members by serf, and answers', async () => {
    const answer = await agent.call('reachability')
    expect(answer).toContain('Successfully contacted all live nodes')
  })

  it.runIf(key !== undefined)('exchanges keys, begun on either side', async () => {
    const listed = await agent.call('keys', '-list')
    expect(listed).toMatch(new RegExp(`${literal(formatKey(KEY))}.*\\[4/4\\]`))
    expect(await agent.call('keys', `-install=${formatKey(NEXT_KEY)}`)).toContain('Successfully')
    expect(await agent.call('keys', `-use=${formatKey(NEXT_KEY)}`)).toContain('Successfully')
    const request = encodeKeyRequest(KEY)
    const removed = await ours[0]!.serf.query({ name: KeyQuery.Remove, payload: request })
    expect([...removed.keys()].sort()).toEqual(names)
    expect([...removed.values()].map((mem) => decodeKeyAnswer(mem)?.ok)).toEqual(
      Array(4).fill(true),
    )
    const after = await agent.call('keys', '-list')
    expect(after).toMatch(new RegExp(`${literal(formatKey(NEXT_KEY))}.*\\[4/4\\]`))
    expect(after).not.toContain(formatKey(KEY))
    for (const { serf } of ours)
      expect(serf.keyring?.keys.map(formatKey)).toEqual([formatKey(NEXT_KEY)])
    expect(await agent.members()).toMatchObject({ n1: expect.stringContaining('alive') })
  })

  it.runIf(key !== undefined)('takes nothing from who has no key', async () => {
    for (const wrong of [undefined, KEY]) {
      const stranger = await Ours.open('stranger', wrong)
      ours.push(stranger)
      expect(await stranger.join(agent)).toHaveLength(1)
      const { address } = ours[0]!.transport
      expect(await stranger.serf.join([{ address, port: PORT }])).toHaveLength(1)
      await ours.pop()!.close()
    }
    expect(ours.map((one) => one.state('stranger'))).toEqual([undefined, undefined, undefined])
    expect(ours[0]!.serf.counters.streamsRefused).toBe(2)
  })

  it('sees at once who leaves: ours by serf, and serf by ours', async () => {
    const used = key && NEXT_KEY
    const leaving = await Ours.open('n4', used)
    const other = new Agent(
      's2',
      `-join=${agent.address}`,
      ...(used ? [`-encrypt=${formatKey(used)}`] : []),
    )
    agents.push(other)
    await leaving.join(agent)
    const bothAre = (one: Ours): boolean =>
      one.state('n4') === 'alive' && one.state('s2') === 'alive'
    const found = (): string => {
      const states = ours.map((one) => `n4 ${one.state('n4')}, s2 ${one.state('s2')}`)
      return `(${states.join('; ')})\n${other.log}`
    }
    await until('both are there', () => ours.every(bothAre), ALL_KNOW_MS, found)
    const start = performance.now()
    await leaving.serf.leave()
    await leaving.close()
    await until('serf sees it', async () => (await agent.members())['n4']!.startsWith('left'), 5000)
    expect(performance.now() - start).toBeLessThan(3000)
    expect(agent.log).not.toContain('EventMemberFailed: n4')
    other.child.kill('SIGINT')
    await until('ours see it', () => ours.every((one) => one.state('s2') === 'left'), 8000)
    for (const one of ours) {
      expect(one.told).not.toContain('fail n4')
      expect(one.told).not.toContain('fail s2')
    }
  })

  it('notices who is killed: ours by serf, and serf by ours, and no other', async () => {
    const victim = ours.pop()!
    await victim.close()
    await until(
      'n3 failed',
      async () => {
        const theirs = (await agent.members())['n3']!.startsWith('failed')
        return theirs && ours.every((one) => one.state('n3') === 'dead')
      },
      40_000,
    )
    agent.child.kill('SIGKILL')
    await until('s1 failed', () => ours.every((one) => one.state('s1') === 'dead'), 60_000)
    const failed = ours.flatMap(({ told }) => told.filter((what) => what.startsWith('fail')))
    expect(new Set(failed)).toEqual(new Set(['fail n3', 'fail s1']))
  })
})

function literal(text: string): string {
  return text.replaceAll(/[+/=]/g, '\\$&')
}
