/** The commands about other nodes: `peers`, and what `check --live` asks. */
import type { Command } from 'commander'
import type { LiveCheck } from '../api_overlay.ts'
import type { InsideFault } from '../inside_check.ts'
import type { Difference } from '../overlay/compare.ts'
import type { PeerRow } from '../views_overlay.ts'
import {
  type DaemonOptions,
  Exit,
  ExitError,
  examples,
  openClient,
  readingCommand,
} from './command.ts'
import { print, printJson } from './output.ts'
import { show } from './show.ts'
import { type Column, grouped, table } from './table.ts'

const PEERS: readonly Column<PeerRow>[] = [
  { title: 'NETWORK', cell: ({ network }) => network },
  { title: 'VNI', cell: ({ vni }) => vni, right: true },
  { title: 'VTEP', cell: ({ vtep }) => vtep },
  { title: 'MEMBER', cell: ({ member }) => (member ? 'yes' : 'no') },
  { title: 'ENDPOINTS', cell: ({ endpoints }) => grouped(endpoints), right: true },
  { title: 'PATH MTU', cell: ({ pathMtu }) => grouped(pathMtu), right: true },
]

const DIFFERENCES: readonly Column<Difference>[] = [
  { title: 'NETWORK', cell: ({ network }) => network },
  { title: 'VNI', cell: ({ vni }) => vni, right: true },
  { title: 'TABLE', cell: (row) => row.table },
  { title: 'KEY', cell: ({ key }) => key },
  { title: 'EXPECTED', cell: ({ expected }) => expected ?? 'nothing' },
  { title: 'FOUND', cell: ({ found }) => found ?? 'nothing' },
]

const INSIDE: readonly Column<InsideFault>[] = [
  { title: 'SANDBOX', cell: ({ sandbox }) => sandbox },
  { title: 'NETWORK', cell: ({ network }) => network },
  { title: 'FAULT', cell: ({ fault }) => fault },
]

export function addPeers(program: Command): void {
  readingCommand(program, 'peers', 'tunnel ends of other nodes, by network')
    .addHelpText('after', examples('tapline peers', 'tapline peers --json'))
    .action((options: DaemonOptions) => show(options, { path: 'peers', columns: PEERS }))
}

/**
 * Ask a daemon whether its tables say what is known of other nodes, and whether its sandboxes have
 * what they were given. @throws ExitError if not.
 */
export async function checkLive(options: DaemonOptions): Promise<void> {
  const client = await openClient(options)
  const answer = await client.get<LiveCheck>('check')
  if (options.json) printJson(answer)
  else printCheck(answer)
  if (answer.differences.length + answer.inside.length > 0) throw new ExitError(Exit.Failed)
}

function printCheck({ differences, inside, repaired }: LiveCheck): void {
  if (differences.length > 0) print(table(DIFFERENCES, differences))
  const before = repaired === 0 ? '' : `; ${grouped(repaired)} mended since the start`
  print(`${counted(differences, 'difference')} in tables${before}`)
  if (inside.length > 0) print(table(INSIDE, inside))
  print(`${counted(inside, 'fault')} inside sandboxes`)
}

function counted({ length }: readonly unknown[], what: string): string {
  return `${length === 0 ? 'no' : grouped(length)} ${what}${length === 1 ? '' : 's'}`
}
