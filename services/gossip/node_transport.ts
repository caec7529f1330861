/**
 * Gossip by sockets of the host, in the network namespace of this process: UDP and TCP at one
 * address and port.
 *
 * What the kernel refuses (no route, a full queue) is a lost datagram, and counted. At most
 * {@link STREAMS_MAX} streams are open that others began; more are closed at once.
 */
import { createSocket, type Socket as DatagramSocket, type RemoteInfo } from 'node:dgram'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { type Address, formatAddress, parseAddress } from '../../stack/address.ts'
import { StackError } from '../../stack/errors.ts'
import type { GossipStream, StreamHandlers, Transport, TransportHandlers } from './transport.ts'

/** Streams that others began. */
const STREAMS_MAX = 64
/** Octets that wait for the kernel to take them. */
const SEND_QUEUE_BYTES_MAX = 1024 * 1024
/** Bursts of a large cluster come within one turn of the event loop. */
const RECEIVE_BUFFER_BYTES = 2 * 1024 * 1024
/** With port 0, a port has to be found that is free for both. */
const BIND_ATTEMPTS = 8

export interface SocketCounters {
  /** Datagrams that the kernel refused. */
  sendErrors: number
  /** Streams refused because there were too many. */
  streamsRefused: number
}

/**
 * Listen there; port 0 takes one that is free. `refresh` is called before what the network brings:
 * the clock may have stood still.
 *
 * @throws StackError `syscall`.
 */
export async function openNodeTransport(
  address: Address,
  port: number,
  refresh: () => void = () => {},
): Promise<NodeTransport> {
  for (let attempt = 1; ; attempt++) {
    const server = createServer()
    const socket = createSocket({
      type: address.family === 4 ? 'udp4' : 'udp6',
      ipv6Only: address.family === 6,
    })
    try {
      const host = formatAddress(address)
      await listen(server, host, port)
      const bound = (server.address() as AddressInfo).port
      await bind(socket, host, bound)
      return new NodeTransport({ address, port: bound, socket, server, refresh })
    } catch (error) {
      server.close()
      socket.close()
      const { code, message } = error as NodeJS.ErrnoException
      if (port === 0 && code === 'EADDRINUSE' && attempt < BIND_ATTEMPTS) continue
      throw new StackError('syscall', `gossip: ${message}`, { cause: error })
    }
  }
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host, port, ipv6Only: true }, () => {
      server.off('error', reject)
      resolve()
    })
  })
}

function bind(socket: DatagramSocket, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once('error', reject)
    socket.bind({ address: host, port, exclusive: true }, () => {
      socket.off('error', reject)
      resolve()
    })
  })
}

interface Bound {
  readonly address: Address
  readonly port: number
  readonly socket: DatagramSocket
  readonly server: Server
  readonly refresh: () => void
}

export class NodeTransport implements Transport {
  readonly address: Address
  readonly port: number
  readonly counters: SocketCounters = { sendErrors: 0, streamsRefused: 0 }
  readonly #socket: DatagramSocket
  readonly #server: Server
  readonly #refresh: () => void
  readonly #streams = new Set<NodeStream>()
  #accepted = 0
  #closed: Promise<void> | undefined

  constructor({ address, port, socket, server, refresh }: Bound) {
    this.address = address
    this.port = port
    this.#socket = socket
    this.#server = server
    this.#refresh = refresh
    // Kernels with smaller limits give what they have.
    socket.setRecvBufferSize(RECEIVE_BUFFER_BYTES)
  }

  start({ onDatagram, onStream }: TransportHandlers): void {
    this.#socket.on('message', (bytes: Buffer, from: RemoteInfo) => {
      this.#refresh()
      onDatagram(bytes, addressOf(from.address), from.port)
    })
    this.#socket.on('error', () => {
      this.counters.sendErrors++
    })
    this.#server.on('connection', (socket) => {
      const { remoteAddress: from } = socket
      const full = this.#accepted >= STREAMS_MAX || this.#closed !== undefined
      // Without an address it is gone already.
      if (full || from === undefined) {
        this.counters.streamsRefused++
        socket.destroy()
        return
      }
      this.#accepted++
      const stream = new NodeStream(socket, this.#refresh)
      stream.handlers = onStream(stream, addressOf(from))
      this.#own(stream)
      socket.once('close', () => {
        this.#accepted--
      })
    })
    this.#server.on('error', () => {})
  }

  sendDatagram(address: Address, port: number, bytes: Uint8Array): void {
    if (this.#closed !== undefined) return
    if (this.#socket.getSendQueueSize() > SEND_QUEUE_BYTES_MAX) {
      this.counters.sendErrors++
      return
    }
    this.#socket.send(bytes, port, formatAddress(address), (error) => {
      if (error !== null) this.counters.sendErrors++
    })
  }

  dial(address: Address, port: number, handlers: StreamHandlers): GossipStream {
    const stream = new NodeStream(connect({ host: formatAddress(address), port }), this.#refresh)
    stream.handlers = handlers
    this.#own(stream)
    return stream
  }

  #own(stream: NodeStream): void {
    this.#streams.add(stream)
    stream.socket.once('close', () => this.#streams.delete(stream))
  }

  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  async #close(): Promise<void> {
    for (const stream of this.#streams) {
      stream.handlers = undefined
      stream.destroy()
    }
    await Promise.all([
      new Promise<void>((resolve) => this.#socket.close(() => resolve())),
      new Promise<void>((resolve) => this.#server.close(() => resolve())),
    ])
  }
}

/** Of what the kernel says; a link-local address comes with its interface. */
function addressOf(text: string): Address {
  const percent = text.indexOf('%')
  return parseAddress(percent < 0 ? text : text.slice(0, percent))
}

class NodeStream implements GossipStream {
  handlers: StreamHandlers | undefined
  readonly socket: Socket
  #error: StackError | undefined

  constructor(socket: Socket, refresh: () => void) {
    this.socket = socket
    socket.setNoDelay(true)
    socket.on('data', (bytes) => {
      refresh()
      this.handlers?.onData(bytes)
    })
    socket.on('error', (error) => {
      this.#error = new StackError('syscall', error.message, { cause: error })
    })
    socket.on('close', () => this.handlers?.onClose(this.#error))
  }

  write(bytes: Uint8Array): void {
    if (this.socket.writable) this.socket.write(bytes)
  }

  end(): void {
    this.socket.end()
  }

  destroy(): void {
    this.socket.destroy()
  }
}
