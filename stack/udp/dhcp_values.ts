/** Values of DHCP options, in the form in which they travel (RFC 2132, 3397, 3442). */
import { type Address, networkOf, type Prefix, toBytes } from '../address.ts'
import { put16, put32 } from '../bytes.ts'
import { StackError } from '../errors.ts'

/** Labels of a domain name take 255 octets at most (RFC 1035 §3.1). */
const NAME_MAX_BYTES = 255

export function octet(value: number): Uint8Array {
  return Uint8Array.of(value)
}

export function half(value: number): Uint8Array {
  const bytes = new Uint8Array(2)
  put16(bytes, 0, value)
  return bytes
}

/** A word, or an address as one. */
export function word(value: number): Uint8Array {
  const bytes = new Uint8Array(4)
  put32(bytes, 0, value)
  return bytes
}

export function addresses(list: readonly Address[]): Uint8Array {
  return Uint8Array.from(list.flatMap((address) => [...toBytes(address)]))
}

export function text(value: string): Uint8Array {
  return new TextEncoder().encode(value)
}

/** Domain names one after the other, not compressed (RFC 3397 §2). @throws StackError. */
export function search(names: readonly string[]): Uint8Array {
  return Uint8Array.from(names.flatMap(labels))
}

/** A domain name as labels (RFC 1035 §3.1). @throws StackError `bad-argument`. */
export function labels(name: string): number[] {
  const parts = name.replace(/\.$/, '').split('.')
  const bytes = parts.flatMap((part) => [part.length, ...text(part)])
  const fits = parts.every((part) => /^[\x21-\x7e]{1,63}$/.test(part))
  if (fits && bytes.length < NAME_MAX_BYTES) return [...bytes, 0]
  throw new StackError('bad-argument', `"${name}" is not a domain name`)
}

export interface ClasslessRoute {
  readonly to: Prefix
  readonly via: Address
}

/** Routes without classes (RFC 3442): only the octets of a prefix that its bits reach into. */
export function routes(list: readonly ClasslessRoute[]): Uint8Array {
  return Uint8Array.from(
    list.flatMap(({ to, via }) => [
      to.bits,
      ...toBytes(networkOf(to)).subarray(0, Math.ceil(to.bits / 8)),
      ...toBytes(via),
    ]),
  )
}
