/** Rate limits: over a long time exactly what was given, at once no more than the burst. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { VirtualClock } from '../../stack/clock.ts'
import { DropReason } from '../../stack/drop.ts'
import { RateLimit, type RateSpec } from '../../stack/ip/rate_limit.ts'
import { GsoType, type Packet, Pool } from '../../stack/packet.ts'
import { Trace } from '../../stack/trace.ts'
import { frame, HOST_MAC, tcp } from './lab.ts'

class RateLab {
  readonly pool: Pool = new Pool({ smallCount: 4, largeCount: 4, checked: false })
  readonly clock: VirtualClock = new VirtualClock()
  readonly limit: RateLimit
  passed = 0
  readonly #input: (packet: Packet) => void

  constructor(spec: Partial<RateSpec>) {
    const { pool, clock } = this
    const whole = { bitsPerS: undefined, packetsPerS: undefined, burstMs: 100, ...spec }
    this.limit = new RateLimit({ pool, clock, spec: whole, text: 'ingress 1/s', name: 'web/eth0' })
    this.#input = this.limit.before((packet) => {
      this.passed++
      pool.free(packet)
    })
  }

  give(bytes: number): boolean {
    const packet = this.pool.alloc(bytes)!
    packet.len = bytes
    const before = this.passed
    this.#input(packet)
    return this.passed > before
  }

  /** A super-frame of TCP: 54 octets of headers, and so many segments of 1000 octets. */
  giveSuper(segments: number): boolean {
    const ip = tcp(
      { from: '10.1.0.1', to: '10.1.0.2' },
      { to: 80, flags: 16 },
      new Uint8Array(1000 * segments),
    )
    const bytes = frame(HOST_MAC, ip)
    const packet = this.pool.alloc(bytes.length)!
    this.pool.mem.set(bytes, packet.head)
    packet.len = bytes.length
    packet.gsoType = GsoType.TcpV4
    packet.gsoSize = 1000
    packet.csumStart = packet.head + 34
    packet.csumOffset = 16
    const before = this.passed
    this.#input(packet)
    return this.passed > before
  }

  wait(ms: number): void {
    this.clock.jump(this.clock.nowMs + ms)
  }

  get dropped(): number {
    return this.pool.counters.drops(0, DropReason.RateLimited)
  }
}

describe('a rate limit', () => {
  it('lets the rate pass over a long time, and the burst at once', () => {
    const spec = fc.record({
      bitsPerS: fc.integer({ min: 8_000, max: 800_000 }),
      burstMs: fc.integer({ min: 1, max: 200 }),
      bytes: fc.integer({ min: 60, max: 1514 }),
      stepMs: fc.integer({ min: 1, max: 200 }),
    })
    fc.assert(
      fc.property(spec, ({ bitsPerS, burstMs, bytes, stepMs }) => {
        const lab = new RateLab({ bitsPerS, burstMs })
        const steps = 20
        let octets = 0
        for (let step = 0; step < steps; step++) {
          while (lab.give(bytes)) octets += bytes
          lab.wait(stepMs)
        }
        const earned = (ms: number) => (bitsPerS / 8000) * ms
        const time = (steps - 1) * stepMs
        expect(octets).toBeLessThan(earned(burstMs + time) + bytes)
        // A bucket holds no more than the burst, so longer waits earn nothing.
        expect(octets).toBeGreaterThanOrEqual(
          earned(Math.min(stepMs, burstMs) * (steps - 1)) - bytes,
        )
        expect(lab.dropped).toBe(steps)
      }),
      { numRuns: 50 },
    )
  })

  it('counts packets as well, and the tighter of both holds', () => {
    const lab = new RateLab({ bitsPerS: 1_000_000_000, packetsPerS: 100 })
    let passed = 0
    for (let step = 0; step < 1000; step++) {
      if (lab.give(100)) passed++
      lab.wait(1)
    }
    expect(passed).toBeGreaterThanOrEqual(108)
    expect(passed).toBeLessThanOrEqual(111)
  })

  it('counts a super-frame as what it becomes on a wire, and lets it make debts', () => {
    const packets = new RateLab({ packetsPerS: 100 })
    expect(packets.giveSuper(30)).toBe(true)
    expect(packets.give(60)).toBe(false)
    packets.wait(199)
    expect(packets.give(60)).toBe(false)
    packets.wait(2)
    expect(packets.give(60)).toBe(true)
    const octets = new RateLab({ bitsPerS: 8_000_000 })
    // 100,000 octets are there; 60 frames of 1054 take 63,240 of them.
    expect(octets.giveSuper(60)).toBe(true)
    for (let i = 0; i < 24; i++) expect(octets.give(1500)).toBe(true)
    expect(octets.give(1500)).toBe(true)
    expect(octets.give(60)).toBe(false)
  })

  it('tells a trace, and takes nothing for it', () => {
    const lab = new RateLab({ packetsPerS: 10 })
    const ask = (): boolean => {
      const packet = lab.pool.alloc(60)!
      packet.len = 60
      packet.traced = true
      const admitted = lab.limit.admits(packet)
      lab.pool.free(packet)
      return admitted
    }
    const record = new Trace()
    lab.pool.trace = record
    expect([ask(), ask(), ask()]).toEqual([true, true, true])
    expect(lab.give(60)).toBe(true)
    expect(ask()).toBe(false)
    expect(record.steps.map(({ element, text }) => `${element}: ${text}`)).toEqual([
      ...Array.from({ length: 3 }, () => 'rate web/eth0: ingress 1/s, has room now'),
      'rate web/eth0: ingress 1/s, would drop it now',
    ])
  })

  it('is above 0', () => {
    expect(() => new RateLab({ bitsPerS: 0 })).toThrow('a rate of 0')
    expect(() => new RateLab({ packetsPerS: Number.NaN })).toThrow('a rate of NaN')
    expect(() => new RateLab({ packetsPerS: 1, burstMs: 0 })).toThrow()
  })
})
