/**
 * The seam between tunnels and the network that carries them: a UDP socket of the host's
 * (socket_underlay.ts), or cables in memory (memory_underlay.ts).
 *
 * ```text
 *   tunnel: push header ──> send(packet, peer, prefixBytes) ──> datagrams to a peer
 *   tunnel: onDatagram(packet, peer, segmentBytes, tos) <────── datagrams, possibly many in one
 * ```
 *
 * A **peer** is the address of a remote tunnel end under a small number, so that nothing on the
 * data path handles addresses. What comes from an address that is no peer has the number
 * {@link NO_PEER}; {@link Underlay.sourceOf} tells whose it was, until the handler returns.
 *
 * Super-frames go in whole: the first `prefixBytes` octets of a packet are the tunnel's header,
 * what follows is an Ethernet frame with its offload facts; each segment that leaves carries the
 * prefix again. In the other direction, datagrams of one sender and one size may come joined
 * (UDP_GRO): `segmentBytes` is the size of all but the last.
 */

import type { Address } from '../address.ts'
import * as tcp from '../ip/tcp.ts'
import * as udp from '../ip/udp.ts'
import type { Packet } from '../packet.ts'

/** A datagram came from an address that is no peer. */
export const NO_PEER = -1

/** Datagrams from the underlay. Takes ownership. `tos` is the outer TOS or traffic class. */
export type DatagramHandler = (
  packet: Packet,
  peer: number,
  segmentBytes: number,
  tos: number,
) => void

export interface UnderlayPeer {
  readonly address: Address
  readonly udpPort: number
}

/** How far from the start of a frame a sum may begin that a tunnel header can tell of. */
const OPEN_START_MAX = 254

/**
 * True if a packet's checksum can be left open on the way to a peer that takes that, because a
 * tunnel's header can say where it is (VXLAN's remote checksum offload). `frame`: its offset.
 */
export function isOpen(packet: Packet, frame: number): boolean {
  const start = packet.csumStart - frame
  if (packet.csumStart === 0 || start > OPEN_START_MAX || (start & 1) !== 0) return false
  return packet.csumOffset === udp.CHECKSUM || packet.csumOffset === tcp.CHECKSUM
}

export interface Underlay {
  /** For people: `udp 10.200.0.1:4789`. */
  readonly name: string
  readonly address: Address
  readonly udpPort: number
  /** Its number in the node's counters. */
  readonly port: number
  onDatagram: DatagramHandler
  /** Told of each peer that is new. */
  onPeer: (peer: number) => void
  /** True if checksums can be left open at all: see {@link leavesOpen}. */
  readonly mayLeaveOpen: boolean
  /** Largest outer IP packet to a peer that is known to arrive, octets. */
  pathMtuBytes(peer: number): number
  /** The same without {@link limitPath}: what the host believes. */
  hostPathBytes(peer: number): number
  /** No larger packets than this to a peer, whatever the host believes; 0: what it believes. */
  limitPath(peer: number, mtuBytes: number): void
  /** Told when a path changes, and of a new peer whose path takes less than others. */
  onPathMtu: (peer: number, mtuBytes: number) => void
  /**
   * From now on the peer takes partial checksums as they are, or no more: see {@link leavesOpen}.
   * It must have said so.
   */
  setOpenChecksums(peer: number, on: boolean): void
  /** Its number, the same for the same address until it is removed as often as it was added. */
  addPeer(peer: UnderlayPeer): number
  removePeer(peer: number): void
  /** Undefined: there is no such peer. */
  peer(number: number): UnderlayPeer | undefined
  /** Sender of the datagram that is handled now: for learning and for logs, not for each packet. */
  sourceOf(): UnderlayPeer
  /**
   * True if {@link send} leaves this packet's checksum open, so that the tunnel's header must tell
   * where it is. Else it is completed. `frame`: offset of the Ethernet frame in it.
   */
  leavesOpen(peer: number, packet: Packet, frame: number): boolean
  /**
   * Send the packet, whose first `prefixBytes` octets are a tunnel header, with `tos` outside.
   * Takes ownership; counts it, or drops it with a reason.
   */
  send(packet: Packet, peer: number, prefixBytes: number, tos: number): void
  /** The same at once and up to the host's belief, with nothing but a tunnel header in it. */
  probe(packet: Packet, peer: number): void
  flush(): void
  /** Idempotent. */
  close(): void
}
