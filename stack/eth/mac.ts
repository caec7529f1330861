/** Hardware addresses as values. In packets they stay bytes; see frame.ts. */
import { put16, put32, u16, u32 } from '../bytes.ts'
import { StackError } from '../errors.ts'
import type { Random } from '../random.ts'

/** Split so that both halves are integers: the first 16 bits, and the last 32 (unsigned). */
export interface Mac {
  readonly hi: number
  readonly lo: number
}

export const BROADCAST: Mac = { hi: 0xffff, lo: 0xffff_ffff }

/** `02:00:00:00:00:0b`, or with dashes. @throws StackError `bad-address`. */
export function parseMac(text: string): Mac {
  if (!/^[0-9a-f]{2}([:-][0-9a-f]{2}){5}$/i.test(text)) {
    throw new StackError('bad-address', `"${text}" is not a MAC address, such as 02:00:00:00:00:0b`)
  }
  const bytes = Uint8Array.from(text.split(/[:-]/), (pair) => Number.parseInt(pair, 16))
  return mac(bytes, 0)
}

export function formatMac({ hi, lo }: Mac): string {
  const digits = hi.toString(16).padStart(4, '0') + (lo >>> 0).toString(16).padStart(8, '0')
  return digits.replace(/..(?!$)/g, '$&:')
}

/** Read six octets. */
export function mac(mem: Uint8Array, at: number): Mac {
  return { hi: u16(mem, at), lo: u32(mem, at + 2) }
}

export function putMac(mem: Uint8Array, at: number, { hi, lo }: Mac): void {
  put16(mem, at, hi)
  put32(mem, at + 2, lo)
}

/** True if the six octets at `at` are this address. */
export function isMacAt(mem: Uint8Array, at: number, { hi, lo }: Mac): boolean {
  return u16(mem, at) === hi && u32(mem, at + 2) === lo >>> 0
}

export function sameMac(a: Mac, b: Mac): boolean {
  return a.hi === b.hi && a.lo >>> 0 === b.lo >>> 0
}

export function isGroupMac({ hi }: Mac): boolean {
  return (hi & 0x0100) !== 0
}

/** A random unicast address of the locally administered space (IEEE 802 clause 8.4): 02:... */
export function randomMac(random: Random): Mac {
  return { hi: 0x0200 | (random.bits() & 0xff), lo: random.bits() >>> 0 }
}
