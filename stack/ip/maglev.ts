/**
 * Maglev hashing (Eisenbud et al., NSDI 2016 §3.4): a table of a prime number of slots, each
 * backend's in an order of its own, filled in turns.
 *
 * ```text
 *   order of a backend:   offset, offset + skip, offset + 2 skip, ...   (mod 65537)
 *   a turn:               take the first slot in one's order that is free
 *   weights:              each round adds the weight; who has collected the greatest takes a turn
 * ```
 *
 * One look-up a connection, shares as the weights within 2 % up to some 600 backends, and few slots
 * change hands when a backend comes or goes. The table is a function of addresses and weights only,
 * so every node and every restart has the same one.
 *
 * A backend that is merely out (down, ejected, draining, starting slowly) keeps its slots: what it
 * cannot take goes by rendezvous to the others, and nobody else's connections move at all.
 */
import type { BackendField } from './backend_field.ts'
import { fraction, hashConnection, mix, rendezvous } from './rendezvous.ts'
import type { Scheduler } from './schedulers.ts'

/** Prime, and a hundred times the backends that weights stay exact for (ibid. §5.3). */
export const MAGLEV_SLOTS = 65_537
const OFFSET_SEED = 0x6d61_676c
const SKIP_SEED = 0x6576_2121
/** Draws that are not those of the table. */
const SPILL_SEED = 0x7370_696c
const RAMP_SEED = 0x7261_6d70

export class Maglev implements Scheduler {
  /** Index of the backend of each slot; -1: there is none at all. */
  readonly slots: Int16Array = new Int16Array(MAGLEV_SLOTS).fill(-1)

  pick(field: BackendField, tuple: Int32Array): number {
    const hash = hashConnection(tuple)
    const backend = this.slots[(hash >>> 0) % MAGLEV_SLOTS]!
    if (backend >= 0 && field.isReady[backend] === 1) {
      const ramp = field.ramps[backend]!
      if (ramp >= 1 || fraction(mix(hash, RAMP_SEED)) < ramp) return backend
    }
    return rendezvous(field, mix(hash, SPILL_SEED))
  }

  took(): void {}

  /** Fill the table: some milliseconds, for changes of who takes part. */
  changed(field: BackendField): void {
    const { slots } = this
    slots.fill(-1)
    const members = membersOf(field)
    const most = members.reduce((max, { weight }) => Math.max(max, weight), 0)
    for (let taken = 0; members.length > 0; ) {
      for (const member of members) {
        member.collected += member.weight
        if (member.collected < most) continue
        member.collected -= most
        let { at } = member
        while (slots[at]! >= 0) {
          at += member.skip
          if (at >= MAGLEV_SLOTS) at -= MAGLEV_SLOTS
        }
        slots[at] = member.backend
        member.at = at
        if (++taken === MAGLEV_SLOTS) return
      }
    }
  }
}

interface Member {
  readonly backend: number
  readonly identity: number
  readonly weight: number
  readonly skip: number
  at: number
  collected: number
}

/** Whoever takes part, in an order that does not depend on who came first. */
function membersOf({ size, configured, identities }: BackendField): Member[] {
  const members: Member[] = []
  for (let backend = 0; backend < size; backend++) {
    const weight = configured[backend]!
    const identity = identities[backend]!
    if (weight === 0) continue
    const at = (mix(identity, OFFSET_SEED) >>> 0) % MAGLEV_SLOTS
    const skip = ((mix(identity, SKIP_SEED) >>> 0) % (MAGLEV_SLOTS - 1)) + 1
    members.push({ backend, identity, weight, skip, at, collected: 0 })
  }
  return members.sort((a, b) => a.identity - b.identity || a.backend - b.backend)
}
