/**
 * Learning process of a bridge (IEEE 802.1Q clause 8.7): what the source of a frame teaches.
 *
 * ```text
 *   station is ...                what happens
 *   here, learned                 refreshed (nearly every frame)
 *   static                        nothing: what is configured wins
 *   on another port               it moved; if it flaps, the newer of the two ports is shut
 *   new                           learned, if the port may hold another one (see fdb.ts)
 * ```
 *
 * Of two ports between which a station flaps, the one added later is shut: it is what closed the
 * loop. Its learned stations are forgotten, so they are found again wherever else they are heard,
 * and it opens again after the hold time.
 */
import { i32, u16 } from '../bytes.ts'
import type { Clock } from '../clock.ts'
import type { Packet, Pool } from '../packet.ts'
import { type Port, PortState } from './bridge_port.ts'
import type { Fdb } from './fdb.ts'
import { SRC } from './frame.ts'
import type { LoopGuard } from './loopguard.ts'
import { formatMac, mac } from './mac.ts'

/** What an operator should hear of. */
export type BridgeEvent =
  /** A station flapped between `port`, which is now shut for `holdMs`, and `other`. */
  | {
      readonly kind: 'loop'
      readonly bridge: string
      readonly port: string
      readonly other: string
      readonly mac: string
      readonly vid: number
      readonly holdMs: number
    }
  /** The hold time of a shut port is over. */
  | { readonly kind: 'reopened'; readonly bridge: string; readonly port: string }
  /** The port learns no more stations: it, or the table, is at its limit. */
  | {
      readonly kind: 'fdb-full'
      readonly bridge: string
      readonly port: string
      readonly learned: number
    }

export interface LearningOptions {
  readonly bridge: string
  readonly pool: Pool
  readonly clock: Clock
  readonly fdb: Fdb
  /** The bridge's ports by their index; the bridge changes it. */
  readonly slots: readonly (Port | undefined)[]
  readonly guard: LoopGuard
  readonly log: ((event: BridgeEvent) => void) | undefined
}

/** A port that learns no more says so at most this often. */
const FULL_SAID_EVERY_MS = 60_000

export class Learning {
  readonly #bridge: string
  readonly #pool: Pool
  readonly #clock: Clock
  readonly #fdb: Fdb
  readonly #slots: readonly (Port | undefined)[]
  readonly #guard: LoopGuard
  readonly #log: ((event: BridgeEvent) => void) | undefined

  constructor({ bridge, pool, clock, fdb, slots, guard, log }: LearningOptions) {
    this.#bridge = bridge
    this.#pool = pool
    this.#clock = clock
    this.#fdb = fdb
    this.#slots = slots
    this.#guard = guard
    this.#log = log
  }

  /** Note where the source is. False: that was a loop, and `from` is shut now. */
  learn(from: Port, packet: Packet, vid: number): boolean {
    const fdb = this.#fdb
    const { mem } = this.#pool
    const source = packet.head + SRC
    const hi = u16(mem, source)
    const lo = i32(mem, source + 2)
    const entry = fdb.find(vid, hi, lo)
    if (entry >= 0) return fdb.refresh(entry, from.index) || this.#move(from, entry, vid, packet)
    if (fdb.mayLearn(from.index, from.learnedMax)) fdb.learn(vid, hi, lo, from.index)
    else this.#refuse(from)
    return true
  }

  #move(from: Port, entry: number, vid: number, packet: Packet): boolean {
    const fdb = this.#fdb
    if (fdb.isStatic(entry)) return true
    if (fdb.learned(from.index) >= from.learnedMax) {
      this.#refuse(from)
      return true
    }
    from.moves++
    const before = this.#slots[fdb.port(entry)]!
    const newer = from.order > before.order ? from : before
    const loop = this.#guard.flaps(fdb.values, fdb.guardAt(entry), this.#clock.nowMs)
    if (!loop || newer !== from) fdb.move(entry, from.index)
    if (loop) this.#shut(newer, newer === from ? before : from, packet, vid)
    return from.state === PortState.Forwarding
  }

  #refuse(port: Port): void {
    const { nowMs } = this.#clock
    port.learnRefused++
    if (nowMs - port.fullSaidMs < FULL_SAID_EVERY_MS) return
    port.fullSaidMs = nowMs
    const learned = this.#fdb.learned(port.index)
    this.#log?.({ kind: 'fdb-full', bridge: this.#bridge, port: port.name, learned })
  }

  #shut(port: Port, other: Port, packet: Packet, vid: number): void {
    const { holdMs } = this.#guard
    port.state = PortState.Shut
    this.#pool.notes.changed()
    this.#fdb.forgetPort(port.index, false)
    port.cancelReopen = this.#clock.after(holdMs, () => {
      port.state = PortState.Forwarding
      this.#pool.notes.changed()
      port.cancelReopen = undefined
      this.#log?.({ kind: 'reopened', bridge: this.#bridge, port: port.name })
    })
    const station = formatMac(mac(this.#pool.mem, packet.head + SRC))
    const where = { bridge: this.#bridge, port: port.name, other: other.name }
    this.#log?.({ kind: 'loop', ...where, mac: station, vid, holdMs })
  }
}
