/**
 * `tapline check FILE`, `tapline check --live` and `tapline apply FILE`.
 *
 * A file is read here and sent as text, so that the daemon need not be able to read it, and so
 * that `-` can stand for stdin. Faults come back with the name that was given here.
 */
import type { Command } from 'commander'
import { StackError } from '../../stack/errors.ts'
import { type ApplyAnswer, ConfigFaults } from '../api_types.ts'
import type { Fault } from '../config/faults.ts'
import {
  type DaemonOptions,
  daemonCommand,
  Exit,
  ExitError,
  examples,
  openClient,
  readingCommand,
} from './command.ts'
import { print, printJson } from './output.ts'
import { checkLive } from './overlay.ts'
import { checkConfig, readConfig } from './read_config.ts'
import { counted, table } from './table.ts'

interface ApplyOptions extends DaemonOptions {
  readonly dryRun?: boolean
}

export function addCheck(program: Command): void {
  readingCommand(program, 'check [file]', 'say what is wrong with a file, and change nothing')
    .option('--live', 'ask a daemon whether its tables and sandboxes are as they should be')
    .addHelpText(
      'after',
      examples('tapline check shop.yaml', 'generate | tapline check -', 'tapline check --live'),
    )
    .action(check)
}

export function addApply(program: Command): void {
  daemonCommand(program, 'apply <file>', 'make a running daemon look like a file')
    .option('--dry-run', 'only print what would be done')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      `\nWhat did not change is not touched. The daemon is the one that the file names.
${examples('tapline apply shop.yaml', 'tapline apply shop.yaml --dry-run')}`,
    )
    .action(apply)
}

interface CheckOptions extends DaemonOptions {
  readonly live?: boolean
}

async function check(path: string | undefined, options: CheckOptions): Promise<void> {
  if (options.live === true && path === undefined) return await checkLive(options)
  if (path === undefined || options.live === true) {
    throw new StackError('bad-argument', 'check takes either a file, or --live')
  }
  const { json } = options
  const { source, config, faults } = await checkConfig(path)
  if (config === undefined || faults.length > 0) return refuse(faults, json)
  const { networks, sandboxes, services, routes } = config
  const counts = {
    networks: networks.length,
    sandboxes: sandboxes.length,
    endpoints: sandboxes.reduce((sum, { endpoints }) => sum + endpoints.length, 0),
    routes: routes.length,
    services: services.length,
    ports: sandboxes.reduce((sum, { ports }) => sum + ports.length, 0),
  }
  if (json) return printJson({ name: config.name, ...counts })
  const always = ['networks', 'sandboxes', 'endpoints', 'routes']
  const list = Object.entries(counts)
    .filter(([what, count]) => count > 0 || always.includes(what))
    .map(([what, count]) => counted(count, SINGULAR[what as keyof typeof counts]))
  print(`${source.file}: good (${config.name}: ${list.join(', ')})`)
}

/** Exit code 2, as for every file with faults. */
async function refuse(faults: readonly Fault[], json = false): Promise<never> {
  const { formatFault } = await import('../config/parse.ts')
  if (!json) throw new ConfigFaults(faults.map(formatFault))
  printJson({ faults: faults.map(({ line, column, message }) => ({ line, column, message })) })
  throw new ExitError(Exit.Usage)
}

const SINGULAR = {
  networks: 'network',
  sandboxes: 'sandbox',
  endpoints: 'endpoint',
  routes: 'route',
  services: 'service',
  ports: 'port',
} as const

async function apply(path: string, options: ApplyOptions): Promise<void> {
  const { source, config } = await readConfig(path)
  const client = await openClient(options, config.name)
  const dryRun = options.dryRun === true
  const report = await client.post<ApplyAnswer>('apply', { ...source, dryRun })
  if (options.json) return printJson(report)
  print(reportLines(report, dryRun))
}

function reportLines({ steps }: ApplyAnswer, dryRun: boolean): string[] {
  if (steps.length === 0) return ['nothing to do']
  const lines = table(
    [
      { title: 'STEP', cell: (step) => step.action },
      { title: 'SUBJECT', cell: (step) => step.subject },
      { title: 'DETAIL', cell: (step) => step.detail },
    ],
    steps,
  )
  const count = counted(steps.length, 'step')
  return [...lines, dryRun ? `${count} to do` : `${count} done`]
}
