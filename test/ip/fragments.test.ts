import fc from 'fast-check'
import { beforeEach, expect, test } from 'vitest'
import { sum } from '../../stack/checksum.ts'
import { BlockMap } from '../../stack/ip/block_map.ts'
import { fragment4, fragment6, payloadBytes4, payloadBytes6 } from '../../stack/ip/fragment.ts'
import { DATAGRAMS_A_SOURCE_MAX, DATAGRAMS_MAX, REASSEMBLY_MS } from '../../stack/ip/reassembly.ts'
import type { RouterInterface } from '../../stack/ip/router_interface.ts'
import { type Packet, Pool } from '../../stack/packet.ts'
import {
  echo4,
  echo6,
  INGRESS_PORT,
  ip4,
  ip6,
  ipOf,
  isTransportIntact,
  Lab,
  pattern,
  u16,
  u32,
  udp,
} from './lab.ts'

const A4 = '10.1.0.11'
const A6 = 'fd00:1::11'
const GW4 = '10.1.0.1'
const GW6 = 'fd00:1::1'

let lab: Lab
let front: RouterInterface
let heard: Uint8Array[]

beforeEach(() => {
  lab = new Lab()
  front = lab.leg('front', ['10.1.0.1/16', 'fd00:1::1/64'])
  lab.host(front, A4)
  lab.host(front, A6)
  heard = []
  lab.router.bindUdp(4000, (packet: Packet) => {
    heard.push(lab.pool.mem.slice(packet.head + 14, packet.head + packet.len))
    expect(packet.ingress).toBe(INGRESS_PORT)
    lab.pool.free(packet)
  })
})

/** Cut a packet with the code under test. */
function cut(packet: Uint8Array, mtuBytes: number): Uint8Array[] {
  const pool = new Pool({ smallCount: 4, largeCount: 2, checked: true })
  const whole = pool.alloc(packet.length)!
  pool.mem.set(packet, whole.head)
  whole.len = packet.length
  const four = packet[0]! >>> 4 === 4
  const payload = packet.length - (four ? (packet[0]! & 15) * 4 : 40)
  const pieces: Uint8Array[] = []
  for (let from = 0; from < payload; ) {
    const piece = four
      ? fragment4(pool, whole, mtuBytes, from)!
      : fragment6(pool, whole, { mtuBytes, from, id: 77 })!
    from += four ? payloadBytes4(pool.mem, piece) : payloadBytes6(piece)
    pieces.push(pool.mem.slice(piece.head, piece.head + piece.len))
    pool.free(piece)
  }
  pool.free(whole)
  expect(pool.leaks()).toEqual([])
  return pieces
}

const both = fc.constantFrom({ from: A4, to: GW4 }, { from: A6, to: GW6 })

test('fragments in any order, some of them twice, become the datagram that was cut', () => {
  const sizes = fc.tuple(
    fc.integer({ min: 1281, max: 12_000 }),
    fc.integer({ min: 100, max: 1500 }),
  )
  fc.assert(
    fc.property(both, sizes, fc.infiniteStream(fc.nat()), (ends, [bytes, mtuBytes], chance) => {
      const packet = udp(ends, { to: 4000 }, pattern(bytes))
      const pieces = cut(packet, mtuBytes)
      expect(pieces.length).toBeGreaterThan(0)
      for (const piece of pieces) expect(piece.length).toBeLessThanOrEqual(mtuBytes)
      const next = (): number => chance.next().value
      const order = pieces.map((piece) => ({ piece, key: next() })).sort((a, b) => a.key - b.key)
      heard.length = 0
      for (const [i, { piece }] of order.entries()) {
        lab.ip(front, piece)
        if (next() % 4 === 0 && i < order.length - 1) lab.ip(front, piece)
      }
      expect(heard.length).toBe(1)
      expect(heard[0]!.slice(-bytes)).toEqual(pattern(bytes))
      expect(isTransportIntact(heard[0]!)).toBe(true)
      if (packet[0]! >>> 4 === 4) expect(sum(heard[0]!, 0, 20)).toBe(0xffff)
    }),
    { numRuns: 60 },
  )
  expect(lab.drops()['fragment-overlap']).toBe(undefined)
  lab.end()
})

test('fragments of fragments become the datagram, and keep copied options only', () => {
  const options = Uint8Array.of(148, 4, 0, 0, 7, 7, 4, 0, 0, 0, 0, 0)
  const datagram = udp({ from: A4, to: GW4 }, { to: 4000 }, pattern(3000)).slice(20)
  const packet = ip4({ from: A4, to: GW4, options }, datagram)
  const pieces = cut(packet, 1000).flatMap((piece) => cut(piece, 300))
  for (const piece of pieces) {
    const header = (piece[0]! & 15) * 4
    expect(sum(piece, 0, header)).toBe(0xffff)
    expect(header).toBe((u16(piece, 6) & 0x1fff) === 0 ? 32 : 24)
    expect(piece[20]).toBe(148)
    lab.ip(front, piece)
  }
  expect(heard[0]!.slice(32 + 8)).toEqual(pattern(3000))
  lab.end()
})

test('a ping of 65,507 octets is answered in fragments, as is the largest UDP received', () => {
  const ping = echo4({ from: A4, to: GW4 }, pattern(65_507))
  expect(ping.length).toBe(65_535)
  for (const piece of cut(ping, 1500)) lab.ip(front, piece)
  const reply = lab.take().map(ipOf)
  expect(reply.length).toBe(45)
  const data = reply.flatMap((piece) => [...piece.slice(20)])
  expect(Uint8Array.from(data.slice(8))).toEqual(pattern(65_507))
  expect(sum(Uint8Array.from(data), 0, data.length)).toBe(0xffff)
  expect(new Set(reply.map((piece) => u16(piece, 4))).size).toBe(1)
  for (const piece of cut(udp({ from: A4, to: GW4 }, { to: 4000 }, pattern(65_507)), 1500)) {
    lab.ip(front, piece)
  }
  expect(heard[0]!.length).toBe(65_535)
  for (const piece of cut(echo6({ from: A6, to: GW6 }, pattern(65_527)), 1500)) lab.ip(front, piece)
  const reply6 = lab.take().map(ipOf)
  expect(reply6.flatMap((piece) => [...piece.slice(48)]).length).toBe(65_535)
  expect(new Set(reply6.map((piece) => u32(piece, 44))).size).toBe(1)
  lab.end()
})

/** A fragment of bare octets. */
function piece4(offset: number, bytes: Uint8Array, more: boolean, id = 9, from = A4): Uint8Array {
  const fragment = (more ? 0x2000 : 0) | (offset / 8)
  return ip4({ from, to: GW4, protocol: 17, id, fragment }, bytes)
}

function piece6(offset: number, bytes: Uint8Array, more: boolean, next = 17): Uint8Array {
  const word = offset | (more ? 1 : 0)
  const header = Uint8Array.of(next, 0, word >>> 8, word & 0xff, 0, 0, 0, 9)
  return ip6({ from: A6, to: GW6, next: 44 }, Uint8Array.of(...header, ...bytes))
}

test('any overlap refuses the datagram and all that still comes of it (RFC 5722)', () => {
  const data = pattern(64)
  const attacks: readonly (readonly [number, number, boolean])[][] = [
    [
      [0, 24, true],
      [16, 24, true],
    ],
    [
      [16, 24, true],
      [0, 24, true],
    ],
    [
      [0, 24, true],
      [8, 8, true],
    ],
    [
      [8, 8, true],
      [0, 24, true],
    ],
    [
      [0, 8, true],
      [8, 8, true],
      [0, 16, true],
    ],
    [
      [0, 16, true],
      [0, 8, true],
    ],
    [
      [8, 9, false],
      [8, 12, false],
    ],
    [
      [8, 9, false],
      [8, 16, true],
    ],
    [
      [24, 8, true],
      [8, 9, false],
    ],
    [
      [8, 16, false],
      [24, 8, true],
    ],
  ]
  for (const make of [piece4, piece6]) {
    for (const attack of attacks) {
      const before = lab.drops()['fragment-overlap'] ?? 0
      for (const [offset, bytes, more] of attack)
        lab.ip(front, make(offset, data.slice(0, bytes), more))
      expect(lab.drops()['fragment-overlap']).toBe(before + 2)
      lab.ip(front, make(40, data.slice(0, 8), true))
      expect(lab.drops()['fragment-overlap']).toBe(before + 3)
      lab.run(REASSEMBLY_MS)
    }
  }
  const changed = data.slice(0, 8)
  changed[3]! ^= 1
  lab.ip(front, piece4(0, data.slice(0, 8), true))
  lab.ip(front, piece4(0, changed, true))
  expect(lab.drops()['fragment-overlap']).toBe(62)
  expect(lab.take()).toEqual([])
  lab.end()
})

test('fragments that cannot be are refused', () => {
  lab.ip(front, piece4(0, pattern(9), true))
  lab.ip(front, piece4(8, new Uint8Array(), false))
  lab.ip(front, piece4(65_528, pattern(8), false))
  lab.ip(front, piece4(65_512, pattern(8), true))
  expect(lab.drops()).toEqual({ 'fragment-malformed': 4 })
  expect(lab.take()).toEqual([])
  lab.ip(front, piece6(0, pattern(9), true))
  const odd = ipOf(lab.one())
  expect([odd[40], odd[41], u32(odd, 44)]).toEqual([4, 0, 4])
  const tail = piece6(65_528, pattern(8), false)
  lab.ip(front, tail)
  expect(lab.take()).toEqual([])
  lab.ip(front, piece6(8, new Uint8Array(), false))
  const cutHeader = ip6({ from: A6, to: GW6, next: 44 }, pattern(7))
  lab.ip(front, cutHeader)
  expect(lab.drops()).toEqual({ 'fragment-malformed': 8 })
  lab.end()
})

test('a whole packet with a fragment header waits for nothing (RFC 6946)', () => {
  const datagram = udp({ from: A6, to: GW6 }, { to: 4000 }, pattern(100))
  lab.ip(front, piece6(8, pattern(8), true))
  lab.ip(front, piece6(0, datagram.slice(40), false))
  expect(heard[0]).toEqual(datagram)
  lab.ip(front, piece6(0, piece6(0, pattern(8), false).slice(40), false, 44))
  expect(lab.drops()['ip-malformed']).toBe(1)
  lab.end()
})

test('what does not become whole in time is given up, and its sender told', () => {
  lab.ip(front, piece4(0, pattern(600), true))
  lab.ip(front, piece4(8, pattern(8), true, 10))
  lab.run(1_000)
  lab.ip(front, piece6(0, pattern(64), true))
  lab.run(REASSEMBLY_MS - 1_001)
  expect(lab.take()).toEqual([])
  lab.run(1)
  const four = ipOf(lab.one())
  expect([four[20], four[21]]).toEqual([11, 1])
  expect(four.slice(28)).toEqual(piece4(0, pattern(600), true).slice(0, 548))
  lab.run(1_000)
  const six = ipOf(lab.one())
  expect([six[40], six[41]]).toEqual([3, 1])
  expect(six.slice(48)).toEqual(piece6(0, pattern(64), true))
  expect(lab.drops()).toEqual({ delivered: 3, 'fragment-timeout': 3 })
  lab.end()
})

test('one source holds few datagrams, all together a bounded number', () => {
  for (let id = 0; id <= DATAGRAMS_A_SOURCE_MAX; id++)
    lab.ip(front, piece4(8, pattern(8), true, id))
  expect(lab.drops()['fragment-timeout']).toBe(1)
  for (let source = 0; source < 40; source++) {
    lab.ip(front, piece4(8, pattern(8), true, 1, `10.1.2.${source}`))
  }
  const full = 40 - (DATAGRAMS_MAX - DATAGRAMS_A_SOURCE_MAX)
  expect(lab.drops()['fragment-table-full']).toBe(full)
  lab.run(REASSEMBLY_MS)
  expect(lab.drops()['fragment-timeout']).toBe(1 + DATAGRAMS_MAX)
  expect(lab.pool.leaks()).toEqual([])
  lab.end()
})

test('with no large packet free a fragment is dropped, not waited for', () => {
  lab.end()
  lab = new Lab({ largeCount: 1 })
  front = lab.leg('front', ['10.1.0.1/16'])
  lab.ip(front, piece4(8, pattern(8), true, 1))
  lab.ip(front, piece4(8, pattern(8), true, 2))
  expect(lab.drops()).toEqual({ delivered: 1, 'pool-empty': 1 })
  lab.end()
})

test('a leg that goes takes its datagrams with it', () => {
  lab.ip(front, piece4(0, pattern(8), true))
  expect(lab.pool.leaks().length).toBe(1)
  lab.router.removeInterface(front)
  expect(lab.pool.leaks()).toEqual([])
  expect(lab.clock.pending).toBe(0)
  lab.end()
})

test('a map of blocks answers as a set does', () => {
  const range = fc
    .tuple(fc.nat(300), fc.nat(120))
    .map(([from, count]) => [from, from + count] as const)
  fc.assert(
    fc.property(fc.array(range, { maxLength: 8 }), range, (ranges, [from, to]) => {
      const map = new BlockMap(2)
      const set = new Set<number>()
      for (const [first, end] of ranges) {
        map.set(1, first, end)
        for (let i = first; i < end; i++) set.add(i)
      }
      const asked = Array.from({ length: to - from }, (_, i) => set.has(from + i))
      expect(map.any(1, from, to)).toBe(asked.includes(true))
      expect(map.all(1, from, to)).toBe(!asked.includes(false))
      expect(map.any(0, 0, BlockMap.COUNT)).toBe(false)
      map.clear(1)
      expect(map.any(1, 0, BlockMap.COUNT)).toBe(false)
    }),
  )
})
