/**
 * Addresses and MACs of one network while its desired state is made (plan.ts): what is held back,
 * what the file names, what is in use and stays, what other nodes have, and the lowest free ones
 * for the rest. Holders are written as messages name them: `sandbox "web1"`.
 */
import { type Address, contains, FAMILIES, formatAddress, type Prefix } from '../stack/address.ts'
import { formatMac, type Mac } from '../stack/eth/mac.ts'
import { hasGateway } from './config/drivers.ts'
import type { EndpointConfig, NetworkConfig, SubnetConfig } from './config/model.ts'
import { defaultGateway, Subnet } from './ipam.ts'
import { MacPool, sharedMac } from './mac_pool.ts'
import type { EndpointRecord } from './overlay/peer_source.ts'
import { planAnnounce, planDhcp, rangeAddresses } from './plan_dhcp.ts'
import type { EndpointState, NetworkState, SubnetState } from './state.ts'

export class NetworkPool {
  readonly network: NetworkState
  readonly #pools: readonly Subnet[]
  readonly #gateways: readonly SubnetState[]
  readonly #leased: boolean
  readonly #macs = new MacPool()
  /** What each endpoint and service of this network was given so far, by holder and family. */
  readonly #given = new Map<string, Address>()
  /** MACs that endpoints have and keep, by sandbox. */
  readonly #kept = new Map<string, Mac>()

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
  keep(sandbox: string, endpoint: EndpointConfig, { addresses, mac }: EndpointState): void {
    const holder = sandboxHolder(sandbox)
    for (const { address } of addresses) this.#keep(holder, address)
    const first = addresses[0]?.address
    const stays = first !== undefined && this.#poolOf(first)?.holder(first) === holder
    if (!stays || endpoint.mac !== undefined || mac === undefined || this.#macs.has(mac)) return
    this.#macs.take(mac)
    this.#kept.set(sandbox, mac)
  }

  keepVips(service: string, vips: readonly Address[]): void {
    for (const vip of vips) this.#keep(serviceHolder(service), vip)
  }

  /** Leave to its clients what DHCP gave them, where the file says nothing else. */
  keepLeases(addresses: readonly Address[]): void {
    for (const address of addresses) this.#leave(address, 'a DHCP client')
  }

  /**
   * Leave to an endpoint of another node what it has, where nobody here has it or is to have it:
   * an address that is claimed twice is a conflict, which the overlay decides and reports.
   */
  keepElsewhere({ mac, addresses }: Pick<EndpointRecord, 'mac' | 'addresses'>): void {
    for (const address of addresses) this.#leave(address, 'an endpoint of another node')
    this.#macs.take(mac)
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

  /** Hold it back, unless somebody has it. */
  #leave(address: Address, holder: string): void {
    const pool = this.#poolOf(address)
    if (pool?.isHost(address) !== true || pool.holder(address) !== undefined) return
    pool.reserve(address, holder)
  }

  mac(sandbox: string, endpoint: EndpointConfig, addresses: readonly Prefix[]): Mac | undefined {
    const first = addresses[0]?.address
    if (this.#leased) return endpoint.mac ?? this.#macs.named(`${endpoint.network} ${sandbox}`)
    return endpoint.mac ?? this.#kept.get(sandbox) ?? (first && this.#macs.derive(first))
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
