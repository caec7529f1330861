/**
 * Storm limits of one bridge port: how many frames a second it may make the bridge copy.
 *
 * One token bucket a class (broadcast, multicast, unknown unicast). A bucket holds one second's
 * worth of tokens, so that the short bursts of a starting host (ARP, duplicate address detection)
 * pass; over a long time exactly the limit does. A super-frame costs as many tokens as it has
 * segments and may leave the bucket in debt: otherwise one of 45 segments would either count once
 * or, under a small limit, never pass.
 *
 * Time is the clock's, which stands still during a breath. State is in typed arrays, and the time
 * is read here and not passed in, because a double that is a field or an argument may be a heap
 * number of its own: garbage for each frame.
 */
import type { Clock } from '../clock.ts'
import { StackError } from '../errors.ts'
import type { Packet } from '../packet.ts'

export interface StormLimits {
  /** Frames a second; 0: none pass; undefined: no limit. */
  readonly broadcastPerS?: number
  readonly multicastPerS?: number
  readonly unknownPerS?: number
}

export const StormClass = { Broadcast: 0, Multicast: 1, Unknown: 2 } as const
const CLASSES = 3

export class Storm {
  readonly #clock: Clock
  readonly #perS = new Float64Array(CLASSES)
  /** One second's worth; at least one frame, unless nothing may pass. */
  readonly #bucket = new Float64Array(CLASSES)
  readonly #tokens = new Float64Array(CLASSES)
  readonly #atMs = new Float64Array(CLASSES)

  /** @throws StackError `bad-argument` if a limit is negative or not a number. */
  constructor(limits: StormLimits, clock: Clock) {
    this.#clock = clock
    const { broadcastPerS, multicastPerS, unknownPerS } = limits
    const rates = [broadcastPerS, multicastPerS, unknownPerS]
    for (let kind = 0; kind < CLASSES; kind++) {
      const perS = rates[kind] ?? Number.POSITIVE_INFINITY
      if (!(perS >= 0)) throw new StackError('bad-argument', `a storm limit of ${perS} a second`)
      this.#perS[kind] = perS
      this.#bucket[kind] = perS > 0 && perS < 1 ? 1 : perS
      this.#tokens[kind] = this.#bucket[kind]!
      this.#atMs[kind] = clock.nowMs
    }
  }

  /** Take the tokens for this packet. False: it is over the limit of its {@link StormClass}. */
  admits(kind: number, packet: Packet): boolean {
    const perS = this.#perS[kind]!
    if (perS === Number.POSITIVE_INFINITY) return true
    const { nowMs } = this.#clock
    const earned = ((nowMs - this.#atMs[kind]!) * perS) / 1000
    const tokens = Math.min(this.#tokens[kind]! + earned, this.#bucket[kind]!)
    this.#atMs[kind] = nowMs
    const admitted = tokens >= 1
    this.#tokens[kind] = admitted ? tokens - segments(packet) : tokens
    return admitted
  }
}

function segments(packet: Packet): number {
  return packet.gsoSize === 0 ? 1 : Math.ceil(packet.len / packet.gsoSize)
}
