/**
 * Datagrams of an in-memory host: writing them into packets, and reading what came.
 *
 * Written for plainness and not for speed: addresses are values here, and a host is an independent
 * witness of what the node does, so it shares no code path with the router beyond headers (how they
 * are written: header.ts), fragments and reassembly.
 */
import { type Address, addressAt } from '../../stack/address.ts'
import { put16, u8, u16, u32 } from '../../stack/bytes.ts'
import { sum } from '../../stack/checksum.ts'
import * as extension from '../../stack/ip/extension.ts'
import * as fragment from '../../stack/ip/fragment_header.ts'
import {
  type Header,
  ipHeaderBytes,
  pseudo,
  putChecksum,
  putIpHeader,
  type Transport,
} from '../../stack/ip/header.ts'
import * as icmp from '../../stack/ip/icmp.ts'
import * as ipv4 from '../../stack/ip/ipv4.ts'
import * as ipv6 from '../../stack/ip/ipv6.ts'
import type { Packet, Pool } from '../../stack/packet.ts'

/**
 * A packet with the IP header written, `head` at it, and the transport part still to be filled;
 * undefined if the pool is exhausted.
 */
export function compose(pool: Pool, header: Header): Packet | undefined {
  const bytes = ipHeaderBytes(header.to) + header.bytes
  const packet = pool.alloc(bytes)
  if (packet === undefined) return undefined
  packet.len = bytes
  putIpHeader(pool.mem, packet.head, header)
  return packet
}

/** Fill in the checksum of a packet, `head` at its IP header; `partial`: its sender does that. */
export function seal(
  mem: Uint8Array,
  packet: Packet,
  transport: Transport,
  partial: boolean,
): void {
  const { protocol, at, bytes, field } = transport
  if (!partial) return putChecksum(mem, packet.head, transport)
  put16(mem, at + field, pseudo(mem, packet.head, protocol, bytes))
  packet.csumStart = at
  packet.csumOffset = field
}

/** Fill in the checksum of the ICMP message of `bytes` octets at `at`. */
export function sealIcmp(mem: Uint8Array, ip: number, at: number, bytes: number): void {
  put16(mem, at + icmp.CHECKSUM, 0)
  put16(mem, at + icmp.CHECKSUM, ~sum(mem, at, bytes, icmpSeed(mem, ip, bytes)) & 0xffff)
}

/** True if the checksum of the ICMP message of `bytes` octets at `at` is right. */
export function isIcmpIntact(mem: Uint8Array, ip: number, at: number, bytes: number): boolean {
  return sum(mem, at, bytes, icmpSeed(mem, ip, bytes)) === 0xffff
}

/** Only ICMPv6 covers a pseudo-header (RFC 4443 §2.3). */
function icmpSeed(mem: Uint8Array, ip: number, bytes: number): number {
  return u8(mem, ip) >>> 4 === 4 ? 0 : pseudo(mem, ip, ipv4.Protocol.Icmp6, bytes)
}

/** What the headers of an IP packet say. */
export interface Heading {
  readonly from: Address
  readonly to: Address
  readonly ttl: number
  readonly protocol: number
  /** Offset of the transport header, and octets from there to the end. */
  readonly at: number
  readonly bytes: number
  readonly isFragment: boolean
}

/**
 * Read the headers of the IP packet at `ip`, of which `bytes` octets are there. With `quoted`, it
 * may be cut short as in an ICMP error. Undefined if it is not a packet, or damaged.
 */
export function readHeading(
  mem: Uint8Array,
  ip: number,
  bytes: number,
  quoted = false,
): Heading | undefined {
  if (bytes < 1) return undefined
  return u8(mem, ip) >>> 4 === 4
    ? readHeading4(mem, ip, bytes, quoted)
    : readHeading6(mem, ip, bytes, quoted)
}

function readHeading4(
  mem: Uint8Array,
  ip: number,
  bytes: number,
  quoted: boolean,
): Heading | undefined {
  if (bytes < ipv4.HEADER_BYTES) return undefined
  if (!quoted && !(ipv4.isHeader(mem, ip, bytes) && ipv4.isIntact(mem, ip))) return undefined
  const headerBytes = ipv4.headerBytes(mem, ip)
  const end = Math.min(bytes, ipv4.totalBytes(mem, ip))
  if (headerBytes < ipv4.HEADER_BYTES || headerBytes > end) return undefined
  return {
    from: addressAt(mem, ip + ipv4.SRC, 4),
    to: addressAt(mem, ip + ipv4.DST, 4),
    ttl: ipv4.ttl(mem, ip),
    protocol: ipv4.protocol(mem, ip),
    at: ip + headerBytes,
    bytes: end - headerBytes,
    isFragment: ipv4.isFragment(mem, ip),
  }
}

function readHeading6(
  mem: Uint8Array,
  ip: number,
  bytes: number,
  quoted: boolean,
): Heading | undefined {
  if (bytes < ipv6.HEADER_BYTES || u8(mem, ip) >>> 4 !== 6) return undefined
  if (!quoted && !ipv6.isHeader(mem, ip, bytes)) return undefined
  const end = ip + Math.min(bytes, ipv6.HEADER_BYTES + ipv6.payloadBytes(mem, ip))
  let step = extension.walk(mem, ip, end)
  if (step < 0) return undefined
  if (!quoted && (extension.judge(mem, ip, end) & 3) !== extension.Verdict.Accept) return undefined
  const isFragment = (step & 0xff) === ipv6.Next.Fragment
  if (isFragment && quoted) {
    // The first fragment is quoted: the header behind the fragment header is the transport's.
    const after = (step >>> 8) + fragment.HEADER_BYTES
    if (ip + after > end || fragment.offsetBytes(mem, ip + (step >>> 8)) !== 0) return undefined
    step = after * 256 + u8(mem, ip + (step >>> 8))
  }
  const at = ip + (step >>> 8)
  return {
    from: addressAt(mem, ip + ipv6.SRC, 6),
    to: addressAt(mem, ip + ipv6.DST, 6),
    ttl: ipv6.hopLimit(mem, ip),
    protocol: step & 0xff,
    at,
    bytes: end - at,
    isFragment,
  }
}

/** False for groups and the limited broadcast address. */
export function isUnicast({ family, words }: Address): boolean {
  if (family === 6) return words[0]! >>> 24 !== 0xff
  return words[3]! >>> 28 !== 0xe && words[3] !== -1
}

/** What an ICMP or ICMPv6 error says. */
export interface Problem {
  readonly kind: 'unreachable' | 'time-exceeded' | 'too-big'
  readonly text: string
  /** Next-hop MTU of `too-big`; 0 elsewhere. */
  readonly mtuBytes: number
}

const UNREACHABLE4 = ['network', 'host', 'protocol', 'port']
const UNREACHABLE6 = ['network', 'administratively', 'network', 'host', 'port']

/** Read the ICMP error at `at`, or undefined if it is of a kind that hosts do not act on. */
export function readProblem(mem: Uint8Array, at: number, four: boolean): Problem | undefined {
  const type = u8(mem, at)
  const code = u8(mem, at + 1)
  const tooBig = four
    ? type === icmp.Type4.Unreachable && code === icmp.Code4.FragmentationNeeded
    : type === icmp.Type6.PacketTooBig
  if (tooBig) {
    const mtuBytes = four ? u16(mem, at + 6) : u32(mem, at + icmp.REST)
    return { kind: 'too-big', text: `packet too big, MTU ${mtuBytes}`, mtuBytes }
  }
  if (type === (four ? icmp.Type4.TimeExceeded : icmp.Type6.TimeExceeded)) {
    const text = code === 0 ? 'time exceeded' : 'reassembly time exceeded'
    return { kind: 'time-exceeded', text, mtuBytes: 0 }
  }
  if (type !== (four ? icmp.Type4.Unreachable : icmp.Type6.Unreachable)) return undefined
  const what = (four ? UNREACHABLE4 : UNREACHABLE6)[code] ?? 'administratively'
  return { kind: 'unreachable', text: `${what} unreachable`, mtuBytes: 0 }
}
