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
import { type Command, Option } from 'commander'
import { LARGE_SLOT_BYTES, SMALL_SLOT_BYTES } from '../../stack/packet.ts'
import { readConfigText, toConfig } from '../config_file.ts'
import type { Daemon } from '../daemon.ts'
import { Events } from '../events.ts'
import type { EngineChoice } from '../runtime.ts'
import { socketPath } from '../sockets.ts'
import { Exit, examples, integer } from './command.ts'
import { complain, onBrokenPipe, print } from './output.ts'

interface UpOptions {
  readonly socket?: string
  readonly engine: EngineChoice
  readonly offload: boolean
  readonly pool?: number
  readonly connections?: number
  readonly flows?: number
  readonly logLevel: string
  readonly logFormat: string
}

/** Bounds of --pool, in megabytes; left out: the runtime's own counts. */
const POOL_MIN_MB = 8
const POOL_MAX_MB = 4096
/** Bounds of --connections and --flows: some 2 GB of memory. */
const COUNT_MAX = 8_388_608
const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'silent']
const LOG_FORMATS = ['auto', 'json', 'pretty']

export function addUp(program: Command): void {
  program
    .command('up <file>')
    .description('run the networks and sandboxes of a file until interrupted')
    .option('--socket <path>', 'where the API listens (default: /run/tapline/NAME.sock)')
    .addOption(
      new Option('--engine <engine>', 'how frames move to and from the kernel')
        .choices(['auto', 'io_uring', 'poll'])
        .default('auto'),
    )
    .option('--no-offload', 'plain frames only: no super-frames, checksums complete')
    .option('--pool <megabytes>', 'packet memory', integer(POOL_MIN_MB, POOL_MAX_MB))
    .option('--connections <count>', 'connections tracked at most', integer(1, COUNT_MAX))
    .option('--flows <count>', 'flows cached, of each family; 0: none', integer(0, COUNT_MAX))
    .addOption(
      new Option('--log-level <level>', 'least important lines to log')
        .choices(LOG_LEVELS)
        .default('info'),
    )
    .addOption(
      new Option('--log-format <format>', 'JSON lines, or readable ones; auto: by the terminal')
        .choices(LOG_FORMATS)
        .default('auto'),
    )
    .addHelpText(
      'after',
      examples('tapline up shop.yaml', 'tapline up shop.yaml --engine poll --log-level debug'),
    )
    .action(up)
}

async function up(path: string, options: UpOptions): Promise<void> {
  const config = toConfig(readConfigText(path))
  // Whoever started it may have read all that it wanted to know.
  onBrokenPipe(() => undefined)
  const signals = catchSignals()
  const { Daemon, Runtime, openLog } = await loadDaemon()
  const events = new Events()
  const { name } = config
  const { logLevel: level, logFormat: format } = options
  const { log, flush } = openLog({ name, level, format, events })
  try {
    const runtime = new Runtime({ ...options, ...slots(options.pool) })
    log.info({ engine: runtime.describe }, 'starting')
    const { connections: connectionsMax, flows: flowsMax } = options
    const limits = {
      ...(connectionsMax !== undefined && { connectionsMax }),
      ...(flowsMax !== undefined && { flowsMax }),
    }
    const socket = resolve(options.socket ?? socketPath(name))
    await run(
      new Daemon({ runtime, log, events, file: resolve(path), config, socketPath: socket, limits }),
      signals.asked,
    )
    log.info('stopped')
  } finally {
    signals.release()
    flush()
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
    const started = daemon.start().then(() => print(`ready ${readyText(daemon)}`))
    await Promise.race([started, asked])
    await asked
  } finally {
    process.off('SIGHUP', reload)
    await daemon.close()
  }
}

/** Packets of both classes for so much memory: four fifths for super-frames. */
function slots(megabytes: number | undefined): { smallCount?: number; largeCount?: number } {
  if (megabytes === undefined) return {}
  const bytes = megabytes * 1024 * 1024
  return {
    smallCount: Math.floor((0.2 * bytes) / SMALL_SLOT_BYTES),
    largeCount: Math.floor((0.8 * bytes) / LARGE_SLOT_BYTES),
  }
}

function readyText(daemon: Daemon): string {
  const { name, links, socket, pid } = daemon.info()
  const { networks, sandboxes } = daemon.controller.ls()
  const endpoints = sandboxes.reduce((sum, sandbox) => sum + sandbox.endpoints.length, 0)
  const made = `${networks.length} networks, ${sandboxes.length} sandboxes`
  return `${name}: ${made}, ${endpoints} endpoints, ${links}, pid ${pid}, socket ${socket}`
}

interface Signals {
  /** Resolves at the first SIGINT or SIGTERM; rejects with what nothing else caught. */
  readonly asked: Promise<void>
  release(): void
}

/**
 * A fault that nothing caught ends the daemon too, but through the same door: what it made in the
 * kernel is removed first.
 */
function catchSignals(): Signals {
  let ask: () => void = () => undefined
  let fail: (error: unknown) => void = () => undefined
  const asked = new Promise<void>((resolve, reject) => {
    ask = resolve
    fail = reject
  })
  // It may reject while nobody waits for it.
  asked.catch(() => undefined)
  let count = 0
  const caught = (signal: NodeJS.Signals): void => {
    if (count++ === 0) return ask()
    complain(`${signal} again: leaving at once`)
    process.exit(Exit.Failed)
  }
  process.on('SIGINT', caught)
  process.on('SIGTERM', caught)
  process.on('uncaughtException', fail)
  const release = (): void => {
    process.off('SIGINT', caught)
    process.off('SIGTERM', caught)
    process.off('uncaughtException', fail)
  }
  return { asked, release }
}
