/**
 * A link: one attachment of a router or host to an Ethernet segment. Several elements here need
 * to know who they are on it; none of them owns it.
 */
import type { Prefix } from '../address.ts'
import type { Mac } from '../eth/mac.ts'
import type { Output } from '../packet.ts'

/** One attachment to an Ethernet segment. */
export interface NeighborLink {
  /** Unique among the links of one {@link Neighbors}. */
  readonly index: number
  readonly name: string
  readonly mac: Mac
  /** Ethernet frames to the network. */
  readonly output: Output
  /** Own addresses, IPv4 and IPv6, the link-local one included: these are answered for. */
  readonly addresses: readonly Prefix[]
}
