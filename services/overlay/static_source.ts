/**
 * What the file says of other nodes, as a {@link PeerSource}: peers and endpoints that do not
 * change until the file is applied again. Nothing is told to other nodes.
 */
import { type Address, formatAddress, sameAddress } from '../../stack/address.ts'
import { formatMac, type Mac } from '../../stack/eth/mac.ts'
import type { OverlayConfig } from '../config/overlay_model.ts'
import type { EndpointRecord, PeerListener, PeerSource } from './peer_source.ts'

/** What is known of one network. */
export interface StaticNetwork {
  readonly vteps: readonly Address[]
  readonly records: readonly EndpointRecord[]
}

const NOTHING: StaticNetwork = { vteps: [], records: [] }

export class StaticSource implements PeerSource {
  readonly name = 'static'
  readonly #known = new Map<number, StaticNetwork>()
  readonly #listeners = new Map<number, PeerListener>()

  /** Replace what is known of a network; listeners hear what changed. Undefined: forget it. */
  configure(vni: number, network: StaticNetwork | undefined): void {
    const before = this.#known.get(vni) ?? NOTHING
    const after = network ?? NOTHING
    if (network === undefined) this.#known.delete(vni)
    else this.#known.set(vni, network)
    const listener = this.#listeners.get(vni)
    if (listener === undefined) return
    for (const vtep of before.vteps) {
      if (!isIn(vtep, after.vteps)) listener.removeVtep(vni, vtep)
    }
    const kept = new Set(after.records.map(({ mac }) => formatMac(mac)))
    for (const { mac } of before.records) {
      if (!kept.has(formatMac(mac))) listener.removeEndpoint(vni, mac)
    }
    for (const vtep of after.vteps) {
      if (!isIn(vtep, before.vteps)) listener.addVtep(vni, vtep)
    }
    const same = new Set(before.records.map(textOf))
    for (const record of after.records) {
      if (!same.has(textOf(record))) listener.setEndpoint(record)
    }
  }

  join(vni: number, listener: PeerListener): void {
    this.#listeners.set(vni, listener)
    for (const vtep of this.vteps(vni)) listener.addVtep(vni, vtep)
    for (const record of this.records(vni)) listener.setEndpoint(record)
  }

  leave(vni: number): void {
    this.#listeners.delete(vni)
  }

  announce(_: EndpointRecord): void {}

  withdraw(_: number, __: Mac): void {}

  records(vni: number): readonly EndpointRecord[] {
    return (this.#known.get(vni) ?? NOTHING).records
  }

  conflicts(): undefined {
    return undefined
  }

  vteps(vni: number): readonly Address[] {
    return (this.#known.get(vni) ?? NOTHING).vteps
  }

  async close(): Promise<void> {
    this.#listeners.clear()
    this.#known.clear()
  }
}

function isIn(vtep: Address, list: readonly Address[]): boolean {
  return list.some((other) => sameAddress(other, vtep))
}

/** A record in words: two that are the same have the same. */
function textOf({ mac, addresses, vtep, name, aliases, node }: EndpointRecord): string {
  const list = addresses.map(formatAddress)
  return [formatMac(mac), formatAddress(vtep), name, node, ...list, '|', ...aliases].join(' ')
}

/** What the file says of each VNI of a network; its peers take part in all of them. */
export function staticNetworks(overlay: OverlayConfig): Map<number, StaticNetwork> {
  const known = new Map<number, StaticNetwork>()
  for (const { vni } of [overlay, ...overlay.vlans]) {
    const own = overlay.remote.filter((remote) => (remote.vni ?? overlay.vni) === vni)
    const records = own.map(({ mac, addresses, vtep, name }) => {
      const node = formatAddress(vtep)
      return { vni, mac, addresses, vtep, name, aliases: [], node }
    })
    known.set(vni, { vteps: overlay.peers, records })
  }
  return known
}
