/** Packets for a router, sane and not, by a seed so that a run repeats. */
import type { Random } from '../../../stack/random.ts'
import {
  echo4,
  echo6,
  frame,
  type Ip4,
  type Ip6,
  ip4,
  ip6,
  pattern,
  tcp,
  udp,
} from '../../ip/lab.ts'
import { BROADCAST, LEGS, type Leg } from './legs.ts'

/** Frames that belong together, and the leg they come in by. */
export interface Generated {
  readonly leg: Leg
  readonly frames: readonly Uint8Array[]
  readonly what: string
}

function pick<T>(random: Random, list: readonly T[]): T {
  return list[random.below(list.length)]!
}

export function generate(random: Random): Generated {
  const leg = pick(random, LEGS)
  const other = LEGS.find((one) => one !== leg)!
  const six = random.chance(45)
  if (random.chance(8)) {
    const { packets, what } = bigPing(random, leg, six)
    return { leg, frames: packets.map((packet) => frame(leg.mac, packet)), what }
  }
  const packet = six ? packet6(random, leg, other) : packet4(random, leg, other)
  return { leg, frames: [dress(random, leg, packet)], what: 'one packet' }
}

/** In a frame to the router; now and then to everybody, padded, or cut short. */
function dress(random: Random, leg: Leg, packet: Uint8Array): Uint8Array {
  const toAll = random.chance(2) && packet[0]! >>> 4 === 4
  const bytes = frame(toAll ? BROADCAST : leg.mac, packet)
  if (random.chance(5)) return new Uint8Array([...bytes, ...pattern(random.below(30))])
  if (random.chance(2)) return bytes.subarray(0, 14 + random.below(bytes.length - 14))
  if (random.chance(2) && packet[0]! >>> 4 === 4)
    bytes[14 + random.below(20)]! ^= 1 << random.below(8)
  return bytes
}

const MARTIANS = ['0.0.0.0', '127.0.0.1', '224.0.0.5', '255.255.255.255', '240.0.0.1', '10.1.0.255']
/** By one leg or the other. */
const SPOOFED = ['10.2.0.22', '10.1.0.11', '10.1.0.1', '10.2.0.1', '198.51.100.9']
const GROUPS4 = ['224.0.0.1', '239.1.2.3', '255.255.255.255', '10.1.0.255', '10.2.0.255']
const NOWHERE4 = ['203.0.113.9', '192.0.2.9', '127.0.0.1', '0.0.0.5', '169.254.3.4', '198.51.100.9']
const OPTIONS: readonly Uint8Array[] = [
  Uint8Array.of(148, 4, 0, 0),
  Uint8Array.of(1, 1, 1, 0),
  Uint8Array.of(130, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
  Uint8Array.of(131, 7, 4, 10, 9, 9, 9, 0),
  Uint8Array.of(137, 7, 4, 10, 9, 9, 9, 0),
  Uint8Array.of(148, 9, 0, 0),
  Uint8Array.of(1, 1, 1, 148),
]

function packet4(random: Random, leg: Leg, other: Leg): Uint8Array {
  let from = pick(random, leg.hosts4)
  if (random.chance(12)) from = pick(random, random.chance(50) ? MARTIANS : SPOOFED)
  let to = pick(random, other.hosts4)
  if (random.chance(25)) to = pick(random, [...leg.own4, ...other.own4])
  else if (random.chance(8)) to = pick(random, GROUPS4)
  else if (random.chance(15)) to = pick(random, NOWHERE4)
  const ttl = random.chance(15) ? random.below(3) : 64
  const options = random.chance(6) ? pick(random, OPTIONS) : undefined
  // The kernel blanks options in later fragments where we leave them out: see docs/router.md.
  const dontFragment = options !== undefined || random.chance(60) ? 0x4000 : 0
  const header: Ip4 = {
    from,
    to,
    ttl,
    id: random.below(65_536),
    tos: random.chance(20) ? random.below(256) : 0,
    fragment: dontFragment,
    ...(options === undefined ? {} : { options }),
  }
  // A lone fragment to the router would wait, and be given up sooner by the one or the other.
  if (random.chance(5) && other.hosts4.includes(to)) {
    const more = random.chance(50)
    const offset = random.below(100) + (more ? 0 : 1)
    const fragment = (more ? 0x2000 : 0) | offset | (random.chance(50) ? 0x4000 : 0)
    return ip4({ ...header, fragment }, pattern(8 * random.below(180) + 8))
  }
  return body(random, header, size(random))
}

function size(random: Random): number {
  if (random.chance(60)) return random.below(120)
  return pick(random, [1300, 1340, 1352, 1360, 1372, 1373, 1380, 1420, 1440])
}

/** Some transport in some state of repair. */
function body(random: Random, header: Ip4 | Ip6, bytes: number): Uint8Array {
  const data = pattern(bytes)
  const six = header.from.includes(':')
  const kind = random.below(20)
  if (kind < 5) {
    const packet = udp(header, { from: 5000, to: 33_434 + random.below(100) }, data)
    if (random.chance(5)) packet[packet.length - 1]! ^= 1
    return packet
  }
  if (kind < 10) {
    const flags = pick(random, [0x02, 0x10, 0x18, 0x04, 0x14, 0x11, 0x12, 0x03])
    const options = new Uint8Array(4 * random.below(4)).fill(1)
    const fields = { from: 40_000, to: 81, seq: random.bits() >>> 0, ack: random.bits() >>> 0 }
    return tcp(header, { ...fields, flags, options }, data)
  }
  if (kind < 15) return six ? echo6(header, data) : echo4(header as Ip4, data)
  if (kind < 17) {
    const type = six ? pick(random, [1, 2, 3, 4]) : pick(random, [3, 11, 12])
    const error = six ? echo6(header, data) : echo4(header as Ip4, data)
    // The checksum is wrong now, which matters to nobody on the way; to the router it is an error.
    error[error.length - data.length - 8] = type
    return error
  }
  if (six) return ip6({ ...(header as Ip6), next: 253 }, data)
  return ip4({ ...(header as Ip4), protocol: 253 }, data)
}

const NOWHERE6 = ['2001:db8::9', 'fd00:9::1', '::1', 'fd00:bad::1']

function packet6(random: Random, leg: Leg, other: Leg): Uint8Array {
  const to = random.chance(25)
    ? pick(random, [...leg.own6, ...other.own6.slice(0, 1)])
    : random.chance(20)
      ? pick(random, NOWHERE6)
      : pick(random, other.hosts6)
  // Back out by the leg it came in by, the kernel lets it pass: the link is the same.
  const linkLocal = random.chance(10) && to !== NOWHERE6[0]
  const from = linkLocal ? leg.linkLocalHost : pick(random, leg.hosts6)
  const hops = random.chance(15) ? random.below(3) : 64
  const header: Ip6 = { from, to, hops }
  if (!leg.own6.includes(to) || !random.chance(30)) return body(random, header, size(random))
  return extended(random, header)
}

/** To the router, with headers between. */
function extended(random: Random, header: Ip6): Uint8Array {
  const inner = echo6(header, pattern(random.below(50)))
  const data = inner.subarray(40)
  const options = pick(random, [
    Uint8Array.of(1, 4, 0, 0, 0, 0),
    Uint8Array.of(0, 0, 0, 0, 0, 0),
    Uint8Array.of(0x1e, 4, 0, 0, 0, 0),
    Uint8Array.of(0x5e, 4, 0, 0, 0, 0),
    Uint8Array.of(0, 0x9e, 3, 0, 0, 0),
    Uint8Array.of(1, 1, 0, 0xde, 1, 0),
  ])
  if (random.chance(20)) {
    const routing = Uint8Array.of(58, 0, 77, random.below(2), 0, 0, 0, 0)
    return ip6({ ...header, next: 43 }, Uint8Array.of(...routing, ...data))
  }
  return ip6({ ...header, next: 60 }, Uint8Array.of(58, 0, ...options, ...data))
}

/** A ping of many octets to the router, in fragments, perhaps out of order, perhaps one twice. */
function bigPing(random: Random, leg: Leg, six: boolean): { packets: Uint8Array[]; what: string } {
  const bytes = evenly(1500 + random.below(9000), leg.mtuBytes - (six ? 48 : 20))
  const id = random.bits() >>> 0
  const packets: Uint8Array[] = []
  const header = six
    ? { from: leg.hosts6[0]!, to: leg.own6[0]! }
    : { from: leg.hosts4[0]!, to: leg.own4[0]! }
  const whole = six ? echo6(header, pattern(bytes)) : echo4(header, pattern(bytes))
  const payload = whole.subarray(six ? 40 : 20)
  const step = 8 * (20 + random.below(150))
  for (let at = 0; at < payload.length; at += step) {
    const part = payload.subarray(at, at + step)
    const more = at + step < payload.length
    if (six) {
      const word = at | (more ? 1 : 0)
      const head = [58, 0, word >>> 8, word & 0xff, id >>> 24, id >>> 16, id >>> 8, id]
      packets.push(ip6({ ...header, next: 44 }, Uint8Array.of(...head, ...part)))
    } else {
      const fragment = (more ? 0x2000 : 0) | (at / 8)
      packets.push(ip4({ ...header, protocol: 1, id: id & 0xffff, fragment }, part))
    }
  }
  for (let i = packets.length - 1; i > 0 && random.chance(70); i--) {
    const j = random.below(i + 1)
    const swap = packets[i]!
    packets[i] = packets[j]!
    packets[j] = swap
  }
  if (random.chance(30)) packets.splice(1, 0, packets[0]!)
  return { packets, what: `ping of ${bytes}` }
}

/**
 * A size near this one whose reply both cut alike: of its own packets the kernel makes no last
 * fragment that fills the MTU with a rest that is no multiple of 8; we do.
 */
function evenly(bytes: number, room: number): number {
  const rest = (bytes + 8) % (room & ~7)
  return rest > 0 && rest <= (room & 7) ? bytes + 8 : bytes
}
