/**
 * The hot pieces inside one process, by tinybench: nanoseconds an operation, without any I/O.
 *
 *   micro/main.js [MS]     time for each piece (default 1000); prints JSON, one object a piece
 *
 * A process of its own, so that nothing else has shaped the compiler's decisions. What can be done
 * only once, such as filling a table, times itself (fill.ts); the size of memory comes with it.
 */
import { Bench } from 'tinybench'
import { measureFlows } from './flows.ts'
import { headerPieces } from './headers.ts'
import { measureNat } from './nat.ts'
import { pathPieces } from './path.ts'
import type { Piece } from './piece.ts'
import type { PieceResult } from './result.ts'
import { tablePieces } from './tables.ts'

const DEFAULT_MS = 1000

function time(pieces: readonly Piece[], ms: number): PieceResult[] {
  const bench = new Bench({ time: ms, warmupTime: ms / 2, throws: true })
  for (const { name, run } of pieces) bench.add(name, run)
  bench.runSync()
  return pieces.map(({ name, operations }): PieceResult => {
    const result = bench.getTask(name)?.result
    if (result?.state !== 'completed') throw new Error(`${name} was not measured`)
    const { p50, min } = result.latency
    const [median, least] = [(p50 * 1e6) / operations, (min * 1e6) / operations]
    return { name, unit: 'ns', median, least }
  })
}

/** The large tables last: what fills them must not shape the code that others are measured by. */
function measure(ms: number): PieceResult[] {
  const small = time([...headerPieces(), ...tablePieces(), ...pathPieces()], ms)
  const { results, pieces } = measureFlows()
  return [...small, ...results, ...time(pieces, ms), ...measureNat()]
}

const results = measure(Number(process.argv[2] ?? DEFAULT_MS))
process.stdout.write(`${JSON.stringify(results)}\n`)
