/** `tapline services` and `tapline drain`: virtual addresses, and who is behind them. */
import type { Command } from 'commander'
import type { ApplyAnswer } from '../api_types.ts'
import type { ServiceRow } from '../views_outside.ts'
import { SERVICES, type ServiceBackend } from './columns.ts'
import {
  type DaemonOptions,
  daemonCommand,
  examples,
  openClient,
  readingCommand,
} from './command.ts'
import { print, printJson } from './output.ts'
import { table } from './table.ts'

export function addServices(program: Command): void {
  readingCommand(program, 'services', 'virtual addresses, their backends, health and connections')
    .addHelpText('after', examples('tapline services', 'tapline services --json | jq .[].backends'))
    .action(services)
  daemonCommand(program, 'drain <service> <backend>', 'give a backend no new connections')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      `\nIt keeps the connections that it has. The next "apply" gives it the weight of the file.
${examples('tapline drain web web1')}`,
    )
    .action(drain)
}

async function services(options: DaemonOptions): Promise<void> {
  const client = await openClient(options)
  const rows = await client.get<ServiceRow[]>('services')
  if (options.json) printJson(rows)
  else print(servicesTable(rows))
}

export function servicesTable(rows: readonly ServiceRow[]): string[] {
  const lines = rows.flatMap((service): ServiceBackend[] =>
    service.backends.length === 0
      ? [{ service }]
      : service.backends.map((backend) => ({ service, backend })),
  )
  return table(SERVICES, lines)
}

async function drain(service: string, backend: string, options: DaemonOptions): Promise<void> {
  const client = await openClient(options)
  const answer = await client.post<ApplyAnswer>('services/drain', { service, backend })
  if (options.json) printJson(answer)
  else print(answer.steps.length === 0 ? 'it is drained already' : `${backend} is being drained`)
}
