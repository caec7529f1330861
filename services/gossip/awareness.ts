/**
 * How well this node itself is doing (Lifeguard): probes that fail though others could have helped,
 * missing nacks and being suspected count against it, probes that succeed for it. The worse it
 * is, the longer it waits before it blames others.
 */
import { AWARENESS_MAX } from './defaults.ts'

export class Awareness {
  /** 0: healthy. */
  score = 0

  apply(delta: number): void {
    this.score = Math.min(AWARENESS_MAX - 1, Math.max(0, this.score + delta))
  }

  scaleMs(timeMs: number): number {
    return timeMs * (this.score + 1)
  }
}
