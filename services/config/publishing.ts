/** Where a sandbox's published ports lead, and by which address they are reached. */
import { isAny, type PortConfig } from '../ports.ts'
import { hasGateway } from './drivers.ts'
import type { NetworkConfig, SandboxConfig, ServicePort } from './model.ts'

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
 * A port that names no address is on the one that its network binds to; 0.0.0.0 there means every
 * address, of both families, as in Docker.
 */
export function boundPort(port: PortConfig, network: NetworkConfig): PortConfig {
  const { binding4 } = network.options
  if (port.address !== undefined || binding4 === undefined || isAny(binding4)) return port
  return { ...port, address: binding4 }
}

/** What a service's port takes of the node's. */
export function publication({ target, published, protocol }: ServicePort): PortConfig | undefined {
  if (published === undefined) return undefined
  return { address: undefined, port: published, count: 1, targetPort: target, protocol }
}
