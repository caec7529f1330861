/**
 * Echo requests of an in-memory host: the answer, or what went wrong instead.
 *
 * A request is known by its sequence number. Whatever comes back must be of the right address and
 * carry the right octets; an ICMP error is believed only if it quotes a request that is open.
 */
import { type Address, formatAddress, sameAddress } from '../../stack/address.ts'
import { put16, u8, u16 } from '../../stack/bytes.ts'
import type { Cancel } from '../../stack/clock.ts'
import { StackError } from '../../stack/errors.ts'
import { ipHeaderBytes } from '../../stack/ip/header.ts'
import * as icmp from '../../stack/ip/icmp.ts'
import { Protocol } from '../../stack/ip/ipv4.ts'
import type { IpHost } from './ip_host.ts'
import { compose, type Heading, type Problem, sealIcmp } from './wire.ts'

export interface PingOptions {
  /** Octets of payload. Default 56. */
  readonly bytes?: number
  /** TTL or hop limit. Default 64. */
  readonly ttl?: number
  /** Must not be fragmented, neither here nor on the way. */
  readonly dontFragment?: boolean
  /** How long to wait for the answer, in the fabric's time. Default 5 s. */
  readonly timeoutMs?: number
}

export interface PingReply {
  readonly from: string
  /** In the fabric's time. */
  readonly rttMs: number
  /** TTL or hop limit of the answer as it arrived. */
  readonly ttl: number
  /** Octets of payload. */
  readonly bytes: number
}

/** Why a ping has no answer. */
export class PingError extends Error {
  readonly kind: Problem['kind'] | 'timeout'
  /** Who said so; undefined if nobody did. */
  readonly from: string | undefined
  /** Next-hop MTU, with `too-big`. */
  readonly mtuBytes: number

  constructor(to: string, { kind, text, mtuBytes }: Told, from?: string) {
    super(`ping ${to}: ${text}${from === undefined ? '' : ` (from ${from})`}`)
    this.name = 'PingError'
    this.kind = kind
    this.from = from
    this.mtuBytes = mtuBytes
  }
}

type Told = Omit<Problem, 'kind'> & { readonly kind: PingError['kind'] }

interface Waiting {
  readonly to: Address
  readonly bytes: number
  readonly sentMs: number
  readonly cancel: Cancel
  readonly resolve: (reply: PingReply) => void
  readonly reject: (error: Error) => void
}

const DEFAULT_BYTES = 56
const DEFAULT_TIMEOUT_MS = 5000
/** What the length of a header can say: in IPv4 with the header, in IPv6 without. */
const TOTAL_MAX_BYTES = 65_535
const IDENTIFIER = 0x7461

export class Pinger {
  readonly #host: IpHost
  readonly #waiting = new Map<number, Waiting>()
  #sequence = 0

  constructor(host: IpHost) {
    this.#host = host
  }

  /** @throws PingError; StackError if there is no way to send it. */
  ping(to: Address, options: PingOptions): Promise<PingReply> {
    return this.#host.driver.until((resolve, reject) => {
      this.#send(to, options, { resolve, reject })
      return undefined
    })
  }

  /** An echo reply came. */
  reply(mem: Uint8Array, { from, at, bytes, ttl }: Heading): void {
    const sequence = u16(mem, at + 6)
    const waiting = this.#waiting.get(sequence)
    if (waiting === undefined || u16(mem, at + 4) !== IDENTIFIER) return
    if (!sameAddress(waiting.to, from) || bytes !== icmp.HEADER_BYTES + waiting.bytes) return
    for (let i = 0; i < waiting.bytes; i++) {
      if (u8(mem, at + icmp.HEADER_BYTES + i) !== pattern(sequence, i)) return
    }
    this.#take(sequence, waiting)
    waiting.resolve({
      from: formatAddress(from),
      rttMs: this.#host.driver.clock.nowMs - waiting.sentMs,
      ttl,
      bytes: waiting.bytes,
    })
  }

  /** An ICMP error quotes a request of this host. True if that request is open. */
  refused(mem: Uint8Array, { to, at, bytes }: Heading, problem: Problem, from?: string): boolean {
    if (bytes < icmp.HEADER_BYTES || u16(mem, at + 4) !== IDENTIFIER) return false
    const sequence = u16(mem, at + 6)
    const waiting = this.#waiting.get(sequence)
    if (waiting === undefined || !sameAddress(waiting.to, to)) return false
    this.#take(sequence, waiting)
    waiting.reject(new PingError(formatAddress(to), problem, from))
    return true
  }

  /** End all that wait. */
  close(): void {
    for (const [sequence, waiting] of [...this.#waiting]) {
      this.#take(sequence, waiting)
      waiting.reject(new StackError('daemon', 'the host was closed'))
    }
  }

  #send(to: Address, options: PingOptions, settle: Pick<Waiting, 'resolve' | 'reject'>): void {
    const { bytes = DEFAULT_BYTES, ttl = 64, dontFragment = false } = options
    const host = this.#host
    const { mem } = host.pool
    const { clock } = host.driver
    const plan = host.plan(to)
    const total = icmp.HEADER_BYTES + bytes
    const most = TOTAL_MAX_BYTES - icmp.HEADER_BYTES - (to.family === 4 ? ipHeaderBytes(to) : 0)
    if (!Number.isInteger(bytes) || bytes < 0 || bytes > most) {
      throw new StackError('bad-argument', `bytes is from 0 to ${most}, not ${bytes}`)
    }
    const name = formatAddress(to)
    if (dontFragment && ipHeaderBytes(to) + total > plan.mtuBytes) {
      const text = `packet too big, MTU ${plan.mtuBytes}`
      throw new PingError(name, { kind: 'too-big', text, mtuBytes: plan.mtuBytes })
    }
    const four = to.family === 4
    const protocol = four ? Protocol.Icmp : Protocol.Icmp6
    const { from } = plan
    const datagram = { from, to, protocol, ttl, dontFragment, id: host.nextId(), bytes: total }
    const packet = compose(host.pool, datagram)
    if (packet === undefined)
      throw new StackError('exhausted', 'no packet memory for an echo request')
    this.#sequence = (this.#sequence + 1) & 0xffff
    const sequence = this.#sequence
    const at = packet.head + ipHeaderBytes(to)
    put16(mem, at, (four ? icmp.Type4.Echo : icmp.Type6.Echo) << 8)
    put16(mem, at + 4, IDENTIFIER)
    put16(mem, at + 6, sequence)
    for (let i = 0; i < bytes; i++) mem[at + icmp.HEADER_BYTES + i] = pattern(sequence, i)
    sealIcmp(mem, packet.head, at, total)
    const { timeoutMs = DEFAULT_TIMEOUT_MS } = options
    const cancel = clock.after(timeoutMs, () => {
      this.#waiting.delete(sequence)
      const text = `no answer in ${timeoutMs} ms`
      settle.reject(new PingError(name, { kind: 'timeout', text, mtuBytes: 0 }))
    })
    this.#waiting.set(sequence, { to, bytes, sentMs: clock.nowMs, cancel, ...settle })
    host.transmit(packet, plan)
  }

  #take(sequence: number, waiting: Waiting): void {
    this.#waiting.delete(sequence)
    waiting.cancel()
  }
}

function pattern(sequence: number, i: number): number {
  return (sequence * 31 + i) & 0xff
}
