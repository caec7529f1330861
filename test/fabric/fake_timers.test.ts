/** A fabric goes on while a test fakes the timers of the code that it tests. */
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { createFabric } from '../../services/fabric/library.ts'

beforeEach(() => {
  vi.useFakeTimers()
})
afterEach(() => {
  vi.useRealTimers()
})

it.each(['virtual', 'system'] as const)('passes time of the %s clock', async (clock) => {
  await using fabric = await createFabric({ clock })
  await fabric.network('front')
  const web = await fabric.sandbox('web', { networks: ['front'] })
  const db = await fabric.sandbox('db', { networks: ['front'] })
  fabric.link('web', 'front').faults({ delayMs: 5 })
  expect((await web.ping(db)).rttMs).toBeGreaterThanOrEqual(10)
  db.serve(80, (_request, response) => response.end('hello'))
  expect((await web.fetch('http://db/')).text).toBe('hello')
  await fabric.advance(20)
})
