/**
 * Frames of every kind, mutated, into a whole node: nothing throws, every packet comes back, the
 * tables stay bounded, and afterwards the network works as before. `FUZZ_ROUNDS` and `FUZZ_SEED`
 * make it longer, or another one.
 *
 * The fuzzer is led by what it causes: a frame that makes the node do something new (another set
 * of drops, answers and copies) is mutated further.
 */
import { describe, expect, it } from 'vitest'
import { Count } from '../../stack/counters.ts'
import { DROP_NAMES, DropReason } from '../../stack/drop.ts'
import { Random } from '../../stack/random.ts'
import { corpus, type Frame } from './corpus.ts'
import { FuzzNode } from './lab.ts'
import { garbage, mutate } from './mutate.ts'

const { FUZZ_ROUNDS, FUZZ_SEED } = process.env
const ROUNDS = Number(FUZZ_ROUNDS ?? 15000)
const SEED = Number(FUZZ_SEED ?? 1)
const SANDBOXES = 7
const ENDS = ['web/eth0', 'db/eth0', 't1/eth0', 'vault/eth0']

/** Frames to mutate: the corpus, and those that had an effect of their own. */
class Breeding {
  readonly #random: Random
  readonly #frames: Frame[]
  readonly #effects = new Set<string>()

  constructor(random: Random, frames: readonly Frame[]) {
    this.#random = random
    this.#frames = [...frames]
  }

  get effects(): number {
    return this.#effects.size
  }

  next(): Frame {
    const random = this.#random
    if (random.chance(3)) return garbage(random)
    const frame = this.#one()
    return random.chance(5) ? frame : mutate(random, frame, this.#one())
  }

  learn(frame: Frame, effect: string): void {
    if (this.#effects.has(effect)) return
    this.#effects.add(effect)
    this.#frames.push(frame)
  }

  #one(): Frame {
    return this.#frames[this.#random.below(this.#frames.length)]!
  }
}

describe('a node under fuzzed frames', () => {
  it('takes every valid frame for what it is', async () => {
    const node = new FuzzNode(SEED)
    await node.up()
    const all = corpus(node.parties())
    expect(new Set(all.map(({ what }) => what)).size).toBe(all.length)
    const ends: Record<string, string> = {}
    for (const frame of all) {
      const before = drops(node)
      node.inject(node.end('web/eth0'), frame)
      node.run(20)
      const after = drops(node)
      const reasons = DROP_NAMES.filter((_, reason) => after[reason] !== before[reason])
      ends[frame.what] = reasons.filter((name) => name !== 'delivered').join(' ')
    }
    expect(ends).toMatchSnapshot()
    expect(await node.down()).toEqual([])
  })

  it(`survives ${ROUNDS} mutated frames`, async () => {
    const node = new FuzzNode(SEED)
    await node.up()
    const breeding = new Breeding(new Random(SEED), corpus(node.parties()))
    let before = effects(node)
    for (let n = 0; n < ROUNDS; n++) {
      const frame = breeding.next()
      const end = ENDS[n % ENDS.length]!
      try {
        node.inject(node.end(end), frame)
        node.run(n % 50 === 0 ? 700 : 0)
      } catch (cause) {
        const hex = Buffer.from(frame.bytes).toString('hex')
        const facts = JSON.stringify(frame.facts)
        throw new Error(`frame ${n} of seed ${SEED}: ${frame.what} ${facts} ${hex}`, { cause })
      }
      const after = effects(node)
      const changed = after.map((value, i) => Math.min(3, value - before[i]!))
      if (n % 50 !== 0) breeding.learn(frame, `${end} ${changed.join('')}`)
      before = after
    }
    expect(breeding.effects).toBeGreaterThan(60)
    expect(node.controller.fdb().length).toBeLessThan(9000)
    expect(node.controller.neigh().length).toBeLessThan(8300)
    node.run(200_000)
    const { counters } = node.pool
    expect(counters.dropTotal(DropReason.IpMalformed)).toBeGreaterThan(ROUNDS / 100)
    expect(counters.dropTotal(DropReason.ArpMalformed)).toBeGreaterThan(0)
    expect(counters.dropTotal(DropReason.NdMalformed)).toBeGreaterThan(0)
    expect(counters.dropTotal(DropReason.FrameOffloadBad)).toBeGreaterThan(0)
    await worksAgain(node)
    expect(await node.down()).toEqual([])
  })

  it('survives a flood of random stations', async () => {
    const node = new FuzzNode(SEED)
    await node.up()
    const random = new Random(SEED)
    const end = node.end('old/eth0')
    for (let n = 0; n < ROUNDS; n++) {
      const bytes = Uint8Array.from({ length: 60 }, () => random.bits())
      bytes.set([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2], 0)
      node.inject(end, {
        what: 'flood',
        bytes,
        facts: { gsoType: 0, gsoSize: 0, csumStart: 0, csumOffset: 0 },
      })
      if (n % 64 === 0) node.run(1)
    }
    node.run(100)
    expect(node.controller.fdb('back').length).toBeLessThan(9000)
    await worksAgain(node)
    expect(await node.down()).toEqual([])
  })
})

const PORTS = Array.from({ length: 2 * SANDBOXES + 1 }, (_, port) => port)

/** Drops by reason, over the few ports that this node and its hosts have. */
function drops(node: FuzzNode): number[] {
  const { counters } = node.pool
  return DROP_NAMES.map((_, reason) =>
    PORTS.reduce((sum, port) => sum + counters.drops(port, reason), 0),
  )
}

/** What can be told apart from outside: drops by reason, and frames sent by port. */
function effects(node: FuzzNode): number[] {
  const { counters } = node.pool
  return [...drops(node), ...PORTS.map((port) => counters.value(port, Count.TxPackets))]
}

/** Sandboxes that nobody impersonated reach each other and the gateway, in both families. */
async function worksAgain(node: FuzzNode): Promise<void> {
  const app = node.links.host('app')!
  const db = node.links.host('db')!
  const pairs = [
    [app, '10.1.0.1'],
    [app, 'fd00:1::1'],
    [app, '10.2.0.22'],
    [app, 'fd00:2::22'],
    [db, '10.1.0.12'],
    [db, 'fd00:1::12'],
  ] as const
  for (const [host, to] of pairs) {
    let reply: unknown
    // Neighbors may have to be forgotten first, which takes a lost packet and some seconds.
    for (let tries = 0; tries < 3 && reply === undefined; tries++) {
      reply = await host.ping(to, { timeoutMs: 10_000 }).catch(() => undefined)
    }
    expect(reply, `${host.name} to ${to}`).toMatchObject({ from: to })
  }
}
