/**
 * Domain names (RFC 1035 §3.1) as keys: a string of their octets, each label after its length,
 * lower case, without the final zero. The root is the empty string.
 *
 * ```text
 *   "web.front."  ->  "\x03web\x05front"
 * ```
 *
 * So every name has one key and every key one name, whatever octets its labels have, and a suffix
 * of labels is a suffix of the string. Two names are the same if their strings are (RFC 4343: only
 * ASCII letters fold).
 */
import { StackError } from '../../stack/errors.ts'
import { LABEL_MAX, NAME_BYTES_MAX } from './wire.ts'

export type Name = string & { readonly brand: 'Name' }

export const ROOT: Name = '' as Name
const A = 0x41
const Z = 0x5a
const FOLD = 0x20
const POINTER = 0xc0
/** Pointers in one name; each must lead further back, so there can be no loop. */
const POINTERS_MAX = 64

/** Where {@link readName} leaves the octets that it read, lower case. */
const scratch = Buffer.alloc(NAME_BYTES_MAX + 1)

/** Lower case of one octet. */
function fold(octet: number): number {
  return octet >= A && octet <= Z ? octet | FOLD : octet
}

/** Copy the label at `from` behind the first `bytes` of what is read; false if it is none. */
function keepLabel(mem: Uint8Array, from: number, end: number, bytes: number): boolean {
  const length = mem[from]!
  if (length > LABEL_MAX || from + length >= end) return false
  if (bytes + length + 2 > NAME_BYTES_MAX) return false
  scratch[bytes] = length
  for (let i = 1; i <= length; i++) scratch[bytes + i] = fold(mem[from + i]!)
  return true
}

/**
 * Read a name without pointers at `at`. The octets that it takes, its zero included; -1 if it is
 * none. {@link lastName} is it.
 */
export function readPlain(mem: Uint8Array, at: number, end: number): number {
  let from = at
  let bytes = 0
  for (;;) {
    if (from >= end) return -1
    const length = mem[from]!
    if (length === 0) break
    if (!keepLabel(mem, from, end, bytes)) return -1
    bytes += length + 1
    from += length + 1
  }
  scratchBytes = bytes
  return from + 1 - at
}

/**
 * Read a name at `at` of the message that begins at `message`, pointers followed, backwards only.
 * The octets that it takes there; -1 if it is none. {@link lastName} is it.
 */
export function readName(mem: Uint8Array, message: number, at: number, end: number): number {
  let from = at
  let taken = 0
  let bytes = 0
  let pointers = 0
  for (;;) {
    if (from >= end) return -1
    const length = mem[from]!
    if (length === 0) break
    if (length >= POINTER) {
      if (from + 1 >= end || ++pointers > POINTERS_MAX) return -1
      const to = message + (((length & ~POINTER) << 8) | mem[from + 1]!)
      if (taken === 0) taken = from + 2 - at
      if (to >= from) return -1
      from = to
      continue
    }
    if (!keepLabel(mem, from, end, bytes)) return -1
    bytes += length + 1
    from += length + 1
  }
  scratchBytes = bytes
  return taken === 0 ? from + 1 - at : taken
}
let scratchBytes = 0

/** The name that was read last, as a key. */
export function lastName(): Name {
  return scratch.toString('latin1', 0, scratchBytes) as Name
}

/** Octets of a name in a message, its zero included. */
export function nameBytes(name: Name): number {
  return name.length + 1
}

/** Without its first label. Precondition: it is not the root. */
export function parent(name: Name): Name {
  return name.slice(name.charCodeAt(0) + 1) as Name
}

/** The first label, as text of its octets. */
export function firstLabel(name: Name): string {
  return name.slice(1, 1 + name.charCodeAt(0))
}

export function labelCount(name: Name): number {
  let count = 0
  for (let at = 0; at < name.length; at += name.charCodeAt(at) + 1) count++
  return count
}

/** True if `name` is `ancestor` or below it. */
export function isWithin(name: Name, ancestor: Name): boolean {
  let at = 0
  while (name.length - at > ancestor.length) at += name.charCodeAt(at) + 1
  return name.length - at === ancestor.length && name.endsWith(ancestor)
}

/** Labels of `name`, then those of `suffix`. Undefined: too long. */
export function join(name: Name, suffix: Name): Name | undefined {
  const both = (name + suffix) as Name
  return both.length + 1 > NAME_BYTES_MAX ? undefined : both
}

/**
 * A name as people write it, with or without its final dot; `\DDD` and `\X` as in RFC 1035 §5.1.
 *
 * @throws StackError `bad-argument`.
 */
export function parseName(text: string): Name {
  const refuse = (why: string): never => {
    throw new StackError('bad-argument', `"${text}" is not a domain name: ${why}`)
  }
  if (text === '.') return ROOT
  const labels: string[] = []
  let label = ''
  for (let i = 0; i < text.length; i++) {
    const written = /^\\(?:(\d{3})|(.))/.exec(text.slice(i, i + 4))
    if (written !== null) {
      const [all, digits, letter] = written
      const code = digits === undefined ? letter!.charCodeAt(0) : Number(digits)
      if (code > 0xff) refuse(`${all} is no octet`)
      label += String.fromCharCode(fold(code))
      i += all.length - 1
    } else if (text[i] === '.') {
      labels.push(label)
      label = ''
    } else {
      const code = text.charCodeAt(i)
      if (code <= 0x20 || code > 0x7e) refuse('letters outside ASCII are written as xn--...')
      label += String.fromCharCode(fold(code))
    }
  }
  if (label !== '' || text === '') labels.push(label)
  let name = ''
  for (const one of labels) {
    if (one === '') refuse('a label is empty')
    if (one.length > LABEL_MAX) refuse(`a label has at most ${LABEL_MAX} octets`)
    name += String.fromCharCode(one.length) + one
  }
  if (name.length + 1 > NAME_BYTES_MAX) refuse(`it has at most ${NAME_BYTES_MAX} octets`)
  return name as Name
}

/** As people write it, without the final dot; the root is `.`. */
export function formatName(name: Name): string {
  if (name === ROOT) return '.'
  const labels: string[] = []
  for (let at = 0; at < name.length; at += name.charCodeAt(at) + 1) {
    const label = name.slice(at + 1, at + 1 + name.charCodeAt(at))
    labels.push(label.replace(/[^\x21-\x7e]|[.\\"();@$]/g, escaped))
  }
  return labels.join('.')
}

function escaped(character: string): string {
  const code = character.charCodeAt(0)
  if (code > 0x20 && code < 0x7f) return `\\${character}`
  return `\\${String(code).padStart(3, '0')}`
}
