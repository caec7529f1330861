import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { compare, median, quantile, summarize } from '../../bench/stats.ts'

const values = fc.array(fc.double({ min: -1e9, max: 1e9, noNaN: true }), { minLength: 1 })

describe('quantile', () => {
  it('interpolates between neighbors', () => {
    expect(quantile([10, 20, 30, 40], 0.5)).toBe(25)
    expect(quantile([40, 10, 30, 20], 0.25)).toBe(17.5)
    expect(quantile([7], 0.99)).toBe(7)
  })

  it('is not a number of nothing', () => {
    expect(median([])).toBeNaN()
    expect(median([Number.NaN])).toBeNaN()
  })

  it('leaves failed rounds out', () => {
    expect(median([3, Number.NaN, 1, 2])).toBe(2)
  })

  it('grows with q and stays between the extremes', () => {
    fc.assert(
      fc.property(values, fc.double({ min: 0, max: 1, noNaN: true }), (list, q) => {
        const { min, max } = summarize(list)
        const low = quantile(list, q / 2)
        const high = quantile(list, q)
        expect(low).toBeLessThanOrEqual(high)
        expect(low).toBeGreaterThanOrEqual(min)
        expect(high).toBeLessThanOrEqual(max)
      }),
    )
  })

  it('does not change its argument', () => {
    const list = [3, 1, 2]
    quantile(list, 0.5)
    expect(list).toEqual([3, 1, 2])
  })
})

describe('summarize', () => {
  it('gives the median and the extremes', () => {
    expect(summarize([5, 1, 9])).toEqual({ median: 5, min: 1, max: 9 })
  })
})

describe('compare', () => {
  it('divides medians, and rounds by rounds', () => {
    expect(compare([10, 20, 30], [10, 40, 20])).toEqual({ ratio: 1, min: 0.5, max: 1.5 })
  })

  it('pairs only the rounds that both have', () => {
    const { ratio, min, max } = compare([10, Number.NaN, 30], [20, 1, 20, 1000])
    expect(ratio).toBeCloseTo(20 / 20)
    expect([min, max]).toEqual([0.5, 1.5])
  })

  it('is not a number without a counterpart', () => {
    expect(compare([1], []).ratio).toBeNaN()
    expect(compare([], [1]).ratio).toBeNaN()
  })
})
