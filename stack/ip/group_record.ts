/**
 * Group records of IGMPv3 and MLDv2 reports, which differ in the size of addresses only (RFC 3376
 * §4.2.4, RFC 3810 §5.2).
 *
 * ```text
 *  0      1             2           4        4 + A
 *  | type | aux. words  | sources n | group  | n sources | auxiliary data …
 * ```
 */
import { u8, u16 } from '../bytes.ts'

/** Kinds of records (RFC 3376 §4.2.12). */
export const Record = {
  IsInclude: 1,
  IsExclude: 2,
  ToInclude: 3,
  ToExclude: 4,
  Allow: 5,
  Block: 6,
} as const

export const GROUP = 4
const SOURCES = 2
const AUX = 1

/** True if `count` whole records lie between `at` and `end`. */
export function areRecords(
  mem: Uint8Array,
  at: number,
  end: number,
  count: number,
  addressBytes: number,
): boolean {
  for (let i = 0; i < count; i++) {
    if (at + GROUP + addressBytes > end) return false
    at += recordBytes(mem, at, addressBytes)
  }
  return at <= end
}

export function type(mem: Uint8Array, at: number): number {
  return u8(mem, at)
}

/** Octets of the record at `at`, from which the next one follows. */
export function recordBytes(mem: Uint8Array, at: number, addressBytes: number): number {
  return GROUP + addressBytes * (1 + sources(mem, at)) + 4 * u8(mem, at + AUX)
}

/** True: somebody wants the group, from whatever source. */
export function isJoin(mem: Uint8Array, at: number): boolean {
  const kind = type(mem, at)
  if (kind === Record.IsExclude || kind === Record.ToExclude) return true
  const some = kind === Record.IsInclude || kind === Record.ToInclude || kind === Record.Allow
  return some && sources(mem, at) > 0
}

/** True: the sender wants the group from no source any more. */
export function isLeave(mem: Uint8Array, at: number): boolean {
  const kind = type(mem, at)
  return (kind === Record.IsInclude || kind === Record.ToInclude) && sources(mem, at) === 0
}

function sources(mem: Uint8Array, at: number): number {
  return u16(mem, at + SOURCES)
}
