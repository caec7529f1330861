/**
 * UDP header (RFC 768).
 *
 * ```text
 *  0             2                  4       6          8
 *  | source port | destination port | length| checksum | payload …
 * ```
 */
import { put16, u16 } from '../bytes.ts'

export const SRC_PORT = 0
export const DST_PORT = 2
export const LENGTH = 4
export const CHECKSUM = 6
export const HEADER_BYTES = 8

/** True if a whole header is there and its length fits in `bytes`. */
export function isHeader(mem: Uint8Array, at: number, bytes: number): boolean {
  if (bytes < HEADER_BYTES) return false
  const length = u16(mem, at + LENGTH)
  return length >= HEADER_BYTES && length <= bytes
}

export function srcPort(mem: Uint8Array, at: number): number {
  return u16(mem, at + SRC_PORT)
}

export function dstPort(mem: Uint8Array, at: number): number {
  return u16(mem, at + DST_PORT)
}

export interface HeaderFields {
  readonly srcPort: number
  readonly dstPort: number
  /** Header and payload. */
  readonly bytes: number
}

/** Write a header with checksum 0, which a caller then completes. */
export function putHeader(mem: Uint8Array, at: number, fields: HeaderFields): void {
  put16(mem, at + SRC_PORT, fields.srcPort)
  put16(mem, at + DST_PORT, fields.dstPort)
  put16(mem, at + LENGTH, fields.bytes)
  put16(mem, at + CHECKSUM, 0)
}
