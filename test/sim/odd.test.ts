/** Simulations of odd seeds, and that a seed is all that a run depends on; see seeds.ts. */
import { expect, it } from 'vitest'
import { PATIENCE_MS, simulate, simulateEverySecond } from './seeds.ts'

it('keeps its books whatever happens (odd seeds)', { timeout: PATIENCE_MS }, async () => {
  await simulateEverySecond(1)
})

it('is repeated by its seed', async () => {
  for (const seed of [3, 14, 15, 92]) {
    const [first, second] = [await simulate(seed), await simulate(seed)]
    expect(second).toEqual(first)
  }
})
