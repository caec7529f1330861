/**
 * UDP sockets pass the underlay suite over veth: both engines, both families, no offloads. A pair
 * is made once, and with it the kernels' neighbors, whose first question an IPv6 kernel asks again
 * after a second; sockets, engines and pools are each test's own.
 */
import { spawn } from 'node:child_process'
import { afterAll, expect, test } from 'vitest'
import { parseAddress } from '../../stack/address.ts'
import { SystemClock } from '../../stack/clock.ts'
import { inNetns } from '../../stack/native/netns.ts'
import { PollEngine } from '../../stack/native/poll_engine.ts'
import { mapSlab } from '../../stack/native/slab.ts'
import { UringEngine } from '../../stack/native/uring_engine.ts'
import { Pool, poolBytes } from '../../stack/packet.ts'
import { SocketUnderlay } from '../../stack/udp/socket_underlay.ts'
import { type UnderlayEnd, type UnderlayFixture, underlaySuite } from '../conformance/underlay.ts'
import { hasTool } from './lab.ts'
import { ip, makeWire, type Wire } from './wire.ts'

type OwnEngine = UringEngine | PollEngine
type OpenEngine = (pool: Pool) => OwnEngine

const PATIENCE_MS = 3000
interface OpenEnd extends UnderlayEnd {
  readonly engine: OwnEngine
  readonly clock: SystemClock
}

function openEnd(
  netns: string,
  address: string,
  openEngine: OpenEngine,
  hopLimit?: number,
): OpenEnd {
  const counts = { smallCount: 256, largeCount: 64 }
  const pool = new Pool({ ...counts, memory: mapSlab(poolBytes(counts)), checked: true })
  const engine = openEngine(pool)
  const clock = new SystemClock()
  const options = { pool, engine, clock, seed: 977, address: parseAddress(address), hopLimit }
  const underlay = inNetns(netns, () => new SocketUnderlay({ ...options, udpPort: 4789 }))
  return { pool, underlay, engine, clock }
}

/** By whether they offload. */
const wires = new Map<boolean, Wire>()
afterAll(() => {
  for (const wire of wires.values()) wire.remove()
})

function wireOf(offload: boolean): Wire {
  const known = wires.get(offload)
  if (known !== undefined) return known
  const wire = makeWire()
  wires.set(offload, wire)
  // Without checksums the kernel cuts no message either.
  const off = ['ethtool', '-K', 'w0', 'tx', 'off']
  if (!offload) for (const name of wire.names) ip('netns', 'exec', name, ...off)
  return wire
}

function make(
  family: 4 | 6,
  openEngine: OpenEngine,
  { offload = true, hopLimit }: { offload?: boolean; hopLimit?: number } = {},
): UnderlayFixture {
  const wire = wireOf(offload)
  const prefix = family === 4 ? '10.200.0.' : 'fd00:200::'
  const a = openEnd(wire.names[0], `${prefix}1`, openEngine, hopLimit)
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
    inside: (end, run) => inNetns(wire.names[end === a ? 0 : 1], run),
    together(run) {
      a.engine.turning = true
      run()
      a.engine.turning = false
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

if (hasTool('ethtool', 'ethtool')) {
  const name = 'udp, IPv4 (poll), an interface without offloads'
  underlaySuite({ name, make: () => make(4, (pool) => new PollEngine(pool), { offload: false }) })
}

test('datagrams of one size that are sent at once arrive as one', async () => {
  const { a, b, settle, together, cleanup } = make(4, (pool) => new UringEngine(pool))
  const messages: number[] = []
  b.underlay.onDatagram = (packet, _peer, segmentBytes) => {
    messages.push(Math.ceil(packet.len / segmentBytes))
    b.pool.free(packet)
  }
  const { address, udpPort } = b.underlay
  const to = a.underlay.addPeer({ address, udpPort })
  together(() => {
    for (let i = 0; i < 100; i++) {
      const packet = a.pool.alloc(100)!
      packet.len = i < 99 ? 100 : 50
      a.underlay.send(packet, to, 8, 0)
    }
  })
  a.underlay.flush()
  const arrived = (): number => messages.reduce((sum, count) => sum + count, 0)
  await settle(() => arrived() >= 100)
  expect(messages).toEqual([64, 36])
  for (const { underlay } of [a, b]) underlay.close()
  await cleanup()
  expect(a.pool.leaks()).toEqual([])
})

const capture = hasTool('tcpdump', 'tcpdump')
test.skipIf(!capture).for([4, 6] as const)(
  'the hop limit over IPv%i is what was asked',
  async (family) => {
    const options = { hopLimit: 9 }
    const { a, b, inside, cleanup } = make(family, (pool) => new UringEngine(pool), options)
    const [, far] = wireOf(true).names
    const watch = ['tcpdump', '-ni', 'w0', '-v', '-c2', 'udp', 'port', '4789']
    const tcpdump = spawn('ip', ['netns', 'exec', far, ...watch])
    try {
      let said = ''
      tcpdump.stdout.on('data', (text) => (said += text))
      await new Promise((resolve) => tcpdump.stderr.once('data', resolve))
      const { address, udpPort } = b.underlay
      const group = parseAddress(family === 4 ? '239.7.7.8' : 'ff05::78')
      for (const to of [address, group]) {
        const peer = inside(a, () => a.underlay.addPeer({ address: to, udpPort }))
        const packet = a.pool.alloc(100)!
        packet.len = 100
        a.underlay.send(packet, peer, 8, 0)
      }
      a.underlay.flush()
      await new Promise((resolve) => tcpdump.once('close', resolve))
      expect(said.match(/ttl 9\b|hlim 9\b/g)).toHaveLength(2)
    } finally {
      tcpdump.kill('SIGKILL')
      for (const { underlay } of [a, b]) underlay.close()
      await cleanup()
    }
  },
)
