/**
 * UDP sockets pass the underlay suite over a veth pair: both engines, both families. The pair is
 * made once, and with it the kernels' neighbors, whose first question an IPv6 kernel asks again
 * after a second; sockets, engines and pools are each test's own.
 */
import { afterAll } from 'vitest'
import { parseAddress } from '../../stack/address.ts'
import { SystemClock } from '../../stack/clock.ts'
import type { Engine } from '../../stack/engine.ts'
import { inNetns } from '../../stack/native/netns.ts'
import { PollEngine } from '../../stack/native/poll_engine.ts'
import { mapSlab } from '../../stack/native/slab.ts'
import { UringEngine } from '../../stack/native/uring_engine.ts'
import { Pool, poolBytes } from '../../stack/packet.ts'
import { SocketUnderlay } from '../../stack/udp/socket_underlay.ts'
import { type UnderlayEnd, type UnderlayFixture, underlaySuite } from '../conformance/underlay.ts'
import { makeWire, type Wire } from './wire.ts'

type OpenEngine = (pool: Pool) => Engine

const PATIENCE_MS = 3000
interface OpenEnd extends UnderlayEnd {
  readonly engine: Engine
  readonly clock: SystemClock
}

function openEnd(netns: string, address: string, openEngine: OpenEngine): OpenEnd {
  const counts = { smallCount: 256, largeCount: 64 }
  const pool = new Pool({ ...counts, memory: mapSlab(poolBytes(counts)), checked: true })
  const engine = openEngine(pool)
  const clock = new SystemClock()
  const options = { pool, engine, clock, seed: 977, address: parseAddress(address) }
  const underlay = inNetns(netns, () => new SocketUnderlay({ ...options, udpPort: 4789 }))
  return { pool, underlay, engine, clock }
}

let wire: Wire | undefined
afterAll(() => wire?.remove())

function make(family: 4 | 6, openEngine: OpenEngine): UnderlayFixture {
  wire ??= makeWire()
  const prefix = family === 4 ? '10.200.0.' : 'fd00:200::'
  const a = openEnd(wire.names[0], `${prefix}1`, openEngine)
  const b = openEnd(wire.names[1], `${prefix}2`, openEngine)
  return {
    a,
    b,
    async settle(done) {
      const until = performance.now() + PATIENCE_MS
      do {
        a.engine.poll(256)
        b.engine.poll(256)
        if (done()) return
        await new Promise((resolve) => setTimeout(resolve, 1))
      } while (performance.now() < until)
    },
    cleanup() {
      a.engine.close()
      b.engine.close()
    },
  }
}

const engines: readonly [string, OpenEngine][] = [
  ['io_uring', (pool) => new UringEngine(pool)],
  ['poll', (pool) => new PollEngine(pool)],
]

for (const [name, openEngine] of engines) {
  for (const family of [4, 6] as const) {
    underlaySuite({ name: `udp, IPv${family} (${name})`, make: () => make(family, openEngine) })
  }
}
