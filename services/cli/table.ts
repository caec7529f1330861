/**
 * Aligned tables for people. Columns are as wide as their widest cell; numbers stand on the right;
 * the last column is not padded, so that no line ends in spaces. Scripts take `--json` instead.
 */
import { printable } from './output.ts'

export type Cell = string | number | null | undefined

export interface Column<Row> {
  readonly title: string
  readonly cell: (row: Row) => Cell
  /** Numbers and sizes. */
  readonly right?: boolean
}

/** Lines of a table, without colour. An empty table has its titles only. */
export function table<Row>(columns: readonly Column<Row>[], rows: readonly Row[]): string[] {
  const cells = rows.map((row) => columns.map(({ cell }) => text(cell(row))))
  const widths = columns.map(({ title }, i) =>
    Math.max(title.length, ...cells.map((line) => [...line[i]!].length)),
  )
  const titles = columns.map(({ title }) => title)
  return [titles, ...cells].map((line) =>
    line
      .map((cell, i) => pad(cell, widths[i]!, columns[i]!.right === true))
      .join('  ')
      .trimEnd(),
  )
}

/** What is not there is shown as `-`, so that columns can still be counted. */
function text(value: Cell): string {
  return value === undefined || value === null || value === '' ? '-' : printable(String(value))
}

function pad(cell: string, width: number, right: boolean): string {
  const spaces = ' '.repeat(Math.max(0, width - [...cell].length))
  return right ? spaces + cell : cell + spaces
}

/** 1,234,567: digits in threes, in every locale the same. */
export function grouped(value: number): string {
  return String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, ',')
}

/** 1 network, 2 networks, 2 sandboxes. */
export function counted(count: number, noun: string): string {
  const ending = count === 1 ? '' : /(s|x|ch|sh)$/.test(noun) ? 'es' : 's'
  return `${grouped(count)} ${noun}${ending}`
}

const PREFIXES = ['', 'k', 'M', 'G', 'T', 'P']

/** Three significant digits with a decimal prefix: 950, 1.23k, 18.1G; or 18.1 Gbit/s. */
export function scaled(value: number, unit = ''): string {
  let power = 0
  let rest = value
  while (rest >= 999.5 && power < PREFIXES.length - 1) {
    rest /= 1000
    power++
  }
  const digits = power === 0 || rest >= 99.95 ? 0 : rest < 9.995 ? 2 : 1
  return `${rest.toFixed(digits)}${unit && ' '}${PREFIXES[power]}${unit}`
}

/** 950ms, 12s, 3m10s, 2h05m, 4d03h. */
export function duration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)}ms`
  const seconds = Math.floor(ms / 1000)
  if (seconds < 60) return `${seconds}s`
  const minutes = Math.floor(seconds / 60)
  if (minutes < 60) return `${minutes}m${two(seconds % 60)}s`
  const hours = Math.floor(minutes / 60)
  if (hours < 24) return `${hours}h${two(minutes % 60)}m`
  return `${Math.floor(hours / 24)}d${two(hours % 24)}h`
}

function two(value: number): string {
  return String(value).padStart(2, '0')
}
