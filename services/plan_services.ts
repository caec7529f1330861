/**
 * Services with everything decided: which virtual addresses they have, which ports of the node
 * lead to them, and where their backends are. Virtual addresses are reserved with those of
 * endpoints (plan.ts); here they are only asked for.
 */
import type { Address } from '../stack/address.ts'
import type { Config } from './config/model.ts'
import { PORT_PROTOCOLS } from './ports.ts'
import { endpointKey, type ServiceState, type State } from './state.ts'

/** @param vipsOf - virtual addresses of a service, one of each family that its network has. */
export function planServices(
  config: Config,
  { endpoints }: Pick<State, 'endpoints'>,
  vipsOf: (service: string, network: string) => readonly Address[],
): Map<string, ServiceState> {
  const services = new Map<string, ServiceState>()
  for (const { vips: _, backends, ports, ...service } of config.services) {
    const { name, network } = service
    const published = ports.some((port) => port.published !== undefined)
    services.set(name, {
      ...service,
      vips: service.mode === 'vip' ? vipsOf(name, network) : [],
      ports: ports.map((port) => ({ ...port, protocol: PORT_PROTOCOLS[port.protocol] })),
      ingress: published ? (config.uplink?.addresses ?? []).map(({ address }) => address) : [],
      backends: backends.map(({ sandbox, weight }) => ({
        sandbox,
        weight,
        addresses: endpoints
          .get(endpointKey({ sandbox, network }))!
          .addresses.map(({ address }) => address),
      })),
    })
  }
  return services
}
