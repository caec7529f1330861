/**
 * A million frames through a warm bridge make no garbage: the heap does not grow, and the collector
 * does not run. One object a packet would be tens of megabytes and several collections.
 *
 * The heap is measured between chunks and its growth summed, because a collection in the middle
 * would hide what was collected. Node tells of collections late: hence the wait.
 */
import { PerformanceObserver, performance } from 'node:perf_hooks'
import { setTimeout } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { VirtualClock } from '../../stack/clock.ts'
import { Bridge } from '../../stack/eth/bridge.ts'
import type { BridgePort } from '../../stack/eth/bridge_port.ts'
import { type Packet, Pool } from '../../stack/packet.ts'
import { BROADCAST, frame, station } from './bridge_lab.ts'

const FRAMES = 1_000_000
const CHUNKS = 10
/** After this, every collection of the round has been reported. */
const REPORTED_MS = 50
/** Room for what the compiler and the runner leave behind; a byte a frame would be twice this. */
const GROWTH_MAX_BYTES = 500_000
/** A collection may be due for reasons of others: it must not be in every round. */
const ROUNDS = 4

interface Rig {
  readonly pool: Pool
  readonly clock: VirtualClock
  readonly ports: readonly BridgePort[]
  readonly frames: readonly Uint8Array[]
  close(): void
}

function rig(vlanFiltering: boolean, frames: readonly Uint8Array[]): Rig {
  const pool = new Pool({ smallCount: 16, largeCount: 0 })
  const clock = new VirtualClock()
  const bridge = new Bridge({ name: 'b', pool, clock, seed: 1, vlanFiltering })
  const output = (packet: Packet): void => pool.free(packet)
  const storm = { broadcastPerS: 1e9, unknownPerS: 1e9 }
  const trunk = vlanFiltering ? { vlan: { tagged: [7] } } : {}
  const access = vlanFiltering ? { vlan: { pvid: 7 } } : {}
  const ports = [0, 1, 2, 3].map((port) =>
    bridge.addPort({ name: `p${port}`, port, output, storm, ...(port === 0 ? trunk : access) }),
  )
  return { pool, clock, ports, frames, close: () => bridge.close() }
}

/** `frames[i]` goes in by port i. Time passes, so that refreshing writes new numbers. */
function run({ pool, clock, ports, frames }: Rig, count: number): void {
  for (let i = 0; i < count; i++) {
    const port = i & 3
    const bytes = frames[port]!
    const packet = pool.alloc(bytes.length)!
    for (let k = 0; k < bytes.length; k++) pool.mem[packet.head + k] = bytes[k]!
    packet.len = bytes.length
    if (port === 0) clock.nowMs += 0.001
    ports[port]!.input(packet)
  }
}

/** The quietest of a few rounds: bytes by which the heap grew, and collections meanwhile. */
async function garbage(rig: Rig): Promise<{ grownBytes: number; collections: number }> {
  const starts: number[] = []
  const observer = new PerformanceObserver((list) => {
    for (const { startTime } of list.getEntries()) starts.push(startTime)
  })
  observer.observe({ entryTypes: ['gc'] })
  run(rig, 300_000)
  let best = { grownBytes: Number.POSITIVE_INFINITY, collections: Number.POSITIVE_INFINITY }
  for (let round = 0; round < ROUNDS; round++) {
    const from = performance.now()
    let grownBytes = 0
    for (let chunk = 0; chunk < CHUNKS; chunk++) {
      const before = process.memoryUsage().heapUsed
      run(rig, FRAMES / CHUNKS)
      grownBytes += Math.max(0, process.memoryUsage().heapUsed - before)
    }
    const until = performance.now()
    await setTimeout(REPORTED_MS)
    const collections = starts.filter((at) => at >= from && at <= until).length
    if (grownBytes < best.grownBytes) best = { grownBytes, collections }
    if (collections === 0 && grownBytes < GROWTH_MAX_BYTES) break
  }
  observer.disconnect()
  return best
}

function ring(tagged: boolean, dst: (port: number) => string): Uint8Array[] {
  return [0, 1, 2, 3].map((port) =>
    frame({
      dst: dst(port),
      src: station(port + 1),
      tags: tagged && port === 0 ? [{ vid: 7 }] : [],
      payload: new Uint8Array(46),
    }),
  )
}

describe('a million frames without garbage', () => {
  test.each([
    ['known unicast', false, ring(false, (port) => station(((port + 1) & 3) + 1))],
    ['known unicast, tags pushed and popped', true, ring(true, (p) => station(((p + 1) & 3) + 1))],
    ['broadcast', false, ring(false, () => BROADCAST)],
    ['unknown unicast over a trunk', true, ring(true, () => station(99))],
  ])('%s', async (_, filtering, frames) => {
    const made = rig(filtering, frames)
    const { grownBytes, collections } = await garbage(made)
    expect(collections).toBe(0)
    expect(grownBytes).toBeLessThan(GROWTH_MAX_BYTES)
    expect(made.pool.leaks()).toEqual([])
    made.close()
  })
})
