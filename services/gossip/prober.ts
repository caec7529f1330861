/**
 * Is everybody there? Each interval one member is pinged, and pings of others are answered.
 *
 * ```text
 *   0 ms            ping ───────────────────────────> member
 *   500 ms          no ack: three others are asked to ping it for us, each of which answers with
 *                   an ack, or with a nack 500 ms later; and a ping by TCP goes out
 *   1,000 ms        nothing: the member is suspect, and this node trusts itself less for each
 *                   nack that is missing: those do not depend on the member
 * ```
 *
 * The nacks of a first failed probe come when it is over, as memberlist's do: whoever notices a
 * death doubts itself for a while. (Lifeguard sends them after 80 % of the timeout; then, with 30 %
 * loss, half as many members again are suspected.)
 *
 * All times grow with the node's distrust in itself (awareness.ts), but the wait for the direct
 * ack. A member that only TCP reaches is alive, and its network is at fault: that is logged.
 */
import type { Address } from '../../stack/address.ts'
import type { Cancel, Clock } from '../../stack/clock.ts'
import type { Random } from '../../stack/random.ts'
import type { Log } from '../log.ts'
import type { Datagrams } from './datagrams.ts'
import { INDIRECT_CHECKS, PROBE_INTERVAL_MS, PROBE_TIMEOUT_MS } from './defaults.ts'
import type { Ack, IndirectPing, Nack, Ping } from './messages.ts'
import { isGone, type NodeRecord, speaks } from './node_table.ts'
import type { Swim } from './swim.ts'

/** From these versions of the protocol on, members ping by TCP, and send nacks. */
const TCP_PROTOCOL = 3
const NACK_PROTOCOL = 4
/** Pings that are sent for others at a time; further ones are not, which costs them a nack. */
const RELAYED_MAX = 1024

export interface ProbeCounters {
  probes: number
  /** Neither the member nor those who were asked answered. */
  probesFailed: number
  /** Only TCP reached the member. */
  tcpOnly: number
}

/** Told when the ping with a certain number is answered. */
interface Waiting {
  onAck(): void
  onNack(): void
}

/** Ping by TCP; `onAck` is called at most once. The cancel ends it. */
export type TcpPing = (to: NodeRecord, ping: Ping, onAck: () => void) => Cancel

export interface ProberOptions {
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly swim: Swim
  readonly datagrams: Datagrams
  readonly tcpPing: TcpPing
}

export class Prober {
  readonly counters: ProbeCounters = { probes: 0, probesFailed: 0, tcpOnly: 0 }
  readonly #options: ProberOptions
  readonly #waiting = new Map<number, Waiting>()
  readonly #timers = new Set<Cancel>()
  #seq: number
  #relayed = 0
  #closed = false

  constructor(options: ProberOptions) {
    this.#options = options
    // Whoever cannot see our pings should not be able to answer them.
    this.#seq = options.random.bits() >>> 0
  }

  /** Probe from now on. */
  start(): void {
    const { random } = this.#options
    this.#after(random.below(PROBE_INTERVAL_MS), () => this.#round())
  }

  close(): void {
    this.#closed = true
    for (const cancel of this.#timers) cancel()
    this.#timers.clear()
    this.#waiting.clear()
  }

  onPing(ping: Ping, address: Address, port: number): void {
    const { swim, datagrams } = this.#options
    if (ping.node !== '' && ping.node !== swim.self.name) return
    const name = ping.sourceNode === '' ? undefined : ping.sourceNode
    const ack: Ack = { type: 'ack', seq: ping.seq, payload: new Uint8Array(0) }
    datagrams.send({ address, port }, ack, name)
  }

  /** Ping somebody for somebody else. */
  onIndirectPing(ping: IndirectPing, address: Address, port: number): void {
    if (this.#relayed >= RELAYED_MAX) return
    this.#relayed++
    const { datagrams } = this.#options
    const to = { address, port }
    const seq = this.#nextSeq()
    let acked = false
    this.#waiting.set(seq, {
      onAck: () => {
        acked = true
        this.#waiting.delete(seq)
        datagrams.send(to, { type: 'ack', seq: ping.seq, payload: new Uint8Array(0) })
      },
      onNack: () => {},
    })
    const target = { address: ping.target, port: ping.port }
    datagrams.send(target, this.#pingFor(ping.node, seq), ping.node)
    this.#after(PROBE_TIMEOUT_MS, () => {
      this.#relayed--
      this.#waiting.delete(seq)
      if (!acked && ping.nack) datagrams.send(to, { type: 'nack', seq: ping.seq })
    })
  }

  onAck({ seq }: Ack): void {
    this.#waiting.get(seq)?.onAck()
  }

  onNack({ seq }: Nack): void {
    this.#waiting.get(seq)?.onNack()
  }

  /** Probe the next one, and be back for the one after it. */
  #round(): void {
    const { clock, swim } = this.#options
    const startMs = clock.nowMs
    const isProbed = (node: NodeRecord): boolean => node !== swim.self && !isGone(node)
    const node = swim.table.next(isProbed, (gone) => swim.isForgotten(gone))
    const again = (): void => {
      const waitMs = startMs + PROBE_INTERVAL_MS - clock.nowMs
      this.#after(Math.max(0, waitMs), () => this.#round())
    }
    if (node === undefined || swim.leaving) again()
    else new Probe(this, this.#options, node, again).start()
  }

  #nextSeq(): number {
    this.#seq = (this.#seq + 1) >>> 0
    return this.#seq
  }

  #pingFor(node: string, seq: number): Ping {
    const { address, port, name } = this.#options.swim.self
    const source = { sourceAddress: address, sourcePort: port, sourceNode: name }
    return { type: 'ping', seq, node, ...source }
  }

  /** A ping with a number of its own, whose answers `waiting` hears until {@link Prober.forget}. */
  expect(node: string, waiting: Waiting): Ping {
    const seq = this.#nextSeq()
    this.#waiting.set(seq, waiting)
    return this.#pingFor(node, seq)
  }

  forget({ seq }: Ping): void {
    this.#waiting.delete(seq)
  }

  /** A timer that ends with the prober. */
  after(delayMs: number, run: () => void): Cancel {
    return this.#after(delayMs, run)
  }

  #after(delayMs: number, run: () => void): Cancel {
    if (this.#closed) return () => {}
    const cancel = this.#options.clock.after(delayMs, () => {
      this.#timers.delete(stop)
      run()
    })
    const stop = (): void => {
      this.#timers.delete(stop)
      cancel()
    }
    this.#timers.add(stop)
    return stop
  }
}

/** One probe of one member, from its ping to the verdict. */
class Probe {
  readonly #prober: Prober
  readonly #options: ProberOptions
  readonly #node: NodeRecord
  readonly #onEnd: () => void
  readonly #ping: Ping
  #cancels: Cancel[] = []
  #nacksWanted = 0
  #nacks = 0
  #tcpAcked = false

  constructor(prober: Prober, options: ProberOptions, node: NodeRecord, onEnd: () => void) {
    this.#prober = prober
    this.#options = options
    this.#node = node
    this.#onEnd = onEnd
    this.#ping = prober.expect(node.name, {
      onAck: () => this.#succeed(),
      onNack: () => {
        this.#nacks++
      },
    })
  }

  start(): void {
    const { swim, datagrams } = this.#options
    const node = this.#node
    this.#prober.counters.probes++
    const deadlineMs = swim.awareness.scaleMs(PROBE_INTERVAL_MS)
    this.#cancels = [
      this.#prober.after(PROBE_TIMEOUT_MS, () => this.#askOthers()),
      this.#prober.after(deadlineMs, () => this.#judge()),
    ]
    if (node.state === 'alive') return datagrams.send(node, this.#ping, node.name)
    // It should learn of the suspicion with the first that reaches it, and refute it.
    const { name, incarnation } = node
    const suspect = { type: 'suspect', incarnation, node: name, from: swim.self.name } as const
    datagrams.sendOnly(node, [this.#ping, suspect], name)
  }

  #askOthers(): void {
    const { swim, datagrams, tcpPing } = this.#options
    const node = this.#node
    const helpers = swim.table.pick(
      INDIRECT_CHECKS,
      (other) => other !== swim.self && other !== node && other.state === 'alive',
    )
    const { seq, sourceAddress, sourcePort, sourceNode } = this.#ping
    for (const helper of helpers) {
      const nack = speaks(helper, NACK_PROTOCOL)
      if (nack) this.#nacksWanted++
      const { name, address: target, port } = node
      const source = { sourceAddress, sourcePort, sourceNode }
      const ask: IndirectPing = {
        type: 'indirect-ping',
        seq,
        node: name,
        target,
        port,
        nack,
        ...source,
      }
      datagrams.send(helper, ask, helper.name)
    }
    if (!speaks(node, TCP_PROTOCOL)) return
    const cancel = tcpPing(node, this.#ping, () => {
      this.#tcpAcked = true
    })
    this.#cancels.push(cancel)
  }

  #succeed(): void {
    this.#options.swim.awareness.apply(-1)
    this.#end()
  }

  #judge(): void {
    const { swim, log } = this.#options
    const { name, incarnation } = this.#node
    if (this.#tcpAcked) {
      this.#prober.counters.tcpOnly++
      log.warn({ node: name }, `${name} answers by TCP only: is UDP filtered?`)
      return this.#succeed()
    }
    this.#prober.counters.probesFailed++
    swim.awareness.apply(this.#nacksWanted > 0 ? Math.max(0, this.#nacksWanted - this.#nacks) : 1)
    this.#end()
    swim.suspect({ type: 'suspect', incarnation, node: name, from: swim.self.name })
  }

  #end(): void {
    for (const cancel of this.#cancels) cancel()
    this.#prober.forget(this.#ping)
    this.#onEnd()
  }
}
