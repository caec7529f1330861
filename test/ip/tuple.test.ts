import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { loadWords } from '../../stack/address.ts'
import {
  DST,
  invert,
  kindOf,
  PORTS,
  PROTOCOL,
  readTuple,
  SRC,
  TUPLE_WORDS,
  TupleKind,
  transportOf,
} from '../../stack/ip/tuple.ts'
import { A4, A6, B4, B6, echo4, echo6, icmp6, ip4, ip6, octets, pattern, tcp, udp } from './lab.ts'

interface Read {
  readonly kind: number
  readonly transport: number
  readonly words: number[]
}

/** Read in the middle of memory that is full of other things. */
function read(ip: Uint8Array, end = ip.length): Read {
  const mem = new Uint8Array(ip.length + 64).fill(0xa5)
  mem.set(ip.subarray(0, end), 7)
  const words = new Int32Array(TUPLE_WORDS).fill(0x5a5a)
  const result = readTuple(mem, 7, 7 + end, words)
  return { kind: kindOf(result), transport: transportOf(result), words: [...words] }
}

/** The ten words of a tuple by their definition. */
function tuple(from: string, to: string, rest: { ports?: number[]; protocol: number }): number[] {
  const words = new Int32Array(TUPLE_WORDS)
  for (const [at, text] of [
    [SRC, from],
    [DST, to],
  ] as const) {
    const bytes = octets(text)
    loadWords(bytes, 0, bytes.length === 4 ? 4 : 6, words, at)
  }
  const [first = 0, second = 0] = rest.ports ?? []
  words[PORTS] = (first << 16) | second
  words[PROTOCOL] = rest.protocol
  return [...words]
}

const four = { from: A4, to: B4 }
const six = { from: A6, to: B6 }
/** Next header, length 0: eight octets of padding. */
const extension = (next: number): number[] => [next, 0, 1, 4, 0, 0, 0, 0]
const fragment = (next: number, offset: number): number[] => [
  next,
  0,
  offset >> 8,
  offset,
  0,
  0,
  0,
  1,
]

/** An ICMP error of either family about a packet. */
function error(quoted: Uint8Array): Uint8Array {
  const about = quoted[0]! >>> 4 === 6
  const message = new Uint8Array(8 + quoted.length)
  message[0] = about ? 1 : 3
  message.set(quoted, 8)
  return about
    ? icmp6({ from: B6, to: A6 }, message)
    : ip4({ from: B4, to: A4, protocol: 1 }, message)
}

describe('readTuple', () => {
  const ports = { from: 40_000, to: 65_535 }

  it('reads ports of UDP, TCP and SCTP, signs and all', () => {
    for (const [header, at] of [
      [four, 20],
      [six, 40],
    ] as const) {
      const { from, to } = header
      expect(read(udp(header, ports, pattern(3)))).toEqual({
        kind: TupleKind.Flow,
        transport: at,
        words: tuple(from, to, { ports: [40_000, 65_535], protocol: 17 }),
      })
      const segment = tcp(header, { ...ports, flags: 2 }, pattern(0))
      expect(read(segment).words).toEqual(tuple(from, to, { ports: [40_000, 65_535], protocol: 6 }))
    }
    const sctp = ip4({ ...four, protocol: 132 }, Uint8Array.of(1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0))
    expect(read(sctp).words).toEqual(tuple(A4, B4, { ports: [0x102, 0x304], protocol: 132 }))
  })

  it('knows an echo by its identifier, both ways, and other protocols by addresses alone', () => {
    const asked = [0x1234, 0]
    const answered = [0, 0x1234]
    expect(read(echo4(four, pattern(8))).words).toEqual(
      tuple(A4, B4, { ports: asked, protocol: 1 }),
    )
    expect(read(echo6(six, pattern(8))).words).toEqual(
      tuple(A6, B6, { ports: asked, protocol: 58 }),
    )
    const answer = echo4(four, pattern(8))
    answer[20] = 0
    expect(read(answer).words).toEqual(tuple(A4, B4, { ports: answered, protocol: 1 }))
    const gre = read(ip4({ ...four, protocol: 47 }, pattern(4)))
    expect(gre).toMatchObject({ kind: TupleKind.Flow, words: tuple(A4, B4, { protocol: 47 }) })
  })

  it('goes past options and extension headers', () => {
    const options = ip4({ ...four, options: Uint8Array.of(1, 1, 1, 1) }, pattern(8))
    expect(read(options)).toMatchObject({ kind: TupleKind.Flow, transport: 24 })
    const datagram = udp(six, ports, pattern(3)).subarray(40)
    const chained = ip6(
      { ...six, next: 0 },
      Uint8Array.of(...extension(60), ...extension(17), ...datagram),
    )
    expect(read(chained)).toEqual({
      kind: TupleKind.Flow,
      transport: 56,
      words: tuple(A6, B6, { ports: [40_000, 65_535], protocol: 17 }),
    })
  })

  it('tells first fragments, which have ports, from later ones', () => {
    const first = ip4({ ...four, fragment: 0x2000 }, pattern(16))
    expect(read(first).kind).toBe(TupleKind.Flow)
    const later = read(ip4({ ...four, fragment: 0x2001 }, pattern(16)))
    expect(later).toMatchObject({
      kind: TupleKind.Fragment,
      words: tuple(A4, B4, { protocol: 17 }),
    })
    const first6 = ip6({ ...six, next: 44 }, Uint8Array.of(...fragment(17, 1), ...pattern(16)))
    expect(read(first6)).toMatchObject({ kind: TupleKind.Flow, transport: 48 })
    const later6 = ip6({ ...six, next: 44 }, Uint8Array.of(...fragment(17, 9), ...pattern(16)))
    expect(read(later6)).toMatchObject({
      kind: TupleKind.Fragment,
      words: tuple(A6, B6, { protocol: 17 }),
    })
  })

  it('knows an ICMP error by the packet that it quotes, as quoted', () => {
    for (const header of [four, six]) {
      const quoted = udp(header, ports, pattern(30))
      for (const bytes of [quoted.length, header === four ? 28 : 48]) {
        const got = read(error(quoted.slice(0, bytes)))
        expect(got).toMatchObject({ kind: TupleKind.Error, words: read(quoted).words })
      }
      expect(read(error(error(quoted))).kind).toBe(TupleKind.Malformed)
    }
    const echo = echo4(four, pattern(8))
    expect(read(error(echo))).toMatchObject({ kind: TupleKind.Error, words: read(echo).words })
  })

  it('refuses errors that quote too little, another family, or a later fragment', () => {
    for (const [header, least] of [
      [four, 28],
      [six, 48],
    ] as const) {
      const quoted = udp(header, ports, pattern(30))
      for (let bytes = 0; bytes < least; bytes++) {
        expect(read(error(quoted).slice(0, least + bytes)).kind).toBe(TupleKind.Malformed)
      }
    }
    const other = error(udp(four, ports, pattern(30)))
    other[28] = 0x65
    expect(read(other).kind).toBe(TupleKind.Malformed)
    const later = error(ip4({ ...four, fragment: 0x0010 }, pattern(16)))
    expect(read(later).kind).toBe(TupleKind.Malformed)
  })

  it('finds no connection in other ICMP', () => {
    const query = ip4({ ...four, protocol: 1 }, Uint8Array.of(13, 0, 0, 0, 0, 0, 0, 0))
    expect(read(query).kind).toBe(TupleKind.None)
    expect(read(icmp6(six, Uint8Array.of(135, 0, 0, 0, 0, 0, 0, 0))).kind).toBe(TupleKind.None)
  })

  it('refuses packets that are cut short anywhere', () => {
    const chain = Uint8Array.of(...extension(44), ...fragment(17, 1), ...pattern(8))
    const samples: [Uint8Array, number, number][] = [
      [tcp(four, { ...ports, flags: 2 }, pattern(0)), 20, 28],
      [udp(six, ports, pattern(3)), 40, 48],
      [echo4(four, pattern(3)), 20, 28],
      [echo6(six, pattern(3)), 40, 48],
      [ip6({ ...six, next: 0 }, chain), 40, 64],
    ]
    for (const [sample, header, least] of samples) {
      for (let end = header; end <= sample.length; end++) {
        const kind = end < least ? TupleKind.Malformed : TupleKind.Flow
        expect(read(sample, end).kind, `${end} of ${sample.length}`).toBe(kind)
      }
    }
  })

  it('reads garbage without throwing, and nothing beyond its end', () => {
    const samples = [echo4(four, pattern(40)), error(udp(six, ports, pattern(30)))]
    const garbage = fc.uint8Array({ minLength: 60, maxLength: 200 })
    const mutated = fc
      .record({
        of: fc.constantFrom(...samples),
        at: fc.nat(),
        to: fc.array(fc.nat(255), { minLength: 1, maxLength: 4 }),
      })
      .map(({ of, at, to }) => {
        const bytes = of.slice()
        bytes.set(to, Math.min(at % of.length, of.length - to.length))
        return bytes
      })
    fc.assert(
      fc.property(fc.oneof(garbage, mutated), fc.boolean(), (bytes, isSix) => {
        bytes[0] = isSix ? 0x60 : 0x45 + (bytes[0]! % 11)
        const once = read(bytes)
        expect(once.kind).toBeLessThanOrEqual(TupleKind.Malformed)
        const longer = new Uint8Array(bytes.length + 50).fill(0x3c)
        longer.set(bytes)
        expect(read(longer, bytes.length)).toEqual(once)
      }),
      { numRuns: 3000 },
    )
  })
})

describe('invert', () => {
  it('is its own inverse, and is what the answer reads', () => {
    const words = Int32Array.from(read(udp(six, { from: 40_000, to: 53 }, pattern(1))).words)
    const answer = read(udp({ from: B6, to: A6 }, { from: 53, to: 40_000 }, pattern(1))).words
    const other = new Int32Array(TUPLE_WORDS)
    invert(words, other)
    expect([...other]).toEqual(answer)
    const again = new Int32Array(TUPLE_WORDS)
    invert(other, again)
    expect(again).toEqual(words)
  })
})
