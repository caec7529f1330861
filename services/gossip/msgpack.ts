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
import { textAt } from './texts.ts'

export type Value = null | boolean | number | Uint8Array | readonly Value[] | ValueMap
export type ValueMap = ReadonlyMap<string, Value>

/** Values in one top-level value, that of serf's 512 remembered events among them. */
const VALUES_MAX = 65_536
const DEPTH_MAX = 8

export const NIL = 0xc0
export const FALSE = 0xc2
export const TRUE = 0xc3
/** With the number of octets in its last bits, */
export const FIX_RAW = 0xa0
/** which are so many at most. */
export const SHORT_BYTES_MAX = 31

/** The text, or undefined where the octets are not UTF-8. */
export function textOf(raw: Uint8Array): string | undefined {
  return textAt(raw, 0, raw.length)
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
      const key = this.#key(depth + 1)
      if (key === undefined) return undefined
      const value = this.#value(depth + 1)
      if (value === undefined) return undefined
      map.set(key, value)
    }
    return map
  }

  /** Undefined also for what is no text. A short one is read where it is. */
  #key(depth: number): string | undefined {
    const tag = this.at < this.#mem.length ? this.#mem[this.at]! : 0
    if (tag < FIX_RAW || tag > FIX_RAW + SHORT_BYTES_MAX) {
      const raw = this.#value(depth)
      return raw instanceof Uint8Array ? textOf(raw) : undefined
    }
    this.at++
    const bytes = tag & SHORT_BYTES_MAX
    if (++this.#values > VALUES_MAX || !this.#has(bytes)) return undefined
    this.at += bytes
    return textAt(this.#mem, this.at - bytes, this.at)
  }

  /** May a list of so many items of at least so many octets begin here? */
  #opens(count: number | undefined, bytes: number, depth: number): boolean {
    if (count === undefined || depth >= DEPTH_MAX) return false
    return count * bytes <= VALUES_MAX && this.#has(count * bytes)
  }
}
