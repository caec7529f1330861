/**
 * IPv6 header (RFC 8200 §3). Offsets are from the start of the IP header.
 *
 * ```text
 *  0                        4               6            7          8        24            40
 *  | ver class flow-label   | payload length| next header| hop limit| source | destination | …
 * ```
 */
import { put16, put32, u8, u16 } from '../bytes.ts'

export const PAYLOAD = 4
export const NEXT = 6
export const HOP_LIMIT = 7
export const SRC = 8
export const DST = 24
export const HEADER_BYTES = 40
/** Every link carries packets of this size (RFC 8200 §5). */
export const MIN_MTU_BYTES = 1280

/** Extension headers (RFC 8200 §4), and the end of the chain. */
export const Next = { HopByHop: 0, Routing: 43, Fragment: 44, Options: 60, None: 59 } as const

/** True if a whole header is there and its payload fits in `bytes`: accessors are then safe. */
export function isHeader(mem: Uint8Array, at: number, bytes: number): boolean {
  return (
    bytes >= HEADER_BYTES &&
    u8(mem, at) >>> 4 === 6 &&
    HEADER_BYTES + payloadBytes(mem, at) <= bytes
  )
}

/** Octets after the fixed header, extension headers included. */
export function payloadBytes(mem: Uint8Array, at: number): number {
  return u16(mem, at + PAYLOAD)
}

export function nextHeader(mem: Uint8Array, at: number): number {
  return u8(mem, at + NEXT)
}

export function hopLimit(mem: Uint8Array, at: number): number {
  return u8(mem, at + HOP_LIMIT)
}

/** Precondition: hop limit > 0. */
export function decrementHopLimit(mem: Uint8Array, at: number): void {
  mem[at + HOP_LIMIT]!--
}

export interface HeaderFields {
  readonly payloadBytes: number
  readonly next: number
  readonly hopLimit: number
}

/** Write a header; addresses are already at SRC and DST. */
export function putHeader(mem: Uint8Array, at: number, fields: HeaderFields): void {
  put32(mem, at, 0x6000_0000)
  put16(mem, at + PAYLOAD, fields.payloadBytes)
  mem[at + NEXT] = fields.next
  mem[at + HOP_LIMIT] = fields.hopLimit
}
