/** DHCP messages and the values of their options: vectors of the RFCs, garbage, limits. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ipv4, parseAddress, parsePrefix } from '../../stack/address.ts'
import * as dhcp from '../../stack/udp/dhcp.ts'
import * as value from '../../stack/udp/dhcp_values.ts'

const MAC = { hi: 0x0200, lo: 0x0000_000b }
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

function message(
  options: readonly (readonly [number, Uint8Array])[],
  bytesMax = 548,
): { mem: Uint8Array; bytes: number } {
  const mem = new Uint8Array(2000).fill(0xa5)
  const fields = { request: true, xid: 0x1234_5678, broadcast: true, mac: MAC, options }
  return { mem, bytes: dhcp.put(mem, 8, fields, bytesMax) }
}

describe('a DHCP message', () => {
  it('is read as it was written, into memory full of something else', () => {
    const { mem, bytes } = message([
      [dhcp.Option.Type, value.octet(dhcp.MessageType.Discover)],
      [dhcp.Option.Requested, value.word(0x0a01_0005)],
      [dhcp.Option.MaxBytes, value.half(1400)],
    ])
    expect(bytes).toBe(300)
    const read = dhcp.parse(mem, 8, bytes)!
    expect(read).toMatchObject({ request: true, type: 1, xid: 0x1234_5678, broadcast: true })
    expect(read.mac).toEqual(MAC)
    expect([read.ciaddr, read.yiaddr, read.giaddr]).toEqual([0, 0, 0])
    expect(dhcp.addressOption(read, dhcp.Option.Requested)).toBe(0x0a01_0005)
    expect(dhcp.maxBytes(read)).toBe(1400)
    expect(dhcp.addressOption(read, dhcp.Option.Server)).toBeUndefined()
    expect(mem[7], 'not before').toBe(0xa5)
    expect(mem[8 + bytes], 'not behind').toBe(0xa5)
  })

  it('has the layout of RFC 2131 §2', () => {
    const { mem } = message([[dhcp.Option.Type, value.octet(1)]])
    expect(hex(mem.subarray(8, 20))).toBe('010106001234567800008000')
    expect(hex(mem.subarray(36, 42))).toBe('02000000000b')
    expect(hex(mem.subarray(244, 252))).toBe('63825363350101ff')
  })

  it('splits a long option (RFC 3396), and leaves out what does not fit', () => {
    const long = new Uint8Array(300).fill(7)
    const type = [dhcp.Option.Type, value.octet(2)] as const
    const { mem, bytes } = message([type, [dhcp.Option.Search, long]], 1000)
    expect(bytes).toBe(240 + 3 + 2 + 255 + 2 + 45 + 1)
    expect(mem[8 + 243 + 1]).toBe(255)
    expect(mem[8 + 243 + 2 + 255 + 1]).toBe(45)
    expect(message([type, [dhcp.Option.Search, long]], 548).bytes).toBeLessThanOrEqual(548)
    expect(message([type, [dhcp.Option.Search, long]], 500).bytes).toBe(300)
  })

  it('is none without its cookie, type, or the octets that its lengths tell of', () => {
    const { mem, bytes } = message([[dhcp.Option.Type, value.octet(1)]])
    for (let less = 0; less < 243; less++) {
      expect(dhcp.parse(mem, 8, less)).toBeUndefined()
    }
    for (const [at, octet] of [
      [8, 3],
      [9, 6],
      [10, 5],
      [244, 0],
      [248, 9],
      [249, 255],
    ] as const) {
      const bad = mem.slice()
      bad[at] = octet
      expect(dhcp.parse(bad, 8, bytes), `octet ${at}`).toBeUndefined()
    }
  })

  it('never reads outside, whatever comes', () => {
    const { mem, bytes } = message([[dhcp.Option.Type, value.octet(1)]])
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(1999), fc.nat(255)), { maxLength: 40 }),
        fc.nat(1992),
        (changes, length) => {
          const copy = mem.slice()
          for (const [at, octet] of changes) copy[at] = octet
          for (const take of [length, bytes]) {
            const read = dhcp.parse(copy, 8, take)
            for (const option of read?.options.values() ?? []) {
              expect(option.length).toBeLessThanOrEqual(255)
            }
          }
        },
      ),
      { numRuns: 2000 },
    )
  })
})

describe('values', () => {
  it('are routes by significant octets: the examples of RFC 3442', () => {
    const via = ipv4(0x0a00_0001)
    const of = (text: string): string => hex(value.routes([{ to: parsePrefix(text), via }]))
    expect(of('0.0.0.0/0')).toBe('000a000001')
    expect(of('10.0.0.0/8')).toBe('080a0a000001')
    expect(of('10.17.0.0/16')).toBe('100a110a000001')
    expect(of('10.27.129.0/24')).toBe('180a1b810a000001')
    expect(of('10.229.0.128/25')).toBe('190ae500800a000001')
    expect(of('10.198.122.47/32')).toBe('200ac67a2f0a000001')
  })

  it('are names as labels, and addresses', () => {
    expect(hex(value.search(['eng.apple.com', 'a.b.']))).toBe(
      '03656e67056170706c6503636f6d00' + '0161016200',
    )
    expect(hex(value.addresses([parseAddress('10.0.0.1'), parseAddress('10.0.0.2')]))).toBe(
      '0a0000010a000002',
    )
    for (const bad of ['', 'a..b', `${'x'.repeat(64)}.de`, 'a b', 'x.'.repeat(128)]) {
      expect(() => value.search([bad])).toThrow('is not a domain name')
    }
  })
})
