/**
 * The hot pieces inside one process, by tinybench: nanoseconds an operation, without any I/O.
 *
 *   micro/main.js [MS]     time for each piece (default 1000); prints JSON, one object a piece
 *
 * A process of its own, so that nothing else has shaped the compiler's decisions.
 */
import { Bench } from 'tinybench'
import { headerPieces } from './headers.ts'
import { pathPieces } from './path.ts'
import type { PieceResult } from './result.ts'
import { tablePieces } from './tables.ts'

const DEFAULT_MS = 1000

function measure(ms: number): PieceResult[] {
  const pieces = [...headerPieces(), ...tablePieces(), ...pathPieces()]
  const bench = new Bench({ time: ms, warmupTime: ms / 2, throws: true })
  for (const { name, run } of pieces) bench.add(name, run)
  bench.runSync()
  return pieces.map(({ name, operations }) => {
    const result = bench.getTask(name)?.result
    if (result?.state !== 'completed') throw new Error(`${name} was not measured`)
    const { p50, min } = result.latency
    return { name, medianNs: (p50 * 1e6) / operations, minNs: (min * 1e6) / operations }
  })
}

const results = measure(Number(process.argv[2] ?? DEFAULT_MS))
process.stdout.write(`${JSON.stringify(results)}\n`)
