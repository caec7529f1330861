/** `tapline dns`: names, what was learned of others, and how one is resolved. */
import type { Command } from 'commander'
import type { CacheRow, NamesView, Resolution } from '../views_dns.ts'
import { CACHED, NAMES, RESOLVERS } from './columns.ts'
import {
  type DaemonOptions,
  daemonCommand,
  examples,
  listingCommand,
  openClient,
  readingCommand,
} from './command.ts'
import { print, printable, printJson } from './output.ts'
import { show } from './show.ts'
import { grouped, table } from './table.ts'

interface ResolveOptions extends DaemonOptions {
  readonly from: string
}

export function addDns(program: Command): void {
  const dns = program.command('dns').description('names: list, explain, cache')
  dns.addHelpText(
    'after',
    examples(
      'tapline dns                                    names, and who sees them',
      'tapline dns resolve --from web1 db             what web1 is told of db, and why',
      'tapline dns resolve --from web1 _http._tcp.web SRV',
      'tapline dns cache                              what forwarders answered',
    ),
  )
  listingCommand(dns, 'ls', 'names of all networks, and who sees them').action(list)
  readingCommand(dns, 'cache', 'answers of forwarders that are kept').action(
    (options: DaemonOptions) => show<CacheRow>(options, { path: 'dns/cache', columns: CACHED }),
  )
  daemonCommand(dns, 'flush', 'forget the answers of forwarders')
    .option('--json', 'print JSON')
    .action(flush)
  readingCommand(dns, 'resolve <name> [type]', 'how a name is resolved, step by step')
    .requiredOption('--from <sandbox>', 'who asks')
    .addHelpText('after', '\nIt is a real question: forwarders are asked if it needs them.')
    .action(resolve)
}

async function list(options: DaemonOptions): Promise<void> {
  const client = await openClient(options)
  const view = await client.get<NamesView>('dns')
  if (options.json) return printJson(view)
  const { enabled, names, resolvers, stats } = view
  if (!enabled) return print('the name service is off')
  const { queries, local, forwarded, failed, cache } = stats
  print([
    ...table(NAMES, names),
    '',
    ...table(RESOLVERS, resolvers),
    '',
    `${grouped(queries)} queries at gateways, ${grouped(local)} answered at once; ` +
      `${grouped(forwarded)} questions to forwarders, ${grouped(failed)} without an answer; ` +
      `cache: ${grouped(cache.entries)} answers, ${grouped(cache.hits)} hits`,
  ])
}

async function flush(options: DaemonOptions): Promise<void> {
  const client = await openClient(options)
  const answer = await client.post<{ flushed: number }>('dns/flush', {})
  if (options.json) printJson(answer)
  else print(`${answer.flushed} answers forgotten`)
}

async function resolve(
  name: string,
  type: string | undefined,
  options: ResolveOptions,
): Promise<void> {
  const client = await openClient(options)
  const { from } = options
  const answer = await client.get<Resolution>('dns/resolve', { from, name, type })
  if (options.json) return printJson(answer)
  const { steps, rcode, records } = answer
  print([
    `${answer.name} ${answer.type}, asked by ${from}`,
    ...steps.map((step, i) => `  ${i + 1}. ${printable(step)}`),
    rcode,
    ...records.map((record) => `  ${printable(record)}`),
  ])
}
