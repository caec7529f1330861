/**
 * The way of one packet, in words. A packet with `traced` set goes through the real elements; each
 * tells here what it does, changes no state of its own, and the packet is never transmitted.
 *
 * Text is built only for traced packets: elements guard each step with `if (packet.traced)`.
 */
export interface TraceStep {
  /** The element that speaks, such as `bridge front` or `router`. */
  readonly element: string
  readonly text: string
}

/** Where a copy of the traced packet ended: a flooded frame ends once a port. */
export interface TraceEnd {
  readonly verdict: 'transmitted' | 'dropped' | 'consumed' | 'queued'
  /** A drop reason's name, a device's name, or a sentence. */
  readonly detail: string
}

export class Trace {
  readonly steps: TraceStep[] = []
  readonly ends: TraceEnd[] = []

  step(element: string, text: string): void {
    this.steps.push({ element, text })
  }

  end(verdict: TraceEnd['verdict'], detail: string): void {
    this.ends.push({ verdict, detail })
  }
}
