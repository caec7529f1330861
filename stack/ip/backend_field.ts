/**
 * The backends of a service as schedulers see them: by index, in typed arrays that grow together.
 * `backends.ts` keeps them; a scheduler only reads.
 *
 * A backend takes part (`configured` above 0) or is not there at all; of those that take part some
 * are ready at the moment, the others down, draining or ejected. Two notions, because a table over
 * all that take part need not be built anew when one of them is out for a while.
 */
import { BACKENDS_MAX } from './nat_marks.ts'

const INITIAL = 16

export class BackendField {
  /** One more than the highest index ever used. */
  size = 0
  /** Indices of those that may be picked, ascending: the first `readyCount` of it. */
  ready: Int32Array = new Int32Array(INITIAL)
  readyCount = 0
  isReady: Uint8Array = new Uint8Array(INITIAL)
  /** Weight as configured. 0: takes no part. */
  configured: Int32Array = new Int32Array(INITIAL)
  /** How much of its share it gets: below 1 while it starts slowly. */
  ramps: Float64Array = new Float64Array(INITIAL)
  /** Connections that it has. */
  active: Int32Array = new Int32Array(INITIAL)
  /** A hash of its address and port: the same on every node and after every restart. */
  identities: Int32Array = new Int32Array(INITIAL)

  /** Make room for one more. False if there are as many as connections can tell apart. */
  extend(): boolean {
    if (this.size >= BACKENDS_MAX) return false
    this.size++
    if (this.size <= this.ready.length) return true
    const room = 2 * this.ready.length
    this.ready = grown(this.ready, new Int32Array(room))
    this.isReady = grown(this.isReady, new Uint8Array(room))
    this.configured = grown(this.configured, new Int32Array(room))
    this.ramps = grown(this.ramps, new Float64Array(room))
    this.active = grown(this.active, new Int32Array(room))
    this.identities = grown(this.identities, new Int32Array(room))
    return true
  }

  /** Share of the moment. */
  weight(backend: number): number {
    return this.configured[backend]! * this.ramps[backend]!
  }
}

function grown<T extends Int32Array | Uint8Array | Float64Array>(from: T, to: T): T {
  to.set(from)
  return to
}
