/**
 * What the tables of a cluster are made of.
 *
 * A **table** belongs to one network and is named by its VNI; table {@link CLUSTER_TABLE} is the
 * cluster's own and says which node takes part in which network. A table holds **records**, each
 * under a key of 48 bits (a MAC address, or a VNI in the cluster's table), each with one **owner**:
 * the node that wrote it, and the only one that may write it again. Two owners may hold a record of
 * one key; which of them counts is decided in claims.ts, the same way on every node.
 */

import type { Octets } from './octets.ts'

/** The table of all nodes: who takes part in which network. VNI 0 is no network's (plan.ts). */
export const CLUSTER_TABLE = 0

/** Never changed once made: a later write of the owner replaces it. */
export interface TableRecord {
  /** Name of the node that wrote it. */
  readonly owner: string
  readonly key: number
  /** Number of the write among those of its owner in this table: 1, 2, 3, ... */
  readonly seq: number
  /** Lamport time at which the owner claimed the key; updates leave it. */
  readonly since: number
  /** Lamport time up to which the owner has held the key against other claims. */
  readonly held: number
  /** Undefined: withdrawn. */
  readonly value: Octets | undefined
}

/**
 * A statement about one owner: of its writes number `from` + 1 to `to` all that still count are
 * here, and the others were replaced or withdrawn by later ones. Writes above `to` may be here as
 * well, each for itself.
 */
export interface RecordRange {
  readonly owner: string
  /** Which life of the owner numbered the writes; a later life has a larger number. */
  readonly boot: number
  readonly from: number
  readonly to: number
  readonly records: readonly TableRecord[]
}

/** How far a node knows an owner's writes: all up to number `floor`. */
export interface Progress {
  readonly owner: string
  readonly boot: number
  readonly floor: number
}
