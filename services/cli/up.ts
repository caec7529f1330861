/**
 * `tapline up FILE`: the daemon, in the foreground.
 *
 * ```text
 *   stdout   one line: ready NAME: ...          when traffic can pass
 *   stderr   the log
 *   SIGHUP            apply the file again       SIGINT, SIGTERM   remove everything, exit 0
 *   a second SIGINT or SIGTERM                   exit at once
 * ```
 *
 * A file with faults is exit code 2 and changes nothing. Whatever else fails is exit code 1, after
 * what was made is removed.
 */
import { resolve } from 'node:path'
import type { Command } from 'commander'
import type { Daemon } from '../daemon.ts'
import { Events } from '../events.ts'
import { socketPath } from '../sockets.ts'
import { examples } from './command.ts'
import { onLostOutput } from './output.ts'
import { readConfig } from './read_config.ts'
import { announceReady } from './ready.ts'
import { addRunningOptions, catchSignals, limitsOf, type RunningOptions, slots } from './running.ts'
import { counted } from './table.ts'

interface UpOptions extends RunningOptions {
  readonly socket?: string
}

export function addUp(program: Command): void {
  const command = program
    .command('up <file>')
    .description('run the networks and sandboxes of a file until interrupted')
    .option('--socket <path>', 'where the API listens (default: /run/tapline/NAME.sock)')
  addRunningOptions(command)
    .addHelpText(
      'after',
      examples('tapline up shop.yaml', 'tapline up shop.yaml --engine poll --log-level debug'),
    )
    .action(up)
}

async function up(path: string, options: UpOptions): Promise<void> {
  const { config } = await readConfig(path)
  // Whoever started it may have read all that it wanted to know.
  onLostOutput(() => undefined)
  const signals = catchSignals()
  const { Daemon, Runtime, openLog } = await loadDaemon()
  const events = new Events()
  const { name } = config
  const { logLevel: level, logFormat: format } = options
  const { log, flush } = openLog({ name, level, format, events })
  try {
    const runtime = new Runtime({ ...options, ...slots(options.pool) })
    log.info({ engine: runtime.describe }, 'starting')
    const limits = limitsOf(options)
    const socket = resolve(options.socket ?? socketPath(name))
    await run(
      new Daemon({ runtime, log, events, file: resolve(path), config, socketPath: socket, limits }),
      signals.asked,
    )
    log.info('stopped')
  } finally {
    signals.release()
    await flush()
  }
}

/** What only the daemon needs: other commands start faster without. */
async function loadDaemon() {
  const [{ Daemon }, { Runtime }, { openLog }] = await Promise.all([
    import('../daemon.ts'),
    import('../runtime.ts'),
    import('./log.ts'),
  ])
  return { Daemon, Runtime, openLog }
}

/** Start, wait until asked to stop, and remove everything whatever happens. */
async function run(daemon: Daemon, asked: Promise<void>): Promise<void> {
  const reload = (): void => void daemon.reload()
  process.on('SIGHUP', reload)
  try {
    const started = daemon.start().then(() => announceReady(readyText(daemon)))
    await Promise.race([started, asked])
    await asked
  } finally {
    process.off('SIGHUP', reload)
    await daemon.close()
  }
}

function readyText(daemon: Daemon): string {
  const { name, links, socket, pid } = daemon.info()
  const { networks, sandboxes } = daemon.controller.ls()
  const endpoints = sandboxes.reduce((sum, sandbox) => sum + sandbox.endpoints.length, 0)
  const made = [
    counted(networks.length, 'network'),
    counted(sandboxes.length, 'sandbox'),
    counted(endpoints, 'endpoint'),
  ]
  return `${name}: ${made.join(', ')}, ${links}, pid ${pid}, socket ${socket}`
}
