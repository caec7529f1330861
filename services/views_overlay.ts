/** What a node shows of its overlay networks; as in views.ts, names of fields are a contract. */
import { formatAddress } from '../stack/address.ts'
import { formatMac } from '../stack/eth/mac.ts'
import type { Network } from './network.ts'
import type { Node } from './node.ts'
import { compare, type Difference } from './overlay/compare.ts'
import { type Conflict, conflictsOf } from './overlay/conflicts.ts'
import type { Segment } from './overlay/segment.ts'

/** A tunnel end of another node, in one network. */
export interface PeerRow {
  readonly network: string
  readonly vni: number
  readonly vtep: string
  /** False: only endpoints are known there; nothing is flooded to it. */
  readonly member: boolean
  /** Endpoints of the network that are there. */
  readonly endpoints: number
  /** Largest outer packet that is known to arrive. */
  readonly pathMtu: number
}

export interface OverlayRow {
  readonly vni: number
  /** VLANs that are overlay networks of their own. */
  readonly vlans: readonly { readonly vid: number; readonly vni: number }[]
  readonly node: string
  /** Where this node's tunnels end. */
  readonly vtep: string
  readonly port: number
  readonly group: string | null
  readonly learning: boolean
  readonly peers: readonly PeerRow[]
  /** Endpoints at other nodes. */
  readonly remote: readonly RemoteRow[]
  readonly conflicts: readonly Conflict[]
  /** What could not be taken in for want of room. */
  readonly refused: number
}

export interface RemoteRow {
  readonly name: string
  readonly node: string
  readonly vtep: string
  readonly vni: number
  readonly mac: string
  readonly addresses: readonly string[]
}

/** What tables and sources do not agree on, and what was mended before. */
export interface OverlayCheck {
  readonly differences: readonly Difference[]
  /** Since the start. */
  readonly repaired: number
}

export function peers(node: Node): PeerRow[] {
  return node.networks().flatMap(peersOf)
}

/** Null: driver `bridge`. */
export function overlayRow(node: Node, network: Network | undefined): OverlayRow | null {
  const { overlay, state } = network ?? {}
  const own = node.context.overlays.node
  if (network === undefined || overlay === undefined || own === undefined) return null
  const { vni, vlans, group, learning } = state!.overlay!
  return {
    vni,
    vlans,
    node: own.name,
    vtep: formatAddress(own.address),
    port: own.udpPort,
    group: group === undefined ? null : formatAddress(group),
    learning,
    peers: peersOf(network),
    remote: overlay.segments.flatMap((segment) =>
      overlay.records(segment.vni).map((record) => ({
        name: record.name,
        node: record.node,
        vtep: formatAddress(record.vtep),
        vni: record.vni,
        mac: formatMac(record.mac),
        addresses: record.addresses.map(formatAddress),
      })),
    ),
    conflicts: conflictsOf(overlay),
    refused: overlay.refused,
  }
}

/** Compare tables with what sources say. Nothing is changed. */
export function overlayCheck(node: Node): OverlayCheck {
  const { overlays } = node.context
  const differences = overlays.networks().flatMap((network) => compare(network, node.context))
  return { differences, repaired: overlays.repaired }
}

/** Where a station behind a tunnel is; null: behind no tunnel, or nobody knows. */
export function vtepOf(network: Network): (port: string, mac: string) => string | null {
  const bySegment = new Map<string, Map<string, string>>()
  for (const { port, tunnel } of network.overlay?.segments ?? []) {
    const stations = tunnel.stations()
    const at = stations.map(({ mac, vtep }) => [formatMac(mac), formatAddress(vtep)] as const)
    bySegment.set(port.name, new Map(at))
  }
  return (port, mac) => bySegment.get(port)?.get(mac) ?? null
}

function peersOf(network: Network): PeerRow[] {
  const { name } = network.state
  return (network.overlay?.segments ?? []).flatMap(({ vni, tunnel }: Segment) =>
    tunnel.peers().map(({ vtep, member, stations, pathMtuBytes }) => ({
      network: name,
      vni,
      vtep: formatAddress(vtep),
      member,
      endpoints: stations,
      pathMtu: pathMtuBytes,
    })),
  )
}
