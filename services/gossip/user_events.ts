/**
 * Events that users send to all members, by name and with some octets: each is told once, however
 * often and by whichever ways it arrives, and sent on to others.
 *
 * Events have Lamport times. The last {@link EVENTS_MAX} times are remembered, to know what was
 * seen and to tell members that join; what is older is refused. With a join, only later events
 * are told, not those that happened before.
 */
import { StackError } from '../../stack/errors.ts'
import { LAMPORT_MAX, LamportClock } from './lamport.ts'
import type { EventsAt, UserEvent } from './serf_messages.ts'

/** serf's `EventBuffer`. */
const EVENTS_MAX = 512
/** Events at one Lamport time: as many members sent one without knowing of each other's. */
const EVENTS_AT_MAX = 64
/** Octets of a name and a payload together: serf's limit for what members send. */
const EVENT_BYTES_MAX = 512

interface Slot {
  readonly time: number
  readonly events: { readonly name: string; readonly payload: Uint8Array }[]
}

export type UserEventListener = (event: UserEvent) => void

export class UserEvents {
  readonly clock: LamportClock = new LamportClock()
  readonly #slots: (Slot | undefined)[] = new Array<Slot | undefined>(EVENTS_MAX).fill(undefined)
  readonly #listeners = new Set<UserEventListener>()
  /** Nothing before it is told. */
  #minTime = 0

  /** Told of each event once. Returns how to leave. */
  subscribe(listener: UserEventListener): () => void {
    this.#listeners.add(listener)
    return () => {
      this.#listeners.delete(listener)
    }
  }

  /** A new one, which happens now. @throws StackError `bad-argument` if it is too long. */
  make(name: string, payload: Uint8Array, coalesce: boolean): UserEvent {
    if (name === '' || Buffer.byteLength(name) + payload.length > EVENT_BYTES_MAX) {
      const text = `an event has a name, and at most ${EVENT_BYTES_MAX} octets with it`
      throw new StackError('bad-argument', text)
    }
    return { type: 'user-event', time: this.clock.tick(), name, payload, coalesce }
  }

  /** True if it was not seen before: it was told, and is to be sent on. */
  receive(event: UserEvent): boolean {
    if (!this.#remember(event)) return false
    for (const listener of this.#listeners) listener(event)
    return true
  }

  /** What another member remembers. */
  merge(all: readonly EventsAt[]): void {
    for (const { time, events } of all) {
      for (const event of events) {
        this.receive({ type: 'user-event', time, ...event, coalesce: false })
      }
    }
  }

  /** Nobody is told any more. */
  close(): void {
    this.#listeners.clear()
  }

  #remember({ time, name, payload }: UserEvent): boolean {
    if (time >= LAMPORT_MAX) return false
    this.clock.witness(time)
    if (time < this.#minTime) return false
    if (this.clock.time > EVENTS_MAX && time < this.clock.time - EVENTS_MAX) return false
    const at = time % EVENTS_MAX
    let slot = this.#slots[at]
    if (slot === undefined || slot.time !== time) {
      slot = { time, events: [] }
      this.#slots[at] = slot
    }
    const seen = slot.events.some((event) => {
      return event.name === name && Buffer.compare(event.payload, payload) === 0
    })
    if (seen || slot.events.length >= EVENTS_AT_MAX) return false
    slot.events.push({ name, payload })
    return true
  }

  /** Another member, which this one joins, is at `time`: what was before is not for us. */
  ignoreBefore(time: number): void {
    if (time < LAMPORT_MAX) this.#minTime = Math.max(this.#minTime, time)
  }

  /** What is remembered. */
  recent(): EventsAt[] {
    return this.#slots.filter((slot) => slot !== undefined)
  }
}
