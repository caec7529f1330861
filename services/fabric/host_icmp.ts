/** What an in-memory host answers: echoes, and errors about datagrams that it cannot take. */
import { put16, put32, u8 } from '../../stack/bytes.ts'
import { StackError } from '../../stack/errors.ts'
import { ipHeaderBytes } from '../../stack/ip/header.ts'
import * as icmp from '../../stack/ip/icmp.ts'
import { Protocol } from '../../stack/ip/ipv4.ts'
import * as ipv6 from '../../stack/ip/ipv6.ts'
import type { IpHost, Plan } from './ip_host.ts'
import { compose, type Heading, isUnicast, sealIcmp } from './wire.ts'

const TTL = 64
/** Largest error, IP header included (RFC 1812 §4.3.2.3, RFC 4443 §2.4 c). */
const ERROR4_BYTES = 576

/** What nobody takes. */
type Why = 'port' | 'protocol'

function typeAndCode(why: Why, four: boolean): number {
  if (four) return (icmp.Type4.Unreachable << 8) | icmp.Code4[why === 'port' ? 'Port' : 'Protocol']
  if (why === 'port') return (icmp.Type6.Unreachable << 8) | icmp.Code6.Port
  return (icmp.Type6.ParameterProblem << 8) | 1
}

/** The way back to the sender; undefined if there is none. */
function planBack(host: IpHost, { from, to }: Heading): Plan | undefined {
  try {
    const plan = host.plan(from)
    return isUnicast(to) ? { ...plan, from: to } : plan
  } catch (error) {
    if (error instanceof StackError) return undefined
    throw error
  }
}

/** Answer an echo request; not one to an IPv4 group (RFC 1122 §3.2.2.6 leaves it open). */
export function answerEcho(host: IpHost, heading: Heading): void {
  const { from, at, bytes, to } = heading
  const four = to.family === 4
  const plan = four && !isUnicast(to) ? undefined : planBack(host, heading)
  if (plan === undefined) return
  const { mem } = host.pool
  const packet = compose(host.pool, {
    from: plan.from,
    to: from,
    protocol: four ? Protocol.Icmp : Protocol.Icmp6,
    ttl: TTL,
    dontFragment: false,
    id: host.nextId(),
    bytes,
  })
  if (packet === undefined) return
  const message = packet.head + ipHeaderBytes(from)
  mem.copyWithin(message, at, at + bytes)
  put16(mem, message, (four ? icmp.Type4.EchoReply : icmp.Type6.EchoReply) << 8)
  sealIcmp(mem, packet.head, message, bytes)
  host.transmit(packet, plan)
}

/**
 * Tell the sender of the datagram whose IP header is at `ip` that nobody here takes it.
 * Precondition: it is whole and was sent to this host alone.
 */
export function complain(host: IpHost, ip: number, heading: Heading, why: Why): void {
  const plan = planBack(host, heading)
  if (plan === undefined) return
  const { from, at, bytes } = heading
  const { mem } = host.pool
  const four = from.family === 4
  const most = (four ? ERROR4_BYTES : ipv6.MIN_MTU_BYTES) - ipHeaderBytes(from) - icmp.HEADER_BYTES
  const quoted = Math.min(at + bytes - ip, most)
  const packet = compose(host.pool, {
    from: plan.from,
    to: from,
    protocol: four ? Protocol.Icmp : Protocol.Icmp6,
    ttl: TTL,
    dontFragment: false,
    id: host.nextId(),
    bytes: icmp.HEADER_BYTES + quoted,
  })
  if (packet === undefined) return
  const message = packet.head + ipHeaderBytes(from)
  put16(mem, message, typeAndCode(why, four))
  put32(mem, message + icmp.REST, four || why === 'port' ? 0 : nextFieldOffset(mem, ip, heading))
  mem.copyWithin(message + icmp.HEADER_BYTES, ip, ip + quoted)
  sealIcmp(mem, packet.head, message, icmp.HEADER_BYTES + quoted)
  host.transmit(packet, plan)
}

/** Where the octet is that names the protocol, from the IPv6 header (RFC 4443 §3.4). */
function nextFieldOffset(mem: Uint8Array, ip: number, { at }: Heading): number {
  let field = ipv6.NEXT
  for (let header = ip + ipv6.HEADER_BYTES; header < at; header += 8 + 8 * u8(mem, header + 1)) {
    field = header - ip
  }
  return field
}
