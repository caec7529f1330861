/**
 * Fragmentation: of IPv4 packets on their way (RFC 791 §3.2), and of the router's own IPv6 packets
 * (RFC 8200 §4.5; an IPv6 router never fragments what it forwards).
 *
 * ```text
 *  head
 *   | IP header | options | payload: from 0 ... | from n ... | ...
 *               each piece: the header again, octets from `from` on, a multiple of 8 but the last
 * ```
 *
 * Pieces are asked for one by one, by the payload octet they begin with, so callers keep their
 * context in local variables and no callback is made per packet. A piece of a piece keeps its
 * place: offset and "more" are relative to what the packet says. Checksums must be complete.
 */
import { copy, put16 } from '../bytes.ts'
import type { Packet, Pool } from '../packet.ts'
import * as fragment from './fragment_header.ts'
import * as ipv4 from './ipv4.ts'
import * as ipv6 from './ipv6.ts'

/** Options that go into every fragment have this bit (RFC 791 §3.1). */
const COPIED = 0x80
const END_OF_OPTIONS = 0
const NO_OPERATION = 1

/**
 * The fragment of `packet` (`head` at the IPv4 header) that begins at payload octet `from`, no
 * larger than `mtuBytes`, as a new packet; undefined if the pool is exhausted. `packet` stays the
 * caller's. Preconditions: valid header, whole options, MTU at least 68.
 */
export function fragment4(
  pool: Pool,
  packet: Packet,
  mtuBytes: number,
  from: number,
): Packet | undefined {
  const { mem } = pool
  const ip = packet.head
  const wholeHeaderBytes = ipv4.headerBytes(mem, ip)
  const payload = ipv4.totalBytes(mem, ip) - wholeHeaderBytes
  const headerBytes = from === 0 ? wholeHeaderBytes : laterHeaderBytes(mem, ip)
  const room = (mtuBytes - headerBytes) & ~7
  const left = payload - from
  const bytes = left <= mtuBytes - headerBytes ? left : room
  const piece = pool.alloc(headerBytes + bytes)
  if (piece === undefined) return undefined
  piece.len = headerBytes + bytes
  piece.ingress = packet.ingress
  piece.traced = packet.traced
  const at = piece.head
  copy(mem, at, ip, from === 0 ? headerBytes : ipv4.HEADER_BYTES)
  if (from !== 0) putCopiedOptions(mem, at, ip, headerBytes)
  mem[at] = 0x40 | (headerBytes >>> 2)
  copy(mem, at + headerBytes, ip + wholeHeaderBytes + from, bytes)
  const more = ipv4.moreFragments(mem, ip) || bytes < left ? ipv4.MORE_FRAGMENTS : 0
  put16(mem, at + ipv4.TOTAL, headerBytes + bytes)
  put16(mem, at + ipv4.FRAGMENT, more | ((ipv4.fragmentOffset(mem, ip) + from) >>> 3))
  ipv4.putChecksum(mem, at)
  return piece
}

/** Payload octets in a fragment that {@link fragment4} made. */
export function payloadBytes4(mem: Uint8Array, piece: Packet): number {
  return piece.len - ipv4.headerBytes(mem, piece.head)
}

/** Header of all fragments but the first: with the options that are copied. */
function laterHeaderBytes(mem: Uint8Array, ip: number): number {
  const end = ip + ipv4.headerBytes(mem, ip)
  let bytes = ipv4.HEADER_BYTES
  for (let at = ip + ipv4.HEADER_BYTES; at < end && mem[at] !== END_OF_OPTIONS; ) {
    const length = optionBytes(mem, at)
    if ((mem[at]! & COPIED) !== 0) bytes += length
    at += length
  }
  return (bytes + 3) & ~3
}

function putCopiedOptions(mem: Uint8Array, to: number, ip: number, headerBytes: number): void {
  const end = ip + ipv4.headerBytes(mem, ip)
  let out = to + ipv4.HEADER_BYTES
  for (let at = ip + ipv4.HEADER_BYTES; at < end && mem[at] !== END_OF_OPTIONS; ) {
    const length = optionBytes(mem, at)
    if ((mem[at]! & COPIED) !== 0) {
      copy(mem, out, at, length)
      out += length
    }
    at += length
  }
  while (out < to + headerBytes) mem[out++] = END_OF_OPTIONS
}

function optionBytes(mem: Uint8Array, at: number): number {
  return mem[at] === NO_OPERATION ? 1 : mem[at + 1]!
}

/**
 * As {@link fragment4} for a packet of the router's own without extension headers (`head` at the
 * IPv6 header). `id` is the same for all fragments of a packet.
 */
export function fragment6(
  pool: Pool,
  packet: Packet,
  { mtuBytes, from, id }: { mtuBytes: number; from: number; id: number },
): Packet | undefined {
  const { mem } = pool
  const ip = packet.head
  const left = ipv6.payloadBytes(mem, ip) - from
  const overhead = ipv6.HEADER_BYTES + fragment.HEADER_BYTES
  const bytes = left <= mtuBytes - overhead ? left : (mtuBytes - overhead) & ~7
  const piece = pool.alloc(overhead + bytes)
  if (piece === undefined) return undefined
  piece.len = overhead + bytes
  piece.ingress = packet.ingress
  piece.traced = packet.traced
  const at = piece.head
  copy(mem, at, ip, ipv6.HEADER_BYTES)
  put16(mem, at + ipv6.PAYLOAD, fragment.HEADER_BYTES + bytes)
  mem[at + ipv6.NEXT] = ipv6.Next.Fragment
  const next = ipv6.nextHeader(mem, ip)
  const fields = { next, offsetBytes: from, more: bytes < left, id }
  fragment.putHeader(mem, at + ipv6.HEADER_BYTES, fields)
  copy(mem, at + overhead, ip + ipv6.HEADER_BYTES + from, bytes)
  return piece
}

/** Payload octets in a fragment that {@link fragment6} made. */
export function payloadBytes6(piece: Packet): number {
  return piece.len - ipv6.HEADER_BYTES - fragment.HEADER_BYTES
}
