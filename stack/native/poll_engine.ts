/**
 * The poll engine: epoll tells which descriptors are readable, read and write move one frame a
 * call. For kernels and containers where io_uring is missing or forbidden.
 *
 * Level-triggered: a burst is cut off after {@link BURST} frames, and what is left is reported by
 * the next turn. Writes happen at once, so nothing is ever queued here.
 */
import { BURST } from '../device.ts'
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
import {
  addressOf,
  check,
  close,
  Errno,
  errno,
  mapMemory,
  read,
  syscall6,
  type Watch,
  watchReadable,
  write,
} from './libc.ts'

const EPOLL_CREATE1 = 291
const EPOLL_CTL = 233
const EPOLL_WAIT = 232
const EPOLL_CLOEXEC = 0x8_0000
const CTL_ADD = 1
const CTL_DEL = 2
const EPOLLIN = 1
/** Descriptors reported a turn. */
const EVENTS_MAX = 64
/** struct epoll_event is packed on x86-64: events u32, data u64. */
const EVENT_BYTES = 12
/** In an event's data: the number is a socket's, not a channel's. */
const SOCKET = 1 << 30

export class PollEngine implements Engine {
  readonly name = 'poll'
  readonly #pool: Pool
  readonly #epoll: number
  readonly #events: DataView
  readonly #eventsAddress: number
  readonly #channels: (Channel | undefined)[] = []
  readonly #sockets: (DatagramChannel | undefined)[] = []
  turning = false
  #watch: Watch | undefined

  constructor(pool: Pool) {
    if (pool.address === 0) throw new StackError('bad-argument', 'the pool is not native memory')
    this.#pool = pool
    this.#epoll = check(syscall6(EPOLL_CREATE1, EPOLL_CLOEXEC, 0, 0, 0, 0), 'epoll_create1')
    const { buffer, address } = mapMemory(EVENTS_MAX * EVENT_BYTES)
    this.#events = new DataView(buffer)
    this.#eventsAddress = address
  }

  add(channel: Channel): number {
    let id = this.#channels.indexOf(undefined)
    if (id < 0) id = this.#channels.length
    this.#listen(channel.fd, id)
    this.#channels[id] = channel
    return id
  }

  addDatagrams(channel: DatagramChannel): number {
    let id = this.#sockets.indexOf(undefined)
    if (id < 0) id = this.#sockets.length
    this.#listen(channel.fd, SOCKET | id)
    this.#sockets[id] = channel
    return id
  }

  removeDatagrams(id: number): void {
    const channel = this.#sockets[id]
    if (channel === undefined) return
    this.#sockets[id] = undefined
    syscall6(EPOLL_CTL, this.#epoll, CTL_DEL, channel.fd, 0, 0)
  }

  #listen(fd: number, data: number): void {
    const event = new Uint8Array(EVENT_BYTES)
    const view = new DataView(event.buffer)
    view.setUint32(0, EPOLLIN, true)
    view.setUint32(4, data, true)
    this.#control(CTL_ADD, fd, addressOf(event))
  }

  remove(id: number): void {
    const channel = this.#channels[id]
    if (channel === undefined) return
    this.#channels[id] = undefined
    syscall6(EPOLL_CTL, this.#epoll, CTL_DEL, channel.fd, 0, 0)
  }

  #control(operation: number, fd: number, event: number): void {
    check(syscall6(EPOLL_CTL, this.#epoll, operation, fd, event, 0), 'epoll_ctl')
  }

  write(id: number, packet: Packet, at: number, bytes: number): void {
    const channel = this.#channels[id]
    if (channel === undefined) return this.#pool.free(packet)
    if (write(channel.fd, this.#pool.address + at, bytes) >= 0) return this.#pool.free(packet)
    channel.refused(packet, -errno())
  }

  poll(budget: number): number {
    const count = syscall6(EPOLL_WAIT, this.#epoll, this.#eventsAddress, EVENTS_MAX, 0, 0)
    let moved = 0
    this.turning = true
    for (let i = 0; i < count && moved < budget; i++) {
      const data = this.#events.getUint32(i * EVENT_BYTES + 4, true)
      if ((data & SOCKET) === 0) moved += this.#drain(data, Math.min(BURST, budget - moved))
      else {
        this.#sockets[data & ~SOCKET]?.receive(BURST)
        moved++
      }
    }
    this.turning = false
    for (let id = 0; id < this.#sockets.length; id++) this.#sockets[id]?.flush()
    return moved
  }

  /** Read a burst from one channel; it may be removed by what its frames cause. */
  #drain(id: number, burst: number): number {
    for (let n = 0; n < burst; n++) {
      const channel = this.#channels[id]
      if (channel === undefined) return n
      const packet = this.#pool.alloc(channel.large ? LARGE_FRAME_BYTES : SMALL_FRAME_BYTES)
      if (packet === undefined) {
        channel.starved()
        return n
      }
      const at = packet.slot + HEADROOM_BYTES - VNET_BYTES
      const room = packet.slot + packet.slotBytes - at
      const bytes = read(channel.fd, this.#pool.address + at, room)
      if (bytes > 0) {
        packet.head = at
        channel.received(packet, bytes)
        continue
      }
      const code = bytes < 0 ? errno() : Errno.Io
      this.#pool.free(packet)
      if (code !== Errno.Again && code !== Errno.Intr) {
        this.remove(id)
        channel.lost(-code)
      }
      return n
    }
    return burst
  }

  flush(): void {}

  watch(ready: () => void): void {
    this.#watch = watchReadable(this.#epoll, ready)
  }

  close(): void {
    this.#watch?.stop()
    close(this.#epoll)
  }
}
