/**
 * `tapline top`: what moves now, the busiest devices first, refreshed every second.
 *
 * On a terminal it takes the alternate screen and gives it back however it ends; elsewhere it
 * prints one block after another, and with `--once` a single one.
 */
import type { Command } from 'commander'
import type { Client } from '../client.ts'
import type { DeviceRow, DropRow, Stats } from '../views_counters.ts'
import { type DaemonOptions, examples, integer, openClient, readingCommand } from './command.ts'
import { print, printJson, style } from './output.ts'
import { duration, scaled, table } from './table.ts'
import { poolText } from './views.ts'

interface TopOptions extends DaemonOptions {
  readonly interval: number
  readonly once?: boolean
}

/** The alternate screen, without a cursor and without wrapping long lines; and back. */
const ENTER = '\x1b[?1049h\x1b[?25l\x1b[?7l'
const LEAVE = '\x1b[?7h\x1b[?25h\x1b[?1049l'
const HOME = '\x1b[H'
const CLEAR_LINE = '\x1b[K'
const CLEAR_BELOW = '\x1b[J'
/** Drop reasons shown at most. */
const REASONS_MAX = 5

/** What a daemon counted at one moment. */
export interface Sample {
  readonly stats: Stats
  readonly drops: readonly DropRow[]
}

/** One device over one interval. */
export interface Rate {
  readonly device: string
  readonly network: string
  readonly rxPacketsPerS: number
  readonly rxBitsPerS: number
  readonly txPacketsPerS: number
  readonly txBitsPerS: number
  readonly dropsPerS: number
}

export function addTop(program: Command): void {
  readingCommand(program, 'top', 'live rates of every device, the busiest first')
    .option('--interval <seconds>', 'between two looks', integer(1, 3600), 1)
    .option('--once', 'one interval, then end')
    .addHelpText('after', examples('tapline top', 'tapline top --once --json'))
    .action(top)
}

async function top(options: TopOptions): Promise<void> {
  const client = await openClient(options)
  const live = process.stdout.isTTY && !options.once && !options.json
  const stopped = new AbortController()
  const restore = takeTerminal(live, () => stopped.abort())
  try {
    let before = await take(client)
    do {
      await pause(options.interval * 1000, stopped.signal)
      if (stopped.signal.aborted) break
      const after = await take(client)
      if (options.json) printJson(rates(before, after))
      else if (live) process.stdout.write(screen(topLines(before, after)))
      else print([...topLines(before, after), ''])
      before = after
    } while (!options.once)
  } finally {
    restore()
  }
}

async function take(client: Client): Promise<Sample> {
  const [stats, drops] = await Promise.all([
    client.get<Stats>('stats'),
    client.get<DropRow[]>('drops'),
  ])
  return { stats, drops }
}

/** Busiest first; a device that was not there before counts from zero. */
export function rates(before: Sample, after: Sample): Rate[] {
  const seconds = Math.max(0.001, (after.stats.uptimeMs - before.stats.uptimeMs) / 1000)
  const earlier = new Map(before.stats.devices.map((row) => [row.device, row]))
  const perS = (
    row: DeviceRow,
    field: 'rxPackets' | 'rxBytes' | 'txPackets' | 'txBytes' | 'dropped',
  ) => {
    const start = earlier.get(row.device)?.[field] ?? 0
    // Less than before: the device was made anew in between.
    return (row[field] >= start ? row[field] - start : row[field]) / seconds
  }
  return after.stats.devices
    .map((row) => ({
      device: row.device,
      network: row.network,
      rxPacketsPerS: perS(row, 'rxPackets'),
      rxBitsPerS: perS(row, 'rxBytes') * 8,
      txPacketsPerS: perS(row, 'txPackets'),
      txBitsPerS: perS(row, 'txBytes') * 8,
      dropsPerS: perS(row, 'dropped'),
    }))
    .sort((a, b) => busy(b) - busy(a) || a.device.localeCompare(b.device))
}

function busy({ rxBitsPerS, txBitsPerS }: Rate): number {
  return rxBitsPerS + txBitsPerS
}

export function topLines(before: Sample, after: Sample): string[] {
  const { uptimeMs, links, pool } = after.stats
  const rows = rates(before, after)
  const received = rows.reduce((sum, row) => sum + row.rxBitsPerS, 0)
  const packets = rows.reduce((sum, row) => sum + row.rxPacketsPerS, 0)
  const [titles, ...lines] = table(
    [
      { title: 'DEVICE', cell: (row) => row.device },
      { title: 'NETWORK', cell: (row) => row.network },
      { title: 'RX PKT/S', cell: (row) => scaled(row.rxPacketsPerS), right: true },
      { title: 'RX BIT/S', cell: (row) => scaled(row.rxBitsPerS), right: true },
      { title: 'TX PKT/S', cell: (row) => scaled(row.txPacketsPerS), right: true },
      { title: 'TX BIT/S', cell: (row) => scaled(row.txBitsPerS), right: true },
      { title: 'DROPS/S', cell: (row) => scaled(row.dropsPerS), right: true },
    ],
    rows,
  )
  return [
    `up ${duration(uptimeMs)}, ${links}`,
    `received: ${scaled(received, 'bit/s')}, ${scaled(packets, 'packets/s')}`,
    `packet memory: ${poolText(pool)}`,
    ...newDrops(before, after),
    '',
    style('bold', titles!),
    ...lines,
  ]
}

/** Why packets were dropped since the last look. */
function newDrops(before: Sample, after: Sample): string[] {
  const counts = new Map<string, number>()
  const add = (rows: readonly DropRow[], sign: number): void => {
    for (const { reason, count } of rows) {
      counts.set(reason, (counts.get(reason) ?? 0) + sign * count)
    }
  }
  add(after.drops, 1)
  add(before.drops, -1)
  const fresh = [...counts].filter(([, count]) => count > 0).sort((a, b) => b[1] - a[1])
  if (fresh.length === 0) return []
  const list = fresh.slice(0, REASONS_MAX).map(([reason, count]) => `${reason} ${scaled(count)}`)
  return [`dropped: ${list.join(', ')}`]
}

/** Over the last one, without a flicker; what does not fit the terminal is left out. */
function screen(lines: readonly string[]): string {
  const { rows } = process.stdout
  // A terminal that does not know its size says 0.
  const shown = rows > 1 ? lines.slice(0, rows - 1) : lines
  return `${HOME}${shown.map((line) => `${line}${CLEAR_LINE}\n`).join('')}${CLEAR_BELOW}`
}

/** Interrupts and the key q call `stop`. Returns how to give the terminal back. */
function takeTerminal(live: boolean, stop: () => void): () => void {
  process.on('SIGINT', stop)
  process.on('SIGTERM', stop)
  if (live) process.stdout.write(ENTER)
  const keys = live && process.stdin.isTTY
  const onKey = (key: Buffer): void => {
    if (['q', 'Q', '\x03', '\x1b'].includes(key.toString())) stop()
  }
  if (keys) process.stdin.setRawMode(true).on('data', onKey)
  return () => {
    process.off('SIGINT', stop)
    process.off('SIGTERM', stop)
    if (keys) process.stdin.setRawMode(false).off('data', onKey).pause()
    if (live) process.stdout.write(LEAVE)
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, ms)
    function done(): void {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      resolve()
    }
    signal.addEventListener('abort', done)
  })
}
