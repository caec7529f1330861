/**
 * The half of check.ts about sandboxes: their endpoints refer to networks, get addresses that are
 * on them and free, and each sandbox has a stack that can hold its interfaces.
 */
import { type Address, contains, formatAddress, formatPrefix } from '../../stack/address.ts'
import { formatMac } from '../../stack/eth/mac.ts'
import { Subnet } from '../ipam.ts'
import { hasInterfaces } from './drivers.ts'
import { nearest } from './faults.ts'
import { addressKey, type Holders, type Located } from './located.ts'
import type { EndpointConfig, NetworkConfig, SandboxConfig } from './model.ts'
import { TARGET_KEY } from './options.ts'

/** @param held - gateways and auxiliary addresses are in it already. */
export function checkSandboxes(o: Located, held: Holders): void {
  const networks = new Map(o.config.networks.map((network) => [network.name, network]))
  for (const sandbox of o.config.sandboxes) {
    checkDrivers(o, sandbox, networks)
    checkInterfaces(o, sandbox)
    for (const endpoint of sandbox.endpoints) {
      const network = networks.get(endpoint.network)
      if (network === undefined) unknownNetwork(o, endpoint)
      else checkEndpoint({ ...o, sandbox, endpoint, network, held })
    }
  }
  checkTargets(o)
  checkNamespaces(o, networks)
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
    if (hasInterfaces(driver)) continue
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
  if (!hasInterfaces(network.driver)) {
    if (endpoint.address4 ?? endpoint.address6 ?? endpoint.mac) {
      o.faults.at(path, `driver "${network.driver}" gives a sandbox no interface to address`)
    }
    return
  }
  const leased = network.options.macvlan?.leased === true
  if (!leased && endpoint.address4 !== undefined) checkAddress(o, endpoint.address4, 'ipv4_address')
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
  const holder = o.held.take(addressKey(network, address), `sandbox "${o.sandbox.name}"`)
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
    // A network with an entry of its own has the fault there.
    if (!isWritten(o, o.network)) o.faults.at(path, noSandbox(target, names))
    return
  }
  const shares = sandbox.endpoints.some((endpoint) =>
    o.config.networks.some((n) => n.name === endpoint.network && n.driver === 'container'),
  )
  if (shares) {
    const message = `sandbox "${target}" has no stack of its own; name the one that it shares`
    o.faults.at(path, message)
  }
}

/** Networks of driver `container` name a sandbox that is there, whoever uses them. */
function checkTargets(o: Located): void {
  const names = o.config.sandboxes.map((sandbox) => sandbox.name)
  for (const network of o.config.networks) {
    const target = network.driver === 'container' ? network.options.sandbox : undefined
    if (target === undefined || names.includes(target) || !isWritten(o, network)) continue
    o.faults.at([...o.path(network), 'driver_opts', TARGET_KEY], noSandbox(target, names))
  }
}

/** It has an entry of its own, and is not implied by a `network_mode`. */
function isWritten(o: Located, network: NetworkConfig): boolean {
  return o.path(network)[0] === 'networks'
}

function noSandbox(target: string, names: readonly string[]): string {
  const near = nearest(target, names)
  const hint = near === undefined ? 'define it under "sandboxes"' : `did you mean "${near}"?`
  return `there is no sandbox "${target}"; ${hint}`
}

/** Two sandboxes in one namespace would both have an eth0. */
function checkNamespaces(o: Located, networks: ReadonlyMap<string, NetworkConfig>): void {
  const owners = new Map<string, string>()
  for (const sandbox of o.config.sandboxes) {
    const driver = networks.get(sandbox.endpoints[0]?.network ?? '')?.driver
    if (driver === 'host' || driver === 'container') {
      checkNoNamespace(o, sandbox, driver)
      continue
    }
    const owner = owners.get(sandbox.netns)
    owners.set(sandbox.netns, owner ?? sandbox.name)
    if (owner === undefined) continue
    const message =
      `namespace "${sandbox.netns}" is that of sandbox "${owner}"; ` +
      `"network_mode: container:${owner}" shares it`
    o.faults.at([...o.path(sandbox), 'netns'], message)
  }
}

/** Left out, the namespace has the sandbox's name. */
function checkNoNamespace(o: Located, sandbox: SandboxConfig, driver: 'host' | 'container'): void {
  if (sandbox.netns === sandbox.name) return
  const whose = driver === 'host' ? 'the host' : 'another sandbox'
  const message = `this sandbox has the stack of ${whose} and no namespace of its own; leave it out`
  o.faults.atKey([...o.path(sandbox), 'netns'], message)
}
