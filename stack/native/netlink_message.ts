/**
 * A message of netlink while it is written, and attributes of one that was read (RFC 3549 §2.3.2).
 *
 * ```text
 *  nlmsghdr 16: length u32 | type u16 | flags u16 | sequence u32 | port u32
 *  body: of a fixed length by the message's type
 *  attributes: length u16 | type u16 | value, padded to 4
 * ```
 * Numbers are in host order (little-endian here).
 */

export const HEADER_BYTES = 16
/** Of an attribute's type; the bits above say that it is nested, or in network order. */
const TYPE_MASK = 0x3fff
export const Flag = { Request: 1, Ack: 4, Dump: 0x300, Replace: 0x100, Create: 0x400 } as const

/** A message under construction: a growing cursor over a fixed buffer. */
export class Message {
  readonly bytes: Uint8Array<ArrayBuffer> = new Uint8Array(1024)
  readonly #view = new DataView(this.bytes.buffer)
  length: number = HEADER_BYTES

  constructor(type: number, flags: number) {
    this.#view.setUint16(4, type, true)
    this.#view.setUint16(6, Flag.Request | Flag.Ack | flags, true)
  }

  u8(value: number): this {
    this.#view.setUint8(this.length++, value)
    return this
  }

  u16(value: number): this {
    this.#view.setUint16(this.length, value, true)
    this.length += 2
    return this
  }

  u32(value: number): this {
    this.#view.setUint32(this.length, value, true)
    this.length += 4
    return this
  }

  attribute(type: number, value: Uint8Array): this {
    this.u16(4 + value.length).u16(type)
    this.bytes.set(value, this.length)
    this.length += (value.length + 3) & ~3
    return this
  }

  attribute32(type: number, value: number): this {
    return this.u16(8).u16(type).u32(value)
  }

  seal(sequence: number): Uint8Array {
    this.#view.setUint32(0, this.length, true)
    this.#view.setUint32(8, sequence, true)
    return this.bytes.subarray(0, this.length)
  }
}

/** By type, without flags: what is behind a fixed part of `from` octets. */
export function attributesOf(body: Uint8Array, from: number): Map<number, Uint8Array> {
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength)
  const attributes = new Map<number, Uint8Array>()
  for (let at = from; at + 4 <= body.length; ) {
    const length = view.getUint16(at, true)
    if (length < 4 || at + length > body.length) break
    attributes.set(view.getUint16(at + 2, true) & TYPE_MASK, body.subarray(at + 4, at + length))
    at += (length + 3) & ~3
  }
  return attributes
}
