/** What a node shows of multicast: who wants which group, and who asks; see views.ts. */
import { formatAddress } from '../stack/address.ts'
import type { Who } from './groups.ts'
import type { Network } from './network.ts'
import type { Node } from './node.ts'
import { notFound } from './not_found.ts'

export interface MemberRow {
  readonly network: string
  /** 0 on a network without VLANs. */
  readonly vid: number
  /** `*`: every group. */
  readonly group: string
  readonly port: string
  /** A member; a router is behind the port; it may hold no more memberships. */
  readonly why: 'member' | 'router' | 'full'
  /** Null: as long as it is so. */
  readonly expiresMs: number | null
}

/** Who asks hosts which groups they want: this node, another one, or nobody (all is flooded). */
export interface MulticastDetail {
  readonly querier4: Who
  readonly querier6: Who
}

/** @throws StackError `not-found`. */
export function groups(node: Node, only?: string): MemberRow[] {
  if (only !== undefined && node.network(only) === undefined) {
    throw notFound(
      'no network with a bridge',
      only,
      node.networks().map(({ state }) => state.name),
    )
  }
  return node
    .networks()
    .filter(({ state }) => only === undefined || state.name === only)
    .flatMap((network) => [...onBridge(network), ...inTunnels(network)])
}

function onBridge(network: Network): MemberRow[] {
  return (network.groups?.list() ?? []).map(({ port, expiresMs, ...row }) => ({
    network: network.state.name,
    ...row,
    port: network.bridge.portName(port) ?? `port ${port}`,
    expiresMs: expiresMs === null ? null : Math.round(expiresMs),
  }))
}

/** Other nodes that want a group, under the names of their tunnel ends. */
function inTunnels({ state, overlay }: Network): MemberRow[] {
  return (overlay?.segments ?? []).flatMap(({ vid, tunnel, port, groups }) =>
    (groups?.list() ?? []).map((row) => ({
      network: state.name,
      vid: vid ?? 0,
      group: row.group,
      port: `${port.name} ${formatAddress(tunnel.vtepOf(row.port)!)}`,
      why: 'member' as const,
      expiresMs: Math.round(row.expiresMs),
    })),
  )
}

export function multicast(node: Node, network: string): MulticastDetail | null {
  const who = node.network(network)?.groups?.querier()
  return who === undefined ? null : { querier4: who.ipv4, querier6: who.ipv6 }
}
