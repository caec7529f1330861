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
import { i32, put16, u8, u16, u32 } from '../bytes.ts'
import { fold, sum } from '../checksum.ts'
import { DropReason } from '../drop.ts'
import * as eth from '../eth/frame.ts'
import * as ipv4 from '../ip/ipv4.ts'
import * as ipv6 from '../ip/ipv6.ts'
import * as tcp from '../ip/tcp.ts'
import { GsoType, type Packet, type Pool } from '../packet.ts'
import * as udp from '../udp/header.ts'
import * as vxlan from './header.ts'
import { type Joiner, splitter, type VxlanInput } from './split.ts'

const FRAME: number = vxlan.HEADER_BYTES
const IP: number = FRAME + eth.HEADER_BYTES
/** Word of a TCP header with data offset, flags and window. */
const TCP_FLAGS_WORD = 12

export interface CoalescerOptions {
  readonly pool: Pool
  /** Octets that a datagram to or from a peer may have, its VXLAN header included. */
  readonly roomBytes: (peer: number) => number
}

export class Coalescer {
  readonly #pool: Pool
  readonly #roomBytes: (peer: number) => number
  readonly #split: Joiner
  /** Of the datagram looked at last, offsets from its VXLAN header; 0: no TCP, no UDP. */
  #transport = 0
  #payload = 0
  #isV4 = false
  #isTcp = false
  /** Sum of the pseudo-header without the length. */
  #pseudoSum = 0
  /** TCP flags of the last segment: all the same, but for PSH. */
  #lastFlags = 0

  constructor({ pool, roomBytes }: CoalescerOptions) {
    this.#pool = pool
    this.#roomBytes = roomBytes
    this.#split = splitter(pool)
  }

  readonly join: Joiner = (packet, segmentBytes, peer, tos, next) => {
    const { mem } = this.#pool
    const { head, len } = packet
    this.#parse(mem, head, len)
    const isOne = segmentBytes === 0 || segmentBytes >= len || this.#ends(mem, head) === len
    if (isOne) return this.#single(packet, segmentBytes, peer, tos, next)
    this.#parse(mem, head, segmentBytes)
    if (this.#joins(mem, head, len, segmentBytes)) {
      this.#compact(mem, packet, segmentBytes)
      return next(packet, peer, tos)
    }
    this.#split(packet, segmentBytes, peer, tos, (single, from, outer) => {
      this.#parse(mem, single.head, single.len)
      this.#single(single, 0, from, outer, next)
    })
  }

  /** Find the transport header of the datagram at `at`. What is not plain has none. */
  #parse(mem: Uint8Array, at: number, bytes: number): void {
    this.#transport = 0
    if (bytes < IP + ipv4.HEADER_BYTES) return
    const type = eth.type(mem, at + FRAME)
    const ip = at + IP
    let protocol = 0
    let transport = 0
    if (type === eth.EtherType.Ipv4) {
      if (u8(mem, ip) !== 0x45 || ipv4.isFragment(mem, ip)) return
      protocol = ipv4.protocol(mem, ip)
      transport = IP + ipv4.HEADER_BYTES
      this.#isV4 = true
    } else if (type === eth.EtherType.Ipv6) {
      if (bytes < IP + ipv6.HEADER_BYTES || u8(mem, ip) >>> 4 !== 6) return
      protocol = ipv6.nextHeader(mem, ip)
      transport = IP + ipv6.HEADER_BYTES
      this.#isV4 = false
    } else return
    this.#isTcp = protocol === ipv4.Protocol.Tcp
    if (this.#isTcp) {
      if (!tcp.isHeader(mem, at + transport, bytes - transport)) return
      this.#payload = transport + tcp.headerBytes(mem, at + transport)
    } else {
      if (protocol !== ipv4.Protocol.Udp || bytes < transport + udp.HEADER_BYTES) return
      this.#payload = transport + udp.HEADER_BYTES
    }
    this.#transport = transport
    const addresses = this.#isV4 ? ip + ipv4.SRC : ip + ipv6.SRC
    this.#pseudoSum = sum(mem, addresses, at + transport - addresses, protocol)
  }

  /** Where the IP packet ends, by its own length; -1: it has no transport header. */
  #ends(mem: Uint8Array, at: number): number {
    if (this.#transport === 0) return -1
    const ip = at + IP
    if (this.#isV4) return IP + ipv4.totalBytes(mem, ip)
    return IP + ipv6.HEADER_BYTES + ipv6.payloadBytes(mem, ip)
  }

  get #csumOffset(): number {
    return this.#isTcp ? tcp.CHECKSUM : udp.CHECKSUM
  }

  /** True if the checksum of the datagram at `at`, `bytes` long, is open. */
  #isOpen(mem: Uint8Array, at: number, bytes: number): boolean {
    const field = u16(mem, at + this.#transport + this.#csumOffset)
    return field === fold(this.#pseudoSum + bytes - this.#transport)
  }

  #single(packet: Packet, gsoSize: number, peer: number, tos: number, next: VxlanInput): void {
    const { mem } = this.#pool
    const { head, len } = packet
    const isRemote = len >= FRAME && vxlan.hasRemoteChecksum(mem, head)
    const bytes = this.#ends(mem, head)
    const isOpen = bytes > 0 && bytes <= len && this.#isOpen(mem, head, bytes)
    if (isRemote && !(isOpen && this.#isRemote(mem, head))) {
      return this.#pool.drop(packet, DropReason.VxlanMalformed)
    }
    if (isOpen) {
      packet.csumStart = head + this.#transport
      packet.csumOffset = this.#csumOffset
      const room = this.#roomBytes(peer)
      if (len > room) this.#markSuper(packet, gsoSize, room)
    }
    next(packet, peer, tos)
  }

  /** True if the VXLAN header says of the checksum what the frame does. */
  #isRemote(mem: Uint8Array, at: number): boolean {
    const octet = vxlan.remoteChecksum(mem, at)
    const isUdp = (octet & vxlan.Remote.Udp) !== 0
    const start = (octet & vxlan.Remote.StartMask) << 1
    return start === this.#transport - FRAME && isUdp !== this.#isTcp
  }

  /** A super-frame that came uncut. `gsoSize` 0: nobody told. */
  #markSuper(packet: Packet, gsoSize: number, room: number): void {
    if (!this.#isTcp && gsoSize === 0) return
    packet.gsoSize = this.#isTcp ? room - this.#payload : gsoSize
    packet.gsoType = this.#gsoType
  }

  get #gsoType(): number {
    if (!this.#isTcp) return GsoType.Udp
    return this.#isV4 ? GsoType.TcpV4 : GsoType.TcpV6
  }

  /** True if all datagrams are segments of one super-frame. Precondition: the first is parsed. */
  #joins(mem: Uint8Array, head: number, len: number, segmentBytes: number): boolean {
    if (this.#transport === 0 || this.#ends(mem, head) !== segmentBytes) return false
    if (segmentBytes <= this.#payload) return false
    const isRemote = vxlan.hasRemoteChecksum(mem, head)
    if (isRemote && !this.#isRemote(mem, head)) return false
    const transport = head + this.#transport
    if (this.#isTcp && tcp.flags(mem, transport) !== tcp.Flag.Ack) return false
    if (!this.#isTcp && u16(mem, transport + udp.CHECKSUM) === 0) return false
    if (!this.#isGood(mem, head, segmentBytes, isRemote)) return false
    const end = head + len
    const sequence = this.#isTcp ? u32(mem, transport + tcp.SEQ) : 0
    const piece = segmentBytes - this.#payload
    let ahead = piece
    for (let at = head + segmentBytes; at < end; at += segmentBytes) {
      const bytes = Math.min(segmentBytes, end - at)
      if (bytes <= this.#payload || this.#ends(mem, at) !== bytes) return false
      if (!this.#isLike(mem, head, at - head)) return false
      const isNext = this.#isTcp
        ? this.#continues(mem, head, at, sequence + ahead, at + bytes === end)
        : u16(mem, at + this.#transport + udp.LENGTH) === bytes - this.#transport
      if (!isNext || !this.#isGood(mem, at, bytes, isRemote)) return false
      ahead += piece
    }
    return true
  }

  /** True if the checksums of the datagram at `at` are right, or left open. */
  #isGood(mem: Uint8Array, at: number, bytes: number, mustBeOpen: boolean): boolean {
    if (this.#isV4 && !ipv4.isIntact(mem, at + IP)) return false
    if (this.#isOpen(mem, at, bytes)) return true
    if (mustBeOpen) return false
    const transport = bytes - this.#transport
    const total = fold(this.#pseudoSum + transport)
    return sum(mem, at + this.#transport, transport, total) === 0xffff
  }

  /** True if a datagram `step` octets later has the same headers, up to the ports. */
  #isLike(mem: Uint8Array, head: number, step: number): boolean {
    const ip = head + IP
    for (let i = head; i < ip; i += 2) if (u16(mem, i) !== u16(mem, i + step)) return false
    if (this.#isV4) {
      if (u16(mem, ip) !== u16(mem, ip + step)) return false
      if (i32(mem, ip + ipv4.FRAGMENT) !== i32(mem, ip + ipv4.FRAGMENT + step)) return false
    } else {
      if (i32(mem, ip) !== i32(mem, ip + step)) return false
      if (u16(mem, ip + ipv6.NEXT) !== u16(mem, ip + ipv6.NEXT + step)) return false
    }
    const end = head + this.#transport + 4
    for (let i = ip + (this.#isV4 ? ipv4.SRC : ipv6.SRC); i < end; i += 4) {
      if (i32(mem, i) !== i32(mem, i + step)) return false
    }
    return true
  }

  /** True if the segment at `at` begins with `sequence`, and is else like the first. */
  #continues(
    mem: Uint8Array,
    head: number,
    at: number,
    sequence: number,
    isLast: boolean,
  ): boolean {
    const first = head + this.#transport
    const own = at + this.#transport
    if (i32(mem, own + tcp.SEQ) !== (sequence | 0)) return false
    if (i32(mem, first + tcp.ACK) !== i32(mem, own + tcp.ACK)) return false
    this.#lastFlags = tcp.flags(mem, own)
    const push = isLast ? tcp.Flag.Psh << 16 : 0
    const word = i32(mem, own + TCP_FLAGS_WORD) & ~push
    if (i32(mem, first + TCP_FLAGS_WORD) !== word) return false
    const step = at - head
    for (let i = first + tcp.CHECKSUM + 2; i < head + this.#payload; i += 2) {
      if (u16(mem, i) !== u16(mem, i + step)) return false
    }
    return true
  }

  /** Move the payloads together behind the first headers, and make those the super-frame's. */
  #compact(mem: Uint8Array, packet: Packet, segmentBytes: number): void {
    const { head } = packet
    const end = head + packet.len
    const payload = this.#payload
    let to = head + segmentBytes
    for (let at = head + segmentBytes; at < end; at += segmentBytes) {
      const until = Math.min(end, at + segmentBytes)
      mem.copyWithin(to, at + payload, until)
      to += until - at - payload
    }
    const transport = head + this.#transport
    if (this.#isTcp) mem[transport + tcp.FLAGS] = this.#lastFlags
    packet.len = to - head
    packet.gsoType = this.#gsoType
    packet.gsoSize = segmentBytes - payload
    packet.csumStart = transport
    packet.csumOffset = this.#csumOffset
    const ip = head + IP
    if (this.#isV4) {
      put16(mem, ip + ipv4.TOTAL, to - ip)
      ipv4.putChecksum(mem, ip)
    } else put16(mem, ip + ipv6.PAYLOAD, to - ip - ipv6.HEADER_BYTES)
    if (!this.#isTcp) put16(mem, transport + udp.LENGTH, to - transport)
    put16(mem, transport + this.#csumOffset, fold(this.#pseudoSum + to - transport))
  }
}
