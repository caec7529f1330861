/**
 * Keys of encrypted overlay networks: several, of which the first seals and all open, so that keys
 * are exchanged node by node without loss:
 *
 * ```text
 *   1  add the new key behind the old one, on every node
 *   2  move it to the front, on every node
 *   3  take the old one away
 * ```
 *
 * Files are told of in key_file.ts. A key is known to other nodes by a number made of it, which
 * tells nothing about it.
 */
import { createHash } from 'node:crypto'
import { StackError } from '../../stack/errors.ts'
import { KEY_BYTES } from '../../stack/vxlan/seal.ts'
import { type KeyRules, parseKeyLines, readKeyFile } from '../key_file.ts'
import type { Log } from '../log.ts'

/** Keys at a time: rotation needs two. */
const KEYS_MAX = 8
const ID_BYTES = 3

export interface Key {
  readonly id: number
  readonly secret: Uint8Array
}

const RULES: KeyRules = { sizes: [KEY_BYTES], keysMax: KEYS_MAX }

/** @throws StackError `bad-config` that names the line, and never what is on it. */
export function parseKeys(text: string): Key[] {
  return withIds(parseKeyLines(text, RULES))
}

/** @throws StackError `bad-config` */
export function readKeys(file: string, log: Log): Key[] {
  return withIds(readKeyFile(file, RULES, log))
}

function withIds(secrets: readonly Uint8Array[]): Key[] {
  const keys = secrets.map((secret) => ({ id: idOf(secret), secret }))
  const ids = new Set(keys.map(({ id }) => id))
  // By chance, of one pair in 16 million.
  if (ids.size < keys.length) throw new StackError('bad-config', 'two keys have one number')
  return keys
}

function idOf(secret: Uint8Array): number {
  const hash = createHash('sha256').update('tapline overlay key id').update(secret).digest()
  return hash.readUIntBE(0, ID_BYTES)
}
