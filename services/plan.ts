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
 * 4. for the rest, in the order of the file, the lowest free one; endpoints before services.
 *
 * On an empty node the result depends on the file alone.
 */
import {
  type Address,
  contains,
  EVERYWHERE,
  type Family,
  formatAddress,
  formatPrefix,
  overlaps,
  type Prefix,
} from '../stack/address.ts'
import { formatMac, type Mac } from '../stack/eth/mac.ts'
import type { PolicySpec } from '../stack/ip/policy.ts'
import { hasGateway, hasInterfaces } from './config/drivers.ts'
import type {
  Config,
  EndpointConfig,
  NetworkConfig,
  SandboxConfig,
  SubnetConfig,
} from './config/model.ts'
import { publishingNetwork } from './config/publishing.ts'
import { defaultGateway, defaultSubnet, Subnet } from './ipam.ts'
import type { LinkRoute } from './links.ts'
import { MacPool, sharedMac } from './mac_pool.ts'
import { planAnnounce, planDhcp, rangeAddresses } from './plan_dhcp.ts'
import { nameServers } from './plan_dns.ts'
import { routeState, uplinkState } from './plan_outside.ts'
import { planPolicy, type Subnets } from './plan_policy.ts'
import { planPorts } from './plan_ports.ts'
import { planServices } from './plan_services.ts'
import { sandboxState } from './plan_stack.ts'
import {
  type EndpointState,
  endpointKey,
  type NetworkState,
  type RouteState,
  type SandboxState,
  type State,
  type SubnetState,
} from './state.ts'

const FAMILIES: readonly Family[] = [4, 6]

/**
 * @param held - current state: what is in use and may be kept.
 * @throws StackError `exhausted`, `bad-config`.
 */
export function plan(config: Config, held: State): State {
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
    if (current !== undefined) pools.get(endpoint.network)!.keep(sandbox.name, current)
  }
  for (const { name, network } of virtual) {
    const current = held.services.get(name)
    if (current?.network === network) pools.get(network)!.keepVips(name, current.vips)
  }
  for (const [name, addresses] of held.leased) pools.get(name)?.keepLeases(addresses)
  const prefixes: Subnets = (name) => networks.get(name)!.subnets.map(({ subnet }) => subnet)
  const policyOf = (endpoint: EndpointConfig): PolicySpec | undefined => {
    const network = config.networks.find(({ name }) => name === endpoint.network)!
    return planPolicy(endpoint, network, prefixes)
  }
  const sandboxes = new Map<string, SandboxState>()
  const endpoints = new Map<string, EndpointState>()
  for (const sandbox of config.sandboxes) {
    sandboxes.set(sandbox.name, sandboxState(sandbox, config))
    const { length } = sandbox.ports
    const published = length > 0 ? publishingNetwork(sandbox, config.networks) : undefined
    for (const endpoint of planEndpoints(sandbox, pools, published, policyOf)) {
      endpoints.set(endpointKey(endpoint), endpoint)
    }
  }
  const routes = new Map<string, RouteState>()
  for (const route of config.routes) {
    routes.set(formatPrefix(route.to), routeState(route, networks, config.uplink))
  }
  const ports = planPorts(config, { endpoints }, held)
  const uplink = uplinkState(config)
  const services = planServices(config, { endpoints }, (service, network) =>
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

/** Addresses of one network while desired state is made. */
class NetworkPool {
  readonly network: NetworkState
  readonly #pools: readonly Subnet[]
  readonly #gateways: readonly SubnetState[]
  readonly #leased: boolean
  readonly #macs = new MacPool()
  /** What each endpoint and service of this network was given so far, by holder and family. */
  readonly #given = new Map<string, Address>()

  constructor(config: NetworkConfig, subnets: readonly SubnetConfig[], names: boolean) {
    this.#leased = config.options.macvlan?.leased === true
    this.#pools = subnets.map((subnet) => new Subnet(subnet))
    this.#gateways = subnets.map((subnet, i) => {
      const gateway = subnet.gateway ?? defaultGateway(subnet)
      this.#pools[i]!.reserve(gateway, 'the gateway')
      for (const { name, address } of subnet.auxiliary) {
        this.#pools[i]!.reserve(address, `aux_addresses "${name}"`)
      }
      return { subnet: subnet.subnet, gateway }
    })
    const { overlay } = config
    for (const { mac, addresses, vtep } of overlay?.remote ?? []) {
      this.#macs.take(mac)
      const holder = `an endpoint at ${formatAddress(vtep)}`
      for (const address of addresses) this.#poolOf(address)?.reserve(address, holder)
    }
    const gateways = this.#gateways
    const announce = planAnnounce(config, gateways, names)
    const { dhcp } = config
    for (const { mac, address } of dhcp?.hosts ?? []) {
      this.#poolOf(address)?.reserve(address, `the DHCP host ${formatMac(mac)}`)
    }
    for (const address of dhcp === undefined ? [] : rangeAddresses(dhcp)) {
      this.#poolOf(address)?.reserve(address, 'the range of DHCP')
    }
    const first = gateways[0]?.gateway
    this.network = {
      name: config.name,
      driver: config.driver,
      internal: config.internal,
      subnets: this.#gateways,
      gatewayMac: this.#gatewayMac(config, first),
      options: config.options,
      dhcp: planDhcp(config, subnets, { gateways, announce }),
      announce,
      overlay,
      ...(config.advertise !== undefined && { advertise: config.advertise }),
    }
  }

  /** Undefined: it has none of ours. */
  #gatewayMac(config: NetworkConfig, first: Address | undefined): Mac | undefined {
    if (!hasGateway(config)) return undefined
    const { overlay } = config
    return overlay === undefined ? first && this.#macs.derive(first) : sharedMac(overlay.vni)
  }

  /** Take what the file names. */
  reserve(sandbox: string, { address4, address6, mac }: EndpointConfig): void {
    for (const address of [address4, address6]) {
      if (address !== undefined) this.#give(sandboxHolder(sandbox), address)
    }
    if (mac !== undefined) this.#macs.take(mac)
  }

  reserveVips(service: string, vips: readonly Address[]): void {
    for (const vip of vips) this.#give(serviceHolder(service), vip)
  }

  /** Keep what an endpoint has now, where the file leaves it open and nobody else was given it. */
  keep(sandbox: string, current: EndpointState): void {
    for (const { address } of current.addresses) this.#keep(sandboxHolder(sandbox), address)
  }

  keepVips(service: string, vips: readonly Address[]): void {
    for (const vip of vips) this.#keep(serviceHolder(service), vip)
  }

  /** Leave to its clients what DHCP gave them, where the file says nothing else. */
  keepLeases(addresses: readonly Address[]): void {
    for (const address of addresses) {
      const pool = this.#poolOf(address)
      if (pool?.isHost(address) !== true || pool.holder(address) !== undefined) continue
      pool.reserve(address, 'a DHCP client')
    }
  }

  /** An address of each family that the network has. @throws StackError `exhausted`. */
  addresses(sandbox: string): readonly Prefix[] {
    return this.#families(sandboxHolder(sandbox)).map((address) => ({
      address,
      bits: this.#poolOf(address)!.subnet.bits,
    }))
  }

  /** A virtual address of each family that the network has. @throws StackError `exhausted`. */
  vips(service: string): readonly Address[] {
    return this.#families(serviceHolder(service))
  }

  #families(holder: string): Address[] {
    const addresses: Address[] = []
    for (const family of FAMILIES) {
      const pools = this.#pools.filter((pool) => pool.family === family)
      if (pools.length === 0) continue
      const roomy = pools.find((pool) => pool.free > 0n) ?? pools.at(-1)!
      addresses.push(
        this.#given.get(`${holder} ${family}`) ??
          roomy.allocate(`${holder} on network "${this.network.name}"`),
      )
    }
    return addresses
  }

  #give(holder: string, address: Address): void {
    this.#poolOf(address)?.reserve(address, holder)
    this.#given.set(`${holder} ${address.family}`, address)
  }

  #keep(holder: string, address: Address): void {
    const pool = this.#poolOf(address)
    if (pool === undefined || this.#given.has(`${holder} ${address.family}`)) return
    if (pool.isHost(address) && pool.holder(address) === undefined) this.#give(holder, address)
  }

  mac(sandbox: string, endpoint: EndpointConfig, addresses: readonly Prefix[]): Mac | undefined {
    const first = addresses[0]?.address
    if (this.#leased) return endpoint.mac ?? this.#macs.named(`${endpoint.network} ${sandbox}`)
    return endpoint.mac ?? (first && this.#macs.derive(first))
  }

  gatewayOf(address: Address): Address | undefined {
    return this.#gateways.find(({ subnet }) => contains(subnet, address))?.gateway
  }

  #poolOf(address: Address): Subnet | undefined {
    return this.#pools.find((pool) => contains(pool.subnet, address))
  }
}

function sandboxHolder(name: string): string {
  return `sandbox "${name}"`
}

function serviceHolder(name: string): string {
  return `service "${name}"`
}

/**
 * Endpoints of one sandbox. The default route of each family goes by the first network that has
 * the family and is not internal. Who is published must be able to answer, also from an internal
 * network that leads nowhere else.
 */
function planEndpoints(
  sandbox: SandboxConfig,
  pools: ReadonlyMap<string, NetworkPool>,
  published: NetworkConfig | undefined,
  policyOf: (endpoint: EndpointConfig) => PolicySpec | undefined,
): EndpointState[] {
  const routed = new Set<Family>()
  return sandbox.endpoints.map((endpoint) => {
    const pool = pools.get(endpoint.network)!
    const { network } = pool
    const addresses = pool.addresses(sandbox.name)
    const routes: LinkRoute[] = []
    for (const { address } of addresses) {
      const via = pool.gatewayOf(address)
      const closed = network.internal && network.name !== published?.name
      if (closed || via === undefined || routed.has(address.family)) continue
      routed.add(address.family)
      routes.push({ destination: EVERYWHERE[address.family], via })
    }
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
