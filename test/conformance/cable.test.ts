/** What a cable's faults do to frames, and that its accounts close. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { sum } from '../../stack/checksum.ts'
import { VirtualClock } from '../../stack/clock.ts'
import { Count } from '../../stack/counters.ts'
import { DropReason } from '../../stack/drop.ts'
import type { CableFaults } from '../../stack/eth/lane.ts'
import { Cable, type CableEnd } from '../../stack/eth/memory.ts'
import { type Packet, Pool } from '../../stack/packet.ts'
import { Random } from '../../stack/random.ts'

const BYTES = 100

class Rig {
  readonly pool = new Pool({ smallCount: 4096, largeCount: 4, checked: true })
  readonly clock = new VirtualClock()
  readonly cable: Cable
  /** Number in each frame that arrived at `b`, and when. */
  readonly arrived: { n: number; atMs: number }[] = []

  constructor(faults: CableFaults, seed = 1) {
    const { pool, clock } = this
    this.cable = new Cable({ name: 'c', pool, clock, random: new Random(seed), faults })
    this.cable.b.output = (packet) => this.#receive(packet)
    this.cable.a.output = (packet) => pool.free(packet)
  }

  #receive(packet: Packet): void {
    const { mem } = this.pool
    const n = (mem[packet.head + 14]! << 8) | mem[packet.head + 15]!
    this.arrived.push({ n, atMs: this.clock.nowMs })
    this.pool.free(packet)
  }

  send(n: number, end: CableEnd = this.cable.a): void {
    const packet = this.pool.alloc(BYTES)!
    this.pool.mem.fill(0, packet.head, packet.head + BYTES)
    this.pool.mem[packet.head + 14] = n >> 8
    this.pool.mem[packet.head + 15] = n & 0xff
    packet.len = BYTES
    end.transmit(packet)
  }

  /** Let time pass up to `ms`, polling both ends at each instant. */
  run(ms: number): void {
    const { a, b } = this.cable
    do while (a.poll(64) + b.poll(64) > 0);
    while (this.clock.step(ms))
    this.clock.jump(ms)
  }

  /** The equation in the header of memory.ts, for frames from `from` to `to`. */
  balance(from: CableEnd, to: CableEnd): { in: number; out: number } {
    const { counters } = this.pool
    const { taken, given, duplicated, lost, overflowed, abandoned, flying } = from.counts
    if (!from.closed) expect(counters.value(from.port, Count.TxPackets)).toBe(taken)
    if (!to.closed) expect(counters.value(to.port, Count.RxPackets)).toBe(given)
    const out = given + lost + overflowed + abandoned + flying + to.waiting
    return { in: taken + duplicated, out }
  }
}

describe('cable', () => {
  it('delays every frame by the same time', () => {
    const rig = new Rig({ delayMs: 25 })
    rig.send(1)
    rig.run(10)
    rig.send(2)
    rig.run(1000)
    expect(rig.arrived).toEqual([
      { n: 1, atMs: 25 },
      { n: 2, atMs: 35 },
    ])
    expect(rig.clock.pending).toBe(0)
    expect(rig.pool.leaks()).toEqual([])
  })

  it('loses about the share it should, and the same frames for the same seed', () => {
    const lost = [7, 7, 8].map((seed) => {
      const rig = new Rig({ lossPct: 10 }, seed)
      for (let n = 0; n < 1000; n++) rig.send(n)
      rig.run(1)
      expect(rig.pool.counters.drops(rig.cable.a.port, DropReason.LinkLost)).toBe(
        1000 - rig.arrived.length,
      )
      return rig.arrived.map(({ n }) => n)
    })
    expect(lost[0]).toEqual(lost[1])
    expect(lost[0]).not.toEqual(lost[2])
    expect(lost[0]!.length).toBeGreaterThan(860)
    expect(lost[0]!.length).toBeLessThan(940)
  })

  it('keeps order under jitter, and breaks it only when asked to', () => {
    const ordered = new Rig({ delayMs: 5, jitterMs: 20 })
    const mixed = new Rig({ delayMs: 5, jitterMs: 2, reorderPct: 20 })
    for (const rig of [ordered, mixed]) {
      for (let n = 0; n < 200; n++) {
        rig.send(n)
        rig.run(rig.clock.nowMs + 1)
      }
      rig.run(1000)
      expect(rig.arrived.length).toBe(200)
    }
    const isSorted = (rig: Rig) => rig.arrived.every(({ n }, i) => i === n)
    expect(isSorted(ordered)).toBe(true)
    expect(isSorted(mixed)).toBe(false)
    expect(mixed.cable.a.counts.reordered).toBeGreaterThan(20)
  })

  it('sends at the bandwidth and drops what its queue cannot hold', () => {
    // 100 octets at 800 kbit/s: one millisecond each.
    const rig = new Rig({ bandwidthBitsPerS: 800_000, queueFrames: 3 })
    for (let n = 0; n < 10; n++) rig.send(n)
    rig.run(100)
    expect(rig.arrived).toEqual([0, 1, 2, 3].map((n) => ({ n, atMs: n + 1 })))
    expect(rig.pool.counters.dropTotal(DropReason.QueueFull)).toBe(6)
    expect(rig.pool.counters.value(rig.cable.a.port, Count.TxPackets)).toBe(4)
    rig.send(10)
    rig.run(200)
    expect(rig.arrived.at(-1)).toEqual({ n: 10, atMs: 101 })
  })

  it('duplicates, and passes nothing while partitioned', () => {
    const rig = new Rig({ duplicatePct: 100 })
    rig.send(1)
    rig.cable.setFaults({ partitioned: true })
    rig.send(2)
    rig.cable.setFaults({})
    rig.send(3)
    rig.run(10)
    expect(rig.arrived.map(({ n }) => n)).toEqual([1, 1, 3])
  })

  it('flips exactly one bit, after finishing a partial checksum', () => {
    const faults = { corruptPct: 100 }
    const rig = new Rig(faults)
    const offload = { csum: true, tso: false, uso: false }
    const { pool, clock } = rig
    const random = new Random(3)
    const cable = new Cable({ name: 'd', pool, clock, random, offload, faults })
    const bits: number[] = []
    cable.b.output = (packet) => {
      expect(packet.csumStart).toBe(0)
      let wrong = 0
      for (let i = 0; i < packet.len; i++) {
        const expected = i === 20 ? finished[0]! : i === 21 ? finished[1]! : 0x11
        for (let x = pool.mem[packet.head + i]! ^ expected; x !== 0; x &= x - 1) wrong++
      }
      bits.push(wrong)
      pool.free(packet)
    }
    // 86 octets of 0x11 from offset 14, whose field at 20 holds 0x1111 before it is finished.
    const plain = new Uint8Array(128).fill(0x11)
    const value = ~sum(plain, 0, BYTES - 14) & 0xffff
    const finished = [value >> 8, value & 0xff]
    for (let n = 0; n < 50; n++) {
      const packet = pool.alloc(BYTES)!
      pool.mem.fill(0x11, packet.head, packet.head + BYTES)
      packet.len = BYTES
      packet.csumStart = packet.head + 14
      packet.csumOffset = 6
      cable.a.transmit(packet)
      cable.b.poll(1)
    }
    expect(bits).toEqual(new Array(50).fill(1))
    cable.close()
    rig.cable.close()
    expect(pool.leaks()).toEqual([])
  })

  it('refuses offload facts that it does not offer, or that contradict the frame', () => {
    const rig = new Rig({})
    const { pool, clock } = rig
    const random = new Random(1)
    const offload = { csum: true, tso: true, uso: false }
    const able = new Cable({ name: 'd', pool, clock, random, offload })
    const send = (end: CableEnd, facts: Partial<Packet>, start = 34) => {
      const packet = pool.alloc(BYTES)!
      packet.len = BYTES
      Object.assign(packet, { csumStart: packet.head + start, csumOffset: 6 }, facts)
      end.transmit(packet)
    }
    const bad: [Partial<Packet>, number?][] = [
      [{}, 92 + 1],
      [{}, -2],
      [{ csumOffset: 65_000 }],
      [{ gsoType: 1, gsoSize: 0 }],
      [{ gsoType: 0, gsoSize: 10 }],
      [{ gsoType: 1, gsoSize: 10, csumStart: 0 }],
      [{ gsoType: 5, gsoSize: 10 }],
    ]
    for (const [facts, start] of bad) send(able.a, facts, start)
    for (const facts of [{}, { gsoType: 1, gsoSize: 10 }]) send(rig.cable.a, facts)
    expect(pool.counters.dropTotal(DropReason.FrameOffloadBad)).toBe(9)
    send(able.a, {}, 92)
    send(able.a, { gsoType: 1, gsoSize: 10 })
    expect(able.b.waiting).toBe(2)
    able.close()
    rig.cable.close()
    expect(pool.leaks()).toEqual([])
  })

  it('bounds its inbox', () => {
    const rig = new Rig({})
    for (let n = 0; n < 1500; n++) rig.send(n)
    expect(rig.cable.b.waiting).toBe(1024)
    expect(rig.pool.counters.dropTotal(DropReason.QueueFull)).toBe(476)
    rig.run(0)
    expect(rig.arrived.map(({ n }) => n)).toEqual(Array.from({ length: 1024 }, (_, n) => n))
  })

  it('tells the other end, once, when one is closed, and frees what flies', () => {
    const rig = new Rig({ delayMs: 10 })
    const told: string[] = []
    rig.cable.a.onLost = (why) => told.push(`a: ${why}`)
    rig.cable.b.onLost = (why) => told.push(`b: ${why}`)
    rig.send(1)
    rig.send(2, rig.cable.b)
    rig.cable.b.close()
    rig.send(3)
    rig.cable.a.close()
    rig.run(100)
    expect(told).toEqual(['a: the other end of the cable was closed'])
    expect(rig.arrived).toEqual([])
    expect(rig.pool.counters.dropTotal(DropReason.DeviceDown)).toBe(1)
    expect(rig.clock.pending).toBe(0)
    expect(rig.pool.leaks()).toEqual([])
  })

  it('wakes the scheduler when an idle end gets its first frame', () => {
    const rig = new Rig({})
    let wakes = 0
    const { pool, clock } = rig
    const random = new Random(1)
    const cable = new Cable({ name: 'd', pool, clock, random, wake: () => wakes++ })
    cable.b.output = (packet) => pool.free(packet)
    for (let round = 0; round < 3; round++) {
      rig.send(1, cable.a)
      rig.send(2, cable.a)
      while (cable.b.poll(64) > 0);
    }
    expect(wakes).toBe(3)
    cable.close()
    expect(pool.leaks()).toEqual([])
  })

  it('closes its accounts whatever happens', () => {
    const pct = fc.constantFrom(0, 0, 5, 50, 100)
    const faults = fc.record({
      delayMs: fc.constantFrom(0, 0, 1, 40),
      jitterMs: fc.constantFrom(0, 0, 3),
      lossPct: pct,
      duplicatePct: pct,
      reorderPct: pct,
      corruptPct: pct,
      bandwidthBitsPerS: fc.constantFrom(0, 0, 100_000, 10_000_000),
      queueFrames: fc.constantFrom(0, 1, 20),
      partitioned: fc.boolean(),
    })
    const act = fc.oneof(
      { weight: 8, arbitrary: fc.record({ send: fc.integer({ min: 1, max: 300 }) }) },
      { weight: 3, arbitrary: fc.record({ wait: fc.integer({ min: 0, max: 30 }) }) },
      { weight: 1, arbitrary: fc.record({ faults }) },
    )
    const run = (seed: number, acts: (typeof act extends fc.Arbitrary<infer T> ? T : never)[]) => {
      const rig = new Rig({}, seed)
      const { a, b } = rig.cable
      for (const it of acts) {
        if ('send' in it) for (let n = 0; n < it.send; n++) rig.send(n, n % 3 === 0 ? b : a)
        else if ('wait' in it) rig.run(rig.clock.nowMs + it.wait)
        else rig.cable.setFaults(it.faults)
        for (const [from, to] of [
          [a, b],
          [b, a],
        ] as const) {
          const books = rig.balance(from, to)
          expect(books.out).toBe(books.in)
        }
      }
      rig.cable.close()
      expect(rig.balance(a, b).out).toBe(rig.balance(a, b).in)
      expect(rig.balance(b, a).out).toBe(rig.balance(b, a).in)
      expect(rig.clock.pending).toBe(0)
      expect(rig.pool.leaks()).toEqual([])
    }
    fc.assert(fc.property(fc.integer(), fc.array(act, { maxLength: 12 }), run), { numRuns: 25 })
  })
})
