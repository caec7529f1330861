/**
 * Telling a network where an address is now: when an endpoint joins, when it moves, and when
 * another station claims an address of ours.
 *
 * IPv4: an ARP announcement, a broadcast request for one's own address (RFC 5227 §3; the request
 * form, as hosts ignore unasked replies more often). IPv6: an unsolicited neighbor advertisement
 * to all nodes with the override flag (RFC 4861 §7.2.6). Receivers update what they have; neither
 * makes them remember a station they never asked for.
 */
import { type Address, putAddress } from '../address.ts'
import * as eth from '../eth/frame.ts'
import { BROADCAST, type Mac, putMac } from '../eth/mac.ts'
import type { Packet, Pool } from '../packet.ts'
import * as arp from './message.ts'
import * as nd from './nd.ts'
import { putAllNodes, putBody, putGroupMac, seal } from './nd_emit.ts'

const NO_MAC: Mac = { hi: 0, lo: 0 }

/**
 * A frame that says `address` is at `mac`; undefined if the pool is exhausted. The caller owns it.
 * `router`: the station forwards packets. It sets the R flag of an advertisement, without which
 * hosts would take a gateway off their list of default routers (RFC 4861 §7.2.5).
 */
export function announce(
  pool: Pool,
  address: Address,
  mac: Mac,
  router = false,
): Packet | undefined {
  const packet = pool.alloc(eth.HEADER_BYTES + nd.MESSAGE_BYTES)
  if (packet === undefined) return undefined
  const { mem } = pool
  const at = packet.head + eth.HEADER_BYTES
  putMac(mem, packet.head + eth.SRC, mac)
  if (address.family === 4) {
    const ip = address.words[3]!
    putMac(mem, packet.head + eth.DST, BROADCAST)
    eth.putType(mem, packet.head, eth.EtherType.Arp)
    arp.putMessage(mem, at, {
      operation: arp.Operation.Request,
      senderMac: mac,
      senderIp: ip,
      targetMac: NO_MAC,
      targetIp: ip,
    })
    packet.len = eth.HEADER_BYTES + arp.MESSAGE_BYTES
    return packet
  }
  putAddress(mem, at + nd.SRC, address)
  putAddress(mem, at + nd.TARGET, address)
  putAllNodes(mem, at + nd.DST)
  putGroupMac(mem, packet.head + eth.DST, at + nd.DST)
  const flags = nd.Flag.Override | (router ? nd.Flag.Router : 0)
  putBody(mem, at, nd.Type.Advertisement, flags, mac.hi, mac.lo)
  seal(mem, at)
  packet.len = eth.HEADER_BYTES + nd.MESSAGE_BYTES
  return packet
}
