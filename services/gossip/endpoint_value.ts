/**
 * Endpoint records as values of a network's table, and VTEPs as values of the cluster's.
 *
 * ```text
 *   endpoint   VTEP: address, number and addresses, name: text, number and aliases
 *   part       VTEP: address
 * ```
 *
 * The key of an endpoint is its MAC address, its owner the node; neither is in the value.
 */
import type { Address } from '../../stack/address.ts'
import { StackError } from '../../stack/errors.ts'
import type { Mac } from '../../stack/eth/mac.ts'
import type { EndpointRecord } from '../overlay/peer_source.ts'
import { OctetReader, type Octets, OctetWriter, packOctets, unpackOctets } from './octets.ts'

/** Addresses of an endpoint: of each family one, and room for more. */
const ADDRESSES_MAX = 16
/** Other names of an endpoint. */
const ALIASES_MAX = 64
/** Octets of a value. More than a datagram may hold: such a record goes by streams alone. */
export const VALUE_BYTES_MAX = 8192

const TWO_32 = 0x1_0000_0000
const NOTHING: readonly never[] = []

/** What a value says of an endpoint; MAC, network and node are known from where it is. */
export type EndpointValue = Pick<EndpointRecord, 'vtep' | 'addresses' | 'name' | 'aliases'>

export function macKey({ hi, lo }: Mac): number {
  return hi * TWO_32 + (lo >>> 0)
}

export function macOfKey(key: number): Mac {
  return { hi: Math.floor(key / TWO_32), lo: key % TWO_32 }
}

/** @throws StackError `bad-argument` if there is more of anything than fits. */
export function encodeEndpoint({ vtep, addresses, name, aliases }: EndpointValue): Octets {
  if (addresses.length > ADDRESSES_MAX) {
    throw new StackError('bad-argument', `${name}: more than ${ADDRESSES_MAX} addresses`)
  }
  if (aliases.length > ALIASES_MAX) {
    throw new StackError('bad-argument', `${name}: more than ${ALIASES_MAX} aliases`)
  }
  const writer = new OctetWriter()
  writer.address(vtep)
  writer.u8(addresses.length)
  for (const address of addresses) writer.address(address)
  writer.text(name)
  writer.u8(aliases.length)
  for (const alias of aliases) writer.text(alias)
  if (writer.length > VALUE_BYTES_MAX) {
    throw new StackError('bad-argument', `${name}: its names fill more than ${VALUE_BYTES_MAX}`)
  }
  return packOctets(writer.take())
}

/** Undefined: it is not the value of an endpoint. */
export function decodeEndpoint(value: Octets): EndpointValue | undefined {
  const reader = new OctetReader(unpackOctets(value))
  const vtep = reader.address()
  const addresses = list(reader, ADDRESSES_MAX, () => reader.address())
  const name = reader.text()
  const aliases = list(reader, ALIASES_MAX, () => reader.text())
  if (reader.failed || reader.left > 0) return undefined
  return { vtep, addresses, name, aliases }
}

export function encodeVtep(vtep: Address): Octets {
  const writer = new OctetWriter()
  writer.address(vtep)
  return packOctets(writer.take())
}

/** Undefined: it is not an address. */
export function decodeVtep(value: Octets): Address | undefined {
  const reader = new OctetReader(unpackOctets(value))
  const vtep = reader.address()
  return reader.failed || reader.left > 0 ? undefined : vtep
}

function list<T>(reader: OctetReader, countMax: number, read: () => T): readonly T[] {
  const count = reader.u8()
  if (count > countMax) reader.fail()
  if (count === 0) return NOTHING
  const items: T[] = []
  for (let i = 0; i < count && !reader.failed; i++) items.push(read())
  return items
}
