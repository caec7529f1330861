/** Columns of the tables that commands and the demo print, by the rows of ../views.ts. */

import type { ConntrackRow } from '../../stack/ip/conntrack_list.ts'
import type {
  EndpointRow,
  FdbRow,
  NeighborRow,
  NetworkRow,
  RouteRow,
  SandboxRow,
} from '../views.ts'
import type { DeviceRow, DropRow } from '../views_counters.ts'
import type { CacheRow, NameRow, ResolverRow } from '../views_dns.ts'
import type { CachedFlow, FlowSide } from '../views_flows.ts'
import type { MemberRow } from '../views_groups.ts'
import type { BackendRow, PortRow, ServiceRow, UplinkRow } from '../views_outside.ts'
import { type Column, duration, grouped, scaled } from './table.ts'

export const NETWORKS: readonly Column<NetworkRow>[] = [
  { title: 'NETWORK', cell: ({ name }) => name },
  { title: 'DRIVER', cell: ({ driver }) => driver },
  { title: 'SUBNETS', cell: ({ subnets }) => subnets.join(' ') },
  { title: 'GATEWAYS', cell: ({ gateways }) => gateways.join(' ') },
  { title: 'INTERNAL', cell: ({ internal }) => (internal ? 'yes' : 'no') },
  { title: 'MTU', cell: ({ mtu }) => mtu, right: true },
  { title: 'ENDPOINTS', cell: ({ endpoints }) => endpoints, right: true },
]

/** An interface of a sandbox, or a sandbox that has none. */
export interface InterfaceRow {
  readonly sandbox: SandboxRow
  readonly endpoint?: EndpointRow
}

export const INTERFACES: readonly Column<InterfaceRow>[] = [
  { title: 'SANDBOX', cell: ({ sandbox }) => sandbox.name },
  { title: 'NETNS', cell: ({ sandbox }) => sandbox.netns },
  { title: 'INTERFACE', cell: ({ endpoint }) => endpoint?.interface },
  { title: 'NETWORK', cell: ({ endpoint }) => endpoint?.network },
  { title: 'ADDRESSES', cell: ({ endpoint }) => endpoint?.addresses.join(' ') },
  { title: 'MAC', cell: ({ endpoint }) => endpoint?.mac },
  { title: 'STATE', cell: ({ endpoint }) => endpoint?.state },
]

export const FDB: readonly Column<FdbRow>[] = [
  { title: 'NETWORK', cell: ({ network }) => network },
  { title: 'MAC', cell: ({ mac }) => mac },
  { title: 'VLAN', cell: ({ vid }) => vid || undefined, right: true },
  { title: 'PORT', cell: ({ port, vtep }) => (vtep === null ? port : `${port} to ${vtep}`) },
  { title: 'KIND', cell: (row) => (row.static ? 'static' : 'learned') },
  { title: 'AGE', cell: (row) => (row.static ? undefined : duration(row.ageMs)), right: true },
]

export const GROUPS: readonly Column<MemberRow>[] = [
  { title: 'NETWORK', cell: ({ network }) => network },
  { title: 'VLAN', cell: ({ vid }) => vid || undefined, right: true },
  { title: 'GROUP', cell: ({ group }) => group },
  { title: 'PORT', cell: ({ port }) => port },
  { title: 'WHY', cell: ({ why }) => why },
  { title: 'ENDS IN', cell: (row) => row.expiresMs && duration(row.expiresMs), right: true },
]

export const NEIGHBORS: readonly Column<NeighborRow>[] = [
  { title: 'NETWORK', cell: ({ network }) => network },
  { title: 'ADDRESS', cell: ({ address }) => address },
  { title: 'MAC', cell: ({ mac }) => mac },
  { title: 'STATE', cell: ({ state }) => state },
  { title: 'AGE', cell: ({ ageMs }) => duration(ageMs), right: true },
]

export const ROUTES: readonly Column<RouteRow>[] = [
  { title: 'DESTINATION', cell: ({ destination }) => destination },
  { title: 'KIND', cell: ({ kind }) => kind },
  { title: 'VIA', cell: ({ via }) => via },
  { title: 'NETWORK', cell: ({ network }) => network },
]

export const DEVICES: readonly Column<DeviceRow>[] = [
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

export const DROPS: readonly Column<DropRow>[] = [
  { title: 'FROM', cell: ({ device }) => device },
  { title: 'REASON', cell: ({ reason }) => reason },
  { title: 'COUNT', cell: ({ count }) => grouped(count), right: true },
  { title: 'WHAT IT MEANS', cell: ({ help }) => help },
]

export const UPLINKS: readonly Column<UplinkRow>[] = [
  { title: 'UPLINK', cell: (row) => row.interface ?? 'tap' },
  { title: 'NETNS', cell: ({ netns, host }) => (host ? 'the host' : netns) },
  { title: 'ADDRESSES', cell: ({ addresses }) => addresses.join(' ') },
  { title: 'GATEWAYS', cell: ({ gateways }) => gateways.join(' ') },
  { title: 'MAC', cell: ({ mac }) => mac },
  { title: 'MTU', cell: ({ mtu }) => mtu, right: true },
  { title: 'STATE', cell: ({ state }) => state },
]

export const PUBLISHED: readonly Column<PortRow>[] = [
  { title: 'PUBLISHED', cell: ({ published }) => published },
  { title: 'SANDBOX', cell: ({ sandbox, service }) => sandbox ?? `service ${service}` },
  { title: 'NETWORK', cell: ({ network }) => network },
  { title: 'TARGETS', cell: ({ targets }) => targets.join(' ') },
  { title: 'TARGET PORT', cell: (row) => portSpan(row.targetPort, row.count), right: true },
]

/** A backend of a service, or a service that has none. */
export interface ServiceBackend {
  readonly service: ServiceRow
  readonly backend?: BackendRow
}

export const SERVICES: readonly Column<ServiceBackend>[] = [
  { title: 'SERVICE', cell: ({ service }) => service.name },
  { title: 'NETWORK', cell: ({ service }) => service.network },
  { title: 'VIPS', cell: ({ service }) => service.vips.join(' ') || service.mode },
  { title: 'PORTS', cell: ({ service }) => service.ports.map(servicePort).join(' ') },
  { title: 'SCHEDULER', cell: ({ service }) => service.scheduler ?? '-' },
  { title: 'BACKEND', cell: ({ backend }) => backend?.sandbox },
  { title: 'ADDRESSES', cell: ({ backend }) => backend?.addresses.join(' ') },
  { title: 'WEIGHT', cell: ({ backend }) => backend?.weight, right: true },
  { title: 'STATE', cell: ({ backend }) => backend?.state },
  { title: 'FLOWS', cell: ({ backend }) => backend && grouped(backend.flows), right: true },
  { title: 'TOTAL', cell: ({ backend }) => backend && grouped(backend.total), right: true },
  { title: 'FAILED', cell: ({ backend }) => backend && grouped(backend.failures), right: true },
]

export const CONNECTIONS: readonly Column<ConntrackRow>[] = [
  { title: 'PROTO', cell: ({ protocol }) => protocol },
  { title: 'STATE', cell: ({ state }) => state },
  { title: 'FROM', cell: ({ original }) => socket(original, 'src') },
  { title: 'TO', cell: ({ original }) => socket(original, 'dst') },
  { title: 'ANSWERED BY', cell: ({ reply }) => socket(reply, 'src') },
  { title: 'TO', cell: ({ reply }) => socket(reply, 'dst') },
  { title: 'PACKETS', cell: (row) => grouped(packets(row)), right: true },
  { title: 'OCTETS', cell: (row) => scaled(row.original.bytes + row.reply.bytes), right: true },
  { title: 'EXPIRES', cell: ({ timeoutS }) => duration(timeoutS * 1000), right: true },
]

function packets({ original, reply }: ConntrackRow): number {
  return original.packets + reply.packets
}

export const FLOWS: readonly Column<CachedFlow>[] = [
  { title: 'IN BY', cell: ({ from }) => from },
  { title: 'PROTO', cell: ({ protocol }) => protocol },
  { title: 'FROM', cell: ({ original }) => socket(original, 'src') },
  { title: 'TO', cell: ({ original }) => socket(original, 'dst') },
  { title: 'OUT BY', cell: ({ to, drop }) => to ?? `dropped: ${drop}` },
  { title: 'FROM', cell: ({ translated }) => translated && socket(translated, 'src') },
  { title: 'TO', cell: ({ translated }) => translated && socket(translated, 'dst') },
  { title: 'PACKETS', cell: (row) => grouped(row.packets), right: true },
  { title: 'OCTETS', cell: ({ bytes }) => scaled(bytes), right: true },
  { title: 'IDLE', cell: ({ idleMs }) => duration(idleMs), right: true },
]

export const NAMES: readonly Column<NameRow>[] = [
  { title: 'NETWORK', cell: ({ network }) => network },
  { title: 'NAME', cell: ({ name }) => name },
  { title: 'KIND', cell: ({ kind }) => kind },
  { title: 'ADDRESSES', cell: ({ addresses }) => addresses.join(' ') },
]

export const RESOLVERS: readonly Column<ResolverRow>[] = [
  { title: 'SANDBOX', cell: ({ sandbox }) => sandbox },
  { title: 'SEES NETWORKS', cell: ({ networks }) => networks.join(' ') },
  { title: '127.0.0.11', cell: ({ loopback }) => (loopback ? 'yes' : 'no') },
  { title: 'ASKS OUTSIDE', cell: ({ forwards }) => (forwards ? 'yes' : 'no') },
  { title: 'OWN FORWARDERS', cell: ({ servers }) => servers.join(' ') },
  { title: 'QUERIES', cell: ({ queries }) => grouped(queries), right: true },
]

export const CACHED: readonly Column<CacheRow>[] = [
  { title: 'NAME', cell: ({ name }) => name },
  { title: 'TYPE', cell: ({ type }) => type },
  { title: 'ANSWER', cell: ({ rcode }) => rcode },
  { title: 'RECORDS', cell: ({ records }) => records, right: true },
  { title: 'SECONDS LEFT', cell: ({ leftS }) => (leftS < 0 ? 'stale' : leftS), right: true },
  { title: 'FROM', cell: ({ servers }) => servers },
]

/** `10.1.0.11:80`, `[fd00:1::11]:80`, or the address where there are no ports. */
export function socket(side: FlowSide, end: 'src' | 'dst'): string {
  const port = end === 'src' ? side.srcPort : side.dstPort
  const address = side[end]
  if (port === 0) return address
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
}

function portSpan(first: number, count: number): string {
  return count === 1 ? `${first}` : `${first}-${first + count - 1}`
}

/** `80/tcp`; of a published one, `8080:80/tcp`. */
export function servicePort(port: ServiceRow['ports'][number]): string {
  const { target, count, published, address, protocol } = port
  const inside = `${portSpan(target, count)}/${protocol}`
  if (published === null) return inside
  const host = address === null ? '' : `${address.includes(':') ? `[${address}]` : address}:`
  return `${host}${portSpan(published, count)}:${inside}`
}
