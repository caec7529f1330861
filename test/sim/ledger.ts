/**
 * Accounts of a whole simulation: every packet that a pool gave out and took back, every frame and
 * drop that was counted, by the cables and by the elements between them.
 *
 * The equation, at any instant when nothing moves (cables stand between nodes and hosts; all that
 * is not a cable is an element):
 *
 * ```text
 *   received + originated = transmitted + dropped + consumed + held
 *
 *   received     frames that devices delivered to elements          counters, all ports
 *   originated   packets allocated by elements                      pool, less cables' duplicates
 *   transmitted  frames that elements gave to devices, and these took   counters, all ports
 *   dropped      packets ended by elements with a reason            pool, less cables' losses
 *   consumed     packets that elements freed without one            pool, less cables' leftovers
 *   held         in queues of elements: neighbors, reassembly       pool, less those in cables
 * ```
 * Wires between nodes ({@link Wires}) are cables too; of what crosses them, memory of the sender is
 * freed and memory of the receiver allocated, neither by an element.
 *
 * The pool's side is counted where memory changes hands, the counters' side where elements say
 * what they did, the cables' side by the cables: three witnesses that know nothing of each other.
 */
import type { MemoryLinks } from '../../services/fabric/memory_links.ts'
import type { LinkRequest } from '../../services/links.ts'
import { Count, Counters } from '../../stack/counters.ts'
import type { Device } from '../../stack/device.ts'
import { DROP_COUNT, DropReason } from '../../stack/drop.ts'
import type { LaneCounts } from '../../stack/eth/lane.ts'
import type { Cable, CableEnd } from '../../stack/eth/memory.ts'
import { type Packet, Pool } from '../../stack/packet.ts'

/** Counters that also add up over all ports, released ones included. */
class Totals extends Counters {
  receivedFrames = 0
  transmittedFrames = 0
  /** Of the received ones: datagrams of an underlay. */
  receivedDatagrams = 0
  readonly dropped_: number[] = new Array<number>(DROP_COUNT).fill(0)
  kindOf: Wires['kindOf'] = () => 'device'

  override received(port: number, bytes: number): void {
    const kind = this.kindOf(port)
    if (kind !== 'tunnel') this.receivedFrames++
    if (kind === 'underlay') this.receivedDatagrams++
    super.received(port, bytes)
  }

  override transmitted(port: number, bytes: number): void {
    if (this.kindOf(port) !== 'tunnel') this.transmittedFrames++
    super.transmitted(port, bytes)
  }

  override dropped(port: number, reason: number): void {
    this.dropped_[reason]!++
    super.dropped(port, reason)
  }
}

class CountingPool extends Pool {
  allocated = 0
  freed = 0
  dropped = 0
  /** Drops by reason that the counters must know of: those of packets that are not traced. */
  readonly reasons: number[] = new Array<number>(DROP_COUNT).fill(0)

  override alloc(bytes: number): Packet | undefined {
    const packet = super.alloc(bytes)
    if (packet !== undefined) this.allocated++
    return packet
  }

  override free(packet: Packet): void {
    super.free(packet)
    this.freed++
  }

  override drop(packet: Packet, reason: number): void {
    if (!packet.traced) this.reasons[reason]!++
    this.dropped++
    super.drop(packet, reason)
  }
}

/**
 * The wires between this node and others, which have packet memory of their own: what arrives is
 * copied into it. A frame in a tunnel is counted by the tunnel, which is an element, and by the
 * underlay, which is a device.
 */
export interface Wires {
  kindOf(port: number): 'tunnel' | 'underlay' | 'device'
  /** Of every wire that leaves the node, gone ones too. */
  leaving(): readonly LaneCounts[]
  /** Of every wire to it. */
  arriving(): readonly LaneCounts[]
  /** Datagrams that arrived and were not polled yet. */
  waiting(): number
}

/** Nothing is between this node and others. */
const NO_WIRES: Wires = {
  kindOf: () => 'device',
  leaving: () => [],
  arriving: () => [],
  waiting: () => 0,
}

/** What a wire handed over at its end. */
function arrived(counts: LaneCounts): number {
  const { taken, duplicated, lost, overflowed, abandoned, flying } = counts
  return taken + duplicated - lost - overflowed - abandoned - flying
}

export interface LedgerOptions {
  readonly smallCount: number
  readonly largeCount: number
  readonly checked: boolean
  readonly wires?: Wires
}

export class Ledger {
  readonly pool: Pool
  readonly #pool: CountingPool
  readonly #totals = new Totals()
  readonly #cables: Cable[] = []
  readonly #wires: Wires

  constructor(options: LedgerOptions) {
    this.#pool = new CountingPool({ ...options, counters: this.#totals })
    this.pool = this.#pool
    this.#wires = options.wires ?? NO_WIRES
    this.#totals.kindOf = (port) => this.#wires.kindOf(port)
  }

  /** Watch every cable that there will be, for as long as the ledger lives. */
  watch(links: MemoryLinks): void {
    const attach = links.attach.bind(links)
    links.attach = (request: LinkRequest): Device => {
      const device = attach(request)
      this.#cables.push(links.cable(request.deviceName))
      return device
    }
  }

  /** What does not add up; empty: all does. */
  audit(): string[] {
    return [...this.#auditPool(), ...this.#auditDrops(), ...this.#auditCables()]
  }

  /** Packets that somebody owns. */
  get live(): number {
    return this.#pool.packets.length - this.#pool.idle
  }

  #ends(): CableEnd[] {
    return this.#cables.flatMap(({ a, b }) => [a, b])
  }

  #auditPool(): string[] {
    const pool = this.#pool
    const wires = this.#wires
    const leaving = wires.leaving()
    const lanes = [...this.#ends().map(({ counts }) => counts), ...leaving]
    const sum = (pick: (counts: LaneCounts) => number): number =>
      lanes.reduce((total, counts) => total + pick(counts), 0)
    const waiting = this.#ends().reduce((total, end) => total + end.waiting, wires.waiting())
    const handedOver = leaving.reduce((total, counts) => total + arrived(counts), 0)
    const came = wires.arriving().reduce((total, counts) => total + arrived(counts), 0)
    const unread = came - this.#totals.receivedDatagrams - wires.waiting()
    const books = {
      received: this.#totals.receivedFrames,
      originated: pool.allocated - sum(({ duplicated }) => duplicated) - came,
      transmitted: this.#totals.transmittedFrames,
      dropped: pool.dropped - sum(({ lost, overflowed }) => lost + overflowed),
      consumed: pool.freed - pool.dropped - sum(({ abandoned }) => abandoned) - handedOver - unread,
      held: this.live - sum(({ flying }) => flying) - waiting,
    }
    const faults: string[] = []
    const { received, originated, transmitted, dropped, consumed, held } = books
    if (received + originated !== transmitted + dropped + consumed + held) {
      faults.push(`the books do not balance: ${JSON.stringify(books)}`)
    }
    if (pool.allocated - pool.freed !== this.live) {
      faults.push(`${pool.allocated} allocated, ${pool.freed} freed, ${this.live} live`)
    }
    return faults
  }

  /** A drop is counted exactly once; `pool-empty` also where there was no packet to drop. */
  #auditDrops(): string[] {
    const faults: string[] = []
    for (let reason = 0; reason < DROP_COUNT; reason++) {
      const counted = this.#totals.dropped_[reason]!
      const done = this.#pool.reasons[reason]!
      const fits = reason === DropReason.PoolEmpty ? counted >= done : counted === done
      if (!fits) faults.push(`drop reason ${reason}: ${done} done, ${counted} counted`)
    }
    return faults
  }

  /** Each cable by itself, and its counters as long as they are its own. */
  #auditCables(): string[] {
    const faults: string[] = []
    const { counters } = this.#pool
    for (const { name, a, b } of this.#cables) {
      for (const [from, to] of [
        [a, b],
        [b, a],
      ] as const) {
        const { counts } = from
        const { taken, given, duplicated, lost, overflowed, abandoned, flying } = counts
        const out = given + lost + overflowed + abandoned + flying + to.waiting
        const sent = from.closed ? taken : counters.value(from.port, Count.TxPackets)
        const received = to.closed ? given : counters.value(to.port, Count.RxPackets)
        if (taken + duplicated === out && sent === taken && received === given) continue
        faults.push(`cable ${name}: ${sent} sent, ${received} received, ${JSON.stringify(counts)}`)
      }
    }
    return faults
  }
}
