/** Simulations of even seeds; see seeds.ts. */
import { it } from 'vitest'
import { PATIENCE_MS, simulateEverySecond } from './seeds.ts'

it('keeps its books whatever happens (even seeds)', { timeout: PATIENCE_MS }, async () => {
  await simulateEverySecond(0)
})
