/** A capture of a fabric's devices, kept in memory as a pcapng file. */
import { writeFileSync } from 'node:fs'
import { PcapngWriter } from '../../stack/eth/pcapng.ts'
import type { Controller } from '../controller.ts'

/** Octets after which nothing more is kept. */
const BYTES_MAX = 256 << 20

/** Records until {@link Capture.stop}, or its fabric is closed. */
export class Capture {
  /** Frames kept. */
  frames = 0
  /** Frames that came after {@link BYTES_MAX}. */
  missed = 0
  readonly #parts: Uint8Array[] = []
  readonly #interfaces = new Map<string, number>()
  readonly #detach: () => void
  #bytes = 0

  /** `nowUs`: microseconds since 1970, or since the virtual clock's beginning. */
  constructor(controller: Controller, devices: readonly string[] | 'all', nowUs: () => number) {
    const write = (bytes: Uint8Array): void => {
      this.#parts.push(bytes)
      this.#bytes += bytes.length
    }
    const writer = new PcapngWriter({ write })
    this.#detach = controller.attachCapture(devices, (device, direction, mem, at, bytes) => {
      if (this.#bytes > BYTES_MAX) {
        this.missed++
        return
      }
      let id = this.#interfaces.get(device)
      if (id === undefined) {
        id = writer.addInterface(device)
        this.#interfaces.set(device, id)
      }
      writer.packet(id, mem, at, bytes, nowUs(), direction)
      this.frames++
    })
  }

  /** The file so far. */
  bytes(): Uint8Array {
    return Buffer.concat(this.#parts)
  }

  /** Write the file so far to `path`, over what is there. */
  save(path: string): void {
    writeFileSync(path, this.bytes())
  }

  /** No more frames; what was captured stays. Idempotent. */
  stop(): void {
    this.#detach()
  }
}
