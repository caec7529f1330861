/**
 * The net between router and host, where the file names none: chosen by the name of the file, so
 * that it stays from one start to the next, and two daemons of one host rarely have the same.
 *
 * ```text
 *   IPv4   a /26 of 198.18.0.0/15, which is nobody's on the Internet (RFC 2544, RFC 6890)
 *   IPv6   a /112 of fd00::/8, unique local (RFC 4193)
 *   .1 the host   .2 the router   the rest: stand-ins for addresses of the host
 * ```
 *
 * Not 169.254.0.0/16: routers forward nothing to link-local addresses, and ours is one.
 */
import { createHash } from 'node:crypto'
import { type Address, fromBytes, type Prefix } from '../../stack/address.ts'

const BITS4 = 26
const BITS6 = 112

export interface TransferAddresses {
  /** The router's, one a family. */
  readonly addresses: readonly Prefix[]
  /** The host's. */
  readonly peerAddresses: readonly Prefix[]
}

export function transferNet(name: string): TransferAddresses {
  const hash = createHash('sha256').update(`${name} transfer`).digest()
  const four = (last: number): Address =>
    fromBytes(Uint8Array.of(198, 18 | (hash[0]! & 1), hash[1]!, (hash[2]! & 0xc0) | last))
  const six = (last: number): Address => {
    const bytes = new Uint8Array(16)
    bytes[0] = 0xfd
    bytes.set(hash.subarray(3, 8), 1)
    bytes[15] = last
    return fromBytes(bytes)
  }
  const both = (last: number): Prefix[] => [
    { address: four(last), bits: BITS4 },
    { address: six(last), bits: BITS6 },
  ]
  return { addresses: both(2), peerAddresses: both(1) }
}
