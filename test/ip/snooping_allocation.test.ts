/** Snooping makes no garbage: data to groups, reports that repeat what is known, and questions. */
import { expect, it } from 'vitest'
import { VirtualClock } from '../../stack/clock.ts'
import { Bridge } from '../../stack/eth/bridge.ts'
import { Snooper } from '../../stack/ip/snooping.ts'
import { Pool } from '../../stack/packet.ts'
import { garbageOf } from '../collections.ts'
import { asks, bytesOf, data, join, LINUX } from './group_lab.ts'
import { packetOf } from './nat_bed.ts'

const WARM = 60_000
const COUNT = 500_000

it.each([
  ['data, IPv4', data('239.1.2.3')],
  ['data, IPv6', data('ff05::1:3')],
  ['data that nobody wants', data('ff05::1:4')],
  ['a report of IGMPv3', bytesOf(LINUX.join4v3)],
  ['a report of MLDv2', bytesOf(LINUX.join6v2)],
  ['a question', asks('fe80::1')],
])('%s', async (_, bytes) => {
  const pool = new Pool({ smallCount: 16, largeCount: 0 })
  const clock = new VirtualClock()
  const rest = { seed: 7, portsMax: 64, vlans: 1 }
  const groups = new Snooper({ pool, clock, ...rest })
  const bridge = new Bridge({ name: 'b', pool, clock, seed: 1, groups })
  let out = 0
  const ports = ['a', 'b', 'c', 'q'].map((name, port) =>
    bridge.addPort({
      name,
      port,
      output: (packet) => {
        out++
        pool.free(packet)
      },
    }),
  )
  for (const source of ['10.1.0.1', 'fe80::1']) ports[3]!.input(packetOf(pool, asks(source)))
  clock.jump(10_001)
  for (const port of [1, 2]) {
    for (const group of ['239.1.2.3', 'ff05::1:3']) ports[port]!.input(packetOf(pool, join(group)))
  }
  const run = (count: number): void => {
    for (let i = 0; i < count; i++) ports[0]!.input(packetOf(pool, bytes))
  }
  run(WARM)
  out = 0
  const { collections, grownBytes } = await garbageOf(() => run(COUNT))
  expect(out).toBeGreaterThanOrEqual(COUNT)
  expect(collections).toBeLessThanOrEqual(1)
  expect(grownBytes).toBeLessThan(COUNT)
  groups.close()
  bridge.close()
  expect(pool.leaks()).toEqual([])
})
