/**
 * Ethernet II frame with an optional 802.1Q tag (IEEE 802.3 clause 3, 802.1Q clause 9).
 *
 * ```text
 *  0              6              12     14
 *  | destination  |    source    | type | payload …
 *  | destination  |    source    | 8100 | PCP DEI VID | type | payload …
 * ```
 */
import { put16, u8, u16 } from '../bytes.ts'

export const DST = 0
export const SRC = 6
export const TYPE = 12
export const HEADER_BYTES = 14
export const TAG_BYTES = 4

export const EtherType = { Ipv4: 0x0800, Arp: 0x0806, Vlan: 0x8100, Ipv6: 0x86dd } as const

/** True if a whole header is there: every accessor below is then safe. */
export function isHeader(bytes: number): boolean {
  return bytes >= HEADER_BYTES
}

export function type(mem: Uint8Array, frame: number): number {
  return u16(mem, frame + TYPE)
}

export function putType(mem: Uint8Array, frame: number, value: number): void {
  put16(mem, frame + TYPE, value)
}

/** VLAN identifier of a tagged frame. Precondition: type is Vlan and 18 octets are there. */
export function vid(mem: Uint8Array, frame: number): number {
  return u16(mem, frame + HEADER_BYTES) & 0x0fff
}

/** The group bit of the address at `at`: set for multicast and broadcast. */
export function isGroup(mem: Uint8Array, at: number): boolean {
  return (u8(mem, at) & 1) === 1
}

export function isBroadcast(mem: Uint8Array, at: number): boolean {
  for (let i = 0; i < 6; i++) if (mem[at + i] !== 0xff) return false
  return true
}

/** 01:80:c2:00:00:00 to 0f: for the bridge itself, never forwarded (IEEE 802.1Q table 8-1). */
export function isReservedGroup(mem: Uint8Array, at: number): boolean {
  return (
    mem[at] === 0x01 &&
    mem[at + 1] === 0x80 &&
    mem[at + 2] === 0xc2 &&
    mem[at + 3] === 0 &&
    mem[at + 4] === 0 &&
    mem[at + 5]! <= 0x0f
  )
}
