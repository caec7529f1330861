/** Who follows connections as they come, change and go; while nobody does, it costs nothing. */
import type { Conntrack, ConntrackChange } from '../stack/ip/conntrack.ts'
import { type ConntrackRow, describeFlow } from '../stack/ip/conntrack_list.ts'

/** What happened to a connection. */
export interface ConnectionEvent extends ConntrackRow {
  readonly change: ConntrackChange
}

type Listener = (event: ConnectionEvent) => void

export class ConnectionEvents {
  readonly #conntrack: Conntrack
  readonly #listeners = new Set<Listener>()

  constructor(conntrack: Conntrack) {
    this.#conntrack = conntrack
  }

  /** The returned function ends it; idempotent. */
  subscribe(listener: Listener): () => void {
    this.#listeners.add(listener)
    this.#conntrack.changed = (flow, change) => this.#tell(flow, change)
    return () => {
      this.#listeners.delete(listener)
      if (this.#listeners.size === 0) this.#conntrack.changed = undefined
    }
  }

  #tell(flow: number, change: ConntrackChange): void {
    const event: ConnectionEvent = { change, ...describeFlow(this.#conntrack, flow) }
    for (const listener of this.#listeners) listener(event)
  }
}
