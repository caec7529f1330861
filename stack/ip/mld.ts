/**
 * MLD messages of versions 1 and 2 (RFC 2710 §3, RFC 3810 §5), which are ICMPv6.
 *
 * ```text
 *  0      1      2          4                    8        24                          28
 *  | type | code | checksum | max resp | reserved | group |                              v1, v2:
 *                                                         | flags QRV | QQIC | sources n | …
 *  | 143  | 0    | checksum | reserved | records n | n records                  report of v2
 * ```
 *
 * Records are those of group_record.ts.
 */
import { put16, u8, u16, zero } from '../bytes.ts'
import { pseudo6, sum } from '../checksum.ts'
import { areRecords } from './group_record.ts'
import { CHECKSUM, Type6 } from './icmp.ts'
import * as ipv4 from './ipv4.ts'
import * as ipv6 from './ipv6.ts'

export const GROUP = 8
/** Where records begin in a report of version 2. */
export const RECORDS = 8
export const ADDRESS_BYTES = 16
export const HEADER_BYTES = 24
export const QUERY2_BYTES = 28
const MAX_RESPONSE = 4
const COUNT = 6
const FLAGS = 24
const SOURCES = 26
/** Bit S of queries (RFC 3810 §5.1.7): routers are not to act on it. */
const SUPPRESS = 0x08

/** True for the types that are MLD's. */
export function isType(type: number): boolean {
  return (type >= Type6.MldQuery && type <= Type6.MldDone) || type === Type6.MldReport2
}

/**
 * True if the message that fills `bytes` is whole: accessors are then safe. Not asked is
 * {@link isIntact}. Precondition: an MLD type is there.
 */
export function isMessage(mem: Uint8Array, at: number, bytes: number): boolean {
  if (u8(mem, at) === Type6.MldReport2) {
    if (bytes < RECORDS) return false
    return areRecords(mem, at + RECORDS, at + bytes, recordCount(mem, at), ADDRESS_BYTES)
  }
  if (bytes < HEADER_BYTES) return false
  if (u8(mem, at) !== Type6.MldQuery || bytes === HEADER_BYTES) return true
  return bytes >= QUERY2_BYTES && QUERY2_BYTES + 16 * u16(mem, at + SOURCES) <= bytes
}

/** True if the checksum is right. `ip`: the IPv6 header in front. */
export function isIntact(mem: Uint8Array, ip: number, at: number, bytes: number): boolean {
  return sum(mem, at, bytes, pseudo6(mem, ip + ipv6.SRC, ipv4.Protocol.Icmp6, bytes)) === 0xffff
}

/** Of a report of version 2. */
export function recordCount(mem: Uint8Array, at: number): number {
  return u16(mem, at + COUNT)
}

/**
 * True if a query of `bytes` octets asks all members of its group, so that silence says that there
 * is none: who wants the group from other sources than it names does not answer (RFC 3810 §6.2).
 */
export function asksAll(mem: Uint8Array, at: number, bytes: number): boolean {
  return bytes === HEADER_BYTES || ((u8(mem, at + FLAGS) & SUPPRESS) | u16(mem, at + SOURCES)) === 0
}

/** In what time hosts answer a query of `bytes` octets (RFC 3810 §5.1.3). */
export function maxResponseMs(mem: Uint8Array, at: number, bytes: number): number {
  const code = u16(mem, at + MAX_RESPONSE)
  if (code < 0x8000 || bytes === HEADER_BYTES) return code
  return ((code & 0x0fff) | 0x1000) << (((code >>> 12) & 7) + 3)
}

/**
 * Write a query of version 2 without sources, {@link QUERY2_BYTES} long. Preconditions: the group
 * is at {@link GROUP}, and the addresses of the IPv6 header at `ip` are there.
 */
export function putQuery(
  mem: Uint8Array,
  ip: number,
  at: number,
  fields: {
    readonly maxResponseMs: number
    readonly robustness: number
    readonly intervalS: number
  },
): void {
  zero(mem, at, GROUP)
  mem[at] = Type6.MldQuery
  put16(mem, at + MAX_RESPONSE, fields.maxResponseMs)
  mem[at + FLAGS] = fields.robustness
  mem[at + 25] = fields.intervalS
  put16(mem, at + SOURCES, 0)
  const pseudo = pseudo6(mem, ip + ipv6.SRC, ipv4.Protocol.Icmp6, QUERY2_BYTES)
  put16(mem, at + CHECKSUM, ~sum(mem, at, QUERY2_BYTES, pseudo))
}
