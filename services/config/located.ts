/** A configuration with the places where its parts were written, and who holds what in it. */
import { type Address, formatAddress } from '../../stack/address.ts'
import type { Faults, Path } from './faults.ts'
import type { Config, NetworkConfig } from './model.ts'

export interface Located {
  readonly config: Config
  /** Names of networks whose own entry has faults. */
  readonly broken: ReadonlySet<string>
  /** Where a part was written. */
  readonly path: (part: object) => Path
  readonly faults: Faults
}

/** Who holds which address and MAC, by text: `front 10.1.0.11`. */
export class Holders {
  readonly #who = new Map<string, string>()

  /** Take it for `who`, or say who has it. */
  take(what: string, who: string): string | undefined {
    const holder = this.#who.get(what)
    if (holder === undefined) this.#who.set(what, who)
    return holder
  }
}

/** Addresses are given once a network. */
export function addressKey(network: NetworkConfig, address: Address): string {
  return `${network.name} ${formatAddress(address)}`
}
