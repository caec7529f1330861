/**
 * What tells one flow from another in the flow cache, read out of a frame. Only frames that every
 * element treats like the one before are read; of all others the answer is {@link Kind.None}, and
 * they go the long way:
 *
 * ```text
 *   untagged, to one station, IPv4 without options or IPv6 without extension headers, whole
 *   TCP without SYN, FIN or RST: connection tracking must see those itself
 *   UDP; ICMP and ICMPv6 echo
 * ```
 */
import { i32, u8, u16 } from '../bytes.ts'
import * as eth from '../eth/frame.ts'
import { INGRESS, MACS, PORTS, PROTOCOL, SRC } from '../flow_table.ts'
import type { Packet } from '../packet.ts'
import * as icmp from './icmp.ts'
import * as ipv4 from './ipv4.ts'
import * as ipv6 from './ipv6.ts'
import * as tcp from './tcp.ts'
import { echoPorts } from './tuple.ts'
import * as udp from './udp.ts'

/** Which table a flow is in. */
export const Kind = { None: 0, Four: 4, Six: 6 } as const

const PLAIN_HEADER = 0x45
const OPENS_OR_ENDS: number = tcp.Flag.Syn | tcp.Flag.Fin | tcp.Flag.Rst
const PORT_SHIFT = 16

/**
 * Read the key of a frame that came in by counters port `port` into `four` or `six`. After it the
 * IP header, and a TCP, UDP or ICMP header behind it, are known to be there.
 */
export function readKey(
  mem: Uint8Array,
  packet: Packet,
  port: number,
  four: Int32Array,
  six: Int32Array,
): number {
  const { head, len } = packet
  if (len < eth.HEADER_BYTES + ipv4.HEADER_BYTES + udp.HEADER_BYTES) return Kind.None
  if (eth.isGroup(mem, head)) return Kind.None
  const type = eth.type(mem, head)
  if (type === eth.EtherType.Ipv4) return read4(mem, head, len, port, four)
  if (type === eth.EtherType.Ipv6) return read6(mem, head, len, port, six)
  return Kind.None
}

function read4(mem: Uint8Array, frame: number, len: number, port: number, key: Int32Array): number {
  const ip = frame + eth.HEADER_BYTES
  if (u8(mem, ip) !== PLAIN_HEADER || ipv4.isFragment(mem, ip)) return Kind.None
  const total = ipv4.totalBytes(mem, ip)
  if (total > len - eth.HEADER_BYTES) return Kind.None
  const protocol = ipv4.protocol(mem, ip)
  const at = ip + ipv4.HEADER_BYTES
  const type = readTransport(mem, at, total - ipv4.HEADER_BYTES, protocol, key)
  if (type < 0) return Kind.None
  readFrame(mem, frame, (port << PORT_SHIFT) | type, key)
  key[SRC] = i32(mem, ip + ipv4.SRC)
  key[SRC + 1] = i32(mem, ip + ipv4.DST)
  return Kind.Four
}

function read6(mem: Uint8Array, frame: number, len: number, port: number, key: Int32Array): number {
  const ip = frame + eth.HEADER_BYTES
  if (!ipv6.isHeader(mem, ip, len - eth.HEADER_BYTES)) return Kind.None
  const protocol = ipv6.nextHeader(mem, ip)
  const at = ip + ipv6.HEADER_BYTES
  const type = readTransport(mem, at, ipv6.payloadBytes(mem, ip), protocol, key)
  if (type < 0) return Kind.None
  readFrame(mem, frame, (port << PORT_SHIFT) | type, key)
  for (let i = 0; i < 8; i++) key[SRC + i] = i32(mem, ip + ipv6.SRC + 4 * i)
  return Kind.Six
}

/** Its ICMP type, 0 for other protocols; -1: not to be cached. `bytes`: the IP payload's. */
function readTransport(
  mem: Uint8Array,
  at: number,
  bytes: number,
  protocol: number,
  key: Int32Array,
): number {
  if (bytes < udp.HEADER_BYTES) return -1
  key[PROTOCOL] = protocol
  if (protocol === ipv4.Protocol.Udp || protocol === ipv4.Protocol.Tcp) {
    if (protocol === ipv4.Protocol.Tcp) {
      if (bytes < tcp.HEADER_BYTES || (tcp.flags(mem, at) & OPENS_OR_ENDS) !== 0) return -1
    }
    key[PORTS] = i32(mem, at)
    return 0
  }
  if (protocol !== ipv4.Protocol.Icmp && protocol !== ipv4.Protocol.Icmp6) return -1
  const type = u8(mem, at)
  const six = protocol === ipv4.Protocol.Icmp6
  const reply = icmp.isEchoReply(type, six)
  if (!reply && !icmp.isEchoRequest(type, six)) return -1
  key[PORTS] = echoPorts(u16(mem, at + icmp.REST), reply)
  return type
}

function readFrame(mem: Uint8Array, frame: number, ingress: number, key: Int32Array): void {
  key[INGRESS] = ingress
  key[MACS] = i32(mem, frame)
  key[MACS + 1] = i32(mem, frame + 4)
  key[MACS + 2] = i32(mem, frame + 8)
}
