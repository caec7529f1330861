/**
 * Membership as memberlist does it, put together: what is believed (swim.ts), probes (prober.ts),
 * broadcasts in datagrams (datagrams.ts), and push/pulls (exchange.ts). On top of it sits a
 * delegate with messages of its own: serf (serf.ts).
 *
 * Timers run only while there is something to do: broadcasts go out every
 * {@link GOSSIP_INTERVAL_MS} until all have been sent often enough; probes and push/pulls go on.
 * All time comes from the clock, all chance from the generator, so that a cluster on virtual time
 * runs the same for the same seed. (What is encrypted differs; when it is sent does not.)
 */
import type { Address } from '../../stack/address.ts'
import type { Cancel, Clock } from '../../stack/clock.ts'
import type { StackError } from '../../stack/errors.ts'
import type { Random } from '../../stack/random.ts'
import type { Log } from '../log.ts'
import { type DatagramCounters, Datagrams, type Destination } from './datagrams.ts'
import { GOSSIP_INTERVAL_MS, GOSSIP_NODES, pushPullMs, retransmitLimit } from './defaults.ts'
import type { Sealing } from './envelope.ts'
import { Exchange, type ExchangeCounters } from './exchange.ts'
import type { Message } from './messages.ts'
import { isAt, isGone, type NodeRecord } from './node_table.ts'
import { type ProbeCounters, Prober } from './prober.ts'
import { type NodeEvents, Swim, type SwimCounters } from './swim.ts'
import type { Transport } from './transport.ts'
import { Unopened } from './unopened.ts'

/** Versions of the protocol (lowest, highest, spoken), then serf's. */
const VERSIONS: Uint8Array = Uint8Array.of(1, 5, 2, 2, 5, 5)

/** A node that leaves goes on telling it for so long at most. */
const LEAVE_TIMEOUT_MS = 5000
/** Members that it tells itself; the rest hears it from others. */
const TOLD_MAX = 32

export interface Delegate extends NodeEvents {
  onUserMessage(payload: Uint8Array): void
  /** Payloads of user messages to send along; each was sent `limit` times at most. */
  broadcasts(overhead: number, bytes: number, limit: number): Uint8Array[]
  /** Is there anything to broadcast? */
  hasBroadcasts(): boolean
  localState(join: boolean): Uint8Array
  mergeState(state: Uint8Array, join: boolean): void
}

export interface MemberlistOptions {
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly transport: Transport
  readonly sealing: Sealing
  readonly name: string
  readonly meta: Uint8Array
  /** Where others reach this node, if that is not the transport's address. */
  readonly advertise?: Destination
  readonly delegate: Delegate
}

export type GossipCounters = DatagramCounters & ExchangeCounters & ProbeCounters & SwimCounters

export class Memberlist {
  readonly swim: Swim
  readonly #options: MemberlistOptions
  readonly #datagrams: Datagrams
  readonly #exchange: Exchange
  readonly #prober: Prober
  #gossiping: Cancel | undefined
  #pulling: Cancel | undefined
  #closed = false

  constructor(options: MemberlistOptions) {
    this.#options = options
    const { clock, random, log, transport, sealing, name, meta, advertise, delegate } = options
    const { address, port } = advertise ?? transport
    const self = { node: name, address, port, meta, versions: VERSIONS }
    const onQueued = (): void => this.wake()
    const swim = new Swim({ clock, random, events: delegate, self, onQueued })
    this.swim = swim
    const unopened = new Unopened({ clock, log })
    const onUnopened = (from: Address): void => unopened.note(from)
    this.#datagrams = new Datagrams({
      transport,
      onUnopened,
      sealing,
      swim,
      userBroadcasts: (overhead, bytes) => delegate.broadcasts(overhead, bytes, this.#limit),
      onMessage: (message, from, fromPort) => this.#onMessage(message, from, fromPort),
    })
    const user = {
      local: (join: boolean) => delegate.localState(join),
      merge: (state: Uint8Array, join: boolean) => delegate.mergeState(state, join),
      onMessage: (payload: Uint8Array) => delegate.onUserMessage(payload),
    }
    this.#exchange = new Exchange({ clock, transport, sealing, swim, user, onUnopened })
    this.#prober = new Prober({
      clock,
      random,
      log,
      swim,
      datagrams: this.#datagrams,
      tcpPing: (to, ping, onAck) => this.#exchange.ping(to, ping, onAck),
    })
  }

  get counters(): GossipCounters {
    return {
      ...this.#datagrams.counters,
      ...this.#exchange.counters,
      ...this.#prober.counters,
      ...this.swim.counters,
    }
  }

  /** Octets of a user message's payload that fit into a datagram. */
  get payloadBytesMax(): number {
    return this.#datagrams.bytesMax - 1
  }

  /** Others that are taken to be there. */
  get othersCount(): number {
    let count = 0
    for (const node of this.swim.table.values()) {
      if (node !== this.swim.self && !isGone(node)) count++
    }
    return count
  }

  /** Is there a node that anybody told of at this address? */
  knows({ address, port }: Destination): boolean {
    for (const node of this.swim.table.values()) if (isAt(node, address, port)) return true
    return false
  }

  start(): void {
    const { transport, random } = this.#options
    transport.start({
      onDatagram: (bytes, address, port) => this.#datagrams.receive(bytes, address, port),
      onStream: (stream, from) => this.#exchange.accept(stream, from),
    })
    this.#prober.start()
    this.#pullLater(random.below(pushPullMs(1)))
  }

  /** Push/pull with each of them. The errors of those with which it failed. */
  async join(targets: readonly Destination[]): Promise<StackError[]> {
    const results = await Promise.all(
      targets.map(
        (to) =>
          new Promise<StackError | undefined>((resolve) => {
            this.#exchange.pushPull(to, true, resolve)
          }),
      ),
    )
    return results.flatMap((error) => (error === undefined ? [] : [error]))
  }

  /** Push/pull with one, as when joining. */
  reach(to: Destination, onEnd: (error?: StackError) => void): void {
    this.#exchange.pushPull(to, true, onEnd)
  }

  /** Best effort. Precondition: at most {@link payloadBytesMax}. */
  send(to: Destination, payload: Uint8Array, name?: string): void {
    this.#datagrams.sendOnly(to, [{ type: 'user', payload }], name)
  }

  sendReliable(to: Destination, payload: Uint8Array, onEnd: (error?: StackError) => void): void {
    this.#exchange.sendUser(to, payload, onEnd)
  }

  /** Send a user message to members, but at most to {@link TOLD_MAX}; the first way to tell. */
  tell(payload: Uint8Array): void {
    for (const node of this.#others()) this.send(node, payload, node.name)
  }

  /**
   * Say that this node leaves, `delayMs` from now; resolves when enough others know, or after some
   * seconds. Some are told directly, so that they know at once.
   */
  leave(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      const { clock } = this.#options
      const cancel = clock.after(LEAVE_TIMEOUT_MS, resolve)
      const done = (): void => {
        cancel()
        resolve()
      }
      clock.after(delayMs, () => {
        const { name, incarnation } = this.swim.self
        this.swim.leave(done)
        const dead = { type: 'dead', incarnation, node: name, from: name } as const
        const others = this.#others()
        for (const node of others) this.#datagrams.sendOnly(node, [dead], node.name)
        if (others.length === 0) done()
      })
    })
  }

  #others(): NodeRecord[] {
    return this.swim.table.pick(TOLD_MAX, (node) => node !== this.swim.self && !isGone(node))
  }

  /** The layer above does not understand a message. */
  refuse(): void {
    this.#datagrams.counters.refused++
  }

  /** End everything but the transport. Nobody is told. Idempotent. */
  close(): void {
    this.#closed = true
    this.#gossiping?.()
    this.#pulling?.()
    this.#prober.close()
    this.#exchange.close()
    this.swim.close()
  }

  /** There is something to broadcast. */
  wake(): void {
    if (this.#gossiping !== undefined || this.#closed) return
    this.#gossiping = this.#options.clock.after(GOSSIP_INTERVAL_MS, () => this.#gossip())
  }

  get #limit(): number {
    return retransmitLimit(this.swim.table.size)
  }

  #gossip(): void {
    this.#gossiping = undefined
    const { swim } = this
    const nodes = swim.table.pick(GOSSIP_NODES, (node) => this.#hears(node))
    // Alone: whoever comes is told everything by a push/pull, and wakes this up again.
    if (nodes.length === 0) return
    for (const node of nodes) {
      if (!this.#datagrams.gossip(node, node.name)) break
    }
    if (swim.queue.size > 0 || this.#options.delegate.hasBroadcasts()) this.wake()
  }

  /** The dead too, for a time: they may live. */
  #hears(node: NodeRecord): boolean {
    return node !== this.swim.self && node.state !== 'left' && !this.swim.isForgotten(node)
  }

  #pullLater(delayMs: number): void {
    if (this.#closed) return
    this.#pulling = this.#options.clock.after(delayMs, () => {
      const [node] = this.swim.table.pick(1, (other) => {
        return other !== this.swim.self && other.state === 'alive'
      })
      if (node !== undefined) this.#exchange.pushPull(node, false, () => {})
      this.#pullLater(pushPullMs(this.swim.table.size))
    })
  }

  #onMessage(message: Message, address: Address, port: number): void {
    if (this.#closed) return
    switch (message.type) {
      case 'ping':
        return this.#prober.onPing(message, address, port)
      case 'indirect-ping':
        return this.#prober.onIndirectPing(message, address, port)
      case 'ack':
        return this.#prober.onAck(message)
      case 'nack':
        return this.#prober.onNack(message)
      case 'alive':
        return this.swim.alive(message)
      case 'suspect':
        return this.swim.suspect(message)
      case 'dead':
        return this.swim.dead(message)
      case 'user':
        return this.#options.delegate.onUserMessage(message.payload)
    }
  }
}
