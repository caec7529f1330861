/**
 * The source of peers that gossip is: overlay networks on one side, tables on the other.
 *
 * ```text
 *   join, leave ────────> part in the cluster's table ──┐
 *   announce, withdraw ─> record in the network's ──────┴─> tables ─> other nodes
 *   addVtep, setEndpoint, conflict <── claims <── records in force of other nodes
 * ```
 *
 * What the listener was told stays in force when the cluster is closed, or silent: nothing here
 * takes anything back unless another node said so, or was dead for long enough (nodes.ts).
 */
import type { Address } from '../../stack/address.ts'
import type { Cancel, Clock } from '../../stack/clock.ts'
import { every } from '../../stack/clock.ts'
import { StackError } from '../../stack/errors.ts'
import type { Mac } from '../../stack/eth/mac.ts'
import type { Random } from '../../stack/random.ts'
import type {
  EndpointConflict,
  EndpointRecord,
  PeerListener,
  PeerSource,
} from '../overlay/peer_source.ts'
import { Claims } from './claims.ts'
import type { Cluster } from './cluster.ts'
import { encodeEndpoint, encodeVtep, macKey } from './endpoint_value.ts'
import { Tables } from './tables.ts'
import { Vteps } from './vteps.ts'

export interface GossipSourceOptions {
  readonly cluster: Cluster
  readonly clock: Clock
  readonly random: Random
  /** Where this node's tunnels end. */
  readonly vtep: Address
  /** Larger for each life of the node: milliseconds since 1970. */
  readonly boot: number
  /** How long the records of a node that failed stay in force. */
  readonly keepDeadMs?: number
}

/** How often contests are looked at. */
const CONTEST_CHECK_MS = 500

interface Joined {
  readonly claims: Claims
  readonly vteps: Vteps
}

export class GossipSource implements PeerSource {
  readonly name = 'gossip' as const
  readonly tables: Tables
  readonly #options: GossipSourceOptions
  readonly #joined = new Map<number, Joined>()
  readonly #cancel: Cancel

  constructor(options: GossipSourceOptions) {
    const { cluster, clock, random, boot, keepDeadMs } = options
    this.#options = options
    this.tables = new Tables({
      cluster,
      clock,
      random,
      boot,
      ...(keepDeadMs === undefined ? {} : { keepDeadMs }),
      listener: {
        onRecord: (vni, old, now) => this.#joined.get(vni)?.claims.onRecord(old, now),
        onOwner: (vni, owner) => this.#onOwner(vni, owner),
      },
    })
    this.#cancel = every(clock, CONTEST_CHECK_MS, () => this.#settleContests())
  }

  join(vni: number, listener: PeerListener): void {
    if (this.#joined.has(vni)) throw new StackError('exists', `VNI ${vni} is joined already`)
    const self = this.#options.cluster.self.name
    const isInForce = (owner: string): boolean => this.tables.parts.isInForce(vni, owner)
    const claims = new Claims({ vni, self, isInForce, listener })
    const vteps = new Vteps(vni, { own: this.#options.vtep, listener })
    this.#joined.set(vni, { claims, vteps })
    try {
      this.tables.join(vni, encodeVtep(this.#options.vtep))
    } catch (error) {
      this.#joined.delete(vni)
      throw error
    }
    for (const owner of this.tables.parts.owners()) this.#onOwner(vni, owner)
  }

  leave(vni: number): void {
    this.#joined.delete(vni)
    this.tables.leave(vni)
  }

  announce(record: EndpointRecord): void {
    const { vni, mac } = record
    if (!this.#joined.has(vni)) throw new StackError('not-found', `VNI ${vni} is not joined`)
    this.tables.put(vni, macKey(mac), encodeEndpoint(record))
  }

  withdraw(vni: number, mac: Mac): void {
    this.tables.withdraw(vni, macKey(mac))
  }

  records(vni: number): readonly EndpointRecord[] {
    return this.#joined.get(vni)?.claims.endpoints() ?? []
  }

  vteps(vni: number): readonly Address[] {
    return this.#joined.get(vni)?.vteps.list() ?? []
  }

  /** Addresses that two endpoints claim at this moment. */
  conflicts(vni: number): readonly EndpointConflict[] {
    return this.#joined.get(vni)?.claims.conflicts() ?? []
  }

  /** The cluster is the caller's to close, and this before it. */
  async close(): Promise<void> {
    this.#cancel()
    this.tables.close()
  }

  #onOwner(vni: number, owner: string): void {
    const joined = this.#joined.get(vni)
    if (joined === undefined) return
    joined.vteps.set(owner, this.tables.parts.value(vni, owner))
    const records = this.tables.recordsOf(vni, owner)
    if (records === undefined) return
    joined.claims.onOwner(Array.from(records, ({ key }) => key))
  }

  #settleContests(): void {
    const { nowMs } = this.#options.clock
    for (const [vni, { claims }] of this.#joined) {
      for (const { key, since } of claims.overdue(nowMs)) this.tables.hold(vni, key, since)
    }
  }
}
