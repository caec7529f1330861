/** `tapline ports`: which ports of the node lead where; add and remove them while it runs. */
import type { Command } from 'commander'
import type { ApplyAnswer } from '../api_types.ts'
import { PUBLISHED } from './columns.ts'
import {
  type DaemonOptions,
  daemonCommand,
  examples,
  listingCommand,
  openClient,
} from './command.ts'
import { print, printJson } from './output.ts'
import { show } from './show.ts'

const GRAMMAR = `
SPEC is Compose's: [HOST_IP:][HOST[-END]:]CONTAINER[-END][/tcp|udp|sctp]. What is added stays until
the next "apply", whose file has the last word.
`

export function addPorts(program: Command): void {
  const ports = program.command('ports').description('published ports: list, add, remove')
  ports.addHelpText(
    'after',
    examples('tapline ports', 'tapline ports add 8080:80 web1', 'tapline ports rm 8080'),
  )
  listingCommand(ports, 'ls', 'list them').action((options: DaemonOptions) =>
    show(options, { path: 'ports', columns: PUBLISHED }),
  )
  daemonCommand(ports, 'add <spec> <sandbox>', 'publish a port of a sandbox')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      `${GRAMMAR}${examples(
        'tapline ports add 8080:80 web1',
        'tapline ports add 203.0.113.2:5353:53/udp dns',
        'tapline ports add 9000-9999:9000-9999 web1',
        'tapline ports add 80 web1                  on a free port from 49153 on',
      )}`,
    )
    .action(add)
  daemonCommand(ports, 'rm <spec>', 'take one away, as listed or as it was added')
    .option('--json', 'print JSON')
    .addHelpText('after', examples('tapline ports rm 8080', 'tapline ports rm 5353/udp'))
    .action(remove)
}

async function add(spec: string, sandbox: string, options: DaemonOptions): Promise<void> {
  const client = await openClient(options)
  const answer = await client.post<ApplyAnswer>('ports/add', { spec, sandbox })
  if (options.json) return printJson(answer)
  const made = answer.steps.filter(({ action }) => action === 'publish')
  print(made.map(({ subject, detail }) => `${subject} leads to ${detail}`))
}

async function remove(spec: string, options: DaemonOptions): Promise<void> {
  const client = await openClient(options)
  const answer = await client.post<ApplyAnswer>('ports/remove', { spec })
  if (options.json) return printJson(answer)
  const gone = answer.steps.filter(({ action }) => action === 'unpublish')
  print(gone.map(({ subject, detail }) => `${subject} no longer leads to ${detail}`))
}
