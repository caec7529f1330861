/**
 * Super-frames cut for a tunnel: the headers of each segment are made elsewhere, and the payload
 * stays where it is, to be gathered by whoever sends.
 *
 * ```text
 *   packet:   prefix | Ethernet | IP | TCP | payload 0 | payload 1 | ... | rest
 *   segment:  prefix | Ethernet | IP | TCP'  + payload i        (headers of `headerBytes` octets)
 * ```
 * What differs from segment to segment is what ip/segment.ts says: IP length, IPv4 identification
 * and checksum, TCP sequence number and flags, UDP length, transport checksum. Here sums of all
 * that stays the same are made once a super-frame, so that a segment costs a copy of its headers
 * and a few additions.
 *
 * The transport checksum is either complete (every octet of the payload is summed) or left open,
 * as the pseudo-header's sum, for a peer that takes that (remote checksum offload).
 *
 * TCP does not mind into how many segments it is cut, so where the path takes less than the
 * sender thought, its segments are made shorter. The packet itself is not changed.
 */
import { put16, put32, u16, u32 } from '../bytes.ts'
import { fold, sum } from '../checksum.ts'
import * as ipv4 from '../ip/ipv4.ts'
import * as ipv6 from '../ip/ipv6.ts'
import { ipOffset, superHeaderBytes } from '../ip/segment.ts'
import * as tcp from '../ip/tcp.ts'
import * as udp from '../ip/udp.ts'
import { GsoType, type Packet, pull, push } from '../packet.ts'

const NOT_ON_LAST: number = tcp.Flag.Fin | tcp.Flag.Psh
/** Room for VXLAN, Ethernet, IPv6 and the longest TCP header. */
const TEMPLATE_WORDS = 32
/** Least payload of a segment: below it the path is not worth using. */
const PAYLOAD_LEAST = 8

/** Why {@link Cutter.begin} refused. */
export const Refusal = { None: 0, Malformed: 1, TooBig: 2 } as const

export class Cutter {
  /** Octets of a segment's headers, the prefix included. */
  headerBytes = 0
  /** Octets of payload in each segment but the last, and of all of them. */
  pieceBytes = 0
  payloadBytes = 0
  count = 0
  #head = 0
  #ip = 0
  #transport = 0
  #csumOffset = 0
  #isV4 = false
  #isTcp = false
  #sequence = 0
  #flags = 0
  #id = 0
  /** Sum of the IPv4 header without length, identification and checksum. */
  #ipSum = 0
  /** Sum of the pseudo-header without the length. */
  #pseudoSum = 0
  /** Of a segment in the middle, with its length. */
  #middleIpSum = 0
  #complete = false
  readonly #out: Uint8Array
  readonly #outWords: Int32Array
  /** Headers of a segment in the middle, two octets after the start; and their length in words. */
  readonly #template = new Int32Array(TEMPLATE_WORDS)
  readonly #templateBytes = new Uint8Array(this.#template.buffer)
  #templateWords = 0

  /** Headers are written to `out`, which starts at a multiple of 4 in its buffer. */
  constructor(out: Uint8Array) {
    this.#out = out
    this.#outWords = new Int32Array(out.buffer, out.byteOffset, out.byteLength >>> 2)
  }

  /**
   * Get ready to cut a packet whose first `prefixBytes` are a tunnel's header, into segments of at
   * most `segmentBytesMax` octets, headers included. What was found is in the fields.
   */
  begin(
    mem: Uint8Array,
    packet: Packet,
    prefixBytes: number,
    segmentBytesMax: number,
    complete: boolean,
  ): number {
    pull(packet, prefixBytes)
    const ip = ipOffset(mem, packet)
    const frameHeaderBytes = superHeaderBytes(mem, packet, ip)
    push(packet, prefixBytes)
    if (frameHeaderBytes < 0) return Refusal.Malformed
    const headerBytes = prefixBytes + frameHeaderBytes
    const room = segmentBytesMax - headerBytes
    const isTcp = packet.gsoType !== GsoType.Udp
    if (room < packet.gsoSize && (!isTcp || room < PAYLOAD_LEAST)) return Refusal.TooBig
    this.headerBytes = headerBytes
    this.pieceBytes = Math.min(packet.gsoSize, room)
    this.payloadBytes = packet.len - headerBytes
    this.count = Math.max(1, Math.ceil(this.payloadBytes / this.pieceBytes))
    this.#head = packet.head
    this.#ip = ip
    this.#transport = packet.csumStart
    this.#csumOffset = packet.csumOffset
    this.#isTcp = isTcp
    this.#complete = complete
    this.#sumUp(mem, packet)
    return Refusal.None
  }

  #sumUp(mem: Uint8Array, packet: Packet): void {
    const ip = this.#ip
    const transport = this.#transport
    this.#isV4 = mem[ip]! >>> 4 === 4
    if (this.#isV4) {
      this.#id = u16(mem, ip + ipv4.ID)
      const header = sum(mem, ip, ipv4.headerBytes(mem, ip))
      const out = u16(mem, ip + ipv4.TOTAL) + this.#id + u16(mem, ip + ipv4.CHECKSUM)
      this.#ipSum = fold(header + (~fold(out) & 0xffff))
    }
    const bytes = packet.head + packet.len - transport
    const field = u16(mem, transport + this.#csumOffset)
    this.#pseudoSum = fold(field + (~bytes & 0xffff))
    if (this.#isTcp) {
      this.#sequence = u32(mem, transport + tcp.SEQ)
      this.#flags = mem[transport + tcp.FLAGS]!
    }
    this.#templateWords = 0
  }

  /** Octets of payload of segment `index`. */
  payloadOf(index: number): number {
    const skip = index * this.pieceBytes
    return Math.min(this.pieceBytes, this.payloadBytes - skip)
  }

  /**
   * Write the headers of segment `index` to `out` at `at`, which is two more than a multiple of 4.
   * `mem` is the packet's memory. The two octets before are written too. Precondition: segment 0
   * was written before.
   */
  putHeaders(mem: Uint8Array, at: number, index: number): void {
    const skip = index * this.pieceBytes
    const words = this.#templateWords
    if (words === 0 || index === 0 || index >= this.count - 1) this.#putAll(mem, at, index)
    else {
      const out = this.#outWords
      const template = this.#template
      const to = (at - 2) >> 2
      for (let i = 0; i < words; i++) out[to + i] = template[i]!
      if (this.#isV4) this.#putId(at + this.#ip - this.#head, index, this.#middleIpSum)
      if (this.#isTcp) {
        put32(this.#out, at + this.#transport - this.#head + tcp.SEQ, this.#sequence + skip)
      }
      if (this.#complete) this.#putComplete(mem, at, skip, this.pieceBytes)
    }
    if (index === 0 && this.count > 2) this.#makeTemplate(mem)
  }

  #putId(ip: number, index: number, ipSum: number): void {
    const id = (this.#id + index) & 0xffff
    put16(this.#out, ip + ipv4.ID, id)
    put16(this.#out, ip + ipv4.CHECKSUM, ~fold(ipSum + id))
  }

  /** What is the same in all segments but the first and the last. */
  #makeTemplate(mem: Uint8Array): void {
    const { headerBytes } = this
    if (headerBytes + 2 > TEMPLATE_WORDS * 4) return
    this.#templateWords = (headerBytes + 2 + 3) >> 2
    const bytes = this.#templateBytes
    const from = this.#head
    for (let i = 0; i < headerBytes; i++) bytes[i + 2] = mem[from + i]!
    const ip = this.#ip - from + 2
    const transport = this.#transport - from + 2
    const end = 2 + headerBytes + this.pieceBytes
    if (this.#isV4) {
      put16(bytes, ip + ipv4.TOTAL, end - ip)
      this.#middleIpSum = this.#ipSum + (end - ip)
    } else put16(bytes, ip + ipv6.PAYLOAD, end - ip - ipv6.HEADER_BYTES)
    if (this.#isTcp) bytes[transport + tcp.FLAGS] = this.#flags & ~(NOT_ON_LAST | tcp.Flag.Cwr)
    else put16(bytes, transport + udp.LENGTH, end - transport)
    put16(bytes, transport + this.#csumOffset, fold(this.#pseudoSum + (end - transport)))
  }

  #putAll(mem: Uint8Array, at: number, index: number): void {
    const out = this.#out
    const from = this.#head
    const { headerBytes } = this
    for (let i = 0; i < headerBytes; i++) out[at + i] = mem[from + i]!
    const skip = index * this.pieceBytes
    const bytes = Math.min(this.pieceBytes, this.payloadBytes - skip)
    const ip = at + this.#ip - from
    const transport = at + this.#transport - from
    const end = at + headerBytes + bytes
    if (this.#isV4) {
      put16(out, ip + ipv4.TOTAL, end - ip)
      this.#putId(ip, index, this.#ipSum + (end - ip))
    } else put16(out, ip + ipv6.PAYLOAD, end - ip - ipv6.HEADER_BYTES)
    if (this.#isTcp) {
      put32(out, transport + tcp.SEQ, this.#sequence + skip)
      let flags = this.#flags
      if (skip + bytes < this.payloadBytes) flags &= ~NOT_ON_LAST
      if (skip > 0) flags &= ~tcp.Flag.Cwr
      out[transport + tcp.FLAGS] = flags
    } else put16(out, transport + udp.LENGTH, end - transport)
    put16(out, transport + this.#csumOffset, fold(this.#pseudoSum + (end - transport)))
    if (this.#complete) this.#putComplete(mem, at, skip, bytes)
  }

  /** Sum what the checksum of a segment still leaves open. */
  #putComplete(mem: Uint8Array, at: number, skip: number, bytes: number): void {
    const out = this.#out
    const transport = at + this.#transport - this.#head
    const field = transport + this.#csumOffset
    const header = sum(out, transport, at + this.headerBytes - transport)
    const total = sum(mem, this.#head + this.headerBytes + skip, bytes, header)
    const result = ~total & 0xffff
    put16(out, field, result === 0 && !this.#isTcp ? 0xffff : result)
  }
}
