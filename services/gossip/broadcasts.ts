/**
 * Messages for everybody, each sent a limited number of times to members taken by chance: of those
 * that were sent least, the newest first. A newer message about the same subject takes the place
 * of the older one. Full, the queue lets go of what was sent most often.
 */
export interface Broadcast {
  /** What it is about; '': it replaces nothing and nothing replaces it. */
  readonly subject: string
  readonly message: Uint8Array
  /** It was sent as often as it should be, or replaced, or let go. */
  readonly onDone?: () => void
}

interface Entry extends Broadcast {
  sent: number
}

/** Of each queue: with 1 KB each, some megabytes. */
const BROADCASTS_MAX = 4096

export class BroadcastQueue {
  /** By how often they were sent; in each, the oldest first. */
  readonly #tiers: Entry[][] = [[]]
  /** The one about each subject. */
  readonly #subjects = new Map<string, Entry>()
  readonly #onQueued: () => void
  #size = 0
  /** None that is here is shorter. */
  #shortest = Number.POSITIVE_INFINITY
  /** Let go because the queue was full. */
  overflows = 0

  /** `onQueued`: there is something to send. */
  constructor(onQueued: () => void) {
    this.#onQueued = onQueued
  }

  get size(): number {
    return this.#size
  }

  queue(broadcast: Broadcast): void {
    if (broadcast.subject !== '') this.#replace(broadcast.subject)
    if (this.#size === BROADCASTS_MAX) this.#letGo()
    const entry: Entry = { ...broadcast, sent: 0 }
    this.#tiers[0]!.push(entry)
    if (this.#size === 0) this.#shortest = Number.POSITIVE_INFINITY
    this.#shortest = Math.min(this.#shortest, entry.message.length)
    if (entry.subject !== '') this.#subjects.set(entry.subject, entry)
    this.#size++
    this.#onQueued()
  }

  /**
   * Messages to send now, to one member: at most `bytes` octets with `overhead` octets for each.
   * What was sent `limit` times is done.
   */
  take(overhead: number, bytes: number, limit: number): Uint8Array[] {
    const messages: Uint8Array[] = []
    if (this.#size === 0) return messages
    const taken: Entry[] = []
    let left = bytes - overhead
    for (const tier of this.#tiers) {
      for (let i = tier.length - 1; i >= 0 && left >= this.#shortest; i--) {
        const entry = tier[i]!
        if (entry.message.length > left) continue
        left -= entry.message.length + overhead
        messages.push(entry.message)
        taken.push(entry)
        tier.splice(i, 1)
      }
    }
    for (const entry of taken) this.#sent(entry, limit)
    return messages
  }

  #sent(entry: Entry, limit: number): void {
    entry.sent++
    if (entry.sent >= limit) return this.#done(entry)
    while (this.#tiers.length <= entry.sent) this.#tiers.push([])
    this.#tiers[entry.sent]!.push(entry)
  }

  #replace(subject: string): void {
    const entry = this.#subjects.get(subject)
    if (entry === undefined) return
    const tier = this.#tiers[entry.sent]!
    this.#remove(tier, tier.indexOf(entry))
  }

  #letGo(): void {
    const tier = this.#tiers.findLast((entries) => entries.length > 0)
    if (tier === undefined) return
    this.overflows++
    this.#remove(tier, 0)
  }

  #remove(tier: Entry[], at: number): void {
    const [entry] = tier.splice(at, 1)
    if (entry !== undefined) this.#done(entry)
  }

  /** It is out of its tier, and over. */
  #done(entry: Entry): void {
    this.#size--
    if (this.#subjects.get(entry.subject) === entry) this.#subjects.delete(entry.subject)
    entry.onDone?.()
  }
}
