/**
 * The daemon's log: pino's JSON lines on stderr, or one readable line each on a terminal, and
 * always as JSON to those who follow `/v1/events`.
 *
 * Writing never holds up the data path: stderr may be a pipe that nobody reads, so lines wait in
 * memory up to {@link WAITING_BYTES_MAX}, and what goes beyond is lost.
 */
import pino, { type DestinationStream, type Logger } from 'pino'
import type { Events } from '../events.ts'
import { prettyLine } from './log_line.ts'

const WAITING_BYTES_MAX = 1024 * 1024

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
  // Nobody reads stderr any more: no reason to die.
  stderr.on('error', () => undefined)
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
