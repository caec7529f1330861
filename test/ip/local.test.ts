import fc from 'fast-check'
import { beforeEach, expect, test } from 'vitest'
import { sum } from '../../stack/checksum.ts'
import { StackError } from '../../stack/errors.ts'
import type { RouterInterface } from '../../stack/ip/router_interface.ts'
import type { Packet } from '../../stack/packet.ts'
import {
  echo4,
  echo6,
  frame,
  icmp6,
  ip4,
  ip6,
  ipOf,
  isTransportIntact,
  Lab,
  octets,
  pattern,
  pseudo,
  tcp,
  u16,
  u32,
  udp,
} from './lab.ts'

let lab: Lab
let front: RouterInterface

const A4 = '10.1.0.11'
const A6 = 'fd00:1::11'
const ALL_NODES = { hi: 0x3333, lo: 1 }
const BROADCAST = { hi: 0xffff, lo: 0xffff_ffff }

beforeEach(() => {
  lab = new Lab()
  front = lab.leg('front', ['10.1.0.1/24', 'fd00:1::1/64'])
  const back = lab.leg('back', ['10.2.0.1/24', 'fd00:2::1/64'])
  lab.host(front, A4)
  lab.host(front, A6)
  lab.host(front, 'fe80::11')
  lab.host(back, '10.2.0.22')
})

test('echo is answered from the address that was asked, any data and any own address', () => {
  const own = fc.constantFrom('10.1.0.1', '10.2.0.1')
  fc.assert(
    fc.property(own, fc.uint8Array({ maxLength: 1400 }), (to, data) => {
      lab.ip(front, echo4({ from: A4, to, ttl: 1 }, data))
      const reply = ipOf(lab.one())
      expect(reply.slice(12, 20)).toEqual(Uint8Array.of(...octets(to), ...octets(A4)))
      expect([reply[8], reply[9], reply[20]]).toEqual([64, 1, 0])
      expect(sum(reply, 0, 20)).toBe(0xffff)
      expect(sum(reply, 20, reply.length - 20)).toBe(0xffff)
      expect(reply.slice(24)).toEqual(Uint8Array.of(0x12, 0x34, 0, 1, ...data))
    }),
  )
  lab.end()
})

test('the echo of nothing but zeros has the checksum that the RFC says', () => {
  const message = Uint8Array.of(8, 0, 0xf7, 0xff, 0, 0, 0, 0)
  lab.ip(front, ip4({ from: A4, to: '10.1.0.1', protocol: 1 }, message))
  expect([...ipOf(lab.one()).slice(20)]).toEqual([0, 0, 0xff, 0xff, 0, 0, 0, 0])
  lab.end()
})

test('IPv6 echo is answered: to an address, to the link-local one, to all nodes', () => {
  lab.ip(front, echo6({ from: A6, to: 'fd00:1::1' }, pattern(999)))
  const reply = ipOf(lab.one())
  expect(reply.slice(8, 40)).toEqual(Uint8Array.of(...octets('fd00:1::1'), ...octets(A6)))
  expect(isTransportIntact(reply)).toBe(true)
  expect([reply[7], reply[40]]).toEqual([64, 129])
  lab.ip(front, echo6({ from: 'fe80::11', to: 'fe80::aff:fe00:66' }, pattern(3)))
  expect(ipOf(lab.one()).slice(8, 24)).toEqual(octets('fe80::aff:fe00:66'))
  lab.receive(front, frame(ALL_NODES, echo6({ from: 'fe80::11', to: 'ff02::1' }, pattern(3))))
  const all = ipOf(lab.one())
  expect(all.slice(8, 24)).toEqual(octets('fe80::aff:fe00:66'))
  expect(isTransportIntact(all)).toBe(true)
  lab.receive(front, frame(ALL_NODES, echo6({ from: A6, to: 'ff02::1' }, pattern(3))))
  expect(ipOf(lab.one()).slice(8, 24)).toEqual(octets('fd00:1::1'))
  lab.end()
})

test('a partial checksum stays one in the reply', () => {
  const packet = echo6({ from: A6, to: 'fd00:1::1' }, pattern(99))
  const partial = pseudo({ from: A6, to: 'fd00:1::1', protocol: 58 }, packet.length - 40)
  packet.set([partial >>> 8, partial & 0xff], 42)
  lab.ip(front, packet, { csumStart: 54, csumOffset: 2 })
  const sent = lab.one()
  expect([sent.csumStart, sent.csumOffset]).toEqual([54, 2])
  const reply = ipOf(sent)
  const total = ~sum(reply, 40, reply.length - 40) & 0xffff
  reply.set([total >>> 8, total & 0xff], 42)
  expect(isTransportIntact(reply)).toBe(true)
  lab.end()
})

test('options and extension headers are not returned', () => {
  const message = echo4({ from: A4, to: '10.1.0.1' }, pattern(5)).slice(20)
  const options = Uint8Array.of(7, 7, 4, 0, 0, 0, 0, 0)
  lab.ip(front, ip4({ from: A4, to: '10.1.0.1', protocol: 1, options }, message))
  const reply = ipOf(lab.one())
  expect([reply[0], u16(reply, 2)]).toEqual([0x45, 20 + 8 + 5])
  expect(sum(reply, 0, 20)).toBe(0xffff)
  expect(sum(reply, 20, 13)).toBe(0xffff)
  const inner = echo6({ from: A6, to: 'fd00:1::1' }, pattern(5)).slice(40)
  const hop = Uint8Array.of(58, 0, 1, 4, 0, 0, 0, 0)
  lab.ip(front, ip6({ from: A6, to: 'fd00:1::1', next: 0 }, Uint8Array.of(...hop, ...inner)))
  const reply6 = ipOf(lab.one())
  expect([reply6[6], u16(reply6, 4)]).toEqual([58, 13])
  expect(isTransportIntact(reply6)).toBe(true)
  lab.end()
})

test('broken messages to the router are counted', () => {
  const bad = echo4({ from: A4, to: '10.1.0.1' }, pattern(5))
  bad[22]! ^= 1
  lab.ip(front, bad)
  lab.ip(front, ip4({ from: A4, to: '10.1.0.1', protocol: 1 }, Uint8Array.of(8, 0, 0)))
  const bad6 = echo6({ from: A6, to: 'fd00:1::1' }, pattern(5))
  bad6[42]! ^= 1
  lab.ip(front, bad6)
  const badUdp = udp({ from: A4, to: '10.1.0.1' }, { to: 9 }, pattern(5))
  badUdp[27]! ^= 1
  lab.ip(front, badUdp)
  const longUdp = udp({ from: A4, to: '10.1.0.1' }, { to: 9 }, pattern(5))
  longUdp[25]! += 1
  lab.ip(front, longUdp)
  const badTcp = tcp({ from: A6, to: 'fd00:1::1' }, { to: 9, flags: 2 }, pattern(0))
  badTcp[57]! ^= 1
  lab.ip(front, badTcp)
  lab.ip(front, ip4({ from: A4, to: '10.1.0.1', protocol: 6 }, pattern(19)))
  lab.ip(front, ip6({ from: A6, to: 'fd00:1::1', next: 0 }, Uint8Array.of(58, 9, 0, 0, 0, 0, 0, 0)))
  expect(lab.drops()).toEqual({
    'icmp-malformed': 3,
    'transport-malformed': 4,
    'ip-malformed': 1,
  })
  expect(lab.take()).toEqual([])
  lab.end()
})

test('a service gets its datagrams whole, and others get port unreachable', () => {
  const got: string[] = []
  const receive = (packet: Packet, from: RouterInterface): void => {
    const { head, len } = packet
    got.push(`${from.name} ${Buffer.from(lab.pool.mem.slice(head + 42, head + len)).toString()}`)
    lab.pool.free(packet)
  }
  const stop = lab.router.bindUdp(53, receive)
  expect(() => lab.router.bindUdp(53, receive)).toThrow(StackError)
  lab.ip(front, udp({ from: A4, to: '10.1.0.1' }, { to: 53 }, Buffer.from('ask')))
  expect(got).toEqual(['front ask'])
  const zero = udp({ from: A4, to: '10.1.0.1' }, { to: 53 }, Buffer.from('sum'))
  zero.set([0, 0], 26)
  lab.ip(front, zero)
  const everyone = udp({ from: '0.0.0.0', to: '255.255.255.255' }, { to: 53 }, Buffer.from('all'))
  lab.receive(front, frame(BROADCAST, everyone))
  const subnet = udp({ from: A4, to: '10.1.0.255' }, { to: 53 }, Buffer.from('net'))
  lab.receive(front, frame(BROADCAST, subnet))
  expect(got).toEqual(['front ask', 'front sum', 'front all', 'front net'])
  const header = { from: A4, to: '10.1.0.1', protocol: 17 }
  const batch = udp(header, { to: 53 }, Buffer.from('onetwothr'))
  const partial = pseudo(header, batch.length - 20)
  batch.set([partial >>> 8, partial & 0xff], 26)
  got.length = 0
  lab.ip(front, batch, { gsoType: 5, gsoSize: 3, csumStart: 34, csumOffset: 6 })
  expect(got).toEqual(['front one', 'front two', 'front thr'])
  stop()
  expect(lab.take()).toEqual([])
  lab.ip(front, udp({ from: A4, to: '10.1.0.1' }, { to: 53 }, pattern(3)))
  expect([...ipOf(lab.one()).slice(20, 22)]).toEqual([3, 3])
  lab.receive(front, frame(BROADCAST, everyone))
  expect(lab.drops()).toEqual({ 'port-unreachable': 1, 'ip-broadcast': 1 })
  lab.end()
})

test('TCP is reset as RFC 9293 §3.5.2 says', () => {
  const cases = [
    { flags: 0x02, seq: 100, ack: 0, data: 0, out: [0x14, 0, 101] },
    { flags: 0x00, seq: 100, ack: 0, data: 7, out: [0x14, 0, 107] },
    { flags: 0x03, seq: 0xffff_ffff, ack: 0, data: 1, out: [0x14, 0, 2] },
    { flags: 0x10, seq: 100, ack: 0x9000_0000, data: 3, out: [0x04, 0x9000_0000, 0] },
    { flags: 0x18, seq: 100, ack: 7, data: 3, out: [0x04, 7, 0] },
  ]
  for (const [from, to] of [
    [A4, '10.1.0.1'],
    [A6, 'fd00:1::1'],
  ] as const) {
    for (const { flags, seq, ack, data, out } of cases) {
      const options = new Uint8Array(12).fill(1)
      lab.ip(
        front,
        tcp({ from, to }, { from: 40_000, to: 22, seq, ack, flags, options }, pattern(data)),
      )
      const reply = ipOf(lab.one())
      expect(isTransportIntact(reply)).toBe(true)
      const at = reply.length - 20
      expect([u16(reply, at), u16(reply, at + 2)]).toEqual([22, 40_000])
      expect([reply[at + 13], u32(reply, at + 4), u32(reply, at + 8)]).toEqual(out)
    }
    const marked = tcp({ from, to }, { to: 22, flags: 0x02 }, pattern(0))
    const six = from === A6
    if (six) marked.set([0x6b, 0xb1], 0)
    else
      marked.set(tcp({ from: A4, to: '10.1.0.1', tos: 0xbb }, { to: 22, flags: 0x02 }, pattern(0)))
    lab.ip(front, marked)
    const copied = ipOf(lab.one())
    expect(six ? u16(copied, 0) : copied[1]).toBe(six ? 0x6b80 : 0xb8)
    lab.ip(front, tcp({ from, to }, { to: 22, flags: 0x04 }, pattern(0)))
    expect(lab.take()).toEqual([])
  }
  expect(lab.drops()).toEqual({ 'port-unreachable': 14 })
  lab.end()
})

test('what is only heard is counted as delivered', () => {
  lab.ip(front, ip4({ from: A4, to: '10.1.0.1', protocol: 1 }, icmp4(0)))
  lab.ip(front, ip4({ from: A4, to: '10.1.0.1', protocol: 1 }, icmp4(3)))
  lab.ip(front, icmp6({ from: A6, to: 'fd00:1::1' }, Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0)))
  lab.ip(front, icmp6({ from: 'fe80::11', to: 'ff02::1' }, Uint8Array.of(134, 0, 0, 0, 0, 0, 0, 0)))
  const report = Uint8Array.of(143, 0, 0, 0, 0, 0, 0, 0)
  const mld = icmp6({ from: '::', to: 'ff02::16' }, report).slice(40)
  const hop = Uint8Array.of(58, 0, 5, 2, 0, 0, 1, 0)
  lab.ip(
    front,
    ip6({ from: '::', to: 'ff02::16', next: 0, hops: 1 }, Uint8Array.of(...hop, ...mld)),
  )
  expect(lab.drops()).toEqual({ delivered: 5 })
  expect(lab.take()).toEqual([])
  lab.end()
})

function icmp4(type: number): Uint8Array {
  const message = Uint8Array.of(type, 0, 0, 0, 0, 0, 0, 0)
  const value = ~sum(message, 0, 8) & 0xffff
  message.set([value >>> 8, value & 0xff], 2)
  return message
}
