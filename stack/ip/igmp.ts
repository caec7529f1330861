/**
 * IGMP messages of versions 1 to 3 (RFC 1112 appendix I, RFC 2236 §2, RFC 3376 §4).
 *
 * ```text
 *  0      1          2          4            8                          12
 *  | type | max resp | checksum | group      |                              v1, v2, query of v3:
 *                                            | flags QRV | QQIC | sources n | n sources
 *  | 0x22 | reserved | checksum | reserved | records n | n records           report of v3
 * ```
 *
 * Records are those of group_record.ts. What follows the last one is ignored (RFC 3376 §4.2.11).
 */
import { i32, put16, put32, u8, u16 } from '../bytes.ts'
import { sum } from '../checksum.ts'
import { areRecords } from './group_record.ts'

/** Of IPv4. */
export const PROTOCOL = 2
export const Type = {
  Query: 0x11,
  Report1: 0x12,
  Report2: 0x16,
  Leave: 0x17,
  Report3: 0x22,
} as const
export const CHECKSUM = 2
export const GROUP = 4
/** Where records begin in a report of version 3. */
export const RECORDS = 8
export const ADDRESS_BYTES = 4
export const HEADER_BYTES = 8
export const QUERY3_BYTES = 12
const MAX_RESPONSE = 1
const COUNT = 6
const SOURCES = 10
/** Bit S of queries (RFC 3376 §4.1.5): routers are not to act on it. */
const SUPPRESS = 0x08
/** Units of the maximum response time: tenths of a second. */
const UNIT_MS = 100
/** What version 1, which has no such field, means (RFC 3376 §4.1.1). */
const VERSION1_MS = 10_000

/** True if the message that fills `bytes` is whole and intact: accessors are then safe. */
export function isMessage(mem: Uint8Array, at: number, bytes: number): boolean {
  if (bytes < HEADER_BYTES || sum(mem, at, bytes) !== 0xffff) return false
  const kind = type(mem, at)
  if (kind === Type.Query) {
    // Between 8 and 12 octets it is of no version, and to be ignored (RFC 3376 §7.1).
    if (bytes === HEADER_BYTES) return true
    return bytes >= QUERY3_BYTES && QUERY3_BYTES + 4 * u16(mem, at + SOURCES) <= bytes
  }
  if (kind !== Type.Report3) return true
  return areRecords(mem, at + RECORDS, at + bytes, recordCount(mem, at), ADDRESS_BYTES)
}

export function type(mem: Uint8Array, at: number): number {
  return u8(mem, at)
}

/** The group as a signed word; of a general query 0. */
export function group(mem: Uint8Array, at: number): number {
  return i32(mem, at + GROUP)
}

/** Of a report of version 3. */
export function recordCount(mem: Uint8Array, at: number): number {
  return u16(mem, at + COUNT)
}

/**
 * True if a query of `bytes` octets asks all members of its group, so that silence says that there
 * is none: who wants the group from other sources than it names does not answer (RFC 3376 §5.2).
 */
export function asksAll(mem: Uint8Array, at: number, bytes: number): boolean {
  return bytes === HEADER_BYTES || ((u8(mem, at + 8) & SUPPRESS) | u16(mem, at + SOURCES)) === 0
}

/** In what time hosts answer a query of `bytes` octets (RFC 3376 §4.1.1). */
export function maxResponseMs(mem: Uint8Array, at: number, bytes: number): number {
  const code = u8(mem, at + MAX_RESPONSE)
  if (code === 0) return bytes === HEADER_BYTES ? VERSION1_MS : 0
  if (code < 0x80 || bytes === HEADER_BYTES) return code * UNIT_MS
  return (((code & 0x0f) | 0x10) << (((code >>> 4) & 7) + 3)) * UNIT_MS
}

/** Write a query of version 3 without sources, {@link QUERY3_BYTES} long; group 0: general. */
export function putQuery(
  mem: Uint8Array,
  at: number,
  { group, maxResponseMs, robustness, intervalS }: QueryFields,
): void {
  mem[at] = Type.Query
  mem[at + MAX_RESPONSE] = maxResponseMs / UNIT_MS
  put16(mem, at + CHECKSUM, 0)
  put32(mem, at + GROUP, group)
  mem[at + 8] = robustness
  mem[at + 9] = intervalS
  put16(mem, at + SOURCES, 0)
  put16(mem, at + CHECKSUM, ~sum(mem, at, QUERY3_BYTES))
}

export interface QueryFields {
  readonly group: number
  /** Precondition: below 12,800, where the code is the number itself. */
  readonly maxResponseMs: number
  readonly robustness: number
  /** Precondition: below 128. */
  readonly intervalS: number
}
