/** Super-frames behind a tunnel's header, for tests of what cuts them and what joins them. */
import { GsoType, type Packet, type Pool } from '../../stack/packet.ts'
import { frame, HOST_MAC, pattern, pseudo, tcp, udp } from '../ip/lab.ts'

export const PREFIX: Uint8Array = Uint8Array.from([0x08, 0, 0, 0, 0x12, 0x34, 0x56, 0])

export interface Case {
  readonly six: boolean
  readonly datagram: boolean
  readonly payload: number
  readonly gsoSize: number
  readonly tcpOptions: number
  readonly flags: number
  readonly id: number
  readonly seq: number
}

export const PLAIN_CASE: Case = {
  six: false,
  datagram: false,
  payload: 6000,
  gsoSize: 1398,
  tcpOptions: 12,
  flags: 0x10,
  id: 0xfffe,
  seq: 0xffff_f000,
}

/** The packet: PREFIX, then the frame with its facts; its checksum is partial. */
export function superPacket(pool: Pool, one: Case): Packet {
  const { six, datagram, payload, gsoSize, tcpOptions, flags, id, seq } = one
  const ends = six ? { from: 'fd00:1::11', to: 'fd00:2::22' } : { from: '10.1.0.1', to: '10.2.0.2' }
  const protocol = datagram ? 17 : 6
  const header = { ...ends, protocol, next: protocol, id }
  const options = new Uint8Array(tcpOptions).fill(1)
  const ip = datagram
    ? udp(header, { to: 4000 }, pattern(payload))
    : tcp(header, { to: 80, seq, ack: 7, flags, options }, pattern(payload))
  const bytes = frame(HOST_MAC, ip)
  const packet = pool.alloc(PREFIX.length + bytes.length)!
  pool.mem.set(PREFIX, packet.head)
  pool.mem.set(bytes, packet.head + PREFIX.length)
  packet.len = PREFIX.length + bytes.length
  packet.csumStart = packet.head + PREFIX.length + 14 + (six ? 40 : 20)
  packet.csumOffset = datagram ? 6 : 16
  packet.gsoSize = gsoSize
  packet.gsoType = datagram ? GsoType.Udp : six ? GsoType.TcpV6 : GsoType.TcpV4
  const end = packet.head + packet.len
  const sum = pseudo({ ...ends, protocol }, end - packet.csumStart)
  const field = packet.csumStart + packet.csumOffset
  pool.mem.set([sum >>> 8, sum & 0xff], field)
  return packet
}
