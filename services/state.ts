/**
 * The state of a node: networks, sandboxes, endpoints and routes with everything decided. Desired
 * state is made from a configuration (plan.ts), current state is told by the node (node.ts), and
 * both are of this one type, so that comparing them is all there is to applying a file (diff.ts).
 *
 * Maps keep the order of the file. Values are never changed in place.
 */
import type { Address, Prefix } from '../stack/address.ts'
import type { Mac } from '../stack/eth/mac.ts'
import type { PortMapping } from '../stack/ip/nat_rules.ts'
import type { PolicySpec } from '../stack/ip/policy.ts'
import type { SchedulerName } from '../stack/ip/schedulers.ts'
import { DEFAULT_DNS, type DnsConfig } from './config/dns_model.ts'
import type { DriverName, HealthcheckConfig, RatesConfig, TrackingConfig } from './config/model.ts'
import type { EndpointOptions, NetworkOptions } from './config/options_model.ts'
import type { OverlayConfig, UnderlayConfig } from './config/overlay_model.ts'
import type { LinkRoute } from './links.ts'
import type { PortConfig } from './ports.ts'

export interface State {
  /** By name. */
  readonly networks: ReadonlyMap<string, NetworkState>
  /** By name. */
  readonly sandboxes: ReadonlyMap<string, SandboxState>
  /** By {@link endpointKey}. */
  readonly endpoints: ReadonlyMap<string, EndpointState>
  /** By destination, as text. */
  readonly routes: ReadonlyMap<string, RouteState>
  /** Undefined: nothing leads outside. */
  readonly uplink: UplinkState | undefined
  /** By {@link PortState.key}. */
  readonly ports: ReadonlyMap<string, PortState>
  /** By name. */
  readonly services: ReadonlyMap<string, ServiceState>
  readonly tracking: TrackingConfig
  /** Undefined: this host is the only one. */
  readonly node: NodeState | undefined
  readonly dns: DnsConfig
  /** By network, addresses that DHCP clients hold; nothing is made of them but room. */
  readonly leased: ReadonlyMap<string, readonly Address[]>
  /** Keys of endpoints whose device was lost from outside, or {@link UPLINK_KEY}. */
  readonly lost: ReadonlySet<string>
}

/** The uplink among what was lost, and where routes lead; no network has its name. */
export const UPLINK_KEY = 'uplink'

export const EMPTY: State = {
  networks: new Map(),
  sandboxes: new Map(),
  endpoints: new Map(),
  routes: new Map(),
  uplink: undefined,
  ports: new Map(),
  services: new Map(),
  tracking: { timeouts: {}, resetExpired: false, nat: {} },
  node: undefined,
  dns: DEFAULT_DNS,
  leased: new Map(),
  lost: new Set(),
}

/** Where this node's tunnels end; see {@link UnderlayConfig}. */
export interface NodeState extends UnderlayConfig {
  readonly name: string
}

export interface NetworkState {
  readonly name: string
  readonly driver: DriverName
  readonly internal: boolean
  readonly subnets: readonly SubnetState[]
  /** Undefined: the driver has no gateway. */
  readonly gatewayMac: Mac | undefined
  /** Undefined: nobody leases addresses here. */
  readonly dhcp: DhcpState | undefined
  /** Resolvers and domains in router advertisements. */
  readonly announce: { readonly dns: readonly Address[]; readonly search: readonly string[] }
  readonly options: NetworkOptions
  /** Undefined: another driver. */
  readonly overlay: OverlayConfig | undefined
  /** As in {@link NetworkConfig}. */
  readonly advertise?: boolean
}

/** The DHCP server of a network, with everything decided. All addresses are IPv4. */
export interface DhcpState {
  readonly subnet: Prefix
  readonly server: Address
  /** Undefined: nothing leads out of the network. */
  readonly router: Address | undefined
  /** First and last address of the pool. */
  readonly first: Address
  readonly last: Address
  readonly leaseMs: number
  readonly mtuBytes: number
  readonly dns: readonly Address[]
  readonly search: readonly string[]
  readonly routes: readonly { readonly to: Prefix; readonly via: Address }[]
  readonly hosts: readonly { readonly mac: Mac; readonly address: Address }[]
}

export interface SubnetState {
  readonly subnet: Prefix
  readonly gateway: Address
}

export interface SandboxState {
  readonly name: string
  /** As in {@link LinkRequest}; of a shared stack, its owner's; empty: the host's own. */
  readonly netns: string
  /** `foreign`: somebody else makes and removes it. */
  readonly stack: 'own' | 'host' | 'shared' | 'foreign'
}

export interface EndpointState {
  readonly sandbox: string
  readonly network: string
  /** Name inside the sandbox. */
  readonly interfaceName: string
  /** Name of our end, for listings, captures and traces: `web1/eth0`. */
  readonly deviceName: string
  /** Undefined: the driver gives no interface, and what follows is empty. */
  readonly mac: Mac | undefined
  /** With the bits of their subnets. */
  readonly addresses: readonly Prefix[]
  /** Routes inside the sandbox by this interface. */
  readonly routes: readonly LinkRoute[]
  readonly mtuBytes: number
  readonly aliases: readonly string[]
  readonly options: EndpointOptions
  /** Its own and its network's; undefined: neither has one. */
  readonly policy: PolicySpec | undefined
  readonly rate: RatesConfig
  /** As in {@link LinkRequest}. */
  readonly handOver?: string
}

export interface RouteState {
  readonly to: Prefix
  /** Undefined: what is sent there is discarded. */
  readonly via: Address | undefined
  /** The network that `via` is on, or {@link UPLINK_KEY}. */
  readonly network: string | undefined
}

/** The router's own leg to the outside; see {@link UplinkConfig}. */
export interface UplinkState {
  /** Of the host as the outside, its table there; undefined: the outside is elsewhere. */
  readonly hostTable: string | undefined
  readonly netns: string | undefined
  readonly interface: string | undefined
  readonly mac: Mac
  readonly mtuBytes: number
  readonly addresses: readonly Prefix[]
  readonly peerAddresses: readonly Prefix[]
  readonly gateways: readonly Address[]
}

/** One published port, or range of ports. */
export interface PortState {
  /** Sandbox and port, as text. */
  readonly key: string
  readonly sandbox: string
  /** The network that it leads to. */
  readonly network: string
  /** With the port of the node decided. */
  readonly port: PortConfig
  /** One a family. */
  readonly mappings: readonly PortMapping[]
}

/** A virtual address with what it stands for; see {@link ServiceConfig}. */
export interface ServiceState {
  readonly name: string
  readonly network: string
  /** One a family; empty in mode `dnsrr`. */
  readonly vips: readonly Address[]
  readonly mode: 'vip' | 'dnsrr'
  readonly ports: readonly ServicePortState[]
  readonly scheduler: SchedulerName
  readonly backends: readonly BackendState[]
  /** Further names. */
  readonly aliases: readonly string[]
  /** Which backends its names lead to: those that are up, or all. */
  readonly answers: 'ready' | 'all'
  readonly healthcheck: HealthcheckConfig | undefined
  /** 0: clients do not stick to their backends. */
  readonly affinityMs: number
}

export interface ServicePortState {
  /** First port of the virtual address and of the backends. */
  readonly target: number
  readonly count: number
  /** The same on the node, with its first port decided; undefined: it has none there. */
  readonly published: PortConfig | undefined
  readonly protocol: 6 | 17
  /** For SRV questions. */
  readonly name?: string | undefined
}

export interface BackendState {
  readonly sandbox: string
  /** 0: drained. */
  readonly weight: number
  readonly addresses: readonly Address[]
}

/** One endpoint a sandbox and network. */
export function endpointKey({ sandbox, network }: { sandbox: string; network: string }): string {
  return `${sandbox}/${network}`
}
