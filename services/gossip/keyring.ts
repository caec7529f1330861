/**
 * Keys of a cluster: AES of 128, 192 or 256 bits. The first, the primary, encrypts; all of them
 * decrypt, so that keys can be exchanged while everybody talks: install the new one everywhere,
 * use it, remove the old one. Their file is told of in key_file.ts.
 */
import { renameSync, writeFileSync } from 'node:fs'
import { StackError } from '../../stack/errors.ts'
import { describeKey, type KeyRules, parseKeyText, readKeyFile } from '../key_file.ts'
import type { Log } from '../log.ts'

const KEYS_MAX = 32
const KEY_BYTES: readonly number[] = [16, 24, 32]
const RULES: KeyRules = { sizes: KEY_BYTES, keysMax: KEYS_MAX }

/** @throws StackError `bad-argument` */
export function parseKey(text: string): Uint8Array {
  const key = parseKeyText(text, RULES)
  if (key === undefined) throw new StackError('bad-argument', `a key is ${describeKey(RULES)}`)
  return key
}

export function formatKey(key: Uint8Array): string {
  return Buffer.from(key).toString('base64')
}

export class Keyring {
  #keys: readonly Uint8Array[]

  /** The primary first. @throws StackError `bad-argument`: too many, or a size that is none. */
  constructor(keys: readonly Uint8Array[]) {
    if (keys.length === 0 || keys.length > KEYS_MAX) {
      throw new StackError('bad-argument', `a keyring has 1 to ${KEYS_MAX} keys`)
    }
    for (const key of keys) checkSize(key)
    this.#keys = keys
  }

  /** The primary first. */
  get keys(): readonly Uint8Array[] {
    return this.#keys
  }

  get primary(): Uint8Array {
    return this.#keys[0]!
  }

  /**
   * Have these keys and no others from now on, the primary first. False: it has just these.
   *
   * @throws StackError `bad-argument`; the keys stay as they are.
   */
  replace(keys: readonly Uint8Array[]): boolean {
    const next = new Keyring(keys).keys
    if (this.equals(next)) return false
    this.#keys = next
    return true
  }

  /** True if these are the keys, in this order. */
  equals(keys: readonly Uint8Array[]): boolean {
    const own = this.#keys
    return keys.length === own.length && keys.every((key, i) => same(key, own[i]!))
  }

  /** Decrypt with it from now on. @throws StackError `exhausted`, `bad-argument` */
  install(key: Uint8Array): void {
    checkSize(key)
    if (this.#has(key)) return
    if (this.#keys.length === KEYS_MAX) {
      throw new StackError('exhausted', `the keyring has ${KEYS_MAX} keys already`)
    }
    this.#keys = [...this.#keys, key]
  }

  /** Encrypt with it from now on. @throws StackError `not-found` */
  use(key: Uint8Array): void {
    if (!this.#has(key)) throw new StackError('not-found', 'the key is not installed')
    this.#keys = [key, ...this.#others(key)]
  }

  /** @throws StackError `bad-argument` for the primary. Harmless for a key that is not there. */
  remove(key: Uint8Array): void {
    if (same(key, this.primary)) {
      throw new StackError('bad-argument', 'the primary key cannot be removed')
    }
    this.#keys = this.#others(key)
  }

  #has(key: Uint8Array): boolean {
    return this.#keys.some((other) => same(key, other))
  }

  #others(key: Uint8Array): Uint8Array[] {
    return this.#keys.filter((other) => !same(key, other))
  }
}

function checkSize({ length }: Uint8Array): void {
  if (!KEY_BYTES.includes(length)) {
    throw new StackError('bad-argument', 'a key has 16, 24 or 32 octets')
  }
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0
}

/** The primary first. @throws StackError `bad-config` */
export function readKeys(file: string, log: Log): Uint8Array[] {
  return readKeyFile(file, RULES, log)
}

/** Whole or not at all, and for nobody else to read. @throws Error of the file system. */
export function writeKeys(file: string, { keys }: Keyring): void {
  const aside = `${file}.${process.pid}`
  writeFileSync(aside, keys.map((key) => `${formatKey(key)}\n`).join(''), { mode: 0o600 })
  renameSync(aside, file)
}
