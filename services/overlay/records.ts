/** Helpers for endpoint records: whether one has an address, and its identity as a key. */
import { type Address, sameAddress } from '../../stack/address.ts'
import { formatMac, type Mac } from '../../stack/eth/mac.ts'
import type { EndpointRecord } from './peer_source.ts'

/** True if the endpoint has this address. */
export function has({ addresses }: EndpointRecord, address: Address): boolean {
  return addresses.some((own) => sameAddress(own, address))
}

/** Identity of a record, as a key. */
export function recordKey(vni: number, mac: Mac): string {
  return `${vni} ${formatMac(mac)}`
}
