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
import { GsoType, type Packet, pull, push } from '../packet.ts'
import * as udp from './header.ts'

const NOT_ON_LAST: number = tcp.Flag.Fin | tcp.Flag.Psh
/** Words of a TCP header: data offset and flags. */
const TCP_FLAGS_WORD = 12
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
  /** Sum of the transport header without what differs, if checksums are to be complete. */
  #transportSum = 0
  #complete = false

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
    if (!this.#complete) return
    const header = sum(mem, transport, this.#head + this.headerBytes - transport)
    let out = field
    if (this.#isTcp) {
      out += u16(mem, transport + tcp.SEQ) + u16(mem, transport + tcp.SEQ + 2)
      out += u16(mem, transport + TCP_FLAGS_WORD)
    } else out += u16(mem, transport + udp.LENGTH)
    this.#transportSum = fold(header + (~fold(out) & 0xffff))
  }

  /** Octets of payload of segment `index`. */
  payloadOf(index: number): number {
    const skip = index * this.pieceBytes
    return Math.min(this.pieceBytes, this.payloadBytes - skip)
  }

  /**
   * Write the headers of segment `index` to `out` at `at`. `mem` is the packet's memory.
   * Precondition: `headerBytes` octets are there.
   */
  putHeaders(mem: Uint8Array, out: Uint8Array, at: number, index: number): void {
    const from = this.#head
    const { headerBytes } = this
    for (let i = 0; i < headerBytes; i++) out[at + i] = mem[from + i]!
    const skip = index * this.pieceBytes
    const bytes = Math.min(this.pieceBytes, this.payloadBytes - skip)
    const ip = at + this.#ip - from
    const transport = at + this.#transport - from
    const end = at + headerBytes + bytes
    if (this.#isV4) {
      const id = (this.#id + index) & 0xffff
      put16(out, ip + ipv4.TOTAL, end - ip)
      put16(out, ip + ipv4.ID, id)
      put16(out, ip + ipv4.CHECKSUM, ~fold(this.#ipSum + (end - ip) + id))
    } else put16(out, ip + ipv6.PAYLOAD, end - ip - ipv6.HEADER_BYTES)
    let variable = 0
    if (this.#isTcp) variable = this.#putTcp(out, transport, skip, skip + bytes)
    else {
      variable = end - transport
      put16(out, transport + udp.LENGTH, variable)
    }
    const pseudo = fold(this.#pseudoSum + (end - transport))
    const field = transport + this.#csumOffset
    if (!this.#complete) return put16(out, field, pseudo)
    const payload = sum(mem, from + headerBytes + skip, bytes)
    const result = ~fold(pseudo + this.#transportSum + variable + payload) & 0xffff
    put16(out, field, result === 0 && !this.#isTcp ? 0xffff : result)
  }

  /** Sum of what differs. */
  #putTcp(out: Uint8Array, at: number, skip: number, end: number): number {
    const sequence = (this.#sequence + skip) >>> 0
    let flags = this.#flags
    if (end < this.payloadBytes) flags &= ~NOT_ON_LAST
    if (skip > 0) flags &= ~tcp.Flag.Cwr
    put32(out, at + tcp.SEQ, sequence)
    out[at + tcp.FLAGS] = flags
    return (sequence >>> 16) + (sequence & 0xffff) + u16(out, at + TCP_FLAGS_WORD)
  }
}
