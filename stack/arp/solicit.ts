/**
 * Asking for a neighbor: an ARP request (RFC 826) or a neighbor solicitation (RFC 4861 §4.3), to
 * everybody who may be meant, or to one station whose address is being verified.
 *
 * The sender is the link's own address that shares a prefix with the target, so that a link with
 * several subnets asks as a member of the right one; else its first address of that family.
 */
import { type Address, contains, MAPPED, type Prefix, putAddress } from '../address.ts'
import { DropReason } from '../drop.ts'
import * as eth from '../eth/frame.ts'
import { BROADCAST, type Mac, putMac } from '../eth/mac.ts'
import type { Packet, Pool } from '../packet.ts'
import * as arp from './message.ts'
import * as nd from './nd.ts'
import { putBody, putGroupMac, putSolicitedNode, seal } from './nd_emit.ts'

/** Who asks. */
export interface Asker {
  readonly mac: Mac
  readonly addresses: readonly Prefix[]
}

const NO_MAC: Mac = { hi: 0, lo: 0 }

/** The address of four words as tables hold them. */
export function addressOf(words: Int32Array, at: number): Address {
  const four = words.slice(at, at + 4)
  const mapped = four[0] === 0 && four[1] === 0 && four[2] === MAPPED
  return { family: mapped ? 4 : 6, words: four }
}

/** The prefix of this link that the address is in: it is a neighbor, not behind a router. */
export function onLink({ addresses }: Asker, address: Address): Prefix | undefined {
  return addresses.find((prefix) => contains(prefix, address))
}

/**
 * A frame that asks who has `target`; `to`: the station to ask, else everybody. Undefined if the
 * pool is exhausted or the asker has no address of that family. The caller owns it.
 */
export function solicit(
  pool: Pool,
  asker: Asker,
  target: Address,
  to: Mac | undefined,
): Packet | undefined {
  const family = asker.addresses.filter(({ address }) => address.family === target.family)
  const source = (onLink(asker, target) ?? family[0])?.address
  if (source === undefined) return undefined
  const packet = pool.alloc(eth.HEADER_BYTES + nd.MESSAGE_BYTES)
  if (packet === undefined) {
    pool.counters.dropped(0, DropReason.PoolEmpty)
    return undefined
  }
  const { mem } = pool
  const at = packet.head + eth.HEADER_BYTES
  putMac(mem, packet.head + eth.SRC, asker.mac)
  if (target.family === 4) {
    putMac(mem, packet.head + eth.DST, to ?? BROADCAST)
    eth.putType(mem, packet.head, eth.EtherType.Arp)
    arp.putMessage(mem, at, {
      operation: arp.Operation.Request,
      senderMac: asker.mac,
      senderIp: source.words[3]!,
      targetMac: NO_MAC,
      targetIp: target.words[3]!,
    })
    packet.len = eth.HEADER_BYTES + arp.MESSAGE_BYTES
    return packet
  }
  putAddress(mem, at + nd.SRC, source)
  putAddress(mem, at + nd.TARGET, target)
  if (to === undefined) {
    putSolicitedNode(mem, at + nd.DST, target.words[3]!)
    putGroupMac(mem, packet.head + eth.DST, at + nd.DST)
  } else {
    putAddress(mem, at + nd.DST, target)
    putMac(mem, packet.head + eth.DST, to)
  }
  putBody(mem, at, nd.Type.Solicitation, 0, asker.mac.hi, asker.mac.lo)
  seal(mem, at)
  packet.len = eth.HEADER_BYTES + nd.MESSAGE_BYTES
  return packet
}
