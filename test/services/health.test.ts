/** How answers become a verdict, in time. */
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { HealthCheck, type Verdict } from '../../services/balancer/health.ts'
import type { HealthcheckConfig } from '../../services/config/model.ts'
import { VirtualClock } from '../../stack/clock.ts'
import { Random } from '../../stack/random.ts'

const CONFIG: HealthcheckConfig = {
  type: 'tcp',
  port: 80,
  path: '/',
  intervalMs: 2000,
  timeoutMs: 500,
  retries: 3,
  rise: 2,
  slowStartMs: 0,
}

class Patient {
  readonly clock = new VirtualClock()
  readonly changes: [number, boolean][] = []
  readonly asked: number[] = []
  /** Undefined: it cannot be asked. */
  well: boolean | undefined = true
  readonly check: HealthCheck

  constructor(config: Partial<HealthcheckConfig> = {}, seed = 1) {
    const full = { ...CONFIG, ...config }
    this.check = new HealthCheck({
      clock: this.clock,
      random: new Random(seed),
      config: full,
      check: (done) => {
        this.asked.push(this.clock.nowMs)
        const { well } = this
        const detail = well === undefined ? 'not asked' : well ? 'answers' : 'silent'
        const verdict: Verdict = { healthy: well, detail }
        return this.clock.after(well === false ? full.timeoutMs : 1, () => done(verdict))
      },
      changed: (up) => this.changes.push([this.clock.nowMs, up]),
    })
  }

  run(ms: number): void {
    const until = this.clock.nowMs + ms
    while (this.clock.step(until)) {}
    this.clock.jump(until)
  }

  take(): boolean[] {
    return this.changes.splice(0).map(([, up]) => up)
  }

  end(): void {
    this.check.close()
    expect(this.clock.pending).toBe(0)
  }
}

it('is up with the first success, and down with the first failure', () => {
  const patient = new Patient()
  patient.run(1)
  expect(patient.take()).toEqual([true])
  patient.end()
  const ill = new Patient()
  ill.well = false
  ill.run(500)
  expect(ill.take()).toEqual([false])
  expect(ill.check.detail).toBe('silent')
  ill.end()
})

it('goes down after so many failures in a row, and up after so many successes', () => {
  const patient = new Patient()
  patient.run(10_000)
  patient.take()
  for (let i = 0; i < 5; i++) {
    // Two failures, and one success between.
    const before = patient.asked.length
    patient.well = false
    while (patient.asked.length < before + 2) patient.run(1)
    patient.well = true
    patient.run(4000)
  }
  expect(patient.take()).toEqual([])
  patient.well = false
  patient.run(6001)
  expect(patient.take()).toEqual([false])
  patient.well = true
  const before = patient.asked.length
  while (patient.asked.length < before + 1) patient.run(1)
  patient.run(1)
  expect(patient.take()).toEqual([])
  patient.run(2000)
  expect(patient.take()).toEqual([true])
  patient.end()
})

it('says nothing when it could not ask', () => {
  const patient = new Patient()
  patient.run(10_000)
  patient.take()
  patient.well = undefined
  patient.run(60_000)
  expect(patient.take()).toEqual([])
  expect(patient.check.detail).toBe('answers')
  patient.end()
})

it('finds a death within interval x retries, one check at a time', () => {
  const config = fc
    .record({
      intervalMs: fc.integer({ min: 100, max: 9000 }),
      retries: fc.integer({ min: 2, max: 6 }),
      part: fc.integer({ min: 1, max: 100 }),
    })
    .map(({ intervalMs, retries, part }) => {
      // As long as it fits: a timeout of the whole interval leaves no time to look sooner.
      const most = (intervalMs * (retries - 1)) / retries
      return { intervalMs, retries, timeoutMs: Math.max(1, Math.floor((most * part) / 100)) }
    })
  fc.assert(
    fc.property(config, fc.nat(20_000), fc.nat(), (config, deathMs, seed) => {
      const patient = new Patient(config, seed)
      patient.run(config.intervalMs + deathMs)
      expect(patient.take()).toEqual([true])
      patient.well = false
      // A check under way answers still.
      patient.run(config.intervalMs * config.retries + 1)
      expect(patient.take()).toEqual([false])
      const gaps = patient.asked.slice(1).map((at, i) => at - patient.asked[i]!)
      expect(Math.min(...gaps)).toBeGreaterThanOrEqual(config.timeoutMs)
      expect(Math.max(...gaps)).toBeLessThanOrEqual(config.intervalMs)
      patient.end()
    }),
  )
})

it('can be closed at any time', () => {
  for (const atMs of [0, 1, 500, 777]) {
    const patient = new Patient()
    patient.well = false
    patient.run(atMs)
    patient.end()
    const asked = patient.asked.length
    patient.run(9000)
    expect(patient.asked.length).toBe(asked)
  }
})
