/**
 * Multicast and broadcast next hops, which are not asked for: their MAC follows from the address.
 *
 * IPv4 multicast: 01:00:5e and the low 23 bits (RFC 1112 §6.4, RFC 7042 §2.1.1). IPv6 multicast:
 * 33:33 and the low 32 bits (RFC 2464 §7). IPv4 broadcast, limited or to a subnet of the link:
 * all ones (RFC 919). Addresses are four words, as in address.ts.
 */
import { MAPPED, wordMask } from '../address.ts'
import type { Asker } from './solicit.ts'

/** True for every address that means more than one station on this link. */
export function isGroup(link: Asker, words: Int32Array, at: number): boolean {
  if (!isMapped(words, at)) return words[at]! >>> 24 === 0xff
  const word = words[at + 3]!
  return word >>> 28 === 0xe || word === -1 || isSubnetBroadcast(link, word)
}

/** First 16 bits of the MAC. Precondition: {@link isGroup}. */
export function groupHi(words: Int32Array, at: number): number {
  if (!isMapped(words, at)) return 0x3333
  return words[at + 3]! >>> 28 === 0xe ? 0x0100 : 0xffff
}

/** Last 32 bits of the MAC. Precondition: {@link isGroup}. */
export function groupLo(words: Int32Array, at: number): number {
  const word = words[at + 3]!
  if (!isMapped(words, at)) return word
  return word >>> 28 === 0xe ? 0x5e00_0000 | (word & 0x007f_ffff) : 0xffff_ffff
}

function isMapped(words: Int32Array, at: number): boolean {
  return words[at] === 0 && words[at + 1] === 0 && words[at + 2] === MAPPED
}

/** All host bits set in a subnet of the link; /31 and /32 have no such address (RFC 3021). */
function isSubnetBroadcast({ addresses }: Asker, word: number): boolean {
  for (let i = 0; i < addresses.length; i++) {
    const { address, bits } = addresses[i]!
    if (address.family !== 4 || bits > 30) continue
    if (word === (address.words[3]! | ~wordMask(bits))) return true
  }
  return false
}
