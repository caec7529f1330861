/**
 * Multicast of one network: who wants which group (stack/ip/snooping.ts), and our own questions
 * (stack/ip/querier.ts), from the gateway's addresses and in its VLAN.
 */
import type { Address } from '../stack/address.ts'
import { linkLocal } from '../stack/arp/nd_emit.ts'
import type { Clock } from '../stack/clock.ts'
import { BRIDGE_PORTS_MAX } from '../stack/eth/fdb.ts'
import type { Mac } from '../stack/eth/mac.ts'
import { DEFAULT_PVID, VID_MAX } from '../stack/eth/vlan.ts'
import { Family } from '../stack/ip/group_state.ts'
import { Querier } from '../stack/ip/querier.ts'
import { Snooper } from '../stack/ip/snooping.ts'
import type { Output, Pool } from '../stack/packet.ts'

export interface NetworkGroupsOptions {
  readonly pool: Pool
  readonly clock: Clock
  readonly seed: number
  readonly vlanFiltering: boolean
}

/** What the querier asks from. */
export interface Asking {
  readonly mac: Mac
  readonly addresses: readonly Address[]
  /** From the gateway into the network. */
  readonly send: Output
}

/** Who wants a group, or gets all, for listings; ports by the bridge's numbers. */
export interface GroupRow {
  /** 0 on a network without VLANs. */
  readonly vid: number
  /** `*`: every group. */
  readonly group: string
  readonly port: number
  /** A member; a router is behind it; it may hold no more memberships. */
  readonly why: 'member' | 'router' | 'full'
  readonly expiresMs: number | null
}

export class NetworkGroups {
  readonly filter: Snooper
  readonly #o: NetworkGroupsOptions
  readonly #vid: number
  #querier: Querier | undefined = undefined

  constructor(options: NetworkGroupsOptions) {
    const { pool, clock, seed, vlanFiltering } = options
    this.#o = options
    this.#vid = vlanFiltering ? DEFAULT_PVID : 0
    this.filter = new Snooper({
      pool,
      clock,
      seed,
      portsMax: BRIDGE_PORTS_MAX,
      vlans: vlanFiltering ? VID_MAX + 1 : 1,
    })
  }

  /** What keeps which node wants which group, for the tunnel of a VLAN; it is the caller's. */
  forTunnel(vid: number, peersMax: number): Snooper {
    const { pool, clock, seed } = this.#o
    const isComplete = (family: number): boolean => this.filter.hasQuerier(vid, family)
    return new Snooper({ pool, clock, seed, portsMax: peersMax, vlans: 1, isComplete })
  }

  /** Ask from now on. */
  ask({ mac, addresses, send }: Asking): void {
    const { pool, clock } = this.#o
    const six = addresses.some(({ family }) => family === 6)
    this.#querier = new Querier({
      pool,
      clock,
      snooper: this.filter,
      vid: this.#vid,
      mac,
      address4: addresses.find(({ family }) => family === 4),
      address6: six ? linkLocal(mac) : undefined,
      send,
    })
  }

  /** A node is new in the network: it has to learn what is wanted here, and we what it wants. */
  welcome(): void {
    this.filter.awaitNews()
    this.#querier?.poke()
  }

  /** Who asks, by family; undefined: nobody, so that all is flooded. */
  querier(): { readonly ipv4: Who; readonly ipv6: Who } {
    return { ipv4: this.#who(Family.Four), ipv6: this.#who(Family.Six) }
  }

  list(): GroupRow[] {
    const every = this.filter
      .everyGroup()
      .map(({ port, why }): GroupRow => ({ vid: 0, group: '*', port, why, expiresMs: null }))
    const members = this.filter.list().map((row): GroupRow => ({ ...row, why: 'member' }))
    return [...every, ...members]
  }

  /** Idempotent. */
  close(): void {
    this.#querier?.close()
    this.filter.close()
  }

  #who(family: number): Who {
    if (this.#querier?.isAtWork(family)) return 'self'
    return this.filter.hasQuerier(this.#vid, family) ? 'other' : 'none'
  }
}

/** Who asks which groups are wanted. */
export type Who = 'self' | 'other' | 'none'
