import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseAddress } from '../../stack/address.ts'
import { finish, sum } from '../../stack/checksum.ts'
import * as translate from '../../stack/ip/translate.ts'
import { type Packet, Pool } from '../../stack/packet.ts'
import { icmp6, ip4, ip6, isTransportIntact, pseudo, tcp, u16, udp } from './lab.ts'

const pool = new Pool({ smallCount: 4, largeCount: 4, checked: true })

const ports = fc.integer({ min: 0, max: 0xffff })
const address4 = fc.ipV4()
const address6 = fc.ipV6().filter((text) => !text.includes('.'))
const payloads = fc.uint8Array({ maxLength: 100 })

interface Ends {
  readonly from: string
  readonly to: string
}

const ends4 = fc.record({ from: address4, to: address4 })
const ends6 = fc.record({ from: address6, to: address6 })

/** Two pairs of ends of one family. */
const twice = fc.oneof(fc.tuple(ends4, ends4), fc.tuple(ends6, ends6))

/** The tuple that a packet becomes the inverse of. */
function otherOf({ from, to }: Ends, fromPort: number, toPort: number): Int32Array {
  const words = new Int32Array(10)
  words.set(parseAddress(to).words, 0)
  words.set(parseAddress(from).words, 4)
  words[8] = (toPort << 16) | fromPort
  return words
}

function load(bytes: Uint8Array): Packet {
  const packet = pool.alloc(bytes.length)!
  pool.mem.set(bytes, packet.head)
  packet.len = bytes.length
  return packet
}

/** The bytes after both ends were translated. */
function translated(bytes: Uint8Array, other: Int32Array): Uint8Array {
  const packet = load(bytes)
  translate.putDestination(pool.mem, packet, packet.head, other)
  translate.putSource(pool.mem, packet, packet.head, other)
  const result = pool.mem.slice(packet.head, packet.head + packet.len)
  pool.free(packet)
  return result
}

/** As {@link translated}, of an ICMP error on its way to `other`'s source. */
function translatedError(bytes: Uint8Array, other: Int32Array, outer = true): Uint8Array {
  const packet = load(bytes)
  translate.putErrorDestination(pool.mem, packet, packet.head, other)
  translate.putErrorSource(pool.mem, packet, packet.head, other, outer)
  const result = pool.mem.slice(packet.head, packet.head + packet.len)
  pool.free(packet)
  return result
}

/** CRC32c bit by bit, written independently of the stack's. */
function crc32c(bytes: Uint8Array): number {
  let crc = 0xffff_ffff
  for (const octet of bytes) {
    crc ^= octet
    for (let i = 0; i < 8; i++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f6_3b78 : 0)
  }
  return ~crc >>> 0
}

function sctp(ends: Ends, fromPort: number, toPort: number, chunk: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(12 + chunk.length)
  const view = new DataView(bytes.buffer)
  view.setUint16(0, fromPort)
  view.setUint16(2, toPort)
  view.setUint32(4, 0xcafe_f00d)
  bytes.set(chunk, 12)
  view.setUint32(8, crc32c(bytes), true)
  if (ends.from.includes(':')) return ip6({ ...ends, next: 132 }, bytes)
  return ip4({ ...ends, protocol: 132 }, bytes)
}

function echo(ends: Ends, id: number, data: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(8 + data.length)
  const six = ends.from.includes(':')
  bytes[0] = six ? 128 : 8
  new DataView(bytes.buffer).setUint16(4, id)
  bytes.set(data, 8)
  if (six) return icmp6(ends, bytes)
  new DataView(bytes.buffer).setUint16(2, ~sum(bytes, 0, bytes.length) & 0xffff)
  return ip4({ ...ends, protocol: 1 }, bytes)
}

function error(ends: Ends, quote: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(8 + quote.length)
  const six = ends.from.includes(':')
  bytes.set(six ? [1, 4] : [3, 3])
  bytes.set(quote, 8)
  if (six) return icmp6(ends, bytes)
  new DataView(bytes.buffer).setUint16(2, ~sum(bytes, 0, bytes.length) & 0xffff)
  return ip4({ ...ends, protocol: 1 }, bytes)
}

const transports = {
  tcp: (e: Ends, a: number, b: number, data: Uint8Array) =>
    tcp(e, { from: a, to: b, flags: 0x18, seq: 7, ack: 9 }, data),
  udp: (e: Ends, a: number, b: number, data: Uint8Array) => udp(e, { from: a, to: b }, data),
  sctp,
} as const

describe('translation', () => {
  it.each(Object.keys(transports) as (keyof typeof transports)[])(
    'of %s gives the packet that its new sender would have sent',
    (name) => {
      const build = transports[name]
      const property = fc.property(
        twice,
        fc.tuple(ports, ports, ports, ports),
        payloads,
        ([before, after], [a, b, c, d], data) => {
          const result = translated(build(before, a, b, data), otherOf(after, c, d))
          expect(result).toEqual(build(after, c, d, data))
        },
      )
      fc.assert(property, { numRuns: 300 })
    },
  )

  it('of an echo gives the echo with the other identifier', () => {
    const property = fc.property(twice, ports, ports, payloads, ([before, after], a, b, data) => {
      const result = translated(echo(before, a, data), otherOf(after, b, b))
      expect(result).toEqual(echo(after, b, data))
    })
    fc.assert(property, { numRuns: 300 })
  })

  it('of a partial checksum changes the sum of the pseudo-header alone', () => {
    const property = fc.property(
      twice,
      fc.constantFrom('tcp' as const, 'udp' as const),
      fc.tuple(ports, ports, ports, ports),
      payloads,
      ([before, after], name, [a, b, c, d], data) => {
        const bytes = transports[name](before, a, b, data)
        const start = before.from.includes(':') ? 40 : 20
        const packet = load(bytes)
        const { mem } = pool
        packet.csumStart = packet.head + start
        packet.csumOffset = name === 'tcp' ? 16 : 6
        const field = packet.csumStart + packet.csumOffset
        const protocol = name === 'tcp' ? 6 : 17
        const partial = pseudo({ ...before, protocol }, bytes.length - start)
        mem[field] = partial >>> 8
        mem[field + 1] = partial & 0xff
        translate.putSource(mem, packet, packet.head, otherOf(after, c, d))
        translate.putDestination(mem, packet, packet.head, otherOf(after, c, d))
        const wanted = pseudo({ ...after, protocol }, bytes.length - start)
        expect(u16(mem, field) % 0xffff).toBe(wanted % 0xffff)
        finish(mem, packet.csumStart, packet.csumOffset, packet.head + packet.len)
        expect(mem.slice(packet.head, packet.head + packet.len)).toEqual(
          transports[name](after, c, d, data),
        )
        pool.free(packet)
      },
    )
    fc.assert(property, { numRuns: 300 })
  })

  it('leaves a UDP checksum of zero', () => {
    const property = fc.property(twice, ports, ports, ([before, after], a, b) => {
      const bytes = udp(before, { from: a, to: b }, Uint8Array.of(1, 2, 3))
      const at = (before.from.includes(':') ? 40 : 20) + 6
      bytes[at] = 0
      bytes[at + 1] = 0
      const result = translated(bytes, otherOf(after, b, a))
      expect(u16(result, at)).toBe(0)
    })
    fc.assert(property, { numRuns: 50 })
  })

  it('sends a UDP checksum that becomes zero as ones', () => {
    const ends = { from: '10.1.0.11', to: '10.2.0.22' }
    // The payload takes up what the rest of the sum lacks, so that port 7 gives a sum of ones.
    const data = new Uint8Array(2)
    const whole = udp(ends, { from: 7, to: 53 }, data)
    const lacking = u16(whole, 26)
    data.set([lacking >>> 8, lacking & 0xff])
    const result = translated(udp(ends, { from: 9, to: 53 }, data), otherOf(ends, 7, 53))
    expect(u16(result, 26)).toBe(0xffff)
    expect(isTransportIntact(result)).toBe(true)
  })

  it('leaves a packet that was damaged damaged', () => {
    const ends = { from: '10.1.0.11', to: '10.2.0.22' }
    const after = { from: '203.0.113.2', to: '198.51.100.9' }
    const bytes = tcp(ends, { to: 80, flags: 2 }, Uint8Array.of(1, 2, 3))
    bytes[bytes.length - 1]! ^= 0x40
    expect(isTransportIntact(translated(bytes, otherOf(after, 1, 2)))).toBe(false)
    const crc = sctp(ends, 1, 2, Uint8Array.of(1, 2, 3, 4))
    crc[crc.length - 1]! ^= 0x40
    const result = translated(crc, otherOf(after, 3, 4))
    const intact = sctp(after, 3, 4, Uint8Array.of(1, 2, 3, 4))
    expect(result.slice(28, 32)).toEqual(intact.slice(28, 32))
  })

  it('of a later fragment changes addresses only', () => {
    const data = Uint8Array.from({ length: 40 }, (_, i) => i)
    const before = { from: '10.1.0.11', to: '10.2.0.22' }
    const after = { from: '203.0.113.2', to: '198.51.100.9' }
    for (const protocol of [1, 6, 17, 132]) {
      const options = { protocol, fragment: 100 }
      const result = translated(ip4({ ...before, ...options }, data), otherOf(after, 1, 2))
      expect(result).toEqual(ip4({ ...after, ...options }, data))
    }
    const six = { from: 'fd00:1::11', to: 'fd00:2::22', next: 44 }
    const six2 = { from: '2001:db8::2', to: '2001:db8::9', next: 44 }
    const piece = Uint8Array.of(17, 0, 0x05, 0xa0, 0, 0, 0, 9, ...data)
    expect(translated(ip6(six, piece), otherOf(six2, 1, 2))).toEqual(ip6(six2, piece))
  })

  it('of a first fragment mends the checksum of the whole', () => {
    const before = { from: 'fd00:1::11', to: 'fd00:2::22' }
    const after = { from: '2001:db8::2', to: '2001:db8::9' }
    const cut = (whole: Uint8Array, ends: Ends): Uint8Array =>
      ip6({ ...ends, next: 44 }, Uint8Array.of(17, 0, 0, 1, 0, 0, 0, 9, ...whole.slice(40, 64)))
    const data = new Uint8Array(100).fill(7)
    const result = translated(
      cut(udp(before, { from: 5, to: 6 }, data), before),
      otherOf(after, 7, 8),
    )
    expect(result).toEqual(cut(udp(after, { from: 7, to: 8 }, data), after))
  })

  it('finds the ports behind IPv4 options and IPv6 extension headers', () => {
    const four = { from: '10.1.0.11', to: '10.2.0.22' }
    const four2 = { from: '203.0.113.2', to: '198.51.100.9' }
    const options = Uint8Array.of(1, 1, 1, 0)
    const with4 = (ends: Ends, a: number, b: number): Uint8Array =>
      ip4({ ...ends, options }, udp(ends, { from: a, to: b }, Uint8Array.of(9)).slice(20))
    expect(translated(with4(four, 1, 2), otherOf(four2, 3, 4))).toEqual(with4(four2, 3, 4))
    const six = { from: 'fd00:1::11', to: 'fd00:2::22' }
    const six2 = { from: '2001:db8::2', to: '2001:db8::9' }
    const with6 = (ends: Ends, a: number, b: number): Uint8Array => {
      const datagram = udp(ends, { from: a, to: b }, Uint8Array.of(9)).slice(40)
      return ip6({ ...ends, next: 60 }, Uint8Array.of(17, 0, 1, 4, 0, 0, 0, 0, ...datagram))
    }
    expect(translated(with6(six, 1, 2), otherOf(six2, 3, 4))).toEqual(with6(six2, 3, 4))
  })
})

describe('translation of ICMP errors', () => {
  it('gives the error with the quote as the sender knows it, however short', () => {
    const property = fc.property(
      twice,
      fc.constantFrom('tcp' as const, 'udp' as const),
      fc.tuple(ports, ports, ports, ports),
      fc.uint8Array({ minLength: 0, maxLength: 60 }),
      fc.integer({ min: 0, max: 40 }).map((half) => 2 * half),
      ([outside, inside], name, [a, b, c, d], data, extra) => {
        const headers = (outside.from.includes(':') ? 40 : 20) + 8
        const build = (ends: Ends, from: number, to: number): Uint8Array => {
          const whole = transports[name](ends, from, to, data)
          return whole.slice(0, Math.min(whole.length, headers + extra))
        }
        const back = ({ from, to }: Ends): Ends => ({ from: to, to: from })
        const arrived = error(back(outside), build(outside, a, b))
        // The error goes from inside.to to inside.from: the tuple of what it is about.
        const result = translatedError(arrived, otherOf(back(inside), d, c))
        expect(result).toEqual(error(back(inside), build(inside, c, d)))
      },
    )
    fc.assert(property, { numRuns: 500 })
  })

  it('leaves the address of a router on the way, if told', () => {
    const outside = { from: '203.0.113.2', to: '198.51.100.9' }
    const inside = { from: '10.1.0.11', to: '198.51.100.9' }
    const hop = { from: '192.0.2.1', to: '203.0.113.2' }
    const quote = udp(outside, { from: 6000, to: 53 }, Uint8Array.of(1))
    const other = otherOf({ from: inside.to, to: inside.from }, 53, 5000)
    const packet = load(error(hop, quote))
    translate.putErrorDestination(pool.mem, packet, packet.head, other)
    translate.putErrorSource(pool.mem, packet, packet.head, other, false)
    const result = pool.mem.slice(packet.head, packet.head + packet.len)
    pool.free(packet)
    const wanted = udp(inside, { from: 5000, to: 53 }, Uint8Array.of(1))
    expect(result).toEqual(error({ from: hop.from, to: inside.from }, wanted))
  })

  it('translates the identifier of a quoted echo', () => {
    const outside = { from: '203.0.113.2', to: '198.51.100.9' }
    const inside = { from: '10.1.0.11', to: '198.51.100.9' }
    const back = ({ from, to }: Ends): Ends => ({ from: to, to: from })
    const data = Uint8Array.of(1, 2, 3)
    const result = translatedError(
      error(back(outside), echo(outside, 77, data)),
      otherOf(back(inside), 5, 5),
    )
    expect(result).toEqual(error(back(inside), echo(inside, 5, data)))
  })

  it('never reads or writes outside a packet cut short anywhere', () => {
    const outside = { from: '203.0.113.2', to: '198.51.100.9' }
    const six = { from: '2001:db8::2', to: '2001:db8::9' }
    const four = error(outside, tcp(outside, { to: 80, flags: 2 }, Uint8Array.of(1)))
    const all = [
      [four, 28 + 20],
      [error(six, udp(six, { to: 53 }, Uint8Array.of(1))), 48 + 40],
    ] as const
    for (const [whole, least] of all) {
      for (let bytes = least; bytes < whole.length; bytes++) {
        const packet = load(whole.slice(0, bytes))
        const { mem } = pool
        const after = mem.slice(packet.head + bytes, packet.slot + packet.slotBytes)
        const ends = whole === four ? outside : six
        translate.putErrorDestination(mem, packet, packet.head, otherOf(ends, 1, 2))
        translate.putErrorSource(mem, packet, packet.head, otherOf(ends, 1, 2), true)
        expect(mem.slice(packet.head + bytes, packet.slot + packet.slotBytes)).toEqual(after)
        pool.free(packet)
      }
    }
    expect(pool.leaks()).toEqual([])
  })
})
