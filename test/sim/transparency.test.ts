/**
 * The flow cache does not show: with it and without it a node does the same. `TWIN_SEEDS=n` runs
 * so many scenarios, `TWIN_SEED=n` one of them (with those before it on its pair of nodes).
 */
import { describe, expect, it } from 'vitest'
import { FlowPath } from '../../stack/ip/flow_path.ts'
import { Random } from '../../stack/random.ts'
import { MUTANTS } from './twin_mutants.ts'
import { type Choice, choose, configOf, readAll, stationsOf } from './twin_plan.ts'
import { Side, twinPool } from './twin_side.ts'
import { begin, next } from './twin_talk.ts'
import { type Pools, SCENARIOS_A_PAIR, Twins, twinPools } from './twins.ts'

const { CI, TWIN_SEEDS, TWIN_SEED } = process.env
const COUNT = Number(TWIN_SEEDS ?? (CI === 'true' ? 10_000 : 2_000))
const PATIENCE_MS = 600_000
/** Scenarios within which a mutant is found. */
const MUTANT_SCENARIOS = 4_000
/** Steps shown of a scenario that failed. */
const SHOWN = 60

const NETWORK: Choice['networks'][number] = {
  ...{
    six: false,
    internal: false,
    isolated: false,
    separate: false,
    filtering: false,
    proxy: true,
  },
  ...{ offload: true, guard: true, masquerade: true, mode: 'nat', mtu: 1500, policy: 0 },
}

interface Tally {
  scenarios: number
  frames: number
}

/** The scenarios of a pair of nodes up to `last`. @throws Error that says how to repeat it. */
async function runPair(pair: number, last: number, pools: Pools, tally: Tally): Promise<void> {
  const twins = new Twins(pair, pools)
  let seed = pair * SCENARIOS_A_PAIR
  try {
    for (; seed <= last; seed++) {
      await twins.run(seed)
      tally.scenarios++
    }
    await twins.finish()
  } catch (error) {
    const how = `TWIN_SEED=${seed} npx vitest run --project unit test/sim/transparency.test.ts`
    const steps = twins.story(SHOWN)
    const { message } = error as Error
    throw new Error(`seed ${seed}: ${message}\nrepeat: ${how}\nsteps:\n  ${steps}`, {
      cause: error,
    })
  } finally {
    tally.frames += twins.frames
  }
}

async function runAll(count: number, pools: Pools): Promise<Tally> {
  const tally: Tally = { scenarios: 0, frames: 0 }
  for (let first = 0; first < count; first += SCENARIOS_A_PAIR) {
    const last = Math.min(count, first + SCENARIOS_A_PAIR) - 1
    await runPair(first / SCENARIOS_A_PAIR, last, pools, tally)
  }
  return tally
}

/** Packets that the cache passed meanwhile. */
async function hitsOf(work: () => Promise<unknown>): Promise<number> {
  const { hear } = FlowPath.prototype
  let hits = 0
  FlowPath.prototype.hear = function () {
    hits++
    hear.call(this)
  }
  try {
    await work()
  } finally {
    FlowPath.prototype.hear = hear
  }
  return hits
}

it(
  'does not show',
  async () => {
    if (TWIN_SEED !== undefined) {
      const seed = Number(TWIN_SEED)
      const pair = Math.floor(seed / SCENARIOS_A_PAIR)
      await runPair(pair, seed, twinPools(), { scenarios: 0, frames: 0 })
      return
    }
    let tally: Tally = { scenarios: 0, frames: 0 }
    const hits = await hitsOf(async () => {
      tally = await runAll(COUNT, twinPools())
    })
    expect(tally.scenarios).toBe(COUNT)
    expect(hits / tally.frames).toBeGreaterThan(0.4)
  },
  PATIENCE_MS,
)

it('learns nothing from a packet for a service that goes nowhere', async () => {
  const choice: Choice = {
    ...choose(new Random(1)),
    networks: [NETWORK],
    sandboxes: [0, 1, 2].map(() => ({
      on: [0],
      present: true,
      published: false,
      policy: 0,
      rate: 0,
    })),
    ...{ uplink: false, service: 0, scheduler: 'rr', blackhole: false, routed: false },
    ...{ hidden: true, drained: false },
  }
  const all = readAll(choice)
  const side = new Side(twinPool(), 1, 64)
  await side.apply(configOf(all, choice))
  const [, client] = stationsOf(side.state, new Random(1))
  const talk = { ...begin(new Random(1), client!, Uint8Array.of(10, 0, 0, 100)), protocol: 17 }
  const send = (): number => {
    side.sent.length = 0
    side.inject(
      's1/eth0',
      next(new Random(1), { ...talk, dport: 53 }, () => undefined),
    )
    return side.sent.length
  }
  expect([send(), send(), send()]).toEqual([0, 0, 0])
  await side.apply(configOf(all, { ...choice, drained: true }))
  expect(send()).toBeGreaterThan(0)
  expect(await side.finish()).toEqual([])
})

describe('it would show if it forgot to ask whether', () => {
  it.each(Object.entries(MUTANTS))(
    '%s',
    async (_, plant) => {
      const pools = twinPools()
      const remove = plant(pools)
      try {
        await expect(runAll(MUTANT_SCENARIOS, pools)).rejects.toThrow(/^seed \d+: (frame|view)/)
      } finally {
        remove()
      }
    },
    PATIENCE_MS,
  )
})
