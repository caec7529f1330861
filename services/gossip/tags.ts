/**
 * Tags of a member, as serf puts them into memberlist's meta data: 0xff and a map of texts.
 * Ours have the tag `tapline`: only they understand our own messages.
 */
import { StackError } from '../../stack/errors.ts'
import type { Member } from './cluster.ts'
import { META_BYTES_MAX } from './messages.ts'
import { Reader, textOf } from './msgpack.ts'
import { encodeAfter } from './msgpack_writer.ts'
import { latinAt } from './texts.ts'

const TAGS_MAGIC = 0xff
const OWN_TAG = 'tapline'

export type Tags = Readonly<Record<string, string>>

export function encodeTags(tags: Tags): Uint8Array {
  return encodeAfter(TAGS_MAGIC, tags)
}

/** Tags by the meta data that they are of: most members of a cluster have the same. */
const known = new Map<string, Tags>()
/** Those that are remembered; when full, all are forgotten. */
const KNOWN_MAX = 256

/** Tags of meta data. Members with the same share them. */
export function decodeTags(meta: Uint8Array): Tags {
  const key = latinAt(meta, 0, meta.length)
  const shared = known.get(key)
  if (shared !== undefined) return shared
  const tags = decode(meta)
  if (known.size >= KNOWN_MAX) known.clear()
  known.set(key, tags)
  return tags
}

/** Before there were tags, all of it was the role. */
function decode(meta: Uint8Array): Tags {
  const tags: Record<string, string> = Object.create(null)
  if (meta.length === 0) return tags
  if (meta[0] !== TAGS_MAGIC) {
    tags['role'] = textOf(meta) ?? ''
    return tags
  }
  const map = new Reader(meta, 1).next()
  if (!(map instanceof Map)) return tags
  for (const [key, value] of map) {
    const text = value instanceof Uint8Array ? textOf(value) : undefined
    if (text !== undefined) tags[key] = text
  }
  return tags
}

/** Meta data of a member of ours. @throws StackError `bad-argument` if the tags are too long. */
export function ownMeta(tags: Tags): Uint8Array {
  const meta = encodeTags({ [OWN_TAG]: '1', ...tags })
  if (meta.length <= META_BYTES_MAX) return meta
  throw new StackError('bad-argument', `tags have at most ${META_BYTES_MAX} octets in all`)
}

/** Does it understand our own messages? */
export function isOwn({ tags }: Member): boolean {
  return tags[OWN_TAG] !== undefined
}
