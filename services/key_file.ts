/**
 * Files of keys, of gossip and of encrypted overlay networks: one key in base64 a line, the first
 * of which encrypts. `#` begins a comment; blank lines are skipped.
 *
 * A file is read at the start and with each apply, so that keys are exchanged while all talk: add
 * the new one, move it to the front, take the old one away, each on every node. What is wrong is
 * told with its line, and never with what is on it. Limits: {@link FILE_BYTES_MAX}, and the keys
 * that its user says.
 */
import { readFileSync, statSync } from 'node:fs'
import { StackError } from '../stack/errors.ts'
import type { Log } from './log.ts'

/** Far more than the keys of any ring, with comments. */
const FILE_BYTES_MAX = 65_536
/** Permissions of all but the owner. */
const OTHERS = 0o077
const BASE64 = /^[A-Za-z0-9+/]+={0,2}$/

export interface KeyRules {
  /** Octets that a key may have. */
  readonly sizes: readonly number[]
  readonly keysMax: number
}

/** Undefined: it is not the base64 of a key. */
export function parseKeyText(text: string, { sizes }: KeyRules): Uint8Array | undefined {
  const key = new Uint8Array(Buffer.from(text, 'base64'))
  return BASE64.test(text) && sizes.includes(key.length) ? key : undefined
}

/** What a key is, for people. */
export function describeKey({ sizes }: KeyRules): string {
  const last = sizes.at(-1)
  const rest = sizes.slice(0, -1).join(', ')
  return `${rest === '' ? '' : `${rest} or `}${last} octets in base64`
}

/** The first encrypts. @throws StackError `bad-config` with the line. */
export function parseKeyLines(text: string, rules: KeyRules): Uint8Array[] {
  const keys: Uint8Array[] = []
  for (const [index, line] of text.split('\n').entries()) {
    const written = line.replace(/#.*/, '').trim()
    if (written === '') continue
    const key = parseKeyText(written, rules)
    const at = `line ${index + 1}`
    if (key === undefined) {
      throw new StackError('bad-config', `${at}: expected ${describeKey(rules)}`)
    }
    if (keys.some((other) => Buffer.compare(other, key) === 0)) {
      throw new StackError('bad-config', `${at}: this key is listed already`)
    }
    keys.push(key)
  }
  if (keys.length === 0) throw new StackError('bad-config', 'there is no key')
  if (keys.length > rules.keysMax) {
    throw new StackError('bad-config', `more than ${rules.keysMax} keys`)
  }
  return keys
}

/** A file that others may read is read, with a warning. @throws StackError `bad-config`. */
export function readKeyFile(file: string, rules: KeyRules, log: Log): Uint8Array[] {
  try {
    const stat = statSync(file)
    if (!stat.isFile()) throw new StackError('bad-config', 'it is no file')
    if (stat.size > FILE_BYTES_MAX) {
      throw new StackError('bad-config', `it is longer than ${FILE_BYTES_MAX} octets`)
    }
    if ((stat.mode & OTHERS) !== 0) {
      log.warn({ file }, 'others than its owner may read or change a file of keys: chmod 600')
    }
    return parseKeyLines(readFileSync(file, 'utf8'), rules)
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    throw new StackError('bad-config', `keys in ${file}: ${why}`, { cause: error })
  }
}
