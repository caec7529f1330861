import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Counters } from '../../stack/counters.ts'
import { NO_OFFLOAD, type Offload } from '../../stack/device.ts'
import { DropReason } from '../../stack/drop.ts'
import { segmenter } from '../../stack/ip/segment.ts'
import { GsoType, type Packet, Pool } from '../../stack/packet.ts'
import { packetOf } from '../conformance/device.ts'
import { isTransportIntact, pattern, pseudo, tcp, u16, u32, udp } from './lab.ts'

const V4 = { from: '10.1.0.11', to: '10.2.0.22', protocol: 6, id: 0xfffe }
const V6 = { from: 'fd00:1::11', to: 'fd00:2::22', protocol: 6 }

interface Case {
  readonly six: boolean
  readonly datagram: boolean
  readonly tags: number
  readonly payload: number
  readonly gsoSize: number
  readonly tcpOptions: number
}

/** A super-frame as a TAP hands it over: the transport checksum is the pseudo-header's sum. */
function superFrame({ six, datagram, tags, payload, tcpOptions }: Case): {
  bytes: Uint8Array
  ip: number
  csumStart: number
} {
  const header = six ? V6 : V4
  const data = pattern(payload)
  const flags = 0x99
  const options = new Uint8Array(tcpOptions).fill(1)
  const packet = datagram
    ? udp(header, { to: 4000 }, data)
    : tcp(header, { to: 80, seq: 0xffff_f000, ack: 7, flags, options }, data)
  const ip = 14 + 4 * tags
  const bytes = new Uint8Array(ip + packet.length)
  bytes.set([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2])
  for (let i = 0; i < tags; i++) bytes.set([0x81, 0, 0, 5], 12 + 4 * i)
  bytes.set(six ? [0x86, 0xdd] : [8, 0], ip - 2)
  bytes.set(packet, ip)
  const csumStart = ip + (six ? 40 : 20)
  const bytesL4 = bytes.length - csumStart
  const sum = pseudo({ ...header, protocol: datagram ? 17 : 6 }, bytesL4)
  bytes.set([sum >>> 8, sum & 0xff], csumStart + (datagram ? 6 : 16))
  return { bytes, ip, csumStart }
}

function device(offload: Offload): Parameters<typeof segmenter>[1] {
  const none = (): void => {}
  return {
    name: 'web1/eth0',
    kind: 'test',
    port: 1,
    mtuBytes: 1500,
    offload,
    output: none,
    onLost: none,
    poll: () => 0,
    transmit: none,
    refusal: () => -1,
    flush: none,
    close: none,
  }
}

interface Out {
  readonly bytes: Uint8Array
  readonly csumStart: number
  readonly gsoType: number
}

/** One for all tests: a pool takes longer to make than to use. */
const shared = new Pool({ smallCount: 70, largeCount: 8, checked: true })

function run(
  bytes: Uint8Array,
  facts: { gsoType: number; gsoSize: number; csumStart: number; csumOffset: number },
  offload: Offload = NO_OFFLOAD,
): { out: Out[]; bad: number } {
  const pool = shared
  const before = pool.counters.drops(0, DropReason.FrameOffloadBad)
  const out: Out[] = []
  const input = segmenter(pool, device(offload), (packet: Packet) => {
    const start = packet.csumStart === 0 ? 0 : packet.csumStart - packet.head
    const copy = pool.mem.slice(packet.head, packet.head + packet.len)
    out.push({ bytes: copy, csumStart: start, gsoType: packet.gsoType })
    pool.free(packet)
  })
  input(packetOf(pool, { bytes, facts })!)
  expect(pool.leaks()).toEqual([])
  return { out, bad: pool.counters.drops(0, DropReason.FrameOffloadBad) - before }
}

function gso({ six, datagram }: Case): number {
  if (datagram) return GsoType.Udp
  return six ? GsoType.TcpV6 : GsoType.TcpV4
}

const anyCase = fc.record({
  six: fc.boolean(),
  datagram: fc.boolean(),
  tags: fc.nat(1),
  payload: fc.integer({ min: 0, max: 20_000 }),
  gsoSize: fc.integer({ min: 400, max: 9_000 }),
  tcpOptions: fc.constantFrom(0, 12, 40),
})

test('segments are whole packets that together say what the super-frame said', () => {
  fc.assert(
    fc.property(anyCase, (one) => {
      const { bytes, ip, csumStart } = superFrame(one)
      const { datagram, gsoSize, payload, six, tcpOptions } = one
      const facts = { gsoType: gso(one), gsoSize, csumStart, csumOffset: datagram ? 6 : 16 }
      const { out } = run(bytes, facts)
      const headers = csumStart + (datagram ? 8 : 20 + tcpOptions)
      expect(out.length).toBe(Math.max(1, Math.ceil(payload / gsoSize)))
      const parts = out.map((segment) => segment.bytes.slice(headers))
      expect(Buffer.concat(parts).equals(Buffer.from(pattern(payload)))).toBe(true)
      for (const [i, segment] of out.entries()) {
        const packet = segment.bytes.slice(ip)
        expect(segment.gsoType).toBe(0)
        expect(segment.csumStart).toBe(0)
        expect(isTransportIntact(packet)).toBe(true)
        expect(segment.bytes.slice(0, ip)).toEqual(bytes.slice(0, ip))
        if (six) expect(u16(packet, 4)).toBe(packet.length - 40)
        else {
          expect(u16(packet, 2)).toBe(packet.length)
          expect(u16(packet, 4)).toBe((V4.id + i) & 0xffff)
          let total = 0
          for (let at = 0; at < 20; at += 2) total += u16(packet, at)
          expect((total & 0xffff) + (total >>> 16)).toBe(0xffff)
        }
        const l4 = packet.slice(csumStart - ip)
        if (datagram) expect(u16(l4, 4)).toBe(l4.length)
        else {
          expect(u32(l4, 4)).toBe((0xffff_f000 + i * gsoSize) % 2 ** 32)
          const last = i === out.length - 1
          expect(l4[13]).toBe(0x10 | (last ? 0x09 : 0) | (i === 0 ? 0x80 : 0))
        }
      }
    }),
    { numRuns: 80 },
  )
})

test('a device that sums but does not segment gets partial checksums', () => {
  const one = { six: false, datagram: false, tags: 0, payload: 3000, gsoSize: 1400, tcpOptions: 0 }
  const { bytes, csumStart } = superFrame(one)
  const facts = { gsoType: GsoType.TcpV4, gsoSize: 1400, csumStart, csumOffset: 16 }
  const { out } = run(bytes, facts, { csum: true, tso: false, uso: false })
  expect(out.map((segment) => segment.csumStart)).toEqual([34, 34, 34])
  const sums = out.map(({ bytes: all }) => u16(all, 34 + 16))
  expect(sums).toEqual(out.map(({ bytes: all }) => pseudo(V4, all.length - 34)))
})

test('what the device takes passes as it is', () => {
  const one = { six: true, datagram: true, tags: 0, payload: 3000, gsoSize: 1400, tcpOptions: 0 }
  const { bytes, csumStart } = superFrame(one)
  const facts = { gsoType: GsoType.Udp, gsoSize: 1400, csumStart, csumOffset: 6 }
  const { out } = run(bytes, facts, { csum: true, tso: true, uso: true })
  expect(out).toEqual([{ bytes, csumStart, gsoType: GsoType.Udp }])
})

test('a partial checksum of a plain frame is completed', () => {
  const one = { six: false, datagram: true, tags: 0, payload: 99, gsoSize: 0, tcpOptions: 0 }
  const { bytes, csumStart } = superFrame(one)
  const { out } = run(bytes, { gsoType: 0, gsoSize: 0, csumStart, csumOffset: 6 })
  expect(isTransportIntact(out[0]!.bytes.slice(14))).toBe(true)
})

test('facts that contradict the frame are refused, and none reads outside it', () => {
  const one = { six: false, datagram: false, tags: 0, payload: 3000, gsoSize: 1400, tcpOptions: 0 }
  const { bytes, csumStart } = superFrame(one)
  const good = { gsoType: GsoType.TcpV4, gsoSize: 1400, csumStart, csumOffset: 16 }
  const bad = [
    { ...good, gsoSize: 0 },
    { ...good, gsoSize: 1 },
    { ...good, csumStart: 0 },
    { ...good, csumStart: 33 },
    { ...good, csumStart: 5 },
    { ...good, csumOffset: 6 },
    { ...good, gsoType: GsoType.TcpV6 },
    { ...good, gsoType: GsoType.Udp },
    { gsoType: 0, gsoSize: 0, csumStart: bytes.length - 1, csumOffset: 0 },
    { gsoType: 0, gsoSize: 0, csumStart: 60, csumOffset: 60_000 },
  ]
  for (const facts of bad) {
    expect(run(bytes, facts)).toEqual({ out: [], bad: 1 })
  }
  fc.assert(
    fc.property(
      fc.record({
        gsoType: fc.constantFrom(0, 1, 4, 5),
        gsoSize: fc.nat(3000),
        csumStart: fc.nat(400),
        csumOffset: fc.nat(100),
      }),
      fc.array(fc.tuple(fc.nat(70), fc.nat(255)), { maxLength: 4 }),
      fc.nat(3000),
      (facts, changes, cut) => {
        const mutant = bytes.slice(0, Math.max(14, cut))
        for (const [at, value] of changes) if (at < mutant.length) mutant[at] = value
        run(mutant, facts)
      },
    ),
    { numRuns: 300 },
  )
})

test('a pool that runs out in the middle ends the super-frame as such', () => {
  const one = { six: false, datagram: false, tags: 0, payload: 3000, gsoSize: 100, tcpOptions: 0 }
  const { bytes, csumStart } = superFrame(one)
  const counters = new Counters()
  const pool = new Pool({ smallCount: 4, largeCount: 1, checked: true, counters })
  const held: Packet[] = []
  const input = segmenter(pool, device(NO_OFFLOAD), (packet) => held.push(packet))
  const packet = pool.alloc(bytes.length)!
  pool.mem.set(bytes, packet.head)
  packet.len = bytes.length
  packet.gsoType = GsoType.TcpV4
  packet.gsoSize = 100
  packet.csumStart = packet.head + csumStart
  packet.csumOffset = 16
  input(packet)
  expect(held.length).toBe(4)
  expect(counters.drops(0, DropReason.PoolEmpty)).toBe(1)
  for (const segment of held) pool.free(segment)
  expect(pool.leaks()).toEqual([])
})
