/**
 * The daemon's log: pino's JSON lines on stderr, or one readable line each on a terminal, and
 * always as JSON to those who follow `/v1/events`.
 *
 * Writing never holds up the data path: stderr may be a pipe that nobody reads, so lines wait in
 * memory up to {@link WAITING_BYTES_MAX}, and what goes beyond is lost.
 */
import pino, { type DestinationStream, type Logger } from 'pino'
import type { Events } from '../events.ts'
import { printable, style } from './output.ts'

const WAITING_BYTES_MAX = 1024 * 1024

export const LOG_LEVELS: readonly string[] = ['trace', 'debug', 'info', 'warn', 'error', 'silent']
export const LOG_FORMATS: readonly string[] = ['auto', 'json', 'pretty']

export interface LogOptions {
  /** Name of the daemon, in every line. */
  readonly name: string
  readonly level: string
  /** `auto`: readable lines if stderr is a terminal. */
  readonly format: string
  readonly events: Events
}

export interface OpenLog {
  readonly log: Logger
  /** Write out what waits; before the process ends. */
  flush(): void
}

export function openLog({ name, level, format, events }: LogOptions): OpenLog {
  const stderr = pino.destination({ dest: 2, sync: false, maxLength: WAITING_BYTES_MAX })
  const pretty = format === 'pretty' || (format === 'auto' && process.stderr.isTTY === true)
  const lines: DestinationStream = pretty
    ? { write: (line) => void stderr.write(prettyLine(line)) }
    : stderr
  const log = pino(
    { level, base: { name }, timestamp: pino.stdTimeFunctions.isoTime },
    pino.multistream([
      { stream: lines, level: 'trace' },
      { stream: events, level: 'trace' },
    ]),
  )
  return { log, flush: () => flushAll(stderr) }
}

function flushAll(stderr: ReturnType<typeof pino.destination>): void {
  try {
    stderr.flushSync()
  } catch {
    // Not open yet, or its reader is gone: there is nowhere to say so.
  }
}

const LABELS: Readonly<Record<number, string>> = {
  10: 'trace',
  20: 'debug',
  30: 'info',
  40: 'warn',
  50: 'error',
  60: 'fatal',
}

/** `12:34:56 info  sandbox joined  sandbox=web1 network=front` */
export function prettyLine(line: string): string {
  const { time, level, msg, name: _, err, ...rest } = JSON.parse(line) as LogLine
  const label = (LABELS[level] ?? String(level)).padEnd(5)
  const colored = level >= 50 ? paint('red', label) : level >= 40 ? paint('yellow', label) : label
  const fields = Object.entries(rest).map(
    ([key, value]) => ` ${paint('dim', `${key}=`)}${one(value)}`,
  )
  const error = err === undefined ? '' : ` ${paint('dim', 'err=')}${one(err.message)}`
  return `${paint('dim', time.slice(11, 19))} ${colored} ${printable(msg ?? '')}${fields.join('')}${error}\n`
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

function paint(name: Parameters<typeof style>[0], text: string): string {
  return style(name, text, process.stderr)
}
