/**
 * What must be done to come from one state to another: a pure function, so that `apply --dry-run`
 * shows exactly what `apply` does, and what did not change has no step at all.
 *
 * ```text
 *   unpublish, delete services -> leave -> delete routes -> close uplink -> delete sandboxes
 *     -> delete networks -> close the underlay
 *     -> open the underlay
 *     -> how connections are tracked, names resolved -> create and update networks -> open uplink
 *     -> add routes
 *     -> create sandboxes and join, one by one
 *     -> create and update services, publish
 * ```
 *
 * Taking away comes before adding, so that an address or a name that one gives up another can
 * have. Within one sandbox, joins keep the order of its interfaces. Something that changed in any
 * way but its aliases, its policy or its rates is taken away and made anew, with all that rests on
 * it.
 */
import { isDeepStrictEqual } from 'node:util'
import { formatAddress, formatPrefix } from '../stack/address.ts'
import type { DnsConfig } from './config/dns_model.ts'
import type { TrackingConfig } from './config/model.ts'
import { formatPort } from './ports.ts'
import {
  type EndpointState,
  type NetworkState,
  type NodeState,
  type PortState,
  type RouteState,
  type SandboxState,
  type ServiceState,
  type State,
  UPLINK_KEY,
  type UplinkState,
} from './state.ts'

export type Step =
  | { readonly action: 'update-tracking'; readonly tracking: TrackingConfig }
  | { readonly action: 'update-dns'; readonly dns: DnsConfig }
  | {
      readonly action: 'create-network' | 'update-network' | 'delete-network'
      readonly network: NetworkState
    }
  | { readonly action: 'open-underlay' | 'close-underlay'; readonly node: NodeState }
  | { readonly action: 'create-sandbox' | 'delete-sandbox'; readonly sandbox: SandboxState }
  | { readonly action: 'join' | 'leave' | 'update'; readonly endpoint: EndpointState }
  | { readonly action: 'add-route' | 'delete-route'; readonly route: RouteState }
  | { readonly action: 'open-uplink' | 'close-uplink'; readonly uplink: UplinkState }
  | { readonly action: 'publish' | 'unpublish'; readonly port: PortState }
  | {
      readonly action: 'create-service' | 'update-service' | 'delete-service'
      readonly service: ServiceState
    }

/** @param current - what is; `lost` endpoints are joined again. */
export function diff(current: State, desired: State): Step[] {
  const networks = new Set<string>()
  const node = !isDeepStrictEqual(current.node, desired.node)
  for (const [name, { overlay }] of [...current.networks, ...desired.networks]) {
    const [before, after] = [current.networks.get(name), desired.networks.get(name)]
    const rests = node && overlay !== undefined
    if (rests || !isDeepStrictEqual(bridgeOf(before), bridgeOf(after))) networks.add(name)
  }
  const sandboxes = changed(current.sandboxes, desired.sandboxes)
  const routes = changed(current.routes, desired.routes)
  const lost = current.lost.has(UPLINK_KEY)
  const uplink = lost || !isDeepStrictEqual(current.uplink, desired.uplink)
  for (const states of [current, desired]) {
    for (const [key, { network }] of states.routes) {
      if (network === undefined) continue
      if (network === UPLINK_KEY ? uplink : networks.has(network)) routes.add(key)
    }
  }
  const endpoints = new Set<string>(current.lost)
  const states = [...current.endpoints, ...desired.endpoints]
  for (const [key, { network, sandbox }] of states) {
    const [before, after] = [current.endpoints.get(key), desired.endpoints.get(key)]
    const rests = networks.has(network) || sandboxes.has(sandbox)
    if (rests || !isDeepStrictEqual(interfaceOf(before), interfaceOf(after))) endpoints.add(key)
  }
  const ports = changed(current.ports, desired.ports)
  const onHost = [current, desired].some((state) => state.uplink?.hostTable !== undefined)
  if (uplink && onHost) for (const key of desired.ports.keys()) ports.add(key)
  const services = new Set<string>()
  for (const [name, service] of [...current.services, ...desired.services]) {
    const [before, after] = [current.services.get(name), desired.services.get(name)]
    const onUplink = uplink && onHost && service.ports.some((port) => port.published !== undefined)
    const rests = networks.has(service.network) || onUplink
    if (rests || !isDeepStrictEqual(front(before), front(after))) services.add(name)
  }
  const changes = { node, networks, sandboxes, endpoints, routes, uplink, ports, services }
  return [...takeAway(current, changes), ...bring({ current, desired }, changes)]
}

/** Keys of what changes. */
interface Changes {
  /** The underlay. */
  readonly node: boolean
  readonly networks: ReadonlySet<string>
  readonly sandboxes: ReadonlySet<string>
  readonly endpoints: ReadonlySet<string>
  readonly routes: ReadonlySet<string>
  readonly uplink: boolean
  readonly ports: ReadonlySet<string>
  readonly services: ReadonlySet<string>
}

function takeAway(current: State, changes: Changes): Step[] {
  const leaving = pick(current.endpoints, changes.endpoints).reverse()
  const sandboxes = ownersFirst(pick(current.sandboxes, changes.sandboxes)).reverse()
  const { uplink, node } = current
  return [
    ...pick(current.ports, changes.ports).map((port): Step => ({ action: 'unpublish', port })),
    ...pick(current.services, changes.services).map(
      (service): Step => ({ action: 'delete-service', service }),
    ),
    ...leaving.map((endpoint): Step => ({ action: 'leave', endpoint })),
    ...pick(current.routes, changes.routes).map(
      (route): Step => ({ action: 'delete-route', route }),
    ),
    ...(changes.uplink && uplink !== undefined
      ? [{ action: 'close-uplink', uplink } as const]
      : []),
    ...sandboxes.map((sandbox): Step => ({ action: 'delete-sandbox', sandbox })),
    ...pick(current.networks, changes.networks).map(
      (network): Step => ({ action: 'delete-network', network }),
    ),
    ...(changes.node && node !== undefined ? [{ action: 'close-underlay', node } as const] : []),
  ]
}

function bring(
  { current, desired }: { readonly current: State; readonly desired: State },
  changes: Changes,
): Step[] {
  const { uplink, tracking, node, dns } = desired
  const steps: Step[] = [
    ...(changes.node && node !== undefined ? [{ action: 'open-underlay', node } as const] : []),
    ...(isDeepStrictEqual(current.tracking, tracking)
      ? []
      : [{ action: 'update-tracking', tracking } as const]),
    ...(isDeepStrictEqual(current.dns, dns) ? [] : [{ action: 'update-dns', dns } as const]),
    ...bringNetworks({ current, desired }, changes),
    ...(changes.uplink && uplink !== undefined ? [{ action: 'open-uplink', uplink } as const] : []),
    ...pick(desired.routes, changes.routes).map((route): Step => ({ action: 'add-route', route })),
  ]
  const bySandbox = new Map<string, [string, EndpointState][]>()
  for (const [key, endpoint] of desired.endpoints) {
    const list = bySandbox.get(endpoint.sandbox) ?? []
    bySandbox.set(endpoint.sandbox, [...list, [key, endpoint]])
  }
  for (const sandbox of ownersFirst([...desired.sandboxes.values()])) {
    if (changes.sandboxes.has(sandbox.name)) steps.push({ action: 'create-sandbox', sandbox })
    for (const [key, endpoint] of bySandbox.get(sandbox.name) ?? []) {
      const before = current.endpoints.get(key)
      if (changes.endpoints.has(key)) steps.push({ action: 'join', endpoint })
      else if (!isDeepStrictEqual(before, endpoint)) steps.push({ action: 'update', endpoint })
    }
  }
  for (const [name, service] of desired.services) {
    const before = current.services.get(name)
    if (changes.services.has(name)) steps.push({ action: 'create-service', service })
    else if (!isDeepStrictEqual(before, service)) steps.push({ action: 'update-service', service })
  }
  for (const port of pick(desired.ports, changes.ports)) steps.push({ action: 'publish', port })
  return steps
}

function bringNetworks(
  { current, desired }: { readonly current: State; readonly desired: State },
  changes: Changes,
): Step[] {
  const steps: Step[] = []
  for (const [name, network] of desired.networks) {
    if (changes.networks.has(name)) steps.push({ action: 'create-network', network })
    else if (!isDeepStrictEqual(current.networks.get(name), network)) {
      steps.push({ action: 'update-network', network })
    }
  }
  return steps
}

/** Keys whose values differ, or that one side lacks. */
function changed<T>(before: ReadonlyMap<string, T>, after: ReadonlyMap<string, T>): Set<string> {
  const keys = new Set([...before.keys(), ...after.keys()])
  for (const key of keys) {
    if (isDeepStrictEqual(before.get(key), after.get(key))) keys.delete(key)
  }
  return keys
}

function pick<T>(all: ReadonlyMap<string, T>, keys: ReadonlySet<string>): T[] {
  return [...all].filter(([key]) => keys.has(key)).map(([, value]) => value)
}

/** Without what is exchanged while the network stays: what it is told of other nodes. */
function bridgeOf(network: NetworkState | undefined): Partial<NetworkState> | undefined {
  if (network?.overlay === undefined) return network
  const { peers: _, remote: __, ...overlay } = network.overlay
  return { ...network, overlay: { ...overlay, peers: [], remote: [] } }
}

/** What clients see of a service: while it stays, its connections do. */
function front(service: ServiceState | undefined): Partial<ServiceState> | undefined {
  if (service === undefined) return undefined
  const { network, vips, mode, ports } = service
  return { network, vips, mode, ports }
}

/** Without what is exchanged while the interface stays: names, policy and rates. */
function interfaceOf(endpoint: EndpointState | undefined): Partial<EndpointState> | undefined {
  if (endpoint === undefined) return undefined
  const { aliases: _, policy: __, rate: ___, ...rest } = endpoint
  return rest
}

/** A shared stack must be there before who shares it, and longer. */
function ownersFirst(sandboxes: readonly SandboxState[]): SandboxState[] {
  const rank = ({ stack }: SandboxState): number => (stack === 'shared' ? 1 : 0)
  return [...sandboxes].sort((a, b) => rank(a) - rank(b))
}

/** Beside the steps of a node: done by gossip_control.ts, after them. */
export type GossipAction = 'start-gossip' | 'update-gossip' | 'restart-gossip' | 'stop-gossip'

/** One step for people and for JSON. */
export interface StepReport {
  readonly action: Step['action'] | GossipAction
  /** Name of the network, sandbox or endpoint (`web1/front`), the route's destination, the port. */
  readonly subject: string
  readonly detail: string
}

export function reportStep(step: Step): StepReport {
  const { action } = step
  if ('tracking' in step) return { action, subject: 'connections', detail: '' }
  if ('node' in step) {
    const { name, address, udpPort } = step.node
    return { action, subject: name, detail: `${formatAddress(address)} port ${udpPort}` }
  }
  if ('dns' in step) return { action, subject: 'names', detail: step.dns.enabled ? '' : 'off' }
  if ('network' in step) {
    const { name, driver, subnets } = step.network
    const list = subnets.map(({ subnet }) => formatPrefix(subnet))
    return { action, subject: name, detail: [driver, ...list].join(' ') }
  }
  if ('sandbox' in step) {
    const { name, netns, stack } = step.sandbox
    return { action, subject: name, detail: stack === 'host' ? 'the stack of the host' : netns }
  }
  if ('route' in step) {
    const { to, via, network } = step.route
    const detail = via === undefined ? 'blackhole' : `via ${formatAddress(via)} on ${network}`
    return { action, subject: formatPrefix(to), detail }
  }
  if ('uplink' in step) {
    const { hostTable, netns, interface: name, addresses } = step.uplink
    const where = hostTable !== undefined ? 'the host' : (name ?? `a TAP in ${netns}`)
    return { action, subject: 'uplink', detail: [where, ...addresses.map(formatPrefix)].join(' ') }
  }
  if ('port' in step) {
    const { port, sandbox, network } = step.port
    return { action, subject: formatPort(port), detail: `${sandbox} on ${network}` }
  }
  if ('service' in step) {
    const { name, vips, mode, scheduler, backends } = step.service
    const list = backends.map(({ sandbox, weight }) => `${sandbox}:${weight}`).join(' ')
    const how = mode === 'vip' ? `${vips.map(formatAddress).join(' ')} ${scheduler}` : mode
    return { action, subject: name, detail: `${how} ${list}`.trim() }
  }
  const { sandbox, network, interfaceName, addresses } = step.endpoint
  const detail = [interfaceName, ...addresses.map(formatPrefix)].join(' ')
  return { action, subject: `${sandbox}/${network}`, detail }
}

/** Parts of `desired` that no step makes. */
export function unchanged(desired: State, steps: readonly Step[]): number {
  const { networks, sandboxes, endpoints, routes, ports, services, uplink } = desired
  const parts = [networks, sandboxes, endpoints, routes, ports, services]
  const named = parts.reduce((total, { size }) => total + size, 0)
  const total = uplink === undefined ? named : named + 1
  const makes = [
    ...['create-network', 'create-sandbox', 'join', 'update', 'add-route'],
    ...['open-uplink', 'publish', 'create-service', 'update-service', 'update-network'],
  ]
  return total - steps.filter(({ action }) => makes.includes(action)).length
}
