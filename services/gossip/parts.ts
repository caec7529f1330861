/**
 * Who takes part in which network, by the cluster's table and by who is alive.
 *
 * A record is **in force** while its owner's node is (nodes.ts), and takes part in the network
 * under the boot that wrote the record. So what a node wrote in an earlier life, or in a network
 * that it left, counts no more as soon as that is known, before anyone is told of each record.
 */
import type { Member } from './cluster.ts'
import type { Nodes } from './nodes.ts'
import type { Octets } from './octets.ts'
import type { Replica } from './replica.ts'
import { CLUSTER_TABLE } from './table_record.ts'

export interface PartsOptions {
  readonly self: string
  readonly nodes: Nodes
  /** With the cluster's table among them. */
  readonly replicas: ReadonlyMap<number, Replica>
}

export class Parts {
  readonly #options: PartsOptions
  readonly #peers = new Map<number, readonly Member[]>()

  constructor(options: PartsOptions) {
    this.#options = options
  }

  /** A node came or went, or a record of the cluster's table is another one. */
  changed(): void {
    if (this.#peers.size > 0) this.#peers.clear()
  }

  /** Other members that are alive and take part. */
  peers(vni: number): readonly Member[] {
    let peers = this.#peers.get(vni)
    if (peers === undefined) {
      peers = this.#options.nodes.alive().filter(({ name }) => this.isPeer(vni, name))
      this.#peers.set(vni, peers)
    }
    return peers
  }

  isPeer(vni: number, name: string): boolean {
    const { self, nodes } = this.#options
    if (name === self || !nodes.isAlive(name)) return false
    if (vni === CLUSTER_TABLE) return true
    return this.#parts(name)?.records.get(vni)?.value !== undefined
  }

  /** True: what this owner wrote in this table counts. */
  isInForce(vni: number, owner: string): boolean {
    const { self, nodes, replicas } = this.#options
    const replica = replicas.get(vni)
    if (replica === undefined) return false
    if (owner === self) return true
    if (!nodes.counts(owner)) return false
    const parts = this.#parts(owner)
    if (parts?.records.get(vni)?.value === undefined) return false
    const table = replica.table(owner)
    return table === undefined || table.boot === parts.boot
  }

  /** What another node said of itself when it joined the network; undefined: it takes no part. */
  value(vni: number, owner: string): Octets | undefined {
    const { self, nodes } = this.#options
    if (owner === self || !nodes.counts(owner)) return undefined
    return this.#parts(owner)?.records.get(vni)?.value
  }

  /** All of which the cluster's table has heard, also those that take part in nothing. */
  owners(): string[] {
    return Array.from(this.#options.replicas.get(CLUSTER_TABLE)!.tables(), ({ owner }) => owner)
  }

  #parts(owner: string): ReturnType<Replica['table']> {
    return this.#options.replicas.get(CLUSTER_TABLE)!.table(owner)
  }
}
