/**
 * The receiving half of a socket underlay: a batch of packets of the pool lent to the kernel, which
 * fills them with datagrams. Those of one flow and size come joined (UDP_GRO), in one packet.
 *
 * One batch serves all sockets of an underlay: its own, and one for each multicast group. A socket
 * is asked again until it is empty, and only then is the engine asked to watch it.
 */
import { Count } from '../counters.ts'
import { DropReason } from '../drop.ts'
import type { Engine } from '../engine.ts'
import { close, Errno } from '../native/libc.ts'
import { BATCH_MESSAGES, MessagesIn } from '../native/messages_in.ts'
import { HEADROOM_BYTES, LARGE_FRAME_BYTES, type Packet, type Pool } from '../packet.ts'

/** Super-frames received a call: few, so that they are still in the cache when they are sent. */
const LARGE_BATCH = 8

export interface ReceiverOptions {
  readonly pool: Pool
  readonly engine: Engine
  /** Counted against. */
  readonly port: number
  /**
   * Takes ownership of a packet, whose sender's socket address is at `name` of `names`.
   * `segmentBytes` is 0 if nothing was joined.
   */
  readonly deliver: (packet: Packet, name: number, segmentBytes: number, tos: number) => void
  /** Called at the end of each of the engine's turns. */
  readonly flush: () => void
}

export class Receiver {
  readonly #o: ReceiverOptions
  readonly #in = new MessagesIn()
  /** By descriptor: its number in the engine. */
  readonly #sockets = new Map<number, number>()
  /** Where the next datagrams are received. */
  readonly #lent: (Packet | undefined)[] = new Array<undefined>(BATCH_MESSAGES).fill(undefined)
  #batch = BATCH_MESSAGES
  #closed = false

  constructor(options: ReceiverOptions) {
    this.#o = options
  }

  /** Socket addresses of senders, until the next batch. */
  get names(): Uint8Array {
    return this.#in.names
  }

  /** Receive from a socket as well, and own it. */
  add(fd: number): void {
    const { engine, flush } = this.#o
    const receive = (budget: number): boolean => this.#receive(fd, budget)
    this.#sockets.set(fd, engine.addDatagrams({ fd, receive, flush }))
  }

  /** Close one of them. */
  remove(fd: number): void {
    this.#o.engine.removeDatagrams(this.#sockets.get(fd)!)
    this.#sockets.delete(fd)
    close(fd)
  }

  #receive(fd: number, budget: number): boolean {
    const batch = Math.min(this.#batch, budget)
    const count = this.#lend(batch)
    if (count === 0) return false
    const came = this.#in.receive(fd, count)
    if (came < 0) return came !== -Errno.Again && came !== -Errno.Intr && came !== -Errno.BadF
    this.#batch = BATCH_MESSAGES
    for (let i = 0; i < came; i++) this.#deliver(i)
    return came === count && !this.#closed
  }

  /** A packet for each of so many datagrams: how many there are. */
  #lend(batch: number): number {
    const { pool, port } = this.#o
    for (let i = 0; i < batch; i++) {
      if (this.#lent[i] !== undefined) continue
      const packet = pool.alloc(LARGE_FRAME_BYTES)
      if (packet === undefined) {
        if (i === 0) pool.counters.bump(port, Count.RxNoBuffer)
        return i
      }
      this.#lent[i] = packet
      this.#in.point(i, pool.address + packet.head, packet.slotBytes - HEADROOM_BYTES)
    }
    return batch
  }

  #deliver(index: number): void {
    const packet = this.#lent[index]
    // Closed by what an earlier datagram of this batch caused.
    if (packet === undefined) return
    this.#lent[index] = undefined
    const { pool, port, deliver } = this.#o
    const bytes = this.#in.lengthOf(index)
    packet.ingress = port
    if (bytes < 0) return pool.drop(packet, DropReason.UnderlayTruncated)
    packet.len = bytes
    pool.counters.received(port, bytes)
    const { segmentBytes, tos } = this.#in
    if (segmentBytes > 0) this.#batch = LARGE_BATCH
    deliver(packet, this.#in.nameAt(index), segmentBytes, tos)
  }

  /** Close all of them, and give the packets back. */
  close(): void {
    this.#closed = true
    for (const fd of [...this.#sockets.keys()]) this.remove(fd)
    for (const [i, packet] of this.#lent.entries()) {
      this.#lent[i] = undefined
      if (packet !== undefined) this.#o.pool.free(packet)
    }
  }
}
