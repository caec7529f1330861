/** How far a long run is, in virtual and in real time: lines on stderr. */
import type { GossipWorld } from './world.ts'

/** How often a step that goes on says so, in virtual time. */
const PROGRESS_MS = 5000

export class Progress {
  readonly #world: GossipWorld
  readonly #label: string
  readonly #startMs = performance.now()
  #nextMs = PROGRESS_MS

  constructor(world: GossipWorld, label: string) {
    this.#world = world
    this.#label = label
  }

  /** A line for a step. */
  say(what: string): void {
    const { nowMs } = this.#world.clock
    const realS = (performance.now() - this.#startMs) / 1000
    this.#nextMs = nowMs + PROGRESS_MS
    const times = `virtual ${(nowMs / 1000).toFixed(1)} s, real ${realS.toFixed(0)} s`
    process.stderr.write(`${this.#label}: ${what} (${times})\n`)
  }

  /** Passes `isOver` on, and tells from time to time that it is not. */
  until(what: string, isOver: boolean): boolean {
    if (!isOver && this.#world.clock.nowMs >= this.#nextMs) this.say(`${what}, not over`)
    return isOver
  }
}
