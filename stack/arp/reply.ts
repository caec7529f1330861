/**
 * Answers, made in place: the request's packet becomes the reply, so that answering needs no
 * memory and cannot fail. Shared by the proxy, which answers for others, and by the responder.
 *
 * The MAC that answers comes in halves (its first 16 bits, its last 32): tables hold it so, and
 * no object is made. The reply's Ethernet header is put right before the message, which also
 * takes off a priority tag that the request may have had.
 */
import { copy, i32, put16, put32 } from '../bytes.ts'
import * as eth from '../eth/frame.ts'
import type { Packet } from '../packet.ts'
import * as arp from './message.ts'
import * as nd from './nd.ts'
import { putAllNodes, putBody, putGroupMac, seal } from './nd_emit.ts'
import { Option } from './nd_option.ts'

/** Turn the ARP request at `message` into its reply (RFC 826, "Packet Reception"). */
export function replyArp(
  mem: Uint8Array,
  packet: Packet,
  message: number,
  hi: number,
  lo: number,
): void {
  const frame = message - eth.HEADER_BYTES
  const asked = i32(mem, message + arp.TPA)
  copy(mem, message + arp.THA, message + arp.SHA, arp.THA - arp.SHA)
  put16(mem, message + arp.OPER, arp.Operation.Reply)
  put16(mem, message + arp.SHA, hi)
  put32(mem, message + arp.SHA + 2, lo)
  put32(mem, message + arp.SPA, asked)
  copy(mem, frame + eth.DST, message + arp.THA, 6)
  putSource(mem, frame, hi, lo)
  eth.putType(mem, frame, eth.EtherType.Arp)
  finish(packet, frame, arp.MESSAGE_BYTES)
}

/**
 * Turn the neighbor solicitation at `at` into its advertisement (RFC 4861 §7.2.4): to the asker,
 * or to all nodes where the asker has no address yet. `router` sets the R flag.
 */
export function replyNd(
  mem: Uint8Array,
  packet: Packet,
  at: number,
  hi: number,
  lo: number,
  router: boolean,
): void {
  const frame = at - eth.HEADER_BYTES
  let flags: number = nd.Flag.Override | (router ? nd.Flag.Router : 0)
  if (nd.isUnspecified(mem, at + nd.SRC)) {
    putAllNodes(mem, at + nd.DST)
    putGroupMac(mem, frame + eth.DST, at + nd.DST)
  } else {
    const option = nd.linkAddress(mem, at, Option.Source)
    flags |= nd.Flag.Solicited
    copy(mem, frame + eth.DST, option === 0 ? packet.head + eth.SRC : option, 6)
    copy(mem, at + nd.DST, at + nd.SRC, 16)
  }
  copy(mem, at + nd.SRC, at + nd.TARGET, 16)
  putSource(mem, frame, hi, lo)
  putBody(mem, at, nd.Type.Advertisement, flags, hi, lo)
  seal(mem, at)
  finish(packet, frame, nd.MESSAGE_BYTES)
}

function putSource(mem: Uint8Array, frame: number, hi: number, lo: number): void {
  put16(mem, frame + eth.SRC, hi)
  put32(mem, frame + eth.SRC + 2, lo)
}

/** The reply is whole: whatever the request left to offload is not. */
function finish(packet: Packet, frame: number, messageBytes: number): void {
  packet.head = frame
  packet.len = eth.HEADER_BYTES + messageBytes
  packet.csumStart = 0
  packet.csumOffset = 0
  packet.gsoType = 0
  packet.gsoSize = 0
}
