/**
 * What is around memberlist's messages, from the inside out:
 *
 * ```text
 *   compound   7, count u8, count x (octets u16), bodies
 *   compress   9, map { Algo: 0 (LZW), Buf }                              (lzw.ts)
 *   CRC        12, CRC-32 u32, payload                                    datagrams only
 *   datagram   version u8, nonce 12, ciphertext, tag 16                   if there are keys
 *   stream     10, octets u32, the same
 *   label      244, octets u8, label
 * ```
 *
 * Encryption is AES-GCM; version 0 pads to 16 octets as PKCS #7 does. The label, and of streams
 * the five octets in front, are authenticated with it. With keys, whatever is not encrypted with
 * one of them is refused before anything else of it is looked at.
 */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { put16, put32, u16, u32 } from '../../stack/bytes.ts'
import { Fields } from './fields.ts'
import type { Keyring } from './keyring.ts'
import { compress, decompress } from './lzw.ts'
import { join, MessageType, pack } from './messages.ts'
import { Reader } from './msgpack.ts'

export const COMPOUND_HEADER_BYTES = 2
export const COMPOUND_PART_BYTES = 2
export const COMPOUND_PARTS_MAX = 255
export const CRC_BYTES = 5
const NONCE_BYTES = 12
const TAG_BYTES = 16
const PAD_BYTES = 16
/** The most that encryption (version 1, which we send) adds. */
export const ENCRYPTION_BYTES: number = 1 + NONCE_BYTES + TAG_BYTES
export const STREAM_HEADER_BYTES = 5
export const LABEL_HEADER_BYTES = 2
/** A datagram's content after decompression. */
const INFLATED_BYTES_MAX = 65_536
/** Below it nothing gets smaller: the map around it has 14 octets, and a code 9 bits. */
const DEFLATED_BYTES_MIN = 64
/** Compound in compress in compound: what anybody sends has two levels. */
const NESTING_MAX = 4

export type EncryptionVersion = 0 | 1

export interface Sealing {
  /** Undefined: nothing is encrypted, and nothing encrypted is accepted. */
  readonly keyring: Keyring | undefined
  /** '': none. */
  readonly label: Uint8Array
}

/** Several messages as one. Precondition: at most {@link COMPOUND_PARTS_MAX}, below 64 KB each. */
export function compound(messages: readonly Uint8Array[]): Uint8Array {
  const header = new Uint8Array(COMPOUND_HEADER_BYTES + COMPOUND_PART_BYTES * messages.length)
  header[0] = MessageType.Compound
  header[1] = messages.length
  for (const [i, { length }] of messages.entries()) {
    put16(header, COMPOUND_HEADER_BYTES + COMPOUND_PART_BYTES * i, length)
  }
  return join([header, ...messages])
}

/** The compressed message, or itself if that is not smaller. */
function deflate(message: Uint8Array): Uint8Array {
  if (message.length < DEFLATED_BYTES_MIN) return message
  const packed = pack(MessageType.Compress, { Algo: 0, Buf: compress(message) })
  return packed.length < message.length ? packed : message
}

/** Content of a compressed message's map. */
export function inflate(fields: Fields, bytesMax: number): Uint8Array | undefined {
  const [algorithm, packed] = [fields.uint('Algo'), fields.raw('Buf')]
  return fields.bad || algorithm !== 0 ? undefined : decompress(packed, bytesMax)
}

/** A datagram's octets of a message. `crc`: the receiver understands a checksum. */
export function sealDatagram(message: Uint8Array, sealing: Sealing, crc: boolean): Uint8Array {
  const { keyring, label } = sealing
  let inner = deflate(message)
  if (crc) {
    const whole = new Uint8Array(CRC_BYTES + inner.length)
    whole[0] = MessageType.HasCrc
    put32(whole, 1, crc32(inner))
    whole.set(inner, CRC_BYTES)
    inner = whole
  }
  if (keyring !== undefined) inner = encrypt(keyring.primary, inner, label)
  return withLabel(inner, label)
}

/** Messages of a datagram, in order; undefined: it is not for us, damaged, or not authentic. */
export function openDatagram(mem: Uint8Array, sealing: Sealing): Uint8Array[] | undefined {
  const { keyring, label } = sealing
  let inner = withoutLabel(mem, label)
  if (inner !== undefined && keyring !== undefined) inner = decrypt(keyring, inner, label)
  if (inner === undefined) return undefined
  if (inner[0] === MessageType.HasCrc) {
    if (inner.length < CRC_BYTES || u32(inner, 1) !== crc32(inner.subarray(CRC_BYTES))) {
      return undefined
    }
    inner = inner.subarray(CRC_BYTES)
  }
  const messages: Uint8Array[] = []
  return unfold(inner, 0, messages) ? messages : undefined
}

function unfold(mem: Uint8Array, depth: number, messages: Uint8Array[]): boolean {
  if (depth > NESTING_MAX || mem.length === 0) return false
  if (mem[0] === MessageType.Compress) {
    const inner = inflate(new Fields(new Reader(mem, 1).next()), INFLATED_BYTES_MAX)
    return inner !== undefined && unfold(inner, depth + 1, messages)
  }
  if (mem[0] !== MessageType.Compound) {
    messages.push(mem)
    return true
  }
  const count = mem[1] ?? 0
  let at = COMPOUND_HEADER_BYTES + COMPOUND_PART_BYTES * count
  if (at > mem.length) return false
  for (let i = 0; i < count; i++) {
    const end = at + u16(mem, COMPOUND_HEADER_BYTES + COMPOUND_PART_BYTES * i)
    if (end > mem.length || !unfold(mem.subarray(at, end), depth + 1, messages)) return false
    at = end
  }
  return true
}

/** All octets of a stream that carries this message. */
export function sealStream(message: Uint8Array, sealing: Sealing): Uint8Array {
  const { keyring, label } = sealing
  const inner = deflate(message)
  if (keyring === undefined) return withLabel(inner, label)
  const header = new Uint8Array(STREAM_HEADER_BYTES)
  header[0] = MessageType.Encrypt
  put32(header, 1, inner.length + ENCRYPTION_BYTES)
  const sealed = encrypt(keyring.primary, inner, join([header, label]))
  return withLabel(join([header, sealed]), label)
}

/** Undefined: the label is another one, or there should be none. */
export function withoutLabel(mem: Uint8Array, label: Uint8Array): Uint8Array | undefined {
  if (mem[0] !== MessageType.HasLabel) return label.length === 0 ? mem : undefined
  const end = LABEL_HEADER_BYTES + label.length
  if (label.length === 0 || mem[1] !== label.length || mem.length < end) return undefined
  const same = label.every((octet, i) => mem[LABEL_HEADER_BYTES + i] === octet)
  return same ? mem.subarray(end) : undefined
}

function withLabel(mem: Uint8Array, label: Uint8Array): Uint8Array {
  if (label.length === 0) return mem
  return join([Uint8Array.of(MessageType.HasLabel, label.length), label, mem])
}

/** `version` 0 is what the oldest agents send. */
export function encrypt(
  key: Uint8Array,
  plain: Uint8Array,
  authenticated: Uint8Array,
  version: EncryptionVersion = 1,
): Uint8Array {
  const nonce = randomBytes(NONCE_BYTES)
  const cipher = createCipheriv(cipherOf(key), key, nonce)
  cipher.setAAD(authenticated)
  const padded = version === 0 ? pad(plain) : plain
  const text = cipher.update(padded)
  return join([Uint8Array.of(version), nonce, text, cipher.final(), cipher.getAuthTag()])
}

/** Undefined: no key of the ring fits, or it was changed on the way. */
export function decrypt(
  keyring: Keyring,
  mem: Uint8Array,
  authenticated: Uint8Array,
): Uint8Array | undefined {
  const version = mem[0]
  if (mem.length < ENCRYPTION_BYTES || version === undefined || version > 1) return undefined
  const nonce = mem.subarray(1, 1 + NONCE_BYTES)
  const text = mem.subarray(1 + NONCE_BYTES, mem.length - TAG_BYTES)
  const tag = mem.subarray(mem.length - TAG_BYTES)
  for (const key of keyring.keys) {
    const decipher = createDecipheriv(cipherOf(key), key, nonce)
    decipher.setAAD(authenticated)
    decipher.setAuthTag(tag)
    const plain = decipher.update(text)
    try {
      decipher.final()
    } catch {
      continue
    }
    return version === 0 ? unpad(plain) : plain
  }
  return undefined
}

type CipherName = 'aes-128-gcm' | 'aes-192-gcm' | 'aes-256-gcm'

function cipherOf(key: Uint8Array): CipherName {
  return `aes-${8 * key.length}-gcm` as CipherName
}

function pad(mem: Uint8Array): Uint8Array {
  const bytes = PAD_BYTES - (mem.length % PAD_BYTES)
  return join([mem, new Uint8Array(bytes).fill(bytes)])
}

function unpad(mem: Uint8Array): Uint8Array | undefined {
  const bytes = mem[mem.length - 1] ?? 0
  if (bytes === 0 || bytes > PAD_BYTES || bytes > mem.length) return undefined
  return mem.subarray(0, mem.length - bytes)
}
