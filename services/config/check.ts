/**
 * What a schema cannot say: how the parts of a configuration fit together. Subnets do not overlap,
 * addresses lie in them and are given once, names refer to something, drivers get what they can do.
 *
 * Every fault is told at the place where the later of two parties is written.
 */
import {
  type Address,
  contains,
  formatAddress,
  formatPrefix,
  overlaps,
  type Prefix,
  parsePrefix,
  sameAddress,
} from '../../stack/address.ts'
import { PORTS_MAX } from '../../stack/counters.ts'
import { formatMac } from '../../stack/eth/mac.ts'
import { defaultGateway, Subnet } from '../ipam.ts'
import { type Faults, nearest, type Path } from './faults.ts'
import type { Config, EndpointConfig, NetworkConfig, SandboxConfig, SubnetConfig } from './model.ts'

export interface Located {
  readonly config: Config
  /** Names of networks whose own entry has faults. */
  readonly broken: ReadonlySet<string>
  /** Where a part was written. */
  readonly path: (part: object) => Path
  readonly faults: Faults
}

/** Prefixes that no network may have: what hosts and routers treat in a way of its own. */
const SPECIAL: readonly (readonly [Prefix, string])[] = [
  [parsePrefix('0.0.0.0/8'), 'means "this network"'],
  [parsePrefix('127.0.0.0/8'), 'is loopback'],
  [parsePrefix('224.0.0.0/4'), 'is multicast'],
  [parsePrefix('240.0.0.0/4'), 'is reserved'],
  [parsePrefix('::/8'), 'is reserved'],
  [parsePrefix('fe80::/10'), 'is link-local'],
  [parsePrefix('ff00::/8'), 'is multicast'],
]

/** Names that `network_mode` uses. */
const RESERVED: readonly string[] = ['host', 'none']

export function check(o: Located): void {
  checkNetworks(o)
  const networks = new Map(o.config.networks.map((network) => [network.name, network]))
  const held = new Holders()
  for (const network of o.config.networks) reserveOwn(o, network, held)
  for (const sandbox of o.config.sandboxes) {
    checkDrivers(o, sandbox, networks)
    checkInterfaces(o, sandbox)
    for (const endpoint of sandbox.endpoints) {
      const network = networks.get(endpoint.network)
      if (network === undefined) unknownNetwork(o, endpoint)
      else checkEndpoint({ ...o, sandbox, endpoint, network, held })
    }
  }
  checkNamespaces(o, networks)
  checkRoutes(o)
  const endpoints = o.config.sandboxes.flatMap((sandbox) => sandbox.endpoints)
  if (endpoints.length >= PORTS_MAX) {
    const message = `${endpoints.length} interfaces; one node has at most ${PORTS_MAX - 1}`
    o.faults.at(['sandboxes'], message)
  }
}

/** Who holds which address and MAC, by text: `front 10.1.0.11`. */
class Holders {
  readonly #who = new Map<string, string>()

  /** Take it for `who`, or say who has it. */
  take(what: string, who: string): string | undefined {
    const holder = this.#who.get(what)
    if (holder === undefined) this.#who.set(what, who)
    return holder
  }
}

function checkNetworks(o: Located): void {
  const before: { readonly network: NetworkConfig; readonly subnet: SubnetConfig }[] = []
  for (const network of o.config.networks) {
    const path = o.path(network)
    if (path[0] === 'networks' && RESERVED.includes(network.name)) {
      o.faults.atKey(path, `"${network.name}" is reserved for network_mode: ${network.name}`)
    }
    if (network.driver === 'bridge') checkFamilies(o, network)
    else if (network.subnets.length > 0 || network.ipv6) {
      const at = [...path, network.ipv6 ? 'enable_ipv6' : 'ipam']
      o.faults.atKey(at, `driver "${network.driver}" gives no addresses; leave this out`)
    }
    for (const subnet of network.subnets) {
      checkSubnet(o, subnet)
      const other = before.find((earlier) => overlaps(earlier.subnet.subnet, subnet.subnet))
      if (other !== undefined) {
        const whose = `${formatPrefix(other.subnet.subnet)} of network "${other.network.name}"`
        const message = `${formatPrefix(subnet.subnet)} overlaps ${whose}`
        o.faults.at([...o.path(subnet), 'subnet'], message)
      }
      before.push({ network, subnet })
    }
  }
}

function checkFamilies(o: Located, network: NetworkConfig): void {
  const path = o.path(network)
  if (!network.ipv4 && !network.ipv6) {
    o.faults.at([...path, 'enable_ipv4'], 'a network without IPv4 needs enable_ipv6: true')
  }
  for (const subnet of network.subnets) {
    const { family } = subnet.subnet.address
    if (family === 6 ? network.ipv6 : network.ipv4) continue
    const message = `an IPv${family} subnet needs enable_ipv${family}: true on the network`
    o.faults.at([...o.path(subnet), 'subnet'], message)
  }
}

function checkSubnet(o: Located, config: SubnetConfig): void {
  const path = o.path(config)
  const subnet = new Subnet(config)
  const text = formatPrefix(config.subnet)
  for (const [special, why] of SPECIAL) {
    if (!overlaps(special, config.subnet)) continue
    return o.faults.at(
      [...path, 'subnet'],
      `${text} cannot be used: ${formatPrefix(special)} ${why}`,
    )
  }
  if (config.subnet.bits > (config.subnet.address.family === 4 ? 31 : 127)) {
    const message = `${text} is too small: it needs room for a gateway and a sandbox`
    return o.faults.at([...path, 'subnet'], message)
  }
  const { gateway, range, auxiliary } = config
  if (gateway !== undefined && !subnet.isHost(gateway)) {
    o.faults.at([...path, 'gateway'], `${formatAddress(gateway)} is not a host address of ${text}`)
  }
  const inside = range === undefined || contains(config.subnet, range.address)
  if (range !== undefined && (!inside || range.bits < config.subnet.bits)) {
    o.faults.at([...path, 'ip_range'], `${formatPrefix(range)} is not inside ${text}`)
  }
  for (const { address } of auxiliary) {
    if (subnet.isHost(address)) continue
    const at = o.path(auxiliary.find((entry) => entry.address === address)!)
    o.faults.at(at, `${formatAddress(address)} is not a host address of ${text}`)
  }
}

/** Gateways and auxiliary addresses are taken before any sandbox asks. */
function reserveOwn(o: Located, network: NetworkConfig, held: Holders): void {
  for (const subnet of network.subnets) {
    held.take(key(network, subnet.gateway ?? defaultGateway(subnet)), 'the gateway')
    for (const auxiliary of subnet.auxiliary) {
      const who = held.take(key(network, auxiliary.address), `aux_addresses "${auxiliary.name}"`)
      if (who === undefined) continue
      o.faults.at(o.path(auxiliary), `${formatAddress(auxiliary.address)} is taken by ${who}`)
    }
  }
}

function key(network: NetworkConfig, address: Address): string {
  return `${network.name} ${formatAddress(address)}`
}

/** One of the drivers without interfaces is all that a sandbox can have. */
function checkDrivers(
  o: Located,
  sandbox: SandboxConfig,
  networks: ReadonlyMap<string, NetworkConfig>,
): void {
  if (sandbox.endpoints.length < 2) return
  for (const endpoint of sandbox.endpoints) {
    const driver = networks.get(endpoint.network)?.driver ?? 'bridge'
    if (driver === 'bridge') continue
    const message = `a network of driver "${driver}" must be the only network of a sandbox`
    o.faults.atKey(o.path(endpoint), message)
  }
}

function checkInterfaces(o: Located, sandbox: SandboxConfig): void {
  const networks = new Set<string>()
  const names = new Set<string>()
  for (const endpoint of sandbox.endpoints) {
    const path = o.path(endpoint)
    if (networks.has(endpoint.network)) {
      o.faults.at(path, `network "${endpoint.network}" is given twice`)
    } else if (names.has(endpoint.interfaceName)) {
      const at = [...path, 'interface_name']
      o.faults.at(at, `interface "${endpoint.interfaceName}" is given twice in this sandbox`)
    }
    networks.add(endpoint.network)
    names.add(endpoint.interfaceName)
  }
}

function unknownNetwork(o: Located, endpoint: EndpointConfig): void {
  if (o.broken.has(endpoint.network)) return
  const names = [...o.config.networks.map((network) => network.name), ...o.broken]
  const near = nearest(endpoint.network, names)
  const hint = near === undefined ? 'define it under "networks"' : `did you mean "${near}"?`
  o.faults.atKey(o.path(endpoint), `there is no network "${endpoint.network}"; ${hint}`)
}

interface EndpointCheck extends Located {
  readonly sandbox: SandboxConfig
  readonly endpoint: EndpointConfig
  readonly network: NetworkConfig
  readonly held: Holders
}

function checkEndpoint(o: EndpointCheck): void {
  const { sandbox, endpoint, network } = o
  const path = o.path(endpoint)
  if (network.driver === 'container') return checkTarget(o)
  if (network.driver !== 'bridge') {
    if (endpoint.address4 ?? endpoint.address6 ?? endpoint.mac) {
      o.faults.at(path, `driver "${network.driver}" gives a sandbox no interface to address`)
    }
    return
  }
  if (endpoint.address4 !== undefined) checkAddress(o, endpoint.address4, 'ipv4_address')
  if (endpoint.address6 !== undefined) checkAddress(o, endpoint.address6, 'ipv6_address')
  if (endpoint.mac === undefined) return
  const text = formatMac(endpoint.mac)
  const holder = o.held.take(`${network.name} ${text}`, `sandbox "${sandbox.name}"`)
  if (holder === undefined) return
  o.faults.at([...path, 'mac_address'], `${text} is taken by ${holder} on this network`)
}

function checkAddress(o: EndpointCheck, address: Address, where: string): void {
  const { endpoint, network } = o
  const path = [...o.path(endpoint), where]
  const text = formatAddress(address)
  if (!(address.family === 6 ? network.ipv6 : network.ipv4)) {
    const needed = `enable_ipv${address.family}: true`
    return o.faults.at(path, `${text} needs ${needed} on network "${network.name}"`)
  }
  const subnets = network.subnets.filter((s) => s.subnet.address.family === address.family)
  if (subnets.length === 0) {
    const message = `${text} needs a subnet under ipam.config of network "${network.name}"`
    return o.faults.at(path, message)
  }
  const own = subnets.find((s) => contains(s.subnet, address))
  if (own === undefined) {
    const list = subnets.map((s) => formatPrefix(s.subnet)).join(' or ')
    return o.faults.at(path, `${text} is not in ${list} of network "${network.name}"`)
  }
  if (!new Subnet(own).isHost(address)) {
    const what = `the network or broadcast address of ${formatPrefix(own.subnet)}`
    return o.faults.at(path, `${text} is ${what}`)
  }
  const holder = o.held.take(key(network, address), `sandbox "${o.sandbox.name}"`)
  if (holder === undefined) return
  o.faults.at(path, `${text} is taken by ${holder} on network "${network.name}"`)
}

function checkTarget(o: EndpointCheck): void {
  const target = o.network.options.sandbox
  const path = o.path(o.endpoint)
  if (target === undefined) return
  if (target === o.sandbox.name) {
    return o.faults.at(path, 'a sandbox cannot share its own stack')
  }
  const names = o.config.sandboxes.map((sandbox) => sandbox.name)
  const sandbox = o.config.sandboxes.find((candidate) => candidate.name === target)
  if (sandbox === undefined) {
    const near = nearest(target, names)
    const hint = near === undefined ? 'define it under "sandboxes"' : `did you mean "${near}"?`
    return o.faults.at(path, `there is no sandbox "${target}"; ${hint}`)
  }
  const shares = sandbox.endpoints.some((endpoint) =>
    o.config.networks.some((n) => n.name === endpoint.network && n.driver === 'container'),
  )
  if (shares) {
    const message = `sandbox "${target}" has no stack of its own; name the one that it shares`
    o.faults.at(path, message)
  }
}

/** Two sandboxes in one namespace would both have an eth0. */
function checkNamespaces(o: Located, networks: ReadonlyMap<string, NetworkConfig>): void {
  const owners = new Map<string, string>()
  for (const sandbox of o.config.sandboxes) {
    const driver = networks.get(sandbox.endpoints[0]?.network ?? '')?.driver
    if (driver === 'host' || driver === 'container') continue
    const owner = owners.get(sandbox.netns)
    owners.set(sandbox.netns, owner ?? sandbox.name)
    if (owner === undefined) continue
    const message =
      `namespace "${sandbox.netns}" is that of sandbox "${owner}"; ` +
      `"network_mode: container:${owner}" shares it`
    o.faults.at([...o.path(sandbox), 'netns'], message)
  }
}

function checkRoutes(o: Located): void {
  const bridges = o.config.networks.filter((network) => network.driver === 'bridge')
  const subnets = bridges.flatMap((network) => network.subnets.map((s) => ({ network, ...s })))
  const seen = new Set<string>()
  for (const route of o.config.routes) {
    const path = o.path(route)
    const text = formatPrefix(route.to)
    if (seen.has(text)) o.faults.at([...path, 'to'], `there is already a route to ${text}`)
    seen.add(text)
    if ((route.via !== undefined) === route.blackhole) {
      o.faults.at(path, 'a route has either "via: ADDRESS" or "blackhole: true"')
      continue
    }
    const own = subnets.find((s) => samePrefix(s.subnet, route.to))
    if (own !== undefined) {
      const message = `${text} is network "${own.network.name}" itself, which has its own route`
      o.faults.at([...path, 'to'], message)
    }
    if (route.via !== undefined) checkVia(o, { path, to: route.to, via: route.via, bridges })
  }
}

function checkVia(
  o: Located,
  route: {
    readonly path: Path
    readonly to: Prefix
    readonly via: Address
    readonly bridges: readonly NetworkConfig[]
  },
): void {
  const { via, to, bridges } = route
  const path = [...route.path, 'via']
  const { family } = via
  const text = formatAddress(via)
  if (family !== to.address.family) {
    return o.faults.at(path, `${text} is not an IPv${to.address.family} address`)
  }
  const on = bridges.find((n) => n.subnets.some((s) => contains(s.subnet, via)))
  // A network whose subnet IPAM will choose may turn out to hold it: asked again in plan.ts.
  const open =
    o.broken.size > 0 ||
    bridges.some(
      (n) =>
        (family === 6 ? n.ipv6 : n.ipv4) &&
        !n.subnets.some((s) => s.subnet.address.family === family),
    )
  if (on === undefined) {
    if (!open) o.faults.at(path, `${text} is not on any network of this file`)
  } else if (on.internal) {
    o.faults.at(path, `network "${on.name}" is internal: nothing is routed through it`)
  } else if (on.subnets.some((s) => sameAddress(s.gateway ?? defaultGateway(s), via))) {
    o.faults.at(path, `${text} is the router's own address`)
  }
}

function samePrefix(a: Prefix, b: Prefix): boolean {
  return a.bits === b.bits && sameAddress(a.address, b.address)
}
