/**
 * VXLAN header (RFC 7348 §5): what stands between the outer UDP header and the inner frame.
 *
 * ```text
 *  0       1          4          7      8
 *  | flags | reserved | VNI      | rsvd | Ethernet frame …
 * ```
 *
 * A receiver ignores reserved bits. Two of them have a meaning between ends that agreed on it, as
 * the Linux kernel does (`remcsumtx`, `remcsumrx`): with {@link Flag.RemoteChecksum} the last octet
 * says where in the inner frame a checksum is still to be summed and stored.
 */
import { put32, u8, u32 } from '../bytes.ts'

export const HEADER_BYTES = 8
/** The port that IANA gave it. */
export const UDP_PORT = 4789
export const VNI_MAX = 0xff_ffff

/** In the first word of the header. */
export const Flag = { Vni: 0x0800_0000, RemoteChecksum: 0x0020_0000 } as const

/** In the last octet, with {@link Flag.RemoteChecksum}. */
export const Remote = {
  /** Set: the field is a UDP header's, else TCP's. */
  Udp: 0x80,
  /** Where the sum begins, from the inner frame's first octet, in units of 2. */
  StartMask: 0x7f,
} as const
const VNI = 4
const REMOTE = 7
const VNI_SHIFT = 8

/** True if a whole header with a VNI is there: every accessor below is then safe. */
export function isHeader(mem: Uint8Array, at: number, bytes: number): boolean {
  return bytes >= HEADER_BYTES && (u8(mem, at) & 0x08) !== 0
}

export function vni(mem: Uint8Array, at: number): number {
  return u32(mem, at + VNI) >>> VNI_SHIFT
}

/** True if the inner frame's checksum is left to the receiver. */
export function hasRemoteChecksum(mem: Uint8Array, at: number): boolean {
  return (u8(mem, at + 1) & (Flag.RemoteChecksum >>> 16)) !== 0
}

export function remoteChecksum(mem: Uint8Array, at: number): number {
  return u8(mem, at + REMOTE)
}

/** Write a header. Everything reserved is zero. */
export function putHeader(mem: Uint8Array, at: number, network: number): void {
  put32(mem, at, Flag.Vni)
  put32(mem, at + VNI, network << VNI_SHIFT)
}

/** Leave the inner frame's checksum to the receiver; `octet` is made of {@link Remote}. */
export function putRemoteChecksum(mem: Uint8Array, at: number, octet: number): void {
  mem[at + 1] = Flag.RemoteChecksum >>> 16
  mem[at + REMOTE] = octet
}
