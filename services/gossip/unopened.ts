/**
 * Who sends what cannot be opened: mostly a node with other keys or another label, or with none.
 * It is not told why, so its peers say it in their logs: of each once in {@link AGAIN_MS}, of
 * {@link PEERS_MAX} within that time, since whoever reaches the port could fill the log.
 */
import { type Address, formatAddress } from '../../stack/address.ts'
import type { Clock } from '../../stack/clock.ts'
import type { Log } from '../log.ts'

const AGAIN_MS = 600_000
const PEERS_MAX = 64

export class Unopened {
  readonly #clock: Clock
  readonly #log: Log
  /** When each was told of, the oldest first. */
  readonly #told = new Map<string, number>()

  constructor({ clock, log }: { readonly clock: Clock; readonly log: Log }) {
    this.#clock = clock
    this.#log = log
  }

  note(from: Address): void {
    const { nowMs } = this.#clock
    for (const [peer, atMs] of this.#told) {
      if (nowMs - atMs < AGAIN_MS) break
      this.#told.delete(peer)
    }
    if (this.#told.size >= PEERS_MAX) return
    const peer = formatAddress(from)
    if (this.#told.has(peer)) return
    this.#told.set(peer, nowMs)
    const hint = 'do the keys and the label match?'
    this.#log.warn({ peer }, `messages from ${peer} cannot be opened: ${hint}`)
  }
}
