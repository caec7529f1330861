/**
 * The name service on a kernel: sockets of Node.js to forwarders, the host's resolv.conf, and
 * 127.0.0.11 inside network namespaces (loopback.ts).
 *
 * Every question to a forwarder has a socket of its own, connected: its port is drawn by the
 * kernel, and nothing of another sender is heard. Where it is asked from another namespace the
 * socket is made there (inet_socket.ts) and handed to Node.js, with its port: libuv lets sockets
 * that it is handed share ports, so that the kernel would draw one twice and give the answer of one
 * question to the other.
 *
 * resolv.conf is looked at when it is needed, at most once a second, and read when it changed. Its
 * search list is in files of namespaces, which nobody asks us for: for it the file is watched too.
 */
import { randomBytes } from 'node:crypto'
import { createSocket, type Socket as DatagramSocket } from 'node:dgram'
import { readFileSync, statSync } from 'node:fs'
import { connect, Socket } from 'node:net'
import { performance } from 'node:perf_hooks'
import { setImmediate } from 'node:timers'
import { type Family, formatAddress, parseAddress } from '../../stack/address.ts'
import type { Cancel, SystemClock } from '../../stack/clock.ts'
import { StackError } from '../../stack/errors.ts'
import { type Bound, inetSocket } from '../../stack/native/inet_socket.ts'
import { inNetns } from '../../stack/native/netns.ts'
import type {
  DnsHost,
  HostResolvers,
  LoopbackListener,
  Server,
  ServerListener,
  ServerSocket,
} from './host.ts'
import { Loopbacks } from './loopback.ts'
import { writeResolvConf } from './netns_files.ts'
import { parseResolvConf } from './resolv_conf.ts'
import { watchFile } from './resolv_watch.ts'
import { TCP_BYTES_MAX } from './wire.ts'

const RESOLV_CONF = '/etc/resolv.conf'
const LOOK_MS = 1000
const RANDOM_BYTES = 512
const ANYWHERE: Readonly<Record<Family, Bound>> = {
  4: { address: parseAddress('0.0.0.0'), port: 0 },
  6: { address: parseAddress('::'), port: 0 },
}
const NO_RESOLVERS: HostResolvers = { servers: [], search: [] }

export class KernelDnsHost implements DnsHost {
  readonly #clock: SystemClock
  readonly #loopbacks: Loopbacks
  readonly #path: string
  #random = Buffer.alloc(0)
  #randomAt = 0
  #resolvers = NO_RESOLVERS
  #seen = ''
  #lookedMs = Number.NEGATIVE_INFINITY

  constructor(clock: SystemClock, path: string = RESOLV_CONF) {
    this.#clock = clock
    this.#path = path
    this.#loopbacks = new Loopbacks(clock)
  }

  random16(): number {
    if (this.#randomAt >= this.#random.length) {
      this.#random = randomBytes(RANDOM_BYTES)
      this.#randomAt = 0
    }
    const value = this.#random.readUInt16BE(this.#randomAt)
    this.#randomAt += 2
    return value
  }

  udp(server: Server, listener: ServerListener): ServerSocket {
    return new UdpSocket(this.#clock, server, listener)
  }

  tcp(server: Server, listener: ServerListener): ServerSocket {
    return new TcpSocket(this.#clock, server, listener)
  }

  resolvers(): HostResolvers {
    const nowMs = performance.now()
    if (nowMs - this.#lookedMs < LOOK_MS) return this.#resolvers
    this.#lookedMs = nowMs
    try {
      const { mtimeMs, ino, size } = statSync(this.#path)
      const seen = `${mtimeMs} ${ino} ${size}`
      if (seen === this.#seen) return this.#resolvers
      this.#resolvers = parseResolvConf(readFileSync(this.#path, 'utf8'))
      this.#seen = seen
    } catch {
      this.#resolvers = NO_RESOLVERS
      this.#seen = ''
    }
    return this.#resolvers
  }

  watchResolvers(changed: () => void): Cancel {
    return watchFile(this.#path, () => {
      this.#lookedMs = Number.NEGATIVE_INFINITY
      changed()
    })
  }

  listen(netns: string, listener: LoopbackListener, gone: () => void): Cancel {
    return this.#loopbacks.open(netns, listener, gone)
  }

  setResolvConf(netns: string, text: string | undefined): void {
    writeResolvConf(netns, text)
  }
}

class UdpSocket implements ServerSocket {
  readonly #socket: DatagramSocket
  #open = true

  constructor(clock: SystemClock, server: Server, listener: ServerListener) {
    const { address, port, netns } = server
    this.#socket = createSocket(address.family === 4 ? 'udp4' : 'udp6')
    const fail = (error: Error): void => {
      clock.tick()
      if (this.#open) listener.failed(reason(error))
    }
    this.#socket.on('error', fail)
    this.#socket.on('message', (message) => {
      clock.tick()
      if (this.#open) listener.heard(message)
    })
    const host = formatAddress(address)
    try {
      if (netns === undefined) this.#socket.connect(port, host)
      else {
        const fd = inNetns(netns, () => inetSocket('udp', address.family, ANYWHERE[address.family]))
        this.#socket.bind({ fd, exclusive: true }, () => {
          if (this.#open) this.#socket.connect(port, host)
        })
      }
    } catch (error) {
      // Not within the call: the caller does not have the socket yet.
      setImmediate(() => fail(error as Error))
    }
  }

  send(message: Uint8Array): void {
    this.#socket.once('connect', () => {
      if (this.#open) this.#socket.send(message)
    })
  }

  close(): void {
    if (!this.#open) return
    this.#open = false
    this.#socket.close()
  }
}

class TcpSocket implements ServerSocket {
  readonly #socket: Socket
  #open = true
  #chunks: Buffer[] = []
  #bytes = 0

  constructor(clock: SystemClock, server: Server, listener: ServerListener) {
    const { address, port, netns } = server
    const host = formatAddress(address)
    this.#socket = netns === undefined ? connect({ host, port }) : socketIn(netns, server)
    const fail = (error: Error): void => {
      clock.tick()
      if (this.#open) listener.failed(reason(error))
    }
    this.#socket.on('error', fail)
    this.#socket.on('end', () => fail(new Error('hung up')))
    this.#socket.on('data', (chunk: Buffer) => {
      clock.tick()
      const message = this.#collect(chunk)
      if (this.#open && message !== undefined) listener.heard(message)
    })
  }

  send(message: Uint8Array): void {
    const length = Uint8Array.of(message.length >>> 8, message.length)
    this.#socket.write(Buffer.concat([length, message]))
  }

  close(): void {
    this.#open = false
    this.#socket.destroy()
  }

  /** The first message, once it is whole. */
  #collect(chunk: Buffer): Uint8Array | undefined {
    if (this.#bytes > TCP_BYTES_MAX + 2) return undefined
    this.#chunks.push(chunk)
    this.#bytes += chunk.length
    if (this.#bytes < 2) return undefined
    const all = Buffer.concat(this.#chunks)
    this.#chunks = [all]
    const length = all.readUInt16BE(0)
    return all.length < length + 2 ? undefined : all.subarray(2, length + 2)
  }
}

/** A connecting socket of another namespace; what fails is told as an error of the socket. */
function socketIn(netns: string, { address, port }: Server): Socket {
  try {
    const fd = inNetns(netns, () => inetSocket('tcp', address.family))
    const socket = new Socket({ fd, manualStart: true } as object)
    return socket.connect({ host: formatAddress(address), port })
  } catch (error) {
    const socket = new Socket()
    setImmediate(() => socket.destroy(error as Error))
    return socket
  }
}

function reason(error: unknown): string {
  if (error instanceof StackError) return error.message
  const { code, message } = error as NodeJS.ErrnoException
  return code ?? message
}
