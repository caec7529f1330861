/**
 * Datagrams of a tunnel that carry TCP or UDP, looked at: one alone, and whether several in a row
 * are the segments of one super-frame.
 *
 * ```text
 *   0        8          22   transport   payload
 *   | VXLAN  | Ethernet | IP | TCP | UDP | ...      offsets from the datagram's start
 * ```
 * Segments of one super-frame are equal in every octet of all headers but for lengths, IPv4
 * identification, checksums, sequence numbers that follow each other, and PSH on the last.
 *
 * All but the last have one size, so most of their headers are words that are equal or not. Where
 * that size is a multiple of four these are compared a word at a time under masks that leave out
 * what may differ; else, and for the last, field by field.
 */
import { i32, u8, u16, u32 } from '../bytes.ts'
import { fold, sum } from '../checksum.ts'
import * as eth from '../eth/frame.ts'
import * as ipv4 from '../ip/ipv4.ts'
import * as ipv6 from '../ip/ipv6.ts'
import * as tcp from '../ip/tcp.ts'
import * as udp from '../ip/udp.ts'
import { GsoType } from '../packet.ts'
import * as vxlan from './header.ts'

/** Offsets of the inner frame and its IP header. */
export const FRAME: number = vxlan.HEADER_BYTES
export const IP: number = FRAME + eth.HEADER_BYTES
/** Word of a TCP header with data offset, flags and window. */
const TCP_FLAGS_WORD = 12
/** Halves of a word in the host's order: what comes first in memory is the lower one. */
const [FIRST_HALF, SECOND_HALF] = [0xffff, ~0xffff]
/** VXLAN, Ethernet, IPv6 and the longest TCP header, in words. */
const WORDS_MAX = (IP + ipv6.HEADER_BYTES + 60) >> 2

export class Segments {
  /** Of the datagram parsed last; `transport` 0: it is neither TCP nor UDP, or a fragment. */
  transport = 0
  payload = 0
  isV4 = false
  isTcp = false
  /** TCP flags of the last segment: those of all, and perhaps PSH. */
  lastFlags = 0
  readonly #mem: Uint8Array
  readonly #words: Int32Array
  readonly #masks = new Int32Array(WORDS_MAX)
  /** Sum of the pseudo-header without the length. */
  #pseudoSum = 0
  /** Sum of the IPv4 header without identification and checksum. */
  #ipSum = 0

  /** Precondition: `mem` starts at a multiple of 4 in its buffer. */
  constructor(mem: Uint8Array) {
    this.#mem = mem
    this.#words = new Int32Array(mem.buffer, mem.byteOffset, mem.byteLength >>> 2)
  }

  /** Find the headers of the datagram at `at`. */
  parse(at: number, bytes: number): void {
    const mem = this.#mem
    this.transport = 0
    if (bytes < IP + ipv4.HEADER_BYTES) return
    const type = eth.type(mem, at + FRAME)
    const ip = at + IP
    let protocol = 0
    let transport = 0
    this.isV4 = type === eth.EtherType.Ipv4
    if (this.isV4) {
      if (u8(mem, ip) !== 0x45 || ipv4.isFragment(mem, ip)) return
      protocol = ipv4.protocol(mem, ip)
      transport = IP + ipv4.HEADER_BYTES
    } else if (type === eth.EtherType.Ipv6) {
      if (bytes < IP + ipv6.HEADER_BYTES || u8(mem, ip) >>> 4 !== 6) return
      protocol = ipv6.nextHeader(mem, ip)
      transport = IP + ipv6.HEADER_BYTES
    } else return
    this.isTcp = protocol === ipv4.Protocol.Tcp
    if (this.isTcp) {
      if (!tcp.isHeader(mem, at + transport, bytes - transport)) return
      this.payload = transport + tcp.headerBytes(mem, at + transport)
    } else {
      if (protocol !== ipv4.Protocol.Udp || bytes < transport + udp.HEADER_BYTES) return
      this.payload = transport + udp.HEADER_BYTES
    }
    this.transport = transport
    const addresses = ip + (this.isV4 ? ipv4.SRC : ipv6.SRC)
    this.#pseudoSum = sum(mem, addresses, at + transport - addresses, protocol)
  }

  /** Octets of the datagram at `at` by the length in its IP header. Precondition: parsed. */
  bytesOf(at: number): number {
    const ip = at + IP
    if (this.isV4) return IP + ipv4.totalBytes(this.#mem, ip)
    return IP + ipv6.HEADER_BYTES + ipv6.payloadBytes(this.#mem, ip)
  }

  get csumOffset(): number {
    return this.isTcp ? tcp.CHECKSUM : udp.CHECKSUM
  }

  get gsoType(): number {
    if (!this.isTcp) return GsoType.Udp
    return this.isV4 ? GsoType.TcpV4 : GsoType.TcpV6
  }

  /** Sum of the pseudo-header of a datagram of so many octets. */
  pseudoSum(bytes: number): number {
    return fold(this.#pseudoSum + bytes - this.transport)
  }

  /** True if the checksum of the datagram at `at` is left open. */
  isOpen(at: number, bytes: number): boolean {
    const field = u16(this.#mem, at + this.transport + this.csumOffset)
    return field === this.pseudoSum(bytes)
  }

  /**
   * True if the datagrams from `head` to `head + len`, all `segmentBytes` long but for the last,
   * are segments of one super-frame. Precondition: the first was parsed, and has a transport.
   */
  belongTogether(head: number, len: number, segmentBytes: number, mustBeOpen: boolean): boolean {
    const mem = this.#mem
    if (this.bytesOf(head) !== segmentBytes || segmentBytes <= this.payload) return false
    const transport = head + this.transport
    if (this.isTcp && tcp.flags(mem, transport) !== tcp.Flag.Ack) return false
    if (!this.isTcp && u16(mem, transport + udp.LENGTH) !== segmentBytes - this.transport) {
      return false
    }
    const open = this.isOpen(head, segmentBytes)
    if (!open && (mustBeOpen || u16(mem, transport + this.csumOffset) === 0)) return false
    if (!this.#isGood(head, segmentBytes, open)) return false
    const end = head + len
    const piece = segmentBytes - this.payload
    const byWords = (segmentBytes & 3) === 0 && (head & 3) === 2
    if (byWords) this.#prepare(head, open)
    let sequence = (this.isTcp ? u32(mem, transport + tcp.SEQ) : 0) | 0
    for (let at = head + segmentBytes; at < end; at += segmentBytes) {
      sequence = (sequence + piece) | 0
      if (byWords && at + segmentBytes < end) {
        if (!this.#isSame(head, at, sequence)) return false
        if (!open && !this.#isComplete(at, segmentBytes)) return false
        continue
      }
      const bytes = Math.min(segmentBytes, end - at)
      if (!this.#follows(head, at, bytes, sequence, at + bytes === end)) return false
      if (!this.#isGood(at, bytes, open)) return false
    }
    return true
  }

  /** Make the masks of what may differ, and the sum of the IP header that does not. */
  #prepare(head: number, open: boolean): void {
    const mem = this.#mem
    const masks = this.#masks
    masks.fill(-1)
    if (this.isV4) {
      masks[(IP + ipv4.ID - 2) >> 2] = SECOND_HALF
      masks[(IP + ipv4.CHECKSUM - 2) >> 2] = FIRST_HALF
      const ip = head + IP
      const out = u16(mem, ip + ipv4.ID) + u16(mem, ip + ipv4.CHECKSUM)
      this.#ipSum = fold(sum(mem, ip, ipv4.HEADER_BYTES) + (~fold(out) & 0xffff))
    }
    const { transport } = this
    if (this.isTcp) masks[(transport + tcp.SEQ - 2) >> 2] = 0
    if (open) return
    if (this.isTcp) masks[(transport + tcp.CHECKSUM - 2) >> 2] = SECOND_HALF
    else masks[(transport + udp.LENGTH - 2) >> 2] = FIRST_HALF
  }

  /** True if a segment as long as the first has equal headers and the sequence number. */
  #isSame(head: number, at: number, sequence: number): boolean {
    const mem = this.#mem
    const words = this.#words
    const masks = this.#masks
    const count = (this.payload - 2) >> 2
    const a = (head + 2) >> 2
    const b = (at + 2) >> 2
    let differ = u16(mem, head) ^ u16(mem, at)
    for (let i = 0; i < count; i++) differ |= (words[a + i]! ^ words[b + i]!) & masks[i]!
    if (differ !== 0) return false
    if (this.isTcp && i32(mem, at + this.transport + tcp.SEQ) !== sequence) return false
    if (!this.isV4) return true
    const ip = at + IP
    return fold(this.#ipSum + u16(mem, ip + ipv4.ID) + u16(mem, ip + ipv4.CHECKSUM)) === 0xffff
  }

  /** True if the checksums of the datagram at `at` are right, or open as they are said to be. */
  #isGood(at: number, bytes: number, open: boolean): boolean {
    if (this.isV4 && !ipv4.isIntact(this.#mem, at + IP)) return false
    return open ? this.isOpen(at, bytes) : this.#isComplete(at, bytes)
  }

  #isComplete(at: number, bytes: number): boolean {
    const from = at + this.transport
    return sum(this.#mem, from, bytes - this.transport, this.pseudoSum(bytes)) === 0xffff
  }

  /** The long way: field by field. */
  #follows(head: number, at: number, bytes: number, sequence: number, isLast: boolean): boolean {
    const mem = this.#mem
    if (bytes <= this.payload || this.bytesOf(at) !== bytes) return false
    if (!this.#isLike(head, at - head)) return false
    const own = at + this.transport
    if (!this.isTcp) return u16(mem, own + udp.LENGTH) === bytes - this.transport
    if (i32(mem, own + tcp.SEQ) !== sequence) return false
    const first = head + this.transport
    if (i32(mem, first + tcp.ACK) !== i32(mem, own + tcp.ACK)) return false
    this.lastFlags = tcp.flags(mem, own)
    const push = isLast ? tcp.Flag.Psh << 16 : 0
    const word = i32(mem, own + TCP_FLAGS_WORD) & ~push
    if (i32(mem, first + TCP_FLAGS_WORD) !== word) return false
    const step = at - head
    for (let i = first + tcp.CHECKSUM + 2; i < head + this.payload; i += 2) {
      if (u16(mem, i) !== u16(mem, i + step)) return false
    }
    return true
  }

  /** True if a datagram `step` octets later has the same headers, up to the ports. */
  #isLike(head: number, step: number): boolean {
    const mem = this.#mem
    const ip = head + IP
    for (let i = head; i < ip; i += 2) if (u16(mem, i) !== u16(mem, i + step)) return false
    if (this.isV4) {
      if (u16(mem, ip) !== u16(mem, ip + step)) return false
      if (i32(mem, ip + ipv4.FRAGMENT) !== i32(mem, ip + ipv4.FRAGMENT + step)) return false
    } else {
      if (i32(mem, ip) !== i32(mem, ip + step)) return false
      if (u16(mem, ip + ipv6.NEXT) !== u16(mem, ip + ipv6.NEXT + step)) return false
    }
    const end = head + this.transport + 4
    for (let i = ip + (this.isV4 ? ipv4.SRC : ipv6.SRC); i < end; i += 4) {
      if (i32(mem, i) !== i32(mem, i + step)) return false
    }
    return true
  }
}
