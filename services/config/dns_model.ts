/** What a configuration file says of names, once it is read and checked; see model.ts. */
import type { Address } from '../../stack/address.ts'
import type { Name } from '../dns/name.ts'

/** A resolver to ask: an address and a port. */
export interface ServerConfig {
  readonly address: Address
  readonly port: number
}

export interface ZoneConfig {
  readonly zone: Name
  /** Empty: names in it are asked of nobody. */
  readonly servers: readonly ServerConfig[]
}

export interface DnsConfig {
  /** False: there is no name service at all. */
  readonly enabled: boolean
  /** False: no 127.0.0.11 inside sandboxes; they ask their gateways. */
  readonly loopback: boolean
  /** Of answers about own names. */
  readonly ttlS: number
  /** Undefined: the host's. */
  readonly servers: readonly ServerConfig[] | undefined
  readonly strategy: 'order' | 'parallel'
  /** How long one forwarder is waited for. */
  readonly timeoutMs: number
  readonly zones: readonly ZoneConfig[]
  /** Answers of forwarders that are kept; 0: none. */
  readonly cacheMax: number
  /** How long an answer whose time is over may stand in for one that cannot be had. */
  readonly staleMs: number
  /** Of one sandbox. */
  readonly queriesPerS: number
  /** Letters of names are sent in chance case, as a second identifier (0x20). */
  readonly randomCase: boolean
  /** Networks with forwarders of their own. */
  readonly networks: readonly NetworkDns[]
  /** Sandboxes with settings of their own. */
  readonly sandboxes: readonly SandboxDns[]
  /** Sandboxes that are name servers themselves: port 53 is left to them. Decided in plan.ts. */
  readonly serving: readonly string[]
}

export interface NetworkDns {
  readonly network: string
  readonly servers: readonly ServerConfig[]
}

export interface SandboxDns {
  readonly sandbox: string
  /** Empty: its networks', or the node's. */
  readonly servers: readonly ServerConfig[]
  readonly search: readonly string[]
  /** For resolv.conf: `ndots:1`, `timeout:2`. */
  readonly options: readonly string[]
  readonly hosts: readonly HostName[]
}

/** A name that one sandbox alone knows. */
export interface HostName {
  readonly name: Name
  readonly address: Address
}

/** A file that says nothing of names. TTL: Docker's. */
export const DEFAULT_DNS: DnsConfig = {
  enabled: true,
  loopback: true,
  ttlS: 600,
  servers: undefined,
  strategy: 'order',
  timeoutMs: 2000,
  zones: [],
  cacheMax: 10_000,
  staleMs: 86_400_000,
  queriesPerS: 20_000,
  randomCase: true,
  networks: [],
  sandboxes: [],
  serving: [],
}
