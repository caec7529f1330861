/**
 * What serf broadcasts, by urgency: who comes and goes, then queries, then user events. They use
 * what room SWIM's own broadcasts leave in a datagram.
 */
import { BroadcastQueue } from './broadcasts.ts'

export type QueueName = 'intents' | 'queries' | 'events'

export class SerfQueues {
  readonly #queues: { readonly [K in QueueName]: BroadcastQueue }
  readonly #bytesMax: () => number
  /** Messages that fit into no datagram, and would wait for ever. */
  oversized = 0

  /** `bytesMax`: of a message that is alone in its datagram. */
  constructor(onQueued: () => void, bytesMax: () => number) {
    this.#bytesMax = bytesMax
    this.#queues = {
      intents: new BroadcastQueue(onQueued),
      queries: new BroadcastQueue(onQueued),
      events: new BroadcastQueue(onQueued),
    }
  }

  get size(): number {
    const { intents, queries, events } = this.#queues
    return intents.size + queries.size + events.size
  }

  queue(name: QueueName, message: Uint8Array, subject = ''): void {
    if (message.length > this.#bytesMax()) this.oversized++
    else this.#queues[name].queue({ subject, message })
  }

  /** As {@link BroadcastQueue.take}. */
  take(overhead: number, bytes: number, limit: number): Uint8Array[] {
    const messages: Uint8Array[] = []
    let left = bytes
    for (const queue of Object.values(this.#queues)) {
      const taken = queue.take(overhead, left, limit)
      for (const { length } of taken) left -= length + overhead
      messages.push(...taken)
    }
    return messages
  }
}
