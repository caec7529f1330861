/**
 * Frames for the comparison of two nodes, made fast: thousands a second, of both families, whole,
 * partial or wrong. And the little of a host that a node needs to hear: answers to ARP and ND.
 */
import { type Mac, putMac } from '../../stack/eth/mac.ts'

export const Protocol = { Icmp: 1, Tcp: 6, Udp: 17, Icmp6: 58 } as const
export const Flag = { Fin: 1, Syn: 2, Rst: 4, Psh: 8, Ack: 16 } as const
const ETHERNET_BYTES = 14

/** Offload facts, relative to the frame's start. */
export interface Facts {
  gsoType: number
  gsoSize: number
  csumStart: number
  csumOffset: number
}

export interface Frame {
  readonly bytes: Buffer
  readonly facts: Facts
}

export function plain(bytes: Buffer): Frame {
  return { bytes, facts: { gsoType: 0, gsoSize: 0, csumStart: 0, csumOffset: 0 } }
}

export interface Segment {
  readonly dst: Mac
  readonly src: Mac
  /** Both of 4 or of 16 octets. */
  readonly from: Uint8Array
  readonly to: Uint8Array
  readonly protocol: number
  /** Of an echo: its identifier twice. */
  readonly sport: number
  readonly dport: number
  readonly seq: number
  readonly ack: number
  /** TCP flags, or the type of an echo. */
  readonly flags: number
  readonly payloadBytes: number
  readonly mark: number
  readonly ttl: number
  readonly id: number
  readonly df: boolean
  readonly options: boolean
  /** The transport checksum holds the pseudo-header's sum only. */
  readonly partial: boolean
  /** Payload of each segment of a super-frame; 0: it is none. */
  readonly gsoSize: number
}

/** The Internet checksum's sum, written independently of the stack's. */
export function sum(bytes: Uint8Array, at: number, count: number, seed = 0): number {
  let total = seed
  const end = at + count
  for (let i = at; i + 1 < end; i += 2) total += (bytes[i]! << 8) | bytes[i + 1]!
  if ((count & 1) === 1) total += bytes[end - 1]! << 8
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16)
  return total
}

/** Octets of the transport header. */
function headerBytes(protocol: number): number {
  return protocol === Protocol.Tcp ? 20 : 8
}

/** Offset of the transport checksum in its header. */
function checksumAt(protocol: number): number {
  if (protocol === Protocol.Tcp) return 16
  return protocol === Protocol.Udp ? 6 : 2
}

export function build(s: Segment): Frame {
  const six = s.from.length === 16
  const ip = ETHERNET_BYTES
  const at = ip + (six ? 40 : s.options ? 24 : 20)
  const bytes = Buffer.alloc(at + headerBytes(s.protocol) + s.payloadBytes)
  putMac(bytes, 0, s.dst)
  putMac(bytes, 6, s.src)
  bytes.writeUInt16BE(six ? 0x86dd : 0x0800, 12)
  const transportBytes = bytes.length - at
  if (six) {
    bytes[ip] = 0x60
    bytes.writeUInt16BE(transportBytes, ip + 4)
    bytes[ip + 6] = s.protocol
    bytes[ip + 7] = s.ttl
    bytes.set(s.from, ip + 8)
    bytes.set(s.to, ip + 24)
  } else {
    bytes[ip] = 0x40 | ((at - ip) >>> 2)
    bytes.writeUInt16BE(bytes.length - ip, ip + 2)
    bytes.writeUInt16BE(s.id, ip + 4)
    bytes[ip + 6] = s.df ? 0x40 : 0
    bytes[ip + 8] = s.ttl
    bytes[ip + 9] = s.protocol
    bytes.set(s.from, ip + 12)
    bytes.set(s.to, ip + 16)
    if (s.options) bytes.fill(1, ip + 20, at)
    mend4(bytes)
  }
  putTransport(bytes, at, s)
  const field = at + checksumAt(s.protocol)
  const pseudo = pseudoOf(s, transportBytes)
  if (s.partial) bytes.writeUInt16BE(pseudo, field)
  else {
    const value = ~sum(bytes, at, transportBytes, pseudo) & 0xffff
    bytes.writeUInt16BE(value === 0 && s.protocol === Protocol.Udp ? 0xffff : value, field)
  }
  const gsoType = s.gsoSize === 0 ? 0 : s.protocol === Protocol.Udp ? 5 : six ? 4 : 1
  const csumStart = s.partial ? at : 0
  const csumOffset = s.partial ? checksumAt(s.protocol) : 0
  return { bytes, facts: { gsoType, gsoSize: s.gsoSize, csumStart, csumOffset } }
}

function putTransport(bytes: Buffer, at: number, s: Segment): void {
  if (s.protocol === Protocol.Tcp) {
    bytes.writeUInt16BE(s.sport, at)
    bytes.writeUInt16BE(s.dport, at + 2)
    bytes.writeUInt32BE(s.seq, at + 4)
    bytes.writeUInt32BE(s.ack, at + 8)
    bytes[at + 12] = 0x50
    bytes[at + 13] = s.flags
    bytes.writeUInt16BE(0xf000, at + 14)
  } else if (s.protocol === Protocol.Udp) {
    bytes.writeUInt16BE(s.sport, at)
    bytes.writeUInt16BE(s.dport, at + 2)
    bytes.writeUInt16BE(bytes.length - at, at + 4)
  } else {
    bytes[at] = s.flags
    bytes.writeUInt16BE(s.sport, at + 4)
  }
  if (s.payloadBytes >= 4) bytes.writeUInt32BE(s.mark, at + headerBytes(s.protocol))
}

function pseudoOf({ from, to, protocol }: Segment, transportBytes: number): number {
  if (protocol === Protocol.Icmp) return 0
  const ends = sum(to, 0, to.length, sum(from, 0, from.length))
  const total = ends + protocol + transportBytes
  return (total & 0xffff) + (total >>> 16)
}

/** Make the checksum of an IPv4 header right, whatever its length says. */
export function mend4(bytes: Buffer): void {
  const header = (bytes[ETHERNET_BYTES]! & 15) * 4
  if (ETHERNET_BYTES + header > bytes.length || header < 20) return
  bytes.writeUInt16BE(0, ETHERNET_BYTES + 10)
  const value = ~sum(bytes, ETHERNET_BYTES, header) & 0xffff
  bytes.writeUInt16BE(value, ETHERNET_BYTES + 10)
}

/** Who sent a frame to whom, as far as it is IP without extensions. */
export interface Seen {
  readonly dst: Mac
  readonly src: Mac
  readonly from: Buffer
  readonly to: Buffer
  readonly protocol: number
  readonly sport: number
  readonly dport: number
  readonly seq: number
  readonly mark: number
}

export function see(bytes: Buffer): Seen | undefined {
  if (bytes.length < 42) return undefined
  const type = bytes.readUInt16BE(12)
  const six = type === 0x86dd
  if (!six && type !== 0x0800) return undefined
  const protocol = bytes[ETHERNET_BYTES + (six ? 6 : 9)]!
  const at = ETHERNET_BYTES + (six ? 40 : (bytes[ETHERNET_BYTES]! & 15) * 4)
  const payload = at + headerBytes(protocol)
  if (payload > bytes.length) return undefined
  const echo = protocol === Protocol.Icmp || protocol === Protocol.Icmp6
  const from = ETHERNET_BYTES + (six ? 8 : 12)
  const to = from + (six ? 16 : 4)
  return {
    dst: macAt(bytes, 0),
    src: macAt(bytes, 6),
    from: bytes.subarray(from, to),
    to: bytes.subarray(to, to + (six ? 16 : 4)),
    protocol,
    sport: bytes.readUInt16BE(echo ? at + 4 : at),
    dport: bytes.readUInt16BE(echo ? at + 4 : at + 2),
    seq: protocol === Protocol.Tcp ? bytes.readUInt32BE(at + 4) : 0,
    mark: payload + 4 <= bytes.length ? bytes.readUInt32BE(payload) : 0,
  }
}

function macAt(bytes: Buffer, at: number): Mac {
  return { hi: bytes.readUInt16BE(at), lo: bytes.readUInt32BE(at + 2) }
}

/** The address that an ARP request or a neighbor solicitation asks for; undefined: it is none. */
export function askedFor(bytes: Buffer): Buffer | undefined {
  const type = bytes.readUInt16BE(12)
  if (type === 0x0806) return bytes[21] === 1 ? bytes.subarray(38, 42) : undefined
  const solicits = type === 0x86dd && bytes[20] === Protocol.Icmp6 && bytes[54] === 135
  return solicits ? bytes.subarray(62, 78) : undefined
}

/** The answer of station `mac` to a question for its address. */
export function answerTo(question: Buffer, asked: Uint8Array, mac: Mac): Buffer {
  if (asked.length === 16) {
    return advertise({ mac, own: asked, dst: macAt(question, 6), to: question.subarray(22, 38) })
  }
  const bytes = arp({ operation: 2, mac, own: asked, to: question.subarray(28, 32) })
  question.copy(bytes, 0, 6, 12)
  question.copy(bytes, 32, 22, 28)
  return bytes
}

/** An ARP message, to everybody. */
export function arp(o: {
  readonly operation: number
  readonly mac: Mac
  readonly own: Uint8Array
  readonly to: Uint8Array
}): Buffer {
  const bytes = Buffer.alloc(42)
  bytes.fill(0xff, 0, 6)
  putMac(bytes, 6, o.mac)
  bytes.writeUInt16BE(0x0806, 12)
  bytes.set([0, 1, 8, 0, 6, 4, 0, o.operation], 14)
  putMac(bytes, 22, o.mac)
  bytes.set(o.own, 28)
  bytes.set(o.to, 38)
  return bytes
}

/** A neighbor advertisement, solicited and overriding. */
export function advertise(o: {
  readonly mac: Mac
  readonly own: Uint8Array
  readonly dst: Mac
  readonly to: Uint8Array
}): Buffer {
  const bytes = Buffer.alloc(86)
  putMac(bytes, 0, o.dst)
  putMac(bytes, 6, o.mac)
  bytes.writeUInt16BE(0x86dd, 12)
  bytes.set([0x60, 0, 0, 0, 0, 32, Protocol.Icmp6, 255], 14)
  bytes.set(o.own, 22)
  bytes.set(o.to, 38)
  bytes.set([136, 0, 0, 0, 0x60, 0, 0, 0], 54)
  bytes.set(o.own, 62)
  bytes.set([2, 1], 78)
  putMac(bytes, 80, o.mac)
  const pseudo = sum(bytes, 22, 32, 32 + Protocol.Icmp6)
  bytes.writeUInt16BE(~sum(bytes, 54, 32, pseudo) & 0xffff, 56)
  return bytes
}
