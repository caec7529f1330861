/**
 * Fresh writes on their way from node to node.
 *
 * Each is told {@link retransmits} times by every node that learns it, the least told first, as
 * memberlist does with its broadcasts; what a datagram holds beyond that stays for the next. A
 * write that is replaced meanwhile is not told any more. With few nodes left out by chance, and
 * with all that found no room here, anti-entropy brings the rest.
 *
 * Limit: {@link RUMORS_MAX} writes a table; when full, the most told goes.
 */
import type { Random } from '../../stack/random.ts'
import type { Standing } from './anti_entropy.ts'
import type { Member } from './cluster.ts'
import type { Replica } from './replica.ts'
import type { RecordRange, TableRecord } from './table_record.ts'
import { RangeMessage } from './table_wire.ts'

/** As memberlist on a LAN. */
export const GOSSIP_MS = 200
const GOSSIP_NODES = 3
/** Datagrams to one node at a time, where there is much to tell. */
const BURST_MAX = 4

/** Writes of one table under way at a time: what a hundred datagrams hold. */
const RUMORS_MAX = 4096
/** As memberlist: with 1,000 nodes, a write is told by each 12 to 16 times, */
const RETRANSMIT_MULT = 4
/** but with few nodes more often: of 4 times, chance leaves out 2 nodes in a hundred. */
const RETRANSMITS_MIN = 8

interface Rumor {
  readonly record: TableRecord
  told: number
}

/** How often each node tells a write. */
function retransmits(nodes: number): number {
  return Math.max(RETRANSMITS_MIN, RETRANSMIT_MULT * Math.ceil(Math.log10(nodes + 1)))
}

class Rumors {
  /** By the number of times it was told: a queue each. */
  readonly #queues: Rumor[][] = [[]]
  #count = 0
  /** Given up for want of room. */
  overflowed = 0

  get count(): number {
    return this.#count
  }

  add(record: TableRecord): void {
    if (this.#count >= RUMORS_MAX) this.#dropMostTold()
    this.#queues[0]!.push({ record, told: 0 })
    this.#count++
  }

  /**
   * Write as many into the message as it holds, and count them as told once more. True: there was
   * no room for all.
   */
  fill(message: RangeMessage, replica: Replica, limit: number): boolean {
    const queues = this.#queues
    const told: Rumor[] = []
    let full = false
    for (let level = 0; level < queues.length && !full; level++) {
      const queue = queues[level]!
      let at = 0
      for (; at < queue.length; at++) {
        const rumor = queue[at]!
        const boot = currentBoot(replica, rumor.record)
        if (boot < 0) {
          this.#count--
          continue
        }
        if (message.add(single(rumor.record, boot))) told.push(rumor)
        else if (message.isEmpty) this.#count--
        else {
          full = true
          break
        }
      }
      if (at === queue.length) queue.length = 0
      else queue.splice(0, at)
    }
    for (const rumor of told) this.#keep(rumor, limit)
    return full
  }

  #keep(rumor: Rumor, limit: number): void {
    rumor.told++
    if (rumor.told >= limit) {
      this.#count--
      return
    }
    while (this.#queues.length <= rumor.told) this.#queues.push([])
    this.#queues[rumor.told]!.push(rumor)
  }

  #dropMostTold(): void {
    for (let level = this.#queues.length - 1; level >= 0; level--) {
      if (this.#queues[level]!.shift() === undefined) continue
      this.#count--
      this.overflowed++
      return
    }
  }
}

/** The boot under which the record is in force, or -1: it is not any more. */
function currentBoot(replica: Replica, record: TableRecord): number {
  const table = replica.table(record.owner)
  return table?.records.get(record.key) === record ? table.boot : -1
}

function single(record: TableRecord, boot: number): RecordRange {
  const { owner, seq } = record
  return { owner, boot, from: seq - 1, to: seq, records: [record] }
}

/** Tells the rumors of all tables. */
export class RumorMill {
  readonly #standing: Standing
  readonly #rumors = new Map<number, Rumors>()

  constructor(standing: Standing) {
    this.#standing = standing
  }

  add(vni: number, record: TableRecord): void {
    let rumors = this.#rumors.get(vni)
    if (rumors === undefined) {
      rumors = new Rumors()
      this.#rumors.set(vni, rumors)
    }
    rumors.add(record)
  }

  /** The table is no more. */
  forget(vni: number): void {
    this.#rumors.delete(vni)
  }

  /** To be called every {@link GOSSIP_MS}. */
  turn(): void {
    const { random, peers } = this.#standing
    for (const [vni, rumors] of this.#rumors) {
      if (rumors.count === 0) continue
      const list = peers(vni)
      const limit = retransmits(list.length + 1)
      for (const peer of choose(list, GOSSIP_NODES, random))
        this.#tell(peer, { vni, rumors, limit })
    }
  }

  #tell(peer: Member, what: { vni: number; rumors: Rumors; limit: number }): void {
    const { vni, rumors, limit } = what
    const { cluster, heading, replicas } = this.#standing
    const at = { heading: heading(), vni, bytesMax: cluster.messageBytesMax }
    for (let i = 0; i < BURST_MAX; i++) {
      const message = new RangeMessage('gossip', at)
      const more = rumors.fill(message, replicas.get(vni)!, limit)
      if (!message.isEmpty) cluster.send(peer, message.take())
      if (!more) return
    }
  }
}

/** Some of them, none twice. */
function choose(members: readonly Member[], count: number, random: Random): Iterable<Member> {
  if (members.length <= count) return members
  const chosen = new Set<Member>()
  while (chosen.size < count) chosen.add(members[random.below(members.length)]!)
  return chosen
}
