/**
 * Events that users send to all members, by name and with some octets: each is told once, however
 * often and by whichever ways it arrives, and sent on to others.
 *
 * Events have Lamport times. The last {@link EVENTS_MAX} times are remembered, to know what was
 * seen and to tell members that join; what is older is refused. With a join, only later events
 * are told, not those that happened before.
 */
import { LAMPORT_MAX, LamportClock } from './lamport.ts'
import type { EventsAt, UserEvent } from './serf_messages.ts'

/** serf's `EventBuffer`. */
const EVENTS_MAX = 512
/** Events at one Lamport time: as many members sent one without knowing of each other's. */
const EVENTS_AT_MAX = 64
/** Octets of a name and a payload together: serf's limit for what members send. */
export const EVENT_BYTES_MAX = 512

interface Slot {
  readonly time: number
  readonly events: { readonly name: string; readonly payload: Uint8Array }[]
}

export class UserEvents {
  readonly clock: LamportClock = new LamportClock()
  readonly #slots: (Slot | undefined)[] = new Array<Slot | undefined>(EVENTS_MAX).fill(undefined)
  /** Nothing before it is told. */
  #minTime = 0

  /** True if it was not seen before: it is to be told, and sent on. */
  receive({ time, name, payload }: UserEvent): boolean {
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
