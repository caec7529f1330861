/** MessagePack, LZW and memberlist's messages: vectors, both ways, and damaged input. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { compress, decompress } from '../../../services/gossip/lzw.ts'
import { decodeMessage, encodeMessage, type Message } from '../../../services/gossip/messages.ts'
import { Reader, type Value } from '../../../services/gossip/msgpack.ts'
import { type Encodable, encode } from '../../../services/gossip/msgpack_writer.ts'
import {
  decodeSerf,
  decodeState,
  encodeSerf,
  encodeState,
  type SerfMessage,
} from '../../../services/gossip/serf_messages.ts'
import { decodeTags, encodeTags } from '../../../services/gossip/tags.ts'
import { parseAddress } from '../../../stack/address.ts'
import { Random } from '../../../stack/random.ts'

const hex = (text: string): Uint8Array =>
  new Uint8Array(Buffer.from(text.replaceAll(' ', ''), 'hex'))
const toHex = (mem: Uint8Array): string => Buffer.from(mem).toString('hex')

/** What a value becomes: texts are octets, and objects maps. */
function plain(value: Value | undefined): unknown {
  if (value instanceof Uint8Array) return `raw:${toHex(value)}`
  if (value instanceof Map) return Object.fromEntries([...value].map(([k, v]) => [k, plain(v)]))
  if (Array.isArray(value)) return value.map(plain)
  return value
}

describe('msgpack', () => {
  // The format's specification, old and new.
  it.each<[Encodable, string]>([
    [null, 'c0'],
    [false, 'c2'],
    [true, 'c3'],
    [0, '00'],
    [127, '7f'],
    [128, 'cc80'],
    [256, 'cd0100'],
    [65_536, 'ce00010000'],
    [2 ** 32, 'cf0000000100000000'],
    [3_200_000_000, 'cebebc2000'],
    [-1, 'ff'],
    [-33, 'd0df'],
    [-200, 'd1ff38'],
    ['', 'a0'],
    ['a', 'a161'],
    ['x'.repeat(32), `da0020${'78'.repeat(32)}`],
    [[1, 2], '920102'],
    [{ a: 1 }, '81a16101'],
  ])('encodes %j', (value, wanted) => {
    expect(toHex(encode(value))).toBe(wanted)
    const reader = new Reader(hex(wanted))
    expect(encode(reader.next() as Encodable)).toBeDefined()
    expect(reader.done).toBe(true)
  })

  it.each<[string, unknown]>([
    ['d90161', 'raw:61'],
    ['c4020102', 'raw:0102'],
    ['c5000161', 'raw:61'],
    ['db0000000161', 'raw:61'],
    ['d3ffffffffffffffff', -1],
    ['cb3ff8000000000000', 1.5],
    ['dc000101', [1]],
    ['de0001a16102', { a: 2 }],
    ['df00000001a16102', { a: 2 }],
  ])('decodes %s of either specification', (text, wanted) => {
    expect(plain(new Reader(hex(text)).next())).toEqual(wanted)
  })

  it('refuses what is none, and says what is missing', () => {
    for (const text of ['c1', 'c7010161', 'd40100', '81017f', 'cfffffffffffffffff', '81a1ff01']) {
      const reader = new Reader(hex(text))
      expect({ text, value: reader.next(), wanted: reader.wanted }).toEqual({ text, wanted: 0 })
    }
    const deep = new Reader(new Uint8Array(100).fill(0x91))
    expect([deep.next(), deep.wanted]).toEqual([undefined, 0])
    const short = new Reader(hex('da0020'))
    expect([short.next(), short.wanted, short.at]).toEqual([undefined, 35, 0])
    const many = new Reader(hex('ddffffffff00'))
    expect([many.next(), many.wanted]).toEqual([undefined, 0])
  })

  it('gives back what went in, and never throws on a part of it', () => {
    const value = fc.letrec<{ value: Encodable }>((tie) => ({
      value: fc.oneof(
        { depthSize: 'small', maxDepth: 4 },
        fc.constant(null),
        fc.boolean(),
        fc.integer({ min: -(2 ** 31), max: Number.MAX_SAFE_INTEGER }),
        fc.uint8Array({ maxLength: 300 }),
        fc.array(tie('value'), { maxLength: 20 }),
        fc.dictionary(fc.string({ minLength: 1 }), tie('value'), { maxKeys: 20 }),
      ),
    })).value
    const encodable = (v: Encodable): unknown => {
      if (v instanceof Uint8Array) return `raw:${toHex(v)}`
      if (Array.isArray(v)) return v.map(encodable)
      if (v !== null && typeof v === 'object') {
        return Object.fromEntries(Object.entries(v).map(([k, item]) => [k, encodable(item)]))
      }
      return v
    }
    fc.assert(
      fc.property(value, fc.nat(), (v, cut) => {
        const mem = encode(v)
        expect(plain(new Reader(mem).next())).toEqual(encodable(v))
        const reader = new Reader(mem.subarray(0, cut % mem.length))
        expect(reader.next()).toBeUndefined()
        expect(reader.wanted).toBeGreaterThan(cut % mem.length)
      }),
    )
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (mem) => void new Reader(mem).next()))
  })
})

describe('lzw', () => {
  it('writes what the algorithm gives', () => {
    // 9 bits each, low bits first: clear, A, B, 258 (AB), 260 (ABA), end.
    const codes = [256, 0x41, 0x42, 258, 260, 257]
    let bits = 0n
    for (const [i, code] of codes.entries()) bits |= BigInt(code) << BigInt(9 * i)
    const wanted = new Uint8Array(7).map((_, i) => Number((bits >> BigInt(8 * i)) & 0xffn))
    const text = Buffer.from('ABABABA')
    expect(toHex(compress(text))).toBe(toHex(wanted))
    expect(Buffer.from(decompress(wanted, 7)!).toString()).toBe('ABABABA')
    expect(decompress(wanted, 6)).toBeUndefined()
  })

  it('gives back what went in, through every width and full tables', () => {
    const random = new Random(1)
    for (const bytes of [0, 1, 2, 255, 256, 257, 600, 5000, 40_000, 200_000]) {
      for (const symbols of [1, 2, 3, 200, 256]) {
        const mem = new Uint8Array(bytes).map(() => random.below(symbols))
        const packed = compress(mem)
        expect(Buffer.compare(decompress(packed, bytes)!, mem)).toBe(0)
        if (bytes > 1) expect(decompress(packed, bytes - 1)).toBeUndefined()
      }
    }
  })

  it('refuses damage, and a little that stands for much', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (mem) => {
        const out = decompress(mem, 1000)
        expect(out === undefined || out.length <= 1000).toBe(true)
      }),
    )
    const bomb = compress(new Uint8Array(1_000_000))
    expect(bomb.length).toBeLessThan(4000)
    expect(decompress(bomb, 65_536)).toBeUndefined()
  })
})

const address = parseAddress('10.0.0.1')
const address6 = parseAddress('fd00::1')
const none = { sourceAddress: undefined, sourcePort: 0, sourceNode: '' }

const MESSAGES: readonly Message[] = [
  { type: 'ping', seq: 7, node: 'n1', ...none },
  { type: 'ping', seq: 1, node: '', sourceAddress: address6, sourcePort: 7946, sourceNode: 'me' },
  { type: 'indirect-ping', seq: 9, target: address, port: 7946, nack: true, node: 'n2', ...none },
  { type: 'ack', seq: 4_294_967_295, payload: Uint8Array.of(1, 2) },
  { type: 'nack', seq: 3 },
  { type: 'suspect', incarnation: 5, node: 'n2', from: 'n1' },
  { type: 'dead', incarnation: 5, node: 'n2', from: 'n2' },
  {
    type: 'alive',
    incarnation: 1,
    node: 'knöten',
    address: address6,
    port: 1,
    meta: encodeTags({ role: 'x' }),
    versions: Uint8Array.of(1, 5, 2, 2, 5, 4),
  },
  { type: 'user', payload: Uint8Array.of(0x74) },
]

const SERF: readonly Exclude<SerfMessage, { type: 'relay' }>[] = [
  { type: 'leave', time: 3, node: 'n1', prune: true },
  { type: 'join', time: 2 ** 40, node: 'n1', prune: false },
  { type: 'user-event', time: 1, name: 'deploy', payload: Uint8Array.of(1), coalesce: true },
  {
    type: 'query',
    time: 5,
    id: 77,
    address,
    port: 7946,
    sourceNode: 'n1',
    filters: [Uint8Array.of(0, 0x90)],
    flags: 1,
    timeoutMs: 3200,
    name: '_serf_ping',
    payload: new Uint8Array(0),
  },
  { type: 'query-response', time: 5, id: 77, from: 'n2', flags: 0, payload: Uint8Array.of(9) },
  { type: 'tapline', payload: Uint8Array.of(1, 2, 3) },
]

const STATE = {
  time: 9,
  statusTimes: new Map([
    ['n1', 3],
    ['__proto__', 4],
  ]),
  left: ['n1'],
  eventTime: 2,
  events: [{ time: 1, events: [{ name: 'deploy', payload: Uint8Array.of(1) }] }],
  queryTime: 1,
}

describe('messages', () => {
  it('are what they were on the other side', () => {
    for (const message of MESSAGES) expect(decodeMessage(encodeMessage(message))).toEqual(message)
    for (const message of SERF) expect(decodeSerf(encodeSerf(message))).toEqual(message)
    expect(decodeState(encodeState(STATE))).toEqual(STATE)
    expect({ ...decodeTags(encodeTags({ role: 'x', dc: '' })) }).toEqual({ role: 'x', dc: '' })
  })

  it('has the octets of a ping that a serf agent sends', () => {
    // { SeqNo: 77, Node: "s1" }: as go-msgpack writes it.
    const ping = encodeMessage({ type: 'ping', seq: 77, node: 's1', ...none })
    expect(toHex(ping)).toBe('0082a55365714e6f4da44e6f6465a27331')
  })

  it('are refused where they are malformed', () => {
    const alive = MESSAGES[7]!
    if (alive.type !== 'alive') throw new Error('not an alive')
    const bad: Message[] = [
      { ...alive, node: '' },
      { ...alive, node: 'x'.repeat(129) },
      { ...alive, meta: new Uint8Array(513) },
      { ...alive, versions: Uint8Array.of(1, 2) },
      { ...alive, port: 70_000 },
      { type: 'suspect', incarnation: 2 ** 33, node: 'n', from: 'm' },
    ]
    for (const message of bad) expect(decodeMessage(encodeMessage(message))).toBeUndefined()
    for (const text of ['', '00', '0090', '0081a55365714e6fa0', '0180', '0681a14100', 'ff80']) {
      expect(decodeMessage(hex(text))).toBeUndefined()
    }
  })

  it('never make a decoder throw, however they are damaged', () => {
    const vectors = [
      ...MESSAGES.map(encodeMessage),
      ...SERF.map(encodeSerf),
      encodeState(STATE),
      encodeTags({ role: 'x' }),
    ]
    const random = new Random(2)
    for (let i = 0; i < 20_000; i++) {
      const vector = vectors[random.below(vectors.length)]!
      const mem = vector.slice(0, random.below(4) === 0 ? random.below(vector.length) : undefined)
      for (let n = random.below(4); n > 0 && mem.length > 0; n--) {
        mem[random.below(mem.length)] = random.below(256)
      }
      decodeMessage(mem)
      decodeSerf(mem)
      decodeState(mem)
      decodeTags(mem)
    }
  })
})
