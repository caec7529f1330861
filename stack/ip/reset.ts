/**
 * TCP resets: in answer to a segment, as the router has no TCP service and says so (RFC 9293
 * §3.5.2, group 1: CLOSED); and in the name of one end of a connection (expiry_resets.ts).
 */
import { copy, put16, put32, u8, u16, u32 } from '../bytes.ts'
import { sum } from '../checksum.ts'
import type { Packet, Pool } from '../packet.ts'
import { DEFAULT_TTL } from './egress.ts'
import { pseudo } from './header.ts'
import * as ipv4 from './ipv4.ts'
import * as ipv6 from './ipv6.ts'
import { isFour } from './nat_rules.ts'
import * as tcp from './tcp.ts'
import { DST, PORTS, SRC } from './tuple.ts'

const { Ack, Fin, Rst, Syn } = tcp.Flag
const DATA_OFFSET = 12
const FIVE_WORDS = 5 << 4
/** The bits of TOS and traffic class that are not the sender's (RFC 3168 §5): not returned. */
const CONGESTION = 3

/**
 * The answer to a TCP segment that belongs to no connection, `head` at the IP header; undefined if
 * the pool is exhausted. `packet` stays the caller's, `at` is its TCP header. Preconditions: valid
 * headers, no RST flag.
 */
export function reset(pool: Pool, packet: Packet, at: number, id: number): Packet | undefined {
  const { mem } = pool
  const six = mem[packet.head]! >>> 4 === 6
  const headerBytes = six ? ipv6.HEADER_BYTES : ipv4.HEADER_BYTES
  const answer = pool.alloc(headerBytes + tcp.HEADER_BYTES)
  if (answer === undefined) return undefined
  answer.len = headerBytes + tcp.HEADER_BYTES
  const { head } = answer
  const to = head + headerBytes
  copy(mem, to, at + 2, 2)
  copy(mem, to + 2, at, 2)
  for (let i = 4; i < tcp.HEADER_BYTES; i++) mem[to + i] = 0
  mem[to + DATA_OFFSET] = FIVE_WORDS
  const flags = tcp.flags(mem, at)
  if ((flags & Ack) !== 0) {
    copy(mem, to + tcp.SEQ, at + tcp.ACK, 4)
    mem[to + tcp.FLAGS] = Rst
  } else {
    const counted = ((flags & Syn) !== 0 ? 1 : 0) + ((flags & Fin) !== 0 ? 1 : 0)
    const payload = packet.head + packet.len - at - tcp.headerBytes(mem, at)
    put32(mem, to + tcp.ACK, u32(mem, at + tcp.SEQ) + payload + counted)
    mem[to + tcp.FLAGS] = Rst | Ack
  }
  if (six) putHeader6(mem, head, packet.head)
  else putHeader4(mem, head, packet.head, id)
  putChecksum(mem, head, to)
  return answer
}

/** A reset that says no more than its tuple and sequence number; undefined: no packet memory. */
export function resetOf(pool: Pool, tuple: Int32Array, sequence: number): Packet | undefined {
  const { mem } = pool
  const six = !isFour(tuple)
  const headerBytes = six ? ipv6.HEADER_BYTES : ipv4.HEADER_BYTES
  const packet = pool.alloc(headerBytes + tcp.HEADER_BYTES)
  if (packet === undefined) return undefined
  packet.len = headerBytes + tcp.HEADER_BYTES
  const { head } = packet
  const at = head + headerBytes
  mem.fill(0, head, head + packet.len)
  put32(mem, at, tuple[PORTS]!)
  put32(mem, at + tcp.SEQ, sequence)
  mem[at + DATA_OFFSET] = FIVE_WORDS
  mem[at + tcp.FLAGS] = Rst
  const protocol = ipv4.Protocol.Tcp
  if (six) {
    for (let i = 0; i < 8; i++) put32(mem, head + ipv6.SRC + 4 * i, tuple[SRC + i]!)
    const fields = { payloadBytes: tcp.HEADER_BYTES, next: protocol, hopLimit: DEFAULT_TTL }
    ipv6.putHeader(mem, head, fields)
  } else {
    put32(mem, head + ipv4.SRC, tuple[SRC + 3]!)
    put32(mem, head + ipv4.DST, tuple[DST + 3]!)
    const [totalBytes, fragment] = [packet.len, ipv4.DONT_FRAGMENT]
    ipv4.putHeader(mem, head, { totalBytes, id: 0, fragment, ttl: DEFAULT_TTL, protocol })
  }
  putChecksum(mem, head, at)
  return packet
}

/** Of a segment without options and data, its TCP header at `at`, the IP header at `head`. */
function putChecksum(mem: Uint8Array, head: number, at: number): void {
  const seed = pseudo(mem, head, ipv4.Protocol.Tcp, tcp.HEADER_BYTES)
  put16(mem, at + tcp.CHECKSUM, ~sum(mem, at, tcp.HEADER_BYTES, seed))
}

function putHeader4(mem: Uint8Array, head: number, about: number, id: number): void {
  copy(mem, head + ipv4.SRC, about + ipv4.DST, 4)
  copy(mem, head + ipv4.DST, about + ipv4.SRC, 4)
  ipv4.putHeader(mem, head, {
    totalBytes: ipv4.HEADER_BYTES + tcp.HEADER_BYTES,
    id,
    fragment: 0,
    ttl: DEFAULT_TTL,
    protocol: ipv4.Protocol.Tcp,
    tos: u8(mem, about + 1) & ~CONGESTION,
  })
}

function putHeader6(mem: Uint8Array, head: number, about: number): void {
  const next = ipv4.Protocol.Tcp
  ipv6.putHeader(mem, head, { payloadBytes: tcp.HEADER_BYTES, next, hopLimit: DEFAULT_TTL })
  const trafficClass = (u16(mem, about) >>> 4) & 0xff & ~CONGESTION
  put16(mem, head, 0x6000 | (trafficClass << 4))
  copy(mem, head + ipv6.SRC, about + ipv6.DST, 16)
  copy(mem, head + ipv6.DST, about + ipv6.SRC, 16)
}
