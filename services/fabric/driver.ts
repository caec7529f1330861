/**
 * What makes time pass in a fabric: on the system clock, or on a virtual one.
 *
 * All that waits in a fabric (a ping for its answer, a socket for a datagram, `advance` for the
 * time to be over) waits by {@link Driver.until}. On a virtual clock the driver runs only while
 * someone waits:
 *
 * ```text
 *   settle: poll every device until nothing moves ──► did that end a wait? ──► let the caller go on
 *      ▲                                                    │ no                     │
 *      └──────────── the next timer ◄───────────────────────┴────────────────────────┘
 * ```
 *
 * The event loop has its turn whenever a wait ended, so what a test does next happens at that
 * instant of virtual time, and never depends on how long anything took in real time. A run is
 * then a function of its seed. Programs on streams (tcp.ts) react over some turns of the event
 * loop: {@link Driver.stir} holds time for {@link QUIET_TURNS} of them.
 */
import { setImmediate } from 'node:timers'
import { type Cancel, type Clock, SystemClock, VirtualClock } from '../../stack/clock.ts'
import { BURST } from '../../stack/device.ts'
import { StackError } from '../../stack/errors.ts'

/**
 * Begins what is waited for: calls one of the two when it is over. What it returns is called if
 * the wait is given up instead, to take timers back. What it throws ends the wait.
 */
export type Begin<T> = (
  resolve: (value: T) => void,
  reject: (error: Error) => void,
) => Cancel | undefined

/** What has frames of its own accord: a device, or an underlay. */
export interface Polled {
  poll(budget: number): number
  flush(): void
}

export interface Driver {
  readonly clock: Clock
  /** Poll a device from now on. */
  add(device: Polled): void
  remove(device: Polled): void
  /** A device that was idle has something to be polled. */
  readonly wake: () => void
  /** A program was told something: it has some turns of the event loop before time goes on. */
  stir(): void
  /** A promise that traffic or a timer settles, or closing: time passes while it is waited for. */
  until<T>(begin: Begin<T>): Promise<T>
  /** Timers not yet run. */
  readonly pending: number
  /** Reject all that is waited for, and stop. Idempotent. */
  close(): void
}

/** Waits that were not settled, so that closing can reject them. */
class Waits {
  readonly #open = new Map<(error: Error) => void, Cancel | undefined>()
  /** Waits that ended so far. */
  ended = 0

  get count(): number {
    return this.#open.size
  }

  add<T>(begin: Begin<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const fail = (error: Error): void => {
        if (!this.#open.delete(fail)) return
        this.ended++
        reject(error)
      }
      this.#open.set(fail, undefined)
      const done = (value: T): void => {
        if (!this.#open.delete(fail)) return
        this.ended++
        resolve(value)
      }
      try {
        const cancel = begin(done, fail)
        if (this.#open.has(fail)) this.#open.set(fail, cancel)
      } catch (error) {
        fail(error as Error)
      }
    })
  }

  rejectAll(error: Error): void {
    for (const [fail, cancel] of [...this.#open]) {
      cancel?.()
      fail(error)
    }
  }
}

/** Breaths at one instant of virtual time after which traffic is taken to be endless. */
const BREATHS_MAX = 1_000_000
/** Timers at one instant after which they are taken to be endless. */
const STEPS_MAX = 1_000_000
/** Turns of the event loop within which a program reacts to what its streams tell it. */
const QUIET_TURNS = 8
/** Instants before the event loop has its turn even if no wait ended. */
const INSTANTS_PER_TURN = 1000

function breathe(devices: readonly Polled[]): number {
  let frames = 0
  for (let i = 0; i < devices.length; i++) frames += devices[i]!.poll(BURST)
  for (let i = 0; i < devices.length; i++) devices[i]!.flush()
  return frames
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

export class VirtualDriver implements Driver {
  readonly clock: VirtualClock = new VirtualClock()
  readonly wake: () => void = () => {}
  readonly #devices: Polled[] = []
  readonly #waits = new Waits()
  #running = false
  #open = true
  /** Timers run since time last moved. */
  #stepsHere = 0
  /** Turns that programs are still to have. */
  #turns = 0

  add(device: Polled): void {
    this.#devices.push(device)
  }

  remove(device: Polled): void {
    const at = this.#devices.indexOf(device)
    if (at >= 0) this.#devices.splice(at, 1)
  }

  get pending(): number {
    return this.clock.pending
  }

  stir(): void {
    this.#turns = QUIET_TURNS
  }

  until<T>(begin: Begin<T>): Promise<T> {
    if (!this.#open) return Promise.reject(closed())
    const promise = this.#waits.add(begin)
    if (!this.#running) {
      this.#running = true
      setImmediate(() => void this.#run())
    }
    return promise
  }

  /** Poll until nothing moves. @throws StackError if that never comes. */
  settle(): void {
    let breaths = 0
    while (breathe(this.#devices) > 0) {
      if (++breaths > BREATHS_MAX) {
        throw new StackError('exhausted', `traffic at ${this.clock.nowMs} ms never ends`)
      }
    }
  }

  /**
   * Let so much time pass at once, whoever waits: for simulations, which need no event loop.
   * @throws StackError as {@link settle}.
   */
  pass(ms: number): void {
    const untilMs = this.clock.nowMs + ms
    do this.settle()
    while (this.#step(untilMs))
    this.clock.jump(untilMs)
  }

  close(): void {
    this.#open = false
    this.#waits.rejectAll(new StackError('daemon', 'the fabric was closed while this waited'))
  }

  /** Run the next timer. @throws StackError if time stands still while timers run. */
  #step(limitMs: number): boolean {
    const beforeMs = this.clock.nowMs
    if (!this.clock.step(limitMs)) return false
    this.#stepsHere = this.clock.nowMs === beforeMs ? this.#stepsHere + 1 : 0
    if (this.#stepsHere <= STEPS_MAX) return true
    throw new StackError('exhausted', `timers at ${beforeMs} ms never end`)
  }

  async #run(): Promise<void> {
    try {
      let instants = 0
      while (this.#open && this.#waits.count > 0) {
        const { ended } = this.#waits
        this.settle()
        if (this.#waits.ended === ended && this.#turns > 0) {
          this.#turns--
          await turn()
          continue
        }
        if (this.#waits.ended === ended && !this.#step(Number.POSITIVE_INFINITY)) {
          throw new StackError('exhausted', 'nothing is left that could end this wait')
        }
        if (this.#waits.ended !== ended || ++instants % INSTANTS_PER_TURN === 0) await turn()
      }
    } catch (error) {
      this.#waits.rejectAll(error instanceof Error ? error : new Error(String(error)))
    }
    this.#running = false
  }
}

export class SystemDriver implements Driver {
  readonly clock: SystemClock
  /** Programs have the event loop all the time. */
  readonly stir: () => void = () => {}
  readonly wake: () => void = () => this.#schedule()
  readonly #devices: Polled[] = []
  readonly #waits = new Waits()
  #scheduled = false
  #open = true

  constructor(clock: SystemClock = new SystemClock()) {
    this.clock = clock
  }

  add(device: Polled): void {
    this.#devices.push(device)
    this.#schedule()
  }

  remove(device: Polled): void {
    const at = this.#devices.indexOf(device)
    if (at >= 0) this.#devices.splice(at, 1)
  }

  get pending(): number {
    return this.clock.pending
  }

  until<T>(begin: Begin<T>): Promise<T> {
    if (!this.#open) return Promise.reject(closed())
    this.clock.tick()
    return this.#waits.add(begin)
  }

  close(): void {
    this.#open = false
    this.#waits.rejectAll(new StackError('daemon', 'the fabric was closed while this waited'))
  }

  #schedule(): void {
    if (this.#scheduled || !this.#open) return
    this.#scheduled = true
    setImmediate(this.#breathe)
  }

  readonly #breathe = (): void => {
    this.#scheduled = false
    if (!this.#open) return
    this.clock.tick()
    if (breathe(this.#devices) > 0) this.#schedule()
  }
}

export function closed(): StackError {
  return new StackError('daemon', 'the fabric is closed')
}

/** Wait for so many milliseconds of the driver's time. */
export function sleep(driver: Driver, ms: number): Promise<void> {
  return driver.until((resolve) => driver.clock.after(ms, () => resolve(undefined)))
}
