/** Columns of the tables that commands and the demo print, by the rows of ../views.ts. */
import type {
  DeviceRow,
  DropRow,
  EndpointRow,
  FdbRow,
  NeighborRow,
  NetworkRow,
  RouteRow,
  SandboxRow,
} from '../views.ts'
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
  { title: 'PORT', cell: ({ port }) => port },
  { title: 'KIND', cell: (row) => (row.static ? 'static' : 'learned') },
  { title: 'AGE', cell: (row) => (row.static ? undefined : duration(row.ageMs)), right: true },
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
