/**
 * Fields of a decoded map, by Go's names. A field of another type than wanted marks the whole
 * message as bad, one that is missing has Go's zero value: senders leave out what is empty, and
 * newer ones add fields that older ones do not know.
 */
import type { Address } from '../../stack/address.ts'
import { addressOf } from './addresses.ts'
import { textOf, type Value, type ValueMap } from './msgpack.ts'

const U32_MAX = 0xffff_ffff
const NO_BYTES = new Uint8Array(0)

export class Fields {
  readonly #map: ValueMap
  /** A field had another type, or was out of its range. */
  bad = false

  constructor(value: Value | undefined) {
    if (value instanceof Map) {
      this.#map = value
      return
    }
    this.#map = new Map()
    this.bad = true
  }

  /** An unsigned integer of at most `max`. */
  uint(key: string, max: number = U32_MAX): number {
    const value = this.#map.get(key) ?? 0
    if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= max) {
      return value
    }
    return this.#refuse(0)
  }

  flag(key: string): boolean {
    const value = this.#map.get(key) ?? false
    return typeof value === 'boolean' ? value : this.#refuse(false)
  }

  raw(key: string): Uint8Array {
    const value = this.#map.get(key) ?? NO_BYTES
    return value instanceof Uint8Array ? value : this.#refuse(NO_BYTES)
  }

  text(key: string): string {
    return textOf(this.raw(key)) ?? this.#refuse('')
  }

  /** 4 or 16 octets; undefined: none. An IPv4-mapped one is IPv4, as Go holds them. */
  address(key: string): Address | undefined {
    const raw = this.raw(key)
    if (raw.length === 0) return undefined
    if (raw.length !== 4 && raw.length !== 16) return this.#refuse(undefined)
    const mapped = raw.length === 16 && raw[10] === 0xff && raw[11] === 0xff
    return addressOf(mapped && raw.subarray(0, 10).every((b) => b === 0) ? raw.subarray(12) : raw)
  }

  any(key: string): Value | undefined {
    return this.#map.get(key)
  }

  list(key: string): readonly Value[] {
    const value = this.#map.get(key) ?? []
    return Array.isArray(value) ? value : this.#refuse([])
  }

  map(key: string): ValueMap {
    const value = this.#map.get(key) ?? new Map()
    return value instanceof Map ? value : this.#refuse(new Map())
  }

  #refuse<T>(value: T): T {
    this.bad = true
    return value
  }
}
