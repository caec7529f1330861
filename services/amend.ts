/**
 * Changes of a configuration in force, asked for while it runs: what `tapline ports add`, `ports
 * rm` and `drain` do. Each makes another configuration, which is then applied like a file; so that
 * nothing else is touched, and the next file that is applied has the last word.
 */
import { type Address, formatAddress } from '../stack/address.ts'
import { StackError } from '../stack/errors.ts'
import type { Config, NetworkConfig, SandboxConfig, UplinkConfig } from './config/model.ts'
import { boundPort, hostFault, publishingNetwork } from './config/publishing.ts'
import { notFound } from './not_found.ts'
import { type DecidedPort, decidePorts, heldPorts, ownerText } from './plan_ports.ts'
import {
  formatPort,
  formatPublished,
  isAny,
  type PortConfig,
  parsePort,
  portsClash,
} from './ports.ts'
import type { State } from './state.ts'

/** Another configuration for a node in this state. @throws StackError; nothing is changed then. */
export type Amendment = (config: Config, state: State) => Config

/**
 * Publish one more port, written as in a file.
 *
 * @param hasAddress - as in {@link refuseUnfit}.
 * @throws StackError `exists` if it is taken, `bad-argument`.
 */
export function addPort(
  written: string,
  sandbox: string,
  hasAddress: (address: Address) => boolean = () => true,
): Amendment {
  return (config, state) => {
    const port = parsePort(written)
    const owner = find(config, sandbox)
    const network = publishingNetwork(owner, config.networks)
    if (network === undefined) {
      const message = `sandbox "${sandbox}" is on no network of driver "bridge"`
      throw new StackError('bad-argument', message)
    }
    refuseUnfit(config, state, { port, network, hasAddress })
    return withPorts(config, sandbox, [...owner.ports, port])
  }
}

/**
 * Take a published port away: `8080`, `8080/tcp`, `203.0.113.2:53/udp` as listed, or as it was
 * added. Entries of its sandbox that were left open are pinned to the ports that they have, so
 * that none of them takes its place. @throws StackError `not-found`, `bad-argument` if several fit.
 */
export function removePort(written: string): Amendment {
  return (config, state) => {
    const all = decidePorts(config, state)
    const gone = named(written, all)
    const { kind, name } = gone.owner
    if (kind === 'service') {
      const whose = `${formatPublished(gone.port)} is of service "${name}"`
      throw new StackError('bad-argument', `${whose}; take it out of the file, and apply that`)
    }
    const left = all.filter(
      (one) => one !== gone && one.owner.kind === kind && one.owner.name === name,
    )
    const pinned = left.map(({ entry, port }) => ({ ...port, address: entry.address }))
    return withPorts(config, name, pinned)
  }
}

/** The entry that is meant: by what it has before what was asked for. */
function named(written: string, all: readonly DecidedPort[]): DecidedPort {
  const isName = (text: string): boolean => text === written || text === `${written}/tcp`
  const listed = all.find(({ port }) => isName(formatPublished(port)) || isName(formatPort(port)))
  if (listed !== undefined) return listed
  const [only, ...more] = all.filter(({ entry }) => isName(formatPort(entry)))
  if (only === undefined) {
    throw new StackError('not-found', `no published port "${written}"; "tapline ports" lists them`)
  }
  if (more.length === 0) return only
  const list = [only, ...more].map(({ port }) => formatPublished(port)).join(', ')
  throw new StackError('bad-argument', `"${written}" may be any of ${list}; name that one`)
}

/** Give a backend no new connections; it keeps those that it has. @throws `not-found`. */
export function drain(service: string, sandbox: string): Amendment {
  return (config) => {
    const known = config.services.find(({ name }) => name === service)
    if (known === undefined)
      throw notFound(
        'no service',
        service,
        config.services.map(({ name }) => name),
      )
    if (!known.backends.some((backend) => backend.sandbox === sandbox)) {
      throw new StackError('not-found', `service "${service}" has no backend "${sandbox}"`)
    }
    const backends = known.backends.map((backend) =>
      backend.sandbox === sandbox ? { ...backend, weight: 0 } : backend,
    )
    const services = config.services.map((other) =>
      other === known ? { ...known, backends } : other,
    )
    return { ...config, services }
  }
}

function find(config: Config, name: string): SandboxConfig {
  const sandbox = config.sandboxes.find((candidate) => candidate.name === name)
  if (sandbox !== undefined) return sandbox
  throw notFound(
    'no sandbox',
    name,
    config.sandboxes.map((one) => one.name),
  )
}

function withPorts(config: Config, name: string, ports: readonly PortConfig[]): Config {
  const sandboxes = config.sandboxes.map((sandbox) =>
    sandbox.name === name ? { ...sandbox, ports } : sandbox,
  )
  return { ...config, sandboxes }
}

/**
 * A port at an address where nobody would be served.
 *
 * @param hasAddress - whether an address that is not every one is there to be asked by.
 * @throws StackError `bad-argument`.
 */
export function refuseElsewhere(
  written: PortConfig,
  network: NetworkConfig,
  o: {
    readonly uplink: UplinkConfig | undefined
    readonly hasAddress: (address: Address) => boolean
  },
): void {
  const port = boundPort(written, network)
  const { address } = port
  const fault = hostFault(port, network, o.uplink)
  if (fault !== undefined) throw new StackError('bad-argument', fault)
  if (address === undefined || isAny(address) || o.hasAddress(address)) return
  throw new StackError('bad-argument', `${formatAddress(address)} is no address of this host`)
}

/**
 * A port that cannot be published beside the others, or where it says. Ports that were chosen count
 * too: who has one keeps it.
 *
 * @param hasAddress - as in {@link refuseElsewhere}.
 * @throws StackError `exists`, `bad-argument`.
 */
export function refuseUnfit(
  config: Config,
  state: State,
  o: {
    readonly port: PortConfig
    readonly network: NetworkConfig
    readonly hasAddress: (address: Address) => boolean
  },
): void {
  const { uplink } = config
  refuseElsewhere(o.port, o.network, { uplink, hasAddress: o.hasAddress })
  const port = boundPort(o.port, o.network)
  for (const { owner, port: other } of heldPorts(state)) {
    if (!portsClash(port, other)) continue
    const message = `${formatPort(port)} overlaps ${formatPort(other)} of ${ownerText(owner)}`
    throw new StackError('exists', message)
  }
}
