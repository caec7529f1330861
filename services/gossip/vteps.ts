/**
 * The VTEPs of one network's other nodes. Several nodes may have one, as while a node is started
 * anew under another name: the listener hears of it once, and that it went when the last one went.
 */
import { type Address, formatAddress } from '../../stack/address.ts'
import type { PeerListener } from '../overlay/peer_source.ts'
import { decodeVtep } from './endpoint_value.ts'
import type { Octets } from './octets.ts'

interface Users {
  readonly vtep: Address
  count: number
}

export interface VtepsOptions {
  /** This node's: no other node can have it. */
  readonly own: Address
  readonly listener: Pick<PeerListener, 'addVtep' | 'removeVtep'>
}

export class Vteps {
  readonly #vni: number
  readonly #own: string
  readonly #listener: VtepsOptions['listener']
  readonly #users = new Map<string, Users>()
  readonly #ofOwner = new Map<string, string>()

  constructor(vni: number, { own, listener }: VtepsOptions) {
    this.#vni = vni
    this.#own = formatAddress(own)
    this.#listener = listener
  }

  list(): Address[] {
    return Array.from(this.#users.values(), ({ vtep }) => vtep)
  }

  /** @param value As in the cluster's table; undefined: the owner takes no part. */
  set(owner: string, value: Octets | undefined): void {
    const vtep = value && decodeVtep(value)
    const text = vtep && formatAddress(vtep)
    const before = this.#ofOwner.get(owner)
    if (text === before) return
    if (vtep === undefined || text === undefined || text === this.#own) this.#ofOwner.delete(owner)
    else this.#add(owner, text, vtep)
    if (before !== undefined) this.#release(before)
  }

  #add(owner: string, text: string, vtep: Address): void {
    this.#ofOwner.set(owner, text)
    const users = this.#users.get(text)
    if (users !== undefined) {
      users.count++
      return
    }
    this.#users.set(text, { vtep, count: 1 })
    this.#listener.addVtep(this.#vni, vtep)
  }

  #release(text: string): void {
    const users = this.#users.get(text)
    if (users === undefined || --users.count > 0) return
    this.#users.delete(text)
    this.#listener.removeVtep(this.#vni, users.vtep)
  }
}
