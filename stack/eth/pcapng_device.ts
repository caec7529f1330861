/**
 * A device made of capture files: `poll` replays the frames of one, `transmit` writes to another.
 *
 * For tests and post-mortems: a node is fed with what was captured elsewhere, and what it answers
 * is a capture again. Frames come as fast as they are polled; timestamps are not waited for. What
 * the capturing node itself had sent (direction `out`), frames cut by the snapshot length and
 * those of other link types or interfaces are passed over and counted in `skipped`. When the source
 * has ended, or turns out to be malformed, the device says so once by `onLost`.
 */
import type { Clock } from '../clock.ts'
import { Count } from '../counters.ts'
import { type Device, NO_OFFLOAD, type Offload } from '../device.ts'
import { DropReason } from '../drop.ts'
import type { Output, Packet, Pool } from '../packet.ts'
import { egressRefusal } from './egress.ts'
import { isHeader } from './frame.ts'
import { LINKTYPE_ETHERNET, type PcapngWriter } from './pcapng.ts'
import type { CapturedFrame, PcapngReader } from './pcapng_reader.ts'

export interface PcapngDeviceOptions {
  readonly name: string
  readonly pool: Pool
  readonly clock: Clock
  readonly mtuBytes?: number
  /** Frames to replay; left out: none. More may be pushed to it until {@link PcapngDevice.end}. */
  readonly source?: PcapngReader
  /** Replay frames of this interface only; left out: of all. */
  readonly interfaceName?: string
  /** Where transmitted frames go; left out: they are only counted. */
  readonly sink?: PcapngWriter
}

export class PcapngDevice implements Device {
  readonly name: string
  readonly kind = 'pcapng'
  readonly port: number
  readonly mtuBytes: number
  readonly offload: Offload = NO_OFFLOAD
  output: Output
  onLost: (why: string) => void = () => {}
  /** Captured frames that were not replayed. */
  skipped = 0
  readonly #pool: Pool
  readonly #clock: Clock
  readonly #source: PcapngReader | undefined
  readonly #only: string | undefined
  readonly #sink: PcapngWriter | undefined
  readonly #sinkInterface: number
  #whole = false
  #lost = false
  #closed = false

  constructor(options: PcapngDeviceOptions) {
    const { name, pool, clock, mtuBytes, source, sink } = options
    this.name = name
    this.port = pool.counters.acquirePort()
    this.mtuBytes = mtuBytes ?? 1500
    this.output = (packet) => pool.drop(packet, DropReason.DeviceDown)
    this.#pool = pool
    this.#clock = clock
    this.#source = source
    this.#only = options.interfaceName
    this.#sink = sink
    this.#sinkInterface = sink?.addInterface(name) ?? -1
  }

  /** No more will be pushed to the source: when it is replayed, the device is lost. */
  end(): void {
    this.#whole = true
  }

  poll(budget: number): number {
    const source = this.#source
    if (source === undefined || this.#closed) return 0
    let count = 0
    while (count < budget && !this.#closed) {
      const frame = source.next()
      if (frame === undefined) {
        this.#exhausted(source)
        break
      }
      if (this.#replay(frame)) count++
    }
    return count
  }

  transmit(packet: Packet): void {
    const refusal = this.refusal(packet)
    if (refusal >= 0) return this.#pool.drop(packet, refusal)
    this.#pool.counters.transmitted(this.port, packet.len)
    const timeUs = this.#clock.nowMs * 1000
    const { head, len } = packet
    this.#sink?.packet(this.#sinkInterface, this.#pool.mem, head, len, timeUs, 'out')
    this.#pool.free(packet)
  }

  refusal(packet: Packet): number {
    if (this.#closed) return DropReason.DeviceDown
    return egressRefusal(this.#pool.mem, packet, this)
  }

  flush(): void {}

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#pool.counters.releasePort(this.port)
  }

  #replay({ bytes, originalBytes, direction, interface: of }: CapturedFrame): boolean {
    const isOther = this.#only !== undefined && of.name !== this.#only
    const isCut = bytes.length < originalBytes
    if (isOther || isCut || of.linkType !== LINKTYPE_ETHERNET || direction === 'out') {
      this.skipped++
      return false
    }
    const packet = this.#pool.alloc(bytes.length)
    if (packet === undefined) {
      this.#pool.counters.bump(this.port, Count.RxNoBuffer)
      this.skipped++
      return false
    }
    this.#pool.mem.set(bytes, packet.head)
    packet.len = bytes.length
    packet.ingress = this.port
    this.#pool.counters.received(this.port, packet.len)
    if (isHeader(packet.len)) this.output(packet)
    else this.#pool.drop(packet, DropReason.FrameRunt)
    return true
  }

  #exhausted({ malformed, pending }: PcapngReader): void {
    if (this.#lost || (malformed === undefined && !this.#whole)) return
    this.#lost = true
    const cut = pending > 0 ? 'the capture ends inside a block' : 'the capture has ended'
    this.onLost(malformed ?? cut)
  }
}
