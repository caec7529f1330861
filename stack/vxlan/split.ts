/**
 * Joined datagrams taken apart. An underlay hands over several datagrams of one sender in one
 * packet where the kernel joined them (UDP_GRO): all are `segmentBytes` long but for the last.
 *
 * What makes more of them, such as one super-frame of the segments inside, is a {@link Joiner} as
 * well. This one copies each datagram into a packet of its own, and serves what cannot be joined.
 */
import { copy } from '../bytes.ts'
import { DropReason } from '../drop.ts'
import type { Packet, Pool } from '../packet.ts'

/** One VXLAN datagram, its header at the head, from a peer and with this outer TOS. */
export type VxlanInput = (packet: Packet, peer: number, tos: number) => void

/** Takes ownership of joined datagrams; each of what it makes of them goes to `next`. */
export type Joiner = (
  packet: Packet,
  segmentBytes: number,
  peer: number,
  tos: number,
  next: VxlanInput,
) => void

export function splitter(pool: Pool): Joiner {
  const { mem } = pool
  return (packet, segmentBytes, peer, tos, next) => {
    const { head, len, ingress } = packet
    for (let skip = 0; skip < len; skip += segmentBytes) {
      const bytes = Math.min(segmentBytes, len - skip)
      const single = pool.alloc(bytes)
      if (single === undefined) return pool.drop(packet, DropReason.PoolEmpty)
      single.len = bytes
      single.ingress = ingress
      copy(mem, single.head, head + skip, bytes)
      next(single, peer, tos)
    }
    pool.free(packet)
  }
}
