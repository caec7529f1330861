/** The cable of one sandbox in one network, for faults. */
import type { CableFaults } from '../../stack/eth/lane.ts'
import type { CableEnd } from '../../stack/eth/memory.ts'
import type { MemoryLinks } from './memory_links.ts'

/** What became of the frames of one direction. */
export interface LinkCounts {
  readonly sent: number
  readonly received: number
  readonly lost: number
  readonly duplicated: number
  readonly reordered: number
  readonly corrupted: number
}

export class FabricLink {
  /** Name of the node's end: `web/eth0`. */
  readonly device: string
  readonly #links: MemoryLinks

  constructor(links: MemoryLinks, device: string) {
    this.#links = links
    this.device = device
  }

  /** Replace the faults, of both directions or of one: `up` is from the sandbox to the network. */
  faults(faults: CableFaults, direction: 'both' | 'up' | 'down' = 'both'): void {
    const { a, b } = this.#links.cable(this.device)
    if (direction !== 'up') a.setFaults(faults)
    if (direction !== 'down') b.setFaults(faults)
  }

  /** Pull it out, as when a namespace dies. `fabric.apply()` plugs a new one in. */
  cut(): void {
    this.#links.cut(this.device)
  }

  counts(): { readonly up: LinkCounts; readonly down: LinkCounts } {
    const { a, b } = this.#links.cable(this.device)
    const lane = ({ counts }: CableEnd): LinkCounts => {
      const { taken, given, lost, duplicated, reordered, corrupted } = counts
      return { sent: taken, received: given, lost, duplicated, reordered, corrupted }
    }
    return { up: lane(b), down: lane(a) }
  }
}
