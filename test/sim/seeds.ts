/**
 * Simulations by the hundred. `SIM_SEEDS=n` runs so many, `SIM_SEED=n` one of them. A failing one
 * is run once more, with every allocation remembered and every frame captured, and says how to
 * repeat it. Two test files share the seeds, so that two cores do.
 */
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'vitest'
import { type Outcome, Simulation } from './simulation.ts'

const { CI, SIM_SEEDS, SIM_SEED } = process.env
const COUNT = Number(SIM_SEEDS ?? (CI === 'true' ? 1000 : 150))
/** Far more than any takes: a simulation that is stuck in a real loop is killed by the runner. */
export const PATIENCE_MS = 600_000

export async function simulate(seed: number): Promise<Outcome> {
  try {
    return await new Simulation({ seed }).run()
  } catch (first) {
    const parts: Uint8Array[] = []
    const again = new Simulation({ seed, checked: true, record: (bytes) => parts.push(bytes) })
    const second = await again.run().then(
      () => undefined,
      (error: unknown) => error as Error,
    )
    const file = join(mkdtempSync(join(tmpdir(), 'tapline-sim-')), `seed-${seed}.pcapng`)
    writeFileSync(file, Buffer.concat(parts))
    const { message } = second ?? (first as Error)
    const how = `SIM_SEED=${seed} npx vitest run --project unit test/sim`
    throw new Error(`seed ${seed}: ${message}\nrepeat: ${how}\ncapture: ${file}`, { cause: first })
  }
}

/** Run every second seed, from `first` on. */
export async function simulateEverySecond(first: 0 | 1): Promise<void> {
  if (SIM_SEED !== undefined) {
    if (Number(SIM_SEED) % 2 === first) await simulate(Number(SIM_SEED))
    return
  }
  let runs = 0
  let messages = 0
  let pings = 0
  for (let seed: number = first; seed < COUNT; seed += 2) {
    const outcome = await simulate(seed)
    runs++
    messages += outcome.messages
    pings += outcome.pings
  }
  // Simulations in which nothing got through would prove nothing.
  expect(messages).toBeGreaterThan(runs)
  expect(pings).toBeGreaterThan(runs / 20)
}
