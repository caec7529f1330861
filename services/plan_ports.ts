/**
 * Which port of the node leads where. A port goes to its sandbox's address on the first network
 * that is not internal, else on the first; one mapping a family. Ports that the file leaves open
 * are those that the sandbox has now, else the lowest free ones.
 */
import type { Address } from '../stack/address.ts'
import { StackError } from '../stack/errors.ts'
import type { PortMapping } from '../stack/ip/nat_rules.ts'
import { publication } from './config/check_services.ts'
import type { Config } from './config/model.ts'
import { boundPort, publishingNetwork } from './config/publishing.ts'
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
  const states = new Map<string, PortState>()
  for (const { sandbox, network, port } of wanted) {
    const chosen = port.port === undefined ? choose(sandbox, port, taken, held) : port
    if (port.port === undefined) taken.push(chosen)
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

/** What the sandbox has now for this target, if nobody else wants it; else the lowest free one. */
function choose(
  sandbox: string,
  port: PortConfig,
  taken: readonly PortConfig[],
  held: State,
): PortConfig {
  const isFree = (candidate: PortConfig): boolean =>
    !taken.some((other) => portsClash(other, candidate))
  for (const { sandbox: holder, port: had } of held.ports.values()) {
    const same = had.targetPort === port.targetPort && had.count === port.count
    if (holder !== sandbox || !same || had.protocol !== port.protocol) continue
    const candidate = { ...port, port: had.port }
    if (isFree(candidate)) return candidate
  }
  for (let first = AUTOMATIC_FIRST; first + port.count - 1 <= PORT_MAX; first++) {
    const candidate = { ...port, port: first }
    if (isFree(candidate)) return candidate
  }
  const span = `${AUTOMATIC_FIRST}-${PORT_MAX}`
  throw new StackError('exhausted', `no ${port.count} free ports in ${span} for "${sandbox}"`)
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
