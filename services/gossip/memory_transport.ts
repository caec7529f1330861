/**
 * A network of gossip transports in memory, on virtual time: with delay, loss, partitions and
 * hosts that die without a word. What happens depends on the seed alone.
 *
 * Streams lose nothing, but a lost segment comes later by a retransmission's time. Where a host
 * cannot be reached, opening a stream gets no answer at all, and the data of one that was open
 * gets lost: whoever waits for it needs a timer, as with the real ones.
 */
import { type Address, formatAddress } from '../../stack/address.ts'
import type { Clock } from '../../stack/clock.ts'
import { StackError } from '../../stack/errors.ts'
import type { Random } from '../../stack/random.ts'
import type { GossipStream, StreamHandlers, Transport, TransportHandlers } from './transport.ts'

const RETRANSMIT_MS = 200

export interface Faults {
  readonly delayMs: number
  /** On top, by chance. */
  readonly jitterMs: number
  /** Of datagrams, and of segments of streams. */
  readonly lossPct: number
}

export interface TransportCounters {
  datagramsOut: number
  datagramBytesOut: number
  datagramsIn: number
  datagramBytesIn: number
  streamsOut: number
  streamBytesOut: number
  streamBytesIn: number
}

export interface MemoryNetworkOptions {
  readonly clock: Clock
  readonly random: Random
  readonly faults?: Partial<Faults>
}

export class MemoryNetwork {
  readonly clock: Clock
  readonly random: Random
  faults: Faults
  readonly #hosts = new Map<HostKey, MemoryTransport>()
  /** Group of a host; hosts reach each other within one. Those without one are in group 0. */
  readonly #groups = new Map<HostKey, number>()

  constructor({ clock, random, faults }: MemoryNetworkOptions) {
    this.clock = clock
    this.random = random
    this.faults = { delayMs: 1, jitterMs: 0, lossPct: 0, ...faults }
  }

  /** @throws StackError `exists` if the address and port are taken. */
  open(address: Address, port: number): MemoryTransport {
    const key = keyOf(address, port)
    if (this.#hosts.has(key)) {
      throw new StackError('exists', `${formatAddress(address)} port ${port} is in use`)
    }
    const transport = new MemoryTransport(this, address, port)
    this.#hosts.set(key, transport)
    return transport
  }

  /** Only members of the same group reach each other from now on. */
  partition(groups: readonly (readonly MemoryTransport[])[]): void {
    this.#groups.clear()
    for (const [i, group] of groups.entries()) {
      for (const { key } of group) this.#groups.set(key, i)
    }
  }

  heal(): void {
    this.#groups.clear()
  }

  /** Who is there and can be reached from `from`. */
  find(from: MemoryTransport, address: Address, port: number): MemoryTransport | undefined {
    const to = keyOf(address, port)
    if (this.#groups.size === 0) return this.#hosts.get(to)
    const group = this.#groups.get(from.key) ?? 0
    return group === (this.#groups.get(to) ?? 0) ? this.#hosts.get(to) : undefined
  }

  /** The host is dead at once: nobody is told. */
  remove({ key }: MemoryTransport): void {
    this.#hosts.delete(key)
  }

  delayMs(): number {
    const { delayMs, jitterMs } = this.faults
    return jitterMs === 0 ? delayMs : delayMs + (jitterMs * this.random.below(1000)) / 1000
  }
}

/** Address and port; of an IPv4 address as one number, since each datagram asks for it. */
type HostKey = number | string

function keyOf(address: Address, port: number): HostKey {
  if (address.family === 4) return (address.words[3]! >>> 0) * 0x1_0000 + port
  return `${formatAddress(address)} ${port}`
}

export class MemoryTransport implements Transport {
  readonly address: Address
  readonly port: number
  readonly key: HostKey
  readonly counters: TransportCounters = {
    datagramsOut: 0,
    datagramBytesOut: 0,
    datagramsIn: 0,
    datagramBytesIn: 0,
    streamsOut: 0,
    streamBytesOut: 0,
    streamBytesIn: 0,
  }
  readonly #network: MemoryNetwork
  #handlers: TransportHandlers | undefined
  #closed = false

  constructor(network: MemoryNetwork, address: Address, port: number) {
    this.#network = network
    this.address = address
    this.port = port
    this.key = keyOf(address, port)
  }

  get closed(): boolean {
    return this.#closed
  }

  start(handlers: TransportHandlers): void {
    this.#handlers = handlers
  }

  sendDatagram(address: Address, port: number, bytes: Uint8Array): void {
    if (this.#closed) return
    const { clock, random, faults } = this.#network
    this.counters.datagramsOut++
    this.counters.datagramBytesOut += bytes.length
    if (random.chance(faults.lossPct)) return
    const copy = bytes.slice()
    clock.after(this.#network.delayMs(), () => {
      this.#network.find(this, address, port)?.receive(copy, this)
    })
  }

  receive(bytes: Uint8Array, from: Transport): void {
    if (this.#closed) return
    this.counters.datagramsIn++
    this.counters.datagramBytesIn += bytes.length
    this.#handlers?.onDatagram(bytes, from.address, from.port)
  }

  dial(address: Address, port: number, handlers: StreamHandlers): GossipStream {
    this.counters.streamsOut++
    const near = new MemoryStream(this.#network, this, handlers)
    this.#network.clock.after(this.#network.delayMs(), () => {
      const peer = this.#network.find(this, address, port)
      if (peer !== undefined && !this.#closed) near.open(peer)
    })
    return near
  }

  /** Another side's stream arrives. */
  accept(near: MemoryStream): MemoryStream | undefined {
    if (this.#closed || this.#handlers === undefined) return undefined
    const far = new MemoryStream(this.#network, this)
    far.peer = near
    far.handlers = this.#handlers.onStream(far, near.address)
    return far
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#network.remove(this)
  }
}

/** One side of a stream. */
class MemoryStream implements GossipStream {
  handlers: StreamHandlers | undefined
  peer: MemoryStream | undefined
  readonly #network: MemoryNetwork
  readonly #host: MemoryTransport
  /** Written before it was open; undefined stands for the end. */
  #early: (Uint8Array | undefined)[] = []
  #ended = false
  #closed = false
  /** Segments stay in order: none arrives before this. */
  #arrivalMs = 0

  /** Of its side. */
  get address(): Address {
    return this.#host.address
  }

  constructor(network: MemoryNetwork, host: MemoryTransport, handlers?: StreamHandlers) {
    this.#network = network
    this.#host = host
    this.handlers = handlers
  }

  open(host: MemoryTransport): void {
    if (this.#closed) return
    this.peer = host.accept(this)
    if (this.peer === undefined) return this.close(new StackError('daemon', 'refused'))
    const early = this.#early
    this.#early = []
    for (const bytes of early) this.#send(bytes)
  }

  write(bytes: Uint8Array): void {
    if (this.#ended || this.#closed) return
    this.#host.counters.streamBytesOut += bytes.length
    this.#send(bytes.slice())
  }

  end(): void {
    if (this.#ended || this.#closed) return
    this.#ended = true
    this.#send(undefined)
  }

  destroy(): void {
    if (this.#closed) return
    this.end()
    this.close()
  }

  close(error?: StackError): void {
    if (this.#closed) return
    this.#closed = true
    if (!this.#host.closed) this.handlers?.onClose(error)
  }

  #send(bytes: Uint8Array | undefined): void {
    const { peer } = this
    if (peer === undefined) {
      this.#early.push(bytes)
      return
    }
    const { clock, random, faults } = this.#network
    let delayMs = this.#network.delayMs()
    while (random.chance(faults.lossPct)) delayMs += RETRANSMIT_MS
    this.#arrivalMs = Math.max(this.#arrivalMs, clock.nowMs + delayMs)
    clock.after(this.#arrivalMs - clock.nowMs, () => peer.#arrive(bytes, this.#host))
  }

  #arrive(bytes: Uint8Array | undefined, from: MemoryTransport): void {
    const { address, port } = this.#host
    const isThere = this.#network.find(from, address, port) === this.#host
    if (this.#closed || !isThere) return
    if (bytes === undefined) {
      this.end()
      return this.close()
    }
    this.#host.counters.streamBytesIn += bytes.length
    this.handlers?.onData(bytes)
  }
}
