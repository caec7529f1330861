/** TCP segments of an in-memory host: writing them into packets, and reading what came. */
import type { Address } from '../../stack/address.ts'
import { u16, u32 } from '../../stack/bytes.ts'
import { sum } from '../../stack/checksum.ts'
import { ipHeaderBytes, pseudo } from '../../stack/ip/header.ts'
import { Protocol } from '../../stack/ip/ipv4.ts'
import * as tcp from '../../stack/ip/tcp.ts'
import { GsoType, type Packet } from '../../stack/packet.ts'
import type { IpHost, Plan } from './ip_host.ts'
import { compose, type Heading, seal } from './wire.ts'

const TTL = 64

/** What a segment says. */
export interface Segment extends Omit<tcp.HeaderFields, 'headerBytes'> {
  /** Of the option; 0: there is none. */
  readonly mssBytes: number
  readonly data: Uint8Array
}

/** A segment to be sent, between two addresses. */
export interface Outgoing extends Segment {
  readonly from: Address
  readonly to: Address
  /** Cut into segments of so many octets by whoever must; 0: it is one. */
  readonly gsoBytes: number
}

/** Octets of data that fit one segment on this way. */
export function segmentBytes(plan: Plan, to: Address): number {
  return plan.mtuBytes - ipHeaderBytes(to) - tcp.HEADER_BYTES
}

/** False: there is no packet memory for it now. */
export function sendSegment(host: IpHost, plan: Plan, segment: Outgoing): boolean {
  const { from, to, data, mssBytes } = segment
  const { mem } = host.pool
  const headerBytes = tcp.HEADER_BYTES + (mssBytes > 0 ? tcp.OPTION_MSS_BYTES : 0)
  const bytes = headerBytes + data.length
  const packet = compose(host.pool, {
    from,
    to,
    protocol: Protocol.Tcp,
    ttl: TTL,
    dontFragment: true,
    id: host.nextId(),
    bytes,
  })
  if (packet === undefined) return false
  const at = packet.head + ipHeaderBytes(to)
  tcp.putHeader(mem, at, { ...segment, headerBytes })
  if (mssBytes > 0) tcp.putMss(mem, at + tcp.HEADER_BYTES, mssBytes)
  mem.set(data, at + headerBytes)
  const transport = { protocol: Protocol.Tcp, at, bytes, field: tcp.CHECKSUM }
  seal(mem, packet, transport, plan.device.offload.csum)
  if (segment.gsoBytes > 0 && data.length > segment.gsoBytes) {
    packet.gsoType = to.family === 4 ? GsoType.TcpV4 : GsoType.TcpV6
    packet.gsoSize = segment.gsoBytes
  }
  host.transmit(packet, plan)
  return true
}

/** Undefined: lengths or checksum are wrong. `packet.head` is at the IP header. */
export function readSegment(
  mem: Uint8Array,
  packet: Packet,
  { at, bytes }: Heading,
): Segment | undefined {
  if (!tcp.isHeader(mem, at, bytes)) return undefined
  const partial = packet.csumStart !== 0
  const seed = pseudo(mem, packet.head, Protocol.Tcp, bytes)
  if (!partial && sum(mem, at, bytes, seed) !== 0xffff) return undefined
  const payload = at + tcp.headerBytes(mem, at)
  return {
    srcPort: u16(mem, at),
    dstPort: u16(mem, at + 2),
    seq: u32(mem, at + tcp.SEQ),
    ack: u32(mem, at + tcp.ACK),
    flags: tcp.flags(mem, at),
    window: u16(mem, at + tcp.WINDOW),
    mssBytes: Math.max(0, tcp.mssBytes(mem, at)),
    data: mem.slice(payload, at + bytes),
  }
}
