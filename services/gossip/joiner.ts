/**
 * Gets a node into its cluster, and back: members of its join list that are not there are tried
 * until they are, and of the members that failed one is tried now and then, since a partition
 * leaves both sides with members that the other has given up.
 *
 * The pause between two attempts grows from {@link RETRY_MIN_MS} to {@link RETRY_MAX_MS} as long
 * as nobody answers. Failed members are tried every {@link RETRY_MAX_MS}, by all members together:
 * each with the probability of failed to living members, as serf does.
 */
import { formatAddress, sameAddress } from '../../stack/address.ts'
import type { Cancel, Clock } from '../../stack/clock.ts'
import type { Random } from '../../stack/random.ts'
import type { Log } from '../log.ts'
import type { Destination } from './datagrams.ts'
import type { Serf } from './serf.ts'

/** serf's `retry_interval` and `ReconnectInterval`; at first we are quicker. */
const RETRY_MIN_MS = 1000
const RETRY_MAX_MS = 30_000

/** Where to find members; asked again for each attempt, since names change their addresses. */
export type JoinList = () => Promise<readonly Destination[]>

export interface JoinerOptions {
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly serf: Serf
  readonly list: JoinList
}

export class Joiner {
  readonly #options: JoinerOptions
  #retrying: Cancel = () => {}
  #reconnecting: Cancel = () => {}
  #pauseMs = RETRY_MIN_MS
  #closed = false

  constructor(options: JoinerOptions) {
    this.#options = options
  }

  /** Try once, and go on until closed. Resolves after the first attempt. */
  async start(): Promise<void> {
    this.#reconnectLater()
    await this.#attempt()
  }

  /** The list has changed: try now. */
  retry(): void {
    this.#pauseMs = RETRY_MIN_MS
    this.#retrying()
    void this.#attempt()
  }

  close(): void {
    this.#closed = true
    this.#retrying()
    this.#reconnecting()
  }

  async #attempt(): Promise<void> {
    const { clock, serf, log } = this.#options
    const missing = await this.#missing()
    if (this.#closed) return
    let reached = missing.length === 0
    if (missing.length > 0) {
      const failures = await serf.join(missing)
      if (this.#closed) return
      reached = failures.length < missing.length
      for (const { message } of failures) {
        const tried = missing.map(({ address, port }) => `${formatAddress(address)}:${port}`)
        log.warn({ tried }, `could not join: ${message}`)
      }
    }
    this.#pauseMs = reached ? RETRY_MAX_MS : Math.min(RETRY_MAX_MS, 2 * this.#pauseMs)
    // One that was begun meanwhile has its own.
    this.#retrying()
    this.#retrying = clock.after(this.#pauseMs, () => {
      void this.#attempt()
    })
  }

  /** Those of the list at whose address nobody is. */
  async #missing(): Promise<Destination[]> {
    const { serf, list, log } = this.#options
    const there = serf.members().filter(({ state }) => state === 'alive' || state === 'suspect')
    try {
      const all = await list()
      return all.filter(({ address, port }) => {
        return !there.some((m) => m.port === port && sameAddress(m.address, address))
      })
    } catch (error) {
      log.warn({}, `could not join: ${(error as Error).message}`)
      return []
    }
  }

  #reconnectLater(): void {
    if (this.#closed) return
    this.#reconnecting = this.#options.clock.after(RETRY_MAX_MS, () => {
      this.#reconnect()
      this.#reconnectLater()
    })
  }

  #reconnect(): void {
    const { serf, random } = this.#options
    serf.reap()
    const failed = serf.failed()
    if (failed.length === 0) return
    const living = 1 + serf.othersCount
    if (!random.chance((100 * failed.length) / living)) return
    const member = failed[random.below(failed.length)]
    if (member !== undefined) serf.reach(member, () => {})
  }
}
