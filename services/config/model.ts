/**
 * What a configuration file says, once it is read and checked: the exact type that everything
 * behind the parser works on. Addresses are values, defaults are filled in, and nothing here is
 * allocated yet: what the file leaves open (a subnet, an address) stays open, see plan.ts.
 * Order matters and is the file's: interfaces are numbered by it, and IPAM hands out by it.
 */
import type { Address, Prefix } from '../../stack/address.ts'
import type { Mac } from '../../stack/eth/mac.ts'
import type { Timeouts } from '../../stack/ip/conntrack_timeouts.ts'
import type { NatPolicy } from '../../stack/ip/nat.ts'
import type { PortRange } from '../../stack/ip/policy_rules.ts'
import type { RateSpec } from '../../stack/ip/rate_limit.ts'
import type { SchedulerName } from '../../stack/ip/schedulers.ts'
import type { PortConfig } from '../ports.ts'
import type { DnsConfig } from './dns_model.ts'
import type { EndpointOptions, NetworkOptions } from './options_model.ts'
import type { NodeConfig, OverlayConfig } from './overlay_model.ts'

export interface Config {
  readonly name: string
  readonly networks: readonly NetworkConfig[]
  readonly sandboxes: readonly SandboxConfig[]
  readonly routes: readonly RouteConfig[]
  /** Undefined: nothing leads outside. */
  readonly uplink: UplinkConfig | undefined
  readonly services: readonly ServiceConfig[]
  readonly tracking: TrackingConfig
  /** Undefined: this host is the only one. */
  readonly node: NodeConfig | undefined
  readonly dns: DnsConfig
}

/** How connections are remembered and translated; what is left out has the stack's defaults. */
export interface TrackingConfig {
  readonly timeouts: Partial<Timeouts>
  /** Tell both ends of a translated TCP connection that was idle for too long. */
  readonly resetExpired: boolean
  readonly nat: NatPolicy
}

/** The router's own leg to the outside. */
export interface UplinkConfig {
  /** The host is the outside: a TAP and rules in the process's own namespace. */
  readonly host: boolean
  /** Where the TAP is put, or where the interface is; undefined: the process's own. */
  readonly netns: string | undefined
  /** An interface that is there; undefined: a TAP is made. */
  readonly interfaceName: string | undefined
  readonly mac: Mac | undefined
  /** Of the TAP; an interface keeps its own. */
  readonly mtuBytes: number
  readonly addresses: readonly Prefix[]
  /** Of the TAP's far side. */
  readonly peerAddresses: readonly Prefix[]
  /** At most one a family. */
  readonly gateways: readonly Address[]
}

/** How a service chooses a backend for a new connection. */
export const SCHEDULERS: readonly SchedulerName[] = [
  'rr',
  'wrr',
  'least_conn',
  'maglev',
  'source_hash',
]

/** A virtual address that stands for several sandboxes of one network. */
export interface ServiceConfig {
  readonly name: string
  readonly network: string
  /** At most one a family; a family of the network that has none gets one by IPAM. */
  readonly vips: readonly Address[]
  /** `dnsrr`: there is no virtual address; names lead to the backends themselves. */
  readonly mode: 'vip' | 'dnsrr'
  readonly ports: readonly ServicePort[]
  readonly scheduler: SchedulerName
  readonly backends: readonly BackendConfig[]
  /** Undefined: backends are taken to work. */
  readonly healthcheck: HealthcheckConfig | undefined
  /** How long a client keeps its backend after its last connection; 0: not at all. */
  readonly affinityMs: number
  /** Further names. */
  readonly aliases: readonly string[]
  /** Which backends its names lead to: those that are up, or all. */
  readonly answers: 'ready' | 'all'
}

/**
 * Target ports are those of the virtual address and of the backends. One that asks for no port of
 * the node has none: unlike a sandbox's, it is not chosen.
 */
export interface ServicePort extends PortConfig {
  readonly protocol: 'tcp' | 'udp'
}

export interface BackendConfig {
  readonly sandbox: string
  /** Its share beside the others'; 0: drained, it keeps what it has and gets nothing new. */
  readonly weight: number
}

export interface HealthcheckConfig {
  readonly type: 'tcp' | 'http' | 'icmp' | 'udp' | 'dns'
  /** Of the backend; 0: the type has none. */
  readonly port: number
  /** Asked for by `http`. */
  readonly path: string
  readonly intervalMs: number
  readonly timeoutMs: number
  /** Failures in a row that put a backend out. */
  readonly retries: number
  /** Successes in a row that bring it back. */
  readonly rise: number
  /** How long a backend that comes back takes to get its whole share. */
  readonly slowStartMs: number
}

export type DriverName = 'bridge' | 'overlay' | 'macvlan' | 'null' | 'host' | 'container'

/** True if its networks have a bridge, a gateway and addresses. */
export function isBridged(driver: DriverName): boolean {
  return driver === 'bridge' || driver === 'overlay'
}

export interface NetworkConfig {
  readonly name: string
  readonly driver: DriverName
  readonly ipv4: boolean
  readonly ipv6: boolean
  /** True: no way in or out but for its own sandboxes. */
  readonly internal: boolean
  /** As written; a family that is on and has none here gets one of the default pools. */
  readonly subnets: readonly SubnetConfig[]
  readonly options: NetworkOptions
  /** Of all its endpoints, after their own; undefined: none. */
  readonly policy: PolicyConfig | undefined
  /** Undefined: nobody leases addresses here. */
  readonly dhcp: DhcpConfig | undefined
  readonly announce: AnnounceConfig
  /** Of driver `overlay`; undefined: another driver. */
  readonly overlay: OverlayConfig | undefined
  /** Left out: true. False: no router advertisements, as sandboxes are told their router. */
  readonly advertise?: boolean
}

/** The DHCP server of a network. */
export interface DhcpConfig {
  /** What clients get that are no endpoints; undefined: what is left of the subnet. */
  readonly range: { readonly first: Address; readonly last: Address } | undefined
  readonly leaseMs: number
  /** Beside the default route (RFC 3442). */
  readonly routes: readonly { readonly to: Prefix; readonly via: Address }[]
  /** Addresses of stations that are no endpoints. */
  readonly hosts: readonly { readonly mac: Mac; readonly address: Address }[]
}

/** What stations are told by DHCP and in router advertisements. */
export interface AnnounceConfig {
  /** Resolvers of both families; undefined: the gateway, if names are answered there. */
  readonly dns: readonly Address[] | undefined
  readonly search: readonly string[]
}

export interface SubnetConfig {
  readonly subnet: Prefix
  readonly gateway: Address | undefined
  /** Addresses that IPAM hands out by itself; undefined: the whole subnet. */
  readonly range: Prefix | undefined
  /** Addresses held back for machines that tapline does not run. */
  readonly auxiliary: readonly AuxiliaryAddress[]
}

export interface AuxiliaryAddress {
  readonly name: string
  readonly address: Address
}

export interface SandboxConfig {
  readonly name: string
  /** Name under /var/run/netns, `pid:N`, or a path. */
  readonly netns: string
  readonly endpoints: readonly EndpointConfig[]
  readonly ports: readonly PortConfig[]
}

export interface EndpointConfig {
  readonly network: string
  readonly interfaceName: string
  readonly address4: Address | undefined
  readonly address6: Address | undefined
  readonly mac: Mac | undefined
  readonly aliases: readonly string[]
  readonly options: EndpointOptions
  /** Asked before its network's; undefined: none. */
  readonly policy: PolicyConfig | undefined
  readonly rate: RatesConfig
  /** Left out: we make the interface. Else somebody else finishes it; see {@link LinkRequest}. */
  readonly handOver?: string
}

/** What endpoints may send (egress) and be sent (ingress). The first rule that fits decides. */
export interface PolicyConfig {
  readonly ingress: readonly PolicyRuleConfig[]
  readonly egress: readonly PolicyRuleConfig[]
  /** Where no rule fits; undefined: the network's, and then what its gateway mode means. */
  readonly defaultIngress: PolicyAction | undefined
  readonly defaultEgress: PolicyAction | undefined
}

export type PolicyAction = 'allow' | 'deny'
export const POLICY_PROTOCOLS = ['any', 'tcp', 'udp', 'icmp', 'sctp'] as const
export type PolicyProtocol = (typeof POLICY_PROTOCOLS)[number]

export interface PolicyRuleConfig {
  readonly action: PolicyAction
  /** Sources of ingress, destinations of egress: prefixes, or networks by name; empty: all. */
  readonly far: readonly (Prefix | string)[]
  readonly protocol: PolicyProtocol
  /** Destination ports; empty: all. */
  readonly ports: readonly PortRange[]
}

/** Limits of one endpoint; undefined: none. */
export interface RatesConfig {
  readonly ingress: RateSpec | undefined
  readonly egress: RateSpec | undefined
}

/** A static route of the router. Exactly one of `via` and `blackhole` is given. */
export interface RouteConfig {
  readonly to: Prefix
  readonly via: Address | undefined
  readonly blackhole: boolean
}

export const NO_RATES: RatesConfig = { ingress: undefined, egress: undefined }
