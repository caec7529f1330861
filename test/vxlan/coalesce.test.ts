/**
 * Joined datagrams become super-frames exactly where that is invisible: cut again, what was joined
 * gives what came. Everything else comes apart unchanged.
 */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseAddress } from '../../stack/address.ts'
import { u16 } from '../../stack/bytes.ts'
import { VirtualClock } from '../../stack/clock.ts'
import { DropReason } from '../../stack/drop.ts'
import * as ipv4 from '../../stack/ip/ipv4.ts'
import { GsoType, type Packet, Pool } from '../../stack/packet.ts'
import { Random } from '../../stack/random.ts'
import { Cutter, Refusal } from '../../stack/udp/cut.ts'
import { MemoryNet } from '../../stack/udp/memory_net.ts'
import { Coalescer } from '../../stack/vxlan/coalesce.ts'
import * as vxlan from '../../stack/vxlan/header.ts'
import { isTransportIntact } from '../ip/lab.ts'
import { type Case, PLAIN_CASE, PREFIX, superPacket } from '../udp/super_frame.ts'

const pool = new Pool({ smallCount: 80, largeCount: 6, checked: true })
const net = new MemoryNet({ clock: new VirtualClock(), random: new Random(5) })
const underlay = net.open({ pool, address: parseAddress('10.200.0.1'), udpPort: 4789 })
const PEER = underlay.addPeer({ address: parseAddress('10.200.0.2'), udpPort: 4789 })
const coalescer = new Coalescer({ pool, underlay })
const scratch = new Uint8Array(256)
const cutter = new Cutter(scratch)
const ROOM = 9000
const TOS = 3

type Mode = 'complete' | 'open' | 'remote'

/** The datagrams that a super-frame is sent as. */
function cut(packet: Packet, mode: Mode): Uint8Array[] {
  if (mode === 'remote') {
    const start = packet.csumStart - packet.head - PREFIX.length
    const kind = packet.csumOffset === 6 ? vxlan.Remote.Udp : 0
    vxlan.putRemoteChecksum(pool.mem, packet.head, kind | (start >> 1))
  }
  const complete = mode === 'complete'
  expect(cutter.begin(pool.mem, packet, PREFIX.length, ROOM, complete)).toBe(Refusal.None)
  return Array.from({ length: cutter.count }, (_, i) => {
    cutter.putHeaders(pool.mem, 2, i)
    const from = packet.head + cutter.headerBytes + i * cutter.pieceBytes
    const payload = pool.mem.subarray(from, from + cutter.payloadOf(i))
    return Uint8Array.from([...scratch.subarray(2, 2 + cutter.headerBytes), ...payload])
  })
}

function datagramsOf(one: Case, mode: Mode): Uint8Array[] {
  const packet = superPacket(pool, one)
  const datagrams = cut(packet, mode)
  pool.free(packet)
  return datagrams
}

interface Out {
  readonly bytes: Uint8Array
  readonly gsoType: number
  readonly gsoSize: number
  readonly csumStart: number
  readonly csumOffset: number
}

/** What comes of datagrams that arrive joined; their packets stay live for `look`. */
function join(datagrams: readonly Uint8Array[], look: (packet: Packet) => void = () => {}): Out[] {
  const bytes = Uint8Array.from(datagrams.flatMap((datagram) => [...datagram]))
  const packet = pool.alloc(bytes.length)!
  pool.mem.set(bytes, packet.head)
  packet.len = bytes.length
  const out: Out[] = []
  coalescer.join(packet, datagrams[0]!.length, PEER, TOS, (each, peer, tos) => {
    expect([peer, tos]).toEqual([PEER, TOS])
    const { head, len, gsoType, gsoSize, csumOffset } = each
    const csumStart = each.csumStart === 0 ? 0 : each.csumStart - head
    out.push({ bytes: pool.mem.slice(head, head + len), gsoType, gsoSize, csumStart, csumOffset })
    look(each)
    pool.free(each)
  })
  expect(pool.leaks()).toEqual([])
  return out
}

const anyCase = fc.record({
  six: fc.boolean(),
  datagram: fc.boolean(),
  payload: fc.integer({ min: 1, max: 12_000 }),
  gsoSize: fc.integer({ min: 300, max: 2000 }),
  tcpOptions: fc.constantFrom(0, 12, 40),
  flags: fc.constantFrom(0x10, 0x18),
  id: fc.integer({ min: 0, max: 0xffff }),
  seq: fc.integer({ min: 0, max: 0xffff_ffff }),
})
const anyMode = fc.constantFrom<Mode>('complete', 'open', 'remote')

test('segments become the super-frame that they were', () => {
  fc.assert(
    fc.property(anyCase, anyMode, (one, mode) => {
      const original = superPacket(pool, one)
      const datagrams = cut(original, mode)
      const bytes = pool.mem.slice(original.head, original.head + original.len)
      pool.free(original)
      fc.pre(datagrams.length > 1)
      const out = join(datagrams)
      expect(out).toHaveLength(1)
      expect(out[0]!.bytes).toEqual(bytes)
      const gsoType = one.datagram ? GsoType.Udp : one.six ? GsoType.TcpV6 : GsoType.TcpV4
      expect(out[0]).toMatchObject({ gsoType, gsoSize: one.gsoSize })
    }),
    { numRuns: 60 },
  )
})

test('with any octet changed, what is joined is what came', () => {
  const random = new Random(7)
  let joined = 0
  let apart = 0
  for (let n = 0; n < 500; n++) {
    const mode = (['complete', 'open', 'remote'] as const)[random.below(3)]!
    const six = random.chance(50)
    const one = { ...PLAIN_CASE, six, datagram: random.chance(30), payload: 1200, gsoSize: 398 }
    const datagrams = datagramsOf(one, mode)
    const victim = datagrams[random.below(datagrams.length)]!
    const at = random.chance(80) ? random.below(90) : random.below(victim.length)
    victim[at] = victim[at]! ^ (1 << random.below(8))
    const drops = pool.counters.drops(0, DropReason.VxlanMalformed)
    let again: Uint8Array[] = []
    const out = join(datagrams, (packet) => {
      if (packet.gsoType === 0) return
      joined++
      again = cut(packet, mode === 'remote' ? 'open' : mode)
    })
    const refused = pool.counters.drops(0, DropReason.VxlanMalformed) - drops
    if (again.length === 0) {
      apart++
      expect(out.length + refused).toBe(datagrams.length)
      if (refused === 0) expect(out.map(({ bytes }) => bytes)).toEqual(datagrams)
      continue
    }
    expect(again.map((bytes) => comparable(bytes, six))).toEqual(
      datagrams.map((bytes) => comparable(bytes, six)),
    )
  }
  expect(Math.min(joined, apart)).toBeGreaterThan(10)
})

/** Without what a super-frame does not tell of its segments: IPv4's identification. */
function comparable(bytes: Uint8Array, six: boolean): Uint8Array {
  const copy = bytes.slice()
  if (!six) copy.fill(0, 22 + ipv4.ID, 22 + ipv4.ID + 2).fill(0, 22 + ipv4.CHECKSUM, 22 + 12)
  return copy
}

test('segments of two flows come apart, in their order', () => {
  const one = datagramsOf(PLAIN_CASE, 'complete')
  const other = datagramsOf({ ...PLAIN_CASE, id: 5, seq: 99 }, 'complete')
  const datagrams = [one[0]!, other[0]!, one[1]!, other[1]!]
  expect(join(datagrams).map(({ bytes }) => bytes)).toEqual(datagrams)
})

test('an open checksum is marked, also of one datagram alone', () => {
  for (const mode of ['open', 'remote'] as const) {
    const [single] = datagramsOf({ ...PLAIN_CASE, payload: 100, gsoSize: 200 }, mode)
    const [out] = join([single!])
    expect(out).toMatchObject({ csumStart: 42, csumOffset: 16, gsoType: 0 })
    const whole = join([single!], (packet) => {
      const field = packet.csumStart + packet.csumOffset
      let total = 0
      for (let at = packet.csumStart; at < packet.head + packet.len; at += 2) {
        total += u16(pool.mem, at)
      }
      while (total > 0xffff) total = (total & 0xffff) + (total >>> 16)
      pool.mem.set([(~total >>> 8) & 0xff, ~total & 0xff], field)
    })
    expect(whole).toHaveLength(1)
  }
  const [complete] = datagramsOf({ ...PLAIN_CASE, payload: 100, gsoSize: 200 }, 'complete')
  expect(isTransportIntact(complete!.slice(22))).toBe(true)
  expect(join([complete!])[0]).toMatchObject({ csumStart: 0 })
})

test('a header that tells of another checksum than the frame has is malformed', () => {
  const [single] = datagramsOf({ ...PLAIN_CASE, payload: 100, gsoSize: 200 }, 'remote')
  for (const octet of [vxlan.Remote.Udp | 17, 18, 0x7f]) {
    const wrong = single!.slice()
    wrong[7] = octet
    const before = pool.counters.drops(0, DropReason.VxlanMalformed)
    expect(join([wrong])).toEqual([])
    expect(pool.counters.drops(0, DropReason.VxlanMalformed)).toBe(before + 1)
  }
})

test('a super-frame that crossed a virtual wire uncut becomes one that fits the path', () => {
  for (const six of [false, true]) {
    const packet = superPacket(pool, { ...PLAIN_CASE, six, payload: 30_000 })
    const bytes = pool.mem.slice(packet.head, packet.head + packet.len)
    const headerBytes = packet.csumStart - packet.head + 32
    pool.free(packet)
    const [out] = join([bytes])
    const gsoType = six ? GsoType.TcpV6 : GsoType.TcpV4
    expect(out).toMatchObject({ gsoType, gsoSize: 1500 - 28 - headerBytes })
    expect(out!.bytes).toEqual(bytes)
  }
})

test('nothing that arrives joined makes it fall', () => {
  const random = new Random(11)
  for (let n = 0; n < 1000; n++) {
    const datagrams = datagramsOf({ ...PLAIN_CASE, payload: 900, gsoSize: 298 }, 'complete')
    for (const datagram of datagrams) {
      for (let i = 0; i < 6; i++) datagram[random.below(80)] = random.bits()
    }
    const bytes = datagrams.flatMap((datagram) => [...datagram]).slice(random.below(20))
    const packet = pool.alloc(2000)!
    pool.mem.set(bytes, packet.head)
    packet.len = random.below(bytes.length)
    coalescer.join(packet, 1 + random.below(400), PEER, TOS, (each) => {
      expect(each.csumStart + each.csumOffset).toBeLessThanOrEqual(each.head + each.len)
      pool.free(each)
    })
  }
  expect(pool.leaks()).toEqual([])
})
