import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { PERMANENT, Table } from '../../stack/table.ts'

const small = { keyWords: 2, valueWords: 1, entriesMax: 8, seed: 42 }

function put(table: Table, key: readonly number[]): void {
  for (const [i, word] of key.entries()) table.key[i] = word
}

describe('Table', () => {
  it('behaves as a bounded map', () => {
    const key = fc.tuple(fc.integer({ min: -2, max: 2 }), fc.integer({ min: 0, max: 3 }))
    const step = fc.record({
      key,
      what: fc.constantFrom('put', 'find', 'remove'),
      value: fc.nat(99),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), fc.integer(), (steps, seed) => {
        const table = new Table({ ...small, seed })
        const model = new Map<string, number>()
        for (const { key: words, what, value } of steps) {
          const name = words.join()
          put(table, words)
          const entry = table.find()
          expect(entry >= 0).toBe(model.has(name))
          if (entry >= 0) expect(table.values[entry]).toBe(model.get(name))
          if (what === 'remove' && entry >= 0) {
            table.remove(entry)
            model.delete(name)
          }
          if (what === 'put') {
            const at = entry >= 0 ? entry : table.insert(1)
            expect(at < 0).toBe(entry < 0 && model.size === small.entriesMax)
            if (at < 0) continue
            if (entry < 0) expect(table.values[at]).toBe(0)
            table.values[at] = value
            model.set(name, value)
          }
        }
        expect(table.count).toBe(model.size)
        const listed = new Set<string>()
        for (let e = table.nextLive(0); e >= 0; e = table.nextLive(e + 1)) {
          listed.add(`${table.keys[2 * e]},${table.keys[2 * e + 1]}`)
        }
        expect(listed).toEqual(new Set(model.keys()))
        table.clear()
        expect(table.count).toBe(0)
      }),
    )
  })

  it('says when it is full, and has room again after a removal', () => {
    const table = new Table(small)
    for (let i = 0; i < 8; i++) {
      put(table, [i, i])
      expect(table.insert(0)).toBeGreaterThanOrEqual(0)
    }
    put(table, [9, 9])
    expect(table.insert(0)).toBe(-1)
    put(table, [3, 3])
    table.remove(table.find())
    put(table, [9, 9])
    expect(table.insert(0)).toBeGreaterThanOrEqual(0)
  })

  it('sweeps what is old, in steps, and never what is permanent', () => {
    const table = new Table(small)
    for (let i = 0; i < 8; i++) {
      put(table, [i, 0])
      table.seenMs[table.insert(i)]! = i === 0 ? PERMANENT : i
    }
    const expired: number[] = []
    const expire = (entry: number): void => {
      expired.push(table.keys[2 * entry]!)
      table.remove(entry)
    }
    for (let i = 0; i < 4; i++) table.sweep(5, 2, expire)
    expect(expired.sort()).toEqual([1, 2, 3, 4])
    expect(table.count).toBe(4)
  })

  it('spreads keys that differ in few bits, whatever the seed', () => {
    for (const seed of [0, 1, -1, 0x7fffffff]) {
      const table = new Table({ keyWords: 2, valueWords: 1, entriesMax: 4096, seed })
      const started = performance.now()
      for (let i = 0; i < 4096; i++) {
        put(table, [i << 20, i << 12])
        expect(table.find()).toBe(-1)
        table.insert(0)
      }
      // All in one bucket would take eight million steps.
      expect(performance.now() - started).toBeLessThan(1000)
    }
  })

  it('refuses to have no room at all', () => {
    expect(() => new Table({ ...small, entriesMax: 0 })).toThrow(/room/)
  })
})
