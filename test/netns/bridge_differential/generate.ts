/** Frames that a sane host sends, and some that none would: by a seed, so that a run repeats. */
import type { Random } from '../../../stack/random.ts'
import { BROADCAST, frame, station, type Tag } from '../../eth/bridge_lab.ts'

/** Stations that speak by any port, so they move. */
const STATIONS = 8
/** Sources of frames about which the two bridges differ: nobody sends to these. */
export const ODD_STATIONS_FROM = 0x70

const GROUPS = [
  BROADCAST,
  '01:00:5e:00:00:01',
  '01:00:5e:7f:ff:fa',
  '33:33:00:00:00:01',
  '33:33:ff:00:00:0b',
  '01:80:c2:00:00:10',
  '01:80:c2:00:00:20',
  '01:00:0c:cc:cc:cc',
  'ab:00:00:02:00:00',
]
const BAD_SOURCES = ['00:00:00:00:00:00', BROADCAST, '01:00:5e:00:00:01']
const TYPES = [0x0800, 0x86dd, 0x0806, 0x8863, 0x88cc, 0x9000, 0x88f7, 0x0600, 0xffff]
/** Below 0x600 it is a length (IEEE 802.3 §3.2.6), right or wrong. */
const LENGTHS = [0, 3, 46, 1500, 0x5ff]
const VIDS = [0, 1, 10, 20, 30, 99, 4094, 4095]

export interface Generated {
  readonly port: number
  readonly bytes: Uint8Array
  /** A kind of frame that the two are known to treat differently. */
  readonly odd: 'stp-group' | 'short-tag' | undefined
}

export function generate(random: Random, ports: number, statics: readonly string[]): Generated {
  const port = random.below(ports)
  const odd = station(ODD_STATIONS_FROM + port)
  if (random.chance(1)) {
    const bytes = frame({
      dst: '01:80:c2:00:00:00',
      src: odd,
      tags: tags(random),
      payload: body(random),
    })
    return { port, bytes, odd: 'stp-group' }
  }
  if (random.chance(1)) return { port, bytes: shortTag(random, odd), odd: 'short-tag' }
  const dst = destination(random, statics)
  const src = random.chance(3) ? pick(random, BAD_SOURCES) : source(random, port, statics)
  const kind = random.chance(15) ? pick(random, LENGTHS) : pick(random, TYPES)
  const bytes = frame({ dst, src, tags: tags(random), type: kind, payload: payload(random, kind) })
  if (!random.chance(4)) return { port, bytes, odd: undefined }
  // Cut within the header; of a tagged frame, within its tag too, but see `shortTag`.
  return {
    port,
    bytes: bytes.subarray(0, random.below(bytes[12] === 0x81 ? 18 : 14)),
    odd: undefined,
  }
}

/** Too short for the kernel, long enough for us, to whom a service tag is payload. */
function shortTag(random: Random, src: string): Uint8Array {
  const service = random.chance(50)
  const tag = { vid: pick(random, VIDS), tpid: service ? 0x88a8 : 0x8100 }
  const bytes = frame({ dst: BROADCAST, src, tags: [tag], payload: [7] })
  return bytes.subarray(0, service ? 14 + random.below(6) : 18 + random.below(2))
}

function destination(random: Random, statics: readonly string[]): string {
  if (random.chance(15)) return pick(random, GROUPS)
  if (random.chance(4)) return `01:80:c2:00:00:0${(1 + random.below(15)).toString(16)}`
  if (random.chance(10)) return pick(random, statics)
  return station(1 + random.below(STATIONS + 2))
}

/** Mostly at home by its own port, sometimes elsewhere: then the station has moved. */
function source(random: Random, port: number, statics: readonly string[]): string {
  if (random.chance(5)) return pick(random, statics)
  return random.chance(20) ? station(1 + random.below(STATIONS)) : station(1 + port)
}

function tags(random: Random): Tag[] {
  if (random.chance(45)) return []
  const tpid = random.chance(8) ? 0x88a8 : 0x8100
  const outer = { vid: pick(random, VIDS), priority: random.below(8), tpid }
  return random.chance(85)
    ? [outer]
    : [outer, { vid: pick(random, VIDS), priority: random.below(8) }]
}

function payload(random: Random, type: number): Uint8Array {
  return type === 0x0806 ? oddArp(random) : body(random)
}

/** Usual, odd and full lengths; two tags and 1492 octets are as much as an interface carries. */
function body(random: Random): Uint8Array {
  const bytes = pick(random, [46, 46, 2, 3, 28, 47, 101, 512, 1491, 1492])
  return Uint8Array.from({ length: bytes }, () => random.below(256))
}

/** Truncated, of other hardware or protocol, with contradicting lengths, or whole. */
function oddArp(random: Random): Uint8Array {
  const message = body(random)
  const start = [0, pick(random, [1, 6, 0xff]), 8, 0, pick(random, [6, 6, 0, 255]), 4, 0]
  message.set(start.slice(0, message.length))
  if (message.length > 7) message[7] = random.below(10)
  return message
}

function pick<T>(random: Random, from: readonly T[]): T {
  return from[random.below(from.length)]!
}
