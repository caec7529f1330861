/** Addresses that this machine has, on interfaces that are up in the thread's namespace. */
import { networkInterfaces } from 'node:os'
import { type Prefix, parsePrefix } from '../../stack/address.ts'

export interface HostAddress {
  readonly interfaceName: string
  /** The address, and how many bits of it are the net's. */
  readonly prefix: Prefix
  /** An IPv6 address of the link alone. */
  readonly isLinkLocal: boolean
}

export function hostAddresses(): HostAddress[] {
  return Object.entries(networkInterfaces()).flatMap(([interfaceName, list = []]) =>
    list.flatMap(({ cidr, scopeid = 0 }) => {
      if (cidr === null) return []
      return [{ interfaceName, prefix: parsePrefix(cidr), isLinkLocal: scopeid !== 0 }]
    }),
  )
}
