/**
 * From a configuration to desired state: every subnet, address, MAC and route decided, before
 * anything is touched. What cannot be had (a full subnet) is therefore an error that changes
 * nothing.
 *
 * Addresses are given in this order, so that what the file says comes first and what is in use
 * stays in use:
 *
 * 1. gateways and auxiliary addresses;
 * 2. addresses that the file names;
 * 3. addresses that endpoints and services hold now, unless 1 or 2 took them;
 * 4. those that endpoints of other nodes have, as far as it is known;
 * 5. for the rest, in the order of the file, the lowest free one; endpoints before services.
 *
 * MACs follow: named, kept with the address, or derived from it and nobody else's. On an empty
 * node that knows of no other the result depends on the file alone.
 */
import {
  EVERYWHERE,
  FAMILIES,
  type Family,
  formatPrefix,
  overlaps,
  type Prefix,
} from '../stack/address.ts'
import type { PolicySpec } from '../stack/ip/policy.ts'
import { hasInterfaces } from './config/drivers.ts'
import type {
  Config,
  EndpointConfig,
  NetworkConfig,
  SandboxConfig,
  SubnetConfig,
} from './config/model.ts'
import { answeringNetworks } from './config/publishing.ts'
import { defaultSubnet } from './ipam.ts'
import type { LinkRoute } from './links.ts'
import { NetworkPool } from './network_pool.ts'
import type { EndpointRecord } from './overlay/peer_source.ts'
import { nameServers } from './plan_dns.ts'
import { routeState, uplinkState } from './plan_outside.ts'
import { planPolicy, type Subnets } from './plan_policy.ts'
import { decidePorts, planPorts } from './plan_ports.ts'
import { planServices } from './plan_services.ts'
import { sandboxState } from './plan_stack.ts'
import {
  type EndpointState,
  endpointKey,
  type NetworkState,
  type RouteState,
  type SandboxState,
  type State,
} from './state.ts'

/** Endpoints of other nodes in the network with this VNI, beside those that the file names. */
export type Elsewhere = (vni: number) => readonly Pick<EndpointRecord, 'mac' | 'addresses'>[]

/**
 * @param held - current state: what is in use and may be kept.
 * @param elsewhere - left out: nothing is known of other nodes.
 * @throws StackError `exhausted`, `bad-config`.
 */
export function plan(config: Config, held: State, elsewhere: Elsewhere = () => []): State {
  const subnets = planSubnets(config, held)
  const networks = new Map<string, NetworkState>()
  const pools = new Map<string, NetworkPool>()
  for (const network of config.networks) {
    const pool = new NetworkPool(network, subnets.get(network.name)!, config.dns.enabled)
    pools.set(network.name, pool)
    networks.set(network.name, pool.network)
  }
  const wanted = config.sandboxes.flatMap((sandbox) =>
    sandbox.endpoints.map((endpoint) => ({ sandbox, endpoint })),
  )
  for (const { sandbox, endpoint } of wanted) {
    pools.get(endpoint.network)!.reserve(sandbox.name, endpoint)
  }
  const virtual = config.services.filter(({ mode }) => mode === 'vip')
  for (const { name, network, vips } of virtual) pools.get(network)!.reserveVips(name, vips)
  for (const { sandbox, endpoint } of wanted) {
    const key = endpointKey({ sandbox: sandbox.name, network: endpoint.network })
    const current = held.endpoints.get(key)
    if (current !== undefined) pools.get(endpoint.network)!.keep(sandbox.name, endpoint, current)
  }
  for (const { name, network } of virtual) {
    const current = held.services.get(name)
    if (current?.network === network) pools.get(network)!.keepVips(name, current.vips)
  }
  for (const [name, addresses] of held.leased) pools.get(name)?.keepLeases(addresses)
  for (const { name, overlay } of config.networks) {
    if (overlay === undefined) continue
    for (const { vni } of [overlay, ...overlay.vlans]) {
      for (const endpoint of elsewhere(vni)) pools.get(name)!.keepElsewhere(endpoint)
    }
  }
  const prefixes: Subnets = (name) => networks.get(name)!.subnets.map(({ subnet }) => subnet)
  const policyOf = (endpoint: EndpointConfig): PolicySpec | undefined => {
    const network = config.networks.find(({ name }) => name === endpoint.network)!
    return planPolicy(endpoint, network, prefixes)
  }
  const sandboxes = new Map<string, SandboxState>()
  const endpoints = new Map<string, EndpointState>()
  for (const sandbox of config.sandboxes) {
    sandboxes.set(sandbox.name, sandboxState(sandbox, config))
    const answering = answeringNetworks(sandbox, config)
    for (const endpoint of planEndpoints(sandbox, pools, answering, policyOf)) {
      endpoints.set(endpointKey(endpoint), endpoint)
    }
  }
  const routes = new Map<string, RouteState>()
  for (const route of config.routes) {
    routes.set(formatPrefix(route.to), routeState(route, networks, config.uplink))
  }
  const decided = decidePorts(config, held)
  const ports = planPorts(decided, { endpoints })
  const uplink = uplinkState(config)
  const services = planServices(config, decided, { endpoints }, (service, network) =>
    pools.get(network)!.vips(service),
  )
  const { tracking } = config
  const node = config.node && { name: config.node.name, ...config.node.underlay }
  const dns = { ...config.dns, serving: nameServers(config) }
  const lost = new Set<string>()
  const rest = { uplink, ports, services, tracking, node, dns, lost, leased: held.leased }
  return { networks, sandboxes, endpoints, routes, ...rest }
}

/** Subnets of every network: as written; else as they are; else from the default pools. */
function planSubnets(config: Config, held: State): Map<string, readonly SubnetConfig[]> {
  const taken = config.networks.flatMap((n) => n.subnets.map((s) => s.subnet))
  const addressed = config.networks.filter(
    ({ driver, options }) => hasInterfaces(driver) && options.macvlan?.leased !== true,
  )
  const open = addressed.flatMap((network) =>
    FAMILIES.filter(
      (family) =>
        (family === 4 ? network.ipv4 : network.ipv6) &&
        !network.subnets.some((s) => s.subnet.address.family === family),
    ).map((family) => ({ network, family })),
  )
  const chosen = new Map(config.networks.map((n) => [n.name, [...n.subnets]]))
  const choose = (network: NetworkConfig, subnet: Prefix): void => {
    taken.push(subnet)
    chosen.get(network.name)!.push({ subnet, gateway: undefined, range: undefined, auxiliary: [] })
  }
  const left = open.filter(({ network, family }) => {
    const now = held.networks.get(network.name)?.subnets
    const subnet = now?.find((s) => s.subnet.address.family === family)?.subnet
    if (subnet === undefined || taken.some((other) => overlaps(other, subnet))) return true
    choose(network, subnet)
    return false
  })
  for (const { network, family } of left) {
    choose(network, defaultSubnet(family, `${config.name}/${network.name}`, taken))
  }
  for (const list of chosen.values()) {
    list.sort((a, b) => a.subnet.address.family - b.subnet.address.family)
  }
  return chosen
}

/**
 * Endpoints of one sandbox. The default route of each family goes by the first network that has
 * the family and is not internal. Who is published must be able to answer, also from an internal
 * network that leads nowhere else.
 */
function planEndpoints(
  sandbox: SandboxConfig,
  pools: ReadonlyMap<string, NetworkPool>,
  answering: ReadonlySet<string>,
  policyOf: (endpoint: EndpointConfig) => PolicySpec | undefined,
): EndpointState[] {
  const all = sandbox.endpoints.map((endpoint) => {
    const pool = pools.get(endpoint.network)!
    return { endpoint, pool, addresses: pool.addresses(sandbox.name), routes: [] as LinkRoute[] }
  })
  const open = all.filter(({ pool }) => !pool.network.internal)
  const answers = all.filter(
    ({ pool: { network } }) => network.internal && answering.has(network.name),
  )
  const routed = new Set<Family>()
  for (const { pool, addresses, routes } of [...open, ...answers]) {
    for (const { address } of addresses) {
      const via = pool.gatewayOf(address)
      if (via === undefined || routed.has(address.family)) continue
      routed.add(address.family)
      routes.push({ destination: EVERYWHERE[address.family], via })
    }
  }
  return all.map(({ endpoint, pool, addresses, routes }) => {
    const { network } = pool
    return {
      sandbox: sandbox.name,
      network: endpoint.network,
      interfaceName: endpoint.interfaceName,
      deviceName: `${sandbox.name}/${endpoint.interfaceName}`,
      mac: pool.mac(sandbox.name, endpoint, addresses),
      addresses,
      routes,
      mtuBytes: endpoint.options.mtuBytes ?? network.options.mtuBytes,
      aliases: endpoint.aliases,
      options: endpoint.options,
      policy: policyOf(endpoint),
      rate: endpoint.rate,
      ...(endpoint.handOver !== undefined && { handOver: endpoint.handOver }),
    }
  })
}
