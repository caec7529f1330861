/**
 * What a node shows of itself: plain values for the API, the command line, the library and tests.
 * Names of fields are a contract; scripts read them. A field is added, never renamed. What is not
 * there (a MAC that is not known, a gateway that a driver has not) is null.
 *
 * Nothing here changes anything, and nothing here is on the data path.
 */
import { formatAddress, formatPrefix } from '../stack/address.ts'
import type { BridgeStation } from '../stack/eth/bridge.ts'
import type { BridgePortInfo } from '../stack/eth/bridge_port.ts'
import { formatMac, type Mac } from '../stack/eth/mac.ts'
import type { DriverName } from './config/model.ts'
import type { EndpointOptions, NetworkOptions } from './config/options_model.ts'
import type { ParentPort } from './network_facts.ts'
import type { Node } from './node.ts'
import { notFound } from './not_found.ts'
import { formatRate } from './rates.ts'
import type { EndpointState, NetworkState, SandboxState } from './state.ts'
import { UPLINK } from './uplink.ts'
import { type MulticastDetail, multicast } from './views_groups.ts'
import { type DhcpRow, dhcpRow } from './views_leases.ts'
import {
  type PortRow,
  ports,
  type ServiceRow,
  services,
  type UplinkRow,
  uplink,
} from './views_outside.ts'
import { type OverlayRow, overlayRow, vtepOf } from './views_overlay.ts'

export interface EndpointRow {
  readonly sandbox: string
  readonly network: string
  /** Name inside the sandbox; null: the driver gives none. */
  readonly interface: string | null
  /** Name of our end. */
  readonly device: string | null
  readonly mac: string | null
  readonly addresses: readonly string[]
  readonly mtu: number
  readonly aliases: readonly string[]
  /**
   * `lost`: its device went away from outside; `apply` joins it again. `shut`: the loop guard shut
   * its port of the bridge, for half a minute.
   */
  readonly state: 'up' | 'lost' | 'shut'
  /** Null: all that the network lets pass. */
  readonly policy: PolicyRow | null
  readonly rate: RateRow
}

/** Rules in the order in which they are asked, its own before its network's. */
export interface PolicyRow {
  readonly ingress: readonly string[]
  readonly egress: readonly string[]
  readonly defaultIngress: 'allow' | 'deny'
  readonly defaultEgress: 'allow' | 'deny'
}

/** Limits in words; null: none. */
export interface RateRow {
  readonly ingress: string | null
  readonly egress: string | null
}

export interface NetworkRow {
  readonly name: string
  readonly driver: DriverName
  readonly internal: boolean
  readonly subnets: readonly string[]
  readonly gateways: readonly string[]
  readonly mtu: number
  /** How many endpoints it has. */
  readonly endpoints: number
}

export interface SandboxRow {
  readonly name: string
  readonly netns: string
  readonly stack: SandboxState['stack']
  readonly endpoints: readonly EndpointRow[]
}

export interface Listing {
  /** Of the configuration in force. */
  readonly name: string
  readonly networks: readonly NetworkRow[]
  readonly sandboxes: readonly SandboxRow[]
  readonly services: readonly ServiceRow[]
  readonly ports: readonly PortRow[]
  /** Null: nothing leads outside. */
  readonly uplink: UplinkRow | null
}

export interface NetworkDetail extends NetworkRow {
  readonly gatewayMac: string | null
  readonly options: NetworkOptions
  readonly members: readonly EndpointDetail[]
  /** Null: every group goes to everybody. */
  readonly multicast: MulticastDetail | null
  /** Ports of its bridge, the router's among them; empty if the driver has none. */
  readonly ports: readonly BridgePortInfo[]
  /** The interface outside that it is on; null: it is on none. */
  readonly parent: ParentRow | null
  /** Null: nobody leases addresses here. */
  readonly dhcp: DhcpRow | null
  /** Null: not of driver `overlay`. */
  readonly overlay: OverlayRow | null
}

export interface ParentRow {
  readonly interface: string
  readonly mode: string
  readonly state: 'up' | 'lost'
  /** Why it is lost. */
  readonly lost: string | null
}

export interface EndpointDetail extends EndpointRow {
  readonly options: EndpointOptions
  /** Why it is lost. */
  readonly lost: string | null
  /** Routes inside the sandbox by this interface. */
  readonly routes: readonly { readonly destination: string; readonly via: string }[]
}

export interface SandboxDetail extends SandboxRow {
  readonly endpoints: readonly EndpointDetail[]
}

export interface Inspection {
  readonly name: string
  readonly networks: readonly NetworkDetail[]
  readonly sandboxes: readonly SandboxDetail[]
  readonly services: readonly ServiceRow[]
  readonly ports: readonly PortRow[]
  readonly uplink: UplinkRow | null
}

export interface FdbRow extends BridgeStation {
  readonly network: string
  /** Tunnel end of the node where the station is; null: it is here, or nobody knows. */
  readonly vtep: string | null
}

export interface NeighborRow {
  readonly network: string
  readonly address: string
  readonly mac: string | null
  readonly state: string
  readonly ageMs: number
}

export interface RouteRow {
  readonly destination: string
  readonly kind: string
  readonly via: string | null
  /** The network it leads to. */
  readonly network: string | null
}

export function ls(node: Node, name: string): Listing {
  const { networks, sandboxes, ...outside } = inspect(node, name)
  return {
    ...outside,
    networks: networks.map(
      ({
        gatewayMac: _,
        options: __,
        members,
        ports: ___,
        overlay: ____,
        multicast: _____,
        parent: ______,
        dhcp: _______,
        ...row
      }) => ({
        ...row,
        endpoints: members.length,
      }),
    ),
    sandboxes: sandboxes.map((sandbox) => ({
      ...sandbox,
      endpoints: sandbox.endpoints.map(({ options: _, lost: __, routes: ___, ...row }) => row),
    })),
  }
}

/** @param only - a network, sandbox, service or device. @throws StackError `not-found`. */
export function inspect(node: Node, name: string, only?: string): Inspection {
  const { networks, sandboxes, endpoints } = node.state
  const details = [...endpoints.values()].map((endpoint) => endpointDetail(node, endpoint))
  const all: Inspection = {
    name,
    networks: [...networks.values()].map((network) => networkDetail(node, network, details)),
    sandboxes: [...sandboxes.values()].map((sandbox) => ({
      name: sandbox.name,
      netns: sandbox.netns,
      stack: sandbox.stack,
      endpoints: details.filter((endpoint) => endpoint.sandbox === sandbox.name),
    })),
    services: services(node),
    ports: ports(node),
    uplink: uplink(node),
  }
  if (only === undefined) return all
  const found: Inspection = {
    name,
    networks: all.networks.filter((network) => network.name === only),
    sandboxes: all.sandboxes.filter(
      (sandbox) => sandbox.name === only || sandbox.endpoints.some((e) => e.device === only),
    ),
    services: all.services.filter((service) => service.name === only),
    ports: all.ports.filter(({ sandbox }) => sandbox === only),
    uplink: all.uplink?.device === only ? all.uplink : null,
  }
  const parts = found.networks.length + found.sandboxes.length + found.services.length
  if (parts > 0 || found.uplink !== null) return found
  const named = [...all.networks, ...all.sandboxes, ...all.services].map((one) => one.name)
  const ends = all.sandboxes.flatMap((sandbox) => sandbox.endpoints)
  const devices = ends.flatMap(({ device }) => device ?? [])
  throw notFound('no network, sandbox, service or device', only, [...named, ...devices])
}

function networkDetail(
  node: Node,
  network: NetworkState,
  endpoints: readonly EndpointDetail[],
): NetworkDetail {
  const members = endpoints.filter((endpoint) => endpoint.network === network.name)
  const { subnets } = network
  const { gateway } = network.options
  return {
    name: network.name,
    driver: network.driver,
    internal: network.internal,
    subnets: subnets.map(({ subnet }) => formatPrefix(subnet)),
    gateways: gateway ? subnets.map((own) => formatAddress(own.gateway)) : [],
    mtu: network.options.mtuBytes,
    endpoints: members.length,
    gatewayMac: macText(network.gatewayMac),
    options: network.options,
    members,
    multicast: multicast(node, network.name),
    ports: node.network(network.name)?.bridge.ports() ?? [],
    parent: parentRow(node.network(network.name)?.parent),
    dhcp: dhcpRow(node, network.name),
    overlay: overlayRow(node, node.network(network.name)),
  }
}

function parentRow(parent: ParentPort | undefined): ParentRow | null {
  if (parent === undefined) return null
  const { interfaceName, mode, lost } = parent
  const state = lost === undefined ? 'up' : 'lost'
  return { interface: interfaceName, mode, state, lost: lost ?? null }
}

function endpointDetail(node: Node, endpoint: EndpointState): EndpointDetail {
  const edge = node.network(endpoint.network)?.edge(endpoint.sandbox)
  const lost = node.whyLost(endpoint)
  const real = endpoint.mac !== undefined
  return {
    sandbox: endpoint.sandbox,
    network: endpoint.network,
    interface: real ? endpoint.interfaceName : null,
    device: real ? endpoint.deviceName : null,
    mac: macText(endpoint.mac),
    addresses: [...endpoint.addresses, ...(edge?.leased ?? [])].map(formatPrefix),
    mtu: endpoint.mtuBytes,
    aliases: endpoint.aliases,
    state: lost === undefined ? (edge?.isShut ? 'shut' : 'up') : 'lost',
    policy: policyRow(endpoint),
    rate: {
      ingress: endpoint.rate.ingress ? formatRate(endpoint.rate.ingress) : null,
      egress: endpoint.rate.egress ? formatRate(endpoint.rate.egress) : null,
    },
    options: endpoint.options,
    lost: lost ?? null,
    routes: endpoint.routes.map(({ destination, via }) => ({
      destination: formatPrefix(destination),
      via: formatAddress(via),
    })),
  }
}

function policyRow({ policy }: EndpointState): PolicyRow | null {
  if (policy === undefined) return null
  const { ingress, egress } = policy
  return {
    ingress: ingress.rules.map(({ text }) => text),
    egress: egress.rules.map(({ text }) => text),
    defaultIngress: ingress.otherwise ? 'allow' : 'deny',
    defaultEgress: egress.otherwise ? 'allow' : 'deny',
  }
}

function macText(mac: Mac | undefined): string | null {
  return mac === undefined ? null : formatMac(mac)
}

/** Names of networks that have a bridge. */
function bridged(node: Node): string[] {
  return node.networks().map(({ state }) => state.name)
}

/** @throws StackError `not-found`. */
export function fdb(node: Node, only?: string): FdbRow[] {
  if (only !== undefined && node.network(only) === undefined) {
    throw notFound('no network with a bridge', only, bridged(node))
  }
  return node
    .networks()
    .filter(({ state }) => only === undefined || state.name === only)
    .flatMap((network) => {
      const at = vtepOf(network)
      const { name } = network.state
      return network.bridge.fdb().map((row) => {
        const vtep = at(row.port, row.mac)
        return { network: name, ...row, ageMs: Math.round(row.ageMs), vtep }
      })
    })
}

export function neigh(node: Node): NeighborRow[] {
  return node.context.router.neighbors.list().map(({ link, mac, ageMs, ...row }) => ({
    network: link,
    ...row,
    mac: mac ?? null,
    ageMs: Math.round(ageMs),
  }))
}

export function routes(node: Node): RouteRow[] {
  const { router } = node.context
  return router.routes().map(({ prefix, kind, via, link }) => ({
    destination: formatPrefix(prefix),
    kind,
    via: via === undefined ? null : formatAddress(via),
    network:
      node.networks().find(({ link: index }) => index === link)?.state.name ??
      (link !== undefined && link === node.uplink?.link ? UPLINK : null),
  }))
}
