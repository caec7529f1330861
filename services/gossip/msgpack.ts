/**
 * MessagePack as memberlist and serf speak it: the format's old specification, in which texts and
 * octet strings are one type ("raw"), and there is neither `str 8` nor `bin`.
 *
 * ```text
 *   encode: nil, false, true, integers, raw (fix, 16, 32), array (fix, 16), map (fix, 16)
 *   decode: those, and of the new specification str 8, bin 8/16/32, float; extensions are refused
 * ```
 *
 * The reader never throws. Input ends in one of three ways: a value; undefined with
 * {@link Reader.wanted} > 0, where more octets may complete it (a stream goes on later, from the
 * same place); undefined with `wanted` 0, where nothing can. Nesting and the number of values of
 * one message are bounded, so that 60 KB of `array 16` headers are no work.
 *
 * Not a package: those emit `str 8` and `bin 8`, which go-msgpack's old mode does not, and none of
 * them stops in the middle of a stream.
 */
export type Value = null | boolean | number | Uint8Array | readonly Value[] | ValueMap
export type ValueMap = ReadonlyMap<string, Value>

export type Encodable =
  | null
  | boolean
  | number
  | string
  | Uint8Array
  | readonly Encodable[]
  | { readonly [key: string]: Encodable }

/** Values in one top-level value, that of serf's 512 remembered events among them. */
const VALUES_MAX = 65_536
const DEPTH_MAX = 8

const NIL = 0xc0
const FALSE = 0xc2
const TRUE = 0xc3

const utf8 = new TextDecoder('utf-8', { fatal: true })
const toUtf8 = new TextEncoder()

/** The text, or undefined where the octets are not UTF-8. */
export function textOf(raw: Uint8Array): string | undefined {
  try {
    return utf8.decode(raw)
  } catch {
    return undefined
  }
}

/** @throws RangeError for what the format or JavaScript cannot hold: a programmer's error. */
export function encode(value: Encodable): Uint8Array {
  const writer = new Writer()
  writer.value(value)
  return writer.bytes()
}

class Writer {
  #mem = new Uint8Array(256)
  #at = 0

  bytes(): Uint8Array {
    return this.#mem.slice(0, this.#at)
  }

  value(value: Encodable): void {
    if (value === null) return this.#uint(NIL, 1)
    if (typeof value === 'boolean') return this.#uint(value ? TRUE : FALSE, 1)
    if (typeof value === 'number') return this.#integer(value)
    if (typeof value === 'string') return this.#raw(toUtf8.encode(value))
    if (value instanceof Uint8Array) return this.#raw(value)
    if (isList(value)) {
      this.#head(value.length, 0x90, 0xdc)
      for (const item of value) this.value(item)
      return
    }
    const entries = Object.entries(value)
    this.#head(entries.length, 0x80, 0xde)
    for (const [key, item] of entries) {
      this.value(key)
      this.value(item)
    }
  }

  #integer(value: number): void {
    if (!Number.isSafeInteger(value)) throw new RangeError(`${value} is not an integer`)
    if (value >= 0) {
      if (value < 0x80) return this.#uint(value, 1)
      if (value < 0x100) return this.#tagged(0xcc, value, 1)
      if (value < 0x1_0000) return this.#tagged(0xcd, value, 2)
      if (value < 0x1_0000_0000) return this.#tagged(0xce, value, 4)
      return this.#tagged(0xcf, value, 8)
    }
    if (value >= -32) return this.#uint(value + 0x100, 1)
    if (value >= -0x80) return this.#tagged(0xd0, value + 0x100, 1)
    if (value >= -0x8000) return this.#tagged(0xd1, value + 0x1_0000, 2)
    if (value >= -0x8000_0000) return this.#tagged(0xd2, value + 0x1_0000_0000, 4)
    throw new RangeError(`${value} is below 32 bits`)
  }

  #raw(raw: Uint8Array): void {
    if (raw.length < 32) this.#uint(0xa0 | raw.length, 1)
    else if (raw.length < 0x1_0000) this.#tagged(0xda, raw.length, 2)
    else this.#tagged(0xdb, raw.length, 4)
    this.#reserve(raw.length)
    this.#mem.set(raw, this.#at)
    this.#at += raw.length
  }

  #head(count: number, fix: number, tag16: number): void {
    if (count < 16) this.#uint(fix | count, 1)
    else if (count < 0x1_0000) this.#tagged(tag16, count, 2)
    else throw new RangeError(`${count} items`)
  }

  #tagged(tag: number, value: number, bytes: number): void {
    this.#uint(tag, 1)
    this.#uint(value, bytes)
  }

  #uint(value: number, bytes: number): void {
    this.#reserve(bytes)
    for (let i = bytes - 1; i >= 0; i--) {
      this.#mem[this.#at + i] = value % 0x100
      value = Math.floor(value / 0x100)
    }
    this.#at += bytes
  }

  #reserve(bytes: number): void {
    if (this.#at + bytes <= this.#mem.length) return
    const mem = new Uint8Array(2 * (this.#at + bytes))
    mem.set(this.#mem)
    this.#mem = mem
  }
}

function isList(value: Encodable): value is readonly Encodable[] {
  return Array.isArray(value)
}

/** What {@link Reader} answers inside; `undefined` is taken by a failure. */
type Read = Value | undefined

export class Reader {
  readonly #mem: Uint8Array
  /** Of the next value; stays in front of one that could not be read. */
  at: number
  /** After a failure: octets that `mem` must have at least; 0: more of them do not help. */
  wanted = 0
  #values = 0

  constructor(mem: Uint8Array, at = 0) {
    this.#mem = mem
    this.at = at
  }

  get done(): boolean {
    return this.at >= this.#mem.length
  }

  /** The next value, or undefined: see {@link Reader.wanted}. */
  next(): Read {
    const start = this.at
    this.wanted = 0
    this.#values = 0
    const value = this.#value(0)
    if (value === undefined) this.at = start
    return value
  }

  /** The octets after the last value. */
  rest(): Uint8Array {
    return this.#mem.subarray(this.at)
  }

  #value(depth: number): Read {
    if (!this.#has(1)) return undefined
    if (++this.#values > VALUES_MAX) return undefined
    const tag = this.#mem[this.at++]!
    if (tag < 0x80) return tag
    if (tag >= 0xe0) return tag - 0x100
    if (tag < 0x90) return this.#map(tag & 0x0f, depth)
    if (tag < 0xa0) return this.#array(tag & 0x0f, depth)
    if (tag < 0xc0) return this.#raw(tag & 0x1f)
    return this.#tagged(tag, depth)
  }

  #tagged(tag: number, depth: number): Read {
    switch (tag) {
      case NIL:
        return null
      case FALSE:
        return false
      case TRUE:
        return true
      case 0xc4:
      case 0xd9:
        return this.#raw(this.#uint(1))
      case 0xc5:
      case 0xda:
        return this.#raw(this.#uint(2))
      case 0xc6:
      case 0xdb:
        return this.#raw(this.#uint(4))
      case 0xca:
      case 0xcb:
        return this.#float(tag === 0xca ? 4 : 8)
      case 0xcc:
      case 0xcd:
      case 0xce:
      case 0xcf:
        return this.#uint(1 << (tag - 0xcc))
      case 0xd0:
      case 0xd1:
      case 0xd2:
      case 0xd3:
        return this.#int(1 << (tag - 0xd0))
      case 0xdc:
      case 0xdd:
        return this.#array(this.#uint(tag === 0xdc ? 2 : 4), depth)
      case 0xde:
      case 0xdf:
        return this.#map(this.#uint(tag === 0xde ? 2 : 4), depth)
      default:
        return undefined
    }
  }

  /** True if so many octets follow; else says how many there must be. */
  #has(bytes: number): boolean {
    if (this.at + bytes <= this.#mem.length) return true
    this.wanted = this.at + bytes
    return false
  }

  #raw(bytes: number | undefined): Read {
    if (bytes === undefined || !this.#has(bytes)) return undefined
    this.at += bytes
    return this.#mem.subarray(this.at - bytes, this.at)
  }

  /** Undefined also for integers that a number does not hold exactly. */
  #uint(bytes: number): number | undefined {
    if (!this.#has(bytes)) return undefined
    let value = 0
    for (let i = 0; i < bytes; i++) value = value * 0x100 + this.#mem[this.at++]!
    return Number.isSafeInteger(value) ? value : undefined
  }

  #int(bytes: number): number | undefined {
    if (!this.#has(bytes)) return undefined
    const view = new DataView(this.#mem.buffer, this.#mem.byteOffset + this.at, bytes)
    this.at += bytes
    if (bytes === 1) return view.getInt8(0)
    if (bytes === 2) return view.getInt16(0)
    const high = view.getInt32(0)
    if (bytes === 4) return high
    const value = high * 0x1_0000_0000 + view.getUint32(4)
    return Number.isSafeInteger(value) ? value : undefined
  }

  #float(bytes: number): number | undefined {
    if (!this.#has(bytes)) return undefined
    const view = new DataView(this.#mem.buffer, this.#mem.byteOffset + this.at, bytes)
    this.at += bytes
    return bytes === 4 ? view.getFloat32(0) : view.getFloat64(0)
  }

  #array(count: number | undefined, depth: number): Read {
    if (!this.#opens(count, 1, depth)) return undefined
    const items: Value[] = []
    for (let i = 0; i < count!; i++) {
      const item = this.#value(depth + 1)
      if (item === undefined) return undefined
      items.push(item)
    }
    return items
  }

  #map(count: number | undefined, depth: number): Read {
    if (!this.#opens(count, 2, depth)) return undefined
    const map = new Map<string, Value>()
    for (let i = 0; i < count!; i++) {
      const raw = this.#value(depth + 1)
      if (!(raw instanceof Uint8Array)) return undefined
      const key = textOf(raw)
      const value = this.#value(depth + 1)
      if (key === undefined || value === undefined) return undefined
      map.set(key, value)
    }
    return map
  }

  /** May a list of so many items of at least so many octets begin here? */
  #opens(count: number | undefined, bytes: number, depth: number): boolean {
    if (count === undefined || depth >= DEPTH_MAX) return false
    return count * bytes <= VALUES_MAX && this.#has(count * bytes)
  }
}
