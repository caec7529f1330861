/**
 * IPv4 header (RFC 791 §3.1). Offsets are from the start of the IP header.
 *
 * ```text
 *  0         1     2       4    6           8     9         10       12       16       20
 *  | ver IHL | TOS | length| id | flags off | TTL | protocol| checksum| source | dest. | options
 * ```
 */
import { put16, u8, u16 } from '../bytes.ts'
import { sum, update } from '../checksum.ts'

export const TOTAL = 2
export const ID = 4
export const FRAGMENT = 6
export const TTL = 8
export const PROTOCOL = 9
export const CHECKSUM = 10
export const SRC = 12
export const DST = 16
export const HEADER_BYTES = 20
export const DONT_FRAGMENT = 0x4000
export const MORE_FRAGMENTS = 0x2000
const OFFSET_MASK = 0x1fff

export const Protocol = { Icmp: 1, Tcp: 6, Udp: 17, Icmp6: 58 } as const

/**
 * True if a whole header is there and its lengths fit in `bytes`: accessors are then safe.
 * The header checksum is not asked; see {@link isIntact}.
 */
export function isHeader(mem: Uint8Array, at: number, bytes: number): boolean {
  if (bytes < HEADER_BYTES || u8(mem, at) >>> 4 !== 4) return false
  const header = headerBytes(mem, at)
  const total = totalBytes(mem, at)
  return header >= HEADER_BYTES && header <= total && total <= bytes
}

/** True if the header checksum is right. */
export function isIntact(mem: Uint8Array, at: number): boolean {
  return sum(mem, at, headerBytes(mem, at)) === 0xffff
}

export function headerBytes(mem: Uint8Array, at: number): number {
  return (u8(mem, at) & 0x0f) << 2
}

export function totalBytes(mem: Uint8Array, at: number): number {
  return u16(mem, at + TOTAL)
}

export function protocol(mem: Uint8Array, at: number): number {
  return u8(mem, at + PROTOCOL)
}

export function ttl(mem: Uint8Array, at: number): number {
  return u8(mem, at + TTL)
}

export function dontFragment(mem: Uint8Array, at: number): boolean {
  return (u16(mem, at + FRAGMENT) & DONT_FRAGMENT) !== 0
}

/** True for every fragment but a whole datagram. */
export function isFragment(mem: Uint8Array, at: number): boolean {
  return (u16(mem, at + FRAGMENT) & (MORE_FRAGMENTS | OFFSET_MASK)) !== 0
}

export function moreFragments(mem: Uint8Array, at: number): boolean {
  return (u16(mem, at + FRAGMENT) & MORE_FRAGMENTS) !== 0
}

/** Octets of the datagram's payload before this fragment. */
export function fragmentOffset(mem: Uint8Array, at: number): number {
  return (u16(mem, at + FRAGMENT) & OFFSET_MASK) << 3
}

/** Take one from the TTL and mend the checksum. Precondition: TTL > 0. */
export function decrementTtl(mem: Uint8Array, at: number): void {
  const before = u16(mem, at + TTL)
  put16(mem, at + TTL, before - 0x0100)
  put16(mem, at + CHECKSUM, update(u16(mem, at + CHECKSUM), before, before - 0x0100))
}

/** Compute the header checksum anew. */
export function putChecksum(mem: Uint8Array, at: number): void {
  put16(mem, at + CHECKSUM, 0)
  put16(mem, at + CHECKSUM, ~sum(mem, at, headerBytes(mem, at)))
}

export interface HeaderFields {
  readonly totalBytes: number
  readonly id: number
  /** {@link DONT_FRAGMENT}, {@link MORE_FRAGMENTS} and the offset in units of 8 octets. */
  readonly fragment: number
  readonly ttl: number
  readonly protocol: number
  readonly tos?: number
}

/** Write a header without options; addresses are already at SRC and DST. Sets the checksum. */
export function putHeader(mem: Uint8Array, at: number, fields: HeaderFields): void {
  mem[at] = 0x45
  mem[at + 1] = fields.tos ?? 0
  put16(mem, at + TOTAL, fields.totalBytes)
  put16(mem, at + ID, fields.id)
  put16(mem, at + FRAGMENT, fields.fragment)
  mem[at + TTL] = fields.ttl
  mem[at + PROTOCOL] = fields.protocol
  putChecksum(mem, at)
}
