/**
 * Keys of encrypted overlay networks: AES-256-GCM with keys of HKDF (RFC 5869).
 *
 * ```text
 *   key of the file ── HKDF-SHA-256(salt: epoch, info: label, sender's address) ──> key, 12 octets
 *   nonce = those 12 octets, the last 8 xor the number
 * ```
 *
 * An epoch is 48 bits of the time in milliseconds and 16 of chance. Two senders never share a key,
 * because it is made of their address; one sender never uses an epoch twice, because time goes on
 * and this process takes each only once. So no nonce comes twice with a key.
 *
 * Where packets are in memory that native code reaches, stack/vxlan/gcm.ts encrypts; here is what
 * does it elsewhere, by node:crypto.
 */
import {
  createCipheriv,
  createDecipheriv,
  createSecretKey,
  hkdfSync,
  type KeyObject,
  randomInt,
} from 'node:crypto'
import { type Address, toBytes } from '../../stack/address.ts'
import { StackError } from '../../stack/errors.ts'
import {
  type Cipher,
  type Epoch,
  HEADER_BYTES,
  KEY_BYTES,
  type MakeCipher,
  NONCE_BYTES,
  putNonce,
  type SealKeys,
  type SealSender,
  TAG_BYTES,
} from '../../stack/vxlan/seal.ts'
import type { Key } from './keyring.ts'

const ALGORITHM = 'aes-256-gcm'
const SALT_BYTES = 8
const LABEL = 'tapline overlay seal 1'
const CHANCE_MAX = 0x1_0000
/** A 48-bit time in halves: 32 bits, and 16 in front of the chance. */
const TIME_LOW = 0x1_0000

export interface SealKeysOptions {
  readonly keys: readonly Key[]
  /** Time since 1970, the same after a restart: `Date.now`. */
  readonly wallMs: () => number
  /** Left out: {@link nodeCipher}. */
  readonly makeCipher?: MakeCipher | undefined
}

export class NodeSealKeys implements SealKeys {
  readonly #own: Address
  readonly #wallMs: () => number
  readonly #makeCipher: MakeCipher
  #keys: readonly Key[]
  #lastMs = 0

  constructor(own: Address, { keys, wallMs, makeCipher = nodeCipher }: SealKeysOptions) {
    this.#own = own
    this.#keys = keys
    this.#wallMs = wallMs
    this.#makeCipher = makeCipher
  }

  get keys(): readonly Key[] {
    return this.#keys
  }

  set keys(keys: readonly Key[]) {
    this.#keys = keys
  }

  sender(): SealSender {
    const [key] = this.#keys
    if (key === undefined) throw new StackError('not-found', 'there is no key to encrypt with')
    this.#lastMs = Math.max(this.#wallMs(), this.#lastMs + 1)
    const chance = randomInt(CHANCE_MAX)
    const epoch = {
      hi: Math.floor(this.#lastMs / TIME_LOW),
      lo: (this.#lastMs % TIME_LOW) * CHANCE_MAX + chance,
    }
    return { keyId: key.id, epoch, cipher: this.#cipher(key, epoch, this.#own) }
  }

  receiver(keyId: number, epoch: Epoch, address: Address): Cipher | undefined {
    const key = this.#keys.find(({ id }) => id === keyId)
    return key && this.#cipher(key, epoch, address)
  }

  #cipher({ secret }: Key, { hi, lo }: Epoch, sender: Address): Cipher {
    const salt = Buffer.alloc(SALT_BYTES)
    salt.writeUInt32BE(hi, 0)
    salt.writeUInt32BE(lo, 4)
    const info = Buffer.concat([Buffer.from(LABEL), toBytes(sender)])
    const bytes = hkdfSync('sha256', secret, salt, info, KEY_BYTES + NONCE_BYTES)
    return this.#makeCipher(new Uint8Array(bytes, 0, KEY_BYTES), new Uint8Array(bytes, KEY_BYTES))
  }
}

/** Ciphers of node:crypto. Each datagram makes an object and two buffers. */
export const nodeCipher: MakeCipher = (key, iv) => new NodeCipher(key, iv)

class NodeCipher implements Cipher {
  readonly #key: KeyObject
  readonly #iv: Uint8Array
  readonly #nonce = new Uint8Array(NONCE_BYTES)
  readonly #options = { authTagLength: TAG_BYTES }

  constructor(key: Uint8Array, iv: Uint8Array) {
    this.#key = createSecretKey(key)
    this.#iv = iv
  }

  seal(mem: Uint8Array, header: number, at: number, bytes: number): void {
    putNonce(this.#nonce, 0, this.#iv, mem, header)
    const cipher = createCipheriv(ALGORITHM, this.#key, this.#nonce, this.#options)
    cipher.setAAD(mem.subarray(header, header + HEADER_BYTES))
    mem.set(cipher.update(mem.subarray(at, at + bytes)), at)
    cipher.final()
    mem.set(cipher.getAuthTag(), at + bytes)
  }

  open(mem: Uint8Array, header: number, at: number, bytes: number, to: number): boolean {
    putNonce(this.#nonce, 0, this.#iv, mem, header)
    const decipher = createDecipheriv(ALGORITHM, this.#key, this.#nonce, this.#options)
    decipher.setAAD(mem.subarray(header, header + HEADER_BYTES))
    decipher.setAuthTag(mem.subarray(at + bytes, at + bytes + TAG_BYTES))
    const plain = decipher.update(mem.subarray(at, at + bytes))
    try {
      // The only way in which it tells of a wrong tag.
      decipher.final()
    } catch {
      return false
    }
    mem.set(plain, to)
    return true
  }
}
