/**
 * Time, as elements see it: `nowMs` stands still during a breath, and timers run between breaths.
 * The virtual clock makes a simulation a function of its seed.
 *
 * Timers are taken from Node's modules, as whoever fakes those of `globalThis` (a test, around the
 * code that it tests) does not mean frames and kernels.
 */
import { performance } from 'node:perf_hooks'
import { clearTimeout, setTimeout } from 'node:timers'

/** Takes a timer back. Idempotent; harmless after the timer ran. */
export type Cancel = () => void

export interface Clock {
  /** Milliseconds since some fixed point; never goes back. */
  readonly nowMs: number
  /** Run once, `delayMs` from now. */
  after(delayMs: number, run: () => void): Cancel
}

/** Run again and again until cancelled. */
export function every(clock: Clock, periodMs: number, run: () => void): Cancel {
  let cancel: Cancel
  const again = (): void => {
    cancel = clock.after(periodMs, again)
    run()
  }
  cancel = clock.after(periodMs, again)
  return () => cancel()
}

/** The machine's monotonic clock; the scheduler calls {@link SystemClock.tick} each breath. */
export class SystemClock implements Clock {
  nowMs: number = performance.now()
  readonly #timers = new Set<NodeJS.Timeout>()

  tick(): void {
    this.nowMs = performance.now()
  }

  after(delayMs: number, run: () => void): Cancel {
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      this.tick()
      run()
    }, delayMs)
    this.#timers.add(timer)
    return () => {
      clearTimeout(timer)
      this.#timers.delete(timer)
    }
  }

  /** Timers not yet run. */
  get pending(): number {
    return this.#timers.size
  }
}

interface Due {
  readonly atMs: number
  readonly order: number
  readonly run: () => void
  live: boolean
}

/** Instants of virtual time are multiples of 1/1024 ms, which sums of them stay exactly. */
const TICKS_PER_MS = 1024

/**
 * Time that moves only when told to. Timers due at one instant run in the order they were set, and
 * none before its time by a rounding error: whoever waits for `atMs - nowMs` then finds `atMs`
 * reached, instead of waiting again for nothing, forever.
 */
export class VirtualClock implements Clock {
  nowMs = 0
  /** A binary heap: the earliest at the root. */
  readonly #heap: Due[] = []
  #order = 0
  #pending = 0

  after(delayMs: number, run: () => void): Cancel {
    const due: Due = {
      atMs: Math.ceil((this.nowMs + Math.max(0, delayMs)) * TICKS_PER_MS) / TICKS_PER_MS,
      order: this.#order++,
      run,
      live: true,
    }
    this.#pending++
    this.#push(due)
    return () => {
      if (due.live) this.#pending--
      due.live = false
    }
  }

  get pending(): number {
    return this.#pending
  }

  /** When the next timer is due, or Infinity. */
  get nextMs(): number {
    while (this.#heap[0]?.live === false) this.#pop()
    return this.#heap[0]?.atMs ?? Number.POSITIVE_INFINITY
  }

  /** Go to the next timer and run it. False if there is none at or before `limitMs`. */
  step(limitMs: number): boolean {
    const { nextMs } = this
    if (nextMs > limitMs || nextMs === Number.POSITIVE_INFINITY) return false
    const due = this.#pop()
    this.#pending--
    due.live = false
    this.nowMs = due.atMs
    due.run()
    return true
  }

  /** Go to `ms` (absolute) without running anything. Precondition: nothing is due before it. */
  jump(ms: number): void {
    this.nowMs = Math.max(this.nowMs, ms)
  }

  #push(due: Due): void {
    const heap = this.#heap
    let at = heap.push(due) - 1
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!before(due, heap[parent]!)) break
      heap[at] = heap[parent]!
      at = parent
    }
    heap[at] = due
  }

  #pop(): Due {
    const heap = this.#heap
    const root = heap[0]!
    const last = heap.pop()!
    if (heap.length === 0) return root
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++
      if (child >= heap.length || !before(heap[child]!, last)) break
      heap[at] = heap[child]!
      at = child
    }
    heap[at] = last
    return root
  }
}

function before(a: Due, b: Due): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order)
}
