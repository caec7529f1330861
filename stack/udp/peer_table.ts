/**
 * Peers of an underlay: small numbers for addresses, counted, and found by what a datagram's
 * sender is without making anything.
 */
import { type Address, sameAddress } from '../address.ts'
import { StackError } from '../errors.ts'
import { PERMANENT, Table } from '../table.ts'
import { NO_PEER, type UnderlayPeer } from './underlay.ts'

/** Nodes of one overlay, and multicast groups; numbers are below it. */
export const PEERS_MAX = 4096

interface Entry {
  readonly peer: UnderlayPeer
  uses: number
}

export class PeerTable {
  readonly #entries: (Entry | undefined)[] = []
  /** By address alone: senders choose their ports by flow (RFC 7348 §5). */
  readonly #table: Table

  constructor(seed: number) {
    this.#table = new Table({ keyWords: 4, valueWords: 1, entriesMax: PEERS_MAX, seed })
  }

  /** Its number; one more use of it if it is known. @throws StackError `exhausted`, `exists`. */
  add(peer: UnderlayPeer): number {
    const known = this.find(peer.address.words)
    if (known >= 0) {
      const entry = this.#entries[known]!
      if (entry.peer.udpPort !== peer.udpPort) {
        throw new StackError('exists', 'a peer with this address and another port')
      }
      entry.uses++
      return known
    }
    const free = this.#entries.indexOf(undefined)
    const number = free < 0 ? this.#entries.length : free
    if (number >= PEERS_MAX) throw new StackError('exhausted', `more than ${PEERS_MAX} peers`)
    this.#table.key.set(peer.address.words)
    const at = this.#table.insert(PERMANENT)
    this.#table.values[at] = number
    this.#entries[number] = { peer, uses: 1 }
    return number
  }

  /** One use less. True: it is gone. */
  remove(number: number): boolean {
    const entry = this.#entries[number]
    if (entry === undefined || --entry.uses > 0) return false
    this.#table.key.set(entry.peer.address.words)
    this.#table.remove(this.#table.find())
    this.#entries[number] = undefined
    return true
  }

  peer(number: number): UnderlayPeer | undefined {
    return this.#entries[number]?.peer
  }

  has(address: Address): boolean {
    return this.#entries.some((entry) => entry && sameAddress(entry.peer.address, address))
  }

  /** The number of who has this address, or {@link NO_PEER}. */
  find(words: Int32Array): number {
    const { key } = this.#table
    for (let i = 0; i < 4; i++) key[i] = words[i]!
    const at = this.#table.find()
    return at < 0 ? NO_PEER : this.#table.values[at]!
  }
}
