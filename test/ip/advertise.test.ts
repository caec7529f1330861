import { beforeEach, expect, test } from 'vitest'
import { parseAddress } from '../../stack/address.ts'
import { formatMac, mac } from '../../stack/eth/mac.ts'
import type { RouterInterface } from '../../stack/ip/router_interface.ts'
import {
  frame,
  icmp6,
  ip6,
  ipOf,
  isTransportIntact,
  Lab,
  octets,
  type Sent,
  u16,
  u32,
} from './lab.ts'

let lab: Lab
let front: RouterInterface
const ALL_ROUTERS = { hi: 0x3333, lo: 2 }
const HOST = 'fe80::11'

beforeEach(() => {
  lab = new Lab()
  front = lab.leg('front', ['10.1.0.1/24', 'fd00:1::1/64', 'fd00:7::1/60'], {
    mtuBytes: 1420,
    advertise: {
      dnsAddresses: [parseAddress('fd00:1::53'), parseAddress('10.1.0.53')],
      dnsSearch: ['shop.internal', 'a.example.'],
    },
  })
})

function solicit(message = Uint8Array.of(133, 0, 0, 0, 0, 0, 0, 0), from = HOST, hops = 255): void {
  const packet = icmp6({ from, to: 'ff02::2', hops }, message)
  lab.receive(front, frame(ALL_ROUTERS, packet))
}

/** Options of an advertisement by type, in order. */
function options(sent: Sent): [number, Uint8Array][] {
  const message = ipOf(sent).slice(40)
  const all: [number, Uint8Array][] = []
  for (let at = 16; at < message.length; at += message[at + 1]! * 8) {
    all.push([message[at]!, message.slice(at, at + message[at + 1]! * 8)])
  }
  return all
}

function lifetime(sent: Sent): number {
  return u16(ipOf(sent), 46)
}

test('an advertisement says what RFC 4861 §4.2 and RFC 8106 lay down', () => {
  lab.run(500)
  const sent = lab.one()
  const packet = ipOf(sent)
  expect(formatMac(mac(sent.bytes, 0))).toBe('33:33:00:00:00:01')
  expect(packet.slice(8, 40)).toEqual(
    Uint8Array.of(...octets('fe80::aff:fe00:66'), ...octets('ff02::1')),
  )
  expect([packet[6], packet[7], packet[40], packet[41]]).toEqual([58, 255, 134, 0])
  expect(isTransportIntact(packet)).toBe(true)
  expect([packet[44], packet[45], lifetime(sent)]).toEqual([64, 0, 1800])
  expect([u32(packet, 48), u32(packet, 52)]).toEqual([0, 0])
  const all = options(sent)
  expect(all.map(([type]) => type)).toEqual([1, 5, 3, 3, 25, 31])
  expect(formatMac(mac(all[0]![1], 2))).toBe(formatMac(front.mac))
  expect(u32(all[1]![1], 4)).toBe(1420)
  const prefix = all[3]![1]
  expect([prefix[1], prefix[2], prefix[3]]).toEqual([4, 60, 0x80])
  expect([u32(prefix, 4), u32(prefix, 8), u32(prefix, 12)]).toEqual([2_592_000, 604_800, 0])
  expect(prefix.slice(16)).toEqual(octets('fd00:7::'))
  expect([u32(all[4]![1], 4), all[4]![1].length]).toEqual([1800, 24])
  expect(all[4]![1].slice(8)).toEqual(octets('fd00:1::53'))
  const names = Buffer.from(all[5]![1].slice(8)).toString('latin1')
  expect(names).toBe('\x04shop\x08internal\0\x01a\x07example\0\0\0\0\0\0\0')
  lab.end()
})

test('three come soon, the others every few minutes, the last with lifetime 0', () => {
  lab.run(500)
  expect(lab.take().length).toBe(1)
  lab.run(32_000)
  expect(lab.take().length).toBe(2)
  const times: number[] = []
  for (let second = 0; second < 36_000; second++) {
    lab.run(1_000)
    if (lab.take().length > 0) times.push(second)
  }
  const gaps = times.slice(1).map((time, i) => time - times[i]!)
  expect(Math.min(...gaps)).toBeGreaterThanOrEqual(199)
  expect(Math.max(...gaps)).toBeLessThanOrEqual(601)
  expect(Math.max(...gaps) - Math.min(...gaps)).toBeGreaterThan(100)
  lab.router.removeInterface(front)
  expect(lifetime(lab.one())).toBe(0)
  lab.end()
})

test('a solicitation is answered soon, a flood of them at a rate', () => {
  lab.run(40_000)
  lab.take()
  solicit()
  lab.run(500)
  expect(lab.take().length).toBe(1)
  for (let i = 0; i < 300; i++) {
    solicit()
    lab.run(100)
  }
  const count = lab.take().length
  expect(count).toBeGreaterThanOrEqual(8)
  expect(count).toBeLessThanOrEqual(10)
  expect(lab.drops()).toEqual({ delivered: 301 })
  lab.end()
})

test('solicitations that fail RFC 4861 §6.1.1 are not answered', () => {
  lab.run(40_000)
  lab.take()
  const link = Uint8Array.of(1, 1, 2, 0, 0, 0, 0, 9)
  solicit(Uint8Array.of(133, 0, 0, 0, 0, 0, 0, 0), HOST, 254)
  solicit(Uint8Array.of(133, 1, 0, 0, 0, 0, 0, 0))
  solicit(Uint8Array.of(133, 0, 0, 0, 0, 0))
  solicit(Uint8Array.of(133, 0, 0, 0, 0, 0, 0, 0, ...link), '::')
  solicit(Uint8Array.of(133, 0, 0, 0, 0, 0, 0, 0, 1, 0))
  solicit(Uint8Array.of(133, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0))
  solicit(Uint8Array.of(133, 0, 0, 0, 0, 0, 0, 0, 1))
  const packet = ip6(
    { from: HOST, to: 'ff02::2', next: 58, hops: 255 },
    Uint8Array.of(133, 0, 0, 0, 0, 0, 0, 0),
  )
  lab.receive(front, frame(ALL_ROUTERS, packet))
  lab.run(1_000)
  expect(lab.take()).toEqual([])
  expect(lab.drops()).toEqual({ 'nd-malformed': 8 })
  solicit(Uint8Array.of(133, 0, 0, 0, 0, 0, 0, 0, ...link))
  solicit(Uint8Array.of(133, 0, 0, 0, 0, 0, 0, 0), '::')
  lab.run(500)
  expect(lab.take().length).toBe(1)
  lab.end()
})

test('an internal network is told of no way out, one without the option of nothing', () => {
  const vault = lab.leg('vault', ['fd00:9::1/64'], { internal: true, advertise: {} })
  lab.leg('quiet', ['fd00:5::1/64'])
  lab.leg('old', ['10.5.0.1/24'], { advertise: {} })
  lab.run(500)
  const sent = lab.take()
  expect(sent.map(({ leg }) => leg).sort()).toEqual(['front', 'vault'])
  const inside = sent.find(({ leg }) => leg === vault.name)!
  expect(lifetime(inside)).toBe(0)
  expect(options(inside).map(([type]) => type)).toEqual([1, 5, 3])
  lab.end()
})
