/** Where a sandbox's published ports lead, and by which address they are reached. */
import {
  contains,
  formatAddress,
  formatPrefix,
  isLoopback,
  isMulticast,
  sameAddress,
} from '../../stack/address.ts'
import { isAny, type PortConfig } from '../ports.ts'
import { hasGateway } from './drivers.ts'
import type { Config, NetworkConfig, SandboxConfig, ServicePort, UplinkConfig } from './model.ts'

/**
 * The first of its networks that is not internal, else the first; of those with a gateway.
 * Undefined: it has none, and cannot publish.
 */
export function publishingNetwork(
  { endpoints }: SandboxConfig,
  networks: readonly NetworkConfig[],
): NetworkConfig | undefined {
  const own = endpoints
    .map(({ network }) => networks.find(({ name }) => name === network))
    .filter((network) => network !== undefined && hasGateway(network))
  return own.find((network) => !network!.internal) ?? own[0]
}

/**
 * Internal networks by which a sandbox answers the outside, though they lead nowhere else: that of
 * its published ports, and those of services with published ports that it is behind. None if one
 * of its networks is open, as that leads its answers.
 */
export function answeringNetworks(sandbox: SandboxConfig, config: Config): Set<string> {
  const own = publishingNetwork(sandbox, config.networks)
  if (own === undefined || !own.internal) return new Set()
  const behind = config.services.filter(
    ({ backends, ports }) =>
      ports.some(isPublished) && backends.some((backend) => backend.sandbox === sandbox.name),
  )
  const services = behind.map(({ network }) => network)
  return new Set(sandbox.ports.length > 0 ? [own.name, ...services] : services)
}

/**
 * A port that names no address is on the one that its network binds to; 0.0.0.0 there means every
 * address, of both families, as in Docker.
 */
export function boundPort(port: PortConfig, network: NetworkConfig): PortConfig {
  const { binding4 } = network.options
  if (port.address !== undefined || binding4 === undefined || isAny(binding4)) return port
  return { ...port, address: binding4 }
}

/**
 * Why nobody is served at the address of a port: it is no single machine's or another one's, or of
 * a family that cannot answer. Undefined: it may be.
 *
 * @param bound - as {@link boundPort} tells.
 */
export function hostFault(
  { address }: PortConfig,
  { name, ipv4, ipv6 }: NetworkConfig,
  uplink: UplinkConfig | undefined,
): string | undefined {
  if (address === undefined) return undefined
  const text = formatAddress(address)
  if (isMulticast(address)) return `${text} is a multicast group, not an address of the node`
  if (text === '255.255.255.255') return `${text} is a broadcast, not an address of the node`
  if (!(address.family === 6 ? ipv6 : ipv4)) {
    return `${text}: network "${name}" has no IPv${address.family}`
  }
  if (uplink === undefined) return undefined
  if (isLoopback(address)) {
    if (uplink.host) return undefined
    return `${text} leads nowhere: only an uplink with "host: true" is asked by loopback addresses`
  }
  const near = uplink.addresses.find((own) => contains(own, address))
  if (near === undefined || uplink.addresses.some((own) => sameAddress(own.address, address))) {
    return undefined
  }
  return `${text} is another machine's: the uplink has ${formatPrefix(near)}`
}

/** True if a port of a service is one of the node's too. */
export function isPublished({ port, among }: ServicePort): boolean {
  return port !== undefined || among !== undefined
}
