import { describe, expect, it } from 'vitest'
import { Count, Counters, PORTS_MAX } from '../../stack/counters.ts'
import { DropReason } from '../../stack/drop.ts'
import {
  GsoType,
  HEADROOM_BYTES,
  headroom,
  LARGE_FRAME_BYTES,
  LARGE_SLOT_BYTES,
  Pool,
  poolBytes,
  pull,
  push,
  SMALL_FRAME_BYTES,
  SMALL_SLOT_BYTES,
  tailroom,
} from '../../stack/packet.ts'
import { Trace } from '../../stack/trace.ts'

function pool(): Pool {
  return new Pool({ smallCount: 2, largeCount: 1, checked: true })
}

describe('Pool', () => {
  it('picks the class by size, and lends large slots when small ones are out', () => {
    const p = pool()
    const [a, b, c] = [p.alloc(60)!, p.alloc(SMALL_FRAME_BYTES)!, p.alloc(60)!]
    expect([a.slotBytes, b.slotBytes, c.slotBytes]).toEqual([
      SMALL_SLOT_BYTES,
      SMALL_SLOT_BYTES,
      LARGE_SLOT_BYTES,
    ])
    expect(p.alloc(60)).toBeUndefined()
    for (const packet of [a, b, c]) p.free(packet)
    expect(p.alloc(SMALL_FRAME_BYTES + 1)!.slotBytes).toBe(LARGE_SLOT_BYTES)
    expect(p.alloc(LARGE_FRAME_BYTES + 1)).toBeUndefined()
    expect([p.idleSmall, p.idleLarge, p.idle]).toEqual([2, 0, 2])
  })

  it('takes no more memory than it says, and refuses less', () => {
    const counts = { smallCount: 3, largeCount: 2 }
    expect(poolBytes(counts)).toBe(3 * SMALL_SLOT_BYTES + 2 * LARGE_SLOT_BYTES)
    const memory = { bytes: new Uint8Array(poolBytes(counts) - 1), address: 0 }
    expect(() => new Pool({ ...counts, memory })).toThrow(RangeError)
    const last = new Pool(counts).packets.at(-1)!
    expect(last.slot + last.slotBytes).toBe(poolBytes(counts))
  })

  it('starts every IP header of an Ethernet frame on a cache line', () => {
    for (const { slot } of pool().packets) expect((slot + HEADROOM_BYTES + 14) % 64).toBe(0)
  })

  it('clones octets and facts, and the checksum goes with the frame', () => {
    const p = pool()
    const packet = p.alloc(100)!
    push(packet, 10)
    packet.len = 100
    for (let i = 0; i < 100; i++) p.mem[packet.head + i] = i
    packet.gsoType = GsoType.TcpV4
    packet.gsoSize = 1000
    packet.csumStart = packet.head + 34
    packet.csumOffset = 16
    packet.ingress = 7
    const twin = p.clone(packet)!
    expect(p.mem.slice(twin.head, twin.head + twin.len)).toEqual(
      p.mem.slice(packet.head, packet.head + 100),
    )
    expect(twin.csumStart - twin.head).toBe(34)
    expect([twin.gsoType, twin.gsoSize, twin.csumOffset, twin.ingress]).toEqual([1, 1000, 16, 7])
  })

  it('resets the facts of a slot that is used again', () => {
    const p = pool()
    const packet = p.alloc(60)!
    Object.assign(packet, { gsoType: 1, gsoSize: 9, csumStart: 9, csumOffset: 9, ingress: 9 })
    p.free(packet)
    const again = p.alloc(60)!
    expect(again).toBe(packet)
    expect([
      again.gsoType,
      again.gsoSize,
      again.csumStart,
      again.csumOffset,
      again.ingress,
    ]).toEqual([0, 0, 0, 0, 0])
  })

  it('catches a double free, names a leak, and poisons what is freed', () => {
    const p = pool()
    const packet = p.alloc(60)!
    p.mem[packet.head] = 1
    expect(p.leaks()).toHaveLength(1)
    expect(p.leaks()[0]).toContain('packet.test.ts')
    p.free(packet)
    expect(p.leaks()).toEqual([])
    expect(p.mem[packet.head]).toBe(0xa5)
    expect(() => p.free(packet)).toThrow(/freed twice/)
  })

  it('counts a drop against the device that the packet came in by', () => {
    const p = pool()
    const packet = p.alloc(60)!
    packet.ingress = 3
    p.drop(packet, DropReason.NoRoute)
    expect(p.counters.drops(3, DropReason.NoRoute)).toBe(1)
    expect(p.counters.dropTotal(DropReason.NoRoute)).toBe(1)
  })

  it('tells a trace where a traced packet was dropped, and counts nothing', () => {
    const p = pool()
    p.trace = new Trace()
    const packet = p.alloc(60)!
    packet.traced = true
    p.drop(packet, DropReason.NoRoute)
    expect(p.trace.ends).toEqual([{ verdict: 'dropped', detail: 'no-route' }])
    expect(p.counters.dropTotal(DropReason.NoRoute)).toBe(0)
  })
})

describe('push, pull and room', () => {
  it('move the front and keep the end', () => {
    const packet = pool().alloc(60)!
    packet.len = 60
    const end = packet.head + packet.len
    push(packet, 50)
    expect([headroom(packet), packet.len]).toEqual([HEADROOM_BYTES - 50, 110])
    pull(packet, 64)
    expect(packet.head + packet.len).toBe(end)
    expect(tailroom(packet)).toBe(SMALL_SLOT_BYTES - HEADROOM_BYTES - 60)
  })
})

describe('Counters', () => {
  it('hands out ports, clears them when they are used again, and ends at the limit', () => {
    const counters = new Counters()
    const port = counters.acquirePort()
    expect(port).toBe(1)
    counters.received(port, 100)
    counters.transmitted(port, 50)
    counters.bump(port, Count.TxErrors)
    counters.dropped(port, DropReason.NoRoute)
    const fields = [Count.RxPackets, Count.RxBytes, Count.TxPackets, Count.TxBytes, Count.TxErrors]
    expect(fields.map((field) => counters.value(port, field))).toEqual([1, 100, 1, 50, 1])
    counters.releasePort(port)
    expect(counters.acquirePort()).toBe(port)
    expect(fields.map((field) => counters.value(port, field))).toEqual([0, 0, 0, 0, 0])
    expect(counters.drops(port, DropReason.NoRoute)).toBe(0)
    for (let i = 2; i < PORTS_MAX; i++) expect(counters.acquirePort()).toBe(i)
    expect(() => counters.acquirePort()).toThrow(RangeError)
  })
})
