/** Garbage as the collector sees it: for tests of paths that must not make any. */
import { constants, PerformanceObserver } from 'node:perf_hooks'

export interface Garbage {
  /** Minor collections meanwhile. */
  readonly collections: number
  /** By how much the heap grew. */
  readonly grownBytes: number
}

/** What `work` left behind. Precondition: it is warm. */
export async function garbageOf(work: () => void): Promise<Garbage> {
  let collections = 0
  const observer = new PerformanceObserver((list) => {
    for (const entry of list.getEntries() as unknown as { detail: { kind: number } }[]) {
      if (entry.detail.kind === constants.NODE_PERFORMANCE_GC_MINOR) collections++
    }
  })
  observer.observe({ entryTypes: ['gc'] })
  const before = process.memoryUsage().heapUsed
  work()
  const grownBytes = process.memoryUsage().heapUsed - before
  // Entries are told in a turn of the event loop.
  await new Promise((resolve) => setImmediate(resolve))
  observer.disconnect()
  return { collections, grownBytes }
}
