/**
 * Which port of the node leads where. A port goes to its sandbox's address on the first network
 * that is not internal, else on the first; one mapping a family. Ports that the file leaves open
 * are those that the sandbox has now, else the lowest free ones; of the range that the entry names,
 * or of the automatic one.
 */
import { isDeepStrictEqual } from 'node:util'
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
  type PortSpan,
  portFamilies,
  portsClash,
} from './ports.ts'
import { type EndpointState, endpointKey, type PortState, type State } from './state.ts'

/** An entry of a sandbox, and what it has: the same, with the port of the node decided. */
export interface DecidedPort {
  readonly sandbox: string
  readonly network: string
  /** As in the configuration. */
  readonly entry: PortConfig
  readonly port: PortConfig
}

/** @throws StackError `bad-config` if the target has no address of the family, `exhausted`. */
export function planPorts(
  config: Config,
  { endpoints }: Pick<State, 'endpoints'>,
  held: Pick<State, 'ports'>,
): Map<string, PortState> {
  const states = new Map<string, PortState>()
  for (const { sandbox, network, entry, port } of decidePorts(config, held)) {
    const key = `${sandbox} ${formatPort(port)}`
    const mappings = mappingsOf(port, endpoints.get(endpointKey({ sandbox, network }))!)
    if (mappings.length === 0) {
      const what = `${formatPort(entry)} of sandbox "${sandbox}"`
      throw new StackError('bad-config', `${what}: it has no address of that family`)
    }
    states.set(key, { key, sandbox, network, port, mappings })
  }
  return states
}

/**
 * Which port each entry has, in the order of the file. Of the configuration in force and what is
 * held, it tells which entry a held port came of.
 *
 * @throws StackError `exhausted`.
 */
export function decidePorts(config: Config, held: Pick<State, 'ports'>): DecidedPort[] {
  const wanted = config.sandboxes.flatMap((sandbox) =>
    sandbox.ports.map((entry) => {
      const network = publishingNetwork(sandbox, config.networks)!
      const wish = boundPort(entry, network)
      return { sandbox: sandbox.name, network: network.name, entry, wish }
    }),
  )
  const services = config.services.flatMap((service) => service.ports.map(publication))
  const taken = [...wanted.map(({ wish }) => wish), ...services].filter(
    (port) => port?.port !== undefined,
  ) as PortConfig[]
  const kept = new Set<PortState>()
  const first = wanted.map((one) => ({ ...one, port: keep(one, { taken, kept, held }) }))
  const starts = new Map<string, number>()
  return first.map(({ sandbox, network, entry, wish, port }) => {
    return { sandbox, network, entry, port: port ?? choose(sandbox, wish, taken, starts) }
  })
}

/**
 * As written; else what the sandbox has now for this target, if nobody wants it, of the same
 * address before others; or nothing.
 */
function keep(
  { sandbox, wish }: { readonly sandbox: string; readonly wish: PortConfig },
  o: {
    readonly taken: PortConfig[]
    readonly kept: Set<PortState>
    readonly held: Pick<State, 'ports'>
  },
): PortConfig | undefined {
  if (wish.port !== undefined) return wish
  const { first, last } = choiceOf(wish)
  const had = [...o.held.ports.values()].filter(
    ({ sandbox: owner, port }) =>
      owner === sandbox &&
      port.targetPort === wish.targetPort &&
      port.count === wish.count &&
      port.protocol === wish.protocol &&
      port.port! >= first &&
      port.port! <= last,
  )
  const same = had.filter(({ port }) => isDeepStrictEqual(port.address, wish.address))
  for (const state of new Set([...same, ...had])) {
    const candidate = at(wish, state.port.port!)
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
  wish: PortConfig,
  taken: PortConfig[],
  starts: Map<string, number>,
): PortConfig {
  const { count, protocol, address } = wish
  const { first, last } = choiceOf(wish)
  const host = address === undefined ? '' : formatAddress(address)
  const key = `${protocol} ${count} ${first}-${last} ${host}`
  let next = starts.get(key) ?? first
  while (next + count - 1 <= last) {
    const candidate = at(wish, next)
    const other = taken.find((one) => portsClash(one, candidate))
    if (other === undefined) {
      starts.set(key, next + count)
      taken.push(candidate)
      return candidate
    }
    next = other.port! + other.count
  }
  const what = count === 1 ? 'port' : `${count} ports in a row`
  throw new StackError('exhausted', `no free ${what} in ${first}-${last} for sandbox "${sandbox}"`)
}

function choiceOf({ among }: PortConfig): PortSpan {
  return among ?? { first: AUTOMATIC_FIRST, last: PORT_MAX }
}

/** An entry with its port decided. */
function at({ among: _, ...port }: PortConfig, first: number): PortConfig {
  return { ...port, port: first }
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
