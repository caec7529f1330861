/**
 * Datagrams on their way to the kernel by sendmmsg(2): arrays of messages, one array a socket, and
 * what they point to, in memory that the kernel reads.
 *
 * ```text
 *  mmsghdr 64:  name u64 | name length u32 . | iovec u64 | iovec count u64 |
 *               control u64 | control length u64 | flags u32 . | sent u32 .
 *  iovec 16:    address u64 | length u64
 *  cmsghdr:     length u64 | level i32 | type i32 | value, padded to 8
 * ```
 * A message is a run of iovecs, some of which point into packets and some into {@link scratch},
 * where headers are made. Iovecs and scratch are used up from the front and are all free again
 * when everything was sent; who adds a message asks first whether it fits.
 *
 * The kernel has copied a datagram when the call returns, so its packet is free at once: nothing
 * is lent, and one system call sends up to {@link QUEUE_MESSAGES} datagrams.
 */

import type { Family } from '../address.ts'
import { sockaddrBytes } from './inet_socket.ts'
import { errno, mapMemory, syscall6 } from './libc.ts'
import { CMSG_HEADER, MESSAGE_WORDS, Message } from './msghdr.ts'
import { IP_TOS, IPV6_TCLASS, SOL_IP, SOL_IPV6, SOL_UDP, UDP_SEGMENT } from './udp_socket.ts'

const SENDMMSG = 307
/** Messages of one socket that may wait: more than one turn of the engine makes. */
export const QUEUE_MESSAGES = 64
/** Segments of one message that every kernel takes (UDP_MAX_SEGMENTS). */
export const SEGMENTS_MAX = 64
const IOVECS = 4096
const SCRATCH_BYTES = 512 * 1024
/** What alignment may cost. */
const SCRATCH_EXTRA = 5
const CONTROL_BYTES = 48
/** Room for a value of four octets and its header. */
const CMSG_SPACE = 24
const TWO_32 = 0x1_0000_0000

export class MessagesOut {
  /** Where headers are made. */
  readonly scratch: Uint8Array
  readonly #scratchAddress: number
  readonly #words: Int32Array
  readonly #wordsAddress: number
  readonly #iovecs: Int32Array
  readonly #iovecsAddress: number
  readonly #controls: Int32Array
  readonly #controlsAddress: number
  readonly #counts: Int32Array
  /** What the caller wants to know of each message when it was sent. */
  readonly #tags: Int32Array
  readonly #peers: Int32Array
  readonly #nameBytes: number
  readonly #tosLevel: number
  readonly #tosType: number
  #iovecCount = 0
  #firstIovec = 0
  #scratchBytes = 0

  constructor(queues: number, family: Family) {
    const messages = queues * QUEUE_MESSAGES
    const headers = mapMemory(messages * MESSAGE_WORDS * 4)
    this.#words = new Int32Array(headers.buffer)
    this.#wordsAddress = headers.address
    const iovecs = mapMemory(IOVECS * 16)
    this.#iovecs = new Int32Array(iovecs.buffer)
    this.#iovecsAddress = iovecs.address
    const controls = mapMemory(messages * CONTROL_BYTES)
    this.#controls = new Int32Array(controls.buffer)
    this.#controlsAddress = controls.address
    const scratch = mapMemory(SCRATCH_BYTES)
    this.scratch = new Uint8Array(scratch.buffer)
    this.#scratchAddress = scratch.address
    this.#counts = new Int32Array(queues)
    this.#tags = new Int32Array(messages)
    this.#peers = new Int32Array(messages)
    this.#nameBytes = sockaddrBytes(family)
    this.#tosLevel = family === 4 ? SOL_IP : SOL_IPV6
    this.#tosType = family === 4 ? IP_TOS : IPV6_TCLASS
  }

  /** True if a queue has room for one more message, of so many headers of that size. */
  fits(queue: number, headers: number, headerBytes: number): boolean {
    return (
      this.#counts[queue]! < QUEUE_MESSAGES &&
      this.#iovecCount + 2 * headers + 1 <= IOVECS &&
      this.#scratchBytes + headers * (headerBytes + SCRATCH_EXTRA) <= SCRATCH_BYTES
    )
  }

  /** Messages of a queue. */
  count(queue: number): number {
    return this.#counts[queue]!
  }

  /**
   * Take octets of scratch: where they are, two after a multiple of 4, so that words behind an
   * Ethernet header are aligned. The two before are the taker's too. Precondition: they fit.
   */
  takeScratch(bytes: number): number {
    const at = this.#scratchBytes + 2
    this.#scratchBytes = (at + bytes + 3) & ~3
    return at
  }

  /** Append a piece to the message under construction. */
  addPiece(address: number, bytes: number): void {
    const at = this.#iovecCount++ << 2
    const iovecs = this.#iovecs
    iovecs[at] = address
    iovecs[at + 1] = Math.floor(address / TWO_32)
    iovecs[at + 2] = bytes
  }

  /** The same with a piece of scratch. */
  addScratch(at: number, bytes: number): void {
    this.addPiece(this.#scratchAddress + at, bytes)
  }

  /**
   * The message is whole: to the socket address at `name`. `segmentBytes` 0: one datagram.
   * `tag` and `peer` are told when it was sent.
   */
  endMessage(
    queue: number,
    name: number,
    segmentBytes: number,
    tos: number,
    tag: number,
    peer: number,
  ): void {
    const index = queue * QUEUE_MESSAGES + this.#counts[queue]!++
    const words = this.#words
    const at = index * MESSAGE_WORDS
    this.#putAddress(at + Message.Name, name)
    words[at + Message.NameBytes] = this.#nameBytes
    this.#putAddress(at + Message.Iov, this.#iovecsAddress + this.#firstIovec * 16)
    words[at + Message.IovCount] = this.#iovecCount - this.#firstIovec
    const control = index * CONTROL_BYTES
    let length = 0
    if (segmentBytes > 0) {
      this.#putControl(control, 2, SOL_UDP, UDP_SEGMENT, segmentBytes)
      length = CMSG_SPACE
    }
    if (tos !== 0) {
      this.#putControl(control + length, 4, this.#tosLevel, this.#tosType, tos)
      length += CMSG_SPACE
    }
    this.#putAddress(at + Message.Control, length === 0 ? 0 : this.#controlsAddress + control)
    words[at + Message.ControlBytes] = length
    this.#tags[index] = tag
    this.#peers[index] = peer
    this.#firstIovec = this.#iovecCount
  }

  #putAddress(word: number, address: number): void {
    this.#words[word] = address
    this.#words[word + 1] = Math.floor(address / TWO_32)
  }

  #putControl(at: number, bytes: number, level: number, type: number, value: number): void {
    const controls = this.#controls
    const word = at >> 2
    controls[word] = CMSG_HEADER + bytes
    controls[word + 1] = 0
    controls[word + 2] = level
    controls[word + 3] = type
    controls[word + 4] = value
  }

  /** Hand messages from `first` on to the kernel: how many it took, or a negative errno. */
  send(queue: number, fd: number, first: number): number {
    const at = (queue * QUEUE_MESSAGES + first) * MESSAGE_WORDS * 4
    const left = this.#counts[queue]! - first
    const sent = syscall6(SENDMMSG, fd, this.#wordsAddress + at, left, 0, 0)
    return sent >= 0 ? sent : -errno()
  }

  tag(queue: number, index: number): number {
    return this.#tags[queue * QUEUE_MESSAGES + index]!
  }

  peer(queue: number, index: number): number {
    return this.#peers[queue * QUEUE_MESSAGES + index]!
  }

  /** True if a message has many segments, each a piece of headers and one of payload. */
  isJoined(queue: number, index: number): boolean {
    const message = queue * QUEUE_MESSAGES + index
    const length = this.#words[message * MESSAGE_WORDS + Message.ControlBytes]!
    return length > 0 && this.#controls[(message * CONTROL_BYTES) / 4 + 3] === UDP_SEGMENT
  }

  /** Send the segments of a joined message one by one; false if one was refused. */
  sendApart(queue: number, fd: number, index: number): boolean {
    const message = queue * QUEUE_MESSAGES + index
    const words = this.#words
    const at = message * MESSAGE_WORDS
    const left = words[at + Message.ControlBytes]! - CMSG_SPACE
    const control = this.#controlsAddress + message * CONTROL_BYTES + CMSG_SPACE
    this.#putAddress(at + Message.Control, left === 0 ? 0 : control)
    words[at + Message.ControlBytes] = left
    const first = words[at + Message.Iov]! >>> 0
    const base = words[at + Message.Iov + 1]! * TWO_32 + first
    const count = words[at + Message.IovCount]!
    words[at + Message.IovCount] = 2
    for (let i = 0; i < count; i += 2) {
      this.#putAddress(at + Message.Iov, base + i * 16)
      const sent = syscall6(SENDMMSG, fd, this.#wordsAddress + at * 4, 1, 0, 0)
      if (sent < 1) return false
    }
    return true
  }

  /** All were sent: begin again. */
  reset(): void {
    this.#counts.fill(0)
    this.#iovecCount = 0
    this.#firstIovec = 0
    this.#scratchBytes = 0
  }
}
