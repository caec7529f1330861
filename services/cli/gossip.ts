/** `tapline members`, `event` and `keys`: the cluster that a node is a member of. */
import type { Command } from 'commander'
import type { GossipView, KeyOperation, KeyRow, MemberRow } from '../gossip/gossip.ts'
import {
  type DaemonOptions,
  daemonCommand,
  Exit,
  ExitError,
  examples,
  listingCommand,
  openClient,
  readingCommand,
} from './command.ts'
import { complain, print, printJson } from './output.ts'
import { type Column, counted, table } from './table.ts'

const MEMBERS: readonly Column<MemberRow>[] = [
  { title: 'MEMBER', cell: ({ name, self }) => (self ? `${name} (this node)` : name) },
  { title: 'ADDRESS', cell: ({ address }) => address },
  { title: 'PORT', cell: ({ port }) => port, right: true },
  { title: 'STATE', cell: ({ state }) => state },
  { title: 'TAGS', cell: ({ tags }) => tagsText(tags) },
]

/** A key, and how many members have it. */
interface KeyCount {
  readonly key: string
  readonly members: number
  readonly primaryOf: number
}

const KEYS: readonly Column<KeyCount>[] = [
  { title: 'KEY', cell: ({ key }) => key },
  { title: 'MEMBERS', cell: ({ members }) => members, right: true },
  { title: 'PRIMARY OF', cell: ({ primaryOf }) => primaryOf, right: true },
]

const DONE: { readonly [O in Exclude<KeyOperation, 'list'>]: string } = {
  install: 'installed on',
  use: 'in use on',
  remove: 'removed from',
}

export function addGossip(program: Command): void {
  readingCommand(program, 'members', 'nodes of the cluster, serf agents among them')
    .addHelpText('after', examples('tapline members', 'tapline members --json | jq .counters'))
    .action(members)
  daemonCommand(program, 'event <name> [payload]', 'send a user event to all members')
    .addHelpText(
      'after',
      `\nEach member logs it once; serf agents run their handlers.
${examples('tapline event deploy v42')}`,
    )
    .action(event)
  addKeys(program)
}

function addKeys(program: Command): void {
  const keys = program
    .command('keys')
    .description('keys of the cluster: list, install, use, remove')
  keys.addHelpText(
    'after',
    `\nTo exchange a key while all go on: install the new one, use it, remove the old one.
${examples(
  'tapline keys',
  'tapline keys install "$(head -c32 /dev/urandom | base64)"',
  'tapline keys use KEY',
  'tapline keys remove OLD_KEY',
)}`,
  )
  listingCommand(keys, 'list', 'list them').action((options: DaemonOptions) =>
    ask('list', undefined, options),
  )
  const described = {
    install: 'decrypt with it as well, on every member',
    use: 'encrypt with it, on every member',
    remove: 'forget it, on every member',
  }
  for (const operation of ['install', 'use', 'remove'] as const) {
    readingCommand(keys, `${operation} <key>`, described[operation]).action(
      (key: string, options: DaemonOptions) => ask(operation, key, options),
    )
  }
}

async function members(options: DaemonOptions): Promise<void> {
  const client = await openClient(options)
  const view = await client.get<GossipView>('members')
  if (options.json) printJson(view)
  else print(table(MEMBERS, view.members))
}

function tagsText(tags: Readonly<Record<string, string>>): string {
  return Object.entries(tags)
    .map(([key, value]) => `${key}=${value}`)
    .join(' ')
}

async function event(
  name: string,
  payload: string | undefined,
  options: DaemonOptions,
): Promise<void> {
  const client = await openClient(options)
  await client.post('event', { name, payload: payload ?? '' })
  print(`event ${name} is on its way`)
}

/** @throws StackError; ExitError 1 if a member did not do it. */
async function ask(
  operation: KeyOperation,
  key: string | undefined,
  options: DaemonOptions,
): Promise<void> {
  const client = await openClient(options)
  const rows = await client.post<KeyRow[]>('keys', { operation, key })
  if (options.json) printJson(rows)
  else if (operation === 'list') print(table(KEYS, count(rows)))
  const failed = rows.filter(({ ok }) => !ok)
  for (const { member, message } of failed) complain(`${member}: ${message}`)
  if (failed.length > 0) throw new ExitError(Exit.Failed)
  if (operation !== 'list' && !options.json)
    print(`${DONE[operation]} ${counted(rows.length, 'member')}`)
}

function count(rows: readonly KeyRow[]): KeyCount[] {
  const all = [...new Set(rows.flatMap(({ keys }) => keys))]
  return all.map((key) => ({
    key,
    members: rows.filter(({ keys }) => keys.includes(key)).length,
    primaryOf: rows.filter(({ primary }) => primary === key).length,
  }))
}
