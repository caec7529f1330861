/**
 * ARP for IPv4 over Ethernet (RFC 826). Offsets are from the start of the ARP message.
 *
 * ```text
 *  0      2      4     5     6     8      14     18     24     28
 *  | HTYPE| PTYPE| HLEN| PLEN| OPER| SHA  | SPA  | THA  | TPA  |
 * ```
 */
import { put16, put32, u16, u32 } from '../bytes.ts'
import { type Mac, putMac } from '../eth/mac.ts'

export const OPER = 6
export const SHA = 8
export const SPA = 14
export const THA = 18
export const TPA = 24
export const MESSAGE_BYTES = 28

export const Operation = { Request: 1, Reply: 2 } as const

const ETHERNET_IPV4 = 0x0001_0800
const LENGTHS = 0x0604

/** True if the octets are a whole IPv4-over-Ethernet message: every accessor is then safe. */
export function isMessage(mem: Uint8Array, at: number, bytes: number): boolean {
  return bytes >= MESSAGE_BYTES && u32(mem, at) === ETHERNET_IPV4 && u16(mem, at + 4) === LENGTHS
}

export function operation(mem: Uint8Array, at: number): number {
  return u16(mem, at + OPER)
}

/** Sender's protocol address. */
export function senderIp(mem: Uint8Array, at: number): number {
  return u32(mem, at + SPA)
}

/** Target's protocol address. */
export function targetIp(mem: Uint8Array, at: number): number {
  return u32(mem, at + TPA)
}

/**
 * True if the sender could be one station: its MAC is neither zero nor a group's, its address
 * neither multicast, broadcast nor loopback (RFC 1122 §3.2.1.3). 0.0.0.0 is a probe's (RFC 5227).
 */
export function isSender(mem: Uint8Array, at: number): boolean {
  const ip = u32(mem, at + SPA)
  if (ip >>> 28 >= 0xe || ip >>> 24 === 127 || (mem[at + SHA]! & 1) === 1) return false
  return u16(mem, at + SHA) !== 0 || u32(mem, at + SHA + 2) !== 0
}

export interface MessageFields {
  readonly operation: number
  readonly senderMac: Mac
  readonly senderIp: number
  readonly targetMac: Mac
  readonly targetIp: number
}

export function putMessage(mem: Uint8Array, at: number, fields: MessageFields): void {
  put32(mem, at, ETHERNET_IPV4)
  put16(mem, at + 4, LENGTHS)
  put16(mem, at + OPER, fields.operation)
  putMac(mem, at + SHA, fields.senderMac)
  put32(mem, at + SPA, fields.senderIp)
  putMac(mem, at + THA, fields.targetMac)
  put32(mem, at + TPA, fields.targetIp)
}
