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
 * A message is one datagram, or several of one size (the last may be shorter) that the kernel
 * carries as one for as long as it can: the segments of a super-frame, each of headers and payload,
 * or datagrams of one piece each that followed each other to the same peer.
 *
 * The kernel has copied a datagram when the call returns, so its packet is free at once: nothing
 * is lent, and one system call sends up to {@link QUEUE_MESSAGES} messages.
 */

import type { Family } from '../address.ts'
import { sockaddrBytes } from './inet_socket.ts'
import { errno, mapMemory, syscall6 } from './libc.ts'
import { CMSG_HEADER, MESSAGE_WORDS, Message } from './msghdr.ts'
import { IP_TOS, IPV6_TCLASS, SOL_IP, SOL_IPV6, SOL_UDP, UDP_SEGMENT } from './udp_socket.ts'

const SENDMMSG = 307
/** Messages of one socket that may wait: more than one turn of the engine makes. */
const QUEUE_MESSAGES = 64
/** Segments of one message that every kernel takes (UDP_MAX_SEGMENTS). */
export const SEGMENTS_MAX = 64
/** Largest payload of one message: IPv4's 65,535 less its header and UDP's. */
export const MESSAGE_BYTES_MAX = 65_507
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
  /** Size of a message's segments; 0: it is one datagram. */
  readonly #segmentBytes: Int32Array
  /** Iovecs of a segment. */
  readonly #pieces: Uint8Array
  readonly #nameBytes: number
  readonly #tosLevel: number
  readonly #tosType: number
  /** The message that was added last: its queue, or -1 if nothing may follow it. */
  #openQueue = -1
  #openTos = 0
  #openBytes = 0
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
    this.#segmentBytes = new Int32Array(messages)
    this.#pieces = new Uint8Array(messages)
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
   * True if a datagram can follow what was added last in one message: the same queue, peer and
   * TOS, and no larger. Where it is smaller, nothing follows it.
   */
  canFollow(queue: number, peer: number, tos: number, bytes: number): boolean {
    if (queue !== this.#openQueue || tos !== this.#openTos) return false
    const index = this.#last(queue)
    const first = this.#segmentBytes[index]! || this.#openBytes
    return (
      peer === this.#peers[index]! &&
      bytes <= first &&
      this.#words[index * MESSAGE_WORDS + Message.IovCount]! < SEGMENTS_MAX &&
      this.#openBytes + bytes <= MESSAGE_BYTES_MAX &&
      this.#iovecCount < IOVECS
    )
  }

  /** Append a datagram of one piece. Precondition: it can follow. The tag of the one before. */
  follow(queue: number, address: number, bytes: number, tag: number): number {
    const index = this.#last(queue)
    const at = index * MESSAGE_WORDS
    const before = this.#tags[index]!
    this.addPiece(address, bytes)
    this.#firstIovec = this.#iovecCount
    this.#words[at + Message.IovCount]!++
    this.#tags[index] = tag
    if (this.#segmentBytes[index] === 0) this.#setSegments(index, this.#openBytes, 1)
    this.#openBytes += bytes
    if (bytes < this.#segmentBytes[index]!) this.#openQueue = -1
    return before
  }

  #last(queue: number): number {
    return queue * QUEUE_MESSAGES + this.#counts[queue]! - 1
  }

  /**
   * The message is whole: to the socket address at `name`. `segmentBytes` 0: one datagram of one
   * piece, which others may follow; else each segment has two. `tag` and `peer` are told when it
   * was sent.
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
    words[at + Message.ControlBytes] = 0
    this.#putAddress(at + Message.Control, 0)
    if (tos !== 0) this.#addControl(index, 4, this.#tosLevel, this.#tosType, tos)
    this.#tags[index] = tag
    this.#peers[index] = peer
    this.#segmentBytes[index] = 0
    if (segmentBytes > 0) this.#setSegments(index, segmentBytes, 2)
    this.#openQueue = segmentBytes > 0 ? -1 : queue
    this.#openTos = tos
    this.#openBytes = this.#iovecs[(this.#firstIovec << 2) + 2]!
    this.#firstIovec = this.#iovecCount
  }

  #setSegments(index: number, bytes: number, pieces: number): void {
    this.#segmentBytes[index] = bytes
    this.#pieces[index] = pieces
    this.#addControl(index, 2, SOL_UDP, UDP_SEGMENT, bytes)
  }

  #putAddress(word: number, address: number): void {
    this.#words[word] = address
    this.#words[word + 1] = Math.floor(address / TWO_32)
  }

  #addControl(index: number, bytes: number, level: number, type: number, value: number): void {
    const controls = this.#controls
    const at = index * MESSAGE_WORDS
    const control = index * CONTROL_BYTES
    const word = (control + this.#words[at + Message.ControlBytes]!) >> 2
    this.#putAddress(at + Message.Control, this.#controlsAddress + control)
    this.#words[at + Message.ControlBytes]! += CMSG_SPACE
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

  /** True if a message has many segments. */
  isJoined(queue: number, index: number): boolean {
    return this.#segmentBytes[queue * QUEUE_MESSAGES + index]! > 0
  }

  /** Send the segments of a joined message one by one; false if one was refused. */
  sendApart(queue: number, fd: number, index: number): boolean {
    const message = queue * QUEUE_MESSAGES + index
    const words = this.#words
    const at = message * MESSAGE_WORDS
    const pieces = this.#pieces[message]!
    // What says that it has segments is the last of its controls.
    words[at + Message.ControlBytes]! -= CMSG_SPACE
    const first = words[at + Message.Iov]! >>> 0
    const base = words[at + Message.Iov + 1]! * TWO_32 + first
    const count = words[at + Message.IovCount]!
    words[at + Message.IovCount] = pieces
    for (let i = 0; i < count; i += pieces) {
      this.#putAddress(at + Message.Iov, base + i * 16)
      const sent = syscall6(SENDMMSG, fd, this.#wordsAddress + at * 4, 1, 0, 0)
      if (sent < 1) return false
    }
    return true
  }

  /** All were sent: begin again. */
  reset(): void {
    this.#counts.fill(0)
    this.#openQueue = -1
    this.#iovecCount = 0
    this.#firstIovec = 0
    this.#scratchBytes = 0
  }
}
