/** The packet of a trace in one frame: an echo request, UDP, a SYN of TCP or an INIT of SCTP. */
import { type Address, parseAddress } from '../stack/address.ts'
import { put16, put32, putBytes } from '../stack/bytes.ts'
import { finish } from '../stack/checksum.ts'
import { StackError } from '../stack/errors.ts'
import * as eth from '../stack/eth/frame.ts'
import { type Mac, putMac } from '../stack/eth/mac.ts'
import { ipHeaderBytes, pseudo, putIpHeader } from '../stack/ip/header.ts'
import * as icmp from '../stack/ip/icmp.ts'
import * as ipv4 from '../stack/ip/ipv4.ts'
import * as tcp from '../stack/ip/tcp.ts'
import { Sctp } from '../stack/ip/tuple.ts'
import * as udp from '../stack/ip/udp.ts'
import { LARGE_FRAME_BYTES, type Packet, type Pool } from '../stack/packet.ts'
import type { TraceProtocol, TraceRequest } from './trace_request.ts'

export interface PacketFields {
  readonly sourceMac: Mac
  readonly targetMac: Mac
  readonly source: Address
  /** Of the source's family. */
  readonly target: Address
  readonly proto: TraceProtocol
  readonly sport: number
  readonly dport: number
  /** Octets after the transport header. */
  readonly size: number
  readonly ttl: number
  readonly df: boolean
}

/** Identifier of a traced echo request. */
const ECHO_ID = 0x7461
const TCP_WINDOW = 0xfaf0
/** Common header and INIT chunk (RFC 9260 §3.1, §3.3.2). */
const SCTP_BYTES = 32
const SCTP_CHUNK = 12
const SCTP_INIT = 1
const HEADER_BYTES = {
  icmp: icmp.HEADER_BYTES,
  udp: udp.HEADER_BYTES,
  tcp: tcp.HEADER_BYTES,
  sctp: SCTP_BYTES,
} as const

/** Who sends it, if that was said. @throws StackError `bad-argument`: of another family. */
export function sourceOf({ source }: TraceRequest, target: Address): Address | undefined {
  if (source === undefined) return undefined
  const address = parseAddress(source)
  if (address.family === target.family) return address
  const message = `the source ${source} is not of IPv${target.family}, as its destination is`
  throw new StackError('bad-argument', message)
}

/** What was asked for, and the defaults of the rest. */
export function toFields(
  request: TraceRequest,
  ends: Pick<PacketFields, 'sourceMac' | 'targetMac' | 'source' | 'target'>,
): PacketFields {
  const { proto = 'icmp' } = request
  return {
    ...ends,
    proto,
    sport: request.sport ?? 40_000,
    dport: request.dport ?? (proto === 'udp' ? 33_434 : 80),
    size: request.size ?? (proto === 'icmp' ? 56 : 0),
    ttl: request.ttl ?? 64,
    df: request.df ?? true,
  }
}

/** For people. */
export function whatOf({ proto, size, ttl }: PacketFields): string {
  return `${proto}, ${size} octets of payload, TTL ${ttl}`
}

/** From the IP header to the end. */
export function packetBytes({ proto, size, source }: PacketFields): number {
  const header = ipHeaderBytes(source)
  return header + HEADER_BYTES[proto] + size
}

/** Undefined if the pool is exhausted. @throws StackError `bad-argument` if it fits no frame. */
export function buildPacket(pool: Pool, fields: PacketFields): Packet | undefined {
  const six = fields.source.family === 6
  const header = ipHeaderBytes(fields.source)
  const bytes = packetBytes(fields) - header
  const packet = allocate(pool, eth.HEADER_BYTES + packetBytes(fields))
  if (packet === undefined) return undefined
  const { mem } = pool
  const ip = packet.head + eth.HEADER_BYTES
  const at = ip + header
  mem.fill(0, packet.head, packet.head + packet.len)
  putMac(mem, packet.head + eth.DST, fields.targetMac)
  putMac(mem, packet.head + eth.SRC, fields.sourceMac)
  eth.putType(mem, packet.head, six ? eth.EtherType.Ipv6 : eth.EtherType.Ipv4)
  const protocol = protocolOf(fields)
  putIpHeader(mem, ip, {
    from: fields.source,
    to: fields.target,
    protocol,
    bytes,
    ttl: fields.ttl,
    id: 1,
    dontFragment: fields.df,
  })
  putTransport(mem, at, fields)
  // Nothing of the node reads SCTP's CRC.
  if (protocol === Sctp) return packet
  // ICMP for IPv4 has no pseudo-header.
  const checksum = checksumOf(fields)
  const seed = protocol === ipv4.Protocol.Icmp ? 0 : pseudo(mem, ip, protocol, bytes)
  put16(mem, at + checksum, seed)
  finish(mem, at, checksum, at + bytes)
  return packet
}

/** A frame from hexadecimal digits; blanks and colons are skipped. @throws StackError. */
export function putRaw(pool: Pool, text: string): Packet | undefined {
  const digits = text.replace(/[\s:]/g, '')
  if (!/^([0-9a-f]{2})+$/i.test(digits)) {
    throw new StackError('bad-argument', 'raw is not a frame in pairs of hexadecimal digits')
  }
  const bytes = Buffer.from(digits, 'hex')
  const packet = allocate(pool, bytes.length)
  if (packet !== undefined) putBytes(pool.mem, packet.head, bytes)
  return packet
}

function allocate(pool: Pool, bytes: number): Packet | undefined {
  if (bytes > LARGE_FRAME_BYTES) {
    throw new StackError('bad-argument', `a frame has at most ${LARGE_FRAME_BYTES} octets`)
  }
  const packet = pool.alloc(bytes)
  if (packet !== undefined) packet.len = bytes
  return packet
}

function protocolOf({ proto, source }: PacketFields): number {
  if (proto === 'udp') return ipv4.Protocol.Udp
  if (proto === 'tcp') return ipv4.Protocol.Tcp
  if (proto === 'sctp') return Sctp
  return source.family === 6 ? ipv4.Protocol.Icmp6 : ipv4.Protocol.Icmp
}

function checksumOf({ proto }: PacketFields): number {
  if (proto === 'udp') return udp.CHECKSUM
  return proto === 'tcp' ? tcp.CHECKSUM : icmp.CHECKSUM
}

/** Precondition: the octets at `at` are zero. */
function putTransport(mem: Uint8Array, at: number, fields: PacketFields): void {
  const { proto, sport, dport, size } = fields
  if (proto === 'udp') {
    return udp.putHeader(mem, at, {
      srcPort: sport,
      dstPort: dport,
      bytes: udp.HEADER_BYTES + size,
    })
  }
  if (proto === 'tcp') {
    const [flags, window] = [tcp.Flag.Syn, TCP_WINDOW]
    const ports = { srcPort: sport, dstPort: dport }
    return tcp.putHeader(mem, at, { ...ports, seq: 0, ack: 0, flags, window })
  }
  if (proto === 'sctp') return putInit(mem, at, fields)
  mem[at] = fields.source.family === 6 ? icmp.Type6.Echo : icmp.Type4.Echo
  put16(mem, at + icmp.REST, ECHO_ID)
  put16(mem, at + icmp.REST + 2, 1)
}

/** An INIT with tag and first TSN 1, a window of TCP's size, and a stream each way. */
function putInit(mem: Uint8Array, at: number, { sport, dport }: PacketFields): void {
  const chunk = at + SCTP_CHUNK
  put16(mem, at, sport)
  put16(mem, at + 2, dport)
  mem[chunk] = SCTP_INIT
  put16(mem, chunk + 2, SCTP_BYTES - SCTP_CHUNK)
  put32(mem, chunk + 4, 1)
  put32(mem, chunk + 8, TCP_WINDOW)
  put16(mem, chunk + 12, 1)
  put16(mem, chunk + 14, 1)
  put32(mem, chunk + 16, 1)
}
