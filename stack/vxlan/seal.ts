/**
 * What an encrypted datagram of an overlay network looks like: a header in the clear, which is
 * authenticated, and the inner frame under AES-256-GCM.
 *
 * ```text
 *  0     1        4     7   8          16         24                      -16
 *  | 40 | key id | VNI | 0 | epoch    | number   | frame, encrypted …     | tag |
 *  |<------------- authenticated -------------->|
 * ```
 *
 * The first octet has VXLAN's I flag clear: any other tunnel end drops it (RFC 7348 §5). The epoch
 * is new whenever its sender starts or takes another key; with it and the sender's address both
 * ends derive the key of that one sender, so that a number, which counts up, is used with a key
 * once. The number is the nonce.
 */
import type { Address } from '../address.ts'
import { put32, u8, u32 } from '../bytes.ts'

/** Header, in place of VXLAN's. */
export const HEADER_BYTES = 24
export const TAG_BYTES = 16
export const KEY_BYTES = 32
export const NONCE_BYTES = 12
/** By how much a sealed datagram is larger than a plain one: less is left for the inner packet. */
export const SEAL_BYTES = 32
const SEALED = 0x40
const KEY_MASK = 0xff_ffff
const VNI = 4
const EPOCH = 8
const NUMBER = 16
const NUMBER_BYTES = 8
/** Above it numbers are no exact integers here; a sender takes a new epoch long before. */
const NUMBER_HI_MAX = 0x1f_ffff
const WORD = 0x1_0000_0000

/** True if it says that it is sealed. Precondition: one octet is there. */
export function isSealed(mem: Uint8Array, at: number): boolean {
  return u8(mem, at) === SEALED
}

/** True if header and tag are whole, and its number is one: accessors are then safe. */
export function isWhole(mem: Uint8Array, at: number, bytes: number): boolean {
  return bytes >= HEADER_BYTES + TAG_BYTES && u32(mem, at + NUMBER) <= NUMBER_HI_MAX
}

export function keyId(mem: Uint8Array, at: number): number {
  return u32(mem, at) & KEY_MASK
}

export function vni(mem: Uint8Array, at: number): number {
  return u32(mem, at + VNI) >>> 8
}

export function epochHi(mem: Uint8Array, at: number): number {
  return u32(mem, at + EPOCH)
}

export function epochLo(mem: Uint8Array, at: number): number {
  return u32(mem, at + EPOCH + 4)
}

export function number(mem: Uint8Array, at: number): number {
  return u32(mem, at + NUMBER) * WORD + u32(mem, at + NUMBER + 4)
}

/** When a sender started, and chance: two halves, unsigned. */
export interface Epoch {
  readonly hi: number
  readonly lo: number
}

export function putHeader(
  mem: Uint8Array,
  at: number,
  fields: { keyId: number; vni: number; epoch: Epoch; number: number },
): void {
  put32(mem, at, (SEALED << 24) | fields.keyId)
  put32(mem, at + VNI, fields.vni << 8)
  put32(mem, at + EPOCH, fields.epoch.hi)
  put32(mem, at + EPOCH + 4, fields.epoch.lo)
  put32(mem, at + NUMBER, Math.floor(fields.number / WORD))
  put32(mem, at + NUMBER + 4, (fields.number % WORD) | 0)
}

/** True if `a` began later than `b`. */
export function isLater(a: Epoch, b: Epoch): boolean {
  return a.hi !== b.hi ? a.hi > b.hi : a.lo > b.lo
}

/** The nonce of a datagram, to `at` of `to`: the key's `iv`, its end xor the header's number. */
export function putNonce(
  to: Uint8Array,
  at: number,
  iv: Uint8Array,
  mem: Uint8Array,
  header: number,
): void {
  for (let i = 0; i < NONCE_BYTES; i++) {
    const from = i - NONCE_BYTES + NUMBER_BYTES
    to[at + i] = from < 0 ? iv[i]! : iv[i]! ^ mem[header + NUMBER + from]!
  }
}

/** One sender's key, at either end. */
export interface Cipher {
  /**
   * Encrypt `bytes` octets at `at` where they are, and put the tag behind them. The header at
   * `header` is authenticated, and its number is the nonce.
   */
  seal(mem: Uint8Array, header: number, at: number, bytes: number): void
  /**
   * Decrypt `bytes` octets at `at`, the tag behind them, to `to`, which is not behind `at`. False:
   * the tag is wrong; nothing is at `to`, and what was at `at` is lost.
   */
  open(mem: Uint8Array, header: number, at: number, bytes: number, to: number): boolean
}

/** A cipher of an AES-256 key and the octets that its nonces are made of; both are kept. */
export type MakeCipher = (key: Uint8Array, iv: Uint8Array) => Cipher

/** What this node sends with. */
export interface SealSender {
  readonly keyId: number
  readonly epoch: Epoch
  readonly cipher: Cipher
}

/** Where keys come from. */
export interface SealKeys {
  /** A new epoch of ours, with the key that is in use. @throws StackError: there is none. */
  sender(): SealSender
  /** The key of a sender by its address; undefined: there is no key of that id. */
  receiver(keyId: number, epoch: Epoch, address: Address): Cipher | undefined
}
