/**
 * What a node shows of its connections to the outside: uplink, published ports, services, and the
 * connections themselves. As in views.ts, names of fields are a contract.
 */
import { formatAddress, formatPrefix } from '../stack/address.ts'
import { formatMac } from '../stack/eth/mac.ts'
import {
  type ConntrackFilter,
  type ConntrackRow,
  deleteConnections,
  fits,
  listConnections,
} from '../stack/ip/conntrack_list.ts'
import type { Node } from './node.ts'
import { notFound } from './not_found.ts'
import { formatPublished, PORT_PROTOCOLS, type PortConfig, portFamilies } from './ports.ts'
import type { ServicePortState } from './state.ts'

export interface UplinkRow {
  /** Of the node, for captures and traces. */
  readonly device: string
  /** The outside is the host. */
  readonly host: boolean
  /** An interface that was there, or ours on the host; null: a TAP in `netns`. */
  readonly interface: string | null
  readonly netns: string | null
  readonly mac: string
  readonly mtu: number
  readonly addresses: readonly string[]
  readonly gateways: readonly string[]
  readonly state: 'up' | 'lost'
  /** Why it is lost. */
  readonly lost: string | null
}

export interface PortRow {
  /** `8080/tcp`, `203.0.113.2:9000-9010/udp`. */
  readonly published: string
  readonly protocol: string
  /** Null: every address of the node. */
  readonly address: string | null
  /** First port of the node. */
  readonly port: number
  readonly count: number
  /** First port of the sandbox or service. */
  readonly targetPort: number
  /** Null: it leads to a service. */
  readonly sandbox: string | null
  readonly service: string | null
  readonly network: string
  /** Addresses of the sandbox, or virtual ones of the service; one a family. */
  readonly targets: readonly string[]
}

export interface BackendRow {
  readonly sandbox: string
  readonly addresses: readonly string[]
  readonly weight: number
  /** `up`, `down`, `draining`, `ejected`; `unchecked` where nothing asks it. */
  readonly state: string
  /** Connections now; what is over is none. */
  readonly flows: number
  readonly total: number
  /** Connections of it that were refused or not answered. */
  readonly failures: number
  /** What the last health check found, by family: `IPv4: refused`. Empty: nothing asks it. */
  readonly checks: readonly string[]
}

export interface ServiceRow {
  readonly name: string
  readonly network: string
  readonly mode: string
  readonly vips: readonly string[]
  readonly ports: readonly {
    readonly target: number
    readonly count: number
    readonly published: number | null
    /** Of the node; null: every one, or none is published. */
    readonly address: string | null
    readonly protocol: string
  }[]
  /** Null: names lead to the backends, so that nothing is scheduled. */
  readonly scheduler: string | null
  /** 0: clients do not stick. */
  readonly affinityMs: number
  /** Its type; null: backends are not checked. */
  readonly healthcheck: string | null
  /** Connections given to backends so far, and turned away as none could take them. */
  readonly total: number
  readonly refused: number
  /** Clients that stick to a backend now. */
  readonly clients: number
  readonly backends: readonly BackendRow[]
}

/** Null: nothing leads outside. */
export function uplink({ uplink: open }: Node): UplinkRow | null {
  if (open === undefined) return null
  const { state, device, lost } = open
  return {
    device: device.name,
    host: state.hostTable !== undefined,
    interface: state.interface ?? open.host?.interfaceName ?? null,
    netns: state.netns ?? null,
    mac: formatMac(state.mac),
    mtu: device.mtuBytes,
    addresses: state.addresses.map(formatPrefix),
    gateways: state.gateways.map(formatAddress),
    state: lost === undefined ? 'up' : 'lost',
    lost: lost ?? null,
  }
}

/** Those of sandboxes, then those of services. */
export function ports({ state }: Node): PortRow[] {
  const sandboxes = [...state.ports.values()].map(({ port, sandbox, network, mappings }) => {
    const targets = mappings.map(({ target }) => formatAddress(target))
    return { ...publishedRow(port), sandbox, service: null, network, targets }
  })
  const services = [...state.services.values()].flatMap(({ name, network, vips, ports: own }) => {
    const rest = { sandbox: null, service: name, network }
    return own
      .flatMap(({ published }) => published ?? [])
      .map((port) => ({
        ...publishedRow(port),
        ...rest,
        targets: vips
          .filter(({ family }) => portFamilies(port).includes(family))
          .map(formatAddress),
      }))
  })
  return [...sandboxes, ...services]
}

function publishedRow(
  port: PortConfig,
): Omit<PortRow, 'sandbox' | 'service' | 'network' | 'targets'> {
  return {
    published: formatPublished(port),
    protocol: port.protocol,
    address: port.address === undefined ? null : formatAddress(port.address),
    port: port.port!,
    count: port.count,
    targetPort: port.targetPort,
  }
}

export function services(node: Node): ServiceRow[] {
  return [...node.state.services.values()].map((service) => {
    const stats = node.services.stats(service.name)
    const totals = node.services.totals(service.name)
    return {
      name: service.name,
      network: service.network,
      mode: service.mode,
      vips: service.vips.map(formatAddress),
      ports: service.ports.map(portRow),
      scheduler: service.mode === 'vip' ? service.scheduler : null,
      affinityMs: service.affinityMs,
      healthcheck: service.healthcheck?.type ?? null,
      total: totals?.flows ?? 0,
      refused: totals?.refused ?? 0,
      clients: totals?.clients ?? 0,
      backends: service.backends.map(({ sandbox, addresses, weight }): BackendRow => {
        const known = stats.find((row) => row.sandbox === sandbox)
        return {
          sandbox,
          addresses: addresses.map(formatAddress),
          weight,
          state: known?.state ?? 'unchecked',
          flows: known?.flows ?? 0,
          total: known?.total ?? 0,
          failures: known?.failures ?? 0,
          checks: known?.checks ?? [],
        }
      }),
    }
  })
}

function portRow(own: ServicePortState): ServiceRow['ports'][number] {
  const { target, count, published, protocol } = own
  const { port = null, address } = published ?? {}
  const name = protocol === PORT_PROTOCOLS.tcp ? 'tcp' : 'udp'
  const host = address === undefined ? null : formatAddress(address)
  return { target, count, published: port, address: host, protocol: name }
}

/** Which connections: those of the tracker's filter, and of one sandbox. */
export interface ConnectionFilter extends ConntrackFilter {
  readonly sandbox?: string
}

/** @throws StackError `not-found`: no such sandbox. */
export function conntrack(node: Node, filter: ConnectionFilter): ConntrackRow[] {
  return listConnections(node.context.conntrack).filter(connectionTest(node, filter))
}

/** Forget connections; how many. @throws StackError `not-found`: no such sandbox. */
export function forgetConnections(node: Node, { sandbox, ...filter }: ConnectionFilter): number {
  const table = node.context.conntrack
  if (sandbox === undefined) return deleteConnections(table, filter)
  const one = filter.address
  const own = addressesOf(node, sandbox).filter((address) => one === undefined || one === address)
  return own.reduce((sum, address) => sum + deleteConnections(table, { ...filter, address }), 0)
}

/** Whether a connection is meant. @throws StackError `not-found`: no such sandbox. */
export function connectionTest(
  node: Node,
  { sandbox, ...filter }: ConnectionFilter,
): (row: ConntrackRow) => boolean {
  if (sandbox === undefined) return (row) => fits(row, filter)
  const own = addressesOf(node, sandbox)
  return (row) => fits(row, filter) && own.some((address) => fits(row, { address }))
}

function addressesOf({ state }: Node, sandbox: string): string[] {
  if (!state.sandboxes.has(sandbox)) throw notFound('no sandbox', sandbox, state.sandboxes.keys())
  return [...state.endpoints.values()]
    .filter((endpoint) => endpoint.sandbox === sandbox)
    .flatMap(({ addresses }) => addresses.map(({ address }) => formatAddress(address)))
}
