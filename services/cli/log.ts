/**
 * The daemon's log: pino's JSON lines on stderr, or one readable line each on a terminal, and
 * always as JSON to those who follow `/v1/events`.
 */
import pino, { type DestinationStream, type Logger } from 'pino'
import type { Events } from '../events.ts'
import { prettyLine } from './log_line.ts'
import { LogStream } from './log_stream.ts'

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
  /** Write out what waits, as far as it is taken; before the process ends. */
  flush(): Promise<void>
}

export function openLog({ name, level, format, events }: LogOptions): OpenLog {
  // To ask for it makes a pipe one that does not block: a write would hold the end of the process.
  const isTerminal = process.stderr.isTTY === true
  const stderr = new LogStream(2)
  const pretty = format === 'pretty' || (format === 'auto' && isTerminal)
  const lines: DestinationStream = pretty
    ? { write: (line) => stderr.write(prettyLine(line)) }
    : stderr
  const log = pino(
    { level, base: { name }, timestamp: pino.stdTimeFunctions.isoTime },
    pino.multistream([
      { stream: lines, level: 'trace' },
      { stream: events, level: 'trace' },
    ]),
  )
  return { log, flush: () => stderr.flush() }
}
