/**
 * Finding ICMPv6 in an IPv6 packet, behind extension headers too (RFC 8200 §4): a guard that looked
 * at the first header only could be walked around (RFC 7113 §2).
 *
 * Data costs one look into a table by its next header. Later fragments are not followed: they
 * carry no header, and a host ignores fragmented neighbor discovery (RFC 6980 §5).
 */
import { u8, u16 } from '../bytes.ts'
import { ICMP6, NEXT, TYPE } from './nd.ts'

const HOP_BY_HOP = 0
const ROUTING = 43
const FRAGMENT = 44
const OPTIONS = 60

/** Next headers that may lead to ICMPv6. */
const LEADS = new Uint8Array(256)
for (const next of [HOP_BY_HOP, ROUTING, FRAGMENT, OPTIONS, ICMP6]) LEADS[next] = 1

/** Longest chain followed. No host sends longer ones (RFC 8504 §5.3 lets receivers refuse at 8). */
const CHAIN_MAX = 16

/** False for almost all packets: they cannot be neighbor discovery. */
export function mayBeNd(mem: Uint8Array, at: number): boolean {
  return LEADS[u8(mem, at + NEXT)] === 1
}

/**
 * Where the ICMPv6 header of the packet at `at` is, its first octet before `end`. -1: there is
 * none to be seen; 0: the chain of headers is too long to follow.
 */
export function upperLayer(mem: Uint8Array, at: number, end: number): number {
  let header = at + TYPE
  if (header >= end) return -1
  let next = u8(mem, at + NEXT)
  for (let i = 0; i < CHAIN_MAX; i++) {
    if (next === ICMP6) return header < end ? header : -1
    if (LEADS[next] === 0 || header + 8 > end) return -1
    if (next === FRAGMENT && (u16(mem, header + 2) & 0xfff8) !== 0) return -1
    const units = next === FRAGMENT ? 0 : u8(mem, header + 1)
    next = u8(mem, header)
    header += (units + 1) << 3
  }
  return 0
}
