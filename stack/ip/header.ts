/**
 * An IP header of either family, for what a node and its hosts send themselves: without options or
 * extensions, so that the transport header follows at once.
 */
import { type Address, putAddress } from '../address.ts'
import { put16, put32, u8 } from '../bytes.ts'
import { finish, pseudo4, pseudo6 } from '../checksum.ts'
import * as ipv4 from './ipv4.ts'
import * as ipv6 from './ipv6.ts'

export interface Header {
  readonly from: Address
  /** Of the same family. */
  readonly to: Address
  readonly protocol: number
  /** Octets behind the header. */
  readonly bytes: number
  readonly ttl: number
  /** TOS or traffic class; left out: 0. */
  readonly tos?: number
  /** Of IPv4 alone; left out: 0, and it may be fragmented. */
  readonly id?: number
  readonly dontFragment?: boolean
}

/** Where a transport header is, payload included. */
export interface Transport {
  readonly protocol: number
  readonly at: number
  readonly bytes: number
  /** Offset of the checksum in the header. */
  readonly field: number
}

export function ipHeaderBytes({ family }: Address): number {
  return family === 4 ? ipv4.HEADER_BYTES : ipv6.HEADER_BYTES
}

/** Write a whole header at `ip`. */
export function putIpHeader(mem: Uint8Array, ip: number, header: Header): void {
  const { from, to, protocol, bytes, ttl, tos = 0 } = header
  if (to.family === 4) {
    putAddress(mem, ip + ipv4.SRC, from)
    putAddress(mem, ip + ipv4.DST, to)
    const fragment = header.dontFragment === true ? ipv4.DONT_FRAGMENT : 0
    const totalBytes = ipv4.HEADER_BYTES + bytes
    ipv4.putHeader(mem, ip, { totalBytes, id: header.id ?? 0, fragment, ttl, protocol, tos })
  } else {
    ipv6.putHeader(mem, ip, { payloadBytes: bytes, next: protocol, hopLimit: ttl })
    put32(mem, ip, 0x6000_0000 | (tos << 20))
    putAddress(mem, ip + ipv6.SRC, from)
    putAddress(mem, ip + ipv6.DST, to)
  }
}

/** Write the checksum of what is behind the header of the packet at `ip`. */
export function putChecksum(
  mem: Uint8Array,
  ip: number,
  { protocol, at, bytes, field }: Transport,
): void {
  put16(mem, at + field, pseudo(mem, ip, protocol, bytes))
  finish(mem, at, field, at + bytes)
}

/** Sum of the pseudo-header of the packet at `ip`, for `bytes` octets of `protocol`. */
export function pseudo(mem: Uint8Array, ip: number, protocol: number, bytes: number): number {
  return u8(mem, ip) >>> 4 === 4
    ? pseudo4(mem, ip + ipv4.SRC, protocol, bytes)
    : pseudo6(mem, ip + ipv6.SRC, protocol, bytes)
}
