/**
 * IPv6 extension headers (RFC 8200 §4): the chain from the fixed header to the transport header.
 *
 * ```text
 *  0            1        2                          8
 *  | next header| length | options or routing data … |   length: in 8 octets, the first not counted
 * ```
 */
import { u8 } from '../bytes.ts'
import { HEADER_BYTES, NEXT, Next } from './ipv6.ts'

/** Longest chain followed. Senders use one or two; a longer one is malformed to us. */
const CHAIN_MAX = 8

/** Options that need no action here: Pad1, PadN, Router Alert (RFC 2711). */
const KNOWN_OPTIONS = [0, 1, 5]

/**
 * Follow the chain of the packet at `ip` that ends at `end`. Returns `offset * 256 + protocol` of
 * the first header that is not hop-by-hop, routing or destination options, with the offset counted
 * from `ip`; -1 if the chain is cut short. A fragment header ends the walk: its protocol is 44.
 */
export function walk(mem: Uint8Array, ip: number, end: number): number {
  let next = u8(mem, ip + NEXT)
  let at = ip + HEADER_BYTES
  for (let i = 0; i < CHAIN_MAX; i++) {
    if (!isSkipped(next)) return (at - ip) * 256 + next
    if (at + 8 > end) return -1
    next = u8(mem, at)
    at += 8 + 8 * u8(mem, at + 1)
    if (at > end) return -1
  }
  return -1
}

function isSkipped(next: number): boolean {
  return next === Next.HopByHop || next === Next.Routing || next === Next.Options
}

/** Where the octet is that names the header at `target`. Precondition: `walk` passed there. */
export function nextField(mem: Uint8Array, ip: number, target: number): number {
  let field = ip + NEXT
  for (let at = ip + HEADER_BYTES; at < target; at += 8 + 8 * u8(mem, at + 1)) field = at
  return field
}

/** What a header of the chain forbids the packet's destination to do (RFC 8200 §4.2, §4.4). */
export const Verdict = { Accept: 0, Discard: 1, TellField: 2, TellOption: 3 } as const

/**
 * Look for a routing header with segments left and for options that must be known to go on.
 * Returns `offset * 4 + Verdict`, the offset (from `ip`) for the pointer of a parameter problem.
 * Precondition: `walk` did not return -1.
 */
export function judge(mem: Uint8Array, ip: number, end: number): number {
  const last = ip + (walk(mem, ip, end) >>> 8)
  let next = u8(mem, ip + NEXT)
  for (let at = ip + HEADER_BYTES; at < last; ) {
    const after = at + 8 + 8 * u8(mem, at + 1)
    if (next === Next.Routing) {
      if (u8(mem, at + 3) !== 0) return (at + 2 - ip) * 4 + Verdict.TellField
    } else {
      const bad = badOption(mem, at + 2, after)
      if (bad >= after) return (at - ip) * 4 + Verdict.Discard
      if (bad >= 0) {
        const told = u8(mem, bad) >>> 6 === 1 ? Verdict.Discard : Verdict.TellOption
        return (bad - ip) * 4 + told
      }
    }
    next = u8(mem, at)
    at = after
  }
  return Verdict.Accept
}

/** The first option that may not be skipped; `end` if one is cut short; -1 if all is well. */
function badOption(mem: Uint8Array, at: number, end: number): number {
  while (at < end) {
    const type = u8(mem, at)
    if (type >>> 6 !== 0 && !KNOWN_OPTIONS.includes(type)) return at
    if (type === 0) at++
    else if (at + 1 >= end) return end
    else at += 2 + u8(mem, at + 1)
    if (at > end) return end
  }
  return -1
}
