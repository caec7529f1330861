/** A cable without faults allocates nothing for a frame. */
import { expect, it } from 'vitest'
import { VirtualClock } from '../../stack/clock.ts'
import { Cable } from '../../stack/eth/memory.ts'
import { Pool } from '../../stack/packet.ts'
import { Random } from '../../stack/random.ts'

const FRAMES = 200_000
/** One small object a frame would be 16 octets each. */
const NOISE_BYTES = FRAMES * 4

it('carries frames without allocating', () => {
  const pool = new Pool({ smallCount: 8, largeCount: 1 })
  const clock = new VirtualClock()
  const cable = new Cable({ name: 'c', pool, clock, random: new Random(1) })
  cable.b.output = (packet) => pool.free(packet)
  const run = (): void => {
    for (let i = 0; i < FRAMES; i++) {
      const packet = pool.alloc(60)!
      packet.len = 60
      cable.a.transmit(packet)
      cable.b.poll(64)
    }
  }
  run()
  let least = Number.POSITIVE_INFINITY
  for (let attempt = 0; attempt < 5 && least > NOISE_BYTES; attempt++) {
    const before = process.memoryUsage().heapUsed
    run()
    const growth = process.memoryUsage().heapUsed - before
    // A collection in between says nothing: another attempt.
    if (growth >= 0) least = Math.min(least, growth)
  }
  expect(least).toBeLessThan(NOISE_BYTES)
  cable.close()
  expect(pool.leaks()).toEqual([])
})
