/**
 * TCP header (RFC 9293 §3.1): what a middle box reads. Offsets are from the start of the header.
 *
 * ```text
 *  0           2                4     8     12          13     14      16        18      20
 *  | src port  | dst port       | seq | ack | off rsvd  | flags| window| checksum| urgent| options
 * ```
 */
import { u8 } from '../bytes.ts'

export const SEQ = 4
export const ACK = 8
export const FLAGS = 13
export const WINDOW = 14
export const CHECKSUM = 16
export const HEADER_BYTES = 20
export const Flag = { Fin: 0x01, Syn: 0x02, Rst: 0x04, Psh: 0x08, Ack: 0x10, Cwr: 0x80 } as const

/** True if a whole header, options included, is there. */
export function isHeader(mem: Uint8Array, at: number, bytes: number): boolean {
  if (bytes < HEADER_BYTES) return false
  const header = headerBytes(mem, at)
  return header >= HEADER_BYTES && header <= bytes
}

export function headerBytes(mem: Uint8Array, at: number): number {
  return (u8(mem, at + 12) >>> 4) << 2
}

export function flags(mem: Uint8Array, at: number): number {
  return u8(mem, at + FLAGS)
}

/** True for the first segment of a connection: SYN, and nothing that comes later. */
export function isOpening(mem: Uint8Array, at: number): boolean {
  return (flags(mem, at) & (Flag.Syn | Flag.Ack | Flag.Rst | Flag.Fin)) === Flag.Syn
}
