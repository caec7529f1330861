/**
 * A gateway that every node has: the same MAC and addresses everywhere, so that a sandbox is routed
 * by its own node and keeps its gateway when it moves. Between nodes that MAC must not be seen, or
 * one node's gateway would be taken for another's:
 *
 * ```text
 *   into the tunnel    routed packet to one station    its source becomes the node's own MAC
 *                      ARP, ND, groups                 dropped
 *   out of the tunnel  source is the gateway's MAC     dropped: somebody does not keep to this
 * ```
 */

import * as nd from '../arp/nd.ts'
import { upperLayer } from '../arp/upper.ts'
import { u8 } from '../bytes.ts'
import * as eth from '../eth/frame.ts'
import { isMacAt, type Mac, putMac } from '../eth/mac.ts'
import type { Packet } from '../packet.ts'

export interface SharedGateway {
  /** On every node. */
  readonly mac: Mac
  /** Of this node alone: what routed frames come from, seen by other nodes. */
  readonly nodeMac: Mac
}

/** False: the frame comes from the gateway and may not leave its node. */
export function mayLeave(
  mem: Uint8Array,
  packet: Packet,
  { mac, nodeMac }: SharedGateway,
): boolean {
  const frame = packet.head
  if (!isMacAt(mem, frame + eth.SRC, mac)) return true
  if (eth.isGroup(mem, frame + eth.DST) || !isRouted(mem, frame, packet.len)) return false
  putMac(mem, frame + eth.SRC, nodeMac)
  return true
}

function isRouted(mem: Uint8Array, frame: number, bytes: number): boolean {
  const type = eth.type(mem, frame)
  if (type === eth.EtherType.Ipv4) return true
  if (type !== eth.EtherType.Ipv6) return false
  const ip = frame + eth.HEADER_BYTES
  const upper = upperLayer(mem, ip, frame + bytes)
  if (upper <= 0) return upper < 0
  const message = u8(mem, upper)
  return message < nd.Type.RouterAdvertisement || message > nd.Type.Redirect
}
