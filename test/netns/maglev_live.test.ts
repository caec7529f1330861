/**
 * A service of ten backends with hundreds of connections that live: one backend is removed, one
 * drains, one dies, and weights change. In each case only the connections of that backend may
 * notice. Both families, from a neighbor (hairpin) and from outside by a published port.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Client } from '../../services/client.ts'
import type { ServiceRow } from '../../services/views_outside.ts'
import { Lab } from './lab.ts'
import { FRONT, OUT4, OWN4 } from './outside.ts'
import { COUNT, KEEP, type Kept, NAMED_TCP, Talk } from './talk.ts'

const VIP4 = '10.1.0.100'
const VIP6 = 'fd00:1::100'

const NAMES = Array.from({ length: 10 }, (_, i) => `w${i}`)
const INTERVAL_MS = 1000
const RETRIES = 2
/** For a machine that does something else, and for asking the daemon. */
const MARGIN_MS = 900
/** From each client: a backend without any has a chance of 10^-9. */
const KEPT = 70
/** Answers that show that a connection goes on. */
const ANSWERS = 5
/** New connections that must all avoid a backend: by chance 10^-9 would. */
const AVOIDING = 200
const WEIGHED = 2800
/** A share that is off by more than this many deviations is not due to chance: once in 10^6. */
const DEVIATIONS = 5
/** How far the table itself may be off. */
const TABLE_PCT = 2

type Weights = Readonly<Record<string, number>>

const EVEN: Weights = Object.fromEntries(NAMES.map((name) => [name, 1]))

function file(lab: Lab, weights: Weights): string {
  const sandboxes = NAMES.map((name, i) => {
    const addresses = `ipv4_address: 10.1.0.${20 + i}, ipv6_address: "fd00:1::${20 + i}"`
    return `  ${name}: { netns: ${lab.ns(name)}, networks: { front: { ${addresses} } } }`
  })
  const backends = Object.entries(weights).map(([name, weight]) => {
    return `      ${name}: { weight: ${weight} }`
  })
  return `
name: ${lab.prefix}
networks:
${FRONT}
sandboxes:
${sandboxes.join('\n')}
  app:
    netns: ${lab.ns('app')}
    networks: { front: { ipv4_address: 10.1.0.13, ipv6_address: "fd00:1::13" } }
services:
  web:
    network: front
    vip: [ ${VIP4}, "${VIP6}" ]
    ports: [ { target: 80, published: 8081 } ]
    scheduler: maglev
    backends:
${backends.join('\n')}
    healthcheck:
      { type: tcp, port: 80, interval: ${INTERVAL_MS}ms, timeout: 200ms, retries: ${RETRIES} }
uplink:
  netns: ${lab.ns('out')}
  addresses: [ ${OWN4}/24 ]
  peer_addresses: [ ${OUT4}/24 ]
  gateway: ${OUT4}
`
}

describe('ten backends with maglev and connections that live', () => {
  const lab = new Lab()
  const client = new Client(lab.socket)
  const servers = new Map<string, Talk>()
  const clients: Talk[] = []

  const state = async (name: string): Promise<string | undefined> => {
    const [service] = await client.get<ServiceRow[]>('services')
    return service!.backends.find(({ sandbox }) => sandbox === name)?.state
  }
  const apply = async (weights: Weights): Promise<void> => {
    lab.write(file(lab, weights))
    expect(await lab.cli('apply', lab.file)).toMatchObject({ code: 0, stderr: '' })
  }
  const kept = async (): Promise<Kept[]> =>
    (await Promise.all(clients.map((talk) => talk.ask<Kept[]>('?')))).flat()
  /** New connections by who answered, from a neighbor in both families and from outside. */
  const count = async (each: number): Promise<Record<string, number>[]> => {
    const places = [
      ['app', VIP4, '80'],
      ['app', VIP6, '80'],
      ['out', OWN4, '8081'],
    ] as const
    return Promise.all(
      places.map(async ([from, address, port]) => {
        const talk = new Talk(lab, from, COUNT, address, port)
        const counts = await talk.ask<Record<string, number>>(`${each}`)
        talk.child.kill('SIGKILL')
        return counts
      }),
    )
  }
  /** All connections but those to `names` have answers as before, from whom they had them. */
  const goOn = async (...names: string[]): Promise<void> => {
    const before = await kept()
    const others = (links: readonly Kept[]): Kept[] =>
      links.filter((_, i) => !names.includes(before[i]!.name))
    await expect
      .poll(
        async () => {
          const gained = (await kept()).map((link, i) => ({
            ...link,
            count: link.count - before[i]!.count,
          }))
          return Math.min(...others(gained).map((link) => link.count))
        },
        { timeout: 20_000 },
      )
      .toBeGreaterThan(ANSWERS)
    const after = others(await kept())
    expect(after.filter(({ broken, moved }) => broken || moved)).toEqual([])
    expect(after.length).toBeGreaterThan(KEPT)
  }

  beforeAll(async () => {
    await lab.up(file(lab, EVEN))
  })

  afterAll(async () => {
    expect(await lab.end()).toEqual({ code: 0, left: [] })
  })

  it('gives each backend some, and keeps them there', async () => {
    for (const name of NAMES) servers.set(name, new Talk(lab, name, NAMED_TCP, '80', name))
    for (const server of servers.values()) expect(await server.hear()).toBe('"listens"')
    const states = () => Promise.all(NAMES.map(state))
    await expect.poll(states, { timeout: 20_000 }).toEqual(NAMES.map(() => 'up'))
    clients.push(
      new Talk(lab, 'app', KEEP, VIP4, '80', `${KEPT}`),
      new Talk(lab, 'app', KEEP, VIP6, '80', `${KEPT}`),
      new Talk(lab, 'out', KEEP, OWN4, '8081', `${KEPT}`),
    )
    for (const talk of clients) expect(await talk.hear()).toBe('"answered"')
    const names = (await kept()).map(({ name }) => name)
    expect([...new Set(names)].sort()).toEqual(NAMES)
    await goOn()
  }, 120_000)

  it('ends the connections of a backend that is removed, and no other', async () => {
    const { w9: _, ...others } = EVEN
    await apply(others)
    await goOn('w9')
    const gone = async () => (await kept()).filter(({ name }) => name === 'w9')
    expect((await gone()).length).toBeGreaterThan(0)
    const left = async () => (await gone()).filter(({ broken, moved }) => !broken || moved)
    await expect.poll(left, { timeout: 10_000 }).toEqual([])
    for (const counts of await count(AVOIDING)) {
      expect(counts['w9'] ?? 0).toBe(0)
      expect(counts['-'] ?? 0).toBe(0)
    }
  }, 120_000)

  it('gives a draining backend no new connection, and leaves it those it has', async () => {
    await client.post('services/drain', { service: 'web', backend: 'w8' })
    expect(await state('w8')).toBe('draining')
    for (const counts of await count(AVOIDING)) {
      expect(counts['w8'] ?? 0).toBe(0)
      expect(counts['-'] ?? 0).toBe(0)
    }
    await goOn('w9')
    expect((await kept()).some(({ name }) => name === 'w8')).toBe(true)
  }, 120_000)

  it('puts a dead backend out in time, and only its connections stop', async ({ annotate }) => {
    await lab.exec('w7', 'ip', 'link', 'set', 'eth0', 'down')
    const downMs = performance.now()
    servers.get('w7')!.child.kill('SIGKILL')
    await expect.poll(() => state('w7'), { timeout: 20_000, interval: 20 }).toBe('down')
    const outMs = performance.now() - downMs
    await annotate(`out after ${Math.round(outMs)} ms`)
    expect(outMs).toBeLessThan(INTERVAL_MS * RETRIES + MARGIN_MS)
    const dead = async () => (await kept()).filter(({ name }) => name === 'w7')
    const stopped = await dead()
    expect(stopped.length).toBeGreaterThan(0)
    await goOn('w9', 'w7')
    // They wait for an answer, and nobody else gives them one.
    expect(await dead()).toEqual(stopped)
    for (const counts of await count(AVOIDING)) {
      expect(counts['w7'] ?? 0).toBe(0)
      expect(counts['-'] ?? 0).toBe(0)
    }
  }, 120_000)

  it('spreads new connections by weight, and moves none of the others', async ({ annotate }) => {
    // w7 is dead, and removed with this.
    const weights: Record<string, number> = { w8: 0 }
    for (let i = 0; i < 7; i++) weights[`w${i}`] = i + 1
    const all = 1 + 2 + 3 + 4 + 5 + 6 + 7
    await apply(weights)
    for (const counts of await count(WEIGHED)) {
      for (let i = 0; i < 7; i++) {
        const share = (i + 1) / all
        const deviation = Math.sqrt(WEIGHED * share * (1 - share))
        const limit = DEVIATIONS * deviation + (TABLE_PCT / 100) * WEIGHED * share
        const off = Math.abs((counts[`w${i}`] ?? 0) - WEIGHED * share)
        expect(off, `w${i} of ${JSON.stringify(counts)}`).toBeLessThan(limit)
      }
      const answered = NAMES.slice(0, 7).reduce((sum, name) => sum + (counts[name] ?? 0), 0)
      expect(answered).toBe(WEIGHED)
      await annotate(JSON.stringify(counts))
    }
    await goOn('w9', 'w7')
  }, 180_000)
})
