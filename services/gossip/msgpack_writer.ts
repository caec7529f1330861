/**
 * Writes MessagePack, in the form that msgpack.ts describes: each value in the fewest octets that
 * the old specification has for it.
 *
 * All gossip is encoded here, mostly in a hundred octets: there is one writer whose memory stays,
 * and each call runs to its end before the next.
 */
import { put16, put32 } from '../../stack/bytes.ts'
import { FALSE, FIX_RAW, NIL, SHORT_BYTES_MAX, TRUE } from './msgpack.ts'

export type Encodable =
  | null
  | boolean
  | number
  | string
  | Uint8Array
  | readonly Encodable[]
  | ReadonlyMap<string, Encodable>
  | { readonly [key: string]: Encodable }

/** Memory that the writer keeps for the next message. */
const KEPT_BYTES = 65_536

const toUtf8 = new TextEncoder()

/** @throws RangeError for what the format or JavaScript cannot hold: a programmer's error. */
export function encode(value: Encodable): Uint8Array {
  writer.begin()
  writer.value(value)
  return writer.end()
}

/** The same after an octet that says what it is. @throws RangeError */
export function encodeAfter(octet: number, value: Encodable): Uint8Array {
  writer.begin()
  writer.octet(octet)
  writer.value(value)
  return writer.end()
}

/** There is one, since its memory costs more than most messages: each runs to its end. */
class Writer {
  #mem = new Uint8Array(KEPT_BYTES)
  #at = 0

  begin(): void {
    if (this.#mem.length > KEPT_BYTES) this.#mem = new Uint8Array(KEPT_BYTES)
    this.#at = 0
  }

  end(): Uint8Array {
    return this.#mem.slice(0, this.#at)
  }

  octet(octet: number): void {
    this.#reserve(1)
    this.#mem[this.#at++] = octet
  }

  value(value: Encodable): void {
    if (typeof value === 'string') return this.#text(value)
    if (typeof value === 'number') return this.#integer(value)
    if (value === null) return this.octet(NIL)
    if (typeof value === 'boolean') return this.octet(value ? TRUE : FALSE)
    if (value instanceof Uint8Array) return this.#raw(value)
    if (isList(value)) {
      this.#head(value.length, 0x90, 0xdc)
      for (const item of value) this.value(item)
      return
    }
    if (isMap(value)) {
      this.#head(value.size, 0x80, 0xde)
      for (const [key, item] of value) {
        this.#text(key)
        this.value(item)
      }
      return
    }
    const keys = Object.keys(value)
    this.#head(keys.length, 0x80, 0xde)
    for (const key of keys) {
      this.#text(key)
      this.value(value[key]!)
    }
  }

  /** Short and ASCII, as mostly: written where it goes at once. */
  #text(text: string): void {
    const { length } = text
    if (length > SHORT_BYTES_MAX) return this.#raw(toUtf8.encode(text))
    this.#reserve(1 + length)
    const from = this.#at + 1
    for (let i = 0; i < length; i++) {
      const code = text.charCodeAt(i)
      if (code >= 0x80) return this.#raw(toUtf8.encode(text))
      this.#mem[from + i] = code
    }
    this.#mem[this.#at] = FIX_RAW | length
    this.#at = from + length
  }

  #integer(value: number): void {
    if (!Number.isSafeInteger(value)) throw new RangeError(`${value} is not an integer`)
    if (value >= 0) {
      if (value < 0x80) return this.octet(value)
      if (value < 0x100) return this.#tagged(0xcc, value, 1)
      if (value < 0x1_0000) return this.#tagged(0xcd, value, 2)
      if (value < 0x1_0000_0000) return this.#tagged(0xce, value, 4)
      return this.#tagged(0xcf, value, 8)
    }
    if (value >= -32) return this.octet(value + 0x100)
    if (value >= -0x80) return this.#tagged(0xd0, value + 0x100, 1)
    if (value >= -0x8000) return this.#tagged(0xd1, value + 0x1_0000, 2)
    if (value >= -0x8000_0000) return this.#tagged(0xd2, value + 0x1_0000_0000, 4)
    throw new RangeError(`${value} is below 32 bits`)
  }

  #raw(raw: Uint8Array): void {
    if (raw.length <= SHORT_BYTES_MAX) this.octet(FIX_RAW | raw.length)
    else if (raw.length < 0x1_0000) this.#tagged(0xda, raw.length, 2)
    else this.#tagged(0xdb, raw.length, 4)
    this.#reserve(raw.length)
    this.#mem.set(raw, this.#at)
    this.#at += raw.length
  }

  #head(count: number, fix: number, tag16: number): void {
    if (count < 16) this.octet(fix | count)
    else if (count < 0x1_0000) this.#tagged(tag16, count, 2)
    else throw new RangeError(`${count} items`)
  }

  #tagged(tag: number, value: number, bytes: number): void {
    this.#reserve(1 + bytes)
    this.#mem[this.#at++] = tag
    this.#uint(value, bytes)
  }

  /** Precondition: there is room. */
  #uint(value: number, bytes: number): void {
    const [mem, at] = [this.#mem, this.#at]
    this.#at += bytes
    if (bytes === 1) mem[at] = value
    else if (bytes === 2) put16(mem, at, value)
    else if (bytes === 4) put32(mem, at, value)
    else {
      put32(mem, at, Math.floor(value / 0x1_0000_0000))
      put32(mem, at + 4, value % 0x1_0000_0000)
    }
  }

  #reserve(bytes: number): void {
    if (this.#at + bytes <= this.#mem.length) return
    const mem = new Uint8Array(2 * (this.#at + bytes))
    mem.set(this.#mem)
    this.#mem = mem
  }
}

const writer = new Writer()

function isList(value: Encodable): value is readonly Encodable[] {
  return Array.isArray(value)
}

function isMap(value: Encodable): value is ReadonlyMap<string, Encodable> {
  return value instanceof Map
}
