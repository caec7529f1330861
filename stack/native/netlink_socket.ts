/**
 * A socket of netlink: one request, then its acknowledgement or the list that it asks for. The
 * socket belongs to the namespace that the thread was in when it was opened (see netns.ts).
 *
 * Most requests take microseconds and are waited for. What the kernel takes longer for is done on
 * another thread than the one that carries packets: a list comes in parts of at most 64 KB, and
 * packets pass between any two.
 */
import { StackError } from '../errors.ts'
import { check, close, errnoName, recv, recvAsync, send, sendAsync, socket } from './libc.ts'
import { HEADER_BYTES, type Message } from './netlink_message.ts'

const AF_NETLINK = 16
const SOCK_RAW_CLOEXEC = 3 | 0x8_0000
const REPLY_BYTES = 65_536
const Type = { Error: 2, Done: 3 } as const

/** 0 or a negative errno, and what was told before it. */
interface Answer {
  readonly code: number
  readonly body: Uint8Array | undefined
}

/** Told of every part of a list, which ends without an acknowledgement. */
type Each = (body: Uint8Array) => void

export class NetlinkSocket {
  readonly #fd: number
  readonly #reply = new Uint8Array(REPLY_BYTES)
  #sequence = 0
  #body: Uint8Array | undefined

  /** `protocol`: of netlink's, such as NETLINK_ROUTE. @throws StackError. */
  constructor(protocol: number) {
    this.#fd = check(socket(AF_NETLINK, SOCK_RAW_CLOEXEC, protocol), 'open a netlink socket')
  }

  /** Send, and wait for the acknowledgement or the end of the list. @throws StackError. */
  exchange(message: Message, each?: Each): Answer {
    const request = this.#begin(message)
    check(send(this.#fd, request, request.length, 0), 'send to netlink')
    for (;;) {
      const bytes = check(recv(this.#fd, this.#reply, REPLY_BYTES, 0), 'receive from netlink')
      const answer = this.#read(bytes, each)
      if (answer !== undefined) return answer
    }
  }

  /** {@link exchange} while other work goes on; one at a time. @throws StackError. */
  async exchangeAway(message: Message, each?: Each): Promise<Answer> {
    const request = this.#begin(message)
    check(await sendAsync(this.#fd, request, request.length), 'send to netlink')
    for (;;) {
      const bytes = await recvAsync(this.#fd, this.#reply, REPLY_BYTES)
      const answer = this.#read(check(bytes, 'receive from netlink'), each)
      if (answer !== undefined) return answer
    }
  }

  close(): void {
    close(this.#fd)
  }

  #begin(message: Message): Uint8Array {
    this.#body = undefined
    return message.seal(++this.#sequence)
  }

  /** One datagram; undefined: more is to come. */
  #read(bytes: number, each: Each | undefined): Answer | undefined {
    const view = new DataView(this.#reply.buffer, 0, bytes)
    for (let at = 0; at + HEADER_BYTES <= bytes; ) {
      const length = view.getUint32(at, true)
      const type = view.getUint16(at + 4, true)
      if (length < HEADER_BYTES || at + length > bytes) break
      if (view.getUint32(at + 8, true) === this.#sequence) {
        const code = type === Type.Error ? view.getInt32(at + HEADER_BYTES, true) : 0
        if (type === Type.Error) return { code, body: this.#body }
        if (type === Type.Done && each !== undefined) return { code: 0, body: this.#body }
        if (type !== Type.Done) this.#body = this.#reply.slice(at + HEADER_BYTES, at + length)
        if (type !== Type.Done) each?.(this.#body!)
      }
      at += (length + 3) & ~3
    }
    return undefined
  }
}

/** @throws StackError if `code` is a negative errno. */
export function fail(code: number, what: string): void {
  if (code < 0) throw new StackError('syscall', `${what}: ${errnoName(-code)}`)
}
