/**
 * Which port of the node leads where. A port goes to its sandbox's address on the first network
 * that is not internal, else on the first; one mapping a family. Ports that the file leaves open
 * are those that the sandbox has now, else the lowest free ones; of the range that the entry names,
 * or of the automatic one. Ports of services are decided in the same way, beside those of
 * sandboxes; their balancers lead them on.
 */
import { isDeepStrictEqual } from 'node:util'
import { type Address, formatAddress } from '../stack/address.ts'
import { StackError } from '../stack/errors.ts'
import type { PortMapping } from '../stack/ip/nat_rules.ts'
import type { Config, NetworkConfig } from './config/model.ts'
import { boundPort, isPublished, publishingNetwork } from './config/publishing.ts'
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

/** Who has a port: a sandbox or a service. */
export interface PortOwner {
  readonly kind: 'sandbox' | 'service'
  readonly name: string
}

/** An entry of a file, and what it has: the same, with the port of the node decided. */
export interface DecidedPort {
  readonly owner: PortOwner
  readonly network: string
  /** As in the configuration. */
  readonly entry: PortConfig
  readonly port: PortConfig
}

type Held = Pick<State, 'ports' | 'services'>

/** Ports of sandboxes. @throws StackError `bad-config` if a target has no address of the family. */
export function planPorts(
  decided: readonly DecidedPort[],
  { endpoints }: Pick<State, 'endpoints'>,
): Map<string, PortState> {
  const states = new Map<string, PortState>()
  for (const { owner, network, entry, port } of decided) {
    if (owner.kind !== 'sandbox') continue
    const sandbox = owner.name
    const key = `${sandbox} ${formatPort(port)}`
    const mappings = mappingsOf(port, endpoints.get(endpointKey({ sandbox, network }))!)
    if (mappings.length === 0) {
      const what = `${formatPort(entry)} of ${ownerText(owner)}`
      throw new StackError('bad-config', `${what}: it has no address of that family`)
    }
    states.set(key, { key, sandbox, network, port, mappings })
  }
  return states
}

/**
 * Which port of the node each entry has, those of sandboxes first, in the order of the file. Of the
 * configuration in force and what is held, it tells which entry a held port came of.
 *
 * @throws StackError `exhausted`.
 */
export function decidePorts(config: Config, held: Held): DecidedPort[] {
  const sandboxes = config.sandboxes.flatMap((sandbox) =>
    sandbox.ports.map((entry) => {
      const network = publishingNetwork(sandbox, config.networks)!
      return wished({ kind: 'sandbox', name: sandbox.name }, entry, network)
    }),
  )
  const services = config.services.flatMap(({ name, network, ports }) =>
    ports.filter(isPublished).map((entry) => {
      const own = config.networks.find((candidate) => candidate.name === network)!
      return wished({ kind: 'service', name }, entry, own)
    }),
  )
  const wanted = [...sandboxes, ...services]
  const taken = wanted.map(({ wish }) => wish).filter(({ port }) => port !== undefined)
  const kept = new Set<PortConfig>()
  const had = heldPorts(held)
  const first = wanted.map((one) => ({ ...one, port: keep(one, { taken, kept, had }) }))
  const starts = new Map<string, number>()
  return first.map(({ owner, network, entry, wish, port }) => {
    return { owner, network, entry, port: port ?? choose(owner, wish, taken, starts) }
  })
}

/** An entry with the address that its network binds it to. */
interface Wish {
  readonly owner: PortOwner
  readonly network: string
  readonly entry: PortConfig
  readonly wish: PortConfig
}

function wished(owner: PortOwner, entry: PortConfig, network: NetworkConfig): Wish {
  return { owner, network: network.name, entry, wish: boundPort(entry, network) }
}

/** Ports of the node that are in use, and whose they are. */
export function heldPorts({ ports, services }: Held): Pick<DecidedPort, 'owner' | 'port'>[] {
  const sandboxes = [...ports.values()].map(({ sandbox, port }) => ({
    owner: { kind: 'sandbox', name: sandbox } as const,
    port,
  }))
  const published = [...services.values()].flatMap(({ name, ports: own }) =>
    own.flatMap(({ published: port }) =>
      port === undefined ? [] : [{ owner: { kind: 'service', name } as const, port }],
    ),
  )
  return [...sandboxes, ...published]
}

/** As messages have it: `sandbox "web"`. */
export function ownerText({ kind, name }: PortOwner): string {
  return `${kind} "${name}"`
}

/**
 * As written; else what its owner has now for this target, if nobody wants it, of the same
 * address before others; or nothing.
 */
function keep(
  { owner, wish }: Wish,
  o: {
    readonly taken: PortConfig[]
    readonly kept: Set<PortConfig>
    readonly had: ReturnType<typeof heldPorts>
  },
): PortConfig | undefined {
  if (wish.port !== undefined) return wish
  const { first, last } = choiceOf(wish)
  const fit = o.had
    .filter(
      ({ owner: { kind, name }, port }) =>
        kind === owner.kind &&
        name === owner.name &&
        port.targetPort === wish.targetPort &&
        port.count === wish.count &&
        port.protocol === wish.protocol &&
        port.port! >= first &&
        port.port! <= last,
    )
    .map(({ port }) => port)
  const same = fit.filter(({ address }) => isDeepStrictEqual(address, wish.address))
  for (const port of new Set([...same, ...fit])) {
    const candidate = at(wish, port.port!)
    if (o.kept.has(port) || o.taken.some((other) => portsClash(other, candidate))) continue
    o.kept.add(port)
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
  owner: PortOwner,
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
  throw new StackError('exhausted', `no free ${what} in ${first}-${last} for ${ownerText(owner)}`)
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
