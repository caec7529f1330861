/**
 * Datagrams from the kernel by recvmmsg(2): a batch of messages, each with a packet to receive
 * into by one iovec, its sender and its control data. For layouts see messages_out.ts.
 */
import { SOCKADDR_BYTES } from './inet_socket.ts'
import { errno, mapMemory, syscall6 } from './libc.ts'
import { CMSG_HEADER, MESSAGE_WORDS, Message } from './msghdr.ts'
import { IP_TOS, IPV6_TCLASS, SOL_IP, SOL_IPV6, SOL_UDP, UDP_GRO } from './udp_socket.ts'

const RECVMMSG = 299
/** Datagrams a call. */
export const BATCH_MESSAGES = 32
const NAME_SLOT_BYTES = 32
const CONTROL_SLOT_BYTES = 64
const MSG_TRUNC = 0x20
const MSG_DONTWAIT = 0x40
const TWO_32 = 0x1_0000_0000

export class MessagesIn {
  /** Sender of each message as a socket address; see {@link nameAt}. */
  readonly names: Uint8Array
  readonly #words: Int32Array
  readonly #wordsAddress: number
  readonly #iovecs: Int32Array
  readonly #controls: Int32Array
  /** Of the message that was asked for last: octets of its segments, or 0, and its TOS. */
  segmentBytes = 0
  tos = 0

  constructor() {
    const headers = mapMemory(BATCH_MESSAGES * MESSAGE_WORDS * 4)
    this.#words = new Int32Array(headers.buffer)
    this.#wordsAddress = headers.address
    const names = mapMemory(BATCH_MESSAGES * NAME_SLOT_BYTES)
    this.names = new Uint8Array(names.buffer)
    const iovecs = mapMemory(BATCH_MESSAGES * 16)
    this.#iovecs = new Int32Array(iovecs.buffer)
    const controls = mapMemory(BATCH_MESSAGES * CONTROL_SLOT_BYTES)
    this.#controls = new Int32Array(controls.buffer)
    for (let i = 0; i < BATCH_MESSAGES; i++) {
      const at = i * MESSAGE_WORDS
      this.#putAddress(at + Message.Name, names.address + i * NAME_SLOT_BYTES)
      this.#putAddress(at + Message.Iov, iovecs.address + i * 16)
      this.#words[at + Message.IovCount] = 1
      this.#putAddress(at + Message.Control, controls.address + i * CONTROL_SLOT_BYTES)
    }
  }

  #putAddress(word: number, address: number): void {
    this.#words[word] = address
    this.#words[word + 1] = Math.floor(address / TWO_32)
  }

  /** Receive message `index` into `bytes` octets at `address`. */
  point(index: number, address: number, bytes: number): void {
    const at = index << 2
    this.#iovecs[at] = address
    this.#iovecs[at + 1] = Math.floor(address / TWO_32)
    this.#iovecs[at + 2] = bytes
  }

  /** Receive up to `count` messages: how many came, or a negative errno. */
  receive(fd: number, count: number): number {
    const words = this.#words
    for (let i = 0; i < count; i++) {
      const at = i * MESSAGE_WORDS
      words[at + Message.NameBytes] = SOCKADDR_BYTES
      words[at + Message.ControlBytes] = CONTROL_SLOT_BYTES
    }
    const came = syscall6(RECVMMSG, fd, this.#wordsAddress, count, MSG_DONTWAIT, 0)
    return came >= 0 ? came : -errno()
  }

  /** Octets of a message; -1 if it was cut off. Sets {@link segmentBytes} and {@link tos}. */
  lengthOf(index: number): number {
    const at = index * MESSAGE_WORDS
    const words = this.#words
    this.#readControls((index * CONTROL_SLOT_BYTES) / 4, words[at + Message.ControlBytes]!)
    return (words[at + Message.Flags]! & MSG_TRUNC) === 0 ? words[at + Message.Length]! : -1
  }

  #readControls(first: number, bytes: number): void {
    const controls = this.#controls
    this.segmentBytes = 0
    this.tos = 0
    const end = first + (bytes >> 2)
    for (let at = first; at + 4 < end; ) {
      const length = controls[at]!
      if (length < CMSG_HEADER) return
      const level = controls[at + 2]!
      const type = controls[at + 3]!
      const value = controls[at + 4]!
      if (level === SOL_UDP && type === UDP_GRO) this.segmentBytes = value & 0xffff
      else if (level === SOL_IP && type === IP_TOS) this.tos = value & 0xff
      else if (level === SOL_IPV6 && type === IPV6_TCLASS) this.tos = value & 0xff
      at += ((length + 7) >> 3) << 1
    }
  }

  /** Where the sender of a message is in {@link names}. */
  nameAt(index: number): number {
    return index * NAME_SLOT_BYTES
  }
}
