/**
 * Addresses from messages, each made once: most messages name one of the same members, and what
 * is kept of a member is kept in several places, which share it. As in texts.ts, there is a place
 * for each hash, and the last one that came has it. Only IPv4: few bits make a good hash.
 */
import { type Address, fromBytes } from '../../stack/address.ts'
import { i32 } from '../../stack/bytes.ts'

/** A power of two; twice the members of a large cluster. */
const PLACE_BITS = 13
/** 2³² by the golden ratio: spreads neighbours. */
const SPREAD = 0x9e37_79b1

const addresses: (Address | undefined)[] = new Array<Address | undefined>(1 << PLACE_BITS).fill(
  undefined,
)

/** Of 4 or 16 octets. Whoever has it shares it, and does not write to it. */
export function addressOf(octets: Uint8Array): Address {
  if (octets.length !== 4) return fromBytes(octets)
  const word = i32(octets, 0)
  const place = Math.imul(word, SPREAD) >>> (32 - PLACE_BITS)
  const known = addresses[place]
  if (known !== undefined && known.words[3] === word) return known
  const address = fromBytes(octets)
  addresses[place] = address
  return address
}
