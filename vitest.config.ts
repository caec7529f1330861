import { availableParallelism } from 'node:os'
import { defineConfig } from 'vitest/config'

/** Where a run's report goes, for whoever counts it. */
const report = process.env['TAPLINE_REPORT']
const isRoot = process.getuid?.() === 0

/** All processors: Vitest itself would leave one free, which of two is half. */
const busy = availableParallelism()
/** Suites with daemons and programs of their own wait more than they work. */
const waiting = busy + 1
const patient = { testTimeout: 120_000, hookTimeout: 120_000 }

/**
 * What wants the host for itself: `engine` forbids io_uring to all of it, `scale` lists its devices
 * and sets the bounds of its neighbors, and the others measure daemons by the clock: rates, and
 * bounds below two seconds.
 */
const ALONE = ['engine', 'scale', 'maglev_live', 'policy', 'ports_live'].map((name) => {
  return `test/netns/${name}.test.ts`
})
const PRIVILEGED = 'test/netns/**/*.test.ts'
const INTEROP = 'test/interop/**/*.test.ts'

/** Suites that need root, and real devices. */
const privileged = [
  { name: 'netns', include: [PRIVILEGED], exclude: ALONE, maxWorkers: waiting, groupOrder: 1 },
  { name: 'netns-alone', include: ALONE, exclude: [], maxWorkers: 1, groupOrder: 2 },
].map(({ groupOrder, ...suite }) => ({ test: { ...suite, ...patient, sequence: { groupOrder } } }))

/** Groups run one after another: what computes, what waits, what wants the host for itself. */
export default defineConfig({
  test: {
    pool: 'forks',
    reporters: report === undefined ? ['default'] : ['default', ['json', { outputFile: report }]],
    projects: [
      { test: { name: 'tidy', include: ['test/tidy.test.ts'], maxWorkers: busy, ...patient } },
      {
        test: {
          name: 'unit',
          include: ['test/**/*.test.ts'],
          exclude: ['test/tidy.test.ts', PRIVILEGED, INTEROP],
          maxWorkers: busy,
          // One process for many files: to load everything anew takes longer than most of them.
          isolate: false,
          ...patient,
        },
      },
      ...(isRoot ? privileged : []),
      {
        test: {
          name: 'interop',
          include: [INTEROP],
          maxWorkers: busy,
          sequence: { groupOrder: 3 },
          ...patient,
        },
      },
    ],
  },
})
