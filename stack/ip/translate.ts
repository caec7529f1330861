/**
 * Address translation of one packet where it lies (RFC 3022 §4.1, RFC 5508 for ICMP).
 *
 * The new addresses and ports come as the tuple of the connection's other direction (tuple.ts),
 * because that is what a packet must become the inverse of:
 *
 * ```text
 *   packet        10.1.0.11:5000 -> 198.51.100.9:53        other direction's tuple
 *   destination = source of the other                      198.51.100.9:53 -> 203.0.113.2:5000
 *   source      = destination of the other
 *
 *   | IP | ICMP error | quote: the packet it is about, which went the other way:
 *                       its source = source of the other, its destination likewise
 * ```
 *
 * Checksums are mended by what changed (RFC 1624 §3, equation 3) and never made anew, so that a
 * packet damaged before is still damaged after. A partial checksum (packet.ts) holds the sum of the
 * pseudo-header: addresses are added to it, ports not, since they are summed later. A UDP checksum
 * of zero means none and stays. SCTP's CRC has no pseudo-header and is linear: the CRC of the
 * difference is added; of a fragment the length is not known, and its CRC stays as it is.
 */
import { i32, put16, put32, u8, u16 } from '../bytes.ts'
import { difference, fold, sum } from '../checksum.ts'
import type { Packet } from '../packet.ts'
import * as icmp from './icmp.ts'
import * as ipv4 from './ipv4.ts'
import * as ipv6 from './ipv6.ts'
import { hasTransport, locate, offsetOf, protocolOf } from './transport.ts'
import { DST, PORTS, Sctp } from './tuple.ts'

const DCCP = 33
const UDP_LITE = 136
const SCTP_CRC = 8
/** As much of a quoted transport header as may change. */
const TRANSPORT_BYTES = 20

/** Give a packet (IP header at `ip`) the source of `other` as destination. True: it changed. */
export function putDestination(
  mem: Uint8Array,
  packet: Packet,
  ip: number,
  other: Int32Array,
): boolean {
  const { csumStart, csumOffset, head, len } = packet
  const partial = csumStart === 0 ? 0 : csumStart + csumOffset
  return put(mem, ip, head + len, partial, true, other, 0)
}

/** Give a packet the destination of `other` as source. True: it changed. */
export function putSource(mem: Uint8Array, packet: Packet, ip: number, other: Int32Array): boolean {
  const { csumStart, csumOffset, head, len } = packet
  const partial = csumStart === 0 ? 0 : csumStart + csumOffset
  return put(mem, ip, head + len, partial, false, other, DST)
}

/**
 * An ICMP error on its way to `other`'s source: the destination of the error, and the source in its
 * quote. Precondition: an ICMP error with a quote (TupleKind.Error).
 */
export function putErrorDestination(
  mem: Uint8Array,
  packet: Packet,
  ip: number,
  other: Int32Array,
): void {
  putQuote(mem, packet, ip, other, false)
  putDestination(mem, packet, ip, other)
}

/** The other half: the source of the error, if `outer`, and the destination in its quote. */
export function putErrorSource(
  mem: Uint8Array,
  packet: Packet,
  ip: number,
  other: Int32Array,
  outer: boolean,
): void {
  putQuote(mem, packet, ip, other, true)
  if (outer) putSource(mem, packet, ip, other)
}

/** `partial`: where a partial checksum lies, or 0. `from`: 0 or {@link DST} of `words`. */
function put(
  mem: Uint8Array,
  ip: number,
  end: number,
  partial: number,
  destination: boolean,
  words: Int32Array,
  from: number,
): boolean {
  const four = u8(mem, ip) >>> 4 === 4
  const address = putAddress(mem, ip, four, destination, words, from)
  const located = locate(mem, ip, end)
  if (!hasTransport(located)) return address !== 0
  const protocol = protocolOf(located)
  const at = ip + offsetOf(located)
  const field = portField(mem, at, end, protocol, destination)
  let port = 0
  if (field !== 0) {
    const before = u16(mem, field)
    const after = from === 0 ? words[PORTS]! >>> 16 : words[PORTS]! & 0xffff
    if (before !== after) {
      put16(mem, field, after)
      port = (~before & 0xffff) + after
      if (protocol === Sctp) mendCrc(mem, ip, at, end, (before ^ after) << (destination ? 0 : 16))
    }
  }
  if (address === 0 && port === 0) return false
  const checksum = checksumField(at, end, protocol)
  if (checksum !== 0) {
    const pseudo = protocol === ipv4.Protocol.Icmp ? 0 : address
    if (checksum === partial) put16(mem, partial, fold(u16(mem, partial) + pseudo))
    else mend(mem, checksum, pseudo + port, protocol)
  }
  return true
}

/** Returns the difference to a sum over the address, 0 if it is the same. */
function putAddress(
  mem: Uint8Array,
  ip: number,
  four: boolean,
  destination: boolean,
  words: Int32Array,
  from: number,
): number {
  if (!four) {
    const at = ip + (destination ? ipv6.DST : ipv6.SRC)
    let difference = 0
    for (let i = 0; i < 4; i++) difference += putWord(mem, at + 4 * i, words[from + i]!)
    return fold(difference)
  }
  const at = ip + (destination ? ipv4.DST : ipv4.SRC)
  const difference = putWord(mem, at, words[from + 3]!)
  if (difference !== 0) mend(mem, ip + ipv4.CHECKSUM, difference, 0)
  return fold(difference)
}

/** Returns the difference to a sum over the word. */
function putWord(mem: Uint8Array, at: number, word: number): number {
  const before = i32(mem, at)
  if (before === word) return 0
  put32(mem, at, word)
  return difference(before, word)
}

/** Add a difference to a complete checksum. `protocol`: whose it is; 0: of an IPv4 header. */
export function mend(mem: Uint8Array, at: number, difference: number, protocol: number): void {
  const before = u16(mem, at)
  if (protocol === ipv4.Protocol.Udp && before === 0) return
  const after = ~fold((~before & 0xffff) + difference) & 0xffff
  put16(mem, at, protocol === ipv4.Protocol.Udp && after === 0 ? 0xffff : after)
}

/** Where the port lies, or the identifier of an echo, which is the port of who asked; or 0. */
function portField(
  mem: Uint8Array,
  at: number,
  end: number,
  protocol: number,
  destination: boolean,
): number {
  if (protocol === ipv4.Protocol.Tcp || protocol === ipv4.Protocol.Udp || protocol === Sctp) {
    if (at + 4 > end) return 0
    return destination ? at + 2 : at
  }
  const six = protocol === ipv4.Protocol.Icmp6
  if (!six && protocol !== ipv4.Protocol.Icmp) return 0
  if (at + icmp.HEADER_BYTES > end) return 0
  const type = u8(mem, at)
  const own = destination ? icmp.isEchoReply(type, six) : icmp.isEchoRequest(type, six)
  return own ? at + icmp.REST : 0
}

/** Where the 16-bit checksum lies, or 0 if there is none or it is cut off. */
function checksumField(at: number, end: number, protocol: number): number {
  let field = 0
  if (protocol === ipv4.Protocol.Tcp) field = 16
  else if (protocol === ipv4.Protocol.Udp || protocol === UDP_LITE || protocol === DCCP) field = 6
  else if (protocol === ipv4.Protocol.Icmp || protocol === ipv4.Protocol.Icmp6) field = 2
  return field === 0 || at + field + 2 > end ? 0 : at + field
}

/** The quote of an error, and what its change does to the error's checksum. */
function putQuote(
  mem: Uint8Array,
  packet: Packet,
  ip: number,
  other: Int32Array,
  destination: boolean,
): void {
  const end = packet.head + packet.len
  const message = ip + offsetOf(locate(mem, ip, end))
  const quote = message + icmp.HEADER_BYTES
  const inner = locate(mem, quote, end)
  const headers = u8(mem, quote) >>> 4 === 4 ? ipv4.HEADER_BYTES : ipv6.HEADER_BYTES
  const changed = hasTransport(inner) ? offsetOf(inner) + TRANSPORT_BYTES : headers
  const bytes = Math.min(changed, end - quote)
  const before = sum(mem, quote, bytes)
  put(mem, quote, end, 0, destination, other, destination ? DST : 0)
  if (packet.csumStart === message) return
  mend(mem, message + icmp.CHECKSUM, (~before & 0xffff) + sum(mem, quote, bytes), 0)
}

const crcTable: Int32Array = Int32Array.from({ length: 256 }, (_, i) => {
  let crc = i
  for (let bit = 0; bit < 8; bit++) crc = (crc & 1) === 0 ? crc >>> 1 : (crc >>> 1) ^ 0x82f63b78
  return crc
})

/** Add to the CRC32c of a whole SCTP packet at `at` what `ports` changed (RFC 9260 §6.8). */
function mendCrc(mem: Uint8Array, ip: number, at: number, end: number, ports: number): void {
  if (at + SCTP_CRC + 4 > end) return
  const four = u8(mem, ip) >>> 4 === 4
  if (four && ipv4.isFragment(mem, ip)) return
  const whole = four ? ipv4.totalBytes(mem, ip) : ipv6.HEADER_BYTES + ipv6.payloadBytes(mem, ip)
  const bytes = ip + whole - at
  let crc = 0
  for (let i = 0; i < bytes; i++) {
    const octet = i < 4 ? (ports >>> (24 - 8 * i)) & 0xff : 0
    crc = crcTable[(crc ^ octet) & 0xff]! ^ (crc >>> 8)
  }
  for (let i = 0; i < 4; i++) mem[at + SCTP_CRC + i]! ^= (crc >>> (8 * i)) & 0xff
}
