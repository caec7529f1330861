/**
 * Filling a table, which can be done only once: in chunks of {@link OPERATIONS}, each timed. The
 * median is over the chunks; the rate is over all of them, with all that happened meanwhile. The
 * first ones also pay for the compiler, which shows in the rate only.
 */
import { OPERATIONS } from './piece.ts'
import type { PieceResult } from './result.ts'

/** Connections that the pieces of connections set up. */
export const FLOWS = 1_000_000

/** Call `add` with 0 to `count` - 1. @throws Error if it says that one was not taken. */
export function fill(name: string, count: number, add: (i: number) => boolean): PieceResult[] {
  const chunks: number[] = []
  let totalMs = 0
  for (let from = 0; from < count; from += OPERATIONS) {
    const to = Math.min(count, from + OPERATIONS)
    let taken = 0
    const startedMs = performance.now()
    for (let i = from; i < to; i++) if (add(i)) taken++
    const ms = performance.now() - startedMs
    if (taken < to - from) throw new Error(`${name}: not all of ${count} were taken`)
    chunks.push((ms * 1e6) / (to - from))
    totalMs += ms
  }
  chunks.sort((a, b) => a - b)
  return [
    { name, unit: 'ns', median: chunks[chunks.length >>> 1]!, least: chunks[0]! },
    { name: `${name}: rate`, unit: 'k connections/s', median: count / totalMs },
  ]
}
