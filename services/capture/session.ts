/**
 * One running capture: frames that devices see, filtered and written as pcapng.
 *
 * ```text
 *   device ──> sink ──> filter ──> PcapngWriter ──> write (an HTTP answer)
 * ```
 *
 * The sink runs on the data path, between a device and the bridge, and only while a capture is on.
 * It never waits: if the reader is too slow, so that more than {@link BACKLOG_BYTES_MAX} octets
 * wait for it, frames are left out and counted, and the next frame that is written says how many
 * in a comment, where Wireshark and `tapline capture` show it.
 */
import { type Direction, PcapngWriter } from '../../stack/eth/pcapng.ts'
import type { Filter } from './filter.ts'

/** What a slow reader may cost in memory. */
export const BACKLOG_BYTES_MAX: number = 16 * 1024 * 1024

export interface CaptureOptions {
  readonly filter: Filter
  /** Octets kept of each frame; left out: all. */
  readonly snapBytes?: number | undefined
  /** Frames after which the capture ends; left out: never. */
  readonly count?: number | undefined
  /** Now, in microseconds since 1970. */
  readonly nowUs: () => number
  /** Takes whole pcapng blocks. */
  readonly write: (bytes: Uint8Array) => void
  /** Octets written and not yet taken by the reader. */
  readonly backlogBytes: () => number
  /** Called once, when `count` frames are written. */
  readonly end: () => void
}

export class CaptureSession {
  readonly #options: CaptureOptions
  readonly #writer: PcapngWriter
  readonly #interfaces = new Map<string, number>()
  #left: number
  #missed = 0

  /** Writes the head of the capture at once, so that a live reader can start. */
  constructor(options: CaptureOptions) {
    const { write, snapBytes, count } = options
    this.#options = options
    this.#writer = new PcapngWriter(snapBytes === undefined ? { write } : { write, snapBytes })
    this.#left = count ?? Number.POSITIVE_INFINITY
  }

  /** A device that may be seen; others are added with their first frame. */
  addInterface(device: string): number {
    const known = this.#interfaces.get(device)
    if (known !== undefined) return known
    const added = this.#writer.addInterface(device)
    this.#interfaces.set(device, added)
    return added
  }

  /** Look at a frame; the octets are copied before this returns. */
  readonly sink = (
    device: string,
    direction: Direction,
    mem: Uint8Array,
    at: number,
    bytes: number,
  ): void => {
    const { filter, backlogBytes, nowUs, end } = this.#options
    if (this.#left === 0 || !filter(mem, at, bytes)) return
    if (backlogBytes() > BACKLOG_BYTES_MAX) {
      this.#missed++
      return
    }
    const comment = this.#missed === 0 ? undefined : missedText(this.#missed)
    this.#missed = 0
    const iface = this.addInterface(device)
    this.#writer.packet(iface, mem, at, bytes, nowUs(), direction, comment)
    if (--this.#left === 0) end()
  }
}

/** Comment of a frame before which others were left out. */
function missedText(count: number): string {
  const what = count === 1 ? '1 frame was' : `${count} frames were`
  return `${what} left out before this one: the reader is too slow`
}
