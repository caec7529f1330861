/**
 * IPv4 options (RFC 791 §3.1): whether a header's are whole, and none is refused here.
 *
 * ```text
 *  | 0 end | 1 nothing | type | length | data … |     length counts type and length
 * ```
 */
import * as ipv4 from './ipv4.ts'

const END_OF_OPTIONS = 0
const NO_OPERATION = 1
/** Refused without a word, as everybody does (RFC 7126 §4.3, §4.4). */
const LOOSE_SOURCE_ROUTE = 131
const STRICT_SOURCE_ROUTE = 137

/** What {@link judgeOptions} returns for a source route. */
export const SOURCE_ROUTE = -1

/**
 * 0 if all is well, {@link SOURCE_ROUTE}, or where the first malformed option is, in octets from
 * `ip`. Precondition: a valid header.
 */
export function judgeOptions(mem: Uint8Array, ip: number): number {
  const end = ip + ipv4.headerBytes(mem, ip)
  for (let at = ip + ipv4.HEADER_BYTES; at < end; ) {
    const type = mem[at]!
    if (type === END_OF_OPTIONS) return 0
    if (type === LOOSE_SOURCE_ROUTE || type === STRICT_SOURCE_ROUTE) return SOURCE_ROUTE
    if (type === NO_OPERATION) {
      at++
      continue
    }
    if (at + 1 >= end || mem[at + 1]! < 2 || at + mem[at + 1]! > end) return at - ip
    at += mem[at + 1]!
  }
  return 0
}
