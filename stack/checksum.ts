/**
 * Internet checksum (RFC 1071, RFC 1624).
 *
 * A sum is a number from 0 to 0xffff, folded and not complemented, unless a name says `checksum`.
 * The sum of words is the same in either byte order but for a swap at the end (RFC 1071 §2 B), so
 * the long loop adds little-endian 32-bit words, four lanes at a time, and swaps once.
 */
import { put16, u16 } from './bytes.ts'

/** Below this, byte pairs are quicker than setting up the word loop. */
const WORDS_FROM_BYTES = 64

interface WordView {
  readonly mem: Uint8Array
  readonly words: Uint32Array
}

let views: readonly WordView[] = []

/** The 32-bit view of `mem`, made once a slab. Precondition: it starts at a multiple of 4. */
function wordsOf(mem: Uint8Array): Uint32Array {
  for (let i = 0; i < views.length; i++) {
    const view = views[i]!
    if (view.mem === mem) return view.words
  }
  const words = new Uint32Array(mem.buffer, mem.byteOffset, mem.byteLength >>> 2)
  views = [{ mem, words }, ...views].slice(0, VIEWS_MAX)
  return words
}
/** Slabs remembered at a time: a process has one, a test run a few. */
const VIEWS_MAX = 4

/** Sum of 16-bit words; `seed` is a sum over an even number of octets before. */
export function sum(mem: Uint8Array, at: number, bytes: number, seed = 0): number {
  if (bytes < WORDS_FROM_BYTES || (at & 1) !== 0) return sumPairs(mem, at, bytes, seed)
  let total = seed
  if ((at & 2) !== 0) {
    total += u16(mem, at)
    at += 2
    bytes -= 2
  }
  const tail = bytes & 15
  const swapped = sumWords(wordsOf(mem), at >>> 2, (bytes - tail) >>> 2)
  total += ((swapped & 0xff) << 8) | (swapped >>> 8)
  return sumPairs(mem, at + bytes - tail, tail, fold(total))
}

function sumPairs(mem: Uint8Array, at: number, bytes: number, seed: number): number {
  let total = seed
  const end = at + bytes - 1
  for (; at < end; at += 2) total += u16(mem, at)
  if (at === end) total += mem[at]! << 8
  return fold(total)
}

/** Precondition: `count` is a multiple of 4, and at most 2¹⁶ so that no lane overflows 2³². */
function sumWords(words: Uint32Array, at: number, count: number): number {
  let a = 0
  let b = 0
  let c = 0
  let d = 0
  const end = at + count
  for (; at < end; at += 4) {
    const w = words[at]!
    const x = words[at + 1]!
    const y = words[at + 2]!
    const z = words[at + 3]!
    a += (w & 0xffff) + (w >>> 16)
    b += (x & 0xffff) + (x >>> 16)
    c += (y & 0xffff) + (y >>> 16)
    d += (z & 0xffff) + (z >>> 16)
  }
  return fold(fold(a) + fold(b) + fold(c) + fold(d))
}

/** Carry the high half round until 16 bits are left. */
export function fold(total: number): number {
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16)
  return total
}

/** What is to be added to a sum when a 32-bit word changes, not folded; 0 if it is the same. */
export function difference(before: number, after: number): number {
  if (before === after) return 0
  const removed = ~before
  return (removed >>> 16) + (removed & 0xffff) + (after >>> 16) + (after & 0xffff)
}

/** Checksum after one 16-bit word changed from `before` to `after` (RFC 1624 §3, equation 3). */
export function update(checksum: number, before: number, after: number): number {
  return ~fold((~checksum & 0xffff) + (~before & 0xffff) + after) & 0xffff
}

/** Sum of the pseudo-header of IPv4 (RFC 793 §3.1): two addresses at `addresses`, then the rest. */
export function pseudo4(
  mem: Uint8Array,
  addresses: number,
  protocol: number,
  bytes: number,
): number {
  return sumPairs(mem, addresses, 8, fold(protocol + bytes))
}

/** Sum of the pseudo-header of IPv6 (RFC 8200 §8.1). */
export function pseudo6(
  mem: Uint8Array,
  addresses: number,
  protocol: number,
  bytes: number,
): number {
  return sumPairs(mem, addresses, 32, fold(protocol + fold(bytes)))
}

/**
 * Complete a partial checksum: sum from `start` to the end, the field's own content (the
 * pseudo-header's sum) included. A UDP result of zero is sent as ones (RFC 768).
 */
export function finish(mem: Uint8Array, start: number, offset: number, end: number): void {
  const result = ~sum(mem, start, end - start) & 0xffff
  put16(mem, start + offset, result === 0 && offset === UDP_CHECKSUM_OFFSET ? 0xffff : result)
}
const UDP_CHECKSUM_OFFSET = 6
