import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  decodeEndpoint,
  decodeVtep,
  encodeEndpoint,
  encodeVtep,
  macKey,
  macOfKey,
} from '../../../services/gossip/endpoint_value.ts'
import {
  OctetReader,
  OctetWriter,
  packOctets,
  unpackOctets,
} from '../../../services/gossip/octets.ts'
import type { RecordRange } from '../../../services/gossip/table_record.ts'
import {
  decodeMessage,
  encodeDigest,
  encodeSummary,
  RangeMessage,
} from '../../../services/gossip/table_wire.ts'
import { parseAddress } from '../../../stack/address.ts'
import { Random } from '../../../stack/random.ts'

const heading = { sender: 'n1', clock: 300 }
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

const RANGES: RecordRange[] = [
  {
    owner: 'n2',
    boot: 5,
    from: 6,
    to: 8,
    records: [
      {
        owner: 'n2',
        key: 0x0200_0000_0001,
        seq: 7,
        since: 9,
        held: 0,
        value: packOctets(Uint8Array.of(1, 2)),
      },
      { owner: 'n2', key: 2, seq: 8, since: 2 ** 40, held: 11, value: undefined },
    ],
  },
  { owner: 'n2', boot: 5, from: 10, to: 11, records: [] },
  { owner: 'n3', boot: 2 ** 41, from: 0, to: 1, records: [] },
]

function messages(): Uint8Array[] {
  const gossip = new RangeMessage('gossip', { heading, vni: 4097, bytesMax: 1000 })
  for (const range of RANGES) expect(gossip.add(range)).toBe(true)
  const progress = [{ owner: 'n2', boot: 2 ** 41, floor: 700 }]
  const tables = [{ vni: 0, hi: 0xffff_ffff, lo: 1 }]
  return [
    gossip.take(),
    encodeSummary(heading, { kind: 'summary', tables }, 1000),
    encodeDigest(heading, { kind: 'digest', vni: 7, progress }),
  ]
}

describe('messages of tables', () => {
  it('are what the header says', () => {
    const [gossip, summary, digest] = messages()
    expect(gossip && hex(gossip)).toBe(
      [
        '540101 026e31 ac02 8120', // 'T', version, gossip; n1; 300; VNI 4097
        '026e32 05 06 02 02', // n2, boot 5, from 6, two writes, both here
        '01 020000000001 00 09 020102',
        '02 000000000002 01 808080808020 0b',
        '00 0a 01 00', // The same owner and boot, from 10, one write, not here
        '026e33 808080808040 00 01 00',
      ]
        .join('')
        .replaceAll(' ', ''),
    )
    expect(summary && hex(summary)).toBe('540103026e31ac0200ffffffff00000001')
    expect(digest && hex(digest)).toBe('540105026e31ac0207026e32808080808040bc05')
  })

  it('read back as what was written', () => {
    const [gossip, summary, digest] = messages()
    expect(decodeMessage(gossip!)).toEqual({
      ...heading,
      body: { kind: 'gossip', vni: 4097, ranges: RANGES },
    })
    expect(decodeMessage(summary!)?.body).toEqual({
      kind: 'summary',
      tables: [{ vni: 0, hi: 0xffff_ffff, lo: 1 }],
    })
    expect(decodeMessage(digest!)?.body).toMatchObject({ vni: 7, kind: 'digest' })
  })

  it('hold no more than they may, and nothing by halves', () => {
    const message = new RangeMessage('gossip', { heading, vni: 1, bytesMax: 60 })
    let added = 0
    while (message.add({ owner: 'n2', boot: 1, from: added, to: added + 1, records: [] })) added++
    expect(message.take().length).toBeLessThanOrEqual(60)
    const { body } = decodeMessage(message.take())!
    expect('ranges' in body && body.ranges).toHaveLength(added)
    const tables = Array.from({ length: 50 }, (_, vni) => ({ vni, hi: 1, lo: 1 }))
    const summary = decodeMessage(encodeSummary(heading, { kind: 'same', tables }, 100))!.body
    expect('tables' in summary && summary.tables.length).toBe(10)
  })

  it('are refused whole if damaged: cut, changed, of another version, or too long', () => {
    const random = new Random(3)
    for (const bytes of messages()) {
      for (let length = 0; length < bytes.length; length++) {
        const message = decodeMessage(bytes.slice(0, length))
        // What ends between two items is a shorter message.
        if (message !== undefined) expect(message.sender).toBe('n1')
      }
      for (let n = 0; n < 5000; n++) {
        const damaged = bytes.slice()
        for (let i = 0; i <= random.below(3); i++) {
          damaged[random.below(damaged.length)] = random.bits()
        }
        const body = decodeMessage(damaged)?.body
        if (body === undefined || !('ranges' in body)) continue
        for (const { owner, from, to, records } of body.ranges) {
          expect(from <= to && Number.isSafeInteger(to)).toBe(true)
          for (const record of records) {
            expect(record.owner).toBe(owner)
            expect(record.seq > from && Number.isSafeInteger(record.seq)).toBe(true)
          }
        }
      }
      expect(decodeMessage(Uint8Array.of(0x54, 2, ...bytes.subarray(2)))).toBeUndefined()
      expect(decodeMessage(Uint8Array.of(...bytes, 0xff))).toBeUndefined()
    }
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => void decodeMessage(bytes)))
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        void decodeMessage(Uint8Array.of(0x54, 1, (bytes[0] ?? 0) % 8, 2, 0x6e, 0x31, ...bytes))
      }),
      { numRuns: 5000 },
    )
  })

  it('carry numbers up to 2^53 and no further', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), (value) => {
        const writer = new OctetWriter()
        writer.number(value)
        expect(new OctetReader(writer.take()).number()).toBe(value)
      }),
    )
    const reader = new OctetReader(new Uint8Array(9).fill(0xff))
    reader.number()
    expect(reader.failed).toBe(true)
  })
})

describe('values of endpoints', () => {
  const vtep = parseAddress('10.200.0.1')
  const value = {
    vtep,
    addresses: [parseAddress('10.1.0.11'), parseAddress('fd00:1::11')],
    name: 'wéb1',
    aliases: ['web', 'www'],
  }

  it('read back as what was written, and refuse what is no endpoint', () => {
    expect(decodeEndpoint(encodeEndpoint(value))).toEqual(value)
    expect(decodeVtep(encodeVtep(vtep))).toEqual(vtep)
    const bytes = unpackOctets(encodeEndpoint(value))
    for (let length = 0; length < bytes.length; length++) {
      expect(decodeEndpoint(packOctets(bytes.slice(0, length)))).toBeUndefined()
    }
    expect(decodeEndpoint(packOctets(Uint8Array.of(...bytes, 0)))).toBeUndefined()
    expect(decodeVtep(packOctets(Uint8Array.of(5, 1, 2, 3, 4, 5)))).toBeUndefined()
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), (all) => {
        expect(unpackOctets(packOctets(all))).toEqual(Buffer.from(all))
        decodeEndpoint(packOctets(all))
      }),
    )
  })

  it('say what is too much', () => {
    const addresses = Array.from({ length: 17 }, () => vtep)
    expect(() => encodeEndpoint({ ...value, addresses })).toThrow(/more than 16 addresses/)
    const aliases = Array.from({ length: 65 }, () => 'x')
    expect(() => encodeEndpoint({ ...value, aliases })).toThrow(/more than 64 aliases/)
    const long = Array.from({ length: 64 }, () => 'x'.repeat(200))
    expect(() => encodeEndpoint({ ...value, aliases: long })).toThrow(/fill more than 8192/)
    expect(() => encodeEndpoint({ ...value, name: 'x'.repeat(256) })).toThrow(/longer than 255/)
  })

  it('are kept under their MAC', () => {
    const mac = { hi: 0xfedc, lo: 0xba98_7654 }
    expect(macOfKey(macKey(mac))).toEqual(mac)
    expect(macKey(mac)).toBe(0xfedc_ba98_7654)
  })
})
