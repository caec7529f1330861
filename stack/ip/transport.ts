/**
 * Where the transport header of an IP packet is, behind options of IPv4, extension headers of IPv6
 * or a fragment header. One walk finds all of it, as one number:
 *
 * ```text
 *   31         10 9    8 7        0
 *   |   offset   | part | protocol |      offset in octets from the IP header
 * ```
 */
import { u8 } from '../bytes.ts'
import * as extension from './extension.ts'
import * as fragment from './fragment_header.ts'
import * as ipv4 from './ipv4.ts'
import { Next } from './ipv6.ts'

/** Of a datagram: all of it, its first fragment, or a later one, which has no transport header. */
export const Part = { Whole: 0, First: 1, Later: 2 } as const
const OFFSET_SHIFT = 10
const PART_SHIFT = 8
const PART_MASK = 3
const PROTOCOL_MASK = 0xff

/**
 * Of the packet at `ip`, whose octets end at `end`; -1 if its headers are cut short. An IPv6 packet
 * with a fragment header is a fragment, even if nothing follows it.
 * Precondition: the fixed IP header is there, options of IPv4 included.
 */
export function locate(mem: Uint8Array, ip: number, end: number): number {
  if (u8(mem, ip) >>> 4 === 4) {
    let part: number = Part.Whole
    if (ipv4.isFragment(mem, ip)) {
      part = ipv4.fragmentOffset(mem, ip) === 0 ? Part.First : Part.Later
    }
    return pack(ipv4.headerBytes(mem, ip), part, ipv4.protocol(mem, ip))
  }
  const step = extension.walk(mem, ip, end)
  if (step < 0) return -1
  const offset = step >>> 8
  const protocol = step & 0xff
  if (protocol !== Next.Fragment) return pack(offset, Part.Whole, protocol)
  const at = ip + offset
  if (at + fragment.HEADER_BYTES > end) return -1
  const part = fragment.offsetBytes(mem, at) === 0 ? Part.First : Part.Later
  return pack(offset + fragment.HEADER_BYTES, part, u8(mem, at))
}

function pack(offset: number, part: number, protocol: number): number {
  return (offset << OFFSET_SHIFT) | (part << PART_SHIFT) | protocol
}

export function offsetOf(located: number): number {
  return located >>> OFFSET_SHIFT
}

export function partOf(located: number): number {
  return (located >>> PART_SHIFT) & PART_MASK
}

export function protocolOf(located: number): number {
  return located & PROTOCOL_MASK
}

/** True of a packet that is no fragment. */
export function isWhole(located: number): boolean {
  return located >= 0 && partOf(located) === Part.Whole
}

/** False in a later fragment, and where the headers are cut short. */
export function hasTransport(located: number): boolean {
  return located >= 0 && partOf(located) !== Part.Later
}
