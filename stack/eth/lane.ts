/**
 * One direction of a cable in memory, and what it does to frames.
 *
 * ```text
 *   carry ─► bandwidth ─► partition, loss ─► corruption ─► duplication
 *                                                              └─► delay, reordering ─► arrive
 * ```
 *
 * Every choice is drawn from one seeded generator, and no number is drawn for a fault that is off.
 * Without faults a frame arrives at once and nothing is allocated; with them it waits in a list in
 * order of arrival, with one timer for the first.
 *
 * A lane keeps order: jitter delays a frame and all behind it. Only `reorderPct` lets frames
 * overtake: such a frame is held back a little longer than the ones after it.
 */
import { finish } from '../checksum.ts'
import type { Cancel, Clock } from '../clock.ts'
import { DropReason } from '../drop.ts'
import { GsoType, type Packet, type Pool } from '../packet.ts'
import type { Random } from '../random.ts'

/** What a cable does to frames. All off when left out. */
export interface CableFaults {
  readonly delayMs?: number
  /** At most this much more delay, evenly spread. */
  readonly jitterMs?: number
  readonly lossPct?: number
  readonly duplicatePct?: number
  readonly reorderPct?: number
  /** Frames with one bit flipped, headers included. */
  readonly corruptPct?: number
  readonly bandwidthBitsPerS?: number
  /** Frames that wait for the bandwidth; the next one is dropped `queue-full`. */
  readonly queueFrames?: number
  /** Nothing passes. */
  readonly partitioned?: boolean
}

/** What became of the frames of one direction so far. */
export interface LaneCounts {
  /** Taken to be carried: what the counters call transmitted. */
  taken: number
  /** Polled at the other end: what the counters call received. */
  given: number
  /** Taken, and dropped `link-lost`. */
  lost: number
  /** Taken, and dropped `queue-full` when it arrived at a full inbox. */
  overflowed: number
  /** Freed on the way or in an inbox, because an end was closed. */
  abandoned: number
  duplicated: number
  reordered: number
  corrupted: number
  /** On their way: not yet arrived. */
  flying: number
}

export interface LaneOptions {
  readonly pool: Pool
  readonly clock: Clock
  readonly random: Random
  /** Counters of the end that transmits. */
  readonly port: number
  /** False: whoever is at the other end counts what is transmitted. Default: true. */
  readonly counted?: boolean
  /** The other end takes the frame, or says that it has no room. */
  readonly arrive: (packet: Packet) => boolean
}

const QUEUE_FRAMES = 100
/** How much longer a reordered frame is held back, besides its own delay. */
const REORDER_HOLD_MS = 1

interface Flight {
  readonly packet: Packet
  readonly atMs: number
}

export class Lane {
  readonly counts: LaneCounts = {
    taken: 0,
    given: 0,
    lost: 0,
    overflowed: 0,
    abandoned: 0,
    duplicated: 0,
    reordered: 0,
    corrupted: 0,
    flying: 0,
  }
  readonly #pool: Pool
  readonly #clock: Clock
  readonly #random: Random
  readonly #port: number
  readonly #counted: boolean
  readonly #arrive: (packet: Packet) => boolean
  #faults: CableFaults = {}
  #clean = true
  /** On their way, the next to arrive first. */
  readonly #flights: Flight[] = []
  /** When each frame that waits for the bandwidth will have left. */
  readonly #leaves: number[] = []
  #lastMs = 0
  #timer: Cancel | undefined

  constructor({ pool, clock, random, port, arrive, counted = true }: LaneOptions) {
    this.#pool = pool
    this.#clock = clock
    this.#random = random
    this.#port = port
    this.#counted = counted
    this.#arrive = arrive
  }

  /** Replace the faults. Frames on their way keep their fate. */
  setFaults(faults: CableFaults): void {
    this.#faults = faults
    this.#clean = Object.values(faults).every((value) => value === 0 || value === false)
  }

  /** Send a frame that the cable can carry: counts it, or drops it. Takes ownership. */
  carry(packet: Packet): void {
    if (!this.#clean || this.#flights.length > 0) return this.#carryFaulty(packet)
    const { len } = packet
    if (!this.#arrive(packet)) return this.#pool.drop(packet, DropReason.QueueFull)
    this.#take(len)
  }

  /** Free what is on its way. */
  abandon(): void {
    this.#timer?.()
    this.#timer = undefined
    for (const { packet } of this.#flights) this.#pool.free(packet)
    this.counts.abandoned += this.#flights.length
    this.#flights.length = 0
    this.counts.flying = 0
  }

  #take(bytes: number): void {
    this.counts.taken++
    if (this.#counted) this.#pool.counters.transmitted(this.#port, bytes)
  }

  #carryFaulty(packet: Packet): void {
    const faults = this.#faults
    const leavesMs = this.#serialize(packet.len, faults)
    if (leavesMs < 0) return this.#pool.drop(packet, DropReason.QueueFull)
    this.#take(packet.len)
    if (faults.partitioned === true || this.#random.chance(faults.lossPct ?? 0)) {
      this.counts.lost++
      return this.#drop(packet, DropReason.LinkLost)
    }
    if (this.#random.chance(faults.corruptPct ?? 0)) this.#corrupt(packet)
    const twin = this.#random.chance(faults.duplicatePct ?? 0)
      ? this.#pool.clone(packet)
      : undefined
    this.#launch(packet, leavesMs)
    if (twin === undefined) return
    this.counts.duplicated++
    this.#launch(twin, leavesMs)
  }

  /** When the frame has left by the bandwidth, or -1 if too many wait already. */
  #serialize(bytes: number, { bandwidthBitsPerS = 0, queueFrames }: CableFaults): number {
    const { nowMs } = this.#clock
    if (bandwidthBitsPerS === 0) return nowMs
    const leaves = this.#leaves
    while (leaves.length > 0 && leaves[0]! <= nowMs) leaves.shift()
    if (leaves.length > (queueFrames ?? QUEUE_FRAMES)) return -1
    const leavesMs = (leaves.at(-1) ?? nowMs) + (bytes * 8 * 1000) / bandwidthBitsPerS
    leaves.push(leavesMs)
    return leavesMs
  }

  /**
   * Flip one bit. A partial checksum is finished before, as it would be on a wire, so that the
   * receiver can notice; a super-frame has no one checksum to finish and stays whole.
   */
  #corrupt(packet: Packet): void {
    if (packet.gsoType !== GsoType.None || packet.len === 0) return
    const { mem } = this.#pool
    const { csumStart, csumOffset, head } = packet
    const end = head + packet.len
    if (csumStart !== 0) {
      if (csumStart < head || csumStart + csumOffset + 2 > end) return
      finish(mem, csumStart, csumOffset, end)
      packet.csumStart = 0
      packet.csumOffset = 0
    }
    mem[head + this.#random.below(packet.len)]! ^= 1 << this.#random.below(8)
    this.counts.corrupted++
  }

  #launch(packet: Packet, leavesMs: number): void {
    const { delayMs = 0, jitterMs = 0, reorderPct = 0 } = this.#faults
    const jitter = jitterMs > 0 ? this.#random.below(Math.ceil(jitterMs * 1000) + 1) / 1000 : 0
    let atMs = Math.max(this.#lastMs, leavesMs + delayMs + jitter)
    if (this.#random.chance(reorderPct)) {
      atMs += REORDER_HOLD_MS
      this.counts.reordered++
    } else this.#lastMs = atMs
    const flights = this.#flights
    let at = flights.length
    while (at > 0 && flights[at - 1]!.atMs > atMs) at--
    flights.splice(at, 0, { packet, atMs })
    this.counts.flying++
    if (at === 0) this.#land()
  }

  /** Hand over all that is due, and wait for the next. */
  #land(): void {
    this.#timer?.()
    this.#timer = undefined
    const { nowMs } = this.#clock
    const flights = this.#flights
    while (flights.length > 0 && flights[0]!.atMs <= nowMs) {
      const { packet } = flights.shift()!
      this.counts.flying--
      if (this.#arrive(packet)) continue
      this.counts.overflowed++
      this.#drop(packet, DropReason.QueueFull)
    }
    if (flights.length === 0) return
    this.#timer = this.#clock.after(flights[0]!.atMs - nowMs, () => this.#land())
  }

  /** End a frame that was taken: counted at the end that transmitted it, whoever it came from. */
  #drop(packet: Packet, reason: number): void {
    packet.ingress = this.#port
    this.#pool.drop(packet, reason)
  }
}
