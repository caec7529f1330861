import { beforeEach, expect, test } from 'vitest'
import { parseAddress, parsePrefix } from '../../stack/address.ts'
import { sum } from '../../stack/checksum.ts'
import { StackError } from '../../stack/errors.ts'
import { formatMac, mac } from '../../stack/eth/mac.ts'
import type { RouterInterface } from '../../stack/ip/router_interface.ts'
import {
  A4,
  A6,
  B4,
  B6,
  echo4,
  frame,
  HOST_MAC,
  ip4,
  ip6,
  ipOf,
  isTransportIntact,
  type Lab,
  pattern,
  pseudo,
  tcp,
  twoNetworks,
  u16,
  udp,
} from './lab.ts'

let lab: Lab
let front: RouterInterface
let back: RouterInterface

beforeEach(() => {
  ;({ lab, front, back } = twoNetworks())
})

test('IPv4 goes to the next network with one hop less and its checksum mended', () => {
  const packet = udp({ from: A4, to: B4 }, { to: 53 }, pattern(100))
  lab.ip(front, packet)
  const { leg, bytes } = lab.one()
  expect(leg).toBe('back')
  expect(formatMac(mac(bytes, 0))).toBe(formatMac(HOST_MAC))
  expect(formatMac(mac(bytes, 6))).toBe(formatMac(back.mac))
  const out = bytes.slice(14)
  expect(out[8]).toBe(63)
  expect(sum(out, 0, 20)).toBe(0xffff)
  expect(out.slice(12)).toEqual(packet.slice(12))
  lab.end()
})

test('IPv6 goes to the next network with one hop less', () => {
  const packet = udp({ from: A6, to: B6 }, { to: 53 }, pattern(100))
  lab.ip(front, packet)
  const out = ipOf(lab.one())
  expect(out[7]).toBe(63)
  out[7] = 64
  expect(out).toEqual(packet)
  lab.end()
})

test('padding of short frames is not forwarded', () => {
  const short = frame(front.mac, udp({ from: A4, to: B4 }, { to: 53 }, pattern(2)))
  const padded = new Uint8Array(60)
  padded.set(short)
  lab.receive(front, padded)
  expect(lab.one().bytes.length).toBe(14 + 20 + 8 + 2)
  lab.end()
})

test('what a router must not let pass ends with its reason', () => {
  const data = pattern(10)
  const to = { to: 53 }
  const cases: readonly [string, Uint8Array][] = [
    ['ip-martian', udp({ from: '127.0.0.1', to: B4 }, to, data)],
    ['ip-martian', udp({ from: '0.0.0.0', to: B4 }, to, data)],
    ['ip-martian', udp({ from: '224.0.0.1', to: B4 }, to, data)],
    ['ip-martian', udp({ from: '240.0.0.1', to: B4 }, to, data)],
    ['ip-martian', udp({ from: '255.255.255.255', to: B4 }, to, data)],
    ['ip-martian', udp({ from: '10.1.0.255', to: B4 }, to, data)],
    ['ip-martian', udp({ from: A4, to: '127.0.0.1' }, to, data)],
    ['ip-martian', udp({ from: A4, to: '0.1.2.3' }, to, data)],
    ['ip-martian', udp({ from: A4, to: '250.0.0.1' }, to, data)],
    ['ip-spoofed', udp({ from: '10.2.0.9', to: B4 }, to, data)],
    ['ip-spoofed', udp({ from: '192.0.2.1', to: B4 }, to, data)],
    ['ip-spoofed', udp({ from: '10.1.0.1', to: B4 }, to, data)],
    ['ip-multicast', udp({ from: A4, to: '239.1.2.3' }, to, data)],
    ['ip-broadcast', udp({ from: A4, to: '10.2.0.255' }, to, data)],
    ['ip-broadcast', udp({ from: A4, to: '10.2.0.0' }, to, data)],
    ['ip-martian', udp({ from: '::1', to: B6 }, to, data)],
    ['ip-martian', udp({ from: '::', to: B6 }, to, data)],
    ['ip-martian', udp({ from: 'ff02::1', to: B6 }, to, data)],
    ['ip-martian', udp({ from: '::ffff:10.1.0.11', to: B6 }, to, data)],
    ['ip-martian', udp({ from: A6, to: '::1' }, to, data)],
    ['ip-martian', udp({ from: A6, to: 'fe80::5' }, to, data)],
    ['ip-spoofed', udp({ from: 'fd00:2::9', to: B6 }, to, data)],
    ['ip-multicast', udp({ from: A6, to: 'ff05::2' }, to, data)],
  ]
  const expected: Record<string, number> = {}
  for (const [reason, packet] of cases) {
    lab.ip(front, packet)
    expected[reason] = (expected[reason] ?? 0) + 1
    expect([reason, lab.drops()]).toEqual([reason, expected])
  }
  expect(lab.take()).toEqual([])
  lab.end()
})

test('headers that are wrong are refused, at every length', () => {
  const good = frame(front.mac, udp({ from: A4, to: B4 }, { to: 53 }, pattern(30)))
  const good6 = frame(front.mac, udp({ from: A6, to: B6 }, { to: 53 }, pattern(30)))
  for (const bytes of [good, good6]) {
    for (let length = 0; length < bytes.length; length++) {
      lab.receive(front, bytes.slice(0, length))
    }
  }
  const flipped = good.slice()
  flipped[14 + 10]! ^= 1
  lab.receive(front, flipped)
  const unknown = good.slice()
  unknown[12] = 0x99
  lab.receive(front, unknown)
  const other = good.slice()
  other[5]! ^= 0xff
  lab.receive(front, other)
  expect(lab.drops()).toEqual({
    'frame-runt': 28,
    'ip-malformed': good.length + good6.length - 28 + 1,
    'not-for-us': 2,
  })
  expect(lab.take()).toEqual([])
  lab.end()
})

test('unicast IP in a group frame is not forwarded', () => {
  const bytes = frame(
    { hi: 0xffff, lo: 0xffff_ffff },
    udp({ from: A4, to: B4 }, { to: 1 }, pattern(4)),
  )
  lab.receive(front, bytes)
  expect(lab.drops()).toEqual({ 'ip-broadcast': 1 })
  lab.end()
})

test('source routes are refused, other options pass', () => {
  const router = Uint8Array.of(148, 4, 0, 0)
  lab.ip(front, ip4({ from: A4, to: B4, options: router }, pattern(8)))
  expect(ipOf(lab.one())[20]).toBe(148)
  const refused = [
    Uint8Array.of(131, 7, 4, 10, 9, 9, 9, 0),
    Uint8Array.of(1, 137, 7, 4, 10, 9, 9, 9),
    Uint8Array.of(148, 4, 0, 0, 137, 4, 0, 0),
  ]
  for (const options of refused) lab.ip(front, ip4({ from: A4, to: B4, options }, pattern(8)))
  expect(lab.drops()).toEqual({ 'ip-options': refused.length })
  expect(lab.take()).toEqual([])
  lab.end()
})

test('separate networks are routed to others, and not to each other', () => {
  const [left, right] = ['10.10.0', '10.11.0'].map((net, i) => {
    const addresses = [`${net}.1/24`, `fd00:${10 + i}::1/64`]
    const leg = lab.leg(net, addresses, { separate: true })
    lab.host(leg, `${net}.5`)
    lab.host(leg, `fd00:${10 + i}::5`)
    return leg
  })
  lab.ip(left!, udp({ from: '10.10.0.5', to: '10.11.0.5' }, { to: 1 }, pattern(4)))
  lab.ip(right!, udp({ from: 'fd00:11::5', to: 'fd00:10::5' }, { to: 1 }, pattern(4)))
  expect(lab.drops()).toEqual({ 'network-separate': 2 })
  expect(lab.take()).toEqual([])
  for (const [from, packet] of [
    [left!, udp({ from: '10.10.0.5', to: B4 }, { to: 1 }, pattern(4))],
    [front, udp({ from: A4, to: '10.11.0.5' }, { to: 1 }, pattern(4))],
    [left!, udp({ from: '10.10.0.5', to: '10.10.0.5' }, { to: 1 }, pattern(4))],
    [left!, echo4({ from: '10.10.0.5', to: '10.11.0.1' }, pattern(4))],
  ] as const) {
    lab.ip(from, packet)
    expect(lab.take()).toHaveLength(1)
  }
  lab.end()
})

test('an internal network is routed neither to nor from, but its gateway answers it', () => {
  const vault = lab.leg('vault', ['10.9.0.1/24', 'fd00:9::1/64'], { internal: true })
  lab.host(vault, '10.9.0.5')
  lab.ip(front, udp({ from: A4, to: '10.9.0.5' }, { to: 1 }, pattern(4)))
  lab.ip(front, echo4({ from: A4, to: '10.9.0.1' }, pattern(4)))
  lab.ip(vault, udp({ from: '10.9.0.5', to: B4 }, { to: 1 }, pattern(4)))
  lab.ip(vault, udp({ from: '10.9.0.5', to: '198.51.100.1' }, { to: 1 }, pattern(4)))
  lab.ip(vault, echo4({ from: '10.9.0.5', to: '10.1.0.1' }, pattern(4)))
  lab.ip(vault, udp({ from: 'fd00:9::5', to: B6 }, { to: 1 }, pattern(4)))
  expect(lab.drops()).toEqual({ 'network-internal': 6 })
  expect(lab.take()).toEqual([])
  lab.ip(vault, echo4({ from: '10.9.0.5', to: '10.9.0.1' }, pattern(4)))
  expect(lab.one().leg).toBe('vault')
  lab.end()
})

test('super-frames are routed whole, with their facts', () => {
  const packet = tcp({ from: A4, to: B4, fragment: 0x4000 }, { to: 80, flags: 0x10 }, pattern(9000))
  const facts = { gsoType: 1, gsoSize: 1360, csumStart: 34, csumOffset: 16 }
  lab.ip(front, packet, facts)
  const sent = lab.one()
  expect(sent.bytes.length).toBe(14 + packet.length)
  expect({ ...sent, leg: '', bytes: null }).toEqual({ ...facts, leg: '', bytes: null })
  const packet6 = tcp({ from: A6, to: B6 }, { to: 80, flags: 0x10 }, pattern(9000))
  const facts6 = { gsoType: 4, gsoSize: 1340, csumStart: 54, csumOffset: 16 }
  lab.ip(front, packet6, facts6)
  expect(lab.one().gsoSize).toBe(1340)
  lab.end()
})

test('a super-frame is too big when its segments are', () => {
  const packet = tcp({ from: A4, to: B4, fragment: 0x4000 }, { to: 80, flags: 0x10 }, pattern(9000))
  lab.ip(front, packet, { gsoType: 1, gsoSize: 1460, csumStart: 34, csumOffset: 16 })
  const error = lab.one()
  expect(error.leg).toBe('front')
  expect([...ipOf(error).slice(20, 22), u16(ipOf(error), 26)]).toEqual([3, 4, 1400])
  lab.ip(front, packet, { gsoType: 1, gsoSize: 0, csumStart: 34, csumOffset: 16 })
  lab.ip(front, packet, { gsoType: 1, gsoSize: 1360, csumStart: 0, csumOffset: 16 })
  lab.ip(front, packet, { gsoType: 1, gsoSize: 1360, csumStart: 40, csumOffset: 16 })
  lab.ip(front, packet, { gsoType: 0, gsoSize: 0, csumStart: 20, csumOffset: 16 })
  expect(lab.drops()).toEqual({ 'mtu-exceeded': 1, 'frame-offload-bad': 4 })
  lab.end()
})

test('a super-frame that may be fragmented is cut into segments, and these into fragments', () => {
  const header = { from: A4, to: B4, protocol: 17, id: 100 }
  const packet = udp(header, { to: 4000 }, pattern(4416))
  const pseudoSum = pseudo(header, packet.length - 20)
  packet.set([pseudoSum >>> 8, pseudoSum & 0xff], 26)
  lab.ip(front, packet, { gsoType: 5, gsoSize: 1472, csumStart: 34, csumOffset: 6 })
  const sent = lab.take().map(ipOf)
  expect(sent.length).toBe(6)
  for (let i = 0; i < 3; i++) {
    const [first, rest] = [sent[2 * i]!, sent[2 * i + 1]!]
    expect(u16(first, 4)).toBe(100 + i)
    expect([u16(first, 6), u16(rest, 6)]).toEqual([0x2000, (first.length - 20) / 8])
    const whole = new Uint8Array([...first, ...rest.slice(20)])
    expect(whole.length).toBe(1500)
    expect(isTransportIntact(whole)).toBe(true)
    expect(whole.slice(28)).toEqual(pattern(4416).slice(1472 * i, 1472 * (i + 1)))
  }
  lab.end()
})

test('IPv4 that may be fragmented is, and a partial checksum is summed before', () => {
  const header = { from: A4, to: B4, protocol: 17 }
  const packet = udp(header, { to: 4000 }, pattern(1470))
  const pseudoSum = pseudo(header, packet.length - 20)
  packet.set([pseudoSum >>> 8, pseudoSum & 0xff], 26)
  lab.ip(front, packet, { csumStart: 34, csumOffset: 6 })
  const [first, rest] = lab.take()
  expect(first!.csumStart).toBe(0)
  const whole = new Uint8Array([...ipOf(first!), ...ipOf(rest!).slice(20)])
  expect(isTransportIntact(whole)).toBe(true)
  lab.end()
})

test('static routes lead on through a next router, blackholes nowhere', () => {
  lab.router.addRoute({ prefix: parsePrefix('0.0.0.0/0'), kind: 'static', via: parseAddress(B4) })
  lab.router.addRoute({ prefix: parsePrefix('192.0.2.0/24'), kind: 'blackhole' })
  lab.ip(front, udp({ from: A4, to: '198.51.100.7' }, { to: 1 }, pattern(4)))
  expect(formatMac(mac(lab.one().bytes, 0))).toBe(formatMac(HOST_MAC))
  lab.ip(front, udp({ from: A4, to: '192.0.2.7' }, { to: 1 }, pattern(4)))
  expect(lab.drops()).toEqual({ 'route-blackhole': 1 })
  lab.ip(back, udp({ from: '198.51.100.7', to: A4 }, { to: 1 }, pattern(4)))
  expect(lab.one().leg).toBe('front')
  expect(lab.router.routes().map(({ kind }) => kind)).toEqual([
    'static',
    'connected',
    'connected',
    'blackhole',
    'connected',
    'connected',
  ])
  lab.end()
})

test('a static route waits while its network is away', () => {
  const prefix = parsePrefix('0.0.0.0/0')
  const routes = (): number => lab.router.routes().filter(({ kind }) => kind === 'static').length
  lab.router.addRoute({ prefix, kind: 'static', via: parseAddress(B4) })
  lab.router.removeInterface(back)
  expect(routes()).toBe(0)
  back = lab.leg('back', ['10.2.0.1/24'])
  expect(routes()).toBe(1)
  lab.router.removeInterface(back)
  lab.router.removeRoute(prefix)
  lab.leg('back', ['10.2.0.1/24'])
  expect(routes()).toBe(0)
  lab.end()
})

test('configuration that cannot be is refused, and leaves nothing', () => {
  const { router } = lab
  const before = router.routes().length
  expect(() => lab.leg('other', ['10.1.0.7/24'])).toThrow(StackError)
  expect(() => lab.leg('other', ['fd00:1::1/64'])).toThrow(StackError)
  expect(() => lab.leg('other', ['fd00:7::1/64'], { mtuBytes: 1279 })).toThrow(/IPv6/)
  expect(() => lab.leg('other', ['10.7.0.1/24'], { mtuBytes: 67 })).toThrow(StackError)
  const search = { advertise: { dnsSearch: ['no spaces here'] } }
  expect(() => lab.leg('other', ['fd00:7::1/64'], search)).toThrow(/domain/)
  const prefix = parsePrefix('192.0.2.0/24')
  const via = parseAddress('198.51.100.1')
  expect(() => router.addRoute({ prefix, kind: 'static', via })).toThrow(/no network/)
  expect(() => router.addRoute({ prefix, kind: 'connected' })).toThrow(StackError)
  expect(() => router.addRoute({ prefix, kind: 'static', via: parseAddress(B6) })).toThrow(/family/)
  expect(() => router.addRoute({ prefix, kind: 'static', via: parseAddress('10.1.0.1') })).toThrow()
  expect(router.routes().length).toBe(before)
  expect(router.interfaces().length).toBe(2)
  lab.end()
})

test('a leg that is gone takes nothing any more', () => {
  lab.router.removeInterface(back)
  lab.router.removeInterface(back)
  lab.ip(back, udp({ from: B4, to: A4 }, { to: 1 }, pattern(4)))
  lab.ip(front, udp({ from: A4, to: B4 }, { to: 1 }, pattern(4)))
  expect(lab.drops()).toEqual({ 'device-down': 1, 'no-route': 1 })
  expect(lab.one().leg).toBe('front')
  lab.end()
})

test('without strict reverse path other sources pass', () => {
  const loose = lab.leg('loose', ['10.5.0.1/24'], { strictSource: false })
  lab.ip(loose, udp({ from: '192.0.2.9', to: B4 }, { to: 1 }, pattern(4)))
  expect(lab.one().leg).toBe('back')
  lab.end()
})

test('a traced packet tells its way and changes nothing', () => {
  const steps = lab.trace(front, udp({ from: A4, to: B4 }, { to: 53 }, pattern(10)))
  expect(steps).toEqual([
    'router: the source is routed back through front',
    'router: route 10.2.0.0/24, connected',
    'router: 38 octets to back (10.2.0.1/24, fd00:2::1/64, fe80::aff:fe00:62/64), on the link',
    'neighbors back: 10.2.0.22 is at 02:00:00:00:00:aa (permanent)',
    'transmitted: back',
  ])
  const ttl = lab.trace(front, udp({ from: A4, to: B4, ttl: 1 }, { to: 53 }, pattern(10)))
  expect(ttl.slice(2)).toEqual([
    'router: would answer ICMP time exceeded from 10.1.0.1',
    'dropped: ttl-exceeded',
  ])
  const ping = lab.trace(front, echo4({ from: A4, to: '10.2.0.1' }, pattern(10)))
  expect(ping.at(-1)).toBe('consumed: would answer the echo request')
  const piece = lab.trace(front, ip4({ from: A4, to: '10.1.0.1', fragment: 0x2000 }, pattern(8)))
  expect(piece.at(-1)).toBe('consumed: would wait for the other fragments')
  const spoof = lab.trace(front, ip6({ from: 'fd00:2::9', to: B6 }, pattern(8)))
  expect(spoof).toEqual([
    'router: the source is not routed back through front',
    'dropped: ip-spoofed',
  ])
  expect(lab.drops()).toEqual({})
  expect(lab.take()).toEqual([])
  lab.end()
})
