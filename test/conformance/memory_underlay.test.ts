/** Underlays in memory pass the suite: one pool or two, IPv4 and IPv6, datagrams joined or not. */
import { expect, test } from 'vitest'
import { parseAddress } from '../../stack/address.ts'
import { VirtualClock } from '../../stack/clock.ts'
import { Count } from '../../stack/counters.ts'
import { DropReason } from '../../stack/drop.ts'
import { Pool } from '../../stack/packet.ts'
import { Random } from '../../stack/random.ts'
import { MemoryNet } from '../../stack/udp/memory_net.ts'
import type { MemoryUnderlay } from '../../stack/udp/memory_underlay.ts'
import { type UnderlayFixture, underlaySuite } from './underlay.ts'

interface Kind {
  readonly six?: boolean
  readonly joins?: boolean
  readonly pools?: 1 | 2
}

interface MemoryFixture extends UnderlayFixture {
  readonly net: MemoryNet
  readonly clock: VirtualClock
  readonly a: { readonly pool: Pool; readonly underlay: MemoryUnderlay }
  readonly b: { readonly pool: Pool; readonly underlay: MemoryUnderlay }
  settle(): void
}

function make({ six = false, joins = false, pools = 1 }: Kind): MemoryFixture {
  const clock = new VirtualClock()
  const net = new MemoryNet({ clock, random: new Random(5) })
  const newPool = (): Pool => new Pool({ smallCount: 256, largeCount: 16, checked: true })
  const pool = newPool()
  const end = (own: Pool, text: string) => ({
    pool: own,
    underlay: net.open({ pool: own, address: parseAddress(text), udpPort: 4789, joins }),
  })
  const a = end(pool, six ? 'fd00:9::1' : '10.200.0.1')
  const b = end(pools === 1 ? pool : newPool(), six ? 'fd00:9::2' : '10.200.0.2')
  const settle = (): void => {
    const until = clock.nowMs + 100
    do while (a.underlay.poll(64) + b.underlay.poll(64) > 0);
    while (clock.step(until))
  }
  const together = (run: () => void): void => run()
  const inside: MemoryFixture['inside'] = (_, run) => run()
  return { a, b, net, clock, settle, inside, together, cleanup: () => {} }
}

underlaySuite({ name: 'memory, IPv4', make: () => make({}) })
underlaySuite({ name: 'memory, IPv6', make: () => make({ six: true }) })
underlaySuite({ name: 'memory, pools of their own', make: () => make({ pools: 2 }) })
underlaySuite({ name: 'memory, joined', make: () => make({ joins: true, pools: 2 }) })

function sendOne({ a, b }: MemoryFixture, bytes: number): number {
  const { address, udpPort } = b.underlay
  const peer = a.underlay.addPeer({ address, udpPort })
  const packet = a.pool.alloc(bytes)!
  packet.len = bytes
  a.underlay.send(packet, peer, 8, 0)
  return peer
}

test('a wire that carries less tells its sender', () => {
  const it = make({})
  it.net.setFaults({ mtuBytes: 1400 })
  const told: number[] = []
  it.a.underlay.onPathMtu = (peer, mtuBytes) => told.push(peer, mtuBytes)
  const peer = sendOne(it, 1373)
  expect(told).toEqual([peer, 1400])
  expect(it.a.underlay.pathMtuBytes(peer)).toBe(1400)
  expect(it.a.pool.counters.drops(0, DropReason.FrameOversize)).toBe(1)
  sendOne(it, 1372)
  it.settle()
  expect(it.b.pool.counters.value(it.b.underlay.port, Count.RxPackets)).toBe(1)
})

test('wires delay, lose, duplicate and are cut, each on its own', () => {
  const it = make({ pools: 2 })
  const { a, b, net } = it
  let came = 0
  b.underlay.onDatagram = (packet) => {
    came++
    b.pool.free(packet)
  }
  net.setFaults({ duplicatePct: 100, delayMs: 10 })
  sendOne(it, 100)
  expect(b.underlay.poll(64)).toBe(0)
  it.settle()
  expect(came).toBe(2)
  net.setFaultsBetween(a.underlay.address, b.underlay.address, { partitioned: true })
  sendOne(it, 100)
  it.settle()
  expect(came).toBe(2)
  expect(a.pool.counters.drops(a.underlay.port, DropReason.LinkLost)).toBe(1)
  net.setFaultsBetween(a.underlay.address, b.underlay.address, { corruptPct: 100 })
  for (let i = 0; i < 20; i++) sendOne(it, 100)
  it.settle()
  expect(came, 'checksums find every flipped bit').toBe(2)
  a.underlay.close()
  b.underlay.close()
  expect([...a.pool.leaks(), ...b.pool.leaks()]).toEqual([])
  expect(it.clock.pending).toBe(0)
})

test('a multicast group stands for all others that have it', () => {
  const { a, b, net } = make({})
  const group = { address: parseAddress('239.1.1.1'), udpPort: 4789 }
  const c = net.open({ pool: a.pool, address: parseAddress('10.200.0.3'), udpPort: 4789 })
  const to = a.underlay.addPeer(group)
  b.underlay.addPeer(group)
  const packet = a.pool.alloc(100)!
  packet.len = 100
  a.underlay.send(packet, to, 8, 0)
  expect([a.underlay.waiting, b.underlay.waiting, c.waiting]).toEqual([0, 1, 0])
  for (const underlay of [a.underlay, b.underlay, c]) underlay.close()
  expect(a.pool.leaks()).toEqual([])
})
