import { beforeEach, expect, test } from 'vitest'
import { parseAddress, parsePrefix } from '../../stack/address.ts'
import { sum } from '../../stack/checksum.ts'
import type { RouterInterface } from '../../stack/ip/router_interface.ts'
import {
  A4,
  A6,
  B4,
  B6,
  echo4,
  echo6,
  icmp6,
  ip4,
  ip6,
  ipOf,
  isTransportIntact,
  Lab,
  octets,
  pattern,
  tcp,
  twoNetworks,
  u16,
  u32,
  udp,
} from './lab.ts'

let lab: Lab
let front: RouterInterface
let back: RouterInterface

beforeEach(() => {
  ;({ lab, front, back } = twoNetworks())
})

/** Send, and read the error that comes back about it: type, code, and the 32 bits after. */
function error4(packet: Uint8Array, speaker = '10.1.0.1'): number[] {
  lab.ip(front, packet)
  const sent = lab.one()
  expect(sent.leg).toBe('front')
  const error = ipOf(sent)
  expect(error.slice(12, 20)).toEqual(Uint8Array.of(...octets(speaker), ...octets(A4)))
  expect([error[1], error[8], error[9]]).toEqual([0xc0 | (packet[1]! & 0x1e), 64, 1])
  expect(sum(error, 0, 20)).toBe(0xffff)
  expect(sum(error, 20, error.length - 20)).toBe(0xffff)
  expect(error.length).toBe(Math.min(28 + packet.length, 576))
  expect(error.slice(28)).toEqual(packet.slice(0, error.length - 28))
  return [error[20]!, error[21]!, u32(error, 24)]
}

function error6(packet: Uint8Array, speaker = 'fd00:1::1'): number[] {
  lab.ip(front, packet)
  const error = ipOf(lab.one())
  expect(error.slice(8, 40)).toEqual(Uint8Array.of(...octets(speaker), ...octets(A6)))
  expect([error[6], error[7]]).toEqual([58, 64])
  expect(isTransportIntact(error)).toBe(true)
  expect(error.length).toBe(Math.min(48 + packet.length, 1280))
  expect(error.slice(48)).toEqual(packet.slice(0, error.length - 48))
  return [error[40]!, error[41]!, u32(error, 44)]
}

const port = { to: 33_434 }

test('each refusal has its type and code, from the gateway of the sender', () => {
  expect(error4(udp({ from: A4, to: B4, ttl: 1 }, port, pattern(9)))).toEqual([11, 0, 0])
  expect(error4(udp({ from: A4, to: B4, ttl: 0 }, port, pattern(900)))).toEqual([11, 0, 0])
  expect(error4(udp({ from: A4, to: '192.0.2.1' }, port, pattern(9)))).toEqual([3, 0, 0])
  expect(error4(udp({ from: A4, to: '10.1.0.1' }, port, pattern(9)))).toEqual([3, 3, 0])
  expect(error4(ip4({ from: A4, to: '10.1.0.1', protocol: 132 }, pattern(9)))).toEqual([3, 2, 0])
  const big = tcp({ from: A4, to: B4, fragment: 0x4000 }, { to: 80, flags: 16 }, pattern(1400))
  expect(error4(big)).toEqual([3, 4, 1400])

  expect(error6(udp({ from: A6, to: B6, hops: 1 }, port, pattern(9)))).toEqual([3, 0, 0])
  expect(error6(udp({ from: A6, to: '2001:db8::1' }, port, pattern(9)))).toEqual([1, 0, 0])
  expect(error6(udp({ from: A6, to: 'fd00:1::1' }, port, pattern(9)))).toEqual([1, 4, 0])
  expect(error6(ip6({ from: A6, to: 'fd00:1::1', next: 132 }, pattern(9)))).toEqual([4, 1, 6])
  expect(error6(udp({ from: A6, to: B6 }, port, pattern(1400)))).toEqual([2, 0, 1400])
  expect(lab.drops()).toEqual({
    'ttl-exceeded': 3,
    'no-route': 2,
    'port-unreachable': 2,
    'protocol-unreachable': 2,
    'mtu-exceeded': 2,
  })
  lab.end()
})

test('a packet to one address of the router is answered from that address', () => {
  lab.ip(front, udp({ from: A4, to: '10.2.0.1' }, port, pattern(9)))
  expect(ipOf(lab.one()).slice(12, 16)).toEqual(octets('10.2.0.1'))
  lab.ip(front, udp({ from: A6, to: 'fd00:2::1' }, port, pattern(9)))
  expect(ipOf(lab.one()).slice(8, 24)).toEqual(octets('fd00:2::1'))
  const more = lab.leg('more', ['10.3.0.1/24', '10.3.1.1/24'])
  lab.host(more, '10.3.0.5')
  lab.ip(more, udp({ from: '10.3.0.5', to: '10.3.1.1' }, port, pattern(9)))
  expect(ipOf(lab.one()).slice(12, 16)).toEqual(octets('10.3.1.1'))
  lab.end()
})

test('malformed IPv4 options are pointed at, unless the packet was for everybody', () => {
  const cases = [
    { options: Uint8Array.of(148, 9, 0, 0), pointer: 20 },
    { options: Uint8Array.of(148, 0, 0, 0), pointer: 20 },
    { options: Uint8Array.of(1, 1, 1, 148), pointer: 23 },
    { options: Uint8Array.of(148, 4, 0, 0, 1, 7, 1, 0), pointer: 25 },
  ]
  for (const { options, pointer } of cases) {
    for (const to of [B4, '10.1.0.1', '192.0.2.1']) {
      expect(error4(ip4({ from: A4, to, options }, pattern(8)))).toEqual([12, 0, pointer * 2 ** 24])
    }
    for (const to of ['255.255.255.255', '10.1.0.255']) {
      lab.ip(front, ip4({ from: A4, to, options }, pattern(8)))
    }
  }
  expect(lab.take()).toEqual([])
  expect(lab.drops()).toEqual({ 'ip-options': 20 })
  lab.end()
})

test('an error keeps the type of service of its packet, without the congestion marks', () => {
  const packet = udp({ from: A4, to: B4, ttl: 1, tos: 0xff }, port, pattern(9))
  expect(error4(packet)).toEqual([11, 0, 0])
  lab.end()
})

test('a link-local source that wants to leave its link is told (RFC 4443 §3.1)', () => {
  lab.host(front, 'fe80::5')
  lab.ip(front, udp({ from: 'fe80::5', to: B6 }, port, pattern(9)))
  const error = ipOf(lab.one())
  expect([error[40], error[41]]).toEqual([1, 2])
  expect(error.slice(8, 40)).toEqual(
    Uint8Array.of(...octets('fe80::aff:fe00:66'), ...octets('fe80::5')),
  )
  expect(lab.drops()).toEqual({ 'ip-martian': 1 })
  lab.end()
})

test('extension headers that may not be passed over are told about', () => {
  const segments = Uint8Array.of(17, 0, 0, 1, 0, 0, 0, 0)
  expect(error6(ip6({ from: A6, to: 'fd00:1::1', next: 43 }, segments))).toEqual([4, 0, 42])
  const must = Uint8Array.of(17, 0, 1, 0, 0x80, 2, 0, 0)
  expect(error6(ip6({ from: A6, to: 'fd00:1::1', next: 60 }, must))).toEqual([4, 2, 44])
  const quiet = Uint8Array.of(17, 0, 1, 0, 0x40, 2, 0, 0)
  lab.ip(front, ip6({ from: A6, to: 'fd00:1::1', next: 60 }, quiet))
  const cut = Uint8Array.of(17, 0, 1, 9, 0, 0, 0, 0)
  lab.ip(front, ip6({ from: A6, to: 'fd00:1::1', next: 60 }, cut))
  expect(lab.take()).toEqual([])
  const nothing = Uint8Array.of(59, 0, 1, 4, 0, 0, 0, 0)
  lab.ip(front, ip6({ from: A6, to: 'fd00:1::1', next: 60 }, nothing))
  expect(lab.drops()).toEqual({ 'ip-options': 4, delivered: 1 })
  lab.end()
})

test('a next hop that does not answer is told about, by both families', () => {
  lab.ip(front, udp({ from: A4, to: '10.2.0.99', ttl: 9 }, port, pattern(9)))
  lab.ip(front, udp({ from: A6, to: 'fd00:2::99', hops: 9 }, port, pattern(9)))
  lab.run(10_000)
  const errors = lab.take().filter(({ leg }) => leg === 'front')
  const [four, six] = errors.map(ipOf).sort((a, b) => a[0]! - b[0]!)
  expect(errors.length).toBe(2)
  expect([four![20], four![21], six![40], six![41]]).toEqual([3, 1, 1, 3])
  expect(lab.drops()).toEqual({ 'neighbor-failed': 2 })
  lab.end()
})

test('silence is kept where RFC 1812 §4.3.2.7 and RFC 4443 §2.4 want it', () => {
  lab.ip(front, ip4({ from: A4, to: B4, protocol: 1, ttl: 1 }, Uint8Array.of(3, 1, 0, 0)))
  lab.ip(front, ip4({ from: A4, to: B4, protocol: 1, ttl: 1 }, Uint8Array.of(11, 0, 0, 0)))
  lab.ip(front, ip4({ from: A4, to: B4, protocol: 1, ttl: 1 }, Uint8Array.of()))
  lab.ip(front, ip4({ from: A4, to: B4, ttl: 1, fragment: 0x2001 }, pattern(16)))
  lab.ip(front, icmp6({ from: A6, to: B6, hops: 1 }, Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0)))
  const later = Uint8Array.of(17, 0, 0, 9, 0, 0, 0, 1, ...pattern(16))
  lab.ip(front, ip6({ from: A6, to: B6, hops: 1, next: 44 }, later))
  const piece = Uint8Array.of(58, 0, 0, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0)
  lab.ip(front, ip6({ from: A6, to: B6, hops: 1, next: 44 }, piece))
  expect(lab.take()).toEqual([])
  expect(lab.drops()).toEqual({ 'ttl-exceeded': 7 })
  lab.ip(front, echo4({ from: A4, to: B4, ttl: 1 }, pattern(4)))
  lab.ip(front, echo6({ from: A6, to: B6, hops: 1 }, pattern(4)))
  lab.ip(front, ip4({ from: A4, to: B4, ttl: 1, fragment: 0x2000 }, pattern(16)))
  expect(lab.take().length).toBe(3)
  lab.end()
})

test('errors come at a rate, on each interface for itself', () => {
  lab.end()
  lab = new Lab({ icmpPerS: 10 })
  front = lab.leg('front', ['10.1.0.1/24'])
  back = lab.leg('back', ['10.2.0.1/24'])
  lab.host(front, A4)
  lab.host(back, B4)
  const probe = udp({ from: A4, to: B4, ttl: 1 }, port, pattern(4))
  for (let i = 0; i < 25; i++) lab.ip(front, probe)
  expect(lab.take().length).toBe(10)
  lab.ip(back, udp({ from: B4, to: A4, ttl: 1 }, port, pattern(4)))
  expect(lab.one().leg).toBe('back')
  lab.run(300)
  for (let i = 0; i < 25; i++) lab.ip(front, probe)
  expect(lab.take().length).toBe(3)
  lab.ip(front, echo4({ from: A4, to: '10.1.0.1' }, pattern(4)))
  expect(lab.take().length).toBe(1)
  expect(lab.drops()).toEqual({ 'icmp-rate-limited': 37, 'ttl-exceeded': 14 })
  lab.end()
})

test('a super-frame that is too big is quoted as it is', () => {
  const packet = tcp({ from: A6, to: B6 }, { to: 80, flags: 16 }, pattern(5000))
  lab.ip(front, packet, { gsoType: 4, gsoSize: 1428, csumStart: 54, csumOffset: 16 })
  const error = ipOf(lab.one())
  expect([error[40], error[41], u32(error, 44)]).toEqual([2, 0, 1400])
  expect(error.slice(48)).toEqual(packet.slice(0, 1280 - 48))
  lab.end()
})

test('an error that the way back does not carry is fragmented', () => {
  lab.end()
  lab = new Lab()
  front = lab.leg('front', ['10.1.0.1/24'], { mtuBytes: 300 })
  lab.host(front, A4)
  lab.ip(front, udp({ from: A4, to: '192.0.2.1' }, port, pattern(600)))
  const pieces = lab.take().map(ipOf)
  expect(pieces.map((piece) => piece.length)).toEqual([300, 296])
  expect(pieces.map((piece) => u16(piece, 6))).toEqual([0x2000, 35])
  lab.end()
})

test('with no way back nothing is said', () => {
  const loose = lab.leg('loose', ['10.5.0.1/24'], { strictSource: false })
  lab.ip(loose, udp({ from: '198.51.100.3', to: B4, ttl: 1 }, port, pattern(4)))
  const via = parseAddress('10.5.0.9')
  lab.router.addRoute({ prefix: parsePrefix('192.0.2.0/24'), kind: 'static', via })
  lab.router.addRoute({ prefix: parsePrefix('192.0.2.0/25'), kind: 'blackhole' })
  lab.ip(loose, udp({ from: '192.0.2.3', to: B4, ttl: 1 }, port, pattern(4)))
  expect(lab.take()).toEqual([])
  expect(lab.drops()).toEqual({ 'ttl-exceeded': 2 })
  lab.end()
})
