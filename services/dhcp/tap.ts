/**
 * What comes from a network outside for the DHCP clients that we run there: taken out of the way to
 * the bridge. Everything else passes.
 */
import { u8, u16 } from '../../stack/bytes.ts'
import { DropReason } from '../../stack/drop.ts'
import * as eth from '../../stack/eth/frame.ts'
import { mac } from '../../stack/eth/mac.ts'
import * as ipv4 from '../../stack/ip/ipv4.ts'
import * as udp from '../../stack/ip/udp.ts'
import type { Output, Packet, Pool } from '../../stack/packet.ts'
import * as dhcp from '../../stack/udp/dhcp.ts'
import type { DhcpClient } from './client.ts'

export function dhcpTap(pool: Pool, clients: ReadonlySet<DhcpClient>, next: Output): Output {
  const { mem } = pool
  return (packet) => {
    if (clients.size === 0 || packet.traced || !isAnswer(mem, packet)) return next(packet)
    const at = packet.head + eth.HEADER_BYTES + ipv4.HEADER_BYTES + udp.HEADER_BYTES
    const message = dhcp.parse(mem, at, packet.head + packet.len - at)
    if (message === undefined) return next(packet)
    const from = mac(mem, packet.head + eth.SRC)
    for (const client of clients) {
      if (client.hears(message, from)) return pool.drop(packet, DropReason.Delivered)
    }
    next(packet)
  }
}

/** UDP over IPv4 without options, whole, to the port of clients. */
function isAnswer(mem: Uint8Array, { head, len }: Packet): boolean {
  const ip = head + eth.HEADER_BYTES
  const at = ip + ipv4.HEADER_BYTES
  if (len < eth.HEADER_BYTES + ipv4.HEADER_BYTES + udp.HEADER_BYTES) return false
  return (
    eth.type(mem, head) === eth.EtherType.Ipv4 &&
    u8(mem, ip) === 0x45 &&
    ipv4.protocol(mem, ip) === ipv4.Protocol.Udp &&
    !ipv4.isFragment(mem, ip) &&
    u16(mem, at + udp.DST_PORT) === dhcp.CLIENT_PORT
  )
}
