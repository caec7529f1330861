/**
 * The seam between a bridge, or a tunnel, and what knows who wants group frames: ip/snooping.ts.
 *
 * ```text
 *   bridge: audience(frame, VLAN, port it came by) -> a number
 *           wants(that number, port) for each port that it may leave by
 * ```
 *
 * Frames are judged twice so that the flood stays the bridge's: who asks for a group is one thing,
 * isolation, VLANs and the port of origin are another. The filter never owns a packet. Ports are
 * numbers: those of a bridge's ports, or of a tunnel's peers.
 */
import type { Packet } from '../packet.ts'

/** Answers of {@link GroupFilter.audience} with a meaning to all; others are the filter's own. */
export const Audience = {
  /** Whoever a broadcast would reach. */
  Everybody: -1,
  /** It claims to be about membership, and is broken: to be dropped. */
  Malformed: -2,
} as const

/** The port of frames that came by no port, such as those that go into a tunnel. */
export const NO_PORT = -1

/** Which ports count as leading to a multicast router, which hears every group. */
export const GroupRole = {
  /** As long as queries or PIM hellos come from it. */
  Auto: 0,
  Never: 1,
  Always: 2,
  /** As Auto, and it hears every report: somebody behind it snoops too. */
  Reports: 3,
} as const

export interface GroupPort {
  /** One of {@link GroupRole}. */
  readonly role: number
  /** One station at most is behind it: when that leaves a group, nobody else has to be asked. */
  readonly fastLeave: boolean
  /** It gets every group for so long, since what it wants is not known yet. Default 0. */
  readonly everyMs?: number
}

export interface GroupFilter {
  addPort(port: number, options: GroupPort): void
  removePort(port: number): void
  /**
   * Learn from a group frame, and say who is to have it. Preconditions: the Ethernet header is
   * whole, and a tag; `vid` is 0 where tags are payload.
   */
  audience(packet: Packet, vid: number, port: number): number
  /** True if the port is of that audience. Until the next call of {@link audience}. */
  wants(audience: number, port: number): boolean
  /** The drop reason of a frame whose audience is nobody. */
  unwanted(audience: number): number
}
