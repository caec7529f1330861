/**
 * Echo (RFC 1122 §3.2.2.6, RFC 4443 §4.2): the request becomes its reply where it lies. Data are
 * not touched, so a reply costs the same whatever its size, and a partial checksum stays one. A
 * reply is of no connection, whatever the request was taken for.
 */
import { type Address, putAddress } from '../address.ts'
import { copy, i32, put16, put32, u16 } from '../bytes.ts'
import { pseudo6, sum, update } from '../checksum.ts'
import { NO_FLOW, type Packet, pull } from '../packet.ts'
import { DEFAULT_TTL } from './egress.ts'
import * as icmp from './icmp.ts'
import * as ipv4 from './ipv4.ts'
import * as ipv6 from './ipv6.ts'

/**
 * `packet.head` is at the header of a valid echo request to a unicast address. Options are not
 * returned. `id`: identification of the reply, should it be fragmented.
 */
export function replyEcho4(mem: Uint8Array, packet: Packet, id: number): void {
  const optionBytes = ipv4.headerBytes(mem, packet.head) - ipv4.HEADER_BYTES
  if (optionBytes > 0) copy(mem, packet.head + optionBytes, packet.head, ipv4.HEADER_BYTES)
  pull(packet, optionBytes)
  packet.flow = NO_FLOW
  const { head } = packet
  const source = i32(mem, head + ipv4.SRC)
  put32(mem, head + ipv4.SRC, i32(mem, head + ipv4.DST))
  put32(mem, head + ipv4.DST, source)
  mem[head] = 0x45
  put16(mem, head + ipv4.TOTAL, packet.len)
  put16(mem, head + ipv4.ID, id)
  put16(mem, head + ipv4.FRAGMENT, 0)
  mem[head + ipv4.TTL] = DEFAULT_TTL
  ipv4.putChecksum(mem, head)
  const at = head + ipv4.HEADER_BYTES
  retype(mem, at, icmp.Type4.EchoReply)
  // Equation 3 of RFC 1624 gives 0 for a message of zeros, whose checksum is 0xffff.
  const partial = packet.csumStart !== 0
  if (!partial && u16(mem, at + icmp.CHECKSUM) === 0) {
    put16(mem, at + icmp.CHECKSUM, ~sum(mem, at, packet.len - ipv4.HEADER_BYTES))
  }
}

/**
 * As {@link replyEcho4}. `message`: where the ICMPv6 header is; extension headers before it are
 * not returned. `source`: who answers a request to a group; left out: whoever was asked.
 */
export function replyEcho6(
  mem: Uint8Array,
  packet: Packet,
  message: number,
  source?: Address,
): void {
  const extra = message - packet.head - ipv6.HEADER_BYTES
  if (extra > 0) copy(mem, packet.head + extra, packet.head, ipv6.HEADER_BYTES)
  pull(packet, extra)
  packet.flow = NO_FLOW
  const { head } = packet
  const bytes = packet.len - ipv6.HEADER_BYTES
  put16(mem, head + ipv6.PAYLOAD, bytes)
  mem[head + ipv6.NEXT] = ipv4.Protocol.Icmp6
  mem[head + ipv6.HOP_LIMIT] = DEFAULT_TTL
  for (let i = 0; i < 16; i++) {
    const from = mem[head + ipv6.SRC + i]!
    mem[head + ipv6.SRC + i] = mem[head + ipv6.DST + i]!
    mem[head + ipv6.DST + i] = from
  }
  retype(mem, message, icmp.Type6.EchoReply, packet.csumStart !== 0)
  if (source === undefined) return
  putAddress(mem, head + ipv6.SRC, source)
  put16(mem, message + icmp.CHECKSUM, 0)
  const pseudo = pseudo6(mem, head + ipv6.SRC, ipv4.Protocol.Icmp6, bytes)
  put16(mem, message + icmp.CHECKSUM, ~sum(mem, message, bytes, pseudo))
  packet.csumStart = 0
  packet.csumOffset = 0
}

/** Exchange the type, and mend the checksum unless it is still to be summed. */
function retype(mem: Uint8Array, at: number, type: number, partial = false): void {
  const before = u16(mem, at)
  mem[at] = type
  if (partial) return
  const field = at + icmp.CHECKSUM
  put16(mem, field, update(u16(mem, field), before, u16(mem, at)))
}
