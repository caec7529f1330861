/** What DHCP servers leased, and what is left: a part of what a node shows of itself (views.ts). */
import { formatRange } from './config/dhcp.ts'
import type { LeaseInfo } from './dhcp/server.ts'
import type { Node } from './node.ts'
import { notFound } from './not_found.ts'

export interface LeaseRow extends LeaseInfo {
  readonly network: string
}

/** The DHCP server of a network. */
export interface DhcpRow {
  /** `10.1.0.200 to 10.1.0.250`. */
  readonly pool: string
  readonly size: number
  /** Addresses of the pool that nobody can be given now. */
  readonly used: number
  /** Clients that got no address because none was left, since the network was made. */
  readonly refused: number
  /** What is wrong; null: nothing. */
  readonly error: string | null
}

/** By network and address. @throws StackError `not-found`. */
export function leases(node: Node, only?: string): LeaseRow[] {
  const networks = node.networks().filter(({ dhcp }) => dhcp !== undefined)
  const wanted = networks.filter(({ state }) => only === undefined || state.name === only)
  if (only !== undefined && wanted.length === 0) {
    throw notFound(
      'no network with a DHCP server',
      only,
      networks.map(({ state }) => state.name),
    )
  }
  return wanted.flatMap(({ state, dhcp }) =>
    dhcp!.list().map((lease) => ({ network: state.name, ...lease })),
  )
}

/** Null: the network has no server. */
export function dhcpRow(node: Node, name: string): DhcpRow | null {
  const network = node.network(name)
  const usage = network?.dhcp?.usage()
  if (network === undefined || usage === undefined) return null
  const pool = formatRange(network.state.dhcp!)
  const { size, used } = usage
  const error = used < size ? null : `no address left: all ${size} of ${pool} are in use`
  return { pool, ...usage, error }
}
