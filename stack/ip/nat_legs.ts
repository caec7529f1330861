/**
 * What the legs of the router are to address translation: networks with a policy, or the outside.
 */
import type { Address } from '../address.ts'
import type { RouterInterface } from './router_interface.ts'

/**
 * What becomes of the sources of a network that leave by an external leg: they stay, become the
 * address of that leg, or a fixed one (which must be routed to this node).
 */
export type Masquerade = 'none' | 'interface' | Address

/** What may come in from outside anew: only what is published, or all that is routed. */
export type Inbound = 'published' | 'open'

/** The policy of a network towards the outside. */
export interface NatNetwork {
  readonly masquerade4: Masquerade
  readonly masquerade6: Masquerade
  readonly inbound4: Inbound
  readonly inbound6: Inbound
}

interface Leg {
  readonly iface: RouterInterface
  external: boolean
  network: NatNetwork | undefined
}

export class NatLegs {
  /** By index of the interface. An index may belong to another interface later. */
  readonly #legs: (Leg | undefined)[] = []
  /** Legs to the outside. */
  externals = 0
  readonly #changed: () => void

  /** `changed` is called when a leg is told something: for caches of flows. */
  constructor(changed: () => void) {
    this.#changed = changed
  }

  setNetwork(iface: RouterInterface, network: NatNetwork | undefined): void {
    this.#of(iface).network = network
    this.#tidy(iface)
  }

  setExternal(iface: RouterInterface, external: boolean): void {
    this.#of(iface).external = external
    this.#tidy(iface)
  }

  isExternal(iface: RouterInterface): boolean {
    const leg = this.#legs[iface.index]
    return leg?.iface === iface && leg.external
  }

  network(iface: RouterInterface): NatNetwork | undefined {
    const leg = this.#legs[iface.index]
    return leg?.iface === iface ? leg.network : undefined
  }

  /** How a packet of a new connection is masqueraded on its way. */
  masquerade(from: RouterInterface, out: RouterInterface, four: boolean): Masquerade {
    if (!this.isExternal(out) || this.isExternal(from)) return 'none'
    const network = this.network(from)
    if (network === undefined) return 'none'
    return four ? network.masquerade4 : network.masquerade6
  }

  /**
   * True if a new connection on this way must have been let in by a published port. So must one
   * that goes out again: a node is not the way between two others outside.
   */
  isGuarded(from: RouterInterface, out: RouterInterface, four: boolean): boolean {
    if (!this.isExternal(from)) return false
    if (this.isExternal(out)) return true
    const network = this.network(out)
    return (four ? network?.inbound4 : network?.inbound6) === 'published'
  }

  #of(iface: RouterInterface): Leg {
    const leg = this.#legs[iface.index]
    if (leg?.iface === iface) return leg
    const fresh: Leg = { iface, external: false, network: undefined }
    this.#legs[iface.index] = fresh
    return fresh
  }

  #tidy({ index }: RouterInterface): void {
    this.#changed()
    const leg = this.#legs[index]!
    if (!leg.external && leg.network === undefined) this.#legs[index] = undefined
    this.externals = this.#legs.filter((other) => other?.external).length
  }
}
