import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { every, SystemClock, VirtualClock } from '../../stack/clock.ts'
import { Random } from '../../stack/random.ts'

describe('VirtualClock', () => {
  it('runs timers by time, then by the order in which they were set', () => {
    const delays = fc.array(fc.nat(20), { maxLength: 100 })
    fc.assert(
      fc.property(delays, fc.func(fc.boolean()), (list, cancels) => {
        const clock = new VirtualClock()
        const ran: [number, number][] = []
        const expected: [number, number][] = []
        for (const [order, delay] of list.entries()) {
          const cancel = clock.after(delay, () => ran.push([clock.nowMs, order]))
          if (cancels(order)) cancel()
          else expected.push([delay, order])
        }
        expect(clock.pending).toBe(expected.length)
        while (clock.step(Number.POSITIVE_INFINITY));
        expect(ran).toEqual(expected.sort((a, b) => a[0] - b[0] || a[1] - b[1]))
        expect(clock.pending).toBe(0)
      }),
    )
  })

  it('does not step beyond the limit, and jumps only forwards', () => {
    const clock = new VirtualClock()
    clock.after(10, () => {})
    expect(clock.step(9)).toBe(false)
    clock.jump(9)
    clock.jump(3)
    expect(clock.nowMs).toBe(9)
    expect(clock.step(10)).toBe(true)
    expect(clock.nextMs).toBe(Number.POSITIVE_INFINITY)
  })

  it('repeats until cancelled, also from inside', () => {
    const clock = new VirtualClock()
    const at: number[] = []
    const cancel = every(clock, 5, () => {
      at.push(clock.nowMs)
      if (at.length === 3) cancel()
    })
    while (clock.step(100));
    expect(at).toEqual([5, 10, 15])
    expect(clock.pending).toBe(0)
  })
})

describe('SystemClock', () => {
  it('ticks before a timer runs, and forgets what is cancelled', async () => {
    const clock = new SystemClock()
    const started = clock.nowMs
    clock.after(1, () => expect.unreachable('cancelled'))()
    await new Promise<void>((resolve) => clock.after(15, resolve))
    expect(clock.nowMs - started).toBeGreaterThanOrEqual(14)
    expect(clock.pending).toBe(0)
  })
})

describe('Random', () => {
  it('is a function of its seed, and roughly even', () => {
    const draw = (seed: number): number[] => {
      const random = new Random(seed)
      return Array.from({ length: 1000 }, () => random.below(10))
    }
    expect(draw(7)).toEqual(draw(7))
    expect(draw(7)).not.toEqual(draw(8))
    for (let digit = 0; digit < 10; digit++) {
      expect(draw(7).filter((drawn) => drawn === digit).length).toBeGreaterThan(60)
    }
    expect(new Random(0).bits()).not.toBe(0)
    expect(new Random(1).chance(0)).toBe(false)
    expect(new Random(1).chance(100)).toBe(true)
  })
})
