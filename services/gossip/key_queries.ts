/**
 * serf's internal queries about keys: list them, install one, use it, remove it, on every member.
 *
 * A member answers `{ Result, Message, Keys, PrimaryKey }`. A list that does not fit into an answer
 * is cut, and says so. Members without encryption refuse all of them.
 */
import { StackError } from '../../stack/errors.ts'
import { Fields } from './fields.ts'
import { formatKey, type Keyring } from './keyring.ts'
import { pack } from './messages.ts'
import { Reader, textOf } from './msgpack.ts'
import { SerfType } from './serf_messages.ts'

export const KeyQuery = {
  List: '_serf_list-keys',
  Install: '_serf_install-key',
  Use: '_serf_use-key',
  Remove: '_serf_remove-key',
} as const
export type KeyQuery = (typeof KeyQuery)[keyof typeof KeyQuery]

/** What is around an answer's payload in a response. */
const ENVELOPE_BYTES = 160
const ANSWER_BYTES_MAX: number = 1024 - ENVELOPE_BYTES

export interface KeyAnswer {
  readonly ok: boolean
  readonly message: string
  /** In base64. */
  readonly keys: readonly string[]
  readonly primary: string
}

export function isKeyQuery(name: string): name is KeyQuery {
  return (Object.values(KeyQuery) as readonly string[]).includes(name)
}

export function encodeKeyRequest(key: Uint8Array | undefined): Uint8Array {
  return key === undefined ? new Uint8Array(0) : pack(SerfType.KeyRequest, { Key: key })
}

/** Undefined: there is none in it. */
function decodeKeyRequest(payload: Uint8Array): Uint8Array | undefined {
  if (payload[0] !== SerfType.KeyRequest) return undefined
  const fields = new Fields(new Reader(payload, 1).next())
  const key = fields.raw('Key').slice()
  return fields.bad ? undefined : key
}

export interface KeyStore {
  readonly keyring: Keyring | undefined
  /** The keyring changed: keep it for the next start. @throws Error */
  readonly onChange: () => void
}

/** Do what a query asks. Never throws: what fails is in the answer. */
export function answerKeyQuery(name: KeyQuery, payload: Uint8Array, store: KeyStore): KeyAnswer {
  const { keyring } = store
  try {
    if (keyring === undefined) {
      throw new StackError('unsupported', 'encryption is not enabled on this member')
    }
    if (name === KeyQuery.List) return listed(keyring)
    const key = decodeKeyRequest(payload)
    if (key === undefined) throw new StackError('bad-argument', 'there is no key in the query')
    change(keyring, name, key)
    store.onChange()
    return { ok: true, message: '', keys: [], primary: '' }
  } catch (error) {
    return { ok: false, message: (error as Error).message, keys: [], primary: '' }
  }
}

/** @throws StackError */
function change(keyring: Keyring, name: KeyQuery, key: Uint8Array): void {
  if (name === KeyQuery.Install) keyring.install(key)
  else if (name === KeyQuery.Use) keyring.use(key)
  else keyring.remove(key)
}

function listed({ keys, primary }: Keyring): KeyAnswer {
  const all = keys.map(formatKey)
  const answer = { ok: true, message: '', keys: all, primary: formatKey(primary) }
  let count = all.length
  while (encodeKeyAnswer({ ...answer, keys: all.slice(0, count) }).length > ANSWER_BYTES_MAX)
    count--
  if (count === all.length) return answer
  const message = `truncated: the first ${count} of ${all.length} keys`
  return { ...answer, message, keys: all.slice(0, count) }
}

export function encodeKeyAnswer({ ok, message, keys, primary }: KeyAnswer): Uint8Array {
  const fields = { Result: ok, Message: message, Keys: keys, PrimaryKey: primary }
  return pack(SerfType.KeyResponse, fields)
}

/** Undefined: malformed. */
export function decodeKeyAnswer(payload: Uint8Array): KeyAnswer | undefined {
  if (payload[0] !== SerfType.KeyResponse) return undefined
  const fields = new Fields(new Reader(payload, 1).next())
  const keys = fields.list('Keys').flatMap((raw) => {
    const text = raw instanceof Uint8Array ? textOf(raw) : undefined
    return text === undefined ? [] : [text]
  })
  const [ok, message, primary] = [
    fields.flag('Result'),
    fields.text('Message'),
    fields.text('PrimaryKey'),
  ]
  return fields.bad ? undefined : { ok, message, keys, primary }
}
