/** The headers that the cutter makes are those of the segmenter, which makes whole segments. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { completeChecksum, ipOffset, segmentAt, superHeaderBytes } from '../../stack/ip/segment.ts'
import { type Packet, Pool, pull, push } from '../../stack/packet.ts'
import { Cutter, Refusal } from '../../stack/udp/cut.ts'
import { type Case, PLAIN_CASE, PREFIX, superPacket } from './super_frame.ts'

const pool = new Pool({ smallCount: 8, largeCount: 4, checked: true })
const scratch = new Uint8Array(256)
const cutter = new Cutter(scratch)
const ROOM = 9000

const anyCase = fc.record({
  six: fc.boolean(),
  datagram: fc.boolean(),
  payload: fc.integer({ min: 0, max: 12_000 }),
  gsoSize: fc.integer({ min: 300, max: 4000 }),
  tcpOptions: fc.constantFrom(0, 12, 40),
  flags: fc.constantFrom(0x10, 0x18, 0x99, 0x19),
  id: fc.integer({ min: 0, max: 0xffff }),
  seq: fc.integer({ min: 0, max: 0xffff_ffff }),
})

/** All segments, headers and payload together. */
function cut(packet: Packet, room: number, complete: boolean): Uint8Array[] {
  expect(cutter.begin(pool.mem, packet, PREFIX.length, room, complete)).toBe(Refusal.None)
  const { headerBytes, pieceBytes } = cutter
  return Array.from({ length: cutter.count }, (_, i) => {
    const at = 2 + 4 * (i % 8)
    scratch.fill(0xa5)
    cutter.putHeaders(pool.mem, at, i)
    expect(scratch.subarray(at + headerBytes + 3).every((octet) => octet === 0xa5)).toBe(true)
    const from = packet.head + headerBytes + i * pieceBytes
    const payload = pool.mem.subarray(from, from + cutter.payloadOf(i))
    return Uint8Array.from([...scratch.subarray(at, at + headerBytes), ...payload])
  })
}

/** The same by ip/segment.ts. */
function reference(packet: Packet, complete: boolean): Uint8Array[] {
  pull(packet, PREFIX.length)
  const ip = ipOffset(pool.mem, packet)
  const headerBytes = superHeaderBytes(pool.mem, packet, ip)
  const count = Math.max(1, Math.ceil((packet.len - headerBytes) / packet.gsoSize))
  const all = Array.from({ length: count }, (_, i) => {
    const segment = segmentAt(pool, packet, ip, headerBytes, i)!
    if (complete) completeChecksum(pool.mem, segment)
    const bytes = pool.mem.slice(segment.head, segment.head + segment.len)
    pool.free(segment)
    return Uint8Array.from([...PREFIX, ...bytes])
  })
  push(packet, PREFIX.length)
  return all
}

function same(one: Case, complete: boolean): void {
  const packet = superPacket(pool, one)
  const before = pool.mem.slice(packet.head, packet.head + packet.len)
  const out = cut(packet, ROOM, complete)
  expect(pool.mem.slice(packet.head, packet.head + packet.len)).toEqual(before)
  expect(out).toEqual(reference(packet, complete))
  pool.free(packet)
}

test('cuts as the segmenter does, checksums complete or open', () => {
  fc.assert(fc.property(anyCase, fc.boolean(), same), { numRuns: 60 })
})

test('TCP is cut shorter for a path that takes less', () => {
  const packet = superPacket(pool, { ...PLAIN_CASE, payload: 5000 })
  const out = cut(packet, 1000, true)
  expect(Math.max(...out.map(({ length }) => length))).toBe(1000)
  packet.gsoSize = 1000 - cutter.headerBytes
  expect(out).toEqual(reference(packet, true))
  pool.free(packet)
})

test('UDP is not, and nothing is for a path that takes no payload', () => {
  const datagrams = superPacket(pool, { ...PLAIN_CASE, datagram: true })
  expect(cutter.begin(pool.mem, datagrams, 8, 1000, true)).toBe(Refusal.TooBig)
  pool.free(datagrams)
  const packet = superPacket(pool, PLAIN_CASE)
  expect(cutter.begin(pool.mem, packet, 8, 80, true)).toBe(Refusal.TooBig)
  pool.free(packet)
})

test('facts that contradict the headers are refused', () => {
  const packet = superPacket(pool, PLAIN_CASE)
  packet.csumStart += 4
  expect(cutter.begin(pool.mem, packet, 8, ROOM, true)).toBe(Refusal.Malformed)
  pool.free(packet)
})
