/**
 * Neighbor solicitation and advertisement (RFC 4861 §4.3, §4.4). Offsets are from the start of the
 * IPv6 header: no extension header may come before these messages here, so all are fixed.
 *
 * ```text
 *  0        6     7      8        24           40     41     42         44      48       64
 *  | IPv6 … | 58  | 255  | source | destination| type | code | checksum | flags | target | options
 * ```
 */
import { i32, u8, u16 } from '../bytes.ts'
import { pseudo6, sum } from '../checksum.ts'
import { areOptions, macOf, Option } from './nd_option.ts'

export const PAYLOAD = 4
export const NEXT = 6
export const HOP_LIMIT = 7
export const SRC = 8
export const DST = 24
export const TYPE = 40
export const CHECKSUM = 42
export const FLAGS = 44
export const TARGET = 48
export const OPTIONS = 64
/** Octets of a message with one link-layer address option, IPv6 header included. */
export const MESSAGE_BYTES = 72

export const ICMP6 = 58
export const Type = {
  RouterAdvertisement: 134,
  Solicitation: 135,
  Advertisement: 136,
  Redirect: 137,
}
/** In the octet at FLAGS of an advertisement. */
export const Flag = { Router: 0x80, Solicited: 0x40, Override: 0x20 } as const

/**
 * True if the octets are a valid message by RFC 4861 §7.1.1 and §7.1.2: accessors are then safe.
 * `complete` is false where the checksum is still partial and cannot be asked.
 */
export function isMessage(mem: Uint8Array, at: number, bytes: number, complete: boolean): boolean {
  if (bytes < OPTIONS) return false
  const icmpBytes = u16(mem, at + PAYLOAD)
  if (icmpBytes < OPTIONS - TYPE || TYPE + icmpBytes > bytes) return false
  if (u8(mem, at) >>> 4 !== 6 || u8(mem, at + NEXT) !== ICMP6) return false
  if (u8(mem, at + HOP_LIMIT) !== 255 || u8(mem, at + TYPE + 1) !== 0) return false
  if (u8(mem, at + TARGET) === 0xff || u8(mem, at + SRC) === 0xff) return false
  if (!areOptions(mem, at + OPTIONS, at + TYPE + icmpBytes)) return false
  const type = u8(mem, at + TYPE)
  if (type === Type.Advertisement) {
    const solicited = (u8(mem, at + FLAGS) & Flag.Solicited) !== 0
    if (solicited && u8(mem, at + DST) === 0xff) return false
  } else if (type !== Type.Solicitation) return false
  else if (isUnspecified(mem, at + SRC)) {
    if (!isSolicitedNode(mem, at + DST) || linkAddress(mem, at, Option.Source) !== 0) return false
  }
  if (!complete) return true
  return sum(mem, at + TYPE, icmpBytes, pseudo6(mem, at + SRC, ICMP6, icmpBytes)) === 0xffff
}

/** Where the MAC of an {@link Option} is; 0: it is absent. Precondition: {@link isMessage}. */
export function linkAddress(mem: Uint8Array, at: number, option: number): number {
  return macOf(mem, at + OPTIONS, at + TYPE + u16(mem, at + PAYLOAD), option)
}

/** True if the sixteen octets are `::`: who sends so has no address yet (RFC 4862 §5.4.2). */
export function isUnspecified(mem: Uint8Array, at: number): boolean {
  return (i32(mem, at) | i32(mem, at + 4) | i32(mem, at + 8) | i32(mem, at + 12)) === 0
}

/** True for ff02::1:ff00:0/104 (RFC 4291 §2.7.1). */
function isSolicitedNode(mem: Uint8Array, at: number): boolean {
  if (i32(mem, at) !== (0xff02_0000 | 0) || i32(mem, at + 4) !== 0) return false
  return i32(mem, at + 8) === 1 && u8(mem, at + 12) === 0xff
}
