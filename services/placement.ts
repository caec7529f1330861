/**
 * Keeps the thread of the data path off a processor that it must share while another one idles.
 *
 * The scheduler likes to run who is woken where the waker runs. A sender wakes us with every frame,
 * so it pulls us onto its own processor, and then both take turns on one while the next is idle:
 * one stream of TCP between sandboxes ran at 6.3 Gbit/s so, and at 9.4 beside it.
 *
 * Whether another processor is better cannot be told from the books alone, so it is tried:
 *
 * ```text
 *            waited, and a processor idles: that one
 *    free  <----------- tried for TRIAL_MS ----------->  settled on a processor
 *     ^      waited, and another idles: the scheduler       |
 *     +-------------------- a pause in traffic -------------+
 * ```
 * What moved more frames is kept; a trial that did not is the last for {@link RETRY_MS}. Nothing
 * runs by a timer: {@link Placement.look} is called by the loop that moves frames, and looks only
 * while there are many: to read the kernel's books takes as long as dozens of frames. Processes
 * that the daemon starts inherit where it is.
 */
import {
  allowedProcessors,
  confineThread,
  idleTimes,
  type ThreadTimes,
  threadTimes,
} from '../stack/native/affinity.ts'

/** What is looked at, and changed: the kernel's books, or a test's. */
export interface Processors {
  /** Those that may be used, by number. */
  readonly allowed: readonly number[]
  times(): ThreadTimes
  /** Milliseconds that each has idled. */
  idle(): ReadonlyMap<number, number>
  /** Keep the thread to these. */
  confine(processors: readonly number[]): boolean
}

const LOOK_EVERY_MS = 200
/** Frames a millisecond from which on there is much traffic. */
const MUCH = 1
const TRIAL_MS = 400
const RETRY_MS = 10_000
/** Longer than this without a look: there was little traffic. */
const PAUSE_MS = 1000
/** Shares of the time from which on we wait too much, and another idles enough. */
const WAITED_MIN = 0.1
const IDLE_MIN = 0.25
/** How much more a trial must move. */
const GAIN_MIN = 1.05

/** What is compared: everything since the start. */
interface Books {
  readonly nowMs: number
  readonly moved: number
  readonly waitedMs: number
}

interface Trial {
  /** Where to go back to. */
  readonly from: number | undefined
  /** Frames a millisecond there. */
  readonly rate: number
  readonly since: Books
}

export class Placement {
  readonly #processors: Processors
  /** At the last look, if there was much traffic until now. */
  #last: Books | undefined
  #busyMs = Number.NEGATIVE_INFINITY
  /** When it was asked whether there is much traffic, and frames moved until then. */
  #asked = { nowMs: Number.NEGATIVE_INFINITY, moved: Number.NEGATIVE_INFINITY }
  #home: number | undefined
  #trial: Trial | undefined
  /** Of all processors at the last look, if we waited too much then: a long file to read. */
  #idle: ReadonlyMap<number, number> | undefined
  #restUntilMs = Number.NEGATIVE_INFINITY

  constructor(processors: Processors) {
    this.#processors = processors
  }

  /** The processor in use; undefined: the scheduler chooses. */
  get home(): number | undefined {
    return this.#home
  }

  /** To be called often while there is traffic: the monotonic time, and frames moved so far. */
  look(nowMs: number, moved: number): void {
    const spanMs = nowMs - this.#asked.nowMs
    if (spanMs < LOOK_EVERY_MS) return
    const little = moved - this.#asked.moved < spanMs * MUCH
    this.#asked = { nowMs, moved }
    if (nowMs - this.#busyMs > PAUSE_MS) this.#leave()
    if (little) {
      this.#last = undefined
      this.#idle = undefined
      return
    }
    this.#busyMs = nowMs
    const { waitedMs } = this.#processors.times()
    const books = { nowMs, moved, waitedMs }
    const before = this.#last
    this.#last = books
    if (this.#trial !== undefined) this.#judge(this.#trial, books)
    else if (before !== undefined && nowMs >= this.#restUntilMs) this.#consider(before, books)
  }

  /** What was found out is no longer true. */
  #leave(): void {
    this.#trial = undefined
    this.#idle = undefined
    this.#go(undefined)
  }

  #consider(last: Books, books: Books): void {
    const spanMs = books.nowMs - last.nowMs
    const before = this.#idle
    const waits = books.waitedMs - last.waitedMs >= spanMs * WAITED_MIN
    this.#idle = waits ? this.#processors.idle() : undefined
    if (before === undefined || this.#idle === undefined) return
    const best = this.#idlest(before, this.#idle, spanMs)
    if (best === undefined) return
    this.#idle = undefined
    const rate = (books.moved - last.moved) / spanMs
    const from = this.#home
    if (this.#go(from === undefined ? best : undefined)) this.#trial = { from, rate, since: books }
  }

  /** The processor that idled most, if enough. */
  #idlest(
    before: ReadonlyMap<number, number>,
    now: ReadonlyMap<number, number>,
    spanMs: number,
  ): number | undefined {
    let best: number | undefined
    let bestMs = spanMs * IDLE_MIN
    for (const number of this.#processors.allowed) {
      const idledMs = (now.get(number) ?? 0) - (before.get(number) ?? 0)
      if (number === this.#home || idledMs < bestMs) continue
      best = number
      bestMs = idledMs
    }
    return best
  }

  #judge({ from, rate, since }: Trial, books: Books): void {
    const spanMs = books.nowMs - since.nowMs
    if (spanMs < TRIAL_MS) return
    this.#trial = undefined
    if ((books.moved - since.moved) / spanMs > rate * GAIN_MIN) return
    this.#go(from)
    this.#restUntilMs = books.nowMs + RETRY_MS
  }

  /** False if the kernel refuses. */
  #go(home: number | undefined): boolean {
    if (home === this.#home) return true
    const { allowed } = this.#processors
    if (!this.#processors.confine(home === undefined ? allowed : [home])) return false
    this.#home = home
    return true
  }
}

/** For the calling thread; undefined where there is no choice, or no book of it is kept. */
export function placeThread(): Placement | undefined {
  try {
    const allowed = allowedProcessors()
    threadTimes()
    if (allowed.length < 2) return undefined
    return new Placement({
      allowed,
      times: threadTimes,
      idle: idleTimes,
      confine: confineThread,
    })
  } catch {
    return undefined
  }
}
