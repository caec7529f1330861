/**
 * The nodes that SWIM knows, by name, and the ring in which they are probed: each once a round, in
 * an order that is shuffled for the next one, so that two failures of a node are noticed within
 * two rounds at most. New ones come in at a place taken by chance. At the end of a round, those
 * that are dead for long enough are forgotten.
 */
import { type Address, sameAddress } from '../../stack/address.ts'
import type { Random } from '../../stack/random.ts'
import type { MemberState } from './cluster.ts'
import { MEMBERS_MAX } from './defaults.ts'
import type { Suspicion } from './suspicion.ts'

export interface NodeRecord {
  readonly name: string
  address: Address
  port: number
  meta: Uint8Array
  /** Six numbers (messages.ts), or none. */
  versions: Uint8Array
  incarnation: number
  state: MemberState
  stateChangedMs: number
  /** While it is suspect. */
  suspicion: Suspicion | undefined
}

/** Index of the highest protocol that a node speaks, in its versions. */
const PROTOCOL_MAX = 1

/** Does it speak this version of the protocol? */
export function speaks({ versions }: NodeRecord, protocol: number): boolean {
  return (versions[PROTOCOL_MAX] ?? 0) >= protocol
}

export function isGone({ state }: NodeRecord): boolean {
  return state === 'dead' || state === 'left'
}

export function isAt(node: NodeRecord, address: Address, port: number): boolean {
  return node.port === port && sameAddress(node.address, address)
}

export class NodeTable {
  readonly #random: Random
  readonly #byName = new Map<string, NodeRecord>()
  #ring: NodeRecord[] = []
  #at = 0

  constructor(random: Random) {
    this.#random = random
  }

  get size(): number {
    return this.#byName.size
  }

  get(name: string): NodeRecord | undefined {
    return this.#byName.get(name)
  }

  values(): IterableIterator<NodeRecord> {
    return this.#byName.values()
  }

  /** False: the table is full. Precondition: there is none of its name. */
  add(node: NodeRecord): boolean {
    if (this.#byName.size >= MEMBERS_MAX) return false
    this.#byName.set(node.name, node)
    const at = this.#random.below(this.#ring.length + 1)
    this.#ring.push(node)
    this.#swap(at, this.#ring.length - 1)
    return true
  }

  /** Up to `count` different nodes that `accept` takes, by chance. */
  pick(count: number, accept: (node: NodeRecord) => boolean): NodeRecord[] {
    const fitting = this.#ring.filter(accept)
    const picked: NodeRecord[] = []
    for (let i = 0; i < count && i < fitting.length; i++) {
      const at = i + this.#random.below(fitting.length - i)
      const node = fitting[at]!
      fitting[at] = fitting[i]!
      picked.push(node)
    }
    return picked
  }

  /** The next of the ring that `accept` takes; nodes that `isForgotten` tells go with a round. */
  next(
    accept: (node: NodeRecord) => boolean,
    isForgotten: (node: NodeRecord) => boolean,
  ): NodeRecord | undefined {
    for (let tried = 0; tried <= this.#ring.length; tried++) {
      if (this.#at >= this.#ring.length) this.#newRound(isForgotten)
      const node = this.#ring[this.#at++]
      if (node === undefined) return undefined
      if (accept(node)) return node
    }
    return undefined
  }

  #newRound(isForgotten: (node: NodeRecord) => boolean): void {
    const ring = this.#ring.filter((node) => {
      const stays = !isForgotten(node)
      if (!stays) this.#byName.delete(node.name)
      return stays
    })
    this.#ring = ring
    this.#at = 0
    for (let i = ring.length - 1; i > 0; i--) this.#swap(i, this.#random.below(i + 1))
  }

  #swap(i: number, j: number): void {
    const ring = this.#ring
    const node = ring[i]!
    ring[i] = ring[j]!
    ring[j] = node
  }
}
