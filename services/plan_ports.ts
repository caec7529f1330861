/**
 * Which port of the node leads where. A port goes to its sandbox's address on the first network
 * that is not internal, else on the first; one mapping a family. Ports that the file leaves open
 * are those that the sandbox has now, else the lowest free ones.
 */
import { type Address, formatAddress } from '../stack/address.ts'
import { StackError } from '../stack/errors.ts'
import type { PortMapping } from '../stack/ip/nat_rules.ts'
import type { Config } from './config/model.ts'
import { boundPort, publication, publishingNetwork } from './config/publishing.ts'
import {
  AUTOMATIC_FIRST,
  formatPort,
  isAny,
  PORT_MAX,
  PORT_PROTOCOLS,
  type PortConfig,
  portFamilies,
  portsClash,
} from './ports.ts'
import { type EndpointState, endpointKey, type PortState, type State } from './state.ts'

/** @throws StackError `bad-config` if the target has no address of the family, `exhausted`. */
export function planPorts(
  config: Config,
  { endpoints }: Pick<State, 'endpoints'>,
  held: State,
): Map<string, PortState> {
  const wanted = config.sandboxes.flatMap((sandbox) =>
    sandbox.ports.map((port) => {
      const network = publishingNetwork(sandbox, config.networks)!
      return { sandbox: sandbox.name, network: network.name, port: boundPort(port, network) }
    }),
  )
  const services = config.services.flatMap((service) => service.ports.map(publication))
  const taken = [...wanted.map(({ port }) => port), ...services].filter(
    (port) => port?.port !== undefined,
  ) as PortConfig[]
  const kept = new Set<PortState>()
  const decided = wanted.map((wish) => ({ ...wish, chosen: keep(wish, { taken, kept, held }) }))
  const states = new Map<string, PortState>()
  const starts = new Map<string, number>()
  for (const { sandbox, network, port, chosen: given } of decided) {
    const chosen = given ?? choose(sandbox, port, taken, starts)
    const key = `${sandbox} ${formatPort(chosen)}`
    const mappings = mappingsOf(chosen, endpoints.get(endpointKey({ sandbox, network }))!)
    if (mappings.length === 0) {
      const what = `${formatPort(port)} of sandbox "${sandbox}"`
      throw new StackError('bad-config', `${what}: it has no address of that family`)
    }
    states.set(key, { key, sandbox, network, port: chosen, mappings })
  }
  return states
}

/** As written; else what the sandbox has now for this target, if nobody wants it; or nothing. */
function keep(
  { sandbox, port }: { readonly sandbox: string; readonly port: PortConfig },
  o: { readonly taken: PortConfig[]; readonly kept: Set<PortState>; readonly held: State },
): PortConfig | undefined {
  if (port.port !== undefined) return port
  for (const state of o.held.ports.values()) {
    const { port: had } = state
    const same = had.targetPort === port.targetPort && had.count === port.count
    if (state.sandbox !== sandbox || !same || had.protocol !== port.protocol) continue
    const candidate = { ...port, port: had.port }
    if (o.kept.has(state) || o.taken.some((other) => portsClash(other, candidate))) continue
    o.kept.add(state)
    o.taken.push(candidate)
    return candidate
  }
  return undefined
}

/**
 * The lowest free ones. @param starts - where to begin, by what is looked for: nothing below is
 * free, as ports are only taken while a state is made.
 */
function choose(
  sandbox: string,
  port: PortConfig,
  taken: PortConfig[],
  starts: Map<string, number>,
): PortConfig {
  const { count, protocol, address } = port
  const key = `${protocol} ${count} ${address === undefined ? '' : formatAddress(address)}`
  let first = starts.get(key) ?? AUTOMATIC_FIRST
  while (first + count - 1 <= PORT_MAX) {
    const candidate = { ...port, port: first }
    const other = taken.find((one) => portsClash(one, candidate))
    if (other === undefined) {
      starts.set(key, first + count)
      taken.push(candidate)
      return candidate
    }
    first = other.port! + other.count
  }
  const span = `${AUTOMATIC_FIRST}-${PORT_MAX}`
  const what = count === 1 ? 'port' : `${count} ports in a row`
  throw new StackError('exhausted', `no free ${what} in ${span} for sandbox "${sandbox}"`)
}

function mappingsOf(port: PortConfig, endpoint: EndpointState): PortMapping[] {
  const mappings: PortMapping[] = []
  const { address } = port
  const own: Address | undefined = address === undefined || isAny(address) ? undefined : address
  for (const family of portFamilies(port)) {
    const target = endpoint.addresses.find((prefix) => prefix.address.family === family)?.address
    if (target === undefined) continue
    mappings.push({
      protocol: PORT_PROTOCOLS[port.protocol],
      address: own,
      port: port.port!,
      count: port.count,
      target,
      targetPort: port.targetPort,
    })
  }
  return mappings
}
