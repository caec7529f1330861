/**
 * Cables in memory: two devices, and what goes into one comes out of the other.
 *
 * ```text
 *   a.transmit ──► lane ──► b's inbox ──► b.poll ──► b.output
 *   a.output ◄── a.poll ◄── a's inbox ◄── lane ◄── b.transmit
 * ```
 *
 * Both ends live in one pool, so a frame changes hands and is not copied. A lane without faults is
 * a ring: nothing is allocated for a frame, and it can be polled in the same breath. A lane with
 * faults takes these in order: partition, loss, serialization at the bandwidth (a bounded queue
 * in front of it), corruption, duplication, delay with jitter, and reordering. Every choice is
 * drawn from one seeded generator, and no number is drawn for a fault that is off.
 *
 * A lane keeps order: jitter delays a frame and all behind it. Only `reorderPct` lets frames
 * overtake: such a frame is held back a little longer than the ones after it.
 *
 * Accounts, which the simulator closes after each run: what an end transmitted plus `duplicated`
 * is what its peer received plus `lost`, `overflowed`, `flying` and `waiting`. All drops are
 * counted at the end that transmits: `link-lost` and `queue-full` of frames that it took, and
 * refusals (`queue-full`, `frame-oversize`, `frame-offload-bad`, `device-down`) of others, which
 * do not count as transmitted.
 *
 * Closing one end tells the other that it is lost, as a TAP is told when its namespace dies.
 */
import { finish } from '../checksum.ts'
import type { Cancel, Clock } from '../clock.ts'
import type { Device, Offload } from '../device.ts'
import { NO_OFFLOAD } from '../device.ts'
import { DropReason } from '../drop.ts'
import { GsoType, type Output, type Packet, type Pool } from '../packet.ts'
import type { Random } from '../random.ts'
import { EtherType, HEADER_BYTES, TAG_BYTES, type } from './frame.ts'

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

export interface CableOptions {
  readonly name: string
  readonly pool: Pool
  readonly clock: Clock
  readonly random: Random
  readonly mtuBytes?: number
  readonly offload?: Offload
  readonly faults?: CableFaults
  /** Names of the two ends; left out: `NAME.a` and `NAME.b`. */
  readonly ends?: readonly [string, string]
  /** Called when an end has frames to poll and had none: the scheduler's call to wake up. */
  readonly wake?: () => void
}

/** What the faults of one direction did so far. */
export interface LaneCounts {
  /** Taken, and dropped `link-lost`. */
  lost: number
  /** Taken, and dropped `queue-full` when it arrived at a full inbox. */
  overflowed: number
  duplicated: number
  reordered: number
  corrupted: number
  /** Frames on their way: not yet in the inbox of the other end. */
  flying: number
  /** Frames in the inbox of the other end. */
  waiting: number
}

/** Frames that an inbox holds: as many as a TAP's default transmit queue. */
const INBOX_FRAMES = 1024
const QUEUE_FRAMES = 100
/** How much longer a reordered frame is held back, besides its own delay. */
const REORDER_HOLD_MS = 1
const NO_FAULTS: CableFaults = {}

export class Cable {
  readonly name: string
  readonly a: CableEnd
  readonly b: CableEnd

  constructor(options: CableOptions) {
    const [a, b] = options.ends ?? [`${options.name}.a`, `${options.name}.b`]
    this.name = options.name
    this.a = new CableEnd(a, options)
    this.b = new CableEnd(b, options)
    this.a.plug(this.b)
    this.b.plug(this.a)
    this.setFaults(options.faults ?? NO_FAULTS)
  }

  /** Replace the faults of both directions. Frames on their way keep their fate. */
  setFaults(faults: CableFaults): void {
    this.a.setFaults(faults)
    this.b.setFaults(faults)
  }

  /** Close both ends; neither is told that it is lost. Frames on their way are freed. */
  close(): void {
    this.a.onLost = ignore
    this.b.onLost = ignore
    this.a.close()
    this.b.close()
  }
}

function ignore(): void {}

interface Flight {
  readonly packet: Packet
  readonly atMs: number
}

/** One end, and the lane that leaves it. */
export class CableEnd implements Device {
  readonly name: string
  readonly kind = 'cable'
  readonly port: number
  readonly mtuBytes: number
  readonly offload: Offload
  readonly counts: LaneCounts = {
    lost: 0,
    overflowed: 0,
    duplicated: 0,
    reordered: 0,
    corrupted: 0,
    flying: 0,
    waiting: 0,
  }
  output: Output
  onLost: (why: string) => void = ignore
  readonly #pool: Pool
  readonly #clock: Clock
  readonly #random: Random
  readonly #wake: () => void
  readonly #inbox: (Packet | undefined)[] = new Array(INBOX_FRAMES).fill(undefined)
  #peer: CableEnd = this
  #faults: CableFaults = NO_FAULTS
  #clean = true
  #read = 0
  #written = 0
  #closed = false
  /** On their way to the peer, the next to arrive first. */
  readonly #flights: Flight[] = []
  /** When each frame that waits for the bandwidth will have left. */
  readonly #leaves: number[] = []
  #lastMs = 0
  #timer: Cancel | undefined

  constructor(name: string, { pool, clock, random, mtuBytes, offload, wake }: CableOptions) {
    this.name = name
    this.port = pool.counters.acquirePort()
    this.mtuBytes = mtuBytes ?? 1500
    this.offload = offload ?? NO_OFFLOAD
    this.output = (packet) => pool.free(packet)
    this.#pool = pool
    this.#clock = clock
    this.#random = random
    this.#wake = wake ?? ignore
  }

  /** Join with the other end. For {@link Cable} only. */
  plug(peer: CableEnd): void {
    this.#peer = peer
  }

  /** Replace the faults of the direction that leaves this end. */
  setFaults(faults: CableFaults): void {
    this.#faults = faults
    this.#clean = Object.values(faults).every((value) => value === 0 || value === false)
  }

  get closed(): boolean {
    return this.#closed
  }

  poll(budget: number): number {
    let count = 0
    while (count < budget && this.#read !== this.#written) {
      const at = this.#read++ & (INBOX_FRAMES - 1)
      const packet = this.#inbox[at]!
      this.#inbox[at] = undefined
      this.#peer.counts.waiting--
      packet.ingress = this.port
      this.#pool.counters.received(this.port, packet.len)
      this.output(packet)
      count++
    }
    return count
  }

  transmit(packet: Packet): void {
    if (this.#closed || this.#peer.#closed) return this.#drop(packet, DropReason.DeviceDown)
    const refusal = this.#refusal(packet)
    if (refusal >= 0) return this.#drop(packet, refusal)
    if (this.#clean && this.#flights.length === 0) {
      if (this.#peer.#isFull) return this.#drop(packet, DropReason.QueueFull)
      this.#pool.counters.transmitted(this.port, packet.len)
      return this.#peer.#receive(packet)
    }
    this.#transmitFaulty(packet)
  }

  flush(): void {}

  close(): void {
    if (this.#closed) return
    this.#closed = true
    while (this.#read !== this.#written) {
      const at = this.#read++ & (INBOX_FRAMES - 1)
      this.#pool.free(this.#inbox[at]!)
      this.#inbox[at] = undefined
    }
    this.#peer.counts.waiting = 0
    this.#abandon()
    this.#peer.#abandon()
    this.#pool.counters.releasePort(this.port)
    if (!this.#peer.#closed) this.#peer.onLost('the other end of the cable was closed')
  }

  get #isFull(): boolean {
    return this.#written - this.#read === INBOX_FRAMES
  }

  /** A drop at this end, whoever the frame came from. */
  #drop(packet: Packet, reason: number): void {
    packet.ingress = this.port
    this.#pool.drop(packet, reason)
  }

  /** Why the frame cannot be carried, or -1. */
  #refusal({ head, len, gsoType, csumStart }: Packet): number {
    if (csumStart !== 0 && !this.offload.csum) return DropReason.FrameOffloadBad
    if (gsoType !== GsoType.None) {
      const offered = gsoType === GsoType.Udp ? this.offload.uso : this.offload.tso
      return offered ? -1 : DropReason.FrameOffloadBad
    }
    const over = len - HEADER_BYTES - this.mtuBytes
    if (over <= 0) return -1
    const tagged = type(this.#pool.mem, head) === EtherType.Vlan
    return tagged && over <= TAG_BYTES ? -1 : DropReason.FrameOversize
  }

  /** Into this end's inbox. Precondition: there is room. */
  #receive(packet: Packet): void {
    const wasIdle = this.#read === this.#written
    this.#inbox[this.#written++ & (INBOX_FRAMES - 1)] = packet
    this.#peer.counts.waiting++
    if (wasIdle) this.#wake()
  }

  #transmitFaulty(packet: Packet): void {
    const faults = this.#faults
    const leavesMs = this.#serialize(packet, faults)
    if (leavesMs < 0) return this.#drop(packet, DropReason.QueueFull)
    this.#pool.counters.transmitted(this.port, packet.len)
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
  #serialize(packet: Packet, { bandwidthBitsPerS = 0, queueFrames }: CableFaults): number {
    const { nowMs } = this.#clock
    if (bandwidthBitsPerS === 0) return nowMs
    const leaves = this.#leaves
    while (leaves.length > 0 && leaves[0]! <= nowMs) leaves.shift()
    if (leaves.length > (queueFrames ?? QUEUE_FRAMES)) return -1
    const beginsMs = leaves.at(-1) ?? nowMs
    const leavesMs = beginsMs + (packet.len * 8 * 1000) / bandwidthBitsPerS
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
      if (this.#peer.#isFull) {
        this.counts.overflowed++
        this.#drop(packet, DropReason.QueueFull)
      } else this.#peer.#receive(packet)
    }
    if (flights.length === 0) return
    this.#timer = this.#clock.after(flights[0]!.atMs - nowMs, () => this.#land())
  }

  #abandon(): void {
    this.#timer?.()
    this.#timer = undefined
    for (const { packet } of this.#flights) this.#pool.free(packet)
    this.#flights.length = 0
    this.counts.flying = 0
  }
}
