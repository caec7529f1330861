/**
 * TCP resets: in answer to a segment, as the router has no TCP service and says so (RFC 9293
 * §3.5.2, group 1: CLOSED); and in the name of one end of a connection (expiry_resets.ts).
 */
import { type Address, addressAt } from '../address.ts'
import { u8, u16, u32 } from '../bytes.ts'
import type { Packet, Pool } from '../packet.ts'
import { DEFAULT_TTL } from './egress.ts'
import { ipHeaderBytes, putChecksum, putIpHeader } from './header.ts'
import * as ipv4 from './ipv4.ts'
import * as ipv6 from './ipv6.ts'
import { isFour } from './nat_rules.ts'
import * as tcp from './tcp.ts'
import { DST, PORTS, SRC } from './tuple.ts'

const { Ack, Fin, Rst, Syn } = tcp.Flag
/** The bits of TOS and traffic class that are not the sender's (RFC 3168 §5): not returned. */
const CONGESTION = 3

/** What a reset says, and between whom. */
interface Reset {
  readonly from: Address
  readonly to: Address
  readonly srcPort: number
  readonly dstPort: number
  readonly seq: number
  readonly ack: number
  readonly flags: number
  readonly tos: number
  readonly id: number
  readonly dontFragment: boolean
}

/**
 * The answer to a TCP segment that belongs to no connection, `head` at the IP header; undefined if
 * the pool is exhausted. `packet` stays the caller's, `at` is its TCP header. Preconditions: valid
 * headers, no RST flag.
 */
export function reset(pool: Pool, packet: Packet, at: number, id: number): Packet | undefined {
  const { mem } = pool
  const { head, len } = packet
  const four = u8(mem, head) >>> 4 === 4
  const [src, dst] = four ? [ipv4.SRC, ipv4.DST] : [ipv6.SRC, ipv6.DST]
  const family = four ? 4 : 6
  const tos = four ? u8(mem, head + 1) : u16(mem, head) >>> 4
  const flags = tcp.flags(mem, at)
  const counted = ((flags & Syn) !== 0 ? 1 : 0) + ((flags & Fin) !== 0 ? 1 : 0)
  const payload = head + len - at - tcp.headerBytes(mem, at)
  const says =
    (flags & Ack) !== 0
      ? { seq: u32(mem, at + tcp.ACK), ack: 0, flags: Rst }
      : { seq: 0, ack: u32(mem, at + tcp.SEQ) + payload + counted, flags: Rst | Ack }
  return compose(pool, {
    from: addressAt(mem, head + dst, family),
    to: addressAt(mem, head + src, family),
    srcPort: u16(mem, at + 2),
    dstPort: u16(mem, at),
    ...says,
    tos: tos & 0xff & ~CONGESTION,
    id,
    dontFragment: false,
  })
}

/** A reset that says no more than its tuple and sequence number; undefined: no packet memory. */
export function resetOf(pool: Pool, tuple: Int32Array, sequence: number): Packet | undefined {
  const family = isFour(tuple) ? 4 : 6
  return compose(pool, {
    from: { family, words: tuple.subarray(SRC, SRC + 4) },
    to: { family, words: tuple.subarray(DST, DST + 4) },
    srcPort: tuple[PORTS]! >>> 16,
    dstPort: tuple[PORTS]! & 0xffff,
    seq: sequence,
    ack: 0,
    flags: Rst,
    tos: 0,
    id: 0,
    dontFragment: true,
  })
}

function compose(pool: Pool, says: Reset): Packet | undefined {
  const headerBytes = ipHeaderBytes(says.to)
  const packet = pool.alloc(headerBytes + tcp.HEADER_BYTES)
  if (packet === undefined) return undefined
  packet.len = headerBytes + tcp.HEADER_BYTES
  const { mem } = pool
  const { head } = packet
  const [protocol, bytes] = [ipv4.Protocol.Tcp, tcp.HEADER_BYTES]
  const { from, to, tos, id, dontFragment } = says
  putIpHeader(mem, head, { from, to, protocol, bytes, ttl: DEFAULT_TTL, tos, id, dontFragment })
  tcp.putHeader(mem, head + headerBytes, { ...says, window: 0 })
  putChecksum(mem, head, { protocol, at: head + headerBytes, bytes, field: tcp.CHECKSUM })
  return packet
}
