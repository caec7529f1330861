/**
 * What one node knows of another's writes in one table.
 *
 * The owner numbers its writes. A node knows all of them up to `floor`: each of these either
 * counts and is in `records`, or was replaced or withdrawn. That is the rule by which nothing comes
 * back: **a record whose number is not above the floor, and that is not here, is dead**, however
 * long its withdrawal is forgotten and whoever brings it. Writes above the floor may have gaps
 * between them, `ahead` remembers which parts are known, until a range fills the gap.
 *
 * ```text
 *   writes  1 2 3 4 5 6 7 8 9        floor 5: complete up to here
 *           x x x x x . x x .        ahead (6, 8]
 * ```
 *
 * Withdrawn records stay for a while (tombstones), so that whoever is behind can be told just what
 * changed. Those forgotten are below `reapedTo`; a node that is behind that is told everything of
 * the owner instead. So the time that tombstones stay decides how much is sent, and never what is
 * right.
 */
import { HASH_SEEDS, hashWord } from './progress_hash.ts'
import type { RecordRange, TableRecord } from './table_record.ts'

/** Gaps in what is known of one owner. The oldest part ahead is forgotten, and sent again. */
const AHEAD_MAX = 64

interface Part {
  readonly from: number
  to: number
}

/** Told of each key whose record in force is another one now, under this boot of its owner. */
export type RecordChange = (
  old: TableRecord | undefined,
  now: TableRecord | undefined,
  boot: number,
) => void

export class OwnerTable {
  readonly owner: string
  readonly boot: number
  readonly records: Map<number, TableRecord> = new Map()
  floor: number
  reapedTo: number
  /** Words of its progress (progress_hash.ts), once {@link rehash} was called. */
  hi = 0
  lo = 0
  /** The floor that they are of. */
  #hashed = -1
  readonly #ahead: Part[] = []

  /** @param floor Nothing that was written before it counts. */
  constructor(owner: string, boot: number, floor = 0) {
    this.owner = owner
    this.boot = boot
    this.floor = floor
    this.reapedTo = floor
  }

  /** Later writes are known than some that are not. */
  get hasGap(): boolean {
    return this.#ahead.length > 0
  }

  /** Bring the words up to date: mostly they are. */
  rehash(): void {
    if (this.#hashed === this.floor) return
    this.#hashed = this.floor
    this.hi = hashWord(this, HASH_SEEDS.hi)
    this.lo = hashWord(this, HASH_SEEDS.lo)
  }

  /** True: a record of this number can change nothing any more. */
  isOld({ key, seq }: TableRecord): boolean {
    if (seq <= this.floor) return true
    const known = this.records.get(key)
    return known !== undefined && known.seq >= seq
  }

  /** True: nothing in the range can be news. Mostly it is so: each write is told many times. */
  knows({ boot, to, records }: RecordRange): boolean {
    if (boot !== this.boot || to > this.floor || this.hasGap) return false
    for (const { seq } of records) if (seq > this.floor) return false
    return true
  }

  /** After the records of a range were put: what it does not list is dead. */
  drop(range: RecordRange, change: RecordChange): void {
    const { from, to, records } = range
    if (to <= this.floor) return
    const listed = new Set<number>()
    for (const { seq } of records) if (seq <= to) listed.add(seq)
    if (listed.size >= to - from) return
    // Such a range leaves tombstones out, see `since`: they cannot be told on from here.
    if (from === 0) this.reapedTo = Math.max(this.reapedTo, to)
    for (const [key, record] of this.records) {
      const { seq } = record
      if (seq <= from || seq > to || listed.has(seq)) continue
      this.records.delete(key)
      if (record.value !== undefined) change(record, undefined, this.boot)
    }
  }

  /** Forget the tombstones of a range at once. */
  bury({ records }: RecordRange): void {
    for (const { key, seq, value } of records) {
      if (value !== undefined || this.records.get(key)?.seq !== seq) continue
      this.records.delete(key)
      this.reapedTo = Math.max(this.reapedTo, seq)
    }
  }

  /** All of the writes `from` + 1 to `to` are known. */
  cover(from: number, to: number): void {
    if (to <= this.floor || to <= from) return
    if (from > this.floor) return this.#keepAhead(from, to)
    this.floor = to
    const ahead = this.#ahead
    while (ahead.length > 0 && ahead[0]!.from <= this.floor) {
      this.floor = Math.max(this.floor, ahead.shift()!.to)
    }
  }

  /** What a node lacks that knows all up to `floor`; undefined: nothing. */
  since(floor: number): RecordRange | undefined {
    const { owner, boot, reapedTo } = this
    if (floor >= this.floor) return undefined
    const from = floor >= reapedTo ? floor : 0
    const to = this.floor
    const records: TableRecord[] = []
    for (const record of this.records.values()) {
      const { seq, value } = record
      // Those above the floor too: one of them may have replaced what else would seem withdrawn.
      if (seq > to || (seq > from && (from > 0 || value !== undefined))) records.push(record)
    }
    records.sort((a, b) => a.seq - b.seq)
    return { owner, boot, from, to, records }
  }

  /** Forget a tombstone. False: it is still needed, since not all before it is known. */
  reap(record: TableRecord): boolean {
    if (this.records.get(record.key) !== record) return true
    if (record.seq > this.floor) return false
    this.records.delete(record.key)
    this.reapedTo = Math.max(this.reapedTo, record.seq)
    return true
  }

  /** Kept sorted, and joined where they touch. */
  #keepAhead(from: number, to: number): void {
    const ahead = this.#ahead
    let at = ahead.length
    while (at > 0 && ahead[at - 1]!.from > from) at--
    const before = ahead[at - 1]
    if (before !== undefined && before.to >= from) before.to = Math.max(before.to, to)
    else ahead.splice(at++, 0, { from, to })
    const joined = ahead[at - 1]!
    while (at < ahead.length && ahead[at]!.from <= joined.to) {
      joined.to = Math.max(joined.to, ahead[at]!.to)
      ahead.splice(at, 1)
    }
    if (ahead.length > AHEAD_MAX) ahead.shift()
  }
}
