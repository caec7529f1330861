/** A fabric goes on while a test fakes the timers of the code that it tests. */
import { performance } from 'node:perf_hooks'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { createFabric } from '../../services/fabric/library.ts'
import { PcapngReader } from '../../stack/eth/pcapng_reader.ts'

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

it('dates what it captures by the clock of the machine', async () => {
  const machineMs = performance.timeOrigin
  vi.setSystemTime(0)
  await using fabric = await createFabric({ clock: 'system' })
  await fabric.network('front', { subnets: ['10.1.0.0/24'] })
  const web = await fabric.sandbox('web', { networks: ['front'] })
  const capture = fabric.capture()
  await web.ping('10.1.0.1')
  const reader = new PcapngReader()
  reader.push(capture.bytes())
  expect(reader.next()?.timeUs).toBeGreaterThan(machineMs * 1000)
})
