/** Where a benchmark ran: what a reader needs to judge its figures. */
import { readFileSync } from 'node:fs'
import { availableParallelism, cpus, loadavg, release, totalmem } from 'node:os'
import { runSync } from './shell.ts'

export interface Machine {
  readonly cpu: string
  readonly memoryGb: number
  readonly kernel: string
  readonly node: string
  readonly iperf3: string
  readonly congestionControl: string
  readonly commit: string
  readonly date: string
  /** Before the first run: of something else, so near 0 on a machine fit to measure on. */
  readonly load: number
}

const CONGESTION = '/proc/sys/net/ipv4/tcp_congestion_control'

/** @param root The checkout. */
export function describeMachine(root: string): Machine {
  return {
    cpu: `${availableParallelism()} x ${cpus()[0]?.model.trim() ?? 'unknown CPU'}`,
    memoryGb: Math.round(totalmem() / 1e9),
    kernel: `Linux ${release()}`,
    node: process.version,
    iperf3: firstLine(['iperf3', '--version']),
    congestionControl: readFileSync(CONGESTION, 'latin1').trim(),
    commit: commitOf(root),
    date: new Date().toISOString(),
    load: loadavg()[0] ?? 0,
  }
}

/** With a mark if files differ from it. */
function commitOf(root: string): string {
  const commit = firstLine(['git', '-C', root, 'rev-parse', '--short=12', 'HEAD'])
  const changes = firstLine(['git', '-C', root, 'status', '--porcelain', '--untracked-files=no'])
  return changes === '' || changes === 'unknown' ? commit : `${commit} with changes`
}

function firstLine(argv: readonly string[]): string {
  try {
    return runSync(argv).split('\n')[0] ?? ''
  } catch {
    return 'unknown'
  }
}
