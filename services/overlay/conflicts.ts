/**
 * Addresses that two endpoints of an overlay network claim. Each is logged when it begins; what is
 * shown is asked of the sources at that moment, so that nothing in it is of the past.
 *
 * Gossip decides who has an address, on all nodes alike. What the file tells of other nodes is
 * decided here: an endpoint of this node keeps what it has.
 */
import { type Address, formatAddress } from '../../stack/address.ts'
import { formatMac } from '../../stack/eth/mac.ts'
import type { Log } from '../log.ts'
import type { EndpointConflict, EndpointRecord, PeerSource } from './peer_source.ts'

/** As it is shown. */
export interface Conflict {
  readonly address: string
  /** The one that has the address. */
  readonly kept: ConflictEnd
  readonly refused: ConflictEnd
}

export interface ConflictEnd {
  readonly name: string
  readonly node: string
  readonly vtep: string
  readonly mac: string
}

/** Of an overlay network, what its conflicts depend on. */
interface Claimed {
  readonly segments: readonly { readonly vni: number }[]
  sources(): readonly PeerSource[]
  /** The endpoint of this node that has the address. */
  localOf(address: Address): EndpointRecord | undefined
}

/** Those of this moment. */
export function conflictsOf(network: Claimed): Conflict[] {
  const all = network.segments.flatMap(({ vni }) =>
    network.sources().flatMap((source) => {
      const decided = source.conflicts(vni)
      return decided ?? source.records(vni).flatMap((record) => claimedHere(network, record))
    }),
  )
  return all.map(show)
}

/** Addresses of a record that endpoints of this node have. */
export function claimedHere(
  network: Pick<Claimed, 'localOf'>,
  refused: EndpointRecord,
): EndpointConflict[] {
  return refused.addresses.flatMap((address): EndpointConflict[] => {
    const kept = network.localOf(address)
    return kept === undefined ? [] : [{ address, kept, refused }]
  })
}

export function logConflict(log: Log, network: string, conflict: EndpointConflict): void {
  const shown = show(conflict)
  log.warn({ network, ...shown }, `two endpoints claim ${shown.address}`)
}

function show({ address, kept, refused }: EndpointConflict): Conflict {
  return { address: formatAddress(address), kept: endOf(kept), refused: endOf(refused) }
}

function endOf({ name, node, vtep, mac }: EndpointRecord): ConflictEnd {
  return { name, node, vtep: formatAddress(vtep), mac: formatMac(mac) }
}
