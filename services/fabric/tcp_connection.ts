/**
 * One TCP connection of an in-memory host (RFC 9293, RFC 6298): a reliable stream over a fabric
 * that loses, delays and reorders.
 *
 * ```text
 *   send ─► out ─► segments up to the peer's window ─► ... lost? the timer, or three equal ACKs
 *   segments ─► in order? ─► received      ahead of order? ─► kept, as far as the window goes
 * ```
 *
 * Written to be a witness, not to be fast: everything is acknowledged at once, what the timer
 * repeats begins at the first octet not acknowledged, and there is no congestion control, no
 * selective acknowledgement, no window scaling and no timestamp. The path MTU is obeyed: segments
 * are cut anew whenever they are sent.
 *
 * Sequence numbers are compared by the sign of their 32-bit difference.
 */
import { type Address, formatAddress } from '../../stack/address.ts'
import type { Cancel } from '../../stack/clock.ts'
import { StackError } from '../../stack/errors.ts'
import { Flag } from '../../stack/ip/tcp.ts'
import type { IpHost, Plan } from './ip_host.ts'
import { TcpError } from './tcp_error.ts'
import { ahead, Inbox, type Reader } from './tcp_inbox.ts'
import { type Segment, segmentBytes, sendSegment } from './tcp_segment.ts'
import { RetransmitTimer } from './tcp_timer.ts'

/** Of what the peer did not say (RFC 9293 §3.7.1). */
const DEFAULT_MSS_BYTES = 536
/** Data of one super-frame. */
const SUPER_BYTES = 60_000
const DUPLICATES = 3
const SYN_RETRIES_MAX = 6
const RETRIES_MAX = 15
/** How long who closed first remembers; far shorter than twice a segment's life. */
const TIME_WAIT_MS = 1000

export interface TcpEnd {
  readonly address: Address
  readonly port: number
}

/** What a connection tells its stream. */
export interface TcpEvents extends Reader {
  opened(): void
  /** Something of what was sent has arrived. */
  sent(): void
  /** It is over. */
  closed(error: TcpError | undefined): void
}

export interface TcpConnectionOptions {
  readonly host: IpHost
  readonly local: TcpEnd
  readonly remote: TcpEnd
  readonly events: TcpEvents
  /** The segment that asked for it; undefined: this end asks. */
  readonly syn: Segment | undefined
  readonly release: () => void
}

type State = 'syn-sent' | 'syn-received' | 'open' | 'time-wait' | 'closed'

export class TcpConnection {
  readonly local: TcpEnd
  readonly remote: TcpEnd
  readonly #o: TcpConnectionOptions
  readonly #timer: RetransmitTimer
  #state: State
  /** First octet not acknowledged, next to send, and the highest ever sent. */
  #una: number
  #next: number
  #highest: number
  /** From `una`, or from behind the SYN. */
  #out: Uint8Array = new Uint8Array(0)
  #finWanted = false
  #finSent = false
  #finAcked = false
  #window = 0
  #peerMss = DEFAULT_MSS_BYTES
  #duplicates = 0
  readonly #inbox: Inbox
  #linger: Cancel | undefined

  constructor(options: TcpConnectionOptions) {
    const { host, local, remote, syn } = options
    this.#o = options
    this.#inbox = new Inbox(options.events)
    this.local = local
    this.remote = remote
    const initial = host.nextId()
    this.#una = initial
    this.#next = initial
    this.#highest = initial
    this.#timer = new RetransmitTimer(host.driver.clock, () => this.#timedOut())
    this.#state = syn === undefined ? 'syn-sent' : 'syn-received'
    if (syn !== undefined) this.#synced(syn)
    this.#sendSyn()
  }

  /** Octets that were not acknowledged yet. */
  get buffered(): number {
    return this.#out.length
  }

  send(data: Uint8Array): void {
    this.#out = Buffer.concat([this.#out, data])
    this.#push()
  }

  /** Nothing more will be sent. */
  finish(): void {
    this.#finWanted = true
    this.#push()
  }

  /** The stream takes data again. */
  resume(): void {
    if (this.#inbox.resume() && this.#state === 'open') this.#acknowledge()
  }

  /** Over for the stream; the peer is told, unless both ends were done. */
  abandon(): void {
    if (this.#state === 'closed' || this.#state === 'time-wait') return
    if (this.#finWanted && this.#inbox.finReceived) return
    this.#emit(this.#next, Flag.Rst | Flag.Ack)
    this.#close(undefined)
  }

  /** Over at once, without a word: its host is gone, and the program with it. */
  vanish(): void {
    this.#close(undefined)
  }

  /** An ICMP error about it. */
  refused(kind: 'unreachable' | 'time-exceeded' | 'too-big'): void {
    if (kind === 'too-big') {
      this.#next = this.#una
      return this.#push()
    }
    const early = this.#state === 'syn-sent' || this.#state === 'syn-received'
    if (kind === 'unreachable' && early) this.#close(new TcpError('EHOSTUNREACH', this.#where()))
  }

  receive(segment: Segment): void {
    const { flags } = segment
    if (this.#state === 'closed') return
    if (this.#state === 'syn-sent') return this.#answered(segment)
    if ((flags & Flag.Rst) !== 0) {
      if (segment.seq === this.#inbox.expected)
        this.#close(new TcpError('ECONNRESET', this.#where()))
      return
    }
    if ((flags & Flag.Syn) !== 0) {
      if (this.#state === 'syn-received') return this.#sendSyn()
      return this.#acknowledge()
    }
    if ((flags & Flag.Ack) === 0 || ahead(segment.ack, this.#highest) > 0) return
    this.#acknowledged(segment)
    if ((this.#state as State) === 'closed') return
    const fin = (flags & Flag.Fin) !== 0
    if (segment.data.length > 0 || fin) {
      this.#inbox.take(segment.seq, segment.data, fin)
      this.#acknowledge()
    }
    this.#push()
    this.#settle()
  }

  /** The answer to our SYN. */
  #answered(segment: Segment): void {
    const { flags, ack } = segment
    const mine = (flags & Flag.Ack) !== 0 && ack === this.#next
    if (!mine) return
    if ((flags & Flag.Rst) !== 0) {
      return this.#close(new TcpError('ECONNREFUSED', this.#where()))
    }
    if ((flags & Flag.Syn) === 0) return
    this.#synced(segment)
    this.#una = ack
    this.#window = segment.window
    this.#open()
    this.#acknowledge()
    this.#push()
  }

  #synced({ seq, mssBytes, window }: Segment): void {
    this.#inbox.expected = (seq + 1) >>> 0
    this.#window = window
    if (mssBytes > 0) this.#peerMss = mssBytes
  }

  #open(): void {
    this.#state = 'open'
    this.#timer.answered()
    this.#o.events.opened()
  }

  #acknowledged(segment: Segment): void {
    const news = ahead(segment.ack, this.#una)
    this.#window = segment.window
    // Who takes nothing, but says so, is there.
    if (segment.window === 0) this.#timer.retries = 0
    if (news <= 0) {
      const bare = segment.data.length === 0 && (segment.flags & Flag.Fin) === 0
      if (news < 0 || !bare || this.#una === this.#highest) return
      if (++this.#duplicates === DUPLICATES) this.#repeatFirst()
      return
    }
    this.#duplicates = 0
    if (this.#state === 'syn-received') {
      this.#una = (this.#una + 1) >>> 0
      this.#open()
    }
    const data = Math.min(ahead(segment.ack, this.#una), this.#out.length)
    this.#out = this.#out.subarray(Math.max(0, data))
    this.#una = segment.ack
    if (ahead(this.#una, this.#next) > 0) this.#next = this.#una
    this.#timer.acknowledged(this.#una)
    if (this.#una !== this.#highest) this.#timer.restart()
    else {
      this.#finAcked = this.#finSent
      this.#timer.stop()
    }
    if (data > 0) this.#o.events.sent()
  }

  /** Send what the window allows, and the FIN after all else. */
  #push(): void {
    if (this.#state !== 'open') return
    const plan = this.#plan()
    if (plan === undefined) return
    const mss = Math.min(this.#peerMss, segmentBytes(plan, this.remote.address))
    const most = plan.device.offload.tso ? SUPER_BYTES - (SUPER_BYTES % mss) : mss
    for (;;) {
      const from = ahead(this.#next, this.#una)
      const bytes = Math.min(this.#out.length - from, this.#window - from, most)
      if (bytes <= 0) break
      const data = this.#out.subarray(from, from + bytes)
      const last = from + bytes === this.#out.length ? Flag.Psh : 0
      this.#emit(this.#next, Flag.Ack | last, { data, gsoBytes: mss })
      this.#advance(bytes)
    }
    const from = ahead(this.#next, this.#una)
    if (this.#finWanted && !this.#finAcked && from === this.#out.length) {
      this.#finSent = true
      this.#emit(this.#next, Flag.Fin | Flag.Ack)
      this.#advance(1)
    }
    // A window of zero is asked about, as if what waits had been lost.
    if (this.#out.length > 0 || this.#una !== this.#highest) this.#timer.start()
  }

  #advance(bytes: number): void {
    this.#next = (this.#next + bytes) >>> 0
    if (ahead(this.#next, this.#highest) <= 0) return
    this.#highest = this.#next
    this.#timer.sample(this.#next)
  }

  #sendSyn(): void {
    const plan = this.#plan()
    if (plan === undefined) return
    const ack = this.#state === 'syn-received' ? Flag.Ack : 0
    const mssBytes = segmentBytes(plan, this.remote.address)
    this.#emit(this.#una, Flag.Syn | ack, { mssBytes })
    if (this.#next === this.#una) this.#advance(1)
    this.#timer.start()
  }

  #repeatFirst(): void {
    const plan = this.#plan()
    if (plan === undefined) return
    const mss = Math.min(this.#peerMss, segmentBytes(plan, this.remote.address))
    const data = this.#out.subarray(0, mss)
    const fin = data.length === 0 && this.#finWanted ? Flag.Fin : 0
    this.#emit(this.#una, Flag.Ack | fin, { data })
  }

  #acknowledge(): void {
    this.#emit(this.#next, Flag.Ack)
  }

  #emit(
    seq: number,
    flags: number,
    more: { data?: Uint8Array; gsoBytes?: number; mssBytes?: number } = {},
  ): void {
    const plan = this.#plan()
    if (plan === undefined) return
    const { data = new Uint8Array(0), gsoBytes = 0, mssBytes = 0 } = more
    const ack = (flags & Flag.Ack) === 0 ? 0 : this.#inbox.expected
    sendSegment(this.#o.host, plan, {
      from: this.local.address,
      to: this.remote.address,
      srcPort: this.local.port,
      dstPort: this.remote.port,
      ...{ seq, ack, flags, window: this.#inbox.windowBytes, mssBytes, data, gsoBytes },
    })
  }

  /** Undefined: there is no way there now, and the timer tries again. */
  #plan(): Plan | undefined {
    try {
      return { ...this.#o.host.plan(this.remote.address), from: this.local.address }
    } catch (error) {
      if (error instanceof StackError) return undefined
      throw error
    }
  }

  #timedOut(): void {
    const opening = this.#state === 'syn-sent' || this.#state === 'syn-received'
    if (this.#timer.retries > (opening ? SYN_RETRIES_MAX : RETRIES_MAX)) {
      return this.#close(new TcpError('ETIMEDOUT', this.#where()))
    }
    this.#duplicates = 0
    if (opening) return this.#sendSyn()
    this.#next = this.#una
    if (this.#window === 0) this.#window = 1
    this.#push()
  }

  /** Both ends are done: who was first waits for what may still come. */
  #settle(): void {
    if (this.#state !== 'open' || !this.#finAcked || !this.#inbox.finReceived) return
    this.#state = 'time-wait'
    this.#timer.stop()
    const { clock } = this.#o.host.driver
    this.#linger = clock.after(TIME_WAIT_MS, () => this.#close(undefined))
  }

  #close(error: TcpError | undefined): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#timer.stop()
    this.#linger?.()
    this.#o.release()
    this.#o.events.closed(error)
  }

  #where(): string {
    return `${formatAddress(this.remote.address)}:${this.remote.port}`
  }
}
