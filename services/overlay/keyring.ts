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
 * A file has one base64 key of 32 octets a line; blank lines and lines with `#` are skipped. A key
 * is known to other nodes by a number made of it, which tells nothing about it.
 */
import { createHash } from 'node:crypto'
import { StackError } from '../../stack/errors.ts'

/** Keys at a time: rotation needs two. */
export const KEYS_MAX = 8
export const KEY_BYTES = 32
const ID_BYTES = 3

export interface Key {
  readonly id: number
  readonly secret: Uint8Array
}

/** @throws StackError `bad-config` that names the line, and never what is on it. */
export function parseKeys(text: string): Key[] {
  const keys: Key[] = []
  for (const [index, line] of text.split('\n').entries()) {
    const written = line.trim()
    if (written === '' || written.startsWith('#')) continue
    const secret = Buffer.from(written, 'base64')
    if (secret.length !== KEY_BYTES || secret.toString('base64') !== written) {
      const message = `line ${index + 1}: expected ${KEY_BYTES} octets in base64`
      throw new StackError('bad-config', message)
    }
    const key = { id: idOf(secret), secret: new Uint8Array(secret) }
    if (keys.some(({ id }) => id === key.id)) {
      throw new StackError('bad-config', `line ${index + 1}: this key is listed already`)
    }
    keys.push(key)
  }
  if (keys.length === 0) throw new StackError('bad-config', 'there is no key')
  if (keys.length > KEYS_MAX) throw new StackError('bad-config', `more than ${KEYS_MAX} keys`)
  return keys
}

function idOf(secret: Uint8Array): number {
  const hash = createHash('sha256').update('tapline overlay key id').update(secret).digest()
  return hash.readUIntBE(0, ID_BYTES)
}
