/**
 * What is said: conversations between the inside and the outside, by a seed so that a run repeats.
 *
 * A conversation begins with a packet of its client. Whoever it reached, as each translator has
 * delivered it, is the server there and answers to the source that it has seen; so the ports that
 * translators choose may differ, and everything else is the same.
 */
import type { Random } from '../../../stack/random.ts'
import { pattern } from '../../ip/lab.ts'
import type { Bed, StationName } from './bed.ts'
import {
  build,
  buildError,
  type Content,
  cut,
  destinationOf,
  sourceOf,
  type Tuple,
  tupleOf,
} from './packet.ts'

type BedName = Bed['name']

/** A packet that both translators are given, each in its own words. */
export interface Event {
  /** All that was said so far, for whoever has to find out why it goes wrong. */
  readonly what: string
  readonly conversation: Conversation
  readonly from: StationName
  readonly packets: (bed: BedName) => Uint8Array[]
  /** What came of it: the packets received, by station. */
  readonly heard: (bed: BedName, station: StationName, packet: Uint8Array) => void
}

const FIN = 1
const SYN = 2
const RST = 4
const PSH = 8
const ACK = 16

/** Of routers on the way outside, which send errors. */
const FAR_ROUTERS = { 4: '192.0.2.254', 6: '2001:db8:9::fe' } as const

function pick<T>(random: Random, list: readonly T[]): T {
  return list[random.below(list.length)]!
}

/** More than any window here. */
const FAR = 1_000_000

type Phase = 'over' | 'new' | 'asked' | 'answered' | 'open' | 'closed'

export class Conversation {
  readonly kind: string
  readonly client: StationName
  readonly tuple: Tuple
  phase: Phase = 'new'
  server: StationName | undefined = undefined
  /** As the server has got it. */
  readonly #seen: Partial<Record<BedName, Tuple>> = {}
  /** The last packet that reached the client, or the server. */
  readonly #last: Record<'client' | 'server', Partial<Record<BedName, Uint8Array>>> = {
    client: {},
    server: {},
  }
  readonly #history: string[] = []
  #clientSeq: number
  #serverSeq: number

  constructor(
    random: Random,
    { kind, client, tuple }: { kind: string; client: StationName; tuple: Tuple },
  ) {
    this.kind = kind
    this.client = client
    this.tuple = tuple
    this.#clientSeq = random.bits() >>> 0
    this.#serverSeq = random.bits() >>> 0
  }

  get isEcho(): boolean {
    return this.tuple.protocol === 'icmp'
  }

  /** The next packet of one side or the other. */
  next(random: Random): Event {
    const { protocol } = this.tuple
    if (this.phase === 'new') {
      if (protocol === 'tcp' && random.chance(8)) return this.#inMidStream(random)
      this.phase = 'asked'
      return protocol === 'tcp' ? this.#segment(SYN, 'client', 0) : this.#datagram(random, 'client')
    }
    if (this.server === undefined || random.chance(8)) return this.#again(random)
    if (random.chance(12)) return this.#error(random)
    if (protocol !== 'tcp') return this.#datagram(random, random.chance(50) ? 'client' : 'server')
    return this.#nextSegment(random)
  }

  /** As if the translator had been started just now. */
  #inMidStream(random: Random): Event {
    this.phase = 'open'
    return this.#segment(PSH | ACK, 'client', random.below(500))
  }

  /** The client once more as in the beginning. */
  #again(random: Random): Event {
    if (this.tuple.protocol !== 'tcp') return this.#datagram(random, 'client')
    if (this.phase === 'asked') {
      this.#clientSeq = (this.#clientSeq - 1) >>> 0
      return this.#segment(SYN, 'client', 0)
    }
    return this.#segment(ACK, 'client', 0)
  }

  #nextSegment(random: Random): Event {
    const { phase } = this
    if (phase === 'asked') {
      const refuse = random.chance(10)
      this.phase = refuse ? 'closed' : 'answered'
      return this.#segment(refuse ? RST | ACK : SYN | ACK, 'server', 0)
    }
    if (phase === 'answered') {
      this.phase = 'open'
      return this.#segment(ACK, 'client', 0)
    }
    const side = random.chance(50) ? 'client' : 'server'
    if (random.chance(4)) {
      this.phase = 'closed'
      return this.#segment(RST | ACK, side, 0)
    }
    if (random.chance(8)) return this.#stray(random, side)
    if (random.chance(8)) return this.#segment(FIN | ACK, side, 0)
    return this.#segment(PSH | ACK, side, random.below(900))
  }

  /** Far from the window, on one side of it or the other. */
  #stray(random: Random, side: 'client' | 'server'): Event {
    const [mine, other] =
      side === 'client' ? [this.#clientSeq, this.#serverSeq] : [this.#serverSeq, this.#clientSeq]
    const above = random.chance(50)
    const seq = (mine + (above ? FAR : -FAR)) >>> 0
    const content = { data: pattern(10), flags: ACK, seq, ack: other }
    return this.#event(`${side} far ${above ? 'above' : 'below'} the window`, side, content)
  }

  #segment(flags: number, side: 'client' | 'server', bytes: number): Event {
    const isClient = side === 'client'
    const seq = isClient ? this.#clientSeq : this.#serverSeq
    const ack = (flags & ACK) === 0 ? 0 : isClient ? this.#serverSeq : this.#clientSeq
    const used = bytes + ((flags & (SYN | FIN)) === 0 ? 0 : 1)
    if (isClient) this.#clientSeq = (seq + used) >>> 0
    else this.#serverSeq = (seq + used) >>> 0
    const mss = Uint8Array.of(2, 4, 5, 0xb4)
    const content = { data: pattern(bytes), flags, seq, ack }
    const options = (flags & SYN) === 0 ? {} : { options: mss }
    return this.#event(`${side} segment ${flags}`, side, { ...content, ...options })
  }

  #datagram(random: Random, side: 'client' | 'server'): Event {
    const reply = side === 'server'
    const shape = { tos: random.chance(10) ? 0x28 : 0, id: random.below(65_536), reply }
    const ttl = random.chance(4) ? 1 : 64
    const large = ttl > 1 && random.chance(12)
    const data = pattern(large ? 1400 + random.below(3000) : random.below(200))
    const event = this.#event(`${side} datagram`, side, { data, ...shape, ttl })
    if (!large && ttl > 1 && data.length > 0 && random.chance(4)) return damaged(event)
    if (!large) return event
    const step = 8 * (60 + random.below(100))
    const order = random.chance(30) ? 'reversed' : 'in order'
    return {
      ...event,
      what: `${event.what} in fragments, ${order}`,
      packets: (bed) =>
        event.packets(bed).flatMap((packet) => {
          const parts = cut(packet, step, shape.id)
          return order === 'reversed' ? parts.reverse() : parts
        }),
    }
  }

  #event(what: string, side: 'client' | 'server', content: Content): Event {
    const from = side === 'client' ? this.client : this.server!
    const packets = (bed: BedName): Uint8Array[] => {
      const tuple = side === 'client' ? this.tuple : this.#inverse(bed)
      return tuple === undefined ? [] : [build(tuple, content)]
    }
    return { what: this.#note(what), conversation: this, from, packets, heard: this.#heard }
  }

  /** What the server answers to, in the place of this translator. */
  #inverse(bed: BedName): Tuple | undefined {
    const seen = this.#seen[bed]
    if (seen === undefined) return undefined
    const { protocol, from, fromPort, to, toPort } = seen
    return { protocol, from: to, fromPort: toPort, to: from, toPort: fromPort }
  }

  /** An error about the last packet that reached a side, by it or by a router on the way to it. */
  #error(random: Random): Event {
    const side = random.chance(50) ? 'client' : 'server'
    const from = side === 'client' ? this.client : this.server!
    const kinds = this.tuple.from.includes(':') ? ERRORS6 : ERRORS4
    const kind = pick(random, kinds)
    const onTheWay = from === 'out' && random.chance(50)
    const family = this.tuple.from.includes(':') ? 6 : 4
    const quotedMax = family === 4 && random.chance(50) ? 28 : 500
    const packets = (bed: BedName): Uint8Array[] => {
      const last = this.#last[side][bed]
      if (last === undefined) return []
      const by = onTheWay ? FAR_ROUTERS[family] : destinationOf(last)
      return [buildError({ from: by, to: sourceOf(last) }, kind, last.subarray(0, quotedMax))]
    }
    const what = this.#note(`error ${kind.type}/${kind.code} of the ${side}`)
    return { what, conversation: this, from, packets, heard: () => undefined }
  }

  #note(what: string): string {
    this.#history.push(what)
    const { protocol, from, fromPort, to, toPort } = this.tuple
    const head = `${this.kind} ${protocol} ${from} ${fromPort} > ${to} ${toPort}`
    return `${head}: ${this.#history.join(', ')}`
  }

  readonly #heard = (bed: BedName, station: StationName, packet: Uint8Array): void => {
    const tuple = tupleOf(packet)
    if (tuple?.protocol !== this.tuple.protocol) return
    this.server ??= station === this.client ? undefined : station
    if (station === this.server) {
      this.#seen[bed] = tuple
      this.#last.server[bed] = packet
    } else this.#last.client[bed] = packet
  }
}

/** The last octet of what it carries is another, so that the checksum is wrong. */
function damaged(event: Event): Event {
  return {
    ...event,
    what: `${event.what} ${DAMAGED}`,
    packets: (bed) =>
      event.packets(bed).map((packet) => {
        packet[packet.length - 1]! ^= 1
        return packet
      }),
  }
}

/** How what is said ends if it is. */
export const DAMAGED = 'damaged'

const ERRORS4 = [
  { type: 3, code: 1, word: 0 },
  { type: 3, code: 3, word: 0 },
  { type: 3, code: 4, word: 1300 },
  { type: 11, code: 0, word: 0 },
  { type: 12, code: 0, word: 0 },
]
const ERRORS6 = [
  { type: 1, code: 3, word: 0 },
  { type: 1, code: 4, word: 0 },
  { type: 2, code: 0, word: 1300 },
  { type: 3, code: 0, word: 0 },
  { type: 4, code: 0, word: 0 },
]
