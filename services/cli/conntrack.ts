/** `tapline conntrack`: connections that are tracked: list, forget, follow. */
import type { Command } from 'commander'
import type { Query } from '../client.ts'
import type { ConnectionEvent } from '../connection_events.ts'
import { CONNECTIONS, socket } from './columns.ts'
import {
  type DaemonOptions,
  daemonCommand,
  examples,
  integer,
  listingCommand,
  openClient,
  readingCommand,
} from './command.ts'
import { linesOf } from './lines.ts'
import { print, printable, printJson, timeOfDay } from './output.ts'
import { show } from './show.ts'

interface ConntrackOptions extends DaemonOptions {
  readonly proto?: string
  readonly src?: string
  readonly dst?: string
  readonly address?: string
  readonly port?: number
  readonly state?: string
  readonly sandbox?: string
  readonly all?: boolean
}

const PORT_MAX = 65_535

export function addConntrack(program: Command): void {
  const conntrack = program
    .command('conntrack')
    .description('tracked connections: list, delete, follow')
    .addHelpText(
      'after',
      examples(
        'tapline conntrack --proto tcp --state established',
        'tapline conntrack delete --sandbox web1',
        'tapline conntrack events --port 53',
      ),
    )
  filters(listingCommand(conntrack, 'ls', 'list them')).action((options: ConntrackOptions) =>
    show(options, { path: 'conntrack', query: query(options), columns: CONNECTIONS }),
  )
  filters(daemonCommand(conntrack, 'delete', 'forget those that fit'))
    .option('--all', 'forget all; needed where nothing else is given')
    .option('--json', 'print JSON')
    .action(forget)
  filters(readingCommand(conntrack, 'events', 'follow them as they come, change and go')).action(
    follow,
  )
}

function filters(command: Command): Command {
  return command
    .option('--proto <protocol>', 'tcp, udp, sctp, icmp, icmp6, or a number')
    .option('--src <address>', 'who opened it')
    .option('--dst <address>', 'whom that was sent to, before translation')
    .option('--address <address>', 'an address of either side')
    .option('--port <port>', 'a port of either side', integer(1, PORT_MAX))
    .option('--state <state>', 'of TCP such as established; else unreplied, replied, assured')
    .option('--sandbox <name>', 'an address of this sandbox is on either side')
}

function query({ proto, src, dst, address, port, state, sandbox }: ConntrackOptions): Query {
  return { protocol: proto, src, dst, address, port, state, sandbox }
}

async function forget(options: ConntrackOptions, command: Command): Promise<void> {
  const wanted = query(options)
  if (options.all !== true && Object.values(wanted).every((value) => value === undefined)) {
    command.error('tapline: say which, or --all')
  }
  const client = await openClient(options)
  const answer = await client.post<{ deleted: number }>('conntrack/delete', {}, wanted)
  if (options.json) return printJson(answer)
  print(`${answer.deleted} connection${answer.deleted === 1 ? '' : 's'} forgotten`)
}

async function follow(options: ConntrackOptions): Promise<void> {
  const client = await openClient(options)
  const stream = await client.stream('conntrack/events', query(options))
  for await (const line of linesOf(stream)) {
    process.stdout.write(
      `${options.json ? line : eventLine(JSON.parse(line) as ConnectionEvent)}\n`,
    )
  }
}

/** `12:34:56 new     tcp syn_sent 203.0.113.1:4711 > 203.0.113.2:8080, answered by 10.1.0.11:80` */
function eventLine({ change, protocol, state, original, reply }: ConnectionEvent): string {
  const what = `${timeOfDay(new Date())} ${change.padEnd(7)} ${protocol} ${state}`
  const way = `${socket(original, 'src')} > ${socket(original, 'dst')}`
  return printable(`${what} ${way}, answered by ${socket(reply, 'src')}`)
}
