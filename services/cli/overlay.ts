/** The commands about other nodes: `peers`, and what `check --live` asks. */
import type { Command } from 'commander'
import type { Difference } from '../overlay/compare.ts'
import type { OverlayCheck, PeerRow } from '../views_overlay.ts'
import { type DaemonOptions, examples, openClient, readingCommand } from './command.ts'
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

export function addPeers(program: Command): void {
  readingCommand(program, 'peers', 'tunnel ends of other nodes, by network')
    .addHelpText('after', examples('tapline peers', 'tapline peers --json'))
    .action((options: DaemonOptions) => show(options, { path: 'peers', columns: PEERS }))
}

/** Ask a daemon whether its tables say what is known of other nodes; exit code 1 if not. */
export async function checkLive(options: DaemonOptions): Promise<void> {
  const client = await openClient(options)
  const answer = await client.get<OverlayCheck>('overlay/check')
  const { differences, repaired } = answer
  if (differences.length > 0) process.exitCode = 1
  if (options.json) return printJson(answer)
  const before = repaired === 0 ? '' : `; ${grouped(repaired)} mended since the start`
  if (differences.length === 0) return print(`tables are as they should be${before}`)
  print(table(DIFFERENCES, differences))
  print(`${grouped(differences.length)} differences${before}`)
}
