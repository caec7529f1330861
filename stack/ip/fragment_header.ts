/**
 * IPv6 fragment header (RFC 8200 §4.5). Offsets are from its start.
 *
 * ```text
 *  0            1         2                     4
 *  | next header| reserved| offset (13) 00 M    | identification |
 * ```
 */
import { put16, put32, u16 } from '../bytes.ts'

export const ID = 4
export const HEADER_BYTES = 8
const MORE = 1

/** Octets of the fragmentable part before this fragment. */
export function offsetBytes(mem: Uint8Array, at: number): number {
  return u16(mem, at + 2) & 0xfff8
}

export function moreFragments(mem: Uint8Array, at: number): boolean {
  return (u16(mem, at + 2) & MORE) !== 0
}

export interface HeaderFields {
  readonly next: number
  readonly offsetBytes: number
  readonly more: boolean
  readonly id: number
}

export function putHeader(mem: Uint8Array, at: number, fields: HeaderFields): void {
  mem[at] = fields.next
  mem[at + 1] = 0
  put16(mem, at + 2, fields.offsetBytes | (fields.more ? MORE : 0))
  put32(mem, at + 4, fields.id)
}
