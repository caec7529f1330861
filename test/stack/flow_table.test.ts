/**
 * The flow cache's table against a model: what it holds it finds, by all words of the key; what is
 * forgotten is gone by whatever way it came; entries that drop take a quarter of it, and of the
 * others the one used longest ago makes room.
 */
import fc from 'fast-check'
import { describe, expect, it, test } from 'vitest'
import { FlowTable, INGRESS, PORTS, PROTOCOL, SRC } from '../../stack/flow_table.ts'

const WAYS = 4
const EPOCH = 7

function table(addressWords: number, entriesMax: number): FlowTable {
  return new FlowTable({ addressWords, entriesMax, seed: 99 })
}

/** A key of which only some words differ. */
function keyOf(of: FlowTable, flow: number, way: number): Int32Array {
  const key = new Int32Array(of.keyWords)
  key[INGRESS] = way
  key[PROTOCOL] = 17
  key[PORTS] = flow
  key[SRC] = flow >>> 3
  key[of.keyWords - 1] = 5
  return key
}

/** As the flow cache does: the epoch and the time are the caller's to write. */
function insert(
  of: FlowTable,
  key: Int32Array,
  o: { readonly drops?: boolean; readonly epoch?: number; readonly nowMs: number },
): number {
  const { drops = false, epoch = EPOCH, nowMs } = o
  const entry = of.insert(key, drops, epoch, nowMs)
  of.words[entry * of.stride + of.epochAt] = epoch
  of.words[entry * of.stride + of.usedAt] = nowMs
  return entry
}

const act = fc.record({
  what: fc.constantFrom('insert', 'insert', 'insert', 'use', 'forget', 'drops'),
  flow: fc.nat(40),
  way: fc.nat(2),
})

describe.each([1, 4])('with addresses of %i words', (addressWords) => {
  it('is what a list of places would be', () => {
    fc.assert(
      fc.property(fc.array(act, { maxLength: 200 }), (acts) => {
        const real = table(addressWords, 16)
        /** What is in each place, by its number. */
        const model = new Map<number, { flow: number; way: number; usedMs: number }>()
        const placeOf = (flow: number, way: number): number => {
          for (const [entry, one] of model) if (one.flow === flow && one.way === way) return entry
          return -1
        }
        for (const [i, { what, flow, way }] of acts.entries()) {
          const nowMs = i + 1
          const key = keyOf(real, flow, way)
          const before = placeOf(flow, way)
          expect(real.find(key)).toBe(before)
          if (what === 'forget') {
            real.forget(key)
            for (const [entry, one] of model) if (one.flow === flow) model.delete(entry)
            expect(real.find(key)).toBe(-1)
          } else if (what === 'use') {
            if (before < 0) continue
            real.words[before * real.stride + real.usedAt] = nowMs
            model.get(before)!.usedMs = nowMs
          } else {
            const drops = what === 'drops'
            const entry = insert(real, key, { drops, nowMs })
            const bucket = entry - (entry % WAYS)
            const places = Array.from({ length: WAYS }, (_, way) => bucket + way)
            const free = places.find((place) => !model.has(place))
            const used = (place: number): number => model.get(place)?.usedMs ?? 0
            const oldest = places.reduce((a, b) => (used(b) < used(a) ? b : a))
            if (before >= 0) expect(entry).toBe(before)
            else if (drops) expect(entry).toBe(bucket + WAYS - 1)
            else expect(entry).toBe(free ?? oldest)
            model.set(entry, { flow, way, usedMs: nowMs })
          }
        }
        const held = [...model.keys()].sort((a, b) => a - b)
        const listed: number[] = []
        for (let e = real.next(0); e >= 0; e = real.next(e + 1)) listed.push(e)
        expect(listed).toEqual(held)
        for (const [entry, { flow, way }] of model) {
          expect(real.find(keyOf(real, flow, way))).toBe(entry)
        }
      }),
      { numRuns: 400 },
    )
  })

  it('tells keys apart by each of their words', () => {
    const real = table(addressWords, 64)
    const key = keyOf(real, 3, 1)
    const entry = insert(real, key, { nowMs: 1 })
    for (let i = 0; i < key.length; i++) {
      const other = key.slice()
      other[i]! ^= 1 << 31
      expect(real.find(other)).toBe(-1)
    }
    expect(real.find(key)).toBe(entry)
  })
})

test('those that drop cannot push out what passes', () => {
  const real = table(1, 256)
  for (let flow = 0; flow < 100; flow++) insert(real, keyOf(real, flow, 0), { nowMs: flow })
  const kept = (): number => {
    let count = 0
    for (let flow = 0; flow < 100; flow++) if (real.find(keyOf(real, flow, 0)) >= 0) count++
    return count
  }
  const last = (flow: number): boolean => real.find(keyOf(real, flow, 0)) % WAYS === WAYS - 1
  const inLast = Array.from({ length: 100 }, (_, flow) => flow).filter(last).length
  const before = kept()
  for (let flow = 1000; flow < 5000; flow++) {
    insert(real, keyOf(real, flow, 0), { drops: true, nowMs: flow })
  }
  expect(before).toBeGreaterThan(80)
  expect(kept()).toBeGreaterThanOrEqual(before - inLast)
  let drops = 0
  for (let e = real.next(0); e >= 0; e = real.next(e + 1)) {
    if (real.words[e * real.stride + PORTS]! >= 1000) drops++
  }
  expect(drops).toBeLessThanOrEqual(real.entriesMax / WAYS)
})

test('what is of a former epoch makes room first', () => {
  const real = table(1, WAYS)
  for (let flow = 0; flow < WAYS; flow++) insert(real, keyOf(real, flow, 0), { nowMs: 10 - flow })
  const old = real.find(keyOf(real, 2, 0))
  real.words[old * real.stride + real.epochAt] = EPOCH - 1
  expect(insert(real, keyOf(real, 50, 0), { nowMs: 20 })).toBe(old)
})

test('time may pass the end of a word', () => {
  const real = table(1, WAYS)
  const edge = 0x7fff_ffff
  const times = [edge - 3, edge - 2, edge - 1, edge]
  for (const [flow, nowMs] of times.entries()) insert(real, keyOf(real, flow, 0), { nowMs })
  const oldest = real.find(keyOf(real, 0, 0))
  expect(insert(real, keyOf(real, 50, 0), { nowMs: (edge + 5) | 0 })).toBe(oldest)
})
