/**
 * Internet addresses as values: configuration, tables' keys, and text at the boundary.
 *
 * Both families are four 32-bit words; an IPv4 address is held IPv4-mapped (::ffff:a.b.c.d,
 * RFC 4291 §2.5.5.2), so that one table, one key and one comparison serve both. In packets they
 * stay bytes; {@link loadWords} reads them into a key.
 */
import ipaddr from 'ipaddr.js'
import { i32, put32 } from './bytes.ts'
import { StackError } from './errors.ts'

export type Family = 4 | 6
export const FAMILIES: readonly Family[] = [4, 6]

export interface Address {
  readonly family: Family
  /** Four words, network order of words, each signed. IPv4: 0, 0, 0xffff, address. */
  readonly words: Int32Array
}

export interface Prefix {
  /** The address as written, host bits kept. */
  readonly address: Address
  /** Prefix length in the family's own bits: 0 to 32, or 0 to 128. */
  readonly bits: number
}

/** The third word of an IPv4-mapped address. */
export const MAPPED = 0xffff

/** @throws StackError `bad-address` with what is wrong. */
export function parseAddress(text: string): Address {
  if (ipaddr.IPv4.isValidFourPartDecimal(text)) {
    return fromBytes(Uint8Array.from(ipaddr.IPv4.parse(text).toByteArray()))
  }
  if (!text.includes('%') && ipaddr.IPv6.isValid(text)) {
    return fromBytes(Uint8Array.from(ipaddr.IPv6.parse(text).toByteArray()))
  }
  throw new StackError('bad-address', `"${text}" is not an IPv4 or IPv6 address`)
}

/** @throws StackError `bad-address` with what is wrong. */
export function parsePrefix(text: string): Prefix {
  const slash = text.indexOf('/')
  const bitsText = text.slice(slash + 1)
  if (slash < 0 || !/^\d{1,3}$/.test(bitsText)) {
    throw new StackError('bad-address', `"${text}" is not ADDRESS/BITS, such as 10.1.0.0/24`)
  }
  const address = parseAddress(text.slice(0, slash))
  const bits = Number(bitsText)
  if (bits > familyBits(address.family)) {
    throw new StackError('bad-address', `"${text}": at most /${familyBits(address.family)}`)
  }
  return { address, bits }
}

/** From 4 or 16 octets in network order. */
export function fromBytes(bytes: Uint8Array): Address {
  return addressAt(bytes, 0, bytes.length === 4 ? 4 : 6)
}

/** The 4 or 16 octets at `at`. */
export function addressAt(mem: Uint8Array, at: number, family: Family): Address {
  const words = new Int32Array(4)
  loadWords(mem, at, family, words)
  return { family, words }
}

export function ipv4(word: number): Address {
  return { family: 4, words: Int32Array.of(0, 0, MAPPED, word) }
}

/** 4 or 16 octets in network order. */
export function toBytes(address: Address): Uint8Array {
  const bytes = new Uint8Array(address.family === 4 ? 4 : 16)
  putAddress(bytes, 0, address)
  return bytes
}

/** Dotted decimal, or RFC 5952 text. */
export function formatAddress(address: Address): string {
  if (address.family === 6) return new ipaddr.IPv6([...toBytes(address)]).toRFC5952String()
  const word = address.words[3]!
  return `${word >>> 24}.${(word >>> 16) & 0xff}.${(word >>> 8) & 0xff}.${word & 0xff}`
}

export function formatPrefix(prefix: Prefix): string {
  return `${formatAddress(prefix.address)}/${prefix.bits}`
}

/** Text of four words as tables hold them. */
export function formatWords(words: Int32Array, at = 0): string {
  const four = words.slice(at, at + 4)
  const mapped = four[0] === 0 && four[1] === 0 && four[2] === MAPPED
  return formatAddress({ family: mapped ? 4 : 6, words: four })
}

/** All addresses of a family: where a default route leads. */
export const EVERYWHERE: { readonly [F in Family]: Prefix } = {
  4: parsePrefix('0.0.0.0/0'),
  6: parsePrefix('::/0'),
}

export function familyBits(family: Family): number {
  return family === 4 ? 32 : 128
}

export function sameAddress(a: Address, b: Address): boolean {
  if (a.family !== b.family) return false
  for (let i = 3; i >= 0; i--) if (a.words[i] !== b.words[i]) return false
  return true
}

/** True for what a machine calls itself: 127.0.0.0/8 and ::1. */
export function isLoopback({ family, words }: Address): boolean {
  if (family === 4) return words[3]! >>> 24 === 127
  return words[0] === 0 && words[1] === 0 && words[2] === 0 && words[3] === 1
}

/** True for the address of a multicast group: 224.0.0.0/4, ff00::/8. */
export function isMulticast({ family, words }: Address): boolean {
  return family === 4 ? words[3]! >>> 28 === 0xe : words[0]! >>> 24 === 0xff
}

/** The first address of a prefix: host bits cleared. */
export function networkOf({ address, bits }: Prefix): Address {
  const words = address.words.slice()
  const kept = address.family === 4 ? bits + 96 : bits
  for (let i = 0; i < 4; i++) words[i] = words[i]! & wordMask(kept - 32 * i)
  return { family: address.family, words }
}

/** A word with its `bits` leading bits set; below 0 counts as none, above 32 as all. */
export function wordMask(bits: number): number {
  if (bits <= 0) return 0
  return bits >= 32 ? -1 : (-1 << (32 - bits)) | 0
}

export function contains(prefix: Prefix, address: Address): boolean {
  if (prefix.address.family !== address.family) return false
  return sameAddress(networkOf(prefix), networkOf({ address, bits: prefix.bits }))
}

/** True if the two prefixes share an address. */
export function overlaps(a: Prefix, b: Prefix): boolean {
  return a.bits <= b.bits ? contains(a, b.address) : contains(b, a.address)
}

/** Write 4 or 16 octets at `at`. */
export function putAddress(mem: Uint8Array, at: number, { family, words }: Address): void {
  if (family === 4) return put32(mem, at, words[3]!)
  for (let i = 0; i < 4; i++) put32(mem, at + 4 * i, words[i]!)
}

/** True if the octets at `at` are this address (of the same family). */
export function isAt(mem: Uint8Array, at: number, { family, words }: Address): boolean {
  if (family === 4) return i32(mem, at) === words[3]
  for (let i = 0; i < 4; i++) if (i32(mem, at + 4 * i) !== words[i]) return false
  return true
}

/** Read the 4 or 16 octets at `at` into `out[from]` to `out[from + 3]`, IPv4-mapped. */
export function loadWords(
  mem: Uint8Array,
  at: number,
  family: Family,
  out: Int32Array,
  from = 0,
): void {
  if (family === 4) {
    out[from] = 0
    out[from + 1] = 0
    out[from + 2] = MAPPED
    out[from + 3] = i32(mem, at)
    return
  }
  for (let i = 0; i < 4; i++) out[from + i] = i32(mem, at + 4 * i)
}
