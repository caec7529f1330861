/** An endpoint of this node, as its overlay network tells other nodes of it. */
import type { Address } from '../../stack/address.ts'
import type { Mac } from '../../stack/eth/mac.ts'

export interface LocalEndpoint {
  readonly mac: Mac
  readonly addresses: readonly Address[]
  /** VLAN that it is in; undefined: the network's own. */
  readonly vid: number | undefined
  readonly name: string
  readonly aliases: readonly string[]
}
