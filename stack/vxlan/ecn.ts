/**
 * Congestion marks across a tunnel (RFC 6040, normal mode), and the outer TOS.
 *
 * On the way in the mark of the inner packet is copied to the outer one. On the way out the two are
 * united (RFC 6040 §4.2, figure 4):
 *
 * ```text
 *   inner \ outer   Not-ECT   ECT(0)    ECT(1)    CE
 *   Not-ECT         Not-ECT   Not-ECT   Not-ECT   dropped
 *   ECT(0)          ECT(0)    ECT(0)    ECT(1)    CE
 *   ECT(1)          ECT(1)    ECT(1)    ECT(1)    CE
 *   CE              CE        CE        CE        CE
 * ```
 *
 * A frame that is not IP is Not-ECT, and is not dropped: nothing in it can be marked.
 */
import { put16, u8, u16 } from '../bytes.ts'
import { update } from '../checksum.ts'
import * as eth from '../eth/frame.ts'
import * as ipv4 from '../ip/ipv4.ts'

export const Ecn = { NotEct: 0, Ect1: 1, Ect0: 2, Ce: 3 } as const
const ECN_MASK = 3
/** TOS of a frame that has none. */
export const NO_TOS = -1
/** Octets of an IP header that hold its TOS: version, and the next one. */
const TOS_BYTES = 2

/** TOS or traffic class of the IP packet in a frame, behind one tag; {@link NO_TOS}: none. */
export function innerTos(mem: Uint8Array, frame: number, bytes: number): number {
  const ip = ipAt(mem, frame, bytes)
  return ip < 0 ? NO_TOS : (u16(mem, ip) >>> shiftOf(mem, ip)) & 0xff
}

/** The outer TOS. `dscp` 0 to 63; below 0: the inner one's. `inner` as {@link innerTos} has it. */
export function outerTos(inner: number, dscp: number): number {
  if (inner === NO_TOS) return dscp < 0 ? 0 : dscp << 2
  return dscp < 0 ? inner : (dscp << 2) | (inner & ECN_MASK)
}

/**
 * Unite the mark of an outer TOS with that of the frame inside. False: the frame is to be dropped,
 * since it was marked and cannot say so. Precondition: an Ethernet header is there.
 */
export function unite(mem: Uint8Array, frame: number, bytes: number, outer: number): boolean {
  const mark = outer & ECN_MASK
  if (mark === Ecn.NotEct || mark === Ecn.Ect0) return true
  const ip = ipAt(mem, frame, bytes)
  if (ip < 0) return true
  const before = u16(mem, ip)
  const shift = shiftOf(mem, ip)
  const inner = (before >>> shift) & ECN_MASK
  if (inner === Ecn.NotEct) return mark !== Ecn.Ce
  if (inner === Ecn.Ce || inner === mark) return true
  const after = (before & ~(ECN_MASK << shift)) | (mark << shift)
  put16(mem, ip, after)
  if (shift !== 0) return true
  const checksum = u16(mem, ip + ipv4.CHECKSUM)
  put16(mem, ip + ipv4.CHECKSUM, update(checksum, before, after))
  return true
}

/** Where the IP header of a frame is that is there up to its TOS and, in IPv4, its checksum; -1. */
function ipAt(mem: Uint8Array, frame: number, bytes: number): number {
  let at = frame + eth.TYPE
  const end = frame + bytes
  if (u16(mem, at) === eth.EtherType.Vlan) at += eth.TAG_BYTES
  if (at + 2 + TOS_BYTES > end) return -1
  const type = u16(mem, at)
  const ip = at + 2
  const version = u8(mem, ip) >>> 4
  if (type === eth.EtherType.Ipv4) {
    return version === 4 && ip + ipv4.HEADER_BYTES <= end ? ip : -1
  }
  return type === eth.EtherType.Ipv6 && version === 6 ? ip : -1
}

/** The traffic class of IPv6 lies across its first two octets. */
function shiftOf(mem: Uint8Array, ip: number): number {
  return u8(mem, ip) >>> 4 === 4 ? 0 : 4
}
