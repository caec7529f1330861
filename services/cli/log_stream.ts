/**
 * Lines on their way to stderr, written beside the data path.
 *
 * Whoever should take them may not: a pipe that nobody reads is full (EAGAIN), and so may be a disk
 * (ENOSPC). Lines wait in memory meanwhile, up to {@link WAITING_BYTES_MAX}, and what goes beyond
 * is lost. They are offered again with the next line, and to a full pipe by the clock.
 *
 * Not pino's own destination: at the end of the process it tries for as long as it takes, so that a
 * daemon whose log is on a full disk could not be stopped.
 */
import { write } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

const WAITING_BYTES_MAX = 1024 * 1024
const RETRY_MS = 100
/** How long the end of the process is put off for lines that nobody takes. */
const FLUSH_MS_MAX = 500
const FLUSH_LOOK_MS = 10

export class LogStream {
  readonly #fd: number
  #waiting: Uint8Array[] = []
  /** With those that are being written. */
  #waitingBytes = 0
  #writing = false

  constructor(fd: number) {
    this.#fd = fd
  }

  write(line: string): void {
    const bytes = Buffer.from(line)
    if (this.#waitingBytes + bytes.length <= WAITING_BYTES_MAX) {
      this.#waiting.push(bytes)
      this.#waitingBytes += bytes.length
    }
    this.#next()
  }

  /** Until all is written, or nobody takes it: before the process ends. */
  async flush(): Promise<void> {
    const deadline = performance.now() + FLUSH_MS_MAX
    this.#next()
    while (this.#waitingBytes > 0 && performance.now() < deadline) await sleep(FLUSH_LOOK_MS)
  }

  #next(): void {
    if (this.#writing || this.#waiting.length === 0) return
    this.#writing = true
    const bytes = Buffer.concat(this.#waiting)
    this.#waiting = []
    write(this.#fd, bytes, (error, count) => {
      this.#writing = false
      const written = error === null ? count : 0
      this.#waitingBytes -= written
      if (written < bytes.length) this.#waiting.unshift(bytes.subarray(written))
      if (error === null) this.#next()
      else if (error.code === 'EAGAIN') setTimeout(() => this.#next(), RETRY_MS).unref()
    })
  }
}
