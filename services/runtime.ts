/**
 * What a router process runs on: packet memory, an I/O engine, the system clock, TAPs; and the
 * loop that breathes.
 *
 * The loop is the event loop. The engine's descriptor wakes it; it then breathes until there is
 * nothing left to do, but lets timers, sockets and the API in after {@link BREATHS_MAX} breaths.
 * Between wake-ups nothing runs, so an idle node costs nothing.
 */

import { setImmediate } from 'node:timers'
import { SystemClock } from '../stack/clock.ts'
import type { Offload } from '../stack/device.ts'
import { NO_OFFLOAD } from '../stack/device.ts'
import type { Engine } from '../stack/engine.ts'
import { StackError } from '../stack/errors.ts'
import { PollEngine } from '../stack/native/poll_engine.ts'
import { probeOffload } from '../stack/native/probe.ts'
import { mapSlab } from '../stack/native/slab.ts'
import { UringEngine } from '../stack/native/uring_engine.ts'
import { Pool, poolBytes } from '../stack/packet.ts'
import { Random } from '../stack/random.ts'
import { KernelDnsHost } from './dns/kernel_host.ts'
import { type Placement, placeThread } from './placement.ts'
import { TapLinks } from './taps.ts'

export type EngineChoice = 'auto' | 'io_uring' | 'poll'

export interface RuntimeOptions {
  /** `auto`: io_uring where the kernel has it and allows it, else poll. */
  readonly engine?: EngineChoice
  /** Packets of the two slot classes. Memory is taken only as it is used. */
  readonly smallCount?: number
  readonly largeCount?: number
  /** False: no super-frames on any TAP, whatever the kernel can do. */
  readonly offload?: boolean
  /** True: leave a crowded processor by itself; see placement.ts. */
  readonly placement?: boolean
  readonly seed?: number
}

const SMALL_COUNT = 4096
const LARGE_COUNT = 512
/** Breaths before the event loop has its turn: some milliseconds of traffic. */
const BREATHS_MAX = 64
/** Events of one breath. */
const BREATH_BUDGET = 256

export class Runtime {
  readonly pool: Pool
  readonly clock: SystemClock = new SystemClock()
  readonly random: Random
  readonly engine: Engine
  readonly links: TapLinks
  readonly dns: KernelDnsHost
  /** The engine in use, and why it is not the other one: for logs. */
  readonly describe: string
  readonly #placement: Placement | undefined
  #open = true
  #scheduled = false
  /** Events of all breaths. */
  #moved = 0

  /** @throws StackError if TAPs, or the engine that was asked for, cannot be had. */
  constructor(options: RuntimeOptions = {}) {
    const { smallCount = SMALL_COUNT, largeCount = LARGE_COUNT } = options
    const counts = { smallCount, largeCount }
    this.pool = new Pool({ ...counts, memory: mapSlab(poolBytes(counts)) })
    this.random = new Random(options.seed ?? crypto.getRandomValues(new Int32Array(1))[0]!)
    const offload = options.offload === false ? NO_OFFLOAD : probeOffload()
    const { engine, why } = openEngine(this.pool, options.engine ?? 'auto')
    this.engine = engine
    this.describe = `${engine.name}${why}, offloads ${describeOffload(offload)}`
    this.links = new TapLinks({
      pool: this.pool,
      engine,
      offload,
      clock: this.clock,
      random: this.random,
    })
    this.dns = new KernelDnsHost(this.clock)
    this.#placement = options.placement === true ? placeThread() : undefined
    engine.watch(() => this.#turn())
  }

  readonly #turn = (): void => {
    if (!this.#open || this.#scheduled) return
    if (this.#breathe()) {
      this.#scheduled = true
      setImmediate(this.#again)
    }
    // Behind the frames that were there.
    this.#placement?.look(this.clock.nowMs, this.#moved)
  }

  /** Move frames until there are none: true if it ended before. */
  #breathe(): boolean {
    for (let i = 0; i < BREATHS_MAX; i++) {
      this.clock.tick()
      const moved = this.engine.poll(BREATH_BUDGET)
      if (moved === 0) return false
      this.#moved += moved
      if (!this.#open) return false
    }
    return true
  }

  readonly #again = (): void => {
    this.#scheduled = false
    this.#turn()
  }

  /** Give everything back: links first, then the engine. */
  close(): void {
    if (!this.#open) return
    this.#open = false
    this.links.close()
    this.engine.close()
  }
}

function openEngine(pool: Pool, choice: EngineChoice): { engine: Engine; why: string } {
  if (choice === 'poll') return { engine: new PollEngine(pool), why: '' }
  try {
    return { engine: new UringEngine(pool), why: '' }
  } catch (error) {
    if (choice === 'io_uring' || !(error instanceof StackError)) throw error
    return { engine: new PollEngine(pool), why: ` (no io_uring: ${error.message})` }
  }
}

function describeOffload({ tso, uso }: Offload): string {
  if (!tso) return 'off'
  return uso ? 'TSO and USO' : 'TSO'
}
