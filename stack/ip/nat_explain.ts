/** What address translation tells of traced packets. Callers ask `packet.traced` first. */
import { formatWords } from '../address.ts'
import type { Pool } from '../packet.ts'
import { PORTS, SRC } from './tuple.ts'

export function explain(pool: Pool, text: string): void {
  pool.trace?.step('nat', text)
}

/** As {@link explain}, with one end of a tuple: `at` is SRC or DST (tuple.ts). */
export function explainEnd(pool: Pool, text: string, tuple: Int32Array, at: number): void {
  const ports = tuple[PORTS]!
  const port = at === SRC ? ports >>> 16 : ports & 0xffff
  explain(pool, `${text} becomes ${formatWords(tuple, at)} port ${port}`)
}
