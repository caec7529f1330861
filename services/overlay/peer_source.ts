/**
 * The seam between overlay networks and whatever knows where their endpoints are: the file
 * (static_source.ts), or gossip (services/gossip).
 *
 * ```text
 *   overlay network ── join, leave, announce, withdraw ──> source ── to other nodes
 *   overlay network <── peer, endpoint, conflict ───────── source <── from other nodes
 * ```
 *
 * A source tells changes, and all that it knows of a network when it is joined. What it has told
 * stays in force while it is silent, restarts or is partitioned: the overlay goes on
 * forwarding by what it was told last.
 */
import type { Address } from '../../stack/address.ts'
import type { Mac } from '../../stack/eth/mac.ts'

/** One endpoint of an overlay network, here or on another node. */
export interface EndpointRecord {
  /** Of the network. */
  readonly vni: number
  readonly mac: Mac
  readonly addresses: readonly Address[]
  /** Where its node's tunnels end. */
  readonly vtep: Address
  /** Of the sandbox, for names and for listings. */
  readonly name: string
  readonly aliases: readonly string[]
  /** Name of its node. */
  readonly node: string
}

/** Two endpoints claim one address. */
export interface EndpointConflict {
  readonly address: Address
  /** The one that has it. */
  readonly kept: EndpointRecord
  readonly refused: EndpointRecord
}

/** Told by a source; the overlay network listens. Identity of a record: VNI and MAC. */
export interface PeerListener {
  /** The node with this VTEP takes part in the network: it gets what is flooded. */
  addVtep(vni: number, vtep: Address): void
  removeVtep(vni: number, vtep: Address): void
  /** New, or changed (moved to another VTEP, other addresses). */
  setEndpoint(record: EndpointRecord): void
  removeEndpoint(vni: number, mac: Mac): void
  /** Two endpoints claim one address; `kept` is the older and keeps it. */
  conflict(address: Address, kept: EndpointRecord, refused: EndpointRecord): void
}

export interface PeerSource {
  readonly name: 'static' | 'gossip'
  /** From now on this node takes part; the listener hears all that is known of the network. */
  join(vni: number, listener: PeerListener): void
  /** No more; the listener is not called for it again. */
  leave(vni: number): void
  /** An endpoint of this node came, or changed. */
  announce(record: EndpointRecord): void
  withdraw(vni: number, mac: Mac): void
  /** All that the source knows of a network's endpoints on other nodes: to compare with tables. */
  records(vni: number): readonly EndpointRecord[]
  /** Addresses that are claimed twice at this moment. Undefined: the source decides nothing. */
  conflicts(vni: number): readonly EndpointConflict[] | undefined
  /** VTEPs of other nodes that take part. */
  vteps(vni: number): readonly Address[]
  close(): Promise<void>
}
