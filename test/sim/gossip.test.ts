/**
 * Clusters of gossip sources over real membership, by seed: after whatever happened, every node
 * has in force exactly what the others have. `GOSSIP_SEED=n` runs one of them; the whole size is
 * run by `npm run bench:gossip`.
 */
import { describe, expect, it } from 'vitest'
import { GossipWorld, type WorldNode } from '../../bench/gossip/world.ts'

const { GOSSIP_SEED } = process.env
const SEEDS = GOSSIP_SEED === undefined ? [1, 2] : [Number(GOSSIP_SEED)]

/** Networks of a node: each is in two or three of four. */
function vnisOf(i: number): number[] {
  return [101, 102, 103, 104].filter((_, at) => ((i * 7) >> at) % 2 === 0 || at === i % 4)
}

async function expectAgreement(world: GossipWorld, limitMs: number, what: string): Promise<void> {
  const ms = await world.until(() => world.isAgreed(), limitMs)
  expect(ms === undefined ? world.differences() : [], what).toEqual([])
}

/** Endpoints come, go and move. */
async function churn(world: GossipWorld, ms: number): Promise<void> {
  const { random } = world
  const end = world.clock.nowMs + ms
  while (world.clock.nowMs < end) {
    const nodes = [...world.nodes.values()]
    const node = nodes[random.below(nodes.length)]!
    const vnis = [...node.own.keys()]
    const vni = vnis[random.below(vnis.length)]!
    const own = node.own.get(vni)!
    const numbers = [...own.endpoints.keys()]
    if (numbers.length > 0 && random.chance(60)) {
      const number = numbers[random.below(numbers.length)]!
      world.withdraw(node, vni, number)
      const target = nodes.find((other) => other !== node && other.own.has(vni))
      if (target !== undefined && random.chance(40)) world.announce(target, vni, number)
    } else world.announce(node, vni, world.freshNumber())
    await world.run(random.below(60))
  }
}

describe('gossip', { timeout: 600_000 }, () => {
  it.each(SEEDS)(
    'agrees after joins, churn, loss, partition, deaths and restarts: %i',
    async (seed) => {
      const world = new GossipWorld(seed)
      await world.startMany(24, 20, vnisOf)
      for (const node of world.nodes.values()) {
        for (const vni of node.own.keys()) {
          for (let i = 0; i < 10; i++) world.announce(node, vni, world.freshNumber())
        }
      }
      await expectAgreement(world, 60_000, 'after joining')
      await churn(world, 10_000)
      await expectAgreement(world, 60_000, 'after churn')

      world.network.faults = { ...world.network.faults, lossPct: 30 }
      await churn(world, 10_000)
      await expectAgreement(world, 120_000, 'with 30 % loss')
      world.network.faults = { ...world.network.faults, lossPct: 0 }

      const all = [...world.nodes.values()]
      const halves = [all.slice(0, 12), all.slice(12)]
      world.network.partition(halves.map((half) => half.map(({ transport }) => transport)))
      await churn(world, 30_000)
      world.network.heal()
      await expectAgreement(world, 120_000, 'after a partition of 30 s')

      const dead = all.slice(3, 6)
      for (const node of dead) world.kill(node)
      await churn(world, 5000)
      // One comes back under its name and address, before the others believe that it is dead.
      const again = world.start(dead[0]!.number, vnisOf(dead[0]!.number))
      for (const vni of again.own.keys()) world.announce(again, vni, world.freshNumber())
      await expectAgreement(world, 180_000, 'after deaths and a restart')
      expect(world.differences()).toEqual([])
      expect([...world.nodes.values()].map(strangeness)).toEqual(all.slice(2).map(() => [0, 0]))
      world.close()
      await world.run(60_000)
      expect(world.clock.pending, 'timers left').toBe(0)
    },
  )

  it('does the same again from the same seed', async () => {
    const runs: string[] = []
    for (let i = 0; i < 2; i++) {
      const world = new GossipWorld(7)
      world.network.faults = { ...world.network.faults, lossPct: 10 }
      await world.startMany(10, 10, () => [5])
      for (const node of world.nodes.values()) world.announce(node, 5, world.freshNumber())
      await churn(world, 5000)
      runs.push(JSON.stringify([world.traffic(), world.truth.get(5)!.hash, world.isAgreed()]))
      world.close()
    }
    expect(runs[1]).toBe(runs[0])
  })
})

function strangeness({ source }: WorldNode): number[] {
  const { malformed, reboots } = source.tables.stats
  return [malformed, reboots]
}
