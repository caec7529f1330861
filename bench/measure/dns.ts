/**
 * Names asked at the gateway address by dnsperf: a thousand one after the other, a hundred
 * questions under way at any time, UDP. The dnsperf of Debian prints its figures for people, and is
 * read here.
 *
 * A run begins with each name once and, where there is one, with the warm-up, neither of which is
 * measured: so far names are answered from what the resolver keeps.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Bed } from '../bed.ts'
import { atExit } from '../cleanup.ts'
import { type Holder, queryFile } from '../names.ts'
import { PREFIX } from '../netns.ts'
import type { Options } from '../options.ts'
import { CLIENT_GATEWAY } from '../peers/peer.ts'
import type { Metrics } from '../questions.ts'
import { run } from '../shell.ts'

/** For the last answers, which dnsperf waits for. */
const SPARE_MS = 30_000

export async function measureNames(
  bed: Bed,
  options: Options,
  names: readonly Holder[],
): Promise<Metrics> {
  const folder = mkdtempSync(join(tmpdir(), `${PREFIX}dns-`))
  const remove = (): void => rmSync(folder, { recursive: true, force: true })
  const forget = atExit(remove)
  try {
    const file = join(folder, 'queries')
    writeFileSync(file, queryFile(names))
    const ask = (limit: readonly string[], seconds: number): Promise<string> => {
      const command = ['dnsperf', '-s', CLIENT_GATEWAY, '-d', file, ...limit]
      return run(bed.clientCommand(command), seconds * 1000 + SPARE_MS)
    }
    await ask(['-n', '1'], 1)
    const { warmUpSeconds, seconds } = options
    if (warmUpSeconds > 0) await ask(['-l', `${warmUpSeconds}`], warmUpSeconds)
    return parseDnsperf(await ask(['-l', `${seconds}`], seconds))
  } finally {
    remove()
    forget()
  }
}

/**
 * Figures of dnsperf's summary. @throws Error if it is none, or if answers were other than NOERROR.
 */
export function parseDnsperf(text: string): Metrics {
  const number = (pattern: RegExp): number => {
    const found = pattern.exec(text)?.[1]
    if (found === undefined) throw new Error(`dnsperf did not tell ${pattern.source}`)
    return Number(found)
  }
  const codes = /Response codes:\s+(.*)/.exec(text)?.[1]?.trim() ?? 'none'
  if (!/^NOERROR \d+ \(100\.00%\)$/.test(codes)) throw new Error(`dnsperf got answers: ${codes}`)
  return {
    kQueries: number(/Queries per second:\s+([\d.]+)/) / 1000,
    averageUs: number(/Average Latency \(s\):\s+([\d.]+)/) * 1e6,
    lost: number(/Queries lost:\s+(\d+)/),
  }
}
