/**
 * What commands that run a node in the foreground share: options of its runtime, limits, signals.
 */
import { type Command, Option } from 'commander'
import { LARGE_SLOT_BYTES, SMALL_SLOT_BYTES } from '../../stack/packet.ts'
import type { NodeLimits } from '../build_node.ts'
import type { EngineChoice } from '../runtime.ts'
import { Exit, integer } from './command.ts'
import { complain } from './output.ts'

export interface RunningOptions {
  readonly engine: EngineChoice
  readonly offload: boolean
  readonly placement: boolean
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
/** Of both, for people: the stack's own, which other commands need not load. */
const COUNT_DEFAULT = 262_144
const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'silent']
const LOG_FORMATS = ['auto', 'json', 'pretty']

export function addRunningOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--engine <engine>', 'how frames move to and from the kernel')
        .choices(['auto', 'io_uring', 'poll'])
        .default('auto'),
    )
    .option('--no-offload', 'plain frames only: no super-frames, checksums complete')
    .option('--no-placement', 'leave it to the scheduler which processor moves the frames')
    .option('--pool <megabytes>', 'packet memory', integer(POOL_MIN_MB, POOL_MAX_MB))
    .option(
      '--connections <count>',
      `connections tracked at most (default: ${COUNT_DEFAULT})`,
      integer(1, COUNT_MAX),
    )
    .option(
      '--flows <count>',
      `flows cached, of each family; 0: none (default: ${COUNT_DEFAULT})`,
      integer(0, COUNT_MAX),
    )
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
}

/** Packets of both classes for so much memory: four fifths for super-frames. */
export function slots(megabytes: number | undefined): {
  smallCount?: number
  largeCount?: number
} {
  if (megabytes === undefined) return {}
  const bytes = megabytes * 1024 * 1024
  return {
    smallCount: Math.floor((0.2 * bytes) / SMALL_SLOT_BYTES),
    largeCount: Math.floor((0.8 * bytes) / LARGE_SLOT_BYTES),
  }
}

/** Of what the node remembers. */
export function limitsOf({ connections, flows }: RunningOptions): NodeLimits {
  return {
    ...(connections !== undefined && { connectionsMax: connections }),
    ...(flows !== undefined && { flowsMax: flows }),
  }
}

export interface Signals {
  /** Resolves at the first SIGINT or SIGTERM; rejects with what nothing else caught. */
  readonly asked: Promise<void>
  release(): void
}

/**
 * A fault that nothing caught ends the daemon too, but through the same door: what it made in the
 * kernel is removed first.
 */
export function catchSignals(): Signals {
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
