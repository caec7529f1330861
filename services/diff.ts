/**
 * What must be done to come from one state to another: a pure function, so that `apply --dry-run`
 * shows exactly what `apply` does, and what did not change has no step at all.
 *
 * ```text
 *   leave -> delete routes -> delete sandboxes -> delete networks
 *         -> create networks -> add routes -> create sandboxes and join, one after the other
 * ```
 *
 * Taking away comes before adding, so that an address or a name that one gives up another can
 * have. Within one sandbox, joins keep the order of its interfaces. Something that changed in any
 * way but its aliases is taken away and made anew, with all that rests on it.
 */
import { isDeepStrictEqual } from 'node:util'
import { formatAddress, formatPrefix } from '../stack/address.ts'
import type { EndpointState, NetworkState, RouteState, SandboxState, State } from './state.ts'

export type Step =
  | { readonly action: 'create-network' | 'delete-network'; readonly network: NetworkState }
  | { readonly action: 'create-sandbox' | 'delete-sandbox'; readonly sandbox: SandboxState }
  | { readonly action: 'join' | 'leave' | 'update'; readonly endpoint: EndpointState }
  | { readonly action: 'add-route' | 'delete-route'; readonly route: RouteState }

/** @param current - what is; `lost` endpoints are joined again. */
export function diff(current: State, desired: State): Step[] {
  const networks = changed(current.networks, desired.networks)
  const sandboxes = changed(current.sandboxes, desired.sandboxes)
  const routes = changed(current.routes, desired.routes)
  for (const states of [current, desired]) {
    for (const [key, { network }] of states.routes) {
      if (network !== undefined && networks.has(network)) routes.add(key)
    }
  }
  const endpoints = new Set<string>(current.lost)
  const states = [...current.endpoints, ...desired.endpoints]
  for (const [key, { network, sandbox }] of states) {
    const [before, after] = [current.endpoints.get(key), desired.endpoints.get(key)]
    const rests = networks.has(network) || sandboxes.has(sandbox)
    if (rests || !isDeepStrictEqual(unnamed(before), unnamed(after))) endpoints.add(key)
  }
  return [
    ...takeAway(current, { networks, sandboxes, endpoints, routes }),
    ...bring({ current, desired }, { networks, sandboxes, endpoints, routes }),
  ]
}

/** Keys of what changes. */
interface Changes {
  readonly networks: ReadonlySet<string>
  readonly sandboxes: ReadonlySet<string>
  readonly endpoints: ReadonlySet<string>
  readonly routes: ReadonlySet<string>
}

function takeAway(current: State, changes: Changes): Step[] {
  const leaving = pick(current.endpoints, changes.endpoints).reverse()
  const sandboxes = ownersFirst(pick(current.sandboxes, changes.sandboxes)).reverse()
  return [
    ...leaving.map((endpoint): Step => ({ action: 'leave', endpoint })),
    ...pick(current.routes, changes.routes).map(
      (route): Step => ({ action: 'delete-route', route }),
    ),
    ...sandboxes.map((sandbox): Step => ({ action: 'delete-sandbox', sandbox })),
    ...pick(current.networks, changes.networks).map(
      (network): Step => ({ action: 'delete-network', network }),
    ),
  ]
}

function bring(
  { current, desired }: { readonly current: State; readonly desired: State },
  changes: Changes,
): Step[] {
  const steps: Step[] = [
    ...pick(desired.networks, changes.networks).map(
      (network): Step => ({ action: 'create-network', network }),
    ),
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

/** Names do not touch the data path. */
function unnamed(endpoint: EndpointState | undefined): EndpointState | undefined {
  return endpoint && { ...endpoint, aliases: [] }
}

/** A shared stack must be there before who shares it, and longer. */
function ownersFirst(sandboxes: readonly SandboxState[]): SandboxState[] {
  const rank = ({ stack }: SandboxState): number => (stack === 'shared' ? 1 : 0)
  return [...sandboxes].sort((a, b) => rank(a) - rank(b))
}

/** One step for people and for JSON. */
export interface StepReport {
  readonly action: Step['action']
  /** Name of the network, sandbox or endpoint (`web1/front`), or the route's destination. */
  readonly subject: string
  readonly detail: string
}

export function reportStep(step: Step): StepReport {
  const { action } = step
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
  const { sandbox, network, interfaceName, addresses } = step.endpoint
  const detail = [interfaceName, ...addresses.map(formatPrefix)].join(' ')
  return { action, subject: `${sandbox}/${network}`, detail }
}
