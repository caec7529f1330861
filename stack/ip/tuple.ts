/**
 * Tuples: what tells one connection from another, in ten words.
 *
 * ```text
 *   0      3   4      7   8                   9
 *   source 4 | dest. 4  | src port, dst port | protocol, zone
 * ```
 * Addresses are IPv4-mapped as in address.ts, so both families are of one form. An ICMP echo has
 * its identifier as the port of who asked, and zero for the other: so the question of one side is
 * not taken for an answer to the other's. Protocols without ports have zeros. An ICMP error is told
 * by the tuple of the packet that it quotes: whose error it is (RFC 5508 §4.2).
 */
import { loadWords } from '../address.ts'
import { u8, u16 } from '../bytes.ts'
import * as icmp from './icmp.ts'
import * as ipv4 from './ipv4.ts'
import * as ipv6 from './ipv6.ts'
import { locate, offsetOf, Part, partOf, protocolOf } from './transport.ts'

export const TUPLE_WORDS = 10
export const SRC = 0
export const DST = 4
export const PORTS = 8
export const PROTOCOL = 9
export const Sctp = 132

/**
 * What a packet is to connection tracking. `Fragment`: a later one, which has no ports. `None`:
 * ICMP that belongs to no connection.
 */
export const TupleKind = { Flow: 0, Error: 1, Fragment: 2, None: 3, Malformed: 4 } as const
const KIND_BITS = 3
const KIND_MASK = 7

/** The kind in a result of {@link readTuple}. */
export function kindOf(result: number): number {
  return result & KIND_MASK
}

/** Where the transport header is, from the IP header, in a result of {@link readTuple}. */
export function transportOf(result: number): number {
  return result >>> KIND_BITS
}

/**
 * Read the tuple of the IP packet at `ip`, whose octets end at `end`, into `words`; see
 * {@link kindOf} and {@link transportOf} for the result. `nested`: it is a quotation itself.
 * Precondition: the fixed IP header is there, options of IPv4 included.
 */
export function readTuple(
  mem: Uint8Array,
  ip: number,
  end: number,
  words: Int32Array,
  nested = false,
): number {
  const four = u8(mem, ip) >>> 4 === 4
  loadWords(mem, ip + (four ? ipv4.SRC : ipv6.SRC), four ? 4 : 6, words, SRC)
  loadWords(mem, ip + (four ? ipv4.DST : ipv6.DST), four ? 4 : 6, words, DST)
  const located = locate(mem, ip, end)
  if (located < 0) return TupleKind.Malformed
  const offset = offsetOf(located)
  words[PROTOCOL] = protocolOf(located)
  if (partOf(located) === Part.Later) {
    words[PORTS] = 0
    return (offset << KIND_BITS) | TupleKind.Fragment
  }
  return readPorts(mem, ip, end, words, nested ? -offset : offset)
}

/** `signed`: the offset of the transport header, negative in a quotation. */
function readPorts(
  mem: Uint8Array,
  ip: number,
  end: number,
  words: Int32Array,
  signed: number,
): number {
  const offset = Math.abs(signed)
  const at = ip + offset
  const result = (offset << KIND_BITS) | TupleKind.Flow
  const protocol = words[PROTOCOL]!
  words[PORTS] = 0
  if (protocol === ipv4.Protocol.Tcp || protocol === ipv4.Protocol.Udp || protocol === Sctp) {
    if (at + 8 > end) return TupleKind.Malformed
    words[PORTS] = (u16(mem, at) << 16) | u16(mem, at + 2)
    return result
  }
  if (protocol !== ipv4.Protocol.Icmp && protocol !== ipv4.Protocol.Icmp6) return result
  if (at + icmp.HEADER_BYTES > end) return TupleKind.Malformed
  const six = protocol === ipv4.Protocol.Icmp6
  const type = u8(mem, at)
  if (icmp.isEchoRequest(type, six) || icmp.isEchoReply(type, six)) {
    words[PORTS] = echoPorts(u16(mem, at + icmp.REST), icmp.isEchoReply(type, six))
    return result
  }
  const error = six ? icmp.isError6(type) : icmp.isError4(type)
  // An error about an error is not to be answered for.
  if (!error || signed < 0) return (offset << KIND_BITS) | TupleKind.None
  return quoted(mem, at + icmp.HEADER_BYTES, end, six, words)
    ? (offset << KIND_BITS) | TupleKind.Error
    : TupleKind.Malformed
}

/** The tuple of the packet quoted at `ip`; false if too little of it is there. */
function quoted(
  mem: Uint8Array,
  ip: number,
  end: number,
  six: boolean,
  words: Int32Array,
): boolean {
  const least = six ? ipv6.HEADER_BYTES : ipv4.HEADER_BYTES
  if (ip + least > end || u8(mem, ip) >>> 4 !== (six ? 6 : 4)) return false
  if (!six && (ipv4.headerBytes(mem, ip) < least || ip + ipv4.headerBytes(mem, ip) + 8 > end)) {
    return false
  }
  return kindOf(readTuple(mem, ip, end, words, true)) === TupleKind.Flow
}

/** The ports of an ICMP echo with this identifier. */
export function echoPorts(id: number, reply: boolean): number {
  return reply ? id : id << 16
}

/** True for an answer to an echo: alone it begins no connection. */
export function isEchoReply(words: Int32Array): boolean {
  const protocol = words[PROTOCOL]! & 0xff
  if (protocol !== ipv4.Protocol.Icmp && protocol !== ipv4.Protocol.Icmp6) return false
  return words[PORTS]! >>> 16 === 0 && words[PORTS] !== 0
}

/** The tuple of the other direction. */
export function invert(from: Int32Array, to: Int32Array): void {
  for (let i = 0; i < 4; i++) {
    to[SRC + i] = from[DST + i]!
    to[DST + i] = from[SRC + i]!
  }
  const ports = from[PORTS]!
  to[PORTS] = (ports << 16) | (ports >>> 16)
  to[PROTOCOL] = from[PROTOCOL]!
}
