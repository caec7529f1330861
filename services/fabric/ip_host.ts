/** What the protocols of an in-memory host (ping.ts, udp.ts) ask of it. */
import type { Address } from '../../stack/address.ts'
import type { NeighborLink } from '../../stack/arp/neighbors.ts'
import type { Device } from '../../stack/device.ts'
import type { Packet, Pool } from '../../stack/packet.ts'
import type { Driver } from './driver.ts'

/** How a destination is reached. */
export interface Plan {
  readonly link: NeighborLink
  readonly device: Device
  /** Own address to send from. */
  readonly from: Address
  readonly nextHop: Address
  /** Largest packet that is known to get there. */
  readonly mtuBytes: number
}

export interface IpHost {
  readonly name: string
  readonly pool: Pool
  readonly driver: Driver
  /** @throws StackError `not-found` if there is no route. */
  plan(to: Address): Plan
  /** An identification for a datagram. */
  nextId(): number
  /**
   * Send an IP packet, `head` at its IP header, in fragments if it is too big for the plan.
   * Takes ownership.
   */
  transmit(packet: Packet, plan: Plan): void
}
