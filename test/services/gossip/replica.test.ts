/**
 * Copies of one table under every order of messages, losses, repetitions, forgotten tombstones and
 * new lives of owners. After each step, what a copy says it knows of an owner up to write number
 * `floor` is compared with what the owner had written then: nothing dead, nothing missing.
 */
import { describe, expect, it } from 'vitest'
import { packOctets } from '../../../services/gossip/octets.ts'
import type { OwnerTable } from '../../../services/gossip/owner_table.ts'
import { Replica } from '../../../services/gossip/replica.ts'
import type { RecordRange, TableRecord } from '../../../services/gossip/table_record.ts'
import { Random } from '../../../stack/random.ts'

const KEYS = 6
const everyone = (): boolean => true

interface Owner {
  readonly replica: Replica
  /** All writes of this boot in order: index 0 is write number 1. */
  writes: TableRecord[]
}

class Model {
  readonly random: Random
  readonly owners: Owner[] = []
  /** Everything that was ever sent; any of it may arrive at any time, again and again. */
  readonly air: RecordRange[] = []
  readonly visible: Map<string, TableRecord>[] = []
  nowMs = 0

  constructor(seed: number, count: number) {
    this.random = new Random(seed)
    for (let i = 0; i < count; i++) this.#start(`n${i}`, 1, i)
  }

  #start(self: string, boot: number, at: number): void {
    const visible = new Map<string, TableRecord>()
    const onChange = (old: TableRecord | undefined, now: TableRecord | undefined): void => {
      const name = `${(now ?? old)!.owner}/${(now ?? old)!.key}`
      // What is told must be a change of what was told before.
      expect(visible.get(name)).toBe(old)
      if (now === undefined) visible.delete(name)
      else visible.set(name, now)
    }
    const replica = new Replica({ vni: 1, self, boot, floor: 0, onChange, recordsMax: 1000 })
    this.owners[at] = { replica, writes: [] }
    this.visible[at] = visible
  }

  step(): void {
    const { random, owners } = this
    this.nowMs += random.below(1000)
    const at = random.below(owners.length)
    const owner = owners[at]!
    const other = owners[random.below(owners.length)]!
    switch (random.below(12)) {
      case 0:
        return owner.replica.reap(random.chance(30) ? Number.POSITIVE_INFINITY : this.nowMs)
      case 1:
        if (!random.chance(5)) return
        return this.#start(owner.replica.own.owner, owner.replica.own.boot + 1, at)
      case 2:
      case 3:
        return this.#sync(owner.replica, other.replica)
      case 4:
      case 5:
      case 6:
        return this.#write(owner)
      default:
        return this.#deliver(owner.replica)
    }
  }

  /** Whoever was started anew says so: in a cluster its part in the network does. */
  end(): void {
    for (const owner of this.owners) this.#write(owner)
    for (let round = 0; round < this.owners.length; round++) {
      for (const { replica: from } of this.owners) {
        for (const { replica: to } of this.owners) this.#syncWell(from, to)
      }
    }
  }

  #syncWell(from: Replica, to: Replica): void {
    for (const range of from.lacking(to.progress(everyone), everyone)) {
      if (range.owner !== to.own.owner) to.apply(range, this.nowMs)
    }
  }

  #write(owner: Owner): void {
    const { random } = this
    const value = random.chance(40) ? undefined : packOctets(Uint8Array.of(random.below(256)))
    const key = random.below(KEYS)
    const record = owner.replica.write(key, { since: 1, held: 0, value }, this.nowMs)
    owner.writes.push(record)
    const { boot } = owner.replica.own
    const { owner: name, seq } = record
    this.air.push({ owner: name, boot, from: seq - 1, to: seq, records: [record] })
  }

  #deliver(to: Replica): void {
    const range = this.air[this.random.below(Math.max(1, this.air.length))]
    if (range !== undefined && range.owner !== to.own.owner) to.apply(range, this.nowMs)
  }

  /** As anti-entropy does, but what is sent may come later, or not at all. */
  #sync(from: Replica, to: Replica): void {
    for (const range of from.lacking(to.progress(everyone), everyone)) {
      this.air.push(range)
      if (range.owner !== to.own.owner && this.random.chance(70)) to.apply(range, this.nowMs)
    }
  }

  /** What a copy claims to know, it knows, and no more. */
  check(): void {
    for (const { replica } of this.owners) {
      for (const owner of this.owners) {
        const table = replica.table(owner.replica.own.owner)
        if (table !== undefined && table.boot === owner.replica.own.boot) check(table, owner.writes)
      }
      let count = 0
      for (const { records } of replica.tables()) count += records.size
      expect(replica.count).toBe(count)
    }
  }
}

function check(table: OwnerTable, writes: readonly TableRecord[]): void {
  expect(table.floor).toBeLessThanOrEqual(writes.length)
  const truth = new Map<number, TableRecord>()
  for (const write of writes.slice(0, table.floor)) truth.set(write.key, write)
  for (const [key, record] of table.records) {
    expect(writes[record.seq - 1]).toEqual(record)
    if (record.seq <= table.floor) expect(truth.get(key)?.seq, 'a ghost').toBe(record.seq)
  }
  for (const [key, { value }] of truth) {
    if (value !== undefined) expect(table.records.has(key), 'lost').toBe(true)
  }
}

describe('replica', () => {
  it('knows what it claims to know, whatever arrives when, and agrees in the end', () => {
    for (let seed = 1; seed <= 60; seed++) {
      const model = new Model(seed, 4)
      for (let n = 0; n < 400; n++) {
        model.step()
        if (n % 20 === 0) model.check()
      }
      model.end()
      model.check()
      const lists = model.visible.map((visible) =>
        [...visible].map(([name, { seq, value }]) => `${name} ${seq} ${value}`).sort(),
      )
      for (const list of lists) expect(list, `seed ${seed}`).toEqual(lists[0])
      const live = model.owners.flatMap(({ replica }) =>
        [...replica.own.records.values()].filter(({ value }) => value !== undefined),
      )
      expect(lists[0]).toHaveLength(live.length)
    }
  })

  it('is bounded, counts what it refuses, and takes it once there is room', () => {
    const make = (self: string, recordsMax: number): Replica =>
      new Replica({ vni: 1, self, boot: 1, floor: 0, onChange: () => {}, recordsMax })
    const [a, b] = [make('a', 100), make('b', 10)]
    const write = { since: 1, held: 0, value: packOctets(new Uint8Array(1)) }
    for (let key = 0; key < 20; key++) a.write(key, write, 0)
    for (const range of a.lacking([], everyone)) b.apply(range, 0)
    expect([b.count, b.refused, b.table('a')!.floor]).toEqual([10, 10, 10])
    expect(() => b.write(1, write, 0)).toThrow(/holds 10 records/)
    for (let key = 0; key < 15; key++) a.write(key, { ...write, value: undefined }, 0)
    for (const range of a.lacking(b.progress(everyone), everyone)) b.apply(range, 0)
    expect([b.count, b.table('a')!.floor]).toEqual([5, 35])
  })

  it('numbers all anew under another boot, and the others believe it', () => {
    const changes: string[] = []
    const note = (old: TableRecord | undefined, now: TableRecord | undefined): void => {
      changes.push(`${old?.seq} ${now?.seq}`)
    }
    const a = new Replica({ vni: 1, self: 'a', boot: 1, floor: 0, onChange: note })
    const b = new Replica({ vni: 1, self: 'b', boot: 1, floor: 0, onChange: () => {} })
    for (const key of [1, 2, 1])
      a.write(key, { since: 1, held: 0, value: packOctets(Uint8Array.of(key)) }, 0)
    a.write(2, { since: 1, held: 0, value: undefined }, 0)
    for (const range of a.lacking([], everyone)) b.apply(range, 0)
    a.reboot(9)
    expect(changes).toEqual(['undefined 1', 'undefined 2', '1 3', '2 undefined', '3 1'])
    for (const range of a.lacking(b.progress(everyone), everyone)) b.apply(range, 0)
    expect([b.table('a')!.boot, b.table('a')!.floor, b.count]).toEqual([9, 1, 1])
  })
})
