/**
 * Whom mappings have spoken to, for filtering by address (RFC 4787 §5): whoever was sent something
 * may answer from any of its ports, for as long as a connection to it from inside lives.
 *
 * ```text
 *   outside address, egress address, external port, protocol -> connections
 * ```
 *
 * **Bounded**: beyond {@link PEERS_MAX} entries, more are not known, and so not let in. The end
 * of a connection that was not counted for that counts all the same: others to its address may then
 * be let in for less long, never for longer.
 */
import { PERMANENT, Table } from '../table.ts'
import { PORTS, TUPLE_WORDS } from './tuple.ts'

const PEERS_MAX = 65_536

export class NatPeers {
  readonly #table: Table

  constructor(seed: number) {
    this.#table = new Table({ keyWords: TUPLE_WORDS, valueWords: 1, entriesMax: PEERS_MAX, seed })
  }

  /** A connection from inside, by the tuple of what comes back. */
  add(reply: Int32Array): void {
    const table = this.#table
    const known = this.#find(reply)
    const entry = known >= 0 ? known : table.insert(PERMANENT)
    if (entry >= 0) table.values[entry]!++
  }

  /** One that was added has ended. */
  remove(reply: Int32Array): void {
    const table = this.#table
    const entry = this.#find(reply)
    if (entry >= 0 && --table.values[entry]! === 0) table.remove(entry)
  }

  /** True if the sender of this tuple was spoken to through the port that it is sent to. */
  has(tuple: Int32Array): boolean {
    return this.#find(tuple) >= 0
  }

  #find(tuple: Int32Array): number {
    const { key } = this.#table
    key.set(tuple)
    key[PORTS]! &= 0xffff
    return this.#table.find()
  }
}
