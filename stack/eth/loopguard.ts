/**
 * Loop guard: in a loop, frames of one station arrive by two ports in turn, so its FDB entry flaps
 * between them. A station that moves more than `movesMax` times within `windowMs` is flapping, and
 * the bridge shuts the port of the two that was added later for `holdMs`.
 *
 * It needs no protocol and no timer of its own: the two words it counts in are part of the FDB
 * entry. A real loop flaps thousands of times a second; a station that migrates, or an address that
 * fails over, moves once. This is no replacement for RSTP: it notices a loop by its storm.
 *
 * ```text
 *   values[at]      moves counted in the window
 *   values[at + 1]  when the window began, milliseconds modulo 2³²
 * ```
 */
import { StackError } from '../errors.ts'

export interface LoopGuardOptions {
  /** Moves of one station that are no loop yet; Infinity: the guard is off. Default 10. */
  readonly movesMax?: number
  /** Default 10 s. */
  readonly windowMs?: number
  /** How long the port stays shut. Default 30 s. */
  readonly holdMs?: number
}

export class LoopGuard {
  readonly movesMax: number
  readonly windowMs: number
  readonly holdMs: number

  /** @throws StackError `bad-argument` if a value is not positive. */
  constructor({ movesMax = 10, windowMs = 10_000, holdMs = 30_000 }: LoopGuardOptions) {
    for (const [name, value] of Object.entries({ movesMax, windowMs, holdMs })) {
      if (!(value > 0)) throw new StackError('bad-argument', `loop guard: ${name} of ${value}`)
    }
    this.movesMax = movesMax
    this.windowMs = windowMs
    this.holdMs = holdMs
  }

  /** Count one move in the two words at `values[at]`. True: the station is flapping. */
  flaps(values: Int32Array, at: number, nowMs: number): boolean {
    const moves = values[at]!
    const sinceMs = (nowMs - values[at + 1]!) | 0
    if (moves === 0 || sinceMs < 0 || sinceMs > this.windowMs) {
      values[at] = 1
      values[at + 1] = nowMs
      return this.movesMax < 1
    }
    values[at] = moves + 1
    return moves + 1 > this.movesMax
  }
}
