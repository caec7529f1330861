/**
 * TCP header (RFC 9293 §3.1): what a middle box reads. Offsets are from the start of the header.
 *
 * ```text
 *  0           2                4     8     12          13     14      16        18      20
 *  | src port  | dst port       | seq | ack | off rsvd  | flags| window| checksum| urgent| options
 * ```
 */
import { put32, u8, u16 } from '../bytes.ts'

export const SEQ = 4
export const ACK = 8
export const FLAGS = 13
export const WINDOW = 14
export const CHECKSUM = 16
export const HEADER_BYTES = 20
export const Flag = { Fin: 0x01, Syn: 0x02, Rst: 0x04, Psh: 0x08, Ack: 0x10, Cwr: 0x80 } as const

const [OPTION_END, OPTION_NOP, OPTION_MSS] = [0, 1, 2]
export const OPTION_MSS_BYTES = 4

/** True if a whole header, options included, is there. */
export function isHeader(mem: Uint8Array, at: number, bytes: number): boolean {
  const header = bytes < HEADER_BYTES ? 0 : headerBytes(mem, at)
  return header >= HEADER_BYTES && header <= bytes
}

export function headerBytes(mem: Uint8Array, at: number): number {
  return (u8(mem, at + 12) >>> 4) << 2
}

export interface HeaderFields {
  readonly srcPort: number
  readonly dstPort: number
  readonly seq: number
  readonly ack: number
  readonly flags: number
  readonly window: number
  readonly headerBytes?: number
}

/** Write a header with checksum 0, and without options, which `headerBytes` may make room for. */
export function putHeader(mem: Uint8Array, at: number, fields: HeaderFields): void {
  const { headerBytes: bytes = HEADER_BYTES, flags: bits, window } = fields
  put32(mem, at, (fields.srcPort << 16) | fields.dstPort)
  put32(mem, at + SEQ, fields.seq)
  put32(mem, at + ACK, fields.ack)
  put32(mem, at + 12, (bytes << 26) | (bits << 16) | window)
  put32(mem, at + CHECKSUM, 0)
}

/** Write the option that says the largest segment: {@link OPTION_MSS_BYTES} octets. */
export function putMss(mem: Uint8Array, at: number, bytes: number): void {
  put32(mem, at, (OPTION_MSS << 24) | (OPTION_MSS_BYTES << 16) | bytes)
}

export function flags(mem: Uint8Array, at: number): number {
  return u8(mem, at + FLAGS)
}

/** True for the first segment of a connection, in `bytes`: SYN, and nothing that comes later. */
export function isOpening(mem: Uint8Array, at: number, bytes: number): boolean {
  const begins = Flag.Syn | Flag.Ack | Flag.Rst | Flag.Fin
  return isHeader(mem, at, bytes) && (flags(mem, at) & begins) === Flag.Syn
}

/** Largest segment that the option says, of RFC 9293 §3.7.1; -1 if there is none. */
export function mssBytes(mem: Uint8Array, at: number): number {
  const end = at + headerBytes(mem, at)
  for (let option = at + HEADER_BYTES; option + 1 < end; ) {
    const kind = u8(mem, option)
    if (kind === OPTION_END) return -1
    const bytes = kind === OPTION_NOP ? 1 : u8(mem, option + 1)
    if (kind !== OPTION_NOP && (bytes < 2 || option + bytes > end)) return -1
    if (kind === OPTION_MSS && bytes === OPTION_MSS_BYTES) return u16(mem, option + 2)
    option += bytes
  }
  return -1
}
