/**
 * The seam between TAPs and the kernel's ways of moving bytes: io_uring, or epoll with read and
 * write. Both move frames with a virtio-net header in front, in packets of one pool, and pass one
 * device suite.
 *
 * A channel is one open descriptor. The engine owns the packets that it lends to the kernel; it
 * gives one to the channel when a frame has come, and takes one to send.
 */
import type { Packet } from './packet.ts'

/** What an engine calls on a device. `bytes` counts the virtio-net header in. */
export interface Channel {
  readonly fd: number
  /** True if frames may be super-frames, so that every receive buffer must be a large one. */
  readonly large: boolean
  /** A frame came: it starts at `packet.head` with its virtio-net header. Takes ownership. */
  received(packet: Packet, bytes: number): void
  /** A write ended with a negative errno. Takes ownership. */
  refused(packet: Packet, code: number): void
  /** Receiving stopped for want of packets; it goes on by itself. */
  starved(): void
  /** The descriptor is dead (a negative errno); nothing more comes. Called once. */
  lost(code: number): void
}

/**
 * A socket that makes its own system calls, several datagrams each: the engine says when there is
 * something to receive, and when a turn ends, so that one wake-up serves it and the channels.
 */
export interface DatagramChannel {
  readonly fd: number
  /** Receive at most about `budget` datagrams. True if there may be more. */
  receive(budget: number): boolean
  /** Hand to the kernel what was queued. */
  flush(): void
}

export interface Engine {
  readonly name: 'io_uring' | 'poll'
  /** True inside {@link poll}: at its end every datagram channel is flushed. */
  readonly turning: boolean
  /** Start receiving from a socket. The result is for {@link removeDatagrams}. */
  addDatagrams(channel: DatagramChannel): number
  /** Stop; the caller closes the descriptor afterwards. Idempotent. */
  removeDatagrams(id: number): void
  /** Start receiving. The result is the channel's number, for {@link write} and {@link remove}. */
  add(channel: Channel): number
  /** Stop receiving and forget the channel; the caller closes the descriptor afterwards. */
  remove(id: number): void
  /** Send `bytes` octets from `at` (the virtio-net header). Takes ownership of `packet`. */
  write(id: number, packet: Packet, at: number, bytes: number): void
  /** Do what is ready, at most about `budget` frames; returns how many events were handled. */
  poll(budget: number): number
  /** Hand to the kernel what `write` has queued. */
  flush(): void
  /** Call `ready` from the event loop whenever {@link poll} has something to do. */
  watch(ready: () => void): void
  /** Give all packets back and end. Channels must be removed before. */
  close(): void
}
