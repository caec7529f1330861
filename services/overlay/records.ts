/** What is asked of records of endpoints. */
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
