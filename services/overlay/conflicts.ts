/** Addresses that two endpoints of an overlay network claim: logged once, and kept to be shown. */
import { type Address, formatAddress } from '../../stack/address.ts'
import { formatMac, type Mac } from '../../stack/eth/mac.ts'
import type { Log } from '../log.ts'
import type { EndpointRecord } from './peer_source.ts'

/** More are logged and not kept. */
const CONFLICTS_MAX = 256

export interface Conflict {
  readonly address: string
  /** The one that has the address. */
  readonly kept: ConflictEnd
  readonly refused: ConflictEnd
}

export interface ConflictEnd {
  readonly name: string
  readonly node: string
  readonly vtep: string
  readonly mac: string
}

export class Conflicts {
  readonly #network: string
  readonly #log: Log
  readonly #all = new Map<string, Conflict>()

  constructor({ network, log }: { readonly network: string; readonly log: Log }) {
    this.#network = network
    this.#log = log
  }

  add(address: Address, kept: EndpointRecord, refused: EndpointRecord): void {
    const text = formatAddress(address)
    const conflict: Conflict = { address: text, kept: endOf(kept), refused: endOf(refused) }
    const key = `${text} ${conflict.kept.mac} ${conflict.refused.mac}`
    if (this.#all.has(key)) return
    if (this.#all.size < CONFLICTS_MAX) this.#all.set(key, conflict)
    this.#log.warn({ network: this.#network, ...conflict }, `two endpoints claim ${text}`)
  }

  /** An endpoint with this MAC has gone, or given up. */
  forget(mac: Mac): void {
    const text = formatMac(mac)
    for (const [key, { kept, refused }] of this.#all) {
      if (kept.mac === text || refused.mac === text) this.#all.delete(key)
    }
  }

  list(): Conflict[] {
    return [...this.#all.values()]
  }
}

function endOf({ name, node, vtep, mac }: EndpointRecord): ConflictEnd {
  return { name, node, vtep: formatAddress(vtep), mac: formatMac(mac) }
}
