/**
 * ctnetlink: the connections that the kernel of one namespace tracks; listed, and deleted.
 *
 * ```text
 *  nfgenmsg 4: family u8 | version u8, 0 | resource u16
 *  tuple of the first packet (1) = { addresses (1) = { source, destination (2; IPv6: 4) },
 *                                    protocol (2) = { number (1), source, destination port (3) },
 *                                    zone (3) }
 *  identifier (12) u32    zone (18) u16
 * ```
 * Ports, zones and identifiers are in
 * network order; what is deleted is named by the very octets that were listed.
 *
 * A host may track hundreds of thousands: the list is read once, part by part, off the thread that
 * carries packets, and what is to go goes with the part that it came in, so that no more than a
 * part is held. A deletion without a tuple would be one of everything; none is sent.
 */
import type { Family } from '../address.ts'
import { attributesOf, Flag, Message } from './netlink_message.ts'
import { fail, NetlinkSocket } from './netlink_socket.ts'

const NETLINK_NETFILTER = 12
const Type = { Get: 0x101, Delete: 0x102 } as const
const BODY_BYTES = 4
const NESTED = 0x8000
const Attribute = { Original: 1, Identifier: 12, Zone: 18 } as const
const Tuple = { Addresses: 1, Protocol: 2 } as const
const DESTINATION = { 4: 2, 6: 4 } as const
const Protocol = { Number: 1, DestinationPort: 3 } as const
const AF_INET = 2
const AF_INET6 = 10
const ENOENT = 2

/** What the first packet of a connection asked for. */
export interface Asked {
  readonly family: Family
  /** Four octets, or sixteen. */
  readonly address: Uint8Array
  /** IP protocol number. */
  readonly protocol: number
  /** 0: a protocol without ports. */
  readonly port: number
}

/**
 * Have the kernel forget connections of the namespace that the thread is in: their next packets
 * are first ones, and meet the rules of now.
 *
 * @returns how many there were.
 * @throws StackError `syscall`: the kernel has no ctnetlink, or does not let us.
 */
export async function forget(isStale: (asked: Asked) => boolean): Promise<number> {
  const list = new NetlinkSocket(NETLINK_NETFILTER)
  let knife: NetlinkSocket | undefined
  let count = 0
  try {
    const second = new NetlinkSocket(NETLINK_NETFILTER)
    knife = second
    const request = new Message(Type.Get, Flag.Dump).u8(0).u8(0).u16(0)
    const { code } = await list.exchangeAway(request, (body) => {
      const asked = parse(body)
      if (asked !== undefined && isStale(asked)) count += remove(second, body)
    })
    fail(code, 'list tracked connections')
    return count
  } finally {
    list.close()
    knife?.close()
  }
}

/** Undefined: not of IP. */
function parse(body: Uint8Array): Asked | undefined {
  const family = body[0] === AF_INET ? 4 : body[0] === AF_INET6 ? 6 : undefined
  const tuple = nested(attributesOf(body, BODY_BYTES), Attribute.Original)
  const address = family && nested(tuple, Tuple.Addresses).get(DESTINATION[family])
  const protocol = nested(tuple, Tuple.Protocol)
  const number = protocol.get(Protocol.Number)?.[0]
  if (family === undefined || address === undefined || number === undefined) return undefined
  const [high = 0, low = 0] = protocol.get(Protocol.DestinationPort) ?? []
  return { family, address, protocol: number, port: (high << 8) | low }
}

/** 1, or 0 if it has ended by itself. */
function remove(knife: NetlinkSocket, body: Uint8Array): number {
  const attributes = attributesOf(body, BODY_BYTES)
  const original = attributes.get(Attribute.Original)
  if (original === undefined) return 0
  const message = new Message(Type.Delete, 0).u8(body[0]!).u8(0).u16(0)
  message.attribute(Attribute.Original | NESTED, original)
  for (const type of [Attribute.Identifier, Attribute.Zone]) {
    const value = attributes.get(type)
    if (value !== undefined) message.attribute(type, value)
  }
  const { code } = knife.exchange(message)
  if (code === -ENOENT) return 0
  fail(code, 'delete a tracked connection')
  return 1
}

function nested(
  attributes: ReadonlyMap<number, Uint8Array>,
  type: number,
): Map<number, Uint8Array> {
  return attributesOf(attributes.get(type) ?? new Uint8Array(), 0)
}
