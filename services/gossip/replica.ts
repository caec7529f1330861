/**
 * This node's copy of one table.
 *
 * ```text
 *   own writes ───── write ──┐
 *   ranges of others ─ apply ┼──> tables of owners ──> onChange(owner, old, now)
 *   a node is gone ── forget ┘          │
 *                                       └──> progress, hash, lacking: for anti-entropy
 * ```
 *
 * Merging has no conflicts: an owner alone writes its records, in the order of its numbers, and a
 * later life of it (a larger boot) voids all of the earlier. So copies that know the same progress
 * of every owner hold the same records, in whatever order, how often and from whom they came; that
 * nothing dead comes back is argued in owner_table.ts. Test: test/services/gossip/replica.test.ts.
 *
 * Limits: {@link RECORDS_MAX} records with their tombstones, {@link OWNERS_MAX} owners. When full,
 * tombstones go first; then new keys are refused and counted, and what was refused is not counted
 * as known, so that it comes once there is room. (While a copy is overfull, and then only, may it
 * show a record for a while that was withdrawn.)
 */
import { StackError } from '../../stack/errors.ts'
import { OwnerTable, type RecordChange } from './owner_table.ts'
import type { ProgressHash } from './progress_hash.ts'
import type { Progress, RecordRange, TableRecord } from './table_record.ts'

/** As many stations as a tunnel may know. */
const RECORDS_MAX = 65_536
/** Nodes of a cluster. */
export const OWNERS_MAX = 4096
/** Tombstones stay for so long: far longer than a partition that is to be healed cheaply. */
export const TOMBSTONE_MS = 600_000

interface Tombstone {
  readonly owner: OwnerTable
  readonly record: TableRecord
  readonly atMs: number
}

export interface ReplicaOptions {
  readonly vni: number
  readonly self: string
  readonly boot: number
  /** Writes go on from this number. */
  readonly floor: number
  readonly onChange: RecordChange
  readonly recordsMax?: number
}

export class Replica {
  readonly vni: number
  /** Something was heard from another node since it was opened. */
  isSynced = false
  /** It was not the same as another node's, at the last comparison. */
  isDifferent = false
  /** How often it was the same since the last write. */
  agreed = 0
  /** When to compare it with another node's next. */
  syncAtMs = 0
  /** Records that found no room. */
  refused = 0
  readonly #owners = new Map<string, OwnerTable>()
  readonly #change: RecordChange
  readonly #recordsMax: number
  #tombstones: Tombstone[] = []
  #own: OwnerTable
  #count = 0

  constructor({ vni, self, boot, floor, onChange, recordsMax }: ReplicaOptions) {
    this.vni = vni
    this.#change = onChange
    this.#recordsMax = recordsMax ?? RECORDS_MAX
    this.#own = new OwnerTable(self, boot, floor)
    this.#owners.set(self, this.#own)
  }

  /** Records and tombstones. */
  get count(): number {
    return this.#count
  }

  /** Of this node. */
  get own(): OwnerTable {
    return this.#own
  }

  table(owner: string): OwnerTable | undefined {
    return this.#owners.get(owner)
  }

  tables(): IterableIterator<OwnerTable> {
    return this.#owners.values()
  }

  /** A write of this node. @throws StackError `exhausted`. */
  write(
    key: number,
    write: Pick<TableRecord, 'since' | 'held' | 'value'>,
    nowMs: number,
  ): TableRecord {
    const own = this.#own
    if (!own.records.has(key) && !this.#hasRoom()) {
      throw new StackError('exhausted', `table ${this.vni} holds ${this.#recordsMax} records`)
    }
    const { owner } = own
    const record: TableRecord = { owner, key, seq: own.floor + 1, ...write }
    this.#put(own, record, nowMs)
    own.cover(record.seq - 1, record.seq)
    return record
  }

  /** This node lives on under another boot: all that it wrote is numbered anew. */
  reboot(boot: number): void {
    const { owner, records } = this.#own
    const next = new OwnerTable(owner, boot)
    this.#owners.set(owner, next)
    this.#count -= records.size
    this.#own = next
    for (const old of records.values()) {
      if (old.value === undefined) continue
      const record = { ...old, seq: next.floor + 1 }
      next.records.set(record.key, record)
      next.cover(next.floor, record.seq)
      this.#count++
      this.#change(old, record, boot)
    }
  }

  /**
   * Learn from another node. Returns the records that were new here.
   *
   * Precondition: not of this node.
   */
  apply(range: RecordRange, nowMs: number): readonly TableRecord[] {
    const table = this.#tableFor(range)
    if (table === undefined) return []
    const fresh: TableRecord[] = []
    const late = this.#putAll(table, range.records, { nowMs, fresh })
    const before = table.records.size
    table.drop(range, this.#change)
    this.#count += table.records.size - before
    const refused = late.length === 0 ? late : this.#makeRoom(table, range, { late, nowMs, fresh })
    this.refused += refused.length
    if (refused.length === 0) table.cover(range.from, range.to)
    for (const { seq } of fresh) table.cover(seq - 1, seq)
    return fresh
  }

  /** What was dropped may have made room, and of withdrawals nothing needs to be kept. */
  #makeRoom(
    table: OwnerTable,
    range: RecordRange,
    { late, nowMs, fresh }: { late: TableRecord[]; nowMs: number; fresh: TableRecord[] },
  ): TableRecord[] {
    const before = table.records.size
    if (range.from <= table.floor) table.bury(range)
    this.#count += table.records.size - before
    const live = late.filter(({ value }) => value !== undefined || range.from > table.floor)
    return this.#putAll(table, live, { nowMs, fresh })
  }

  /** Returns those that found no room. */
  #putAll(
    table: OwnerTable,
    records: readonly TableRecord[],
    { nowMs, fresh }: { nowMs: number; fresh: TableRecord[] },
  ): TableRecord[] {
    const late: TableRecord[] = []
    for (const record of records) {
      if (table.isOld(record)) continue
      if (!table.records.has(record.key) && !this.#hasRoom()) {
        late.push(record)
        continue
      }
      this.#put(table, record, nowMs)
      fresh.push(record)
    }
    return late
  }

  /** The owner is gone: so is all that it wrote. */
  forget(owner: string): void {
    const table = this.#owners.get(owner)
    if (table === undefined || table === this.#own) return
    this.#owners.delete(owner)
    this.#count -= table.records.size
    for (const record of table.records.values()) {
      if (record.value !== undefined) this.#change(record, undefined, table.boot)
    }
  }

  /** Of that progress: the same for copies that know the same. */
  hash(counts: (owner: string) => boolean): ProgressHash {
    let hi = 0
    let lo = 0
    for (const table of this.#owners.values()) {
      if (table.floor === 0 || !counts(table.owner)) continue
      table.rehash()
      hi ^= table.hi
      lo ^= table.lo
    }
    return { hi: hi >>> 0, lo: lo >>> 0 }
  }

  /** How far each owner is known that `counts`. */
  progress(counts: (owner: string) => boolean): Progress[] {
    const list: Progress[] = []
    for (const { owner, boot, floor } of this.#owners.values()) {
      if (floor > 0 && counts(owner)) list.push({ owner, boot, floor })
    }
    return list
  }

  /** What a node lacks that knows as much as it says; only of owners that `count`. */
  lacking(progress: readonly Progress[], counts: (owner: string) => boolean): RecordRange[] {
    const known = new Map(progress.map((item) => [item.owner, item]))
    const ranges: RecordRange[] = []
    for (const table of this.#owners.values()) {
      if (!counts(table.owner)) continue
      const theirs = known.get(table.owner)
      if (theirs !== undefined && theirs.boot > table.boot) continue
      const range = table.since(theirs?.boot === table.boot ? theirs.floor : 0)
      if (range !== undefined) ranges.push(range)
    }
    return ranges
  }

  /** True: a node that knows so much knows something that is not known here. */
  isBehind(progress: readonly Progress[], counts: (owner: string) => boolean): boolean {
    return progress.some(({ owner, boot, floor }) => {
      if (!counts(owner)) return false
      const table = this.#owners.get(owner)
      return (
        table === undefined || boot > table.boot || (boot === table.boot && floor > table.floor)
      )
    })
  }

  /** Forget tombstones that are old enough. */
  reap(nowMs: number): void {
    this.#reapUntil(nowMs - TOMBSTONE_MS)
  }

  #tableFor({ owner, boot }: RecordRange): OwnerTable | undefined {
    const table = this.#owners.get(owner)
    if (table?.boot === boot) return table
    if (table !== undefined && table.boot > boot) return undefined
    if (table === undefined && this.#owners.size >= OWNERS_MAX) {
      this.refused++
      return undefined
    }
    this.forget(owner)
    const next = new OwnerTable(owner, boot)
    this.#owners.set(owner, next)
    return next
  }

  #put(table: OwnerTable, record: TableRecord, nowMs: number): void {
    const { records } = table
    const old = records.get(record.key)
    if (old === undefined) this.#count++
    records.set(record.key, record)
    if (record.value === undefined) this.#tombstones.push({ owner: table, record, atMs: nowMs })
    const before = old?.value === undefined ? undefined : old
    const now = record.value === undefined ? undefined : record
    if (before !== undefined || now !== undefined) this.#change(before, now, table.boot)
  }

  #hasRoom(): boolean {
    if (this.#count < this.#recordsMax) return true
    this.#reapUntil(Number.POSITIVE_INFINITY)
    return this.#count < this.#recordsMax
  }

  #reapUntil(ms: number): void {
    let kept: Tombstone[] = []
    for (const [i, tombstone] of this.#tombstones.entries()) {
      const { owner, record, atMs } = tombstone
      if (atMs > ms) {
        kept = kept.concat(this.#tombstones.slice(i))
        break
      }
      const before = owner.records.size
      if (!owner.reap(record)) kept.push(tombstone)
      if (this.#owners.get(owner.owner) === owner) this.#count += owner.records.size - before
    }
    this.#tombstones = kept
  }
}
