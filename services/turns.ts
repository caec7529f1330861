/** Long work in the thread of the data path, cut into pieces between which frames are forwarded. */
import { performance } from 'node:perf_hooks'
import { setImmediate } from 'node:timers/promises'
import type { Step } from './diff.ts'

/** What may be done at a time. A step alone may take longer: the kernel moves a TAP in 15 ms. */
const PIECE_MS = 2

export class Turns {
  #sandbox = ''
  #sinceMs = performance.now()

  /** Before a step: the event loop has its turn between two sandboxes, and when it has waited. */
  async before(step: Step): Promise<void> {
    const sandbox = sandboxOf(step)
    const isDue = sandbox !== this.#sandbox || performance.now() - this.#sinceMs > PIECE_MS
    this.#sandbox = sandbox
    if (!isDue) return
    await setImmediate()
    this.#sinceMs = performance.now()
  }
}

function sandboxOf(step: Step): string {
  if ('sandbox' in step) return step.sandbox.name
  return 'endpoint' in step ? step.endpoint.sandbox : ''
}
