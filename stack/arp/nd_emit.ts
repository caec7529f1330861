/**
 * Writing neighbor solicitations and advertisements into memory, and the addresses that go with
 * them: what RFC 4861, RFC 4291 and RFC 2464 derive from a MAC or an address.
 *
 * All messages carry exactly one link-layer address option, so their size is fixed. The frame's
 * Ethernet header is in front of `at`; everything else is as in nd.ts.
 */
import type { Address } from '../address.ts'
import { put16, put32, u32 } from '../bytes.ts'
import { pseudo6, sum } from '../checksum.ts'
import * as eth from '../eth/frame.ts'
import type { Mac } from '../eth/mac.ts'
import * as nd from './nd.ts'
import { Option } from './nd_option.ts'

/** fe80:: with the modified EUI-64 of a MAC (RFC 4291 appendix A, RFC 2464 §4). */
export function linkLocal({ hi, lo }: Mac): Address {
  const words = Int32Array.of(
    0xfe80_0000,
    0,
    ((hi ^ 0x0200) << 16) | ((lo >>> 24) << 8) | 0xff,
    0xfe00_0000 | (lo & 0x00ff_ffff),
  )
  return { family: 6, words }
}

/** Write ff02::1, all nodes of the link. */
export function putAllNodes(mem: Uint8Array, at: number): void {
  put32(mem, at, 0xff02_0000)
  put32(mem, at + 4, 0)
  put32(mem, at + 8, 0)
  put32(mem, at + 12, 1)
}

/** Write the solicited-node group of an address whose last word is `low` (RFC 4291 §2.7.1). */
export function putSolicitedNode(mem: Uint8Array, at: number, low: number): void {
  put32(mem, at, 0xff02_0000)
  put32(mem, at + 4, 0)
  put32(mem, at + 8, 1)
  put32(mem, at + 12, 0xff00_0000 | (low & 0x00ff_ffff))
}

/** Write the MAC of the IPv6 group at `group`: 33:33 and its last four octets (RFC 2464 §7). */
export function putGroupMac(mem: Uint8Array, at: number, group: number): void {
  put16(mem, at, 0x3333)
  put32(mem, at + 2, u32(mem, group + 12))
}

/** Type, flags and option of a message; the MAC in halves so that no object is needed. */
export function putBody(
  mem: Uint8Array,
  at: number,
  type: number,
  flags: number,
  hi: number,
  lo: number,
): void {
  put16(mem, at + nd.TYPE, type << 8)
  put32(mem, at + nd.FLAGS, flags << 24)
  const option = type === nd.Type.Solicitation ? Option.Source : Option.Target
  put16(mem, at + nd.OPTIONS, (option << 8) | 1)
  put16(mem, at + nd.OPTIONS + 2, hi)
  put32(mem, at + nd.OPTIONS + 4, lo)
}

/**
 * Write what is the same in every message, and the checksum over the rest. Preconditions: source,
 * destination, target and body are in place.
 */
export function seal(mem: Uint8Array, at: number): void {
  const bytes = nd.MESSAGE_BYTES - nd.TYPE
  eth.putType(mem, at - eth.HEADER_BYTES, eth.EtherType.Ipv6)
  put32(mem, at, 0x6000_0000)
  put16(mem, at + nd.PAYLOAD, bytes)
  mem[at + nd.NEXT] = nd.ICMP6
  mem[at + nd.HOP_LIMIT] = 255
  put16(mem, at + nd.CHECKSUM, 0)
  const total = sum(mem, at + nd.TYPE, bytes, pseudo6(mem, at + nd.SRC, nd.ICMP6, bytes))
  put16(mem, at + nd.CHECKSUM, ~total & 0xffff)
}
