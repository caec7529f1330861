/** Where the data path runs: tried, compared, kept or taken back; and the kernel's books. */
import { describe, expect, test } from 'vitest'
import { Placement } from '../../services/placement.ts'
import {
  allowedProcessors,
  confineThread,
  idleTimes,
  threadTimes,
} from '../../stack/native/affinity.ts'

const STEP_MS = 200

/** Two processors whose books a test keeps. */
class Machine {
  readonly confined: number[][] = []
  readonly placement: Placement
  #nowMs = 0
  #moved = 0
  #waitedMs = 0
  /** How often the kernel's books were read. */
  reads = 0
  readonly #idleMs = new Map([
    [0, 0],
    [1, 0],
  ])

  constructor(allowed: readonly number[] = [0, 1]) {
    this.placement = new Placement({
      allowed,
      times: () => {
        this.reads++
        return { ranMs: 0, waitedMs: this.#waitedMs }
      },
      idle: () => new Map(this.#idleMs),
      confine: (processors) => this.confined.push([...processors]) > 0,
    })
    this.placement.look(0, 0)
  }

  /** Let time pass in which so many frames a millisecond moved. */
  pass(ms: number, { rate = 10, waited = 0.3, idle = [0, 0.6] } = {}): void {
    for (let left = ms; left > 0; left -= STEP_MS) {
      this.#nowMs += STEP_MS
      this.#moved += rate * STEP_MS
      this.#waitedMs += waited * STEP_MS
      idle.forEach((share, n) => {
        this.#idleMs.set(n, this.#idleMs.get(n)! + share * STEP_MS)
      })
      this.placement.look(this.#nowMs, this.#moved)
    }
  }

  pause(ms: number): void {
    this.#nowMs += ms
    this.placement.look(this.#nowMs, this.#moved)
  }
}

describe('a thread that waits while another processor idles', () => {
  test('goes there, and stays if more is moved', () => {
    const machine = new Machine()
    machine.pass(2 * STEP_MS)
    expect(machine.placement.home).toBe(1)
    machine.pass(1000, { rate: 15, waited: 0.05 })
    expect(machine.placement.home).toBe(1)
    expect(machine.confined).toEqual([[1]])
  })

  test('comes back if no more is moved, and tries again only much later', () => {
    const machine = new Machine()
    machine.pass(800)
    expect(machine.confined).toEqual([[1], [0, 1]])
    machine.pass(9_800)
    expect(machine.confined).toHaveLength(2)
    machine.pass(400)
    expect(machine.confined).toHaveLength(3)
  })

  test('is left to the scheduler again when that moves more', () => {
    const machine = new Machine()
    machine.pass(2 * STEP_MS)
    machine.pass(400, { rate: 15, waited: 0 })
    machine.pass(2 * STEP_MS, { rate: 5, idle: [0.6, 0] })
    expect(machine.placement.home).toBeUndefined()
    machine.pass(400, { rate: 10, waited: 0 })
    expect(machine.confined).toEqual([[1], [0, 1]])
  })

  test('is not looked after while there is little traffic, and left to the scheduler', () => {
    const machine = new Machine()
    machine.pass(2 * STEP_MS)
    expect(machine.placement.home).toBe(1)
    const { reads } = machine
    machine.pass(2000, { rate: 0.5 })
    expect(machine.reads).toBe(reads)
    expect(machine.placement.home).toBeUndefined()
  })

  test('compares with the time just before, not with a lull', () => {
    const machine = new Machine()
    machine.pass(STEP_MS)
    machine.pass(600, { rate: 0.5 })
    machine.pass(2 * STEP_MS)
    expect(machine.placement.home).toBeUndefined()
    machine.pass(STEP_MS)
    expect(machine.placement.home).toBe(1)
    machine.pass(400)
    expect(machine.placement.home).toBeUndefined()
  })

  test('is left to the scheduler after a pause', () => {
    const machine = new Machine()
    machine.pass(2 * STEP_MS)
    machine.pause(2000)
    expect(machine.placement.home).toBeUndefined()
  })

  test('uses no processor that it may not', () => {
    const machine = new Machine([0])
    machine.pass(1000)
    expect(machine.confined).toEqual([])
  })
})

test.each([
  ['it does not wait', { waited: 0.05 }],
  ['no other processor idles', { idle: [0, 0.2] }],
])('a thread stays where it is when %s', (_why, books) => {
  const machine = new Machine()
  machine.pass(2000, books)
  expect(machine.confined).toEqual([])
})

test('the kernel keeps these books and takes these orders', () => {
  const allowed = allowedProcessors()
  expect(allowed.length).toBeGreaterThan(0)
  expect(confineThread([allowed[0]!])).toBe(true)
  expect(allowedProcessors()).toEqual([allowed[0]])
  expect(confineThread(allowed)).toBe(true)
  expect(allowedProcessors()).toEqual(allowed)
  expect(confineThread([1023])).toBe(false)
  const before = threadTimes()
  const until = process.hrtime.bigint() + 20_000_000n
  while (process.hrtime.bigint() < until);
  expect(threadTimes().ranMs).toBeGreaterThan(before.ranMs)
  for (const n of allowed) expect(idleTimes().get(n)).toBeGreaterThanOrEqual(0)
})
