/**
 * A UDP socket of an in-memory host.
 *
 * Sending is at once and never waits; what goes wrong later (a port that nobody listens on, a path
 * MTU that is too small) comes back as an error of the socket. Received datagrams go to
 * `onMessage`, or wait for `receive` in a bounded queue.
 */
import { type Address, parseAddress } from '../../stack/address.ts'
import { StackError } from '../../stack/errors.ts'
import { PORT_MAX } from '../ports.ts'
import type { Driver } from './driver.ts'
import { checkOptions, RECEIVE, SEND } from './options.ts'
import type { Problem } from './wire.ts'

export interface Message {
  readonly data: Uint8Array
  /** The data as UTF-8 text. */
  readonly text: string
  readonly address: string
  readonly port: number
  /** Own address that it was sent to. */
  readonly to: string
  readonly ttl: number
  /** Answer the sender, from the address and port that it wrote to. */
  reply(data: Uint8Array | string): void
}

export interface SendOptions {
  /** TTL or hop limit, 1 to 255. Default 64. */
  readonly ttl?: number
  /** Never in fragments: what is too big is an error of the socket, and the next one knows. */
  readonly dontFragment?: boolean
  /** `data` is many datagrams of this many octets each, as with UDP_SEGMENT. */
  readonly segmentBytes?: number
}

export interface ReceiveOptions {
  /** How long to wait, in the fabric's time. Default 5 s. */
  readonly timeoutMs?: number
}

/** What went wrong with an earlier datagram. */
export interface SocketError extends Problem {
  readonly address: string
  readonly port: number
  /** Who said so; undefined: this host itself. */
  readonly from: string | undefined
}

export interface Endpoint {
  readonly address: Address
  readonly port: number
}

/** The address of a name; an address is its own. @throws StackError. */
export type Resolve = (name: string) => string

export interface UdpSocketOptions {
  readonly port: number
  /** Name of its host, for messages. */
  readonly host: string
  readonly driver: Driver
  readonly resolve: Resolve
  readonly send: (data: Uint8Array, to: Endpoint, options: SendOptions) => void
  readonly release: () => void
}

interface Receiver {
  readonly resolve: (message: Message) => void
  readonly reject: (error: Error) => void
  readonly cancel: () => void
}

/** Datagrams that wait for `receive`. */
const QUEUE_MAX = 256
const DEFAULT_TIMEOUT_MS = 5000

/** Open until {@link UdpSocket.close}, or its sandbox is removed. */
export class UdpSocket {
  readonly port: number
  readonly #options: UdpSocketOptions
  readonly #queue: Message[] = []
  readonly #receivers: Receiver[] = []
  #handler: ((message: Message) => void) | undefined
  #errorHandler: ((error: SocketError) => void) | undefined
  #open = true

  constructor(options: UdpSocketOptions) {
    this.port = options.port
    this.#options = options
  }

  /** Call `handler` for each datagram, those that wait already included. */
  onMessage(handler: (message: Message) => void): this {
    this.#handler = handler
    for (const message of this.#queue.splice(0)) handler(message)
    return this
  }

  /** Call `handler` with what went wrong with an earlier datagram; left out: it is not told. */
  onError(handler: (error: SocketError) => void): this {
    this.#errorHandler = handler
    return this
  }

  /** The next datagram. @throws StackError `not-found` if none comes in time. */
  receive(options: ReceiveOptions = {}): Promise<Message> {
    const { driver, host } = this.#options
    const { timeoutMs = DEFAULT_TIMEOUT_MS } = options
    return driver.until((resolve, reject) => {
      checkOptions('options of receive', RECEIVE, options)
      const waiting = this.#queue.shift()
      if (waiting !== undefined) {
        resolve(waiting)
        return undefined
      }
      const cancel = driver.clock.after(timeoutMs, () => {
        this.#receivers.splice(this.#receivers.indexOf(receiver), 1)
        const what = `${host}: no datagram for port ${this.port} in ${timeoutMs} ms`
        reject(new StackError('not-found', what))
      })
      const receiver: Receiver = { resolve, reject, cancel }
      this.#receivers.push(receiver)
      return cancel
    })
  }

  /**
   * Send to an address, or to a name that its sandbox knows.
   * @throws StackError: no such name, route or port, too long for UDP, the socket is closed.
   */
  send(data: Uint8Array | string, to: string, port: number, options?: SendOptions): void {
    if (!this.#open) throw new StackError('bad-argument', 'the socket is closed')
    if (!Number.isInteger(port) || port < 1 || port > PORT_MAX) {
      throw new StackError('bad-argument', `port is from 1 to ${PORT_MAX}, not ${port}`)
    }
    if (options !== undefined) checkOptions('options of a datagram', SEND, options)
    const address = parseAddress(this.#options.resolve(to))
    this.#options.send(bytesOf(data), { address, port }, options ?? {})
  }

  /** Give the port back, and end what waits. Idempotent. */
  close(): void {
    if (!this.#open) return
    this.#open = false
    for (const { reject, cancel } of this.#receivers.splice(0)) {
      cancel()
      reject(new StackError('daemon', 'the socket was closed'))
    }
    this.#options.release()
  }

  /** For the host: a datagram for this port. */
  deliver(message: Message): void {
    const receiver = this.#receivers.shift()
    if (receiver !== undefined) {
      receiver.cancel()
      return receiver.resolve(message)
    }
    if (this.#handler !== undefined) return this.#handler(message)
    if (this.#queue.length < QUEUE_MAX) this.#queue.push(message)
  }

  /** For the host: an error about an earlier datagram. */
  fail(error: SocketError): void {
    this.#errorHandler?.(error)
  }
}

export function bytesOf(data: Uint8Array | string): Uint8Array {
  return typeof data === 'string' ? new TextEncoder().encode(data) : data
}
