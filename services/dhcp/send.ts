/** One UDP datagram over IPv4 as a frame, where no address is resolved: its MAC is known. */
import { ipv4 as ipv4Address } from '../../stack/address.ts'
import { DropReason } from '../../stack/drop.ts'
import * as eth from '../../stack/eth/frame.ts'
import { BROADCAST, type Mac, putMac } from '../../stack/eth/mac.ts'
import { DEFAULT_TTL } from '../../stack/ip/egress.ts'
import { putChecksum, putIpHeader } from '../../stack/ip/header.ts'
import * as ipv4 from '../../stack/ip/ipv4.ts'
import * as udp from '../../stack/ip/udp.ts'
import type { Output, Pool } from '../../stack/packet.ts'

/** Room for any message of ours. */
const FRAME_BYTES = 1514

export interface Datagram {
  readonly from: { readonly mac: Mac; readonly address: number; readonly port: number }
  /** Without a MAC: to everybody on the link. */
  readonly to: { readonly mac: Mac | undefined; readonly address: number; readonly port: number }
}

/** `write` puts the payload at an offset and returns its octets. */
export function sendDatagram(
  pool: Pool,
  { from, to }: Datagram,
  write: (mem: Uint8Array, at: number) => number,
  output: Output,
): void {
  const packet = pool.alloc(FRAME_BYTES)
  if (packet === undefined) return pool.counters.dropped(0, DropReason.PoolEmpty)
  const { mem } = pool
  const ip = packet.head + eth.HEADER_BYTES
  const at = ip + ipv4.HEADER_BYTES
  const bytes = udp.HEADER_BYTES + write(mem, at + udp.HEADER_BYTES)
  packet.len = eth.HEADER_BYTES + ipv4.HEADER_BYTES + bytes
  putMac(mem, packet.head + eth.DST, to.mac ?? BROADCAST)
  putMac(mem, packet.head + eth.SRC, from.mac)
  eth.putType(mem, packet.head, eth.EtherType.Ipv4)
  const { Udp: protocol } = ipv4.Protocol
  const ends = { from: ipv4Address(from.address), to: ipv4Address(to.address) }
  putIpHeader(mem, ip, { ...ends, protocol, bytes, ttl: DEFAULT_TTL })
  udp.putHeader(mem, at, { srcPort: from.port, dstPort: to.port, bytes })
  putChecksum(mem, ip, { protocol, at, bytes, field: udp.CHECKSUM })
  output(packet)
}
