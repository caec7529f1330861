/**
 * Who gets the next connection. Five ways, and when to use which:
 *
 * ```text
 *   rr           in turns, whatever the weights
 *   wrr          in turns, as often as the weights say, spread out evenly
 *   least_conn   who has the fewest connections for its weight: long ones of unlike length
 *   maglev       by hash of the connection: no state, the same on every node (maglev.ts)
 *   source_hash  by hash of the client: all connections of one client to one backend
 * ```
 *
 * `pick` only looks; `took` is told when the connection came about. So a packet that is merely
 * traced, or dropped for another reason, takes nobody's turn. Neither allocates.
 */
import type { BackendField } from './backend_field.ts'
import { Maglev } from './maglev.ts'
import { hashClient, rendezvous } from './rendezvous.ts'

export type SchedulerName = 'rr' | 'wrr' | 'least_conn' | 'maglev' | 'source_hash'

export interface Scheduler {
  /** One of the ready, for a tuple as in tuple.ts. Precondition: there is one. */
  pick(field: BackendField, tuple: Int32Array): number
  /** The backend picked last has got the connection. */
  took(field: BackendField, backend: number): void
  /** Others take part, or with other weights. */
  changed(field: BackendField): void
}

export function newScheduler(name: SchedulerName): Scheduler {
  switch (name) {
    case 'rr':
      return new RoundRobin(false)
    case 'wrr':
      return new RoundRobin(true)
    case 'least_conn':
      return new LeastConnections()
    case 'maglev':
      return new Maglev()
    case 'source_hash':
      return new SourceHash()
  }
}

/**
 * Smooth weighted turns, as nginx does them: each turn everybody is credited its weight, the
 * richest goes, and pays what all were given. Weights 5, 1, 1 give a a b a c a a.
 */
class RoundRobin implements Scheduler {
  readonly #weighted: boolean
  #credits = new Float64Array(0)

  constructor(weighted: boolean) {
    this.#weighted = weighted
  }

  pick(field: BackendField): number {
    const { ready, readyCount } = field
    let best = ready[0]!
    let most = Number.NEGATIVE_INFINITY
    for (let i = 0; i < readyCount; i++) {
      const backend = ready[i]!
      const credit = this.#credits[backend]! + this.#weight(field, backend)
      if (credit <= most) continue
      most = credit
      best = backend
    }
    return best
  }

  took(field: BackendField, backend: number): void {
    const { ready, readyCount } = field
    let total = 0
    for (let i = 0; i < readyCount; i++) {
      const weight = this.#weight(field, ready[i]!)
      this.#credits[ready[i]!]! += weight
      total += weight
    }
    this.#credits[backend]! -= total
  }

  changed({ size, configured }: BackendField): void {
    const credits = new Float64Array(size)
    credits.set(this.#credits.subarray(0, size))
    for (let i = 0; i < size; i++) if (configured[i] === 0) credits[i] = 0
    this.#credits = credits
  }

  #weight(field: BackendField, backend: number): number {
    return this.#weighted ? field.weight(backend) : field.ramps[backend]!
  }
}

/** The least of (connections + 1) / weight; among equals they take turns. */
class LeastConnections implements Scheduler {
  #turn = 0

  pick(field: BackendField): number {
    const { ready, readyCount, active } = field
    let at = this.#turn % readyCount
    let best = ready[at]!
    for (let i = 1; i < readyCount; i++) {
      at = at + 1 === readyCount ? 0 : at + 1
      const backend = ready[at]!
      const here = (active[backend]! + 1) * field.weight(best)
      if (here < (active[best]! + 1) * field.weight(backend)) best = backend
    }
    return best
  }

  took(): void {
    this.#turn = (this.#turn + 1) & 0x3fff_ffff
  }

  changed(): void {}
}

/** By the client's address alone. */
class SourceHash implements Scheduler {
  pick(field: BackendField, tuple: Int32Array): number {
    return rendezvous(field, hashClient(tuple))
  }

  took(): void {}

  changed(): void {}
}
