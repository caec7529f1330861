/** A datagram being put together from fragments, and how it is made whole (reassembly.ts). */
import { copy, put16 } from '../bytes.ts'
import * as eth from '../eth/frame.ts'
import { HEADROOM_BYTES, type Packet } from '../packet.ts'
import * as extension from './extension.ts'
import * as fragment from './fragment_header.ts'
import * as ipv4 from './ipv4.ts'
import * as ipv6 from './ipv6.ts'

/** Room for Ethernet and IP header: the longest IPv4 one, or IPv6 with 80 octets of extensions. */
export const HEADER_ROOM_BYTES = 142
/** Largest IPv4 packet, and largest payload of IPv6. */
export const DATAGRAM_MAX_BYTES = 65_535

export interface Datagram {
  /** Undefined once refused: what still comes is dropped. */
  packet: Packet | undefined
  /** Index of the interface that it comes in by. */
  from: number
  startedMs: number
  /** Blocks of 8 octets received. */
  blocks: number
  /** Payload octets; -1 while the last fragment has not come. */
  totalBytes: number
  /** Of the first fragment: all its headers (0 while it has not come), and its payload. */
  headerBytes: number
  firstBytes: number
}

/** One fragment: octets of its headers, Ethernet included, and its place in the payload. */
export interface Piece {
  readonly headerBytes: number
  readonly bytes: number
  readonly offset: number
  readonly more: boolean
  /** Largest payload that fits a datagram with this header. */
  readonly maxBytes: number
}

export function newDatagram(): Datagram {
  return {
    packet: undefined,
    from: 0,
    startedMs: 0,
    blocks: 0,
    totalBytes: -1,
    headerBytes: 0,
    firstBytes: 0,
  }
}

export function restart(datagram: Datagram, packet: Packet, from: number, nowMs: number): void {
  datagram.packet = packet
  datagram.from = from
  datagram.startedMs = nowMs
  datagram.blocks = 0
  datagram.totalBytes = -1
  datagram.headerBytes = 0
  datagram.firstBytes = 0
}

/** Where the payload of a datagram begins. */
export function base(packet: Packet): number {
  return packet.slot + HEADROOM_BYTES + HEADER_ROOM_BYTES
}

/**
 * Make the headers of the first fragment those of the whole; an IPv6 fragment header goes. False
 * if the whole is larger than its length field can say. `payload`: where the payload begins.
 */
export function unite(mem: Uint8Array, packet: Packet, payload: number): boolean {
  const ip = packet.head + eth.HEADER_BYTES
  if (eth.type(mem, packet.head) === eth.EtherType.Ipv4) {
    const total = packet.len - eth.HEADER_BYTES
    if (total > DATAGRAM_MAX_BYTES) return false
    put16(mem, ip + ipv4.TOTAL, total)
    put16(mem, ip + ipv4.FRAGMENT, 0)
    ipv4.putChecksum(mem, ip)
    return true
  }
  const at = payload - fragment.HEADER_BYTES
  mem[extension.nextField(mem, ip, at)] = mem[at]!
  copy(mem, packet.head + fragment.HEADER_BYTES, packet.head, at - packet.head)
  packet.head += fragment.HEADER_BYTES
  packet.len -= fragment.HEADER_BYTES
  const bytes = packet.len - eth.HEADER_BYTES - ipv6.HEADER_BYTES
  if (bytes > DATAGRAM_MAX_BYTES) return false
  put16(mem, ip + fragment.HEADER_BYTES + ipv6.PAYLOAD, bytes)
  return true
}
