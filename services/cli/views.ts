/**
 * The commands that show what a daemon knows: `ls`, `inspect`, `fdb`, `groups`, `neigh`, `routes`,
 * `flows`, `stats` and `drops`. Each asks once and prints tables; with `--json`, what the API said.
 */
import type { Command } from 'commander'
import type { DaemonInfo } from '../api_types.ts'
import type { Client } from '../client.ts'
import type { Listing } from '../views.ts'
import type { Stats } from '../views_counters.ts'
import {
  DEVICES,
  DROPS,
  FDB,
  FLOWS,
  GROUPS,
  INTERFACES,
  type InterfaceRow,
  NEIGHBORS,
  NETWORKS,
  PUBLISHED,
  ROUTES,
  UPLINKS,
} from './columns.ts'
import { type DaemonOptions, examples, openClient, readingCommand } from './command.ts'
import { addInspect } from './inspect.ts'
import { print, printJson } from './output.ts'
import { servicesTable } from './services.ts'
import { show } from './show.ts'
import { duration, grouped, table } from './table.ts'

export function addViews(program: Command): void {
  readingCommand(program, 'ls', 'networks, sandboxes, services and ports of a daemon')
    .addHelpText('after', examples('tapline ls', 'tapline ls --json | jq .sandboxes[].name'))
    .action(ls)
  addInspect(program)
  readingCommand(program, 'fdb [network]', 'stations that bridges know, and where they are')
    .addHelpText('after', examples('tapline fdb', 'tapline fdb front'))
    .action((network: string | undefined, options: DaemonOptions) =>
      show(options, { path: 'fdb', query: { network }, columns: FDB }),
    )
  readingCommand(program, 'groups [network]', 'multicast groups, and who asked for them')
    .addHelpText('after', examples('tapline groups', 'tapline groups front'))
    .action((network: string | undefined, options: DaemonOptions) =>
      show(options, { path: 'groups', query: { network }, columns: GROUPS }),
    )
  readingCommand(program, 'neigh', 'neighbors that the router knows, with their states')
    .addHelpText('after', examples('tapline neigh'))
    .action((options: DaemonOptions) => show(options, { path: 'neigh', columns: NEIGHBORS }))
  readingCommand(program, 'routes', 'routes of the router')
    .addHelpText('after', examples('tapline routes'))
    .action((options: DaemonOptions) => show(options, { path: 'routes', columns: ROUTES }))
  readingCommand(program, 'flows [device]', 'flows in the cache, the latest first')
    .addHelpText('after', examples('tapline flows', 'tapline flows web1/eth0'))
    .action((device: string | undefined, options: DaemonOptions) =>
      show(options, { path: 'flows', query: { device }, columns: FLOWS }),
    )
  readingCommand(program, 'stats', 'packets and octets of every device, packet memory, engine')
    .addHelpText('after', examples('tapline stats', 'tapline stats --json | jq .pool'))
    .action(stats)
  readingCommand(program, 'drops', 'packets that ended undelivered: where, and why')
    .addHelpText('after', examples('tapline drops'))
    .action((options: DaemonOptions) => show(options, { path: 'drops', columns: DROPS }))
}

async function ls(options: DaemonOptions): Promise<void> {
  const client = await openClient(options)
  const listing = await client.get<Listing>('ls')
  if (options.json) return printJson(listing)
  const interfaces = listing.sandboxes.flatMap((sandbox): InterfaceRow[] =>
    sandbox.endpoints.length === 0
      ? [{ sandbox }]
      : sandbox.endpoints.map((endpoint) => ({ sandbox, endpoint })),
  )
  print(await daemonLine(client))
  print(['', ...table(NETWORKS, listing.networks)])
  print(['', ...table(INTERFACES, interfaces)])
  const { uplink, ports, services } = listing
  if (uplink !== null) print(['', ...table(UPLINKS, [uplink])])
  if (ports.length > 0) print(['', ...table(PUBLISHED, ports)])
  if (services.length > 0) print(['', ...servicesTable(services)])
}

/** Who answered: the first line of `ls`. */
async function daemonLine(client: Client): Promise<string> {
  const { name, pid, state, links, version, startedAt } = await client.get<DaemonInfo>('daemon')
  const uptime = duration(Date.now() - Date.parse(startedAt))
  return `${name}: ${state}, up ${uptime}, ${links}, pid ${pid}, version ${version}`
}

async function stats(options: DaemonOptions): Promise<void> {
  const client = await openClient(options)
  const answer = await client.get<Stats>('stats')
  if (options.json) return printJson(answer)
  const { pool, devices, uptimeMs, links, lostDevices } = answer
  print(`up ${duration(uptimeMs)}, ${links}, devices lost: ${lostDevices}`)
  print(`packet memory: ${poolText(pool)}`)
  print(['', ...table(DEVICES, devices)])
}

/** `small 4,000 idle of 4,096, large 256 idle of 512` */
export function poolText(pool: Stats['pool']): string {
  const small = `small ${grouped(pool.smallIdle)} idle of ${grouped(pool.smallCount)}`
  return `${small}, large ${grouped(pool.largeIdle)} idle of ${grouped(pool.largeCount)}`
}
