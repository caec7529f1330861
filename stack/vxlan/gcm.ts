/**
 * AES-256-GCM by the OpenSSL that Node.js has in it. The executable shows these functions to its
 * addons, and so to us; node:crypto makes an object and two buffers for every datagram, where
 * this makes nothing.
 *
 * ```text
 *  Cipher (a key) --> Context (one to seal, one to open) --> OpenSSL, in packet memory
 * ```
 * A context keeps the key that it was used with last, so that a run of datagrams of one sender
 * sets it up once.
 */
import { StackError } from '../errors.ts'
import { addressOf, mapMemory, native } from '../native/libc.ts'
import { type Cipher, HEADER_BYTES, type MakeCipher, putNonce, TAG_BYTES } from './seal.ts'

const GET_TAG = 0x10
const SET_TAG = 0x11
const OPEN = 0
const SEAL = 1
/** Where a context's scratch memory has what. */
const KEY = 0
const NONCE = 32
const LENGTH = 48
const SCRATCH_BYTES = 64

type Native = (...values: readonly number[]) => number

interface Functions {
  readonly newContext: Native
  readonly aes256Gcm: Native
  readonly init: Native
  readonly update: Native
  readonly final: Native
  readonly control: Native
}

/** How ciphers are made that work in packet memory; undefined: this Node.js shows no OpenSSL. */
export function findGcm(): MakeCipher | undefined {
  let functions: Functions
  try {
    functions = declare()
  } catch {
    return undefined
  }
  const sealing = new Context(functions, SEAL)
  const opening = new Context(functions, OPEN)
  return (key, iv) => new GcmCipher({ key, iv, sealing, opening })
}

/** @throws Error if one is not there. */
function declare(): Functions {
  const pointer = 'uintptr_t'
  return {
    newContext: native('EVP_CIPHER_CTX_new', pointer, []),
    aes256Gcm: native('EVP_aes_256_gcm', pointer, []),
    init: native('EVP_CipherInit_ex', 'int', [pointer, pointer, pointer, pointer, pointer, 'int']),
    update: native('EVP_CipherUpdate', 'int', [pointer, pointer, pointer, pointer, 'int']),
    final: native('EVP_CipherFinal_ex', 'int', [pointer, pointer, pointer]),
    control: native('EVP_CIPHER_CTX_ctrl', 'int', [pointer, 'int', 'int', pointer]),
  }
}

/** One direction. */
class Context {
  readonly #functions: Functions
  readonly #direction: number
  readonly #context: number
  readonly #scratch: Uint8Array
  readonly #address: number
  /** Whose key it has. */
  #user: GcmCipher | undefined
  /** The packet memory of the last call, and where it is. */
  #mem: Uint8Array | undefined
  #base = 0

  constructor(functions: Functions, direction: number) {
    const { buffer, address } = mapMemory(SCRATCH_BYTES)
    this.#functions = functions
    this.#direction = direction
    this.#scratch = new Uint8Array(buffer)
    this.#address = address
    this.#context = Number(functions.newContext())
    const gcm = Number(functions.aes256Gcm())
    must(functions.init(this.#context, gcm, 0, 0, 0, direction))
  }

  /** Begin a datagram: key, nonce, and the header that is authenticated. */
  begin(user: GcmCipher, mem: Uint8Array, header: number): void {
    const { init, update } = this.#functions
    if (mem !== this.#mem) {
      this.#mem = mem
      this.#base = addressOf(mem)
    }
    const isOther = user !== this.#user
    if (isOther) this.#scratch.set(user.key, KEY)
    this.#user = user
    putNonce(this.#scratch, NONCE, user.iv, mem, header)
    const scratch = this.#address
    const key = isOther ? scratch + KEY : 0
    must(init(this.#context, 0, 0, key, scratch + NONCE, this.#direction))
    must(update(this.#context, 0, scratch + LENGTH, this.#base + header, HEADER_BYTES))
  }

  /** Work on `bytes` octets at `at`, where they are. */
  run(at: number, bytes: number): void {
    const address = this.#base + at
    const { update } = this.#functions
    must(update(this.#context, address, this.#address + LENGTH, address, bytes))
  }

  /** Read the tag to `at`, or say what it has to be. */
  tag(operation: number, at: number): void {
    must(this.#functions.control(this.#context, operation, TAG_BYTES, this.#base + at))
  }

  /** 1, or not: the tag is wrong. */
  end(at: number): number {
    const { final } = this.#functions
    return final(this.#context, this.#base + at, this.#address + LENGTH)
  }
}

/** What must not fail: else a frame would go out in the clear. */
function must(result: number): void {
  if (result !== 1) throw new StackError('syscall', 'OpenSSL refused to encrypt or decrypt')
}

class GcmCipher implements Cipher {
  readonly key: Uint8Array
  readonly iv: Uint8Array
  readonly #sealing: Context
  readonly #opening: Context

  constructor(parts: { key: Uint8Array; iv: Uint8Array; sealing: Context; opening: Context }) {
    this.key = parts.key
    this.iv = parts.iv
    this.#sealing = parts.sealing
    this.#opening = parts.opening
  }

  seal(mem: Uint8Array, header: number, at: number, bytes: number): void {
    const context = this.#sealing
    context.begin(this, mem, header)
    context.run(at, bytes)
    must(context.end(at + bytes))
    context.tag(GET_TAG, at + bytes)
  }

  open(mem: Uint8Array, header: number, at: number, bytes: number, to: number): boolean {
    const context = this.#opening
    context.begin(this, mem, header)
    context.tag(SET_TAG, at + bytes)
    context.run(at, bytes)
    if (context.end(at + bytes) !== 1) return false
    mem.copyWithin(to, at, at + bytes)
    return true
  }
}
