/** What is around messages: compounds, compression, checksums, encryption, labels, streams. */
import { describe, expect, it } from 'vitest'
import {
  compound,
  decrypt,
  encrypt,
  openDatagram,
  type Sealing,
  sealDatagram,
  sealStream,
} from '../../../services/gossip/envelope.ts'
import { Keyring, parseKey } from '../../../services/gossip/keyring.ts'
import {
  decodeMessage,
  encodeMessage,
  encodePushPull,
  WireState,
} from '../../../services/gossip/messages.ts'
import { StreamParser } from '../../../services/gossip/stream_parser.ts'
import { parseAddress } from '../../../stack/address.ts'
import { Random } from '../../../stack/random.ts'

const KEY = Uint8Array.from({ length: 32 }, (_, i) => i)
const OTHER = Uint8Array.from({ length: 16 }, (_, i) => 255 - i)
const NONE = new Uint8Array(0)
const plain: Sealing = { keyring: undefined, label: NONE }
const sealed: Sealing = { keyring: new Keyring([KEY]), label: NONE }
const labelled: Sealing = { keyring: new Keyring([KEY]), label: Buffer.from('shop') }

const one = encodeMessage({ type: 'suspect', incarnation: 5, node: 'n2', from: 'n1' })
const long = encodeMessage({ type: 'user', payload: new Uint8Array(900).fill(0x61) })
const texts = (messages: Uint8Array[] | undefined): string[] | undefined =>
  messages?.map((mem) => Buffer.from(mem).toString('latin1'))

describe('a datagram', () => {
  it.each([
    ['plain', plain],
    ['encrypted', sealed],
    ['labelled', labelled],
  ])('that is %s is opened again', (_, sealing) => {
    for (const crc of [false, true]) {
      const mem = sealDatagram(compound([one, long, one]), sealing, crc)
      expect(mem.length).toBeLessThan(300)
      expect(texts(openDatagram(mem, sealing))).toEqual(texts([one, long, one]))
      expect(texts(openDatagram(sealDatagram(one, sealing, crc), sealing))).toEqual(texts([one]))
    }
  })

  it('is refused by whoever has another key or label, or none', () => {
    const others: Sealing[] = [
      plain,
      { keyring: new Keyring([OTHER]), label: NONE },
      { keyring: new Keyring([KEY]), label: Buffer.from('shap') },
    ]
    for (const other of others) {
      expect(openDatagram(sealDatagram(one, labelled, true), other)).toBeUndefined()
      expect(openDatagram(sealDatagram(one, other, true), labelled)).toBeUndefined()
    }
    expect(openDatagram(sealDatagram(one, plain, true), sealed)).toBeUndefined()
    // Without keys, what is encrypted looks like a message of a type that it is not.
    for (const mem of openDatagram(sealDatagram(one, sealed, true), plain) ?? []) {
      expect(decodeMessage(mem)).toBeUndefined()
    }
  })

  it('is read with any key of the ring, and written with the first', () => {
    const ring = new Keyring([OTHER, KEY])
    expect(
      openDatagram(sealDatagram(one, sealed, true), { ...sealed, keyring: ring }),
    ).toBeDefined()
    ring.use(KEY)
    ring.remove(OTHER)
    expect(
      openDatagram(sealDatagram(one, { ...sealed, keyring: ring }, false), sealed),
    ).toBeDefined()
    expect(() => ring.remove(KEY)).toThrow('primary')
    expect(() => ring.use(OTHER)).toThrow('not installed')
    expect(() => ring.install(new Uint8Array(5))).toThrow('16, 24 or 32')
    expect(() => parseKey('AAAA')).toThrow('16, 24 or 32')
  })

  it('may have the padding of the oldest version', () => {
    for (let bytes = 0; bytes < 40; bytes++) {
      const text = new Uint8Array(bytes).fill(bytes)
      const mem = encrypt(KEY, text, NONE, 0)
      expect((mem.length - 29) % 16).toBe(0)
      expect([...decrypt(new Keyring([KEY]), mem, NONE)!]).toEqual([...text])
    }
  })

  it('is refused with one wrong bit anywhere, if it is encrypted or has a checksum', () => {
    for (const sealing of [plain, labelled]) {
      const good = sealDatagram(compound([one, one]), sealing, true)
      for (let bit = 0; bit < 8 * good.length; bit++) {
        const mem = good.slice()
        mem[bit >> 3]! ^= 1 << (bit & 7)
        // Without a key, a first octet that is another type is another message.
        const opened = openDatagram(mem, sealing)
        if (sealing === labelled || bit >= 8) expect({ bit, opened }).toEqual({ bit })
      }
    }
  })

  it('of an unknown sender is never accepted when there are keys, whatever is in it', () => {
    const random = new Random(3)
    const good = sealDatagram(one, plain, true)
    for (let i = 0; i < 20_000; i++) {
      const bytes = random.below(200)
      const mem = new Uint8Array(bytes).map((_, at) => good[at] ?? random.below(256))
      if (bytes > 0) mem[0] = random.below(3)
      expect(openDatagram(mem, sealed)).toBeUndefined()
      openDatagram(
        mem.map(() => random.below(256)),
        plain,
      )
    }
  })

  it('does not nest without end, nor grow without end', () => {
    let mem = one
    for (let i = 0; i < 8; i++) mem = compound([mem])
    expect(openDatagram(mem, plain)).toBeUndefined()
    expect(openDatagram(Uint8Array.of(7, 255), plain)).toBeUndefined()
    expect(openDatagram(Uint8Array.of(7, 1, 0, 9, 1), plain)).toBeUndefined()
    expect(openDatagram(NONE, plain)).toBeUndefined()
  })
})

const nodes = Array.from({ length: 50 }, (_, i) => ({
  node: `node-${i}`,
  address: parseAddress(`10.0.0.${i}`),
  port: 7946,
  meta: Uint8Array.of(0xff, 0x80),
  incarnation: i,
  state: WireState.Alive,
  versions: Uint8Array.of(1, 5, 2, 2, 5, 4),
}))
const pushPull = encodePushPull(true, nodes, Buffer.from('state'))

describe('a stream', () => {
  it.each([
    ['plain', plain],
    ['encrypted', sealed],
    ['labelled', labelled],
  ])('that is %s is read in pieces of any size', (_, sealing) => {
    // Compressed as we send it, and not, as others may.
    const uncompressed = sealing === plain ? [pushPull] : []
    for (const mem of [sealStream(pushPull, sealing), ...uncompressed]) {
      for (const piece of [1, 7, 100, mem.length]) {
        const parser = new StreamParser(sealing, 100_000)
        let message: ReturnType<StreamParser['push']> = 'more'
        for (let at = 0; at < mem.length; at += piece) {
          expect(message).toBe('more')
          message = parser.push(mem.slice(at, at + piece))
        }
        expect(message).toMatchObject({ type: 'push-pull', join: true, nodes })
      }
    }
  })

  it('is refused if it is too large, of somebody else, or damaged', () => {
    const first = (mem: Uint8Array, sealing: Sealing, max = 100_000): unknown =>
      new StreamParser(sealing, max).push(mem)
    expect(first(pushPull, plain, 500)).toBe('bad')
    expect(first(sealStream(pushPull, sealed), plain)).toBe('bad')
    expect(first(sealStream(pushPull, plain), sealed)).toBe('bad')
    expect(first(sealStream(pushPull, { ...sealed, keyring: new Keyring([OTHER]) }), sealed)).toBe(
      'bad',
    )
    // 1 GB announced.
    expect(first(Uint8Array.of(10, 0x40, 0, 0, 0), sealed)).toBe('bad')
    expect(
      first(Uint8Array.of(8, 0x81, 0xaa, ...Buffer.from('UserMsgLen'), 0xce, 64, 0, 0, 0), plain),
    ).toBe('bad')
  })

  it('never makes the parser throw', () => {
    const random = new Random(4)
    const vectors = [pushPull, sealStream(pushPull, plain), sealStream(pushPull, sealed)]
    for (let i = 0; i < 3000; i++) {
      const mem = vectors[random.below(3)]!.slice()
      for (let n = random.below(6); n >= 0; n--) mem[random.below(mem.length)] = random.below(256)
      const parser = new StreamParser(random.chance(50) ? plain : sealed, 100_000)
      for (let at = 0; at < mem.length; at += 500) {
        if (parser.push(mem.slice(at, at + 500)) !== 'more') break
      }
    }
  })
})
