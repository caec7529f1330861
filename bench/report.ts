/**
 * Results as text: the table of bars for a terminal, and the whole report as Markdown.
 *
 * Both show the same lines in the same order, one a bar, so that each figure that the project
 * promises can be read off, with what it is measured against, the limit and the verdict.
 */
import type { Machine } from './machine.ts'
import type { PieceResult } from './micro/result.ts'
import type { Options } from './options.ts'
import { PEERS } from './peers/list.ts'
import { type Bar, METRICS, type MetricName, QUESTION_NAMES, QUESTIONS } from './questions.ts'
import type { Judged, Results } from './results.ts'
import type { Outcome } from './runner.ts'
import { type Ratio, summarize } from './stats.ts'

/** Three digits that count; a dash for what was not measured. */
export function formatNumber(value: number): string {
  if (!Number.isFinite(value)) return '-'
  const size = Math.abs(value)
  if (size >= 100) return value.toFixed(0)
  return value.toFixed(size >= 10 ? 1 : 2)
}

function limitText({ atLeast, atMost }: Bar): string {
  if (atLeast !== undefined) return `>= ${atLeast}`
  return atMost === undefined ? '' : `<= ${atMost}`
}

function formatRatio({ ratio, min, max }: Ratio): string {
  return Number.isNaN(ratio) ? '-' : `${ratio.toFixed(2)} (${min.toFixed(2)}-${max.toFixed(2)})`
}

const BAR_HEADINGS = ['what', 'tapline', 'against', 'ratio (rounds)', 'bar', 'verdict'] as const

/** One line a bar. */
export function barRows(judged: readonly Judged[]): string[][] {
  return judged.map(({ bar, verdict, value, reference, ratio }) => {
    const what = bar.text ?? QUESTIONS[bar.question].title
    const routed = bar.of === 'tapline-route' ? `${what}, routed` : what
    const against =
      bar.against === undefined ? '' : `${formatNumber(reference)} ${PEERS[bar.against].title}`
    const spread = ratio === undefined ? '' : formatRatio(ratio)
    const measured = `${formatNumber(value)} ${METRICS[bar.metric]}`
    return [routed, measured, against, spread, limitText(bar), verdict]
  })
}

/** Columns aligned for a terminal. */
function alignedTable(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [headings, ...rows]
  const widths = headings.map((_, i) => Math.max(...all.map((row) => row[i]!.length)))
  const lines = all.map((row) => row.map((cell, i) => cell.padEnd(widths[i]!)).join('  '))
  return `${lines.map((line) => line.trimEnd()).join('\n')}\n`
}

const PIECE_HEADINGS = ['piece', 'an operation', 'least'] as const

function pieceRows(pieces: readonly PieceResult[]): string[][] {
  return pieces.map(({ name, unit, median, least }) => [
    name,
    `${formatNumber(median)} ${unit}`,
    least === undefined ? '' : `${formatNumber(least)} ${unit}`,
  ])
}

/** What a terminal gets. */
export function formatTables(judged: readonly Judged[], pieces: readonly PieceResult[]): string {
  const tables = []
  if (judged.length > 0) tables.push(alignedTable(BAR_HEADINGS, barRows(judged)))
  if (pieces.length > 0) tables.push(alignedTable(PIECE_HEADINGS, pieceRows(pieces)))
  return tables.join('\n')
}

function markdownTable(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
  const rule = headings.map(() => '---')
  return `${[headings, rule, ...rows].map(line).join('\n')}\n`
}

export interface ReportParts {
  readonly options: Options
  readonly outcome: Outcome
  readonly machine: Machine
  readonly judged: readonly Judged[]
  /** The chart's file, relative to the report. */
  readonly chart: string
}

/** The whole report. */
export function formatReport({ options, outcome, machine, judged, chart }: ReportParts): string {
  const { results, skipped } = outcome
  const notes = [...results.failures.map((text) => `Failed: ${text}`), ...skipped]
  return [
    '# Benchmark results\n',
    'Written by `npm run bench`; see README.md for what is measured and how.\n',
    `![Medians of all systems](${chart})\n`,
    '## Bars\n',
    'A ratio is the quotient of two medians; in parentheses, the least and greatest quotient of a',
    'single round. Lines without a bar are only told.\n',
    markdownTable(BAR_HEADINGS, barRows(judged)),
    '## Where and how\n',
    markdownTable(['', ''], settingRows(options, machine)),
    markdownTable(
      ['system', 'what it was'],
      [...outcome.about].map(([name, about]) => [PEERS[name].title, about]),
    ),
    '## All figures\n',
    'Median (least to greatest) of the rounds.\n',
    ...questionSections(results),
    ...pieceSection(outcome.pieces),
    ...(notes.length === 0 ? [] : ['## Not measured\n', ...notes.map((text) => `* ${text}`), '']),
  ].join('\n')
}

function settingRows(options: Options, machine: Machine): string[][] {
  const { rounds, seconds, warmUpSeconds, clientCpus, serverCpus, systemCpus } = options
  const congestion = options.congestion ?? machine.congestionControl
  return [
    ['commit', machine.commit],
    ['date', machine.date],
    ['machine', `${machine.cpu}, ${machine.memoryGb} GB, load before the run ${machine.load}`],
    ['software', `${machine.kernel}, Node.js ${machine.node}, ${machine.iperf3}`],
    ['transport', `MTU 1500, TCP congestion control ${congestion}`],
    ['runs', `${rounds} rounds, ${seconds} s each after ${warmUpSeconds} s of warm-up`],
    ['CPUs', `client ${clientCpus}, server ${serverCpus}, system under test ${systemCpus}`],
  ]
}

function questionSections(results: Results): string[] {
  return QUESTION_NAMES.flatMap((question) => {
    const { title, peers } = QUESTIONS[question]
    const measured = peers.filter((peer) => results.samples[question]?.[peer] !== undefined)
    if (measured.length === 0) return []
    const names = measured.flatMap((peer) => Object.keys(results.samples[question]?.[peer] ?? {}))
    const metrics = [...new Set(names)] as MetricName[]
    const rows = measured.map((peer) => [
      PEERS[peer].title,
      ...metrics.map((metric) => formatSummary(results.values(question, peer, metric))),
    ])
    const headings = ['system', ...metrics.map((metric) => METRICS[metric])]
    return [`### ${title}\n`, markdownTable(headings, rows)]
  })
}

function pieceSection(pieces: readonly PieceResult[]): string[] {
  if (pieces.length === 0) return []
  const text = 'One operation inside the process, without any I/O.\n'
  return ['### Pieces\n', text, markdownTable(PIECE_HEADINGS, pieceRows(pieces))]
}

function formatSummary(values: readonly number[]): string {
  const { median, min, max } = summarize(values)
  return `${formatNumber(median)} (${formatNumber(min)} to ${formatNumber(max)})`
}
