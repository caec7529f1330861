/** A log line of pino's, for people. */
import { printable, style, timeOfDay } from './output.ts'

/** Names of pino's levels. */
const LABELS: Readonly<Record<number, string>> = {
  10: 'trace',
  20: 'debug',
  30: 'info',
  40: 'warn',
  50: 'error',
  60: 'fatal',
}

/** `12:34:56 info  sandbox joined  sandbox=web1 network=front`, the time local. */
export function prettyLine(line: string, stream: { isTTY?: boolean } = process.stderr): string {
  const { time, level, msg, name: _, err, ...rest } = JSON.parse(line) as LogLine
  const dim = (text: string): string => style('dim', text, stream)
  const facts = err === undefined ? rest : { ...rest, err: err.message }
  const fields = Object.entries(facts).map(([key, value]) => ` ${dim(`${key}=`)}${one(value)}`)
  const label = (LABELS[level] ?? String(level)).padEnd(5)
  const color = level >= 50 ? 'red' : level >= 40 ? 'yellow' : undefined
  const shown = color === undefined ? label : style(color, label, stream)
  return `${dim(timeOfDay(new Date(time)))} ${shown} ${printable(msg ?? '')}${fields.join('')}\n`
}

interface LogLine {
  readonly time: string
  readonly level: number
  readonly msg?: string
  readonly name?: string
  readonly err?: { readonly message: string }
  readonly [field: string]: unknown
}

function one(value: unknown): string {
  return printable(typeof value === 'string' ? value : JSON.stringify(value))
}
