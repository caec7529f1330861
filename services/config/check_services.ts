/**
 * The part of check.ts about services: they are on a network, their virtual addresses are free
 * there, their backends too, and no port is given twice.
 */
import { type Address, contains, formatAddress, formatPrefix } from '../../stack/address.ts'
import { Subnet } from '../ipam.ts'
import { formatPort, formatPublished, type PortConfig, portsClash } from '../ports.ts'
import { nearest } from './faults.ts'
import { addressKey, type Holders, type Located } from './located.ts'
import { type BackendConfig, isBridged, type NetworkConfig, type ServiceConfig } from './model.ts'
import { boundPort, hostFault, isPublished, publishingNetwork } from './publishing.ts'

/** A published port, and whose it is. */
interface Taken {
  readonly who: string
  readonly port: PortConfig
}

/** @param held - all other addresses that the file gives are in it already. */
export function checkServices(o: Located, held: Holders): void {
  const taken = o.config.sandboxes.flatMap((sandbox): Taken[] => {
    const network = publishingNetwork(sandbox, o.config.networks)
    const bound = (port: PortConfig): PortConfig => (network ? boundPort(port, network) : port)
    return sandbox.ports.map((port) => ({ who: `sandbox "${sandbox.name}"`, port: bound(port) }))
  })
  for (const service of o.config.services) {
    checkPorts(o, service, taken)
    checkBackends(o, service)
    checkMode(o, service)
    const network = o.config.networks.find(({ name }) => name === service.network)
    if (network === undefined) unknownNetwork(o, service)
    else checkVips(o, { service, network, held })
  }
}

function unknownNetwork(o: Located, { network, ...service }: ServiceConfig): void {
  if (o.broken.has(network)) return
  const names = [...o.config.networks.map(({ name }) => name), ...o.broken]
  const near = nearest(network, names)
  const hint = near === undefined ? 'define it under "networks"' : `did you mean "${near}"?`
  const path = ['services', service.name, 'network']
  o.faults.at(path, `there is no network "${network}"; ${hint}`)
}

function checkMode(o: Located, { name, mode, vips, ports }: ServiceConfig): void {
  const path = ['services', name]
  if (mode === 'vip') return
  if (vips.length > 0) {
    o.faults.at([...path, 'vip'], 'endpoint_mode dnsrr has no virtual address; leave this out')
  }
  const published = ports.find(isPublished)
  if (published === undefined) return
  o.faults.at(o.path(published), 'endpoint_mode dnsrr cannot publish ports; mode vip can')
}

function checkVips(
  o: Located,
  v: {
    readonly service: ServiceConfig
    readonly network: NetworkConfig
    readonly held: Holders
  },
): void {
  const { service, network } = v
  const path = ['services', service.name]
  if (!isBridged(network.driver)) {
    const message = `a service needs a network of driver "bridge", not "${network.driver}"`
    return o.faults.at([...path, 'network'], message)
  }
  if (!network.options.gateway) {
    const message = `a service needs a gateway; network "${network.name}" has none`
    return o.faults.at([...path, 'network'], message)
  }
  const families = new Set<number>()
  for (const vip of service.vips) {
    const text = formatAddress(vip)
    const fault = families.has(vip.family)
      ? `${text}: a second virtual address of IPv${vip.family}`
      : vipFault(network, vip)
    families.add(vip.family)
    if (fault !== undefined) {
      o.faults.at([...path, 'vip'], fault)
      continue
    }
    const holder = v.held.take(addressKey(network, vip), `service "${service.name}"`)
    if (holder === undefined) continue
    o.faults.at([...path, 'vip'], `${text} is taken by ${holder} on network "${network.name}"`)
  }
}

/** Why an address cannot be a virtual one of the network. */
function vipFault(network: NetworkConfig, vip: Address): string | undefined {
  const text = formatAddress(vip)
  if (!(vip.family === 6 ? network.ipv6 : network.ipv4)) {
    return `${text} needs enable_ipv${vip.family}: true on network "${network.name}"`
  }
  const subnets = network.subnets.filter((s) => s.subnet.address.family === vip.family)
  if (subnets.length === 0) {
    return `${text} needs a subnet under ipam.config of network "${network.name}"`
  }
  const own = subnets.find((s) => contains(s.subnet, vip))
  const list = subnets.map((s) => formatPrefix(s.subnet)).join(' or ')
  if (own === undefined) return `${text} is not in ${list} of network "${network.name}"`
  if (new Subnet(own).isHost(vip)) return undefined
  return `${text} is the network or broadcast address of ${formatPrefix(own.subnet)}`
}

function checkBackends(o: Located, service: ServiceConfig): void {
  const seen = new Set<string>()
  for (const backend of service.backends) {
    if (seen.has(backend.sandbox)) {
      o.faults.at(o.path(backend), `sandbox "${backend.sandbox}" is given twice`)
    } else checkBackend(o, service, backend)
    seen.add(backend.sandbox)
  }
}

function checkBackend(o: Located, { network }: ServiceConfig, backend: BackendConfig): void {
  const path = o.path(backend)
  const names = o.config.sandboxes.map(({ name }) => name)
  const sandbox = o.config.sandboxes.find(({ name }) => name === backend.sandbox)
  if (sandbox === undefined) {
    const near = nearest(backend.sandbox, names)
    const hint = near === undefined ? 'define it under "sandboxes"' : `did you mean "${near}"?`
    return o.faults.atKey(path, `there is no sandbox "${backend.sandbox}"; ${hint}`)
  }
  if (sandbox.endpoints.some((endpoint) => endpoint.network === network)) return
  o.faults.atKey(path, `sandbox "${sandbox.name}" is not on network "${network}"`)
}

function checkPorts(o: Located, service: ServiceConfig, taken: Taken[]): void {
  const who = `service "${service.name}"`
  const network = o.config.networks.find(({ name }) => name === service.network)
  const seen: PortConfig[] = []
  for (const port of service.ports) {
    const inside = { ...port, address: undefined, port: port.targetPort }
    if (seen.some((other) => portsClash(other, inside))) {
      o.faults.at(o.path(port), `port ${formatPublished(inside)} is given twice`)
    }
    seen.push(inside)
    if (!isPublished(port) || network === undefined) continue
    const wanted = boundPort(port, network)
    const other = taken.find((earlier) => portsClash(earlier.port, wanted))
    if (other !== undefined) {
      const message = `${formatPort(wanted)} overlaps ${formatPort(other.port)} of ${other.who}`
      o.faults.at(o.path(port), message)
    }
    const fault = hostFault(wanted, network, o.config.uplink)
    if (fault !== undefined) o.faults.at(o.path(port), fault)
    taken.push({ who, port: wanted })
  }
}
