/**
 * Nodes that take part in the VNIs of one network: a node does while any source says so, and the
 * tunnel hears of the first and of the last.
 */
import { type Address, formatAddress } from '../../stack/address.ts'
import type { PeerSource } from './peer_source.ts'
import type { Segment } from './segment.ts'

interface Member {
  readonly segment: Segment
  readonly vtep: Address
  readonly tellers: Set<PeerSource>
}

export class Members {
  /** By VNI and VTEP. */
  readonly #all = new Map<string, Member>()

  /** @throws StackError if the tunnel has no room. */
  join(source: PeerSource, segment: Segment, vtep: Address): void {
    const known = this.#all.get(keyOf(segment, vtep))
    if (known !== undefined) {
      known.tellers.add(source)
      return
    }
    segment.tunnel.addMember(vtep)
    this.#all.set(keyOf(segment, vtep), { segment, vtep, tellers: new Set([source]) })
  }

  leave(source: PeerSource, segment: Segment, vtep: Address): void {
    const key = keyOf(segment, vtep)
    const member = this.#all.get(key)
    if (member?.tellers.delete(source) !== true || member.tellers.size > 0) return
    this.#all.delete(key)
    segment.tunnel.removeMember(vtep)
  }

  /** Nothing that this source told is true any more. */
  forget(source: PeerSource): void {
    for (const { segment, vtep } of [...this.#all.values()]) this.leave(source, segment, vtep)
  }

  of(segment: Segment): Address[] {
    return [...this.#all.values()].filter((m) => m.segment === segment).map(({ vtep }) => vtep)
  }
}

function keyOf({ vni }: Segment, vtep: Address): string {
  return `${vni} ${formatAddress(vtep)}`
}
