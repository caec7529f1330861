/** Policies and rate limits make no garbage: half a million packets, and not one collection. */
import { expect, test } from 'vitest'
import { VirtualClock } from '../../stack/clock.ts'
import { Policy } from '../../stack/ip/policy.ts'
import { PolicyFlows } from '../../stack/ip/policy_flows.ts'
import { RateLimit } from '../../stack/ip/rate_limit.ts'
import { type Packet, Pool } from '../../stack/packet.ts'
import { Random } from '../../stack/random.ts'
import { garbageOf } from '../collections.ts'
import { echo6, frame, HOST_MAC, icmp6, pattern, tcp, udp } from './lab.ts'
import { packetOf } from './nat_bed.ts'
import { rules } from './policy_lab.ts'

const WARM = 60_000
const COUNT = 500_000
const V4 = { from: '10.1.0.11', to: '10.2.0.22' }
const V6 = { from: 'fd00:1::11', to: 'fd00:2::22' }
const cases: readonly [string, Uint8Array, boolean][] = [
  ['UDP', udp(V4, { to: 53 }, pattern(20)), true],
  ['TCP', tcp(V6, { to: 80, flags: 16 }, pattern(20)), true],
  ['an echo', echo6(V6, pattern(20)), true],
  ['what is denied', udp(V6, { to: 54 }, pattern(20)), false],
  ['discovery', icmp6({ ...V6, hops: 255 }, pattern(24).with(0, 135)), true],
]

test.each(cases)('%s', async (_, ip, passes) => {
  const pool = new Pool({ smallCount: 4, largeCount: 1 })
  const clock = new VirtualClock()
  const flows = new PolicyFlows({ pool, clock, random: new Random(3), flowsMax: 64 })
  const list = rules('deny udp 192.0.2.0/24,10.9.0.0/16', 'deny udp - 54', 'allow')
  const spec = { egress: list, ingress: list }
  const policy = new Policy({ pool, flows, port: 1, name: 'web/eth0', spec })
  const rate = { bitsPerS: 1e12, packetsPerS: undefined, burstMs: 60_000 }
  const limit = new RateLimit({ pool, clock, spec: rate, text: '', name: 'web/eth0' })
  let passed = 0
  const input = limit.before(
    policy.egress((packet: Packet) => {
      passed++
      pool.free(packet)
    }),
  )
  const bytes = frame(HOST_MAC, ip)
  const drive = (count: number): void => {
    for (let i = 0; i < count; i++) {
      input(packetOf(pool, bytes))
    }
  }
  drive(WARM)
  const { collections, grownBytes } = await garbageOf(() => drive(COUNT))
  expect(passed).toBe(passes ? WARM + COUNT : 0)
  expect(collections).toBe(0)
  expect(grownBytes / COUNT).toBeLessThan(1)
  policy.close()
  flows.close()
  expect(pool.leaks()).toEqual([])
})
