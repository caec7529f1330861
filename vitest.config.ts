import { availableParallelism } from 'node:os'
import { defineConfig } from 'vitest/config'

/** Where a run's report goes, for whoever counts it. */
const report = process.env['TAPLINE_REPORT']
const isRoot = process.getuid?.() === 0

/** All processors: Vitest itself would leave one free, which of two is half. */
const busy = availableParallelism()
const patient = { testTimeout: 120_000, hookTimeout: 120_000 }
/**
 * Kernels and other people's programs run by the clock of a machine that others share: in the
 * continuous integration one that fails is tried once more, and `.ci/run` lists it.
 */
const real = { ...patient, retry: process.env['CI'] === undefined ? 0 : 1 }

/**
 * What wants the host for itself: `engine` forbids io_uring to all of it, `scale` lists its devices
 * and sets the bounds of its neighbors, and the others measure daemons by the clock: rates, and
 * bounds below two seconds.
 */
const ALONE = [
  ...['engine', 'scale'],
  ...['bench', 'flood', 'maglev_live', 'overlay_kernel', 'policy', 'ports_live', 'raw_ends'],
].map((name) => `test/netns/${name}.test.ts`)
/** What measures its own heap: code and timers of other files would grow it. */
const HEAP = 'test/**/*allocation.test.ts'
const PRIVILEGED = 'test/netns/**/*.test.ts'
const INTEROP = 'test/interop/**/*.test.ts'

/** Suites that need root, and real devices. */
const privileged = [
  { name: 'netns', include: [PRIVILEGED], exclude: ALONE, maxWorkers: busy, groupOrder: 1 },
  { name: 'netns-alone', include: ALONE, exclude: [], maxWorkers: 1, groupOrder: 2 },
].map(({ groupOrder, ...suite }) => ({ test: { ...suite, ...real, sequence: { groupOrder } } }))

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
          exclude: ['test/tidy.test.ts', HEAP, PRIVILEGED, INTEROP],
          maxWorkers: busy,
          // One process for many files: to load everything anew takes longer than most of them.
          isolate: false,
          ...patient,
        },
      },
      { test: { name: 'heap', include: [HEAP], maxWorkers: busy, ...patient } },
      ...(isRoot ? privileged : []),
      {
        test: {
          name: 'interop',
          include: [INTEROP],
          maxWorkers: 1,
          sequence: { groupOrder: 3 },
          ...real,
        },
      },
    ],
  },
})
