/** Who gets a connection, and who does not. */
import fc from 'fast-check'
import { describe, expect, it, test } from 'vitest'
import { ipv4 } from '../../stack/address.ts'
import { EJECTION_MAX_MS, EJECTION_MS, FAILURES_MAX } from '../../stack/ip/backends.ts'
import { BACKENDS_MAX } from '../../stack/ip/nat_marks.ts'
import type { SchedulerName } from '../../stack/ip/schedulers.ts'
import { garbageOf } from '../collections.ts'
import { BalanceLab, tupleOf } from './balance_lab.ts'

const SCHEDULERS: readonly SchedulerName[] = ['rr', 'wrr', 'least_conn', 'maglev', 'source_hash']

describe('turns', () => {
  it('rr: one after another, whatever the weights', () => {
    const lab = new BalanceLab({ scheduler: 'rr' })
    lab.addAll([5, 1, 2])
    expect(Array.from({ length: 7 }, () => lab.visit())).toEqual([0, 1, 2, 0, 1, 2, 0])
  })

  it('wrr: by weight, spread out', () => {
    const lab = new BalanceLab({ scheduler: 'wrr' })
    lab.addAll([5, 1, 1])
    const round = [0, 0, 1, 0, 2, 0, 0]
    expect(Array.from({ length: 14 }, () => lab.visit())).toEqual([...round, ...round])
  })

  it('wrr: exact for any weights, in any whole round', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1 }), (weights) => {
        const lab = new BalanceLab({ scheduler: 'wrr' })
        lab.addAll(weights)
        const total = weights.reduce((sum, weight) => sum + weight, 0)
        expect(lab.shares(3 * total)).toEqual(weights.map((weight) => 3 * weight))
      }),
      { numRuns: 50 },
    )
  })

  it('a look takes nobody a turn', () => {
    const lab = new BalanceLab({ scheduler: 'rr' })
    lab.addAll([1, 1])
    lab.visit()
    expect([lab.pick(), lab.pick(), lab.visit(), lab.visit()]).toEqual([1, 1, 1, 0])
  })
})

describe('least_conn', () => {
  it('always takes a minimum of connections for the weight', () => {
    const weights = fc.array(fc.integer({ min: 1, max: 8 }), { minLength: 1, maxLength: 9 })
    fc.assert(
      fc.property(weights, fc.array(fc.nat(99), { maxLength: 200 }), (weights, actions) => {
        const lab = new BalanceLab({ scheduler: 'least_conn' })
        lab.addAll(weights)
        const open: number[] = []
        for (const action of actions) {
          if (action < 40 && open.length > 0) {
            const [backend] = open.splice(action % open.length, 1)
            lab.end(backend!)
            continue
          }
          const load = weights.map((weight, i) => {
            return (lab.backends.counts(i).active + 1) / weight
          })
          const backend = lab.open()
          open.push(backend)
          expect(load[backend]).toBe(Math.min(...load))
        }
      }),
    )
  })

  it('takes turns among equals', () => {
    const lab = new BalanceLab({ scheduler: 'least_conn' })
    lab.addAll([1, 1, 1, 1])
    expect(lab.shares(400)).toEqual([100, 100, 100, 100])
  })
})

describe('source_hash', () => {
  it('one client, one backend; ports do not matter', () => {
    const lab = new BalanceLab({ scheduler: 'source_hash' })
    lab.addAll([1, 1, 1, 1, 1])
    const used = new Set<number>()
    for (let client = 0; client < 100; client++) {
      const backends = new Set([1, 2, 3, 4].map((port) => lab.visit(tupleOf(client, port))))
      expect(backends.size).toBe(1)
      for (const backend of backends) used.add(backend)
    }
    expect(used.size).toBe(5)
  })

  it('moves only the clients of who goes', () => {
    const lab = new BalanceLab({ scheduler: 'source_hash' })
    lab.addAll([3, 1, 2, 1])
    const before = Array.from({ length: 2000 }, (_, i) => lab.pick(tupleOf(i)))
    lab.backends.remove(2)
    for (const [i, backend] of before.entries()) {
      if (backend !== 2) expect(lab.pick(tupleOf(i))).toBe(backend)
    }
    lab.add(3, 2)
    expect(before.map((_, i) => lab.pick(tupleOf(i)))).toEqual(before)
  })

  it('has shares by weight', () => {
    const lab = new BalanceLab({ scheduler: 'source_hash' })
    lab.addAll([1, 2, 3, 4])
    const shares = lab.shares(40_000)
    for (const [i, share] of shares.entries()) {
      expect(Math.abs(share / 4000 / (i + 1) - 1)).toBeLessThan(0.05)
    }
  })
})

/** Changes of a set of backends, by a model that knows who may be picked. */
const change = fc.oneof(
  fc.record({ kind: fc.constant('add' as const), at: fc.nat(40), value: fc.nat(4) }),
  fc.record({ kind: fc.constant('weight' as const), at: fc.nat(40), value: fc.nat(4) }),
  fc.record({ kind: fc.constant('up' as const), at: fc.nat(40), value: fc.nat(1) }),
  fc.record({ kind: fc.constant('remove' as const), at: fc.nat(40), value: fc.nat(1) }),
  fc.record({ kind: fc.constant('pass' as const), at: fc.nat(40), value: fc.nat(9000) }),
)

interface Model {
  readonly host: number
  weight: number
  up: boolean
}

describe.each(SCHEDULERS)('%s', (scheduler) => {
  it('picks none that drains, is down, weighs nothing or is gone; none at all: -1', () => {
    const settings = fc.record({
      affinityMs: fc.constantFrom(0, 5000),
      slowStartMs: fc.constantFrom(0, 8000),
    })
    const runs = scheduler === 'maglev' ? 15 : 60
    fc.assert(
      fc.property(settings, fc.array(change, { maxLength: 25 }), (options, changes) => {
        const lab = new BalanceLab({ scheduler, ...options })
        const model = new Map<number, Model>()
        const open: number[] = []
        let host = 0
        for (const { kind, at, value } of changes) {
          const index = [...model.keys()][at % Math.max(1, model.size)]
          const it = index === undefined ? undefined : model.get(index)!
          if (kind === 'pass') lab.pass(value)
          else if (kind === 'add') {
            const added = lab.add(++host, value)
            expect(model.has(added) || open.includes(added), 'an index that lives').toBe(false)
            model.set(added, { host, weight: value, up: true })
          } else if (index === undefined || it === undefined) continue
          else if (kind === 'remove') {
            lab.backends.remove(index)
            model.delete(index)
          } else if (kind === 'weight') {
            lab.backends.setWeight(index, value)
            it.weight = value
          } else {
            lab.backends.setUp(index, value === 1)
            it.up = value === 1
          }
          const able = [...model.values()].some((m) => m.up && m.weight > 0)
          for (let i = 0; i < 6; i++) {
            const picked = lab.open(tupleOf(at * i, value + i))
            expect(picked >= 0).toBe(able)
            if (picked < 0) continue
            open.push(picked)
            const { up, weight, host } = model.get(picked)!
            expect({ up, able: weight > 0 }).toEqual({ up: true, able: true })
            expect(lab.backends.addressWords(picked)[3]).toBe(0x0a01_0000 + host)
          }
          while (open.length > 9) lab.end(open.shift()!)
        }
      }),
      { numRuns: runs },
    )
  })

  it('starts slowly', () => {
    const lab = new BalanceLab({ scheduler, slowStartMs: 10_000 })
    lab.addAll([2, 2, 2])
    lab.pass(20_000)
    lab.backends.setUp(1, false)
    lab.pass(1000)
    lab.backends.setUp(1, true)
    const share = (): number => {
      if (scheduler !== 'least_conn') return lab.shares(9000)[1]! / 3000
      const before = lab.backends.counts(1).active
      const all = Array.from({ length: 900 }, () => lab.open())
      const share = (lab.backends.counts(1).active - before) / 300
      for (const backend of all) lab.end(backend)
      return share
    }
    const first = share()
    expect(first).toBeGreaterThan(0.05)
    expect(first).toBeLessThan(0.25)
    lab.pass(5000)
    const middle = share()
    expect(middle).toBeGreaterThan(0.5)
    expect(middle).toBeLessThan(0.8)
    lab.pass(5000)
    expect(Math.abs(share() - 1)).toBeLessThan(0.1)
  })
})

describe('affinity', () => {
  it('keeps a client where it was, as long as that is ready and it comes back in time', () => {
    const lab = new BalanceLab({ scheduler: 'rr', affinityMs: 1000 })
    lab.addAll([1, 1, 1])
    const client = tupleOf(1)
    const first = lab.visit(client)
    for (let i = 0; i < 10; i++) {
      lab.pass(900)
      lab.visit()
      expect(lab.visit(tupleOf(1, i))).toBe(first)
    }
    lab.backends.setWeight(first, 0)
    const second = lab.visit(client)
    expect(second).not.toBe(first)
    lab.backends.setWeight(first, 1)
    expect(lab.visit(client), 'it does not come back by itself').toBe(second)
    lab.pass(1001)
    const later = [0, 1, 2].map(() => lab.visit(tupleOf(99)))
    expect(new Set(later).size).toBe(1)
  })

  it('is forgotten with its backend, and bounded in time', () => {
    const lab = new BalanceLab({ scheduler: 'rr', affinityMs: 1000 })
    lab.addAll([1, 1])
    for (let i = 0; i < 100; i++) lab.visit(tupleOf(i))
    expect(lab.backends.clients).toBe(100)
    lab.backends.remove(0)
    expect(lab.backends.clients).toBe(50)
    expect(lab.add(7), 'the index is used again').toBe(0)
    lab.pass(2000)
    for (let i = 0; i < 20_000; i++) lab.visit(tupleOf(5))
    expect(lab.backends.clients).toBe(1)
    lab.backends.configure({ scheduler: 'rr', affinityMs: 0, slowStartMs: 0 })
    expect(lab.backends.clients).toBe(0)
  })
})

describe('ejection', () => {
  it('puts out who fails in a row, for longer each time', () => {
    const lab = new BalanceLab({ scheduler: 'rr' })
    lab.addAll([1, 1, 1, 1])
    lab.fail(2, FAILURES_MAX - 1)
    expect(lab.backends.counts(2).status).toBe('up')
    for (let forMs = EJECTION_MS, i = 0; i < 8; i++) {
      lab.fail(2, FAILURES_MAX)
      expect(lab.backends.counts(2).status).toBe('ejected')
      expect(lab.shares(90)).toEqual([30, 30, 0, 30])
      lab.pass(forMs - 1)
      expect(lab.backends.counts(2).status).toBe('ejected')
      lab.pass(1)
      expect(lab.backends.counts(2).status).toBe('up')
      expect(lab.shares(400)[2]).toBe(100)
      forMs = Math.min(2 * forMs, EJECTION_MAX_MS)
    }
    lab.pass(2 * EJECTION_MAX_MS)
    lab.fail(2, FAILURES_MAX)
    lab.pass(EJECTION_MS)
    expect(lab.backends.counts(2).status, 'long ago is forgiven').toBe('up')
    expect(lab.backends.counts(2).failures).toBe(10 * FAILURES_MAX - 1)
  })

  it('not if successes come between', () => {
    const lab = new BalanceLab({ scheduler: 'rr' })
    lab.addAll([1, 1])
    for (let i = 0; i < 10; i++) {
      lab.fail(0, FAILURES_MAX - 1)
      lab.backends.opened(0)
      lab.end(0)
    }
    expect(lab.backends.counts(0).status).toBe('up')
  })

  it('counts each refusal, but a connection ends only once', () => {
    const lab = new BalanceLab({ scheduler: 'rr' })
    lab.addAll([1, 1])
    lab.backends.opened(0)
    for (let i = 0; i < FAILURES_MAX - 1; i++) lab.backends.failed(0)
    lab.end(0)
    lab.backends.opened(0)
    lab.end(0)
    lab.fail(0, FAILURES_MAX - 1)
    expect(lab.backends.counts(0).status, 'a success came between').toBe('up')
    lab.fail(0, 1)
    expect(lab.backends.counts(0).status).toBe('ejected')
  })

  it('at most half, and never the only one', () => {
    const lab = new BalanceLab({ scheduler: 'rr' })
    lab.add(1)
    lab.fail(0, 100)
    expect(lab.backends.counts(0).status).toBe('up')
    for (const host of [2, 3, 4, 5]) lab.add(host)
    for (let i = 0; i < 5; i++) lab.fail(i, FAILURES_MAX)
    const states = [0, 1, 2, 3, 4].map((i) => lab.backends.counts(i).status)
    expect(states).toEqual(['ejected', 'ejected', 'up', 'up', 'up'])
    for (const i of [2, 3, 4]) lab.backends.setUp(i, false)
    expect(new Set([lab.visit(), lab.visit()]), 'better they than none').toEqual(new Set([0, 1]))
  })
})

describe('books', () => {
  it('an index of who was removed stays until its last connection ends', () => {
    const lab = new BalanceLab({ scheduler: 'rr' })
    lab.addAll([1, 1])
    lab.open()
    lab.open()
    lab.backends.remove(0)
    expect([lab.visit(), lab.visit()]).toEqual([1, 1])
    expect(lab.backends.addressWords(0)[3]).toBe(0x0a01_0001)
    expect(lab.add(3)).toBe(2)
    lab.end(0)
    expect(lab.add(4)).toBe(0)
    const { active, total } = lab.backends.counts(0)
    expect([active, total]).toEqual([0, 0])
    expect(lab.backends.flows).toBe(4)
  })

  it('an index stays while a connection that is over is known', () => {
    const lab = new BalanceLab({ scheduler: 'least_conn' })
    lab.addAll([1, 1])
    for (let i = 0; i < 6; i++) lab.open()
    for (let i = 0; i < 3; i++) lab.backends.closed(0)
    expect(lab.backends.counts(0).active, 'what is over is no load').toBe(0)
    expect([lab.open(), lab.open(), lab.open()]).toEqual([0, 0, 0])
    lab.backends.reopened(0)
    expect(lab.open()).toBe(1)
    for (let i = 0; i < 4; i++) lab.backends.closed(0)
    lab.backends.remove(0)
    for (let i = 0; i < 5; i++) lab.backends.forgotten(0)
    expect(lab.add(3)).toBe(2)
    lab.backends.forgotten(0)
    expect(lab.add(4)).toBe(0)
  })

  it('refuses weights and numbers that are too great', () => {
    const lab = new BalanceLab({ scheduler: 'rr' })
    expect(() => lab.add(1, -1)).toThrow('a weight is from 0 to 65535')
    expect(() => lab.add(1, 1.5)).toThrow('a weight is from 0 to 65535')
    for (let i = 0; i < BACKENDS_MAX; i++) lab.add(i)
    expect(() => lab.add(9)).toThrow('too many backends')
    expect(() => lab.backends.setWeight(0, 65_536)).toThrow('a weight is from')
    expect(lab.visit()).toBe(0)
  })

  it('a port of its own', () => {
    const lab = new BalanceLab({ scheduler: 'rr' })
    lab.add(1)
    lab.backends.add({ address: ipv4(1), weight: 1, up: true, port: 8080 })
    expect([lab.backends.targetPort(0), lab.backends.targetPort(1)]).toEqual([0, 8080])
  })
})

test.each(SCHEDULERS)('%s makes no garbage', async (scheduler) => {
  const lab = new BalanceLab({ scheduler, affinityMs: 50 })
  lab.addAll([1, 2, 3, 4, 5, 6, 7, 8])
  lab.backends.setUp(3, false)
  const tuple = tupleOf(1)
  const drive = (count: number): void => {
    for (let i = 0; i < count; i++) {
      tuple[3] = i & 0x3ff
      lab.visit(tuple)
    }
  }
  drive(50_000)
  const { collections } = await garbageOf(() => drive(200_000))
  expect(collections).toBeLessThanOrEqual(1)
})
