/**
 * The outer headers of a datagram, where no kernel puts them on: IPv4 or IPv6, and UDP with its
 * checksum (RFC 768, RFC 8200 §8.1). Octets from `head` on are whole packets, as on a wire without
 * Ethernet.
 */
import { type Address, loadWords } from '../address.ts'
import { put16, u16 } from '../bytes.ts'
import { finish, sum } from '../checksum.ts'
import { DropReason } from '../drop.ts'
import { ipHeaderBytes, pseudo, putIpHeader } from '../ip/header.ts'
import * as ipv4 from '../ip/ipv4.ts'
import * as ipv6 from '../ip/ipv6.ts'
import * as udp from '../ip/udp.ts'
import { type Packet, pull, push } from '../packet.ts'

const TTL = 64

export interface OuterEnd {
  readonly address: Address
  readonly udpPort: number
}

/** Octets of the outer headers between ends of this family. */
export function outerBytes(address: Address): number {
  return ipHeaderBytes(address) + udp.HEADER_BYTES
}

/** Put headers in front of a datagram. Preconditions: one family; that much headroom is left. */
export function putOuter(
  mem: Uint8Array,
  packet: Packet,
  from: OuterEnd,
  to: OuterEnd,
  tos: number,
): void {
  const bytes = packet.len + udp.HEADER_BYTES
  push(packet, outerBytes(to.address))
  const at = packet.head
  const l4 = at + ipHeaderBytes(to.address)
  udp.putHeader(mem, l4, { srcPort: from.udpPort, dstPort: to.udpPort, bytes })
  const protocol = ipv4.Protocol.Udp
  putIpHeader(mem, at, {
    from: from.address,
    to: to.address,
    protocol,
    bytes,
    ttl: TTL,
    tos,
    dontFragment: true,
  })
  put16(mem, l4 + udp.CHECKSUM, pseudo(mem, at, protocol, bytes))
  finish(mem, l4, udp.CHECKSUM, l4 + bytes)
}

/**
 * Why a packet is no datagram of this family, as a drop reason; -1 if it is one. Asks lengths and
 * checksums, so that what follows is safe.
 */
export function outerRefusal(mem: Uint8Array, { head, len }: Packet, family: 4 | 6): number {
  if (family === 4) {
    if (!ipv4.isHeader(mem, head, len) || !ipv4.isIntact(mem, head)) return DropReason.IpMalformed
    if (ipv4.totalBytes(mem, head) !== len || ipv4.headerBytes(mem, head) !== ipv4.HEADER_BYTES) {
      return DropReason.IpMalformed
    }
    if (ipv4.protocol(mem, head) !== ipv4.Protocol.Udp) return DropReason.IpMalformed
  } else if (!ipv6.isHeader(mem, head, len) || ipv6.nextHeader(mem, head) !== ipv4.Protocol.Udp) {
    return DropReason.IpMalformed
  }
  const l4 = head + (family === 4 ? ipv4.HEADER_BYTES : ipv6.HEADER_BYTES)
  const bytes = head + len - l4
  if (!udp.isHeader(mem, l4, bytes) || u16(mem, l4 + udp.LENGTH) !== bytes) {
    return DropReason.TransportMalformed
  }
  const seed = pseudo(mem, head, ipv4.Protocol.Udp, bytes)
  return sum(mem, l4, bytes, seed) === 0xffff ? -1 : DropReason.TransportMalformed
}

/** TOS or traffic class. Precondition, as below: {@link outerRefusal} found nothing. */
export function outerTos(mem: Uint8Array, at: number, family: 4 | 6): number {
  return family === 4 ? mem[at + 1]! : (u16(mem, at) >>> 4) & 0xff
}

/** Read the sender's address and port into five words. */
export function loadSource(mem: Uint8Array, at: number, family: 4 | 6, out: Int32Array): void {
  loadWords(mem, at + (family === 4 ? ipv4.SRC : ipv6.SRC), family, out)
  const l4 = at + (family === 4 ? ipv4.HEADER_BYTES : ipv6.HEADER_BYTES)
  out[4] = udp.srcPort(mem, l4)
}

/** Take the headers off. */
export function pullOuter(packet: Packet, family: 4 | 6): void {
  pull(packet, (family === 4 ? ipv4.HEADER_BYTES : ipv6.HEADER_BYTES) + udp.HEADER_BYTES)
}
