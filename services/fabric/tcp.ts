/**
 * TCP as programs see it: streams of Node's own kind, so that what runs on a socket (an HTTP
 * server, a database client) runs on an in-memory host.
 *
 * A program reacts in turns of the event loop, and not at the instant when its data came. So each
 * event of a stream asks the driver to let the event loop have some turns before time goes on.
 */
import { Duplex } from 'node:stream'
import { formatAddress } from '../../stack/address.ts'
import type { Driver } from './driver.ts'
import type { TcpConnection, TcpEvents } from './tcp_connection.ts'

/** Octets not acknowledged beyond which `write` says that it is enough for now. */
const SEND_BYTES = 256 << 10

export interface TcpStreamOptions {
  readonly driver: Driver
  /** Stay open for writing after the peer's end, as HTTP servers want it. */
  readonly allowHalfOpen?: boolean
}

/** A stream of a sandbox: of a host in memory, or a socket of a namespace's kernel. */
export interface FabricStream extends Duplex {
  readonly localAddress?: string | undefined
  readonly localPort?: number | undefined
  readonly remoteAddress?: string | undefined
  readonly remotePort?: number | undefined
}

/** One connection. Emits `connect` once it is open, and else what streams emit. */
export class TcpStream extends Duplex {
  readonly #driver: Driver
  #connection: TcpConnection | undefined
  #written: (() => void) | undefined

  /** For ports: {@link TcpStream.bind} comes before all else. */
  constructor({ driver, allowHalfOpen = false }: TcpStreamOptions) {
    super({ allowHalfOpen })
    this.#driver = driver
  }

  bind(connection: TcpConnection): void {
    this.#connection = connection
  }

  /** For its connection. */
  readonly events: TcpEvents = {
    opened: () => {
      this.#driver.stir()
      this.emit('connect')
    },
    received: (data) => {
      this.#driver.stir()
      return this.push(data)
    },
    ended: () => {
      this.#driver.stir()
      this.push(null)
    },
    sent: () => {
      if (this.#written === undefined || this.#bound.buffered > SEND_BYTES) return
      this.#driver.stir()
      const done = this.#written
      this.#written = undefined
      done()
    },
    closed: (error) => {
      this.#driver.stir()
      if (error !== undefined || !this.readableEnded) this.destroy(error)
    },
  }

  get localAddress(): string {
    return formatAddress(this.#bound.local.address)
  }

  get localPort(): number {
    return this.#bound.local.port
  }

  get remoteAddress(): string {
    return formatAddress(this.#bound.remote.address)
  }

  get remotePort(): number {
    return this.#bound.remote.port
  }

  override _read(): void {
    this.#connection?.resume()
  }

  override _write(chunk: Uint8Array, _: BufferEncoding, done: () => void): void {
    this.#bound.send(chunk)
    if (this.#bound.buffered > SEND_BYTES) this.#written = done
    else done()
  }

  override _final(done: () => void): void {
    this.#bound.finish()
    done()
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#connection?.abandon()
    done(error)
  }

  get #bound(): TcpConnection {
    return this.#connection!
  }
}
