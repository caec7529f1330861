/**
 * Services with everything decided: which virtual addresses they have, which ports of the node
 * lead to them, and where their backends are. Virtual addresses are reserved with those of
 * endpoints (plan.ts); here they are only asked for.
 */
import type { Address } from '../stack/address.ts'
import type { Config } from './config/model.ts'
import type { DecidedPort } from './plan_ports.ts'
import { PORT_PROTOCOLS, type PortConfig } from './ports.ts'
import { endpointKey, type ServiceState, type State } from './state.ts'

/**
 * @param decided - which ports of the node they have.
 * @param vipsOf - virtual addresses of a service, one of each family that its network has.
 */
export function planServices(
  config: Config,
  decided: readonly DecidedPort[],
  { endpoints }: Pick<State, 'endpoints'>,
  vipsOf: (service: string, network: string) => readonly Address[],
): Map<string, ServiceState> {
  const services = new Map<string, ServiceState>()
  for (const { vips: _, backends, ports, ...service } of config.services) {
    const { name, network } = service
    const published = (entry: PortConfig): PortConfig | undefined =>
      decided.find((port) => port.entry === entry)?.port
    services.set(name, {
      ...service,
      vips: service.mode === 'vip' ? vipsOf(name, network) : [],
      ports: ports.map((entry) => ({
        target: entry.targetPort,
        count: entry.count,
        published: published(entry),
        protocol: PORT_PROTOCOLS[entry.protocol],
        ...(entry.name !== undefined && { name: entry.name }),
      })),
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
