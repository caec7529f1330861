/**
 * Frames of IGMP, MLD and to groups, made here and not by the code under test; and those that Linux
 * 6.18 sent when a socket joined and left 239.1.2.3 and ff05::1:3, as read from a veth.
 */
import { octets } from './lab.ts'

export const LINUX = {
  join4v2: `
    01005e01020302000000000b080046c00020000040000102e9080a090002ef010203940400001600f8faef01
    0203`,
  leave4v2: `
    01005e00000202000000000b080046c00020000040000102fa0a0a090002e0000002940400001700f7faef01
    0203`,
  join4v3: `
    01005e00001602000000000b080046c00028000040000102f9ee0a090002e0000016940400002200e8f90000
    000104000000ef010203`,
  leave4v3: `
    01005e00001602000000000b080046c00028000040000102f9ee0a090002e0000016940400002200e9f90000
    000103000000ef010203`,
  join6v1: `
    33330001000302000000000b86dd6000000000200001fe80000000000000000000fffe00000bff0500000000
    000000000000000100033a000502000001008300810d00000000ff050000000000000000000000010003`,
  leave6v1: `
    33330000000202000000000b86dd6000000000200001fe80000000000000000000fffe00000bff0200000000
    000000000000000000023a000502000001008400801200000000ff050000000000000000000000010003`,
  join6v2: `
    33330000001602000000000b86dd6000000000240001fe80000000000000000000fffe00000bff0200000000
    000000000000000000163a000502000001008f0070f90000000104000000ff05000000000000000000000001
    0003`,
  leave6v2: `
    33330000001602000000000b86dd6000000000240001fe80000000000000000000fffe00000bff0200000000
    000000000000000000163a000502000001008f0071f90000000103000000ff05000000000000000000000001
    0003`,
} as const

export function bytesOf(hex: string): Uint8Array {
  return Uint8Array.from(Buffer.from(hex.replace(/\s/g, ''), 'hex'))
}

export interface GroupRecord {
  /** 1 to 6: RFC 3376 §4.2.12. */
  readonly type: number
  readonly group: string
  readonly sources?: readonly string[]
}

export interface QueryOptions {
  readonly code?: number
  readonly flags?: number
  readonly sources?: readonly string[]
}

export interface GroupFields {
  /** Last octet of the sender's MAC. */
  readonly station?: number
  readonly source?: string
  readonly to: string
  /** Of the IP packet. */
  readonly payload: readonly number[]
  readonly protocol: number
  readonly hops?: number
}

/** An Ethernet frame to a group of either family; an IPv6 one with a router alert if it is ICMP. */
export function groupFrame({
  station = 0x0b,
  source,
  to,
  payload,
  protocol,
  hops = 1,
}: GroupFields): Uint8Array {
  const six = to.includes(':')
  const dst = ipOctets(to)
  const src = ipOctets(source ?? (six ? `fe80::${station.toString(16)}` : `10.1.0.${station}`))
  const mac = six ? [0x33, 0x33, ...dst.slice(12)] : [1, 0, 0x5e, dst[1]! & 0x7f, dst[2]!, dst[3]!]
  const ether = [...mac, 2, 0, 0, 0, 0, station]
  if (six) {
    const alert = protocol === 58 ? [58, 0, 5, 2, 0, 0, 1, 0] : []
    const body = [...alert, ...(protocol === 58 ? icmp6(src, dst, payload) : payload)]
    const next = alert.length > 0 ? 0 : protocol
    const header = [0x60, 0, 0, 0, body.length >>> 8, body.length & 0xff, next, hops]
    return Uint8Array.from([...ether, 0x86, 0xdd, ...header, ...src, ...dst, ...body])
  }
  const total = 20 + payload.length
  const header = [
    0x45,
    0,
    total >>> 8,
    total & 0xff,
    0,
    0,
    0,
    0,
    hops,
    protocol,
    0,
    0,
    ...src,
    ...dst,
  ]
  return Uint8Array.from([...ether, 8, 0, ...summed(header, 10), ...payload])
}

/** IGMP: type, maximum response code, group. */
export function igmp(type: number, code: number, group: string): number[] {
  return summed([type, code, 0, 0, ...ipOctets(group)], 2)
}

/** A query of IGMPv3 or MLDv2. */
export function query(
  group: string,
  { code = 100, flags = 2, sources = [] }: QueryOptions = {},
): number[] {
  const rest = [flags, 125, 0, sources.length, ...sources.flatMap(ipOctets)]
  if (group.includes(':')) {
    return [130, 0, 0, 0, code >>> 8, code & 0xff, 0, 0, ...ipOctets(group), ...rest]
  }
  return summed([0x11, code, 0, 0, ...ipOctets(group), ...rest], 2)
}

/** MLDv1: type, group. */
export function mld(type: number, group: string): number[] {
  return [type, 0, 0, 0, 0, 0, 0, 0, ...ipOctets(group)]
}

/** A report of IGMPv3, or of MLDv2 if its groups are IPv6. */
export function report(...records: readonly GroupRecord[]): number[] {
  const six = records[0]?.group.includes(':') === true
  const body = records.flatMap(({ type, group, sources = [] }) => [
    ...[type, 0, sources.length >>> 8, sources.length & 0xff],
    ...ipOctets(group),
    ...sources.flatMap(ipOctets),
  ])
  const head = [six ? 143 : 0x22, 0, 0, 0, 0, 0, records.length >>> 8, records.length & 0xff]
  return six ? [...head, ...body] : summed([...head, ...body], 2)
}

/** Membership messages of a station: what joins or leaves a group of either family. */
export function join(group: string, station = 0x0b): Uint8Array {
  return membership(report({ type: 4, group }), group, station)
}

export function leave(group: string, station = 0x0b): Uint8Array {
  return membership(report({ type: 3, group }), group, station)
}

export function membership(payload: number[], group: string, station = 0x0b): Uint8Array {
  const six = group.includes(':')
  const to = six ? 'ff02::16' : '224.0.0.22'
  return groupFrame({ station, to, payload, protocol: six ? 58 : 2 })
}

/** A UDP datagram to a group. */
export function data(group: string, station = 1): Uint8Array {
  const payload = [0x13, 0x88, 0x13, 0x88, 0, 12, 0, 0, 1, 2, 3, 4]
  return groupFrame({ station, to: group, payload, protocol: 17, hops: 8 })
}

/** A general query, or of one group, from `source`. */
export function asks(source: string, group?: string, station = 0xee): Uint8Array {
  const six = source.includes(':')
  const all = six ? '::' : '0.0.0.0'
  const to = group ?? (six ? 'ff02::1' : '224.0.0.1')
  const code = six ? 1000 : 10
  const payload = query(group ?? all, { code })
  return groupFrame({ station, source, to, payload, protocol: six ? 58 : 2 })
}

function icmp6(src: number[], dst: number[], payload: readonly number[]): number[] {
  const pseudo = [...src, ...dst, 0, 0, payload.length >>> 8, payload.length & 0xff, 0, 0, 0, 58]
  return summed([...pseudo, ...payload], pseudo.length + 2).slice(pseudo.length)
}

/** With the internet checksum of all put at `at`, where zeros are. */
function summed(octets: readonly number[], at: number): number[] {
  let total = 0
  for (let i = 0; i < octets.length; i += 2) total += octets[i]! * 256 + (octets[i + 1] ?? 0)
  while (total > 0xffff) total = (total % 65536) + Math.floor(total / 65536)
  const result = 0xffff - total
  return [...octets.slice(0, at), result >>> 8, result & 0xff, ...octets.slice(at + 2)]
}

function ipOctets(address: string): number[] {
  return [...octets(address)]
}
