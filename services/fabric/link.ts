/** The way between one sandbox and one network, for faults: a cable, or a TAP's two lanes. */
import type { CableFaults, LaneCounts } from '../../stack/eth/lane.ts'
import { checkOptions, DIRECTION, FAULTS } from './options.ts'

/** What became of the frames of one direction. */
export interface LinkCounts {
  readonly sent: number
  readonly received: number
  readonly lost: number
  readonly duplicated: number
  readonly reordered: number
  readonly corrupted: number
}

/** One direction of the way. */
export interface LinkLane {
  setFaults(faults: CableFaults): void
  readonly counts: LaneCounts
}

export interface LinkLanes {
  readonly up: LinkLane
  readonly down: LinkLane
  /** @throws StackError `unsupported` on TAPs. */
  cut(): void
}

/** Holds nothing: one for the same link is as good as another. */
export class FabricLink {
  /** Name of the node's end: `web/eth0`. */
  readonly device: string
  readonly #lanes: (device: string) => LinkLanes

  constructor(device: string, lanes: (device: string) => LinkLanes) {
    this.device = device
    this.#lanes = lanes
  }

  /**
   * Replace the faults, of both directions or of one: `up` is from the sandbox to the network.
   * @throws StackError `bad-argument`.
   */
  faults(faults: CableFaults, direction: 'both' | 'up' | 'down' = 'both'): void {
    checkOptions(`faults of ${this.device}`, FAULTS, faults)
    checkOptions(`direction of faults of ${this.device}`, DIRECTION, direction)
    const { up, down } = this.#lanes(this.device)
    if (direction !== 'up') down.setFaults(faults)
    if (direction !== 'down') up.setFaults(faults)
  }

  /** Pull it out, as when a namespace dies. `fabric.apply()` plugs a new one in. In memory only. */
  cut(): void {
    this.#lanes(this.device).cut()
  }

  /** Frames since it was plugged in, by direction. */
  counts(): { readonly up: LinkCounts; readonly down: LinkCounts } {
    const lane = ({ counts }: LinkLane): LinkCounts => {
      const { taken, given, lost, duplicated, reordered, corrupted } = counts
      return { sent: taken, received: given, lost, duplicated, reordered, corrupted }
    }
    const { up, down } = this.#lanes(this.device)
    return { up: lane(up), down: lane(down) }
  }
}
