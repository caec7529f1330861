/**
 * Tables that every node of a cluster has a copy of, as far as it takes part in their networks.
 *
 * ```text
 *   put, withdraw, hold ──> replica ──> rumors ──> 3 members of the network, every 200 ms
 *                              ^                        │
 *   onRecord, onOwner <────────┴── other nodes' rumors, and what anti-entropy finds missing
 * ```
 *
 * In the manner of libnetwork's NetworkDB: a table a network, of which a node hears only if it
 * has joined the network; fresh writes as gossip, the whole table when joining, comparisons for
 * what was lost. Unlike there, that nothing withdrawn comes back does not depend on time
 * (owner_table.ts).
 *
 * Which records are in force is told in parts.ts. A node that finds its own name with a later boot
 * than its own (its clock was set back) takes a later one still, and tells everything anew.
 *
 * Everyone in the cluster is trusted to tell the truth about others' records, as in SWIM; the
 * cluster's keys say who is in it.
 *
 * Limits: {@link NETWORKS_MAX} networks; those of replica.ts, nodes.ts, rumors.ts and
 * anti_entropy.ts. A rumor has to fit into a datagram; longer records go by anti-entropy alone.
 */
import type { Cancel, Clock } from '../../stack/clock.ts'
import { every } from '../../stack/clock.ts'
import { StackError } from '../../stack/errors.ts'
import type { Random } from '../../stack/random.ts'
import { AntiEntropy, type Standing } from './anti_entropy.ts'
import type { Cluster } from './cluster.ts'
import { KEEP_DEAD_MS, Nodes } from './nodes.ts'
import type { Octets } from './octets.ts'
import type { RecordChange } from './owner_table.ts'
import { Parts } from './parts.ts'
import { Replica } from './replica.ts'
import { GOSSIP_MS, RumorMill } from './rumors.ts'
import { CLUSTER_TABLE, type RecordRange, type TableRecord } from './table_record.ts'
import { decodeMessage, isForTables, type News, type TableMessage, TIME_MAX } from './table_wire.ts'

/** Networks that one node takes part in. */
const NETWORKS_MAX = 1024
/** Writes of one owner that are told on though they came by comparison. */
const RETELL_MAX = 16
/** Old tombstones are looked for so often. */
const REAP_MS = 10_000
/** Between two new boots of this node: whoever shares its name would raise it without end. */
const REBOOT_MS = 1000

export interface TablesListener {
  /** Another record of a key counts for its owner; whether it is in force, see parts.ts. */
  onRecord(vni: number, old: TableRecord | undefined, now: TableRecord | undefined): void
  /** The records of this owner came into force, or are not any more. */
  onOwner(vni: number, owner: string): void
}

export interface TablesOptions {
  readonly cluster: Cluster
  readonly clock: Clock
  readonly random: Random
  /** Larger for each life of a node: milliseconds since 1970. */
  readonly boot: number
  readonly listener: TablesListener
  readonly keepDeadMs?: number
}

/** What happened since the start. */
export interface TableStats {
  /** Messages that could not be read. */
  malformed: number
  /** Messages about networks that this node is not in, or from nodes that it does not know. */
  strange: number
  /** Times that another node knew a later boot of this one. */
  reboots: number
}

export class Tables {
  readonly stats: TableStats = { malformed: 0, strange: 0, reboots: 0 }
  readonly #options: TablesOptions
  readonly #self: string
  readonly #replicas = new Map<number, Replica>()
  /** Who takes part in what. */
  readonly parts: Parts
  readonly #nodes: Nodes
  readonly #mill: RumorMill
  readonly #antiEntropy: AntiEntropy
  readonly #cancels: Cancel[]
  #boot: number
  /** Lamport time. */
  #time = 1
  /** Largest number of any write of this node in tables that it left. */
  #floor = 0
  #rebootAtMs = Number.NEGATIVE_INFINITY

  constructor(options: TablesOptions) {
    const { cluster, clock, random, boot, keepDeadMs = KEEP_DEAD_MS } = options
    this.#options = options
    this.#self = cluster.self.name
    this.#boot = boot
    this.#nodes = new Nodes({
      cluster,
      keepDeadMs,
      onCounts: (name) => this.#onCounts(name),
      onGone: (name) => this.#onGone(name),
    })
    this.parts = new Parts({ self: this.#self, nodes: this.#nodes, replicas: this.#replicas })
    const standing: Standing = {
      cluster,
      clock,
      random,
      heading: () => ({ sender: this.#self, clock: this.#time }),
      replicas: this.#replicas,
      peers: (vni) => this.parts.peers(vni),
      isPeer: (vni, name) => this.parts.isPeer(vni, name),
      isAlive: (name) => name === this.#self || this.#nodes.isAlive(name),
    }
    this.#antiEntropy = new AntiEntropy(standing)
    this.#mill = new RumorMill(standing)
    this.#open(CLUSTER_TABLE)
    const unsubscribe = cluster.subscribe({
      onMember: (event, member) => {
        if (member.name === this.#self) return
        this.parts.changed()
        this.#nodes.onMember(event, member, clock.nowMs)
        if (event === 'join') this.#antiEntropy.onNewcomer(member.name)
      },
      onMessage: (message) => this.#onMessage(message),
    })
    // Nodes that were started together do not speak together.
    const start = clock.after(random.below(GOSSIP_MS), () => {
      this.#cancels.push(every(clock, GOSSIP_MS, () => this.#tick()))
    })
    this.#cancels = [unsubscribe, start, every(clock, REAP_MS, () => this.#reap())]
  }

  get boot(): number {
    return this.#boot
  }

  /** How long the records of a node that failed stay in force, from now on. */
  set keepDeadMs(ms: number) {
    this.#nodes.keepDeadMs = ms
  }

  /** Take part in a network. @throws StackError `exhausted`. */
  join(vni: number, part: Octets): void {
    if (this.#replicas.has(vni)) return
    if (this.#replicas.size > NETWORKS_MAX) {
      throw new StackError('exhausted', `a node takes part in ${NETWORKS_MAX} networks at most`)
    }
    this.#open(vni)
    this.put(CLUSTER_TABLE, vni, part)
  }

  /** No more. The others forget what this node wrote in it when they hear it. */
  leave(vni: number): void {
    const replica = this.#replicas.get(vni)
    if (replica === undefined) return
    this.#replicas.delete(vni)
    this.#mill.forget(vni)
    this.#floor = Math.max(this.#floor, replica.own.floor)
    this.withdraw(CLUSTER_TABLE, vni)
  }

  /** Write a record of this node's. Precondition: it has joined. @throws StackError `exhausted`. */
  put(vni: number, key: number, value: Octets): void {
    const old = this.#ownRecord(vni, key)
    if (old !== undefined && old.value === value) return
    const claim = old ?? { since: this.#nextTime(), held: 0 }
    this.#write(vni, key, { since: claim.since, held: claim.held, value })
  }

  withdraw(vni: number, key: number): void {
    if (this.#ownRecord(vni, key) === undefined) return
    this.#write(vni, key, { since: this.#nextTime(), held: 0, value: undefined })
  }

  /** Keep a key against a claim of this Lamport time. */
  hold(vni: number, key: number, held: number): void {
    const old = this.#ownRecord(vni, key)
    if (old === undefined || old.held >= held) return
    this.#write(vni, key, { since: old.since, held, value: old.value })
  }

  /** Records that this owner wrote, if it takes part and this node does. */
  recordsOf(vni: number, owner: string): IterableIterator<TableRecord> | undefined {
    return this.#replicas.get(vni)?.table(owner)?.records.values()
  }

  /** How far this copy goes: for tests and listings. */
  replica(vni: number): Replica | undefined {
    return this.#replicas.get(vni)
  }

  /** Tell what is fresh once more, and be silent. Idempotent. */
  close(): void {
    if (this.#cancels.length === 0) return
    this.#mill.turn()
    for (const cancel of this.#cancels.splice(0)) cancel()
  }

  #open(vni: number): void {
    const onChange: RecordChange = (old, now, boot) => this.#onChange(vni, old, now, boot)
    const self = this.#self
    this.#replicas.set(
      vni,
      new Replica({ vni, self, boot: this.#boot, floor: this.#floor, onChange }),
    )
  }

  /** At the end of time all claims are of one time, and the names of nodes decide. */
  #nextTime(): number {
    this.#time = Math.min(this.#time + 1, TIME_MAX - 1)
    return this.#time
  }

  #ownRecord(vni: number, key: number): TableRecord | undefined {
    const record = this.#replicas.get(vni)?.own.records.get(key)
    return record?.value === undefined ? undefined : record
  }

  #write(vni: number, key: number, write: Pick<TableRecord, 'since' | 'held' | 'value'>): void {
    const replica = this.#replicas.get(vni)!
    const record = replica.write(key, write, this.#options.clock.nowMs)
    this.#antiEntropy.onWrite(replica)
    this.#mill.add(vni, record)
  }

  #onChange(
    vni: number,
    old: TableRecord | undefined,
    now: TableRecord | undefined,
    boot: number,
  ): void {
    const { listener } = this.#options
    if (vni !== CLUSTER_TABLE) return listener.onRecord(vni, old, now)
    const { owner, key } = (now ?? old)!
    this.parts.changed()
    if (owner === this.#self) return
    const replica = this.#replicas.get(key)
    if (replica === undefined) return
    // It left, and may join again under the same boot: its numbers go on then.
    const table = replica.table(owner)
    if (now === undefined && table !== undefined && table.boot <= boot) replica.forget(owner)
    listener.onOwner(key, owner)
  }

  #onCounts(name: string): void {
    for (const vni of this.#replicas.keys()) {
      if (vni !== CLUSTER_TABLE) this.#options.listener.onOwner(vni, name)
    }
  }

  #onGone(name: string): void {
    // The cluster's table last: it takes the owner's records elsewhere with it.
    const vnis = [...this.#replicas.keys()].reverse()
    for (const vni of vnis) this.#replicas.get(vni)!.forget(name)
  }

  #tick(): void {
    this.#nodes.sweep(this.#options.clock.nowMs)
    this.#mill.turn()
    this.#antiEntropy.tick()
  }

  #reap(): void {
    for (const replica of this.#replicas.values()) replica.reap(this.#options.clock.nowMs)
  }

  #onMessage(bytes: Uint8Array): void {
    if (!isForTables(bytes)) return
    const message = decodeMessage(bytes)
    if (message === undefined) {
      this.stats.malformed++
      return
    }
    if (message.sender === this.#self) return
    this.#time = Math.max(this.#time, message.clock)
    this.#take(message)
  }

  #take({ sender: name, body }: TableMessage): void {
    if ('ranges' in body) return this.#learn(body)
    const sender = this.#nodes.member(name)
    if (sender === undefined) {
      this.stats.strange++
      return
    }
    if ('tables' in body) return this.#antiEntropy.onSummary(sender, body)
    for (const { owner, boot, floor } of body.progress) {
      if (owner === this.#self) this.#checkBoot(body.vni, boot, floor)
    }
    this.#antiEntropy.onDigest(sender, body)
  }

  #learn({ kind, vni, ranges }: News): void {
    const replica = this.#replicas.get(vni)
    if (replica === undefined) {
      this.stats.strange++
      return
    }
    const { nowMs } = this.#options.clock
    if (kind === 'update') replica.isSynced = true
    for (const range of ranges) {
      if (range.owner === this.#self) this.#checkBoot(vni, range.boot, range.to)
      else if (replica.table(range.owner)?.knows(range) === true) continue
      else if (this.#nodes.hear(range.owner, nowMs)) this.#apply(replica, range, kind)
    }
  }

  #apply(replica: Replica, range: RecordRange, kind: News['kind']): void {
    const { vni } = replica
    const { owner } = range
    const bootBefore = replica.table(owner)?.boot
    const fresh = replica.apply(range, this.#options.clock.nowMs)
    if (replica.table(owner)?.hasGap === true) this.#antiEntropy.onGap(replica)
    if (fresh.length > 0) this.#antiEntropy.onWrite(replica)
    if (replica.table(owner)?.boot !== bootBefore && vni !== CLUSTER_TABLE) {
      this.#options.listener.onOwner(vni, owner)
    }
    // Who brings a whole table tells what most have; of a few writes others may lack as well.
    if (kind === 'update' && fresh.length > RETELL_MAX) return
    for (const record of fresh) this.#mill.add(vni, record)
  }

  /** Someone knows more of this node's writes than it wrote: they are of another life. */
  #checkBoot(vni: number, boot: number, floor: number): void {
    const own = this.#replicas.get(vni)?.own
    if (own === undefined || boot < own.boot || (boot === own.boot && floor <= own.floor)) return
    const { nowMs } = this.#options.clock
    if (nowMs < this.#rebootAtMs) return
    this.#rebootAtMs = nowMs + REBOOT_MS
    this.stats.reboots++
    this.#boot = boot + 1
    for (const [table, replica] of this.#replicas) {
      replica.reboot(this.#boot)
      for (const record of replica.own.records.values()) this.#mill.add(table, record)
    }
  }
}
