/**
 * What comes out of a tunnel made ready for receivers: segments joined to super-frames again, and
 * checksums that were left open marked as such.
 *
 * ```text
 *   joined datagrams:  | VXLAN Eth IP TCP data 0 | VXLAN Eth IP TCP data 1 | ... | VXLAN ... rest |
 *   super-frame:       | VXLAN Eth IP TCP data 0   data 1   ...   rest |
 * ```
 * An underlay hands over datagrams of one sender and one size together (UDP_GRO). They become one
 * frame if all are whole TCP segments (or UDP datagrams) of one flow: equal in every octet of all
 * headers but for lengths, IPv4 identification, checksums, sequence numbers that follow each other
 * and PSH on the last. Else they are taken apart (split.ts), in their order.
 *
 * **Checksums** are looked at before a super-frame vouches for them. A segment's is good if it is
 * complete and right, or if it is *open*: its field holds just the pseudo-header's sum, for the
 * receiver to add the rest. That is so if the sender said it (remote checksum offload, which our
 * own peers use), and also where the sender is a kernel on a virtual wire of this machine, which
 * never completes them. An open one is as safe as the outer UDP checksum, which the kernel has
 * verified, and says 1 in 65,536 times nothing about a complete one, whose completion is the same.
 *
 * **Virtual wires** have another surprise: a kernel's super-frame crosses them uncut, as one
 * datagram larger than any MTU, whose segment size nobody tells. TCP does not mind which it was,
 * so it becomes what fits the path.
 */
import { put16 } from '../bytes.ts'
import { DropReason } from '../drop.ts'
import * as ipv4 from '../ip/ipv4.ts'
import * as ipv6 from '../ip/ipv6.ts'
import * as tcp from '../ip/tcp.ts'
import * as udp from '../ip/udp.ts'
import type { Packet, Pool } from '../packet.ts'
import { outerBytes } from '../udp/outer.ts'
import type { Underlay } from '../udp/underlay.ts'
import * as vxlan from './header.ts'
import { FRAME, IP, Segments } from './segments.ts'
import { type Joiner, splitter, type VxlanInput } from './split.ts'

export interface CoalescerOptions {
  readonly pool: Pool
  readonly underlay: Underlay
}

export class Coalescer {
  readonly #pool: Pool
  readonly #underlay: Underlay
  readonly #outerBytes: number
  readonly #segments: Segments
  readonly #split: Joiner
  /** Where the datagrams go that are taken apart now. */
  #next: VxlanInput = () => {}

  constructor({ pool, underlay }: CoalescerOptions) {
    this.#pool = pool
    this.#underlay = underlay
    this.#outerBytes = outerBytes(underlay.address)
    this.#segments = new Segments(pool.mem)
    this.#split = splitter(pool)
  }

  readonly join: Joiner = (packet, segmentBytes, peer, tos, next) => {
    const segments = this.#segments
    const { head, len } = packet
    segments.parse(head, len)
    const isSuper = segments.transport > 0 && segments.bytesOf(head) === len
    const isAlone = segmentBytes >= len
    if (isSuper || isAlone) {
      return this.#single(packet, isAlone ? 0 : segmentBytes, peer, tos, next)
    }
    if (this.#belongTogether(head, len, segmentBytes)) {
      this.#compact(packet, segmentBytes)
      return next(packet, peer, tos)
    }
    this.#next = next
    this.#split(packet, segmentBytes, peer, tos, this.#apart)
  }

  readonly #apart: VxlanInput = (packet, peer, tos) => {
    this.#segments.parse(packet.head, packet.len)
    this.#single(packet, 0, peer, tos, this.#next)
  }

  #belongTogether(head: number, len: number, segmentBytes: number): boolean {
    const segments = this.#segments
    if (segments.transport === 0) return false
    const isRemote = vxlan.hasRemoteChecksum(this.#pool.mem, head)
    if (isRemote && !this.#isRemote(head)) return false
    return segments.belongTogether(head, len, segmentBytes, isRemote)
  }

  /** One datagram, parsed. `gsoSize`: of its segments, if it is a super-frame and that was told. */
  #single(packet: Packet, gsoSize: number, peer: number, tos: number, next: VxlanInput): void {
    const segments = this.#segments
    const { head, len } = packet
    const bytes = segments.transport === 0 ? 0 : segments.bytesOf(head)
    const isOpen = bytes >= segments.payload && bytes <= len && segments.isOpen(head, bytes)
    const marked = isOpen && segments.transport > 0
    const isRemote = len >= FRAME && vxlan.hasRemoteChecksum(this.#pool.mem, head)
    if (isRemote && !(marked && this.#isRemote(head))) {
      return this.#pool.drop(packet, DropReason.VxlanMalformed)
    }
    if (marked) {
      packet.csumStart = head + segments.transport
      packet.csumOffset = segments.csumOffset
      const room = peer < 0 ? len : this.#underlay.pathMtuBytes(peer) - this.#outerBytes
      if (len > room) this.#markSuper(packet, gsoSize, room)
    }
    next(packet, peer, tos)
  }

  /** True if the VXLAN header says of the checksum what the frame does. */
  #isRemote(at: number): boolean {
    const octet = vxlan.remoteChecksum(this.#pool.mem, at)
    const isUdp = (octet & vxlan.Remote.Udp) !== 0
    const start = (octet & vxlan.Remote.StartMask) << 1
    const segments = this.#segments
    return start === segments.transport - FRAME && isUdp !== segments.isTcp
  }

  /** A super-frame that came uncut. `gsoSize` 0: nobody told. */
  #markSuper(packet: Packet, gsoSize: number, room: number): void {
    const { isTcp, payload, gsoType } = this.#segments
    if (!isTcp && gsoSize === 0) return
    packet.gsoSize = isTcp ? room - payload : gsoSize
    packet.gsoType = gsoType
  }

  /** Move the payloads together behind the first headers, and make those the super-frame's. */
  #compact(packet: Packet, segmentBytes: number): void {
    const { mem } = this.#pool
    const segments = this.#segments
    const { payload, isTcp, csumOffset } = segments
    const { head } = packet
    const end = head + packet.len
    let to = head + segmentBytes
    for (let at = to; at < end; at += segmentBytes) {
      const until = Math.min(end, at + segmentBytes)
      mem.copyWithin(to, at + payload, until)
      to += until - at - payload
    }
    const transport = head + segments.transport
    packet.len = to - head
    packet.gsoType = segments.gsoType
    packet.gsoSize = segmentBytes - payload
    packet.csumStart = transport
    packet.csumOffset = csumOffset
    const ip = head + IP
    if (segments.isV4) {
      put16(mem, ip + ipv4.TOTAL, to - ip)
      ipv4.putChecksum(mem, ip)
    } else put16(mem, ip + ipv6.PAYLOAD, to - ip - ipv6.HEADER_BYTES)
    if (isTcp) mem[transport + tcp.FLAGS] = segments.lastFlags
    else put16(mem, transport + udp.LENGTH, to - transport)
    put16(mem, transport + csumOffset, segments.pseudoSum(to - head))
  }
}
