/**
 * Packets that wait for a neighbor's address: one short queue an entry, all in one fixed store.
 *
 * Both bounds matter. The queue of one neighbor keeps its newest packets (RFC 4861 §7.2.2: a new
 * arrival replaces the oldest), and the total keeps a scan of absent addresses from holding the
 * whole pool. Nodes are numbers in typed arrays: nothing is allocated after construction.
 */
import type { Packet } from '../packet.ts'

export class NeighborQueues {
  readonly #packets: (Packet | undefined)[]
  readonly #next: Int32Array
  readonly #first: Int32Array
  readonly #last: Int32Array
  readonly #counts: Int32Array
  #free = 0

  /** Room for `packetsMax` packets in the queues of `entriesMax` neighbors. */
  constructor({ entriesMax, packetsMax }: { entriesMax: number; packetsMax: number }) {
    this.#packets = new Array<Packet | undefined>(packetsMax).fill(undefined)
    this.#next = Int32Array.from({ length: packetsMax }, (_, i) =>
      i + 1 < packetsMax ? i + 1 : -1,
    )
    this.#first = new Int32Array(entriesMax).fill(-1)
    this.#last = new Int32Array(entriesMax).fill(-1)
    this.#counts = new Int32Array(entriesMax)
  }

  count(entry: number): number {
    return this.#counts[entry]!
  }

  /** Append. False if the store is full: the packet is still the caller's. */
  push(entry: number, packet: Packet): boolean {
    const node = this.#free
    if (node < 0) return false
    this.#free = this.#next[node]!
    this.#next[node] = -1
    this.#packets[node] = packet
    if (this.#counts[entry]!++ === 0) this.#first[entry] = node
    else this.#next[this.#last[entry]!] = node
    this.#last[entry] = node
    return true
  }

  /** Take the oldest packet out. */
  shift(entry: number): Packet | undefined {
    const node = this.#first[entry]!
    if (node < 0) return undefined
    this.#first[entry] = this.#next[node]!
    this.#counts[entry]!--
    return this.release(node)
  }

  /**
   * Detach the whole queue of an entry and return its first node, or -1. The entry may then be
   * reused while the caller walks the chain with {@link after} and {@link release}.
   */
  detach(entry: number): number {
    const node = this.#first[entry]!
    this.#first[entry] = -1
    this.#counts[entry] = 0
    return node
  }

  /** The node after a detached one. Ask before releasing it. */
  after(node: number): number {
    return this.#next[node]!
  }

  /** Give a detached node back, and its packet to the caller. */
  release(node: number): Packet {
    const packet = this.#packets[node]!
    this.#packets[node] = undefined
    this.#next[node] = this.#free
    this.#free = node
    return packet
  }
}
