/**
 * The commands that show what a daemon knows: `ls`, `inspect`, `fdb`, `neigh`, `routes`, `stats`
 * and `drops`. Each asks once and prints tables; with `--json`, what the API said.
 */
import type { Command } from 'commander'
import type { DaemonInfo } from '../api_types.ts'
import type { Client } from '../client.ts'
import type {
  DeviceRow,
  DropRow,
  EndpointRow,
  FdbRow,
  Listing,
  NeighborRow,
  NetworkRow,
  RouteRow,
  SandboxRow,
  Stats,
} from '../views.ts'
import { type DaemonOptions, examples, openClient, readingCommand } from './command.ts'
import { addInspect } from './inspect.ts'
import { print, printJson } from './output.ts'
import { type Column, duration, grouped, scaled, table } from './table.ts'

export function addViews(program: Command): void {
  readingCommand(program, 'ls', 'networks and sandboxes of a daemon')
    .addHelpText('after', examples('tapline ls', 'tapline ls --json | jq .sandboxes[].name'))
    .action(ls)
  addInspect(program)
  readingCommand(program, 'fdb [network]', 'stations that bridges know, and where they are')
    .addHelpText('after', examples('tapline fdb', 'tapline fdb front'))
    .action((network: string | undefined, options: DaemonOptions) =>
      show(options, { path: 'fdb', query: { network }, columns: FDB }),
    )
  readingCommand(program, 'neigh', 'neighbors that the router knows, with their states')
    .addHelpText('after', examples('tapline neigh'))
    .action((options: DaemonOptions) => show(options, { path: 'neigh', columns: NEIGHBORS }))
  readingCommand(program, 'routes', 'routes of the router')
    .addHelpText('after', examples('tapline routes'))
    .action((options: DaemonOptions) => show(options, { path: 'routes', columns: ROUTES }))
  readingCommand(program, 'stats', 'packets and octets of every device, packet memory, engine')
    .addHelpText('after', examples('tapline stats', 'tapline stats --json | jq .pool'))
    .action(stats)
  readingCommand(program, 'drops', 'packets that ended undelivered: where, and why')
    .addHelpText('after', examples('tapline drops'))
    .action((options: DaemonOptions) => show(options, { path: 'drops', columns: DROPS }))
}

const NETWORKS: readonly Column<NetworkRow>[] = [
  { title: 'NETWORK', cell: ({ name }) => name },
  { title: 'DRIVER', cell: ({ driver }) => driver },
  { title: 'SUBNETS', cell: ({ subnets }) => subnets.join(' ') },
  { title: 'GATEWAYS', cell: ({ gateways }) => gateways.join(' ') },
  { title: 'INTERNAL', cell: ({ internal }) => (internal ? 'yes' : 'no') },
  { title: 'MTU', cell: ({ mtu }) => mtu, right: true },
  { title: 'ENDPOINTS', cell: ({ endpoints }) => endpoints, right: true },
]

/** An interface of a sandbox, or a sandbox that has none. */
interface InterfaceRow {
  readonly sandbox: SandboxRow
  readonly endpoint?: EndpointRow
}

const INTERFACES: readonly Column<InterfaceRow>[] = [
  { title: 'SANDBOX', cell: ({ sandbox }) => sandbox.name },
  { title: 'NETNS', cell: ({ sandbox }) => sandbox.netns },
  { title: 'INTERFACE', cell: ({ endpoint }) => endpoint?.interface },
  { title: 'NETWORK', cell: ({ endpoint }) => endpoint?.network },
  { title: 'ADDRESSES', cell: ({ endpoint }) => endpoint?.addresses.join(' ') },
  { title: 'MAC', cell: ({ endpoint }) => endpoint?.mac },
  { title: 'STATE', cell: ({ endpoint }) => endpoint?.state },
]

const FDB: readonly Column<FdbRow>[] = [
  { title: 'NETWORK', cell: ({ network }) => network },
  { title: 'MAC', cell: ({ mac }) => mac },
  { title: 'VLAN', cell: ({ vid }) => vid || undefined, right: true },
  { title: 'PORT', cell: ({ port }) => port },
  { title: 'KIND', cell: (row) => (row.static ? 'static' : 'learned') },
  { title: 'AGE', cell: (row) => (row.static ? undefined : duration(row.ageMs)), right: true },
]

const NEIGHBORS: readonly Column<NeighborRow>[] = [
  { title: 'NETWORK', cell: ({ network }) => network },
  { title: 'ADDRESS', cell: ({ address }) => address },
  { title: 'MAC', cell: ({ mac }) => mac },
  { title: 'STATE', cell: ({ state }) => state },
  { title: 'AGE', cell: ({ ageMs }) => duration(ageMs), right: true },
]

const ROUTES: readonly Column<RouteRow>[] = [
  { title: 'DESTINATION', cell: ({ destination }) => destination },
  { title: 'KIND', cell: ({ kind }) => kind },
  { title: 'VIA', cell: ({ via }) => via },
  { title: 'NETWORK', cell: ({ network }) => network },
]

const DEVICES: readonly Column<DeviceRow>[] = [
  { title: 'DEVICE', cell: ({ device }) => device },
  { title: 'NETWORK', cell: ({ network }) => network },
  { title: 'RX PACKETS', cell: ({ rxPackets }) => grouped(rxPackets), right: true },
  { title: 'RX OCTETS', cell: ({ rxBytes }) => scaled(rxBytes), right: true },
  { title: 'TX PACKETS', cell: ({ txPackets }) => grouped(txPackets), right: true },
  { title: 'TX OCTETS', cell: ({ txBytes }) => scaled(txBytes), right: true },
  { title: 'TX ERRORS', cell: ({ txErrors }) => grouped(txErrors), right: true },
  { title: 'NO BUFFER', cell: ({ rxNoBuffer }) => grouped(rxNoBuffer), right: true },
  { title: 'DROPPED', cell: ({ dropped }) => grouped(dropped), right: true },
]

const DROPS: readonly Column<DropRow>[] = [
  { title: 'FROM', cell: ({ device }) => device },
  { title: 'REASON', cell: ({ reason }) => reason },
  { title: 'COUNT', cell: ({ count }) => grouped(count), right: true },
  { title: 'WHAT IT MEANS', cell: ({ help }) => help },
]

interface View<Row> {
  readonly path: string
  readonly query?: Readonly<Record<string, string | undefined>>
  readonly columns: readonly Column<Row>[]
}

/** A command whose answer is a list of rows. */
async function show<Row>(
  options: DaemonOptions,
  { path, query, columns }: View<Row>,
): Promise<void> {
  const client = await openClient(options)
  const rows = await client.get<Row[]>(path, query)
  if (options.json) printJson(rows)
  else print(table(columns, rows))
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
