/**
 * What a configuration file says, once it is read and checked: the exact type that everything
 * behind the parser works on. Addresses are values, defaults are filled in, and nothing here is
 * allocated yet: what the file leaves open (a subnet, an address) stays open, see plan.ts.
 *
 * Order matters and is the file's: interfaces are numbered by it, and IPAM hands out by it.
 */
import type { Address, Prefix } from '../../stack/address.ts'
import type { Mac } from '../../stack/eth/mac.ts'

export interface Config {
  readonly name: string
  readonly networks: readonly NetworkConfig[]
  readonly sandboxes: readonly SandboxConfig[]
  readonly routes: readonly RouteConfig[]
}

export type DriverName = 'bridge' | 'null' | 'host' | 'container'

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

/** A network's `driver_opts`. */
export interface NetworkOptions {
  readonly mtuBytes: number
  /** `com.docker.network.bridge.enable_icc: "false"`: sandboxes reach the gateway only. */
  readonly isolated: boolean
  readonly arpProxy: boolean
  readonly vlanFiltering: boolean
  /** False: no super-frames and no partial checksums on this network. */
  readonly offload: boolean
  /** True: a sandbox sends from its own MAC address only (access ports). */
  readonly macGuard: boolean
  /** Driver `container`: whose stack its sandboxes share. */
  readonly sandbox: string | undefined
}

export interface SandboxConfig {
  readonly name: string
  /** Name under /var/run/netns, `pid:N`, or a path. */
  readonly netns: string
  readonly endpoints: readonly EndpointConfig[]
}

export interface EndpointConfig {
  readonly network: string
  readonly interfaceName: string
  readonly address4: Address | undefined
  readonly address6: Address | undefined
  readonly mac: Mac | undefined
  readonly aliases: readonly string[]
  readonly options: EndpointOptions
}

/** An endpoint's `driver_opts`. */
export interface EndpointOptions {
  /** Undefined: the network's. */
  readonly mtuBytes: number | undefined
  readonly isolated: boolean
  readonly pvid: number | undefined
  readonly tagged: readonly number[]
  /** Frames a second; undefined: no limit. */
  readonly broadcastPerS: number | undefined
  readonly multicastPerS: number | undefined
  readonly unknownPerS: number | undefined
}

/** A static route of the router. Exactly one of `via` and `blackhole` is given. */
export interface RouteConfig {
  readonly to: Prefix
  readonly via: Address | undefined
  readonly blackhole: boolean
}

export const DEFAULT_MTU_BYTES = 1500

/** An endpoint that asks for nothing. */
export const NO_ENDPOINT_OPTIONS: EndpointOptions = {
  mtuBytes: undefined,
  isolated: false,
  pvid: undefined,
  tagged: [],
  broadcastPerS: undefined,
  multicastPerS: undefined,
  unknownPerS: undefined,
}

/** A network that asks for nothing. */
export const NO_NETWORK_OPTIONS: NetworkOptions = {
  mtuBytes: DEFAULT_MTU_BYTES,
  isolated: false,
  arpProxy: true,
  vlanFiltering: false,
  offload: true,
  macGuard: true,
  sandbox: undefined,
}
