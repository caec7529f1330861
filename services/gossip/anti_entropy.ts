/**
 * Comparing tables with other nodes, so that whatever was lost comes in the end.
 *
 * ```text
 *   A                                     B
 *   summary: a hash of each table ──────>
 *            <────────────────────── same     of tables that are
 *            <────── digest: what B knows     of those that are not
 *   update: what B lacks ───────────────>
 *   answer: what A knows, if it lacks something ──>
 *            <────────────── update: what A lacks
 * ```
 *
 * A table is compared with a random member of its network every {@link SYNC_MS}, and every
 * {@link SYNC_SOON_MS} while differences are found, writes are missing between others, or nobody
 * answers, and three times {@link SETTLE_MS} apart after a write; first with those that have just
 * come (back), so that partitions heal at once. A node that joins a network starts with a digest,
 * which brings it the whole table, and so does one that knows that it differs. Updates go over
 * streams, the rest as datagrams where it fits.
 *
 * Limits: {@link STREAMS_MAX} messages under way over streams; beyond that nobody is answered, and
 * they ask again. An update has at most {@link STREAM_BYTES_MAX}.
 */
import type { Clock } from '../../stack/clock.ts'
import type { Random } from '../../stack/random.ts'
import type { Cluster, Member } from './cluster.ts'
import type { Replica } from './replica.ts'
import type { RecordRange } from './table_record.ts'
import {
  type Digest,
  encodeDigest,
  encodeSummary,
  type Heading,
  RangeMessage,
  type Summary,
  type TableHash,
} from './table_wire.ts'

const SYNC_MS = 10_000
const SYNC_SOON_MS = 1000
/** A rumor is told by then. */
const SETTLE_MS = 3000
/** So often since the last write all has to be the same: once, others may lack it as well. */
const AGREEMENTS = 3
const STREAMS_MAX = 64
const STREAM_BYTES_MAX = 262_144
/** Nodes that came lately and were not compared with yet. */
const NEWCOMERS_MAX = 16

/** What it needs to know of this node. */
export interface Standing {
  readonly cluster: Cluster
  readonly clock: Clock
  readonly random: Random
  readonly heading: () => Heading
  readonly replicas: ReadonlyMap<number, Replica>
  /** Other members that take part and are alive. */
  readonly peers: (vni: number) => readonly Member[]
  readonly isPeer: (vni: number, name: string) => boolean
  readonly isAlive: (name: string) => boolean
}

export class AntiEntropy {
  /** Differences found. */
  differences = 0
  /** Messages that a stream did not take. */
  failures = 0
  readonly #standing: Standing
  readonly #newcomers: string[] = []
  #streams = 0

  constructor(standing: Standing) {
    this.#standing = standing
  }

  /** A node came, or came back: it knows what we do not, or the other way round. */
  onNewcomer(name: string): void {
    if (this.#newcomers.length >= NEWCOMERS_MAX) this.#newcomers.shift()
    this.#newcomers.push(name)
    for (const replica of this.#standing.replicas.values()) this.#hurry(replica)
  }

  /** Compare what is due. */
  tick(): void {
    const { clock, replicas } = this.#standing
    for (const replica of replicas.values()) {
      if (clock.nowMs >= replica.syncAtMs) this.#compare(replica)
    }
  }

  onSummary(sender: Member, { kind, tables }: Summary): void {
    const { replicas, isPeer, cluster, heading } = this.#standing
    const same: TableHash[] = []
    for (const table of tables) {
      const replica = replicas.get(table.vni)
      if (replica === undefined || !isPeer(table.vni, sender.name)) continue
      replica.isSynced = true
      const own = this.#hash(replica)
      if (own.hi !== table.hi || own.lo !== table.lo) {
        this.#differ(replica)
        if (kind === 'summary') this.#sendDigest(sender, replica, 'digest')
        continue
      }
      this.#agree(replica)
      same.push(table)
    }
    if (kind === 'same' || same.length === 0) return
    const body = { kind: 'same' as const, tables: same }
    this.#send(sender, encodeSummary(heading(), body, cluster.messageBytesMax))
  }

  onDigest(sender: Member, { kind, vni, progress }: Digest): void {
    const { replicas, isAlive, isPeer, cluster, heading } = this.#standing
    const replica = replicas.get(vni)
    if (replica === undefined || !isPeer(vni, sender.name)) return
    if (this.#streams >= STREAMS_MAX) return
    const ranges = replica.lacking(progress, isAlive)
    const isBehind = replica.isBehind(progress, isAlive)
    replica.isSynced = true
    if (ranges.length === 0 && !isBehind) {
      this.#agree(replica)
      if (kind === 'answer') return
      const body = { kind: 'same' as const, tables: [this.#hash(replica)] }
      return this.#send(sender, encodeSummary(heading(), body, cluster.messageBytesMax))
    }
    this.#differ(replica)
    if (ranges.length > 0) this.#sendUpdates(sender, replica, ranges)
    if (isBehind && kind === 'digest') this.#sendDigest(sender, replica, 'answer')
  }

  #agree(replica: Replica): void {
    const { clock, random } = this.#standing
    replica.isDifferent = false
    replica.agreed++
    const waitMs = replica.agreed < AGREEMENTS ? SETTLE_MS : SYNC_MS
    replica.syncAtMs = clock.nowMs + waitMs / 2 + random.below(waitMs)
  }

  #differ(replica: Replica): void {
    this.differences++
    replica.isDifferent = true
    this.#hurry(replica)
  }

  /** Writes of an owner were heard of that come after others that were not. */
  onGap(replica: Replica): void {
    this.#hurry(replica)
  }

  /** Something is new here: see, once its rumor is told, whether chance left out someone. */
  onWrite(replica: Replica): void {
    replica.agreed = 0
    this.#hurry(replica, SETTLE_MS)
  }

  /** Sooner than planned, but not at once: others have the same reason at the same time. */
  #hurry(replica: Replica, waitMs = SYNC_SOON_MS): void {
    const { clock, random } = this.#standing
    if (replica.syncAtMs <= clock.nowMs + waitMs / 2) return
    const soonMs = clock.nowMs + waitMs / 2 + random.below(waitMs)
    replica.syncAtMs = Math.min(replica.syncAtMs, soonMs)
  }

  #compare(replica: Replica): void {
    const { clock, random, cluster, heading, replicas, isPeer } = this.#standing
    const { nowMs } = clock
    const member = this.#choose(replica.vni)
    // Until it is known to be the same.
    replica.syncAtMs = nowMs + SYNC_SOON_MS / 2 + random.below(SYNC_SOON_MS)
    if (member === undefined) return
    if (!replica.isSynced || replica.isDifferent) return this.#sendDigest(member, replica, 'digest')
    const tables = [this.#hash(replica)]
    // What is due soon anyway goes along.
    for (const other of replicas.values()) {
      if (other === replica || other.isDifferent || other.syncAtMs > nowMs + SYNC_MS / 4) continue
      if (!other.isSynced || !isPeer(other.vni, member.name)) continue
      other.syncAtMs = replica.syncAtMs
      tables.push(this.#hash(other))
    }
    const body = { kind: 'summary' as const, tables }
    this.#send(member, encodeSummary(heading(), body, cluster.messageBytesMax))
  }

  #choose(vni: number): Member | undefined {
    const { random, peers, isPeer } = this.#standing
    const list = peers(vni)
    for (const [i, name] of this.#newcomers.entries()) {
      if (!isPeer(vni, name)) continue
      const newcomer = list.find((member) => member.name === name)
      if (newcomer === undefined) continue
      this.#newcomers.splice(i, 1)
      return newcomer
    }
    return list[random.below(Math.max(1, list.length))]
  }

  #hash(replica: Replica): TableHash {
    return { vni: replica.vni, ...replica.hash(this.#standing.isAlive) }
  }

  #sendDigest(member: Member, replica: Replica, kind: 'digest' | 'answer'): void {
    const { heading, isAlive } = this.#standing
    const progress = replica.progress(isAlive)
    this.#send(member, encodeDigest(heading(), { kind, vni: replica.vni, progress }))
  }

  #sendUpdates(member: Member, { vni }: Replica, ranges: readonly RecordRange[]): void {
    const at = { heading: this.#standing.heading(), vni, bytesMax: STREAM_BYTES_MAX }
    let message = new RangeMessage('update', at)
    const waiting = [...ranges].reverse()
    for (let range = waiting.pop(); range !== undefined; range = waiting.pop()) {
      if (message.add(range)) continue
      if (message.isEmpty) {
        waiting.push(...halves(range))
        continue
      }
      waiting.push(range)
      this.#startStream(member, message.take())
      message = new RangeMessage('update', at)
    }
    this.#startStream(member, message.take())
  }

  #send(member: Member, bytes: Uint8Array): void {
    const { cluster } = this.#standing
    if (bytes.length <= cluster.messageBytesMax) cluster.send(member, bytes)
    else this.#startStream(member, bytes)
  }

  #startStream(member: Member, bytes: Uint8Array): void {
    this.#streams++
    void this.#stream(member, bytes)
  }

  async #stream(member: Member, bytes: Uint8Array): Promise<void> {
    try {
      await this.#standing.cluster.sendReliable(member, bytes)
    } catch {
      // It is gone, or cut off; whoever lacks something asks again.
      this.failures++
    } finally {
      this.#streams--
    }
  }
}

/** The later one first, for a stack. */
function halves(range: RecordRange): RecordRange[] {
  const { records, from, to } = range
  const middle = records.length >> 1
  const at = Math.min(to, records[middle - 1]!.seq)
  return [
    { ...range, from: at, to, records: records.slice(middle) },
    { ...range, from, to: at, records: records.slice(0, middle) },
  ]
}
