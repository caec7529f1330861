/** `tapline leases`: what DHCP clients have, and until when. */
import type { Command } from 'commander'
import type { LeaseRow } from '../views_leases.ts'
import { type DaemonOptions, examples, readingCommand } from './command.ts'
import { show } from './show.ts'
import { type Column, duration } from './table.ts'

const LEASES: readonly Column<LeaseRow>[] = [
  { title: 'NETWORK', cell: ({ network }) => network },
  { title: 'ADDRESS', cell: ({ address }) => address },
  { title: 'MAC', cell: ({ mac }) => mac },
  { title: 'HOST', cell: ({ hostName }) => hostName || undefined },
  { title: 'KIND', cell: ({ kind }) => kind },
  { title: 'EXPIRES', cell: (row) => duration(row.expiresInMs), right: true },
]

export function addLeases(program: Command): void {
  readingCommand(program, 'leases [network]', 'addresses that DHCP clients have')
    .addHelpText('after', examples('tapline leases', 'tapline leases front --json'))
    .action((network: string | undefined, options: DaemonOptions) =>
      show(options, { path: 'leases', query: { network }, columns: LEASES }),
    )
}
