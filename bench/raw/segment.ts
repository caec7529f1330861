/**
 * TCP segments in IPv4 in Ethernet, as the ends of a connection benchmark need them: without
 * options but for the MSS of a SYN, and with no octet or one.
 *
 * What is received is trusted as far as the filter of socket.ts goes: IPv4, TCP, one port. A frame
 * is asked once whether its headers are whole ({@link isSegment}).
 */
import { put16, put32, u16, u32 } from '../../stack/bytes.ts'
import { sum } from '../../stack/checksum.ts'
import * as eth from '../../stack/eth/frame.ts'
import * as ip from '../../stack/ip/ipv4.ts'
import * as tcp from '../../stack/ip/tcp.ts'

const IP = eth.HEADER_BYTES
const TCP = IP + ip.HEADER_BYTES
const DATA = TCP + tcp.HEADER_BYTES
const TTL = 64
const WINDOW = 0xffff
/** Kind, length and 1460 octets. */
const MSS_OPTION = 0x0204_05b4
const MSS_OPTION_BYTES = 4
/** What a connection carries each way. */
const OCTET = 0x74

/** True if the headers are there; the rest of the file may be asked then. */
export function isSegment(mem: Uint8Array, at: number, bytes: number): boolean {
  if (bytes < DATA) return false
  const header = ip.headerBytes(mem, at + IP)
  if (header < ip.HEADER_BYTES || IP + ip.totalBytes(mem, at + IP) > bytes) return false
  return tcp.isHeader(mem, at + IP + header, ip.totalBytes(mem, at + IP) - header)
}

function headerAt(mem: Uint8Array, at: number): number {
  return at + IP + ip.headerBytes(mem, at + IP)
}

/** The port that a segment goes to. */
export function portTo(mem: Uint8Array, at: number): number {
  return u16(mem, headerAt(mem, at) + 2)
}

export function seq(mem: Uint8Array, at: number): number {
  return u32(mem, headerAt(mem, at) + tcp.SEQ)
}

export function ack(mem: Uint8Array, at: number): number {
  return u32(mem, headerAt(mem, at) + tcp.ACK)
}

export function flags(mem: Uint8Array, at: number): number {
  return tcp.flags(mem, headerAt(mem, at))
}

/** Octets after the headers. */
export function octets(mem: Uint8Array, at: number): number {
  const header = headerAt(mem, at)
  return at + IP + ip.totalBytes(mem, at + IP) - header - tcp.headerBytes(mem, header)
}

/** Where frames go, and from where. Bytes in network order. */
export interface Path {
  readonly sourceMac: Uint8Array
  readonly targetMac: Uint8Array
  readonly source: Uint8Array
  readonly target: Uint8Array
}

/** Addresses of a frame. Its ports and {@link finish} are missing still. */
export function putPath(mem: Uint8Array, at: number, path: Path): void {
  mem.set(path.targetMac, at + eth.DST)
  mem.set(path.sourceMac, at + eth.SRC)
  mem.set(path.source, at + IP + ip.SRC)
  mem.set(path.target, at + IP + ip.DST)
}

export function putPorts(mem: Uint8Array, at: number, from: number, to: number): void {
  put16(mem, at + TCP, from)
  put16(mem, at + TCP + 2, to)
}

/** Addresses and ports of the answer to the frame at `from` of `seen`. */
export function putReply(mem: Uint8Array, at: number, seen: Uint8Array, from: number): void {
  const header = headerAt(seen, from)
  for (let i = 0; i < 6; i++) {
    mem[at + eth.DST + i] = seen[from + eth.SRC + i]!
    mem[at + eth.SRC + i] = seen[from + eth.DST + i]!
  }
  for (let i = 0; i < 4; i++) {
    mem[at + IP + ip.SRC + i] = seen[from + IP + ip.DST + i]!
    mem[at + IP + ip.DST + i] = seen[from + IP + ip.SRC + i]!
  }
  putPorts(mem, at, u16(seen, header + 2), u16(seen, header))
}

/**
 * The rest of a frame that has addresses and ports: a SYN gets an MSS, a segment with PSH the
 * octet. Octets of the whole frame.
 */
export function finish(
  mem: Uint8Array,
  at: number,
  seqNumber: number,
  ackNumber: number,
  flagBits: number,
): number {
  const options = (flagBits & tcp.Flag.Syn) === 0 ? 0 : MSS_OPTION_BYTES
  const data = (flagBits & tcp.Flag.Psh) === 0 ? 0 : 1
  const segment = tcp.HEADER_BYTES + options + data
  eth.putType(mem, at, eth.EtherType.Ipv4)
  ip.putHeader(mem, at + IP, {
    totalBytes: ip.HEADER_BYTES + segment,
    id: 0,
    fragment: ip.DONT_FRAGMENT,
    ttl: TTL,
    protocol: ip.Protocol.Tcp,
  })
  put32(mem, at + TCP + tcp.SEQ, seqNumber)
  put32(mem, at + TCP + tcp.ACK, ackNumber)
  put16(mem, at + TCP + 12, (((tcp.HEADER_BYTES + options) << 10) | flagBits) & 0xffff)
  put16(mem, at + TCP + tcp.WINDOW, WINDOW)
  put32(mem, at + TCP + tcp.CHECKSUM, 0)
  if (options > 0) put32(mem, at + DATA, MSS_OPTION)
  if (data > 0) mem[at + DATA + options] = OCTET
  const pseudo = sum(mem, at + IP + ip.SRC, 8, ip.Protocol.Tcp + segment)
  put16(mem, at + TCP + tcp.CHECKSUM, ~sum(mem, at + TCP, segment, pseudo))
  return TCP + segment
}
