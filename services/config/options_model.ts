/**
 * Options of drivers, as a file has them under `driver_opts`: of networks and of endpoints. See
 * model.ts for the rest of a file.
 */
import type { Address } from '../../stack/address.ts'

/**
 * How a network meets the outside, by Docker's names: translated and closed but for published
 * ports; translated and open to what is routed in; not translated and open; of an internal network.
 */
export type GatewayMode = 'nat' | 'nat-unprotected' | 'routed' | 'isolated'

/** A network's `driver_opts`. */
export interface NetworkOptions {
  readonly mtuBytes: number
  /** `com.docker.network.bridge.enable_icc: "false"`: sandboxes reach the gateway only. */
  readonly isolated: boolean
  readonly gateway: boolean
  /** Nothing is routed between it and other networks that are separate, but what they publish. */
  readonly separate: boolean
  readonly arpProxy: boolean
  readonly vlanFiltering: boolean
  /** False: no super-frames and no partial checksums on this network. */
  readonly offload: boolean
  /** True: a sandbox sends from its own MAC address only (access ports). */
  readonly macGuard: boolean
  /** IGMP and MLD snooping: groups go to who asked for them. */
  readonly snooping: boolean
  /** With snooping: ask hosts which groups they want. */
  readonly querier: boolean
  /** After so many seconds of silence the bridge forgets a station that it learned. */
  readonly fdbAgeingS: number
  /** Of interfaces in sandboxes, in packets; undefined: what super-frames need. */
  readonly txQueueLen: number | undefined
  /** Driver `container`: whose stack its sandboxes share. */
  readonly sandbox: string | undefined
  /** False: addresses are not translated on the way out, whatever the mode. */
  readonly masquerade: boolean
  readonly gatewayMode4: GatewayMode
  readonly gatewayMode6: GatewayMode
  /** What sandboxes are seen as outside; undefined: the uplink's address. */
  readonly egress4: Address | undefined
  readonly egress6: Address | undefined
  /** Where ports are published that name no address. */
  readonly binding4: Address | undefined
  /** Driver `macvlan` only. */
  readonly macvlan: MacvlanOptions | undefined
}

/** How endpoints of one parent reach each other, by Docker's names; see drivers/macvlan.ts. */
export const MACVLAN_MODES = ['bridge', 'private', 'vepa', 'passthru'] as const
export type MacvlanMode = (typeof MACVLAN_MODES)[number]

export interface MacvlanOptions {
  /** An interface that is there, with a VLAN as `eth0.10`; undefined: the network ends here. */
  readonly parent: string | undefined
  /** Where the parent is; undefined: the process's own namespace. */
  readonly netns: string | undefined
  readonly mode: MacvlanMode
  /** The host and its endpoints reach each other. */
  readonly hostAccess: boolean
  /** Addresses are the network's outside to give: endpoints ask by DHCP. */
  readonly leased: boolean
}

/** An endpoint's `driver_opts`. */
export interface EndpointOptions {
  /** Undefined: the network's. */
  readonly mtuBytes: number | undefined
  readonly isolated: boolean
  /** Its IPv4 address and routes are left to who asks for them by DHCP inside. */
  readonly dhcp: boolean
  readonly pvid: number | undefined
  readonly tagged: readonly number[]
  /** Frames never pass between endpoints with one number here; 0: they do. */
  readonly splitHorizon: number
  /** Frames a second; undefined: no limit. */
  readonly broadcastPerS: number | undefined
  readonly multicastPerS: number | undefined
  readonly unknownPerS: number | undefined
  /** Whether every group goes there: where a multicast router was heard, or in any case. */
  readonly multicastRouter: MulticastRouter
  /** Undefined: where one station may be behind it. */
  readonly fastLeave: boolean | undefined
}

export const MULTICAST_ROUTER = ['auto', 'never', 'always'] as const
export type MulticastRouter = (typeof MULTICAST_ROUTER)[number]

export const DEFAULT_MTU_BYTES = 1500

/** An endpoint that asks for nothing. */
export const NO_ENDPOINT_OPTIONS: EndpointOptions = {
  mtuBytes: undefined,
  isolated: false,
  dhcp: false,
  pvid: undefined,
  tagged: [],
  splitHorizon: 0,
  broadcastPerS: undefined,
  multicastPerS: undefined,
  unknownPerS: undefined,
  multicastRouter: 'auto',
  fastLeave: undefined,
}

/** A network that asks for nothing. */
export const NO_NETWORK_OPTIONS: NetworkOptions = {
  mtuBytes: DEFAULT_MTU_BYTES,
  isolated: false,
  gateway: true,
  separate: false,
  arpProxy: true,
  vlanFiltering: false,
  offload: true,
  macGuard: true,
  snooping: false,
  querier: true,
  fdbAgeingS: 300,
  txQueueLen: undefined,
  sandbox: undefined,
  masquerade: true,
  gatewayMode4: 'nat',
  gatewayMode6: 'nat',
  egress4: undefined,
  egress6: undefined,
  binding4: undefined,
  macvlan: undefined,
}
