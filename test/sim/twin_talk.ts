/**
 * Conversations between stations, by chance but mostly like real ones: a few that go on for long,
 * so that a cache has something to remember, and now and then a frame that is wrong.
 */
import type { Mac } from '../../stack/eth/mac.ts'
import type { Random } from '../../stack/random.ts'
import {
  build,
  Flag,
  type Frame,
  mend4,
  Protocol,
  type Seen,
  type Segment,
  see,
  sum,
} from './twin_frames.ts'
import type { Station } from './twin_plan.ts'

/** Where a frame of a conversation came out. */
interface Far {
  readonly device: string
  readonly seen: Seen
  readonly bytes: Buffer
}

export interface Talk {
  readonly client: Station
  readonly from: Uint8Array
  readonly to: Uint8Array
  readonly protocol: number
  readonly sport: number
  readonly dport: number
  /** In each frame: by it the far end is found. */
  readonly mark: number
  far: Far | undefined
  /** Of TCP: 0 nothing yet, 1 SYN sent, 2 answered, 3 open. */
  phase: number
  clientSeq: number
  serverSeq: number
}

/** A segment in the making. */
type Draft = { -readonly [K in keyof Segment]: Segment[K] }

/** A frame to be sent by a device. */
export interface Put extends Frame {
  readonly device: string
}

export type MacOf = (network: string, address: Uint8Array) => Mac | undefined

/** As twin_plan.ts publishes them. */
const TCP_PORTS = { published: 8000, service: 9080, inside: 80 }
const UDP_PORTS = { published: 5300, service: 9053, inside: 53 }

export function begin(random: Random, client: Station, to: Uint8Array): Talk {
  const six = to.length === 16
  const protocols = [Protocol.Tcp, Protocol.Tcp, Protocol.Udp, Protocol.Udp]
  const echo = six ? Protocol.Icmp6 : Protocol.Icmp
  const protocol = [...protocols, echo][random.below(5)]!
  const dport = portAt(random, to, protocol)
  const sport = 40_000 + random.below(4)
  return {
    client,
    from: client.addresses.find(({ length }) => length === to.length)!,
    to,
    protocol,
    sport,
    dport: protocol === echo ? sport : dport,
    mark: random.bits() >>> 0,
    far: undefined,
    phase: 0,
    clientSeq: 0,
    serverSeq: 0,
  }
}

/** A port that somebody may listen at; of the node's own address outside, one it may publish. */
function portAt(random: Random, to: Uint8Array, protocol: number): number {
  const { published, service, inside } = protocol === Protocol.Tcp ? TCP_PORTS : UDP_PORTS
  if (random.chance(10)) return 7777
  const outside = to[0] === 203 || (to[0] === 0x20 && to[5] === 0)
  if (!outside || to[to.length - 1] !== 2) return inside
  return random.chance(25) ? service : published + random.below(5)
}

/** Notes where a frame of the conversation came out. */
export function meet(talk: Talk, device: string, bytes: Buffer): void {
  const seen = see(bytes)
  if (seen === undefined || seen.protocol !== talk.protocol) return
  if (talk.protocol !== Protocol.Tcp) {
    if (seen.mark !== talk.mark) return
  } else if (talk.phase !== 1 || seen.seq !== talk.clientSeq) return
  talk.far = { device, seen, bytes }
}

/** The next frame. */
export function next(random: Random, talk: Talk, macOf: MacOf): Put {
  const server = talk.far !== undefined && speaks(random, talk)
  const segment = server ? fromServer(random, talk, macOf) : fromClient(random, talk, macOf)
  const device = server ? talk.far!.device : talk.client.device
  const { bytes, facts } = build(segment)
  return { device, bytes, facts }
}

/** True if it is the server's turn. */
function speaks(random: Random, talk: Talk): boolean {
  if (talk.protocol !== Protocol.Tcp) return random.chance(45)
  if (talk.phase === 1) return true
  return talk.phase === 3 && random.chance(45)
}

function fromClient(random: Random, talk: Talk, macOf: MacOf): Segment {
  const { client, to, protocol } = talk
  const tcp = protocol === Protocol.Tcp
  const seqBefore = talk.clientSeq
  const flags = tcp ? clientFlags(random, talk) : protocol === Protocol.Icmp ? 8 : 128
  const opens = tcp && (flags & Flag.Syn) !== 0
  const { mtuBytes, offload } = client
  const segment = bodyOf(random, { talk, offload, mtuBytes, opens })
  segment.dst = macOf(client.network, to) ?? client.gateway
  segment.src = client.mac
  segment.from = talk.from
  segment.to = to
  segment.sport = talk.sport
  segment.dport = talk.dport
  segment.seq = (talk.clientSeq + astray(random, seqBefore)) >>> 0
  segment.ack = talk.serverSeq
  segment.flags = flags
  if (tcp && !opens) talk.clientSeq = (talk.clientSeq + segment.payloadBytes) >>> 0
  return segment
}

function fromServer(random: Random, talk: Talk, macOf: MacOf): Segment {
  const { seen } = talk.far!
  const { protocol } = talk
  const tcp = protocol === Protocol.Tcp
  const seqBefore = talk.serverSeq
  const flags = tcp ? serverFlags(random, talk) : protocol === Protocol.Icmp ? 0 : 129
  const opens = tcp && (flags & Flag.Syn) !== 0
  const { mtuBytes, offload } = talk.client
  const segment = bodyOf(random, { talk, offload, mtuBytes, opens })
  segment.dst = (random.chance(90) ? macOf(networkOf(talk), seen.from) : undefined) ?? seen.src
  segment.src = seen.dst
  segment.from = seen.to
  segment.to = seen.from
  segment.sport = seen.dport
  segment.dport = seen.sport
  segment.seq = (talk.serverSeq + astray(random, seqBefore)) >>> 0
  segment.ack = talk.clientSeq
  segment.flags = flags
  if (!tcp) return segment
  talk.serverSeq = (talk.serverSeq + (opens ? 1 : segment.payloadBytes)) >>> 0
  return segment
}

/** Hosts on the client's network answer it as a neighbor. */
function networkOf({ client, far }: Talk): string {
  return far!.device === client.device ? '' : client.network
}

function clientFlags(random: Random, talk: Talk): number {
  if (talk.phase < 2) {
    talk.clientSeq = random.bits() >>> 0
    talk.phase = 1
    return Flag.Syn
  }
  if (talk.phase === 2) {
    talk.clientSeq = (talk.clientSeq + 1) >>> 0
    talk.phase = 3
    return Flag.Ack
  }
  return dataFlags(random, talk)
}

function serverFlags(random: Random, talk: Talk): number {
  if (talk.phase === 1) {
    talk.serverSeq = random.bits() >>> 0
    talk.phase = 2
    return Flag.Syn | Flag.Ack
  }
  return dataFlags(random, talk)
}

function dataFlags(random: Random, talk: Talk): number {
  if (random.chance(3)) {
    if (random.chance(70)) talk.phase = 0
    return Flag.Fin | Flag.Ack
  }
  if (random.chance(1)) {
    talk.phase = 0
    return Flag.Rst | Flag.Ack
  }
  return random.chance(30) ? Flag.Ack | Flag.Psh : Flag.Ack
}

/** Beside the window, now and then. `before`: where it was. */
function astray(random: Random, before: number): number {
  if (before === 0 || !random.chance(4)) return 0
  return random.chance(50) ? random.below(3000) : random.bits() >>> 1
}

interface BodyOptions {
  readonly talk: Talk
  readonly offload: boolean
  readonly mtuBytes: number
  /** It carries nothing. */
  readonly opens: boolean
}

/** A segment of some size; who sends it to whom is the caller's to say. */
function bodyOf(random: Random, { talk, offload, mtuBytes, opens }: BodyOptions): Draft {
  const { protocol, mark, from, to, client } = talk
  const echo = protocol === Protocol.Icmp || protocol === Protocol.Icmp6
  const large = !opens && offload && !echo && random.chance(10)
  const full = random.chance(6)
  const small = random.chance(20) ? 0 : 4 + random.below(60)
  const least = protocol === Protocol.Tcp ? small : 4 + small
  const some = full ? mtuBytes - random.below(90) : least
  return {
    dst: client.gateway,
    src: client.mac,
    from,
    to,
    protocol,
    sport: 0,
    dport: 0,
    seq: 0,
    ack: 0,
    flags: 0,
    payloadBytes: opens ? 0 : large ? 1000 + random.below(3000) : some,
    mark,
    ttl: random.chance(3) ? random.below(4) : 64,
    id: random.bits() & 0xffff,
    df: random.chance(60),
    options: random.chance(1),
    partial: large || (offload && !echo && random.chance(12)),
    gsoSize: large ? 400 + random.below(1200) : 0,
  }
}

/** Make a frame wrong, or odd. Says how. */
export function spoil(random: Random, put: Put): string {
  const { bytes, facts } = put
  const ip = 14
  const six = bytes[12] === 0x86
  const at = ip + (six ? 40 : 20)
  const way = random.below(11)
  switch (way) {
    case 0:
      bytes[ip + 10]! ^= 1 + random.below(255)
      return 'IP header'
    case 1:
      bytes[bytes.length - 1]! ^= 0x55
      return 'payload'
    case 2:
      if (at + 8 <= bytes.length && facts.csumStart === 0) bytes.writeUInt16BE(0, at + 6)
      return 'checksum of a datagram 0'
    case 3:
      bytes[11]! ^= 1 + random.below(3)
      return 'source MAC'
    case 4:
      bytes[ip + (six ? 23 : 15)]! ^= 1 + random.below(255)
      if (!six) mend4(bytes)
      return 'source'
    case 5:
      if (!six) {
        bytes.writeUInt16BE(random.chance(50) ? 0x2000 : random.below(0x2000), ip + 6)
        mend4(bytes)
      }
      return 'fragment'
    case 6: {
      const octet = random.below(Math.min(bytes.length, 70))
      bytes[octet]! ^= 1 << random.below(8)
      if (!six && random.chance(70)) mend4(bytes)
      return `octet ${octet}`
    }
    case 7:
      facts.csumOffset = random.below(24)
      facts.csumStart = facts.csumStart === 0 ? 0 : facts.csumStart + random.below(3) - 1
      return 'offload facts'
    case 8:
      facts.gsoSize = random.below(3) * 300
      return 'segment size'
    case 9:
      if (!six) extreme(random, bytes)
      return 'checksum of the header at its edge'
    default:
      if (at + 2 <= bytes.length) bytes[at + random.below(Math.min(20, bytes.length - at))]! ^= 1
      return 'transport header'
  }
}

/** An identification with which the checksum is 0, or another way to write it, or near by. */
function extreme(random: Random, bytes: Buffer): void {
  const wanted = [0, 1, 0xfeff, 0x0100, 0xfffe][random.below(5)]!
  bytes.writeUInt16BE(0, 18)
  mend4(bytes)
  const now = bytes.readUInt16BE(24)
  bytes.writeUInt16BE((now + 0xffff - wanted) % 0xffff, 18)
  mend4(bytes)
  if (wanted === 0 && random.chance(50)) bytes.writeUInt16BE(0xffff, 24)
}

/** The same frame, with padding, a tag, or cut. */
export function reshape(random: Random, put: Put): Put {
  const { bytes, facts } = put
  if (facts.csumStart !== 0) return put
  if (random.chance(50)) {
    return { ...put, bytes: Buffer.concat([bytes, Buffer.alloc(1 + random.below(20), 0xee)]) }
  }
  if (random.chance(30)) return { ...put, bytes: bytes.subarray(0, random.below(bytes.length)) }
  const tag = Buffer.from([0x81, 0, 0, [0, 1, 10][random.below(3)]!])
  return { ...put, bytes: Buffer.concat([bytes.subarray(0, 12), tag, bytes.subarray(12)]) }
}

/** An error about the last frame of a conversation that came out, by who received it. */
export function complain(random: Random, talk: Talk): Put | undefined {
  if (talk.far === undefined) return undefined
  const { seen, bytes, device } = talk.far
  const six = seen.from.length === 16
  const quote = bytes.subarray(14, Math.min(bytes.length, 14 + (six ? 48 : 28) + random.below(20)))
  const base = {
    ...{ dst: seen.src, src: seen.dst, from: seen.to, to: seen.from },
    ...{ sport: 0, dport: 0, seq: 0, ack: 0, mark: 0, ttl: 64, id: 9, df: false },
    ...{ options: false, partial: false, gsoSize: 0, payloadBytes: quote.length },
  }
  const protocol = six ? Protocol.Icmp6 : Protocol.Icmp
  const { bytes: made, facts } = build({ ...base, protocol, flags: six ? 1 : 3 })
  const at = made.length - quote.length - 8
  made.set(quote, at + 8)
  // It was summed with zeros there.
  const rest = ~made.readUInt16BE(at + 2) & 0xffff
  made.writeUInt16BE(~sum(quote, 0, quote.length, rest) & 0xffff, at + 2)
  return { device, bytes: made, facts }
}
