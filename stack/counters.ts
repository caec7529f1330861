/**
 * Counters of every device of a node, in one typed array: no allocation, no lock, no name look-up.
 *
 * A device is known here by a small number, its `port`. Port 0 is the node itself: packets that
 * it originates and drops that belong to no device. Doubles count exactly up to 2⁵³.
 */
import { DROP_COUNT } from './drop.ts'

/** Most devices of one node at a time: 1,000 sandboxes with four networks each, and room. */
export const PORTS_MAX = 4096

export const Count = {
  RxPackets: 0,
  RxBytes: 1,
  TxPackets: 2,
  TxBytes: 3,
  /** Writes that the kernel refused. */
  TxErrors: 4,
  /** Times that receiving stopped for want of buffers. */
  RxNoBuffer: 5,
} as const
const FIELDS = 6

export class Counters {
  readonly #values = new Float64Array(PORTS_MAX * FIELDS)
  readonly #drops = new Float64Array(PORTS_MAX * DROP_COUNT)
  readonly #used = new Uint8Array(PORTS_MAX)

  constructor() {
    this.#used[0] = 1
  }

  /** The lowest free port number, its counters at zero. @throws RangeError if there is none. */
  acquirePort(): number {
    const port = this.#used.indexOf(0)
    if (port < 0) throw new RangeError(`more than ${PORTS_MAX} devices in one node`)
    this.#used[port] = 1
    this.#values.fill(0, port * FIELDS, (port + 1) * FIELDS)
    this.#drops.fill(0, port * DROP_COUNT, (port + 1) * DROP_COUNT)
    return port
  }

  releasePort(port: number): void {
    this.#used[port] = 0
  }

  received(port: number, bytes: number): void {
    const at = port * FIELDS
    this.#values[at]!++
    this.#values[at + 1]! += bytes
  }

  transmitted(port: number, bytes: number): void {
    const at = port * FIELDS + 2
    this.#values[at]!++
    this.#values[at + 1]! += bytes
  }

  /** Add one to a field of {@link Count}. */
  bump(port: number, field: number): void {
    this.#values[port * FIELDS + field]!++
  }

  dropped(port: number, reason: number): void {
    this.#drops[port * DROP_COUNT + reason]!++
  }

  value(port: number, field: number): number {
    return this.#values[port * FIELDS + field]!
  }

  drops(port: number, reason: number): number {
    return this.#drops[port * DROP_COUNT + reason]!
  }

  /** Sum of one reason over all ports. */
  dropTotal(reason: number): number {
    let total = 0
    for (let port = 0; port < PORTS_MAX; port++) total += this.drops(port, reason)
    return total
  }
}
