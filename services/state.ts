/**
 * The state of a node: networks, sandboxes, endpoints and routes with everything decided. Desired
 * state is made from a configuration (plan.ts), current state is told by the node (node.ts), and
 * both are of this one type, so that comparing them is all there is to applying a file (diff.ts).
 *
 * Maps keep the order of the file. Values are never changed in place.
 */
import type { Address, Prefix } from '../stack/address.ts'
import type { Mac } from '../stack/eth/mac.ts'
import type { DriverName, EndpointOptions, NetworkOptions } from './config/model.ts'
import type { LinkRoute } from './links.ts'

export interface State {
  /** By name. */
  readonly networks: ReadonlyMap<string, NetworkState>
  /** By name. */
  readonly sandboxes: ReadonlyMap<string, SandboxState>
  /** By {@link endpointKey}. */
  readonly endpoints: ReadonlyMap<string, EndpointState>
  /** By destination, as text. */
  readonly routes: ReadonlyMap<string, RouteState>
  /** Keys of endpoints whose device was lost from outside. Never in desired state. */
  readonly lost: ReadonlySet<string>
}

export const EMPTY: State = {
  networks: new Map(),
  sandboxes: new Map(),
  endpoints: new Map(),
  routes: new Map(),
  lost: new Set(),
}

export interface NetworkState {
  readonly name: string
  readonly driver: DriverName
  readonly internal: boolean
  readonly subnets: readonly SubnetState[]
  /** Undefined: the driver has no gateway. */
  readonly gatewayMac: Mac | undefined
  readonly options: NetworkOptions
}

export interface SubnetState {
  readonly subnet: Prefix
  readonly gateway: Address
}

export interface SandboxState {
  readonly name: string
  /** As in {@link LinkRequest}; of a shared stack, its owner's; empty: the host's own. */
  readonly netns: string
  readonly stack: 'own' | 'host' | 'shared'
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
}

export interface RouteState {
  readonly to: Prefix
  /** Undefined: what is sent there is discarded. */
  readonly via: Address | undefined
  /** The network that `via` is on. */
  readonly network: string | undefined
}

/** One endpoint a sandbox and network. */
export function endpointKey({ sandbox, network }: { sandbox: string; network: string }): string {
  return `${sandbox}/${network}`
}
