/**
 * The io_uring engine: multishot reads into provided buffers, batched writes of the same buffers.
 *
 * ```text
 *  pool --give--> buffer ring --kernel reads a frame--> completion --> channel.received(packet)
 *  write(packet) --> submission --enter--> kernel writes it --> completion --> pool.free(packet)
 * ```
 * One system call a turn does all of it: it submits the writes that the last turn made, runs the
 * reads that have become ready, and returns with the completions of both.
 *
 * There are two groups of buffers, one a slot class. A group's ring is filled last-in first-out
 * from the pool, and only so far that what a turn may read stays in the second-level cache until
 * it is written: few buffers while super-frames come, many while frames are small. When a ring
 * runs dry its channels end with ENOBUFS; they are armed again as soon as the pool has packets.
 *
 * A removed channel lives on until the kernel has confirmed that its read is over: until then
 * completions of it may still come.
 */
import type { Channel, DatagramChannel, Engine } from '../engine.ts'
import { StackError } from '../errors.ts'
import {
  HEADROOM_BYTES,
  LARGE_FRAME_BYTES,
  type Packet,
  type Pool,
  SMALL_FRAME_BYTES,
} from '../packet.ts'
import { VNET_BYTES } from '../vnet.ts'
import { Errno, mapMemory, read, type Watch, watchReadable } from './libc.ts'
import { BufferRing, CqeFlag, Op, SqeFlag, Uring } from './uring.ts'

/** Submissions a turn before the engine must enter the kernel early. */
const SQ_ENTRIES = 1024
/** Completions that may wait: all buffers of both rings and all writes. */
const CQ_ENTRIES = 4096
/** Buffers that a ring may hold, by class. */
const LARGE_BUFFERS = 128
const SMALL_BUFFERS = 256
/** Octets that the kernel may deliver between two turns, as far as recent frames tell. */
const TURN_BYTES = 0x10_0000
/** Buffers that a ring holds whatever their size; one frame counts by 1 / 2 ** this of the mean. */
const BUFFERS_MIN = 16
const MEAN_SHIFT = 5

/** What a completion belongs to: the high word of user data, over the channel's number. */
const Kind = { Read: 1 << 16, Write: 2 << 16, Cancel: 3 << 16, Poll: 4 << 16 } as const
const KIND_MASK = 0xff_0000
const SIGNAL_BYTES = 8
const CHANNEL_MASK = 0xffff
/** A cancellation names its target by the whole user data: here low word 0, high word the kind. */
const TWO_32 = 0x1_0000_0000

/** Packets lent to the kernel for one slot class. */
interface Group {
  readonly id: number
  readonly ring: BufferRing
  readonly frameBytes: number
  lent: number
  /** Size of recent frames: a running mean. */
  meanBytes: number
}

interface Slot {
  readonly channel: Channel
  readonly group: Group
  /** False from {@link UringEngine.remove} on. */
  open: boolean
  /** A multishot read is with the kernel. */
  armed: boolean
}

/** A socket: asked of the kernel only while it is empty, so that a busy one costs no wake-ups. */
interface SocketSlot {
  readonly channel: DatagramChannel
  open: boolean
  /** The question whether it is readable is with the kernel. */
  asked: boolean
}

export class UringEngine implements Engine {
  readonly name = 'io_uring'
  readonly #pool: Pool
  readonly #uring: Uring
  readonly #groups: readonly [small: Group, large: Group]
  readonly #slots: (Slot | undefined)[] = []
  /** Channel numbers whose read must be armed again. */
  readonly #starved: number[] = []
  /** Which packets are in a buffer ring, by packet number. */
  readonly #lent: Uint8Array
  #watch: Watch | undefined
  /** Where the eventfd's count is read to. */
  readonly #signal = mapMemory(SIGNAL_BYTES)
  /** Writes with the kernel. */
  #writing = 0
  readonly #sockets: (SocketSlot | undefined)[] = []
  /** Inside {@link poll}: writes wait for its end; outside they go at once. */
  turning = false

  /** @throws StackError `unsupported` where the kernel lacks what this engine needs. */
  constructor(pool: Pool) {
    if (pool.address === 0) throw new StackError('bad-argument', 'the pool is not native memory')
    this.#pool = pool
    this.#uring = new Uring(SQ_ENTRIES, CQ_ENTRIES)
    try {
      if (!this.#uring.supports([Op.PollAdd, Op.AsyncCancel, Op.Write, Op.ReadMultishot])) {
        throw new StackError('unsupported', 'this io_uring has no multishot read')
      }
      this.#groups = [this.#group(1, SMALL_BUFFERS, false), this.#group(2, LARGE_BUFFERS, true)]
    } catch (error) {
      this.#uring.close()
      throw error
    }
    this.#lent = new Uint8Array(pool.packets.length)
  }

  #group(id: number, entries: number, large: boolean): Group {
    const ring = new BufferRing(entries)
    this.#uring.registerBufferRing(ring.address, entries, id)
    const frameBytes = large ? LARGE_FRAME_BYTES : SMALL_FRAME_BYTES
    return { id, ring, frameBytes, lent: 0, meanBytes: frameBytes }
  }

  add(channel: Channel): number {
    const group = this.#groups[channel.large ? 1 : 0]
    let id = this.#slots.indexOf(undefined)
    if (id < 0) id = this.#slots.length
    if (id > CHANNEL_MASK) throw new StackError('exhausted', 'too many channels')
    this.#slots[id] = { channel, group, open: true, armed: false }
    this.#refill(group)
    this.#arm(id)
    this.flush()
    return id
  }

  remove(id: number): void {
    const slot = this.#slots[id]
    if (slot === undefined || !slot.open) return
    slot.open = false
    if (slot.armed) {
      this.#makeRoom()
      const target = (Kind.Read | id) * TWO_32
      this.#uring.submit(Op.AsyncCancel, -1, 0, target, 0, 0, Kind.Cancel, 0)
    } else this.#slots[id] = undefined
    // Also what was written before must reach the kernel while the descriptor is what it was.
    this.flush()
  }

  write(id: number, packet: Packet, at: number, bytes: number): void {
    const slot = this.#slots[id]!
    this.#makeRoom()
    const { fd } = slot.channel
    const address = this.#pool.address + at
    this.#uring.submit(Op.Write, fd, 0, address, bytes, packet.index, Kind.Write | id, 0)
    this.#writing++
    if (!this.turning) this.flush()
  }

  poll(budget: number): number {
    const uring = this.#uring
    uring.stir()
    if (uring.due) uring.enter(0)
    const ready = uring.ready()
    const count = Math.min(ready, budget)
    this.turning = true
    for (let i = 0; i < count; i++) this.#complete()
    const more = this.#receive(budget)
    this.turning = false
    for (let id = 0; id < this.#sockets.length; id++) this.#sockets[id]?.channel.flush()
    this.#refill(this.#groups[0])
    this.#refill(this.#groups[1])
    if (this.#starved.length > 0) this.#rearm()
    const left = count + more + uring.pending
    return left > 0 || uring.rest() ? left : 1
  }

  addDatagrams(channel: DatagramChannel): number {
    let id = this.#sockets.indexOf(undefined)
    if (id < 0) id = this.#sockets.length
    this.#sockets[id] = { channel, open: true, asked: false }
    this.#ask(id)
    this.flush()
    return id
  }

  removeDatagrams(id: number): void {
    const slot = this.#sockets[id]
    if (slot === undefined || !slot.open) return
    slot.open = false
    if (slot.asked) {
      this.#makeRoom()
      const target = (Kind.Poll | id) * TWO_32
      this.#uring.submit(Op.AsyncCancel, -1, 0, target, 0, 0, Kind.Cancel, 0)
    } else this.#sockets[id] = undefined
    this.flush()
  }

  /** Have every socket receive that is not known to be empty. How many may have more. */
  #receive(budget: number): number {
    let more = 0
    for (let id = 0; id < this.#sockets.length; id++) {
      const slot = this.#sockets[id]
      if (slot === undefined || slot.asked || !slot.open) continue
      if (slot.channel.receive(budget)) more++
      else if (slot.open) this.#ask(id)
    }
    return more
  }

  #ask(id: number): void {
    const slot = this.#sockets[id]!
    this.#makeRoom()
    this.#uring.submitPoll(slot.channel.fd, 0, Kind.Poll | id)
    slot.asked = true
  }

  /** A socket is readable, or its question was taken back. */
  #answered(id: number): void {
    const slot = this.#sockets[id]!
    slot.asked = false
    if (!slot.open) this.#sockets[id] = undefined
  }

  flush(): void {
    if (this.#uring.pending > 0) this.#uring.enter(0)
  }

  watch(ready: () => void): void {
    const { eventFd } = this.#uring
    const { address } = this.#signal
    this.#watch = watchReadable(eventFd, () => {
      read(eventFd, address, SIGNAL_BYTES)
      ready()
    })
  }

  close(): void {
    this.#watch?.stop()
    for (let id = 0; id < this.#slots.length; id++) this.remove(id)
    for (let id = 0; id < this.#sockets.length; id++) this.removeDatagrams(id)
    for (let turns = 0; turns < CLOSE_TURNS && this.#busy(); turns++) {
      this.#uring.enter(1)
      while (this.#uring.ready() > 0) this.#complete()
    }
    this.#uring.close()
    // The ring is gone, so what it was lent is ours again.
    for (const packet of this.#pool.packets) {
      if (this.#lent[packet.index] === 1) this.#pool.free(packet)
    }
  }

  #busy(): boolean {
    const isThere = (slot: Slot | SocketSlot | undefined): boolean => slot !== undefined
    return this.#writing > 0 || this.#slots.some(isThere) || this.#sockets.some(isThere)
  }

  #complete(): void {
    const uring = this.#uring
    const low = uring.cqe(0)
    const high = uring.cqe(1)
    const result = uring.cqe(2)
    const flags = uring.cqe(3)
    uring.consume()
    const kind = high & KIND_MASK
    if (kind === Kind.Read) this.#completeRead(high & CHANNEL_MASK, result, flags)
    else if (kind === Kind.Write) this.#completeWrite(high & CHANNEL_MASK, low, result)
    else if (kind === Kind.Poll) this.#answered(high & CHANNEL_MASK)
  }

  #completeRead(id: number, result: number, flags: number): void {
    const slot = this.#slots[id]!
    if ((flags & CqeFlag.Buffer) !== 0) {
      const packet = this.#pool.packets[flags >>> 16]!
      this.#lent[packet.index] = 0
      slot.group.lent--
      slot.group.meanBytes += (result - slot.group.meanBytes) >> MEAN_SHIFT
      if (result > 0 && slot.open) {
        packet.head = packet.slot + HEADROOM_BYTES - VNET_BYTES
        slot.channel.received(packet, result)
      } else this.#pool.free(packet)
    }
    if ((flags & CqeFlag.More) === 0) this.#ended(id, slot, result)
  }

  /** A multishot read is over: by our wish, for want of buffers, or because the file is dead. */
  #ended(id: number, slot: Slot, result: number): void {
    slot.armed = false
    if (!slot.open) this.#slots[id] = undefined
    else if (result > 0 || result === -Errno.NoBufs) {
      if (result < 0) slot.channel.starved()
      this.#starved.push(id)
    } else if (result === -Errno.Again || result === -Errno.Intr) this.#starved.push(id)
    else slot.channel.lost(result)
  }

  #completeWrite(id: number, index: number, result: number): void {
    const packet = this.#pool.packets[index]!
    this.#writing--
    if (result >= 0) return this.#pool.free(packet)
    const slot = this.#slots[id]
    if (slot === undefined) this.#pool.free(packet)
    else slot.channel.refused(packet, result)
  }

  #rearm(): void {
    let left = 0
    for (let i = 0; i < this.#starved.length; i++) {
      const id = this.#starved[i]!
      const slot = this.#slots[id]
      if (slot === undefined || !slot.open) continue
      if (slot.group.lent > 0) this.#arm(id)
      else this.#starved[left++] = id
    }
    this.#starved.length = left
  }

  #arm(id: number): void {
    const slot = this.#slots[id]!
    this.#makeRoom()
    const head = Op.ReadMultishot | (SqeFlag.BufferSelect << 8)
    this.#uring.submit(head, slot.channel.fd, -1, 0, 0, 0, Kind.Read | id, slot.group.id)
    slot.armed = true
  }

  #refill(group: Group): void {
    const wanted = Math.max(BUFFERS_MIN, Math.trunc(TURN_BYTES / Math.max(group.meanBytes, 1)))
    const missing = Math.min(wanted, group.ring.entries) - group.lent
    if (missing <= 0) return
    for (let i = 0; i < missing; i++) {
      const packet = this.#pool.alloc(group.frameBytes)
      if (packet === undefined) break
      const before = HEADROOM_BYTES - VNET_BYTES
      const address = this.#pool.address + packet.slot + before
      group.ring.give(packet.index, address, packet.slotBytes - before)
      this.#lent[packet.index] = 1
      group.lent++
    }
    group.ring.publish()
  }

  #makeRoom(): void {
    while (this.#uring.full) this.#uring.enter(0)
  }
}

/** Turns that {@link UringEngine.close} waits for the kernel to let go of everything. */
const CLOSE_TURNS = 10_000
