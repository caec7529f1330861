/**
 * `npm run bench`: tapline end to end, side by side with the kernel's own network and with
 * userspace switches, in one invocation on one machine. See README.md.
 *
 * Progress goes to stderr, the table of bars (or all samples, with --json) to stdout, the report
 * and its chart to bench/ if the run was a whole one. Exit codes: 0 measured; 1 something could
 * not be measured, or with --check a bar was missed; 2 used wrongly.
 */
import { writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { basename, dirname, join, resolve } from 'node:path'
import { CommanderError } from 'commander'
import { chartPanels } from './chart.ts'
import { cleanUpAtExit } from './cleanup.ts'
import { describeMachine, type Machine } from './machine.ts'
import { type Options, parseOptions } from './options.ts'
import { PEER_NAMES } from './peers/peer.ts'
import { QUESTION_NAMES } from './questions.ts'
import { formatNumber, formatReport, formatTables } from './report.ts'
import { type Judged, judge } from './results.ts'
import { type Outcome, runAll } from './runner.ts'
import { formatChart } from './svg.ts'

/** Of the checkout, seen from dist/bench. */
const ROOT = join(import.meta.dirname, '..', '..')

/** There a system that cannot be measured is a failure. */
const { CI } = process.env

/** Work of others on the machine that makes figures doubtful. */
const LOAD_MAX = 0.5

/** Where the report goes: only a whole run may replace the record. */
function reportFile({
  out,
  quick,
  questions,
  systems,
  micro,
  engine,
}: Options): string | undefined {
  if (out !== undefined) return resolve(out)
  const asked = questions.length === QUESTION_NAMES.length && micro
  const whole = asked && systems.length === PEER_NAMES.length
  if (quick || !whole) return undefined
  return join(ROOT, 'bench', engine === 'poll' ? 'RESULTS-poll.md' : 'RESULTS.md')
}

function writeReport(
  file: string,
  parts: { options: Options; outcome: Outcome; machine: Machine; judged: readonly Judged[] },
): void {
  const chart = join(dirname(file), `${basename(file, '.md').toLowerCase()}.svg`)
  const panels = chartPanels(parts.outcome.results)
  writeFileSync(chart, formatChart('Medians of all systems', panels, formatNumber))
  writeFileSync(file, formatReport({ ...parts, chart: basename(chart) }))
  process.stderr.write(`wrote ${file} and ${chart}\n`)
}

async function main(options: Options): Promise<number> {
  if (process.getuid?.() !== 0) {
    process.stderr.write('bench: needs root, for network namespaces and TAPs\n')
    return 1
  }
  cleanUpAtExit()
  const machine = describeMachine(ROOT)
  if (machine.load > LOAD_MAX) {
    process.stderr.write(`bench: the machine is busy (load ${machine.load}): expect noise\n`)
  }
  const outcome = await runAll(options)
  const { results, engine, skipped, pieces } = outcome
  const judged = judge(results, options, engine)
  const file = reportFile(options)
  if (file !== undefined) writeReport(file, { options, outcome, machine, judged })
  const { samples, failures } = results
  const all = { machine, engine, samples, judged, pieces, failures, skipped }
  process.stdout.write(
    options.json ? `${JSON.stringify(all, null, 2)}\n` : formatTables(judged, pieces),
  )
  if (failures.length > 0)
    process.stderr.write(`bench: ${failures.length} runs failed, see above\n`)
  const missed = options.check && judged.some(({ verdict }) => verdict === 'FAIL')
  const incomplete = failures.length > 0 || (skipped.length > 0 && CI === 'true')
  return missed || incomplete ? 1 : 0
}

try {
  process.exitCode = await main(parseOptions(process.argv.slice(2), availableParallelism()))
} catch (error) {
  if (!(error instanceof CommanderError)) throw error
  process.exitCode = error.exitCode === 0 ? 0 : 2
}
