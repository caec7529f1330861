/** Desired state of what a network tells its stations: resolvers, domains, leases. */
import { type Address, networkOf } from '../stack/address.ts'
import type { NetworkConfig, SubnetConfig } from './config/model.ts'
import { POOL_MAX } from './dhcp/leases.ts'
import { boundsOf, fromInteger, greater, hostBounds, toInteger } from './ipam.ts'
import type { DhcpState, SubnetState } from './state.ts'

export interface Announced {
  readonly dns: readonly Address[]
  readonly search: readonly string[]
}

/**
 * Gateways are resolvers for who is told of them: by router advertisements, or by DHCP.
 *
 * @param names - true: the gateways answer questions about names.
 */
export function planAnnounce(
  { announce, driver, dhcp, advertise = true }: NetworkConfig,
  gateways: readonly SubnetState[],
  names: boolean,
): Announced {
  const isTold = ({ family }: Address): boolean => (family === 6 ? advertise : dhcp !== undefined)
  const own = names && driver !== 'macvlan' ? gateways.map(({ gateway }) => gateway) : []
  return { dns: announce.dns ?? own.filter(isTold), search: announce.search }
}

/** Undefined: the network has no server. Its pool is a part of the first IPv4 subnet. */
export function planDhcp(
  config: NetworkConfig,
  subnets: readonly SubnetConfig[],
  { gateways, announce }: { gateways: readonly SubnetState[]; announce: Announced },
): DhcpState | undefined {
  const at = subnets.findIndex(({ subnet }) => subnet.address.family === 4)
  const { dhcp } = config
  if (dhcp === undefined || at < 0) return undefined
  const { subnet, range } = subnets[at]!
  const { gateway } = gateways[at]!
  return {
    subnet: { address: networkOf(subnet), bits: subnet.bits },
    server: gateway,
    router: config.internal ? undefined : gateway,
    ...(dhcp.range ?? lastOf(range ?? subnet, subnet)),
    leaseMs: dhcp.leaseMs,
    mtuBytes: config.options.mtuBytes,
    dns: announce.dns.filter(({ family }) => family === 4),
    search: announce.search,
    routes: dhcp.routes,
    hosts: dhcp.hosts,
  }
}

/**
 * The end of what IPAM hands out from its beginning: so the two meet as late as can be, and what
 * either gave is nothing that the other gives.
 */
function lastOf(
  range: SubnetConfig['subnet'],
  subnet: SubnetConfig['subnet'],
): { readonly first: Address; readonly last: Address } {
  const [wanted, hosts] = [boundsOf(range), hostBounds(subnet)]
  const last = -greater(-wanted.last, -hosts.last)
  const least = greater(last - BigInt(POOL_MAX - 1), greater(wanted.first, hosts.first))
  return { first: fromInteger(4, least), last: fromInteger(4, last) }
}

/** Every address of a pool that the file names, which IPAM leaves alone. */
export function rangeAddresses({ range }: NonNullable<NetworkConfig['dhcp']>): Address[] {
  if (range === undefined) return []
  const [first, last] = [toInteger(range.first), toInteger(range.last)]
  return Array.from({ length: Number(last - first) + 1 }, (_, i) =>
    fromInteger(4, first + BigInt(i)),
  )
}
