/** Packets of the conversations: built from a tuple, and read back into words that compare. */

import { formatAddress, fromBytes } from '../../../stack/address.ts'
import { sum } from '../../../stack/checksum.ts'
import { icmp6, ip4, ip6, isTransportIntact, tcp, u16, u32, udp } from '../../ip/lab.ts'

export type Protocol = 'tcp' | 'udp' | 'icmp'

/** From whom to whom; of an echo, both ports are its identifier. */
export interface Tuple {
  readonly protocol: Protocol
  readonly from: string
  readonly fromPort: number
  readonly to: string
  readonly toPort: number
}

export interface Content {
  readonly data: Uint8Array
  readonly flags?: number
  readonly seq?: number
  readonly ack?: number
  readonly options?: Uint8Array
  /** Of an echo: answer or question. */
  readonly reply?: boolean
  readonly ttl?: number
  readonly tos?: number
  readonly id?: number
}

function isSix(address: string): boolean {
  return address.includes(':')
}

export function build(tuple: Tuple, content: Content): Uint8Array {
  const { protocol, from, fromPort, to, toPort } = tuple
  const { data, flags = 0, seq = 0, ack = 0, options, reply = false } = content
  const { ttl = 64, tos = 0, id = 1 } = content
  const header = { from, to, ttl, hops: ttl, tos, id, fragment: protocol === 'tcp' ? 0x4000 : 0 }
  if (protocol === 'udp') return udp(header, { from: fromPort, to: toPort }, data)
  if (protocol === 'tcp') {
    const fields = { from: fromPort, to: toPort, seq, ack, flags }
    return tcp(header, options === undefined ? fields : { ...fields, options }, data)
  }
  const echo = isSix(from) ? (reply ? 129 : 128) : reply ? 0 : 8
  return icmp(header, [echo, 0, 0, 0, fromPort >>> 8, fromPort & 0xff, 0, 7], data)
}

/** An ICMP error of either family about `quoted`, of which `quotedBytes` are quoted at most. */
export function buildError(
  { from, to }: { readonly from: string; readonly to: string },
  { type, code, word }: { readonly type: number; readonly code: number; readonly word: number },
  quoted: Uint8Array,
): Uint8Array {
  const head = [type, code, 0, 0, word >>> 24, word >>> 16, word >>> 8, word]
  return icmp({ from, to }, head, quoted)
}

type Header = Parameters<typeof ip4>[0]

function icmp(header: Header, head: readonly number[], data: Uint8Array): Uint8Array {
  const message = Uint8Array.of(...head, ...data)
  if (isSix(header.from)) return icmp6(header, message)
  const checksum = ~sum(message, 0, message.length) & 0xffff
  message.set([checksum >>> 8, checksum & 0xff], 2)
  return ip4({ ...header, protocol: 1 }, message)
}

/** Cut a packet into fragments of `bytes` of payload each, a multiple of 8. */
export function cut(packet: Uint8Array, bytes: number, id: number): Uint8Array[] {
  const six = packet[0]! >>> 4 === 6
  const payload = packet.subarray(six ? 40 : 20)
  const header = { from: sourceOf(packet), to: destinationOf(packet) }
  const parts: Uint8Array[] = []
  for (let at = 0; at < payload.length; at += bytes) {
    const part = payload.subarray(at, at + bytes)
    const more = at + bytes < payload.length ? 1 : 0
    if (six) {
      const word = at | more
      const head = [packet[6]!, 0, word >>> 8, word & 0xff, 0, 0, id >>> 8, id & 0xff]
      parts.push(ip6({ ...header, hops: packet[7]!, next: 44 }, Uint8Array.of(...head, ...part)))
    } else {
      const fragment = (more << 13) | (at / 8)
      const { 8: ttl, 9: protocol } = packet as unknown as Record<8 | 9, number>
      parts.push(ip4({ ...header, ttl, protocol, id, fragment }, part))
    }
  }
  return parts
}

/** The whole of what came in fragments, in any order; undefined: something is missing. */
export function join(parts: readonly Uint8Array[]): Uint8Array | undefined {
  const first = parts[0]!
  const six = first[0]! >>> 4 === 6
  const pieces = parts.map((part) => ({
    at: six ? u16(part, 42) & 0xfff8 : (u16(part, 6) & 0x1fff) * 8,
    more: six ? (part[43]! & 1) !== 0 : (part[6]! & 0x20) !== 0,
    bytes: part.subarray(six ? 48 : 20),
  }))
  pieces.sort((a, b) => a.at - b.at)
  let length = 0
  for (const piece of pieces) {
    if (piece.at !== length) return undefined
    length += piece.bytes.length
  }
  if (pieces.at(-1)!.more) return undefined
  const payload = Uint8Array.from(pieces.flatMap(({ bytes }) => [...bytes]))
  const header = { from: sourceOf(first), to: destinationOf(first) }
  return six
    ? ip6({ ...header, hops: first[7]!, next: first[40]! }, payload)
    : ip4({ ...header, ttl: first[8]!, protocol: first[9]!, tos: first[1]! }, payload)
}

export function isFragment(packet: Uint8Array): boolean {
  return packet[0]! >>> 4 === 6 ? packet[6] === 44 : (u16(packet, 6) & 0x3fff) !== 0
}

export function sourceOf(packet: Uint8Array): string {
  const bytes = packet[0]! >>> 4 === 6 ? packet.slice(8, 24) : packet.slice(12, 16)
  return formatAddress(fromBytes(bytes))
}

export function destinationOf(packet: Uint8Array): string {
  const bytes = packet[0]! >>> 4 === 6 ? packet.slice(24, 40) : packet.slice(16, 20)
  return formatAddress(fromBytes(bytes))
}

/** The tuple of a packet that is no ICMP error; undefined: none that we build. */
export function tupleOf(packet: Uint8Array): Tuple | undefined {
  const six = packet[0]! >>> 4 === 6
  const at = six ? 40 : (packet[0]! & 15) * 4
  const next = packet[six ? 6 : 9]!
  const ends = { from: sourceOf(packet), to: destinationOf(packet) }
  if (next === 6 || next === 17) {
    const protocol = next === 6 ? 'tcp' : 'udp'
    return { protocol, ...ends, fromPort: u16(packet, at), toPort: u16(packet, at + 2) }
  }
  if ((next === 1 && [0, 8].includes(packet[at]!)) || (next === 58 && packet[at]! >>> 1 === 64)) {
    const id = u16(packet, at + 4)
    return { protocol: 'icmp', ...ends, fromPort: id, toPort: id }
  }
  return undefined
}

/** How a port is written that belongs to this address: what translators choose has one name. */
export type Namer = (address: string, port: number) => string

/**
 * A packet in words: all that must be equal, checksums as `ok` or `BAD`.
 * @param isQuoted It is what an error quotes, perhaps cut off.
 */
export function describe(packet: Uint8Array, name: Namer, isQuoted = false): string {
  const six = packet[0]! >>> 4 === 6
  const at = six ? 40 : (packet[0]! & 15) * 4
  const next = packet[six ? 6 : 9]!
  const total = six ? 40 + u16(packet, 4) : u16(packet, 2)
  const words = [six ? `hops ${packet[7]}` : `ttl ${packet[8]} tos ${packet[1]}`]
  if (!six) words.push(sum(packet, 0, at) === 0xffff ? 'header ok' : 'header BAD')
  const isCut = isQuoted && packet.length < total
  words.push(isCut ? 'cut' : isIntact(packet.slice(0, total)) ? 'ok' : 'BAD')
  const data = Buffer.from(packet.subarray(at, total))
  const tuple = tupleOf(packet)
  if (tuple === undefined) {
    const ends = `${sourceOf(packet)} > ${destinationOf(packet)} ${words.join(' ')}`
    const isError = !isQuoted && (next === 1 || next === 58)
    return isError ? `${ends} ${errorInWords(six, data, name)}` : `${ends} protocol ${next}`
  }
  const octets = data.subarray(tuple.protocol === 'tcp' ? 20 : 8)
  words.push(`${data.length} octets ${octets.toString('hex').slice(0, 80)}`)
  return `${endsInWords(tuple, data, name)} ${words.join(' ')}`
}

function errorInWords(six: boolean, message: Buffer, name: Namer): string {
  const [type, code] = message
  const hasMtu = six ? type === 2 : type === 3 && code === 4
  const mtu = hasMtu ? ` mtu ${u32(message, 4)}` : ''
  return `error ${type}/${code}${mtu} [${describe(message.subarray(8), name, true)}]`
}

function endsInWords(tuple: Tuple, segment: Buffer, name: Namer): string {
  const { protocol, from, fromPort, to, toPort } = tuple
  const [source, destination] = [name(from, fromPort), name(to, toPort)]
  if (protocol === 'icmp') {
    // One identifier for both ends: it is chosen if it is so for either.
    const id = source === `${fromPort}` ? destination : source
    return `echo ${segment[0]} ${from} > ${to} id ${id}`
  }
  const ends = `${protocol} ${from} ${source} > ${to} ${destination}`
  if (protocol === 'udp') return ends
  const seq = `${ends} seq ${u32(segment, 4)}`
  if (segment.length < 20) return seq
  return `${seq} ack ${u32(segment, 8)} flags ${segment[13]} window ${u16(segment, 14)}`
}

/** ICMP of IPv4 has no pseudo-header, and UDP there need have no checksum. */
function isIntact(packet: Uint8Array): boolean {
  if (packet[0]! >>> 4 === 4 && packet[9] === 1) {
    const at = (packet[0]! & 15) * 4
    return sum(packet, at, packet.length - at) === 0xffff
  }
  return isTransportIntact(packet)
}

/** In a frame to the translator. */
export function frameOf(
  { mac, gatewayMac }: { readonly mac: Uint8Array; readonly gatewayMac: Uint8Array },
  packet: Uint8Array,
): Uint8Array {
  const type = packet[0]! >>> 4 === 6 ? [0x86, 0xdd] : [0x08, 0x00]
  return Uint8Array.of(...gatewayMac, ...mac, ...type, ...packet)
}

/** Fill in a checksum that the sender has left to the hardware. */
export function complete(frame: Uint8Array, vnet: Uint8Array): Uint8Array {
  const view = new DataView(vnet.buffer, vnet.byteOffset)
  if ((vnet[0]! & 1) === 0) return frame
  const start = view.getUint16(6, true)
  const at = start + view.getUint16(8, true)
  const end = 14 + (frame[14]! >>> 4 === 6 ? 40 + u16(frame, 18) : u16(frame, 16))
  const checksum = ~sum(frame, start, end - start) & 0xffff
  frame.set([checksum >>> 8, checksum & 0xff], at)
  return frame
}
