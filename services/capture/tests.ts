/**
 * The primitives of capture filters: questions to a dissected frame, and how they combine.
 * Grammar and spelling are in filter.ts.
 */
import { type Address, isAt, parseAddress, parsePrefix, toBytes } from '../../stack/address.ts'
import * as arp from '../../stack/arp/message.ts'
import { StackError } from '../../stack/errors.ts'
import * as eth from '../../stack/eth/frame.ts'
import { isMacAt, parseMac } from '../../stack/eth/mac.ts'
import * as ipv4 from '../../stack/ip/ipv4.ts'
import * as ipv6 from '../../stack/ip/ipv6.ts'
import type { Dissection } from './dissect.ts'

export type Test = (frame: Dissection) => boolean

/** `any`: source or destination; `both`: source and destination. */
export type Direction = 'src' | 'dst' | 'any' | 'both'

const ETHER_TYPES: Record<string, number> = {
  ip: eth.EtherType.Ipv4,
  ip6: eth.EtherType.Ipv6,
  arp: eth.EtherType.Arp,
}

const IP_PROTOCOLS: Record<string, number> = {
  icmp: ipv4.Protocol.Icmp,
  icmp6: ipv4.Protocol.Icmp6,
  tcp: ipv4.Protocol.Tcp,
  udp: ipv4.Protocol.Udp,
}

export function and(a: Test, b: Test): Test {
  return (frame) => a(frame) && b(frame)
}

export function or(a: Test, b: Test): Test {
  return (frame) => a(frame) || b(frame)
}

export function not(a: Test): Test {
  return (frame) => !a(frame)
}

export const broadcast: Test = (f) => f.etherType >= 0 && eth.isBroadcast(f.mem, f.frame + eth.DST)
export const multicast: Test = (f) => f.etherType >= 0 && eth.isGroup(f.mem, f.frame + eth.DST)
export const tagged: Test = (frame) => frame.vid >= 0

export function vlan(vid: number): Test {
  return (frame) => frame.vid === vid
}

/** `less N` and `greater N` include N, as in pcap-filter. Octets of the frame. */
export function atMost(bytes: number): Test {
  return (frame) => frame.end - frame.frame <= bytes
}

export function atLeast(bytes: number): Test {
  return (frame) => frame.end - frame.frame >= bytes
}

/** `ip`, `arp`, `tcp` and so on by themselves. */
export function protocol(name: string): Test {
  const type = ETHER_TYPES[name]
  return type === undefined ? ipProtocol(IP_PROTOCOLS[name] ?? -1) : etherType(type)
}

/** A value with what stands before it. @throws StackError if they do not go together. */
export function value(
  qualifiers: { proto: string; direction: Direction; kind: string },
  text: string,
): Test {
  const { proto, direction, kind } = qualifiers
  if (kind === 'port' || kind === 'portrange') return ports(proto, direction, kind, text)
  if (kind === 'proto') return protocolNumber(proto, text)
  if (proto === 'ether' && kind === 'net') {
    throw new StackError('bad-argument', 'a net is ADDRESS/BITS of IP, without "ether"')
  }
  if (proto === 'ether') return hardware(direction, text)
  const wanted = kind === 'net' ? net(direction, text) : host(direction, parseAddress(text))
  return proto === '' ? wanted : and(protocol(proto), wanted)
}

function etherType(type: number): Test {
  return (frame) => frame.etherType === type
}

function ipProtocol(number: number): Test {
  return (frame) => frame.family !== 0 && frame.protocol === number
}

function protocolNumber(proto: string, text: string): Test {
  const ether = proto === 'ether'
  const named = (ether ? ETHER_TYPES : IP_PROTOCOLS)[text]
  const number = named ?? (/^(0x[0-9a-f]+|\d+)$/i.test(text) ? Number(text) : Number.NaN)
  if (!(number <= (ether ? 0xffff : 0xff))) {
    throw new StackError('bad-argument', `not ${ether ? 'an EtherType' : 'an IP protocol'}`)
  }
  if (ether) return etherType(number)
  return proto === '' ? ipProtocol(number) : and(protocol(proto), ipProtocol(number))
}

function hardware(direction: Direction, text: string): Test {
  const mac = parseMac(text)
  return directed(
    direction,
    (f) => f.etherType >= 0 && isMacAt(f.mem, f.frame + eth.SRC, mac),
    (f) => f.etherType >= 0 && isMacAt(f.mem, f.frame + eth.DST, mac),
  )
}

function host(direction: Direction, address: Address): Test {
  const bits = address.family === 4 ? 32 : 128
  return prefixed(direction, address, bits)
}

function net(direction: Direction, text: string): Test {
  // As in pcap-filter, a net without a length is one address.
  if (!text.includes('/')) return host(direction, parseAddress(text))
  const { address, bits } = parsePrefix(text)
  return prefixed(direction, address, bits)
}

/** Addresses of the IP header, or for IPv4 those that an ARP message speaks of. */
function prefixed(direction: Direction, address: Address, bits: number): Test {
  const bytes = toBytes(address)
  const whole = bits === bytes.length * 8
  const matches = (mem: Uint8Array, at: number): boolean =>
    whole ? isAt(mem, at, address) : samePrefix(mem, at, bytes, bits)
  if (address.family === 6) {
    return directed(
      direction,
      (f) => f.family === 6 && matches(f.mem, f.network + ipv6.SRC),
      (f) => f.family === 6 && matches(f.mem, f.network + ipv6.DST),
    )
  }
  const find = (f: Dissection, ipOffset: number, arpOffset: number): boolean => {
    if (f.family === 4) return matches(f.mem, f.network + ipOffset)
    return isArp(f) && matches(f.mem, f.network + arpOffset)
  }
  return directed(
    direction,
    (f) => find(f, ipv4.SRC, arp.SPA),
    (f) => find(f, ipv4.DST, arp.TPA),
  )
}

function isArp({ mem, network, end, etherType }: Dissection): boolean {
  return etherType === eth.EtherType.Arp && arp.isMessage(mem, network, end - network)
}

function samePrefix(mem: Uint8Array, at: number, bytes: Uint8Array, bits: number): boolean {
  const wholeBytes = bits >> 3
  for (let i = 0; i < wholeBytes; i++) if (mem[at + i] !== bytes[i]) return false
  const rest = bits & 7
  return (
    rest === 0 || ((mem[at + wholeBytes]! ^ bytes[wholeBytes]!) & (0xff00 >> rest) & 0xff) === 0
  )
}

function ports(proto: string, direction: Direction, kind: string, text: string): Test {
  if (proto !== '' && proto !== 'tcp' && proto !== 'udp') {
    throw new StackError('bad-argument', `"${proto}" has no ports; tcp and udp have`)
  }
  const pattern = kind === 'port' ? /^(\d{1,5})$/ : /^(\d{1,5})-(\d{1,5})$/
  const match = pattern.exec(text)
  const low = Number(match?.[1] ?? Number.NaN)
  const high = Number(match?.[2] ?? low)
  if (!(low <= high && high <= 65_535)) {
    throw new StackError('bad-argument', kind === 'port' ? 'not a port number' : 'not FIRST-LAST')
  }
  const wanted = directed(
    direction,
    (f) => f.srcPort >= low && f.srcPort <= high,
    (f) => f.dstPort >= low && f.dstPort <= high,
  )
  return proto === '' ? wanted : and(protocol(proto), wanted)
}

function directed(direction: Direction, source: Test, destination: Test): Test {
  if (direction === 'src') return source
  if (direction === 'dst') return destination
  return direction === 'any' ? or(source, destination) : and(source, destination)
}
