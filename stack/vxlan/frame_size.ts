/**
 * The size of frames above a tunnel, held against the path below it.
 *
 * ```text
 *   | IP, UDP | VXLAN | Ethernet | inner IP packet ... | [seal] |
 *   └──────────────── path MTU, octets ─────────────────────────┘
 * ```
 * Super-frames are measured by the segments they stand for. What is too big goes on all the same:
 * the underlay knows whether it can cut it (TCP), and drops and counts it if not. Its sender is
 * told in both cases, since the next segment may come alone.
 */
import { HEADER_BYTES as ETHERNET_BYTES } from '../eth/frame.ts'
import { ipOffset, superHeaderBytes } from '../ip/segment.ts'
import { GsoType, type Packet } from '../packet.ts'
import { outerBytes } from '../udp/outer.ts'
import type { Underlay } from '../udp/underlay.ts'
import { HEADER_BYTES } from './header.ts'

/** Tells the sender of a frame that IP packets of `mtuBytes` pass; the frame stays the caller's. */
export type TooBigTeller = (frame: Packet, mtuBytes: number) => void

export interface FrameSizeOptions {
  readonly mem: Uint8Array
  readonly underlay: Underlay
  /** Octets that encryption adds to each datagram. */
  readonly sealBytes: number
  readonly tell: TooBigTeller | undefined
}

export class FrameSize {
  readonly #mem: Uint8Array
  readonly #underlay: Underlay
  readonly #tell: TooBigTeller | undefined
  /** Of a datagram, beside the IP packet inside. */
  readonly #extraBytes: number

  constructor({ mem, underlay, sealBytes, tell }: FrameSizeOptions) {
    this.#mem = mem
    this.#underlay = underlay
    this.#tell = tell
    this.#extraBytes = outerBytes(underlay.address) + HEADER_BYTES + ETHERNET_BYTES + sealBytes
  }

  /** True if the frame fits the path to a peer; else its sender is told. */
  fits(frame: Packet, peer: number): boolean {
    const mtuBytes = this.#underlay.pathMtuBytes(peer) - this.#extraBytes
    if (frame.len - ETHERNET_BYTES <= mtuBytes) return true
    if (frame.gsoType !== GsoType.None && this.#segmentBytes(frame) <= mtuBytes) return true
    this.#tell?.(frame, mtuBytes)
    return false
  }

  /** Octets of the largest IP packet that a super-frame stands for. */
  #segmentBytes(frame: Packet): number {
    const headerBytes = superHeaderBytes(this.#mem, frame, ipOffset(this.#mem, frame))
    // The underlay refuses what contradicts itself.
    return headerBytes < 0 ? 0 : headerBytes - ETHERNET_BYTES + frame.gsoSize
  }
}
