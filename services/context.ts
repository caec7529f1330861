/**
 * The parts that a node has one of: made by build_node.ts, and handed to drivers, networks, the
 * uplink and services, which build with them.
 */
import type { Clock } from '../stack/clock.ts'
import type { Device } from '../stack/device.ts'
import type { Conntrack } from '../stack/ip/conntrack.ts'
import type { ExpiryResets } from '../stack/ip/expiry_resets.ts'
import type { FlowCache } from '../stack/ip/flow_cache.ts'
import type { Nat } from '../stack/ip/nat.ts'
import type { PolicyFlows } from '../stack/ip/policy_flows.ts'
import type { Router } from '../stack/ip/router.ts'
import type { Pool } from '../stack/packet.ts'
import type { Random } from '../stack/random.ts'
import type { Captures } from './captures.ts'
import type { DhcpPort } from './dhcp/port.ts'
import type { AcceptForwarded, Links } from './links.ts'
import type { Log } from './log.ts'
import type { Overlays } from './overlay/overlays.ts'

export interface Context {
  readonly pool: Pool
  readonly clock: Clock
  readonly random: Random
  readonly links: Links
  readonly log: Log
  readonly router: Router
  readonly conntrack: Conntrack
  readonly expiryResets: ExpiryResets
  readonly nat: Nat
  /** In front of every device's elements; undefined: none. */
  readonly flows: FlowCache | undefined
  /** What policies of endpoints remember. */
  readonly policies: PolicyFlows
  /** Overlay networks, and what knows where their endpoints are. */
  readonly overlays: Overlays
  /** Shared by the DHCP servers of all networks. */
  readonly dhcpPort: DhcpPort
  readonly captures: Captures
  readonly tally: Tally
  /** Where the host is the outside; left out: who looks after its firewall does that too. */
  readonly accept?: AcceptForwarded | undefined
  /** Told of every device that is to be polled, and when it is no more. */
  readonly onDevice: (device: Device, added: boolean) => void
}

/** What is counted of a node beside its packets. */
export interface Tally {
  /** Devices lost from outside since the start. */
  lostDevices: number
}
