/**
 * Options of neighbor-discovery messages (RFC 4861 §4.6), as far as they name MACs. Offsets are
 * from the start of an option; lengths count units of 8 octets.
 *
 * ```text
 *  0      1        2
 *  | type | length | six octets of MAC, for types 1 and 2 on Ethernet
 * ```
 */
import { u8 } from '../bytes.ts'

/** Link-layer address options (RFC 4861 §4.6.1). */
export const Option = { Source: 1, Target: 2 } as const

/**
 * True if the options fill `from` to `end` exactly, and each link-layer address is six octets and
 * there once: of two, receivers would not agree which counts.
 */
export function areOptions(mem: Uint8Array, from: number, end: number): boolean {
  let seen = 0
  for (let option = from; option < end; option += u8(mem, option + 1) << 3) {
    if (option + 2 > end || u8(mem, option + 1) === 0) return false
    if (option + (u8(mem, option + 1) << 3) > end) return false
    const type = u8(mem, option)
    if (type !== Option.Source && type !== Option.Target) continue
    if (u8(mem, option + 1) !== 1 || (seen & type) !== 0) return false
    seen |= type
  }
  return true
}

/** Where the MAC of that option is; 0: it is absent. Precondition: {@link areOptions}. */
export function macOf(mem: Uint8Array, from: number, end: number, type: number): number {
  for (let option = from; option < end; option += u8(mem, option + 1) << 3) {
    if (u8(mem, option) === type) return option + 2
  }
  return 0
}
