/**
 * Short texts that come again and again: names of members, of fields, values of one node. Each is
 * made into a string once, and found again by its octets, which takes a third of the time of
 * making it, and lets all who keep it share it.
 *
 * A table with one place for each hash: a text that finds another one in its place takes it. So it
 * never grows, whatever others send.
 */

/** A power of two; twice the members of a large cluster. */
const PLACES = 8192
/** Longer ones are rarer than that it pays to compare them. */
const INTERNED_BYTES_MAX = 32
/** FNV-1a's. */
const FNV_PRIME = 0x0100_0193

const utf8 = new TextDecoder('utf-8', { fatal: true })

/** Texts by the hash of their octets. */
const texts: string[] = new Array<string>(PLACES).fill('')
/** The same for octets as characters (octets.ts): both agree only where all are ASCII. */
const latins: string[] = new Array<string>(PLACES).fill('')

/** The text of octets `from` to `to`, or undefined where they are not UTF-8. */
export function textAt(mem: Uint8Array, from: number, to: number): string | undefined {
  if (to - from > INTERNED_BYTES_MAX) return decode(mem.subarray(from, to))
  const place = placeOf(mem, from, to)
  const known = texts[place]!
  if (isSame(known, mem, from, to)) return known
  const text = decode(mem.subarray(from, to))
  // Others have more octets than characters, and would not be found again.
  if (text?.length === to - from) texts[place] = text
  return text
}

/** Octets `from` to `to` as characters from U+0000 to U+00FF. */
export function latinAt(mem: Uint8Array, from: number, to: number): string {
  if (to - from > INTERNED_BYTES_MAX) return latin(mem, from, to)
  const place = placeOf(mem, from, to)
  const known = latins[place]!
  if (isSame(known, mem, from, to)) return known
  const text = latin(mem, from, to)
  latins[place] = text
  return text
}

function placeOf(mem: Uint8Array, from: number, to: number): number {
  let hash = to - from
  for (let at = from; at < to; at++) hash = Math.imul(hash ^ mem[at]!, FNV_PRIME)
  return (hash ^ (hash >>> 15)) & (PLACES - 1)
}

function isSame(text: string, mem: Uint8Array, from: number, to: number): boolean {
  if (text.length !== to - from) return false
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) !== mem[from + i]) return false
  return true
}

function decode(octets: Uint8Array): string | undefined {
  try {
    return utf8.decode(octets)
  } catch {
    return undefined
  }
}

function latin(mem: Uint8Array, from: number, to: number): string {
  return Buffer.from(mem.buffer, mem.byteOffset + from, to - from).toString('latin1')
}
