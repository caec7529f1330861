/** TCP of an in-memory host: who listens, and which connection a segment belongs to. */
import { type Address, formatAddress } from '../../stack/address.ts'
import { u16 } from '../../stack/bytes.ts'
import { StackError } from '../../stack/errors.ts'
import { Flag } from '../../stack/ip/tcp.ts'
import type { Packet } from '../../stack/packet.ts'
import type { IpHost } from './ip_host.ts'
import { TcpStream } from './tcp.ts'
import { TcpConnection, type TcpEnd } from './tcp_connection.ts'
import { readSegment, type Segment, sendSegment } from './tcp_segment.ts'
import { type Heading, isUnicast, type Problem } from './wire.ts'

const EPHEMERAL_FIRST = 32_768
/** Of one host; who comes then is refused. */
const CONNECTIONS_MAX = 4096

export interface ListenOptions {
  /** See {@link TcpStream}. */
  readonly allowHalfOpen?: boolean
}

/** A port that is listened on. */
export interface TcpListener {
  readonly port: number
  /** Take no new connections; those that there are stay. Idempotent. */
  close(): void
}

interface Listening extends ListenOptions {
  readonly accept: (stream: TcpStream) => void
}

export class TcpPorts {
  readonly #host: IpHost
  readonly #listening = new Map<number, Listening>()
  readonly #connections = new Map<string, TcpConnection>()
  #ephemeral = EPHEMERAL_FIRST

  constructor(host: IpHost) {
    this.#host = host
  }

  /** @throws StackError `exists`. */
  listen(
    port: number,
    accept: (stream: TcpStream) => void,
    options: ListenOptions = {},
  ): TcpListener {
    if (this.#listening.has(port)) {
      throw new StackError('exists', `${this.#host.name}: TCP port ${port} is taken already`)
    }
    const entry: Listening = { ...options, accept }
    this.#listening.set(port, entry)
    const close = (): void => {
      if (this.#listening.get(port) === entry) this.#listening.delete(port)
    }
    return { port, close }
  }

  /** The stream is not open yet: it emits `connect`, or `error`. @throws StackError: no route. */
  connect(address: Address, port: number): TcpStream {
    const { from } = this.#host.plan(address)
    const remote = { address, port }
    const local = { address: from, port: this.#freePort(from, remote) }
    const stream = new TcpStream({ driver: this.#host.driver })
    this.#open(stream, { local, remote, syn: undefined })
    return stream
  }

  /** False: the segment is damaged. The packet stays the caller's; `head` at its IP header. */
  receive(packet: Packet, heading: Heading): boolean {
    const segment = readSegment(this.#host.pool.mem, packet, heading)
    if (segment === undefined) return false
    if (!isUnicast(heading.to)) return true
    const local = { address: heading.to, port: segment.dstPort }
    const remote = { address: heading.from, port: segment.srcPort }
    const connection = this.#connections.get(keyOf(local, remote))
    if (connection !== undefined) connection.receive(segment)
    else this.#unknown(segment, local, remote)
    return true
  }

  /** An ICMP error quotes a segment of this host. True if a connection may have sent it. */
  refused(mem: Uint8Array, { from, to, at, bytes }: Heading, { kind }: Problem): boolean {
    if (bytes < 4) return false
    const local = { address: from, port: u16(mem, at) }
    const remote = { address: to, port: u16(mem, at + 2) }
    const connection = this.#connections.get(keyOf(local, remote))
    connection?.refused(kind)
    return connection !== undefined
  }

  /** All ends at once. */
  close(): void {
    this.#listening.clear()
    for (const connection of [...this.#connections.values()]) connection.vanish()
  }

  #open(
    stream: TcpStream,
    ends: { local: TcpEnd; remote: TcpEnd; syn: Segment | undefined },
  ): void {
    const key = keyOf(ends.local, ends.remote)
    const release = (): void => {
      this.#connections.delete(key)
    }
    const connection = new TcpConnection({
      host: this.#host,
      events: stream.events,
      release,
      ...ends,
    })
    this.#connections.set(key, connection)
    stream.bind(connection)
  }

  /** A segment of no connection: one that asks for a new one, or nothing that we know of. */
  #unknown(segment: Segment, local: TcpEnd, remote: TcpEnd): void {
    const kind = segment.flags & (Flag.Syn | Flag.Ack | Flag.Rst)
    const listening = kind === Flag.Syn ? this.#listening.get(local.port) : undefined
    if (listening !== undefined && this.#connections.size < CONNECTIONS_MAX) {
      const { allowHalfOpen = false } = listening
      const stream = new TcpStream({ driver: this.#host.driver, allowHalfOpen })
      // A stream without a listener for errors would end the test's process.
      stream.on('error', () => {})
      stream.once('connect', () => listening.accept(stream))
      return this.#open(stream, { local, remote, syn: segment })
    }
    if ((kind & Flag.Rst) === 0) this.#reset(segment, local, remote)
  }

  /** RFC 9293 §3.10.7.1. */
  #reset(segment: Segment, local: TcpEnd, remote: TcpEnd): void {
    const answers = (segment.flags & Flag.Ack) !== 0
    const flagBytes = (segment.flags & (Flag.Syn | Flag.Fin)) === 0 ? 0 : 1
    let plan: ReturnType<IpHost['plan']>
    try {
      plan = this.#host.plan(remote.address)
    } catch (error) {
      if (error instanceof StackError) return
      throw error
    }
    sendSegment(this.#host, plan, {
      from: local.address,
      to: remote.address,
      srcPort: local.port,
      dstPort: remote.port,
      seq: answers ? segment.ack : 0,
      ack: answers ? 0 : (segment.seq + segment.data.length + flagBytes) >>> 0,
      flags: answers ? Flag.Rst : Flag.Rst | Flag.Ack,
      window: 0,
      mssBytes: 0,
      gsoBytes: 0,
      data: new Uint8Array(0),
    })
  }

  #freePort(address: Address, remote: TcpEnd): number {
    for (let i = EPHEMERAL_FIRST; i <= 0xffff; i++) {
      const port = this.#ephemeral
      this.#ephemeral = port === 0xffff ? EPHEMERAL_FIRST : port + 1
      if (!this.#connections.has(keyOf({ address, port }, remote))) return port
    }
    throw new StackError('exhausted', `${this.#host.name}: no TCP port is free`)
  }
}

function keyOf(local: TcpEnd, remote: TcpEnd): string {
  const ends = [local, remote].map(({ address, port }) => `${formatAddress(address)} ${port}`)
  return ends.join(' ')
}
