/**
 * Reading and writing of messages whose fields have no fixed place.
 *
 * ```text
 *   number   1 to 8 octets, 7 bits each, the lowest first; all but the last have the high bit set
 *   text     number of octets, then UTF-8
 *   address  4 or 16, then as many octets
 *   MAC      6 octets
 * ```
 *
 * Octets that are kept for long are kept as an {@link Octets}: a string with one character for each
 * takes 16 octets beside them, a Uint8Array some 300.
 *
 * A reader never reads past the end and never throws: it fails, once and for good, and returns
 * zeros from then on. Whoever reads asks `failed` before it believes anything.
 */
import { type Address, putAddress } from '../../stack/address.ts'
import { put16, put32, u16, u32 } from '../../stack/bytes.ts'
import { StackError } from '../../stack/errors.ts'
import { addressOf } from './addresses.ts'
import { latinAt, textAt } from './texts.ts'

/** Octets of a text: a name of the DNS has at most 253. */
const TEXT_BYTES_MAX = 255
/** Seven bits each; eight octets hold more than 2⁵³. */
const NUMBER_BYTES_MAX = 8
const TWO_32 = 0x1_0000_0000

const NO_BYTES = new Uint8Array(0)
const NO_ADDRESS: Address = { family: 4, words: new Int32Array(4) }

/** Octets as characters from U+0000 to U+00FF. */
export type Octets = string & { readonly brand: 'Octets' }

export function packOctets(bytes: Uint8Array): Octets {
  return latinAt(bytes, 0, bytes.length) as Octets
}

export function unpackOctets(octets: Octets): Uint8Array {
  return Buffer.from(octets, 'latin1')
}

export class OctetReader {
  /** True: the message is not what it should be. */
  failed = false
  readonly #mem: Uint8Array
  #at: number

  constructor(mem: Uint8Array, at = 0) {
    this.#mem = mem
    this.#at = at
  }

  /** Octets not yet read. */
  get left(): number {
    return this.failed ? 0 : this.#mem.length - this.#at
  }

  fail(): void {
    this.failed = true
  }

  u8(): number {
    return this.#take(1) ? this.#mem[this.#at - 1]! : 0
  }

  /** 48 bits. */
  u48(): number {
    if (!this.#take(6)) return 0
    return u16(this.#mem, this.#at - 6) * TWO_32 + u32(this.#mem, this.#at - 4)
  }

  u32(): number {
    return this.#take(4) ? u32(this.#mem, this.#at - 4) : 0
  }

  /** A whole number up to 2⁵³ - 1. */
  number(): number {
    let value = 0
    let scale = 1
    for (let i = 0; i < NUMBER_BYTES_MAX; i++) {
      const octet = this.u8()
      value += (octet & 0x7f) * scale
      if (octet < 0x80) {
        if (value <= Number.MAX_SAFE_INTEGER) return value
        break
      }
      scale *= 128
    }
    this.fail()
    return 0
  }

  /** A copy, so that nobody holds on to the message. */
  bytes(bytesMax: number): Uint8Array {
    const bytes = this.number()
    if (bytes > bytesMax || !this.#take(bytes)) {
      this.fail()
      return NO_BYTES
    }
    return this.#mem.slice(this.#at - bytes, this.#at)
  }

  octets(bytesMax: number): Octets {
    const bytes = this.number()
    if (bytes > bytesMax || !this.#take(bytes)) {
      this.fail()
      return packOctets(NO_BYTES)
    }
    return latinAt(this.#mem, this.#at - bytes, this.#at) as Octets
  }

  text(): string {
    const bytes = this.number()
    const isThere = bytes <= TEXT_BYTES_MAX && this.#take(bytes)
    const text = isThere ? textAt(this.#mem, this.#at - bytes, this.#at) : undefined
    if (text === undefined) this.fail()
    return text ?? ''
  }

  address(): Address {
    const bytes = this.bytes(16)
    if (bytes.length === 4 || bytes.length === 16) return addressOf(bytes)
    this.fail()
    return NO_ADDRESS
  }

  #take(bytes: number): boolean {
    if (this.failed || this.#at + bytes > this.#mem.length) {
      this.failed = true
      return false
    }
    this.#at += bytes
    return true
  }
}

const FIRST_BYTES = 512

export class OctetWriter {
  #mem: Uint8Array
  #length = 0

  /** @param bytes Room at first. */
  constructor(bytes: number = FIRST_BYTES) {
    this.#mem = new Uint8Array(bytes)
  }

  get length(): number {
    return this.#length
  }

  /** What was written. The writer may go on; this does not change. */
  take(): Uint8Array {
    return this.#mem.slice(0, this.#length)
  }

  /** Take back all that was written after `length`. */
  cut(length: number): void {
    this.#length = length
  }

  u8(value: number): void {
    const at = this.#room(1)
    this.#mem[at] = value
  }

  u32(value: number): void {
    const at = this.#room(4)
    put32(this.#mem, at, value)
  }

  u48(value: number): void {
    const at = this.#room(6)
    put16(this.#mem, at, Math.floor(value / TWO_32))
    put32(this.#mem, at + 2, value % TWO_32)
  }

  number(value: number): void {
    let rest = value
    while (rest >= 0x80) {
      this.u8((rest % 128) | 0x80)
      rest = Math.floor(rest / 128)
    }
    this.u8(rest)
  }

  bytes(bytes: Uint8Array): void {
    this.number(bytes.length)
    const at = this.#room(bytes.length)
    this.#mem.set(bytes, at)
  }

  octets(octets: Octets): void {
    this.number(octets.length)
    const at = this.#room(octets.length)
    for (let i = 0; i < octets.length; i++) this.#mem[at + i] = octets.charCodeAt(i)
  }

  /** @throws StackError `bad-argument` if it is longer than a text may be. */
  text(text: string): void {
    if (this.#ascii(text)) return
    const bytes = Buffer.from(text)
    if (bytes.length > TEXT_BYTES_MAX) {
      throw new StackError('bad-argument', `"${text}" is longer than ${TEXT_BYTES_MAX} octets`)
    }
    this.bytes(bytes)
  }

  /** Short and ASCII, as mostly: written where it goes at once. False: it is not, and was not. */
  #ascii(text: string): boolean {
    const { length } = text
    if (length >= 0x80) return false
    const at = this.#room(1 + length)
    for (let i = 0; i < length; i++) {
      const code = text.charCodeAt(i)
      if (code >= 0x80) {
        this.cut(at)
        return false
      }
      this.#mem[at + 1 + i] = code
    }
    this.#mem[at] = length
    return true
  }

  address(address: Address): void {
    const bytes = address.family === 4 ? 4 : 16
    this.u8(bytes)
    const at = this.#room(bytes)
    putAddress(this.#mem, at, address)
  }

  #room(bytes: number): number {
    const at = this.#length
    this.#length += bytes
    if (this.#length > this.#mem.length) {
      const larger = new Uint8Array(Math.max(this.#length, 2 * this.#mem.length))
      larger.set(this.#mem.subarray(0, at))
      this.#mem = larger
    }
    return at
  }
}
