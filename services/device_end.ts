/**
 * Our end of a device: where frames can be watched, and cut for a device that cannot take them
 * whole. What lies behind it is an edge of a network (edge.ts) or a leg of the router (uplink.ts).
 *
 * ```text
 *   device.output -> [captures] -> [rate] -> [flow cache] -> next
 *   device   <- sender <- [too big] <- [segmenter] <- [captures] <- [rate] <- transmit
 * ```
 *
 * The segmenter is there only if the device lacks an offload; what tells senders that frames are
 * too big only if the device takes less than its network carries; captures only while somebody
 * watches. Rates count what the cache passes too: they are on the device's side of it, both ways.
 */
import { type Device, sender } from '../stack/device.ts'
import { DropReason } from '../stack/drop.ts'
import { HEADER_BYTES } from '../stack/eth/frame.ts'
import type { FlowCache } from '../stack/ip/flow_cache.ts'
import type { RateLimit } from '../stack/ip/rate_limit.ts'
import { segmenter } from '../stack/ip/segment.ts'
import { GsoType, type Output, type Packet, type Pool } from '../stack/packet.ts'

/** Sees a frame; the octets are good until it returns. */
export type CaptureSink = (
  device: string,
  direction: 'in' | 'out',
  mem: Uint8Array,
  at: number,
  bytes: number,
) => void

/** Seen from the sandbox behind the device: ingress is sent to it. Undefined: no limit. */
export interface RateLimits {
  readonly ingress: RateLimit | undefined
  readonly egress: RateLimit | undefined
}

const NO_LIMITS: RateLimits = { ingress: undefined, egress: undefined }

export class DeviceEnd {
  readonly device: Device
  /** Towards the device. Takes ownership. */
  readonly transmit: Output
  readonly #pool: Pool
  readonly #flows: FlowCache | undefined
  #next: Output
  #sinks: readonly CaptureSink[] = []
  #limits: RateLimits = NO_LIMITS

  /**
   * `flows`: in front of all that {@link connect} connects; undefined: none. `tooBig`: sees frames
   * above the device's MTU before the device drops them, and leaves them as they are.
   */
  constructor(pool: Pool, device: Device, flows: FlowCache | undefined, tooBig?: Output) {
    this.device = device
    this.#pool = pool
    this.#flows = flows
    this.#next = device.output
    const { csum, tso, uso } = device.offload
    const sends = sender(pool, device)
    const transmit = tooBig === undefined ? sends : measured(device, tooBig, sends)
    const next = csum && tso && uso ? transmit : segmenter(pool, device, transmit)
    this.transmit = (packet) => {
      if (packet.recorded) pool.notes.left(packet, this.transmit, device.port)
      const limit = this.#limits.ingress
      if (limit !== undefined && !limit.admits(packet)) {
        return pool.drop(packet, DropReason.RateLimited)
      }
      if (this.#sinks.length > 0) this.#see('out', packet)
      next(packet)
    }
  }

  /** Where frames from the device go from now on. */
  connect(next: Output): void {
    this.#next = this.#flows?.input(this.device.port, next) ?? next
    this.watch(this.#sinks)
  }

  /** How much may pass from now on. */
  limit(limits: RateLimits): void {
    this.#limits = limits
    this.watch(this.#sinks)
  }

  /** Who watches from now on; none: nothing is left of it on the way in. */
  watch(sinks: readonly CaptureSink[]): void {
    this.#sinks = sinks
    const next = this.#limits.egress?.before(this.#next) ?? this.#next
    this.device.output =
      sinks.length === 0
        ? next
        : (packet) => {
            this.#see('in', packet)
            next(packet)
          }
  }

  #see(direction: 'in' | 'out', packet: Packet): void {
    if (packet.traced) return
    for (let i = 0; i < this.#sinks.length; i++) {
      this.#sinks[i]!(this.device.name, direction, this.#pool.mem, packet.head, packet.len)
    }
  }
}

/** A super-frame is as large as its segments, of which the receiver itself said how large. */
function measured({ mtuBytes }: Device, tooBig: Output, next: Output): Output {
  const most = HEADER_BYTES + mtuBytes
  return (packet) => {
    if (packet.len > most && packet.gsoType === GsoType.None) tooBig(packet)
    next(packet)
  }
}
