/**
 * Packets that wait for a neighbor's address: one short queue an entry, all in one fixed store.
 *
 * Both bounds matter. The queue of one neighbor keeps its newest packets (RFC 4861 §7.2.2: a new
 * arrival replaces the oldest), and the store as a whole does too: a scan of absent addresses can
 * neither hold the pool nor keep a packet for a real neighbor out. So each packet is in two lists:
 * its neighbor's queue, and the list of all by age, whose oldest is the first of some queue.
 *
 * Nodes are numbers in typed arrays: nothing is allocated after construction.
 */
import type { Packet } from '../packet.ts'

export class NeighborQueues {
  readonly #packets: (Packet | undefined)[]
  /** The next in the same queue, or the next free node. */
  readonly #next: Int32Array
  readonly #owner: Int32Array
  readonly #older: Int32Array
  readonly #newer: Int32Array
  readonly #first: Int32Array
  readonly #last: Int32Array
  readonly #counts: Int32Array
  #free = 0
  #oldest = -1
  #newest = -1

  /** Room for `packetsMax` packets in the queues of `entriesMax` neighbors. */
  constructor({ entriesMax, packetsMax }: { entriesMax: number; packetsMax: number }) {
    this.#packets = new Array<Packet | undefined>(packetsMax).fill(undefined)
    this.#next = Int32Array.from({ length: packetsMax }, (_, i) =>
      i + 1 < packetsMax ? i + 1 : -1,
    )
    this.#owner = new Int32Array(packetsMax)
    this.#older = new Int32Array(packetsMax)
    this.#newer = new Int32Array(packetsMax)
    this.#first = new Int32Array(entriesMax).fill(-1)
    this.#last = new Int32Array(entriesMax).fill(-1)
    this.#counts = new Int32Array(entriesMax)
  }

  get isFull(): boolean {
    return this.#free < 0
  }

  /** The entry whose first packet has waited longest, or -1. */
  get longest(): number {
    return this.#oldest < 0 ? -1 : this.#owner[this.#oldest]!
  }

  count(entry: number): number {
    return this.#counts[entry]!
  }

  /** Append. Precondition: not {@link isFull}. */
  push(entry: number, packet: Packet): void {
    const node = this.#free
    this.#free = this.#next[node]!
    this.#next[node] = -1
    this.#packets[node] = packet
    this.#owner[node] = entry
    if (this.#counts[entry]!++ === 0) this.#first[entry] = node
    else this.#next[this.#last[entry]!] = node
    this.#last[entry] = node
    this.#older[node] = this.#newest
    this.#newer[node] = -1
    if (this.#newest < 0) this.#oldest = node
    else this.#newer[this.#newest] = node
    this.#newest = node
  }

  /** Take the oldest packet of an entry out. Precondition: it has one. */
  shift(entry: number): Packet {
    const node = this.#first[entry]!
    this.#first[entry] = this.#next[node]!
    this.#counts[entry]!--
    this.#forgetAge(node)
    return this.release(node)
  }

  /**
   * Detach the whole queue of an entry and return its first node, or -1. The entry may then be
   * reused while the caller walks the chain with {@link after} and {@link release}.
   */
  detach(entry: number): number {
    if (this.#counts[entry] === 0) return -1
    const first = this.#first[entry]!
    for (let node = first; node >= 0; node = this.#next[node]!) this.#forgetAge(node)
    this.#counts[entry] = 0
    return first
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

  #forgetAge(node: number): void {
    const older = this.#older[node]!
    const newer = this.#newer[node]!
    if (older < 0) this.#oldest = newer
    else this.#newer[older] = newer
    if (newer < 0) this.#newest = older
    else this.#older[newer] = older
  }
}
