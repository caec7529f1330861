import { defineConfig } from 'vitest/config'

/** Where a run's report goes, for whoever counts it. */
const report = process.env['TAPLINE_REPORT']

/** Suites that need root, real TAPs or minutes are projects of their own, run one file at a time. */
const serial = { fileParallelism: false, testTimeout: 120_000, hookTimeout: 120_000 }
const privileged = process.getuid?.() === 0 ? ['netns'] : []

export default defineConfig({
  test: {
    pool: 'forks',
    reporters: report === undefined ? ['default'] : ['default', ['json', { outputFile: report }]],
    projects: [
      { test: { name: 'tidy', include: ['test/tidy.test.ts'] } },
      {
        test: {
          name: 'unit',
          include: ['test/**/*.test.ts'],
          exclude: ['test/tidy.test.ts', 'test/netns/**', 'test/interop/**'],
          testTimeout: 60_000,
        },
      },
      ...privileged.map((name) => ({
        test: { name, include: [`test/${name}/**/*.test.ts`], ...serial },
      })),
      { test: { name: 'interop', include: ['test/interop/**/*.test.ts'], ...serial } },
    ],
  },
})
