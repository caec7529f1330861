/**
 * The seam of network drivers, by the verbs of the Container Network Model (libnetwork's
 * design.md): a driver makes networks, and endpoints on them, and lets sandboxes join and leave.
 *
 * ```text
 *   createNetwork -> createEndpoint -> join ... leave -> deleteEndpoint -> deleteNetwork
 * ```
 *
 * Everything a driver is told is decided already (plan.ts). Each call does all of its work or, if
 * it throws, none. `leave`, `deleteEndpoint` and `deleteNetwork` may be called for what is half
 * gone, such as an endpoint whose device was lost, and throw only if something had to be left
 * behind.
 */
import type { DriverName } from '../config/model.ts'
import type { Network } from '../network.ts'
import type { EndpointState, NetworkState, SandboxState } from '../state.ts'

export interface NetworkDriver {
  readonly name: DriverName
  /** @throws StackError. */
  createNetwork(network: NetworkState): void
  deleteNetwork(network: NetworkState): void
  /** @throws StackError. */
  createEndpoint(endpoint: EndpointState): void
  deleteEndpoint(endpoint: EndpointState): void
  /** @throws StackError. */
  join(endpoint: EndpointState, sandbox: SandboxState): Promise<void>
  leave(endpoint: EndpointState): void
  /** The data path of a network, if the driver has one. */
  network(name: string): Network | undefined
}
