/**
 * Peers of an underlay by number, and their numbers by address: an array of words and an index
 * with open addressing, so that who sent a datagram is found without an allocation.
 *
 * A peer is an address and a port, and is counted: it goes when it was removed as often as it was
 * added. A sender is known by its address alone, since the ports that tunnels send from say which
 * flow it is, not who (RFC 7348 §5); of two peers with one address the lowest number is meant.
 */
import { sameAddress } from '../address.ts'
import { StackError } from '../errors.ts'
import { hashWords } from '../hash.ts'
import { NO_PEER, type UnderlayPeer } from './underlay.ts'

/** Remote tunnel ends of a node. */
export const PEERS_MAX = 4096
const INDEX_SIZE = 2 * PEERS_MAX

export class PeerTable {
  readonly #peers: (UnderlayPeer | undefined)[] = []
  readonly #uses: number[] = []
  /** Four words of each peer's address. */
  readonly #words = new Int32Array(4 * PEERS_MAX)
  /** Numbers plus one; 0: empty. */
  readonly #index = new Int32Array(INDEX_SIZE)
  readonly #seed: number

  constructor(seed: number) {
    this.#seed = seed
  }

  /** Number of the peer, and whether it is new. @throws StackError `exhausted`. */
  add(peer: UnderlayPeer): { readonly number: number; readonly isNew: boolean } {
    const known = this.#peers.findIndex((other) => other !== undefined && isSame(other, peer))
    if (known >= 0) {
      this.#uses[known]!++
      return { number: known, isNew: false }
    }
    let number = this.#peers.indexOf(undefined)
    if (number < 0) number = this.#peers.length
    if (number >= PEERS_MAX) throw new StackError('exhausted', `more than ${PEERS_MAX} tunnel ends`)
    this.#peers[number] = { address: peer.address, udpPort: peer.udpPort }
    this.#uses[number] = 1
    this.#words.set(peer.address.words, 4 * number)
    this.#rebuild()
    return { number, isNew: true }
  }

  /** True if that was its last use: it is gone. */
  remove(number: number): boolean {
    if (this.#peers[number] === undefined || --this.#uses[number]! > 0) return false
    this.#peers[number] = undefined
    this.#rebuild()
    return true
  }

  get(number: number): UnderlayPeer | undefined {
    return this.#peers[number]
  }

  /** Number of the peer whose address is at `words[at]`, or {@link NO_PEER}. */
  find(words: Int32Array, at: number): number {
    const mask = INDEX_SIZE - 1
    for (let i = hashWords(words, at, 4, this.#seed) & mask; ; i = (i + 1) & mask) {
      const number = this.#index[i]! - 1
      if (number < 0) return NO_PEER
      if (this.#isAt(number, words, at)) return number
    }
  }

  #isAt(number: number, words: Int32Array, at: number): boolean {
    const own = this.#words
    for (let i = 0; i < 4; i++) if (own[4 * number + i] !== words[at + i]) return false
    return true
  }

  #rebuild(): void {
    const mask = INDEX_SIZE - 1
    this.#index.fill(0)
    for (const [number, peer] of this.#peers.entries()) {
      if (peer === undefined || this.find(this.#words, 4 * number) !== NO_PEER) continue
      let i = hashWords(this.#words, 4 * number, 4, this.#seed) & mask
      while (this.#index[i] !== 0) i = (i + 1) & mask
      this.#index[i] = number + 1
    }
  }
}

function isSame(a: UnderlayPeer, b: UnderlayPeer): boolean {
  return a.udpPort === b.udpPort && sameAddress(a.address, b.address)
}
