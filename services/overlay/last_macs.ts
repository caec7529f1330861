/**
 * The MAC at which each address was last seen, also after it went: a container that comes again
 * with its address and another MAC must be announced, since others may remember the old one.
 */
import { type Address, formatAddress } from '../../stack/address.ts'
import { formatMac, type Mac } from '../../stack/eth/mac.ts'

/** Beyond it, what was seen first is forgotten: its address may then come unannounced. */
const ADDRESSES_MAX = 4096

export class LastMacs {
  readonly #macs = new Map<string, string>()

  /** The address is at this MAC. True: it was at another when last seen. */
  see(address: Address, mac: Mac): boolean {
    const key = formatAddress(address)
    const now = formatMac(mac)
    const last = this.#macs.get(key)
    if (last === now) return false
    this.#macs.delete(key)
    this.#macs.set(key, now)
    const [oldest] = this.#macs.keys()
    if (this.#macs.size > ADDRESSES_MAX && oldest !== undefined) this.#macs.delete(oldest)
    return last !== undefined
  }
}
