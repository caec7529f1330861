/**
 * The rate limit of one direction of an endpoint: octets and packets a second. What is over it is
 * dropped, not queued.
 *
 * Two token buckets, which a packet must find both with something in them. A packet costs what it
 * is on a wire: of a super-frame, each segment with headers of its own. It may leave the buckets in
 * debt: so large packets pass at any rate, and over a long time exactly the limit does. A bucket
 * holds what the rate earns in the burst time.
 *
 * State is in typed arrays, for the reason that eth/storm.ts gives.
 */
import type { Clock } from '../clock.ts'
import { DropReason } from '../drop.ts'
import { StackError } from '../errors.ts'
import * as eth from '../eth/frame.ts'
import { GsoType, type Output, type Packet, type Pool } from '../packet.ts'
import { ipOffset, segmentCount, superHeaderBytes } from './segment.ts'

export interface RateSpec {
  /** Bits a second of Ethernet frames, without what a wire adds; undefined: no limit. */
  readonly bitsPerS: number | undefined
  readonly packetsPerS: number | undefined
  /** A bucket is full of what the rate earns in this time. */
  readonly burstMs: number
}

const Bucket = { Octets: 0, Packets: 1 } as const
const BUCKETS = 2

export interface RateLimitOptions {
  readonly pool: Pool
  readonly clock: Clock
  readonly spec: RateSpec
  /** What is limited, for traces, and which device it is of. */
  readonly text: string
  readonly name: string
}

export class RateLimit {
  readonly #pool: Pool
  readonly #clock: Clock
  readonly #text: string
  readonly #name: string
  readonly #perMs = new Float64Array(BUCKETS)
  readonly #most = new Float64Array(BUCKETS)
  readonly #tokens = new Float64Array(BUCKETS)
  readonly #atMs = new Float64Array(1)

  /** @throws StackError `bad-argument` if a rate or the burst is not above 0. */
  constructor({ pool, clock, spec, text, name }: RateLimitOptions) {
    const { bitsPerS, packetsPerS, burstMs } = spec
    this.#pool = pool
    this.#clock = clock
    this.#text = text
    this.#name = name
    const perS = [
      (bitsPerS ?? Number.POSITIVE_INFINITY) / 8,
      packetsPerS ?? Number.POSITIVE_INFINITY,
    ]
    for (const [bucket, rate] of perS.entries()) {
      if (!(rate > 0 && burstMs > 0)) throw new StackError('bad-argument', `a rate of ${rate}`)
      this.#perMs[bucket] = rate / 1000
      this.#most[bucket] = (rate / 1000) * burstMs
      this.#tokens[bucket] = this.#most[bucket]!
    }
    this.#atMs[0] = clock.nowMs
  }

  /** In front of `next`. */
  before(next: Output): Output {
    return (packet) => {
      if (this.admits(packet)) next(packet)
      else this.#pool.drop(packet, DropReason.RateLimited)
    }
  }

  /** Take the tokens for this packet. False: it is over the limit. */
  admits(packet: Packet): boolean {
    const { nowMs } = this.#clock
    const tokens = this.#tokens
    let passes = true
    for (let i = 0; i < BUCKETS; i++) {
      // Nothing earned of an endless rate is not a number.
      const earned = nowMs > this.#atMs[0]! ? (nowMs - this.#atMs[0]!) * this.#perMs[i]! : 0
      const now = Math.min(tokens[i]! + earned, this.#most[i]!)
      if (now <= 0) passes = false
      if (!packet.traced) tokens[i] = now
    }
    if (packet.traced) {
      const now = passes ? 'has room now' : 'would drop it now'
      this.#pool.trace?.step(`rate ${this.#name}`, `${this.#text}, ${now}`)
      return passes
    }
    this.#atMs[0] = nowMs
    if (passes) this.#take(packet)
    return passes
  }

  #take(packet: Packet): void {
    let segments = 1
    let octets = packet.len
    if (packet.gsoType !== GsoType.None && eth.isHeader(packet.len)) {
      const { mem } = this.#pool
      const headers = superHeaderBytes(mem, packet, ipOffset(mem, packet))
      if (headers > 0) {
        segments = segmentCount(packet, headers)
        octets += (segments - 1) * headers
      }
    }
    this.#tokens[Bucket.Octets]! -= octets
    this.#tokens[Bucket.Packets]! -= segments
  }
}
