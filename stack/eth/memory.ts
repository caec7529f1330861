/**
 * Cables in memory: two devices, and what goes into one comes out of the other.
 *
 * ```text
 *   a.transmit ──► lane ──► b's inbox ──► b.poll ──► b.output
 *   a.output ◄── a.poll ◄── a's inbox ◄── lane ◄── b.transmit
 * ```
 *
 * Both ends live in one pool, so a frame changes hands and is not copied; its offload facts stay
 * with it. An inbox is a ring that polling empties, in the same breath if nothing delays.
 *
 * Accounts, which the simulator closes after each run: `taken` (what an end transmitted) plus
 * `duplicated` is `given` (what its peer received) plus `lost`, `overflowed`, `abandoned`, `flying`
 * and what waits at the peer. What is lost or
 * overflows on the way is dropped and counted at the end that transmitted. A refused frame
 * (`queue-full`, `frame-oversize`, `frame-offload-bad`, `device-down`) does not count as
 * transmitted; its drop is counted at the device that it came in by, as everywhere.
 *
 * Closing one end tells the other that it is lost, as a TAP is told when its namespace dies.
 */
import type { Clock } from '../clock.ts'
import { type Device, NO_OFFLOAD, type Offload } from '../device.ts'
import { DropReason } from '../drop.ts'
import type { Output, Packet, Pool } from '../packet.ts'
import type { Random } from '../random.ts'
import { egressRefusal } from './egress.ts'
import { isHeader } from './frame.ts'
import { type CableFaults, Lane, type LaneCounts } from './lane.ts'

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

/** Frames that an inbox holds: as many as a TAP's transmit queue does by default. */
const INBOX_FRAMES = 1024

function ignore(): void {}

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
    if (options.faults !== undefined) this.setFaults(options.faults)
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

/** One end, and the lane that leaves it. */
export class CableEnd implements Device {
  readonly name: string
  readonly kind = 'cable'
  readonly port: number
  readonly mtuBytes: number
  readonly offload: Offload
  output: Output
  onLost: (why: string) => void = ignore
  readonly #pool: Pool
  readonly #wake: () => void
  readonly #lane: Lane
  readonly #inbox: (Packet | undefined)[] = new Array(INBOX_FRAMES).fill(undefined)
  /** Frames ever read from and written to the inbox; their difference is in it. */
  #read = 0
  #written = 0
  #peer: CableEnd = this
  #closed = false

  constructor(name: string, { pool, clock, random, mtuBytes, offload, wake }: CableOptions) {
    this.name = name
    this.port = pool.counters.acquirePort()
    this.mtuBytes = mtuBytes ?? 1500
    this.offload = offload ?? NO_OFFLOAD
    this.output = (packet) => pool.drop(packet, DropReason.DeviceDown)
    this.#pool = pool
    this.#wake = wake ?? ignore
    const arrive = (packet: Packet): boolean => this.#peer.#receive(packet)
    this.#lane = new Lane({ pool, clock, random, port: this.port, arrive })
  }

  /** Join with the other end. For {@link Cable} only. */
  plug(peer: CableEnd): void {
    this.#peer = peer
  }

  /** Replace the faults of the direction that leaves this end. */
  setFaults(faults: CableFaults): void {
    this.#lane.setFaults(faults)
  }

  /** Of the direction that leaves this end. */
  get counts(): Readonly<LaneCounts> {
    return this.#lane.counts
  }

  /** Frames that arrived here and were not polled yet. */
  get waiting(): number {
    return this.#written - this.#read
  }

  get closed(): boolean {
    return this.#closed
  }

  poll(budget: number): number {
    let count = 0
    while (count < budget && this.#read !== this.#written) {
      const packet = this.#take()
      packet.ingress = this.port
      this.#peer.#lane.counts.given++
      this.#pool.counters.received(this.port, packet.len)
      if (isHeader(packet.len)) this.output(packet)
      else this.#pool.drop(packet, DropReason.FrameRunt)
      count++
    }
    return count
  }

  transmit(packet: Packet): void {
    const refusal = this.refusal(packet)
    if (refusal >= 0) return this.#pool.drop(packet, refusal)
    this.#lane.carry(packet)
  }

  refusal(packet: Packet): number {
    if (this.#closed || this.#peer.#closed) return DropReason.DeviceDown
    return egressRefusal(this.#pool.mem, packet, this)
  }

  flush(): void {}

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#peer.#lane.counts.abandoned += this.waiting
    while (this.#read !== this.#written) this.#pool.free(this.#take())
    this.#lane.abandon()
    this.#peer.#lane.abandon()
    this.#pool.counters.releasePort(this.port)
    if (!this.#peer.#closed) this.#peer.onLost('the other end of the cable was closed')
  }

  #take(): Packet {
    const at = this.#read++ & (INBOX_FRAMES - 1)
    const packet = this.#inbox[at]!
    this.#inbox[at] = undefined
    return packet
  }

  /** Into this end's inbox; false if it is full. */
  #receive(packet: Packet): boolean {
    if (this.waiting === INBOX_FRAMES) return false
    this.#inbox[this.#written++ & (INBOX_FRAMES - 1)] = packet
    if (this.waiting === 1) this.#wake()
    return true
  }
}
