import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  contains,
  formatAddress,
  formatPrefix,
  formatWords,
  fromBytes,
  isAt,
  loadWords,
  networkOf,
  overlaps,
  parseAddress,
  parsePrefix,
  putAddress,
  sameAddress,
  toBytes,
  wordMask,
} from '../../stack/address.ts'
import { formatMac, isGroupMac, parseMac, sameMac } from '../../stack/eth/mac.ts'

const bytes4 = fc.uint8Array({ minLength: 4, maxLength: 4 })
const bytes16 = fc.uint8Array({ minLength: 16, maxLength: 16 })

describe('addresses', () => {
  it.each([
    ['10.1.0.11', '10.1.0.11'],
    ['255.255.255.255', '255.255.255.255'],
    ['fd00:1:0:0:0:0:0:11', 'fd00:1::11'],
    ['2001:DB8::A', '2001:db8::a'],
    ['::', '::'],
    ['::ffff:10.0.0.1', '::ffff:a00:1'],
  ])('%s is written %s', (text, canonical) => {
    expect(formatAddress(parseAddress(text))).toBe(canonical)
  })

  it.each(['', '10.1', '10.1.0.256', '0x0a.0.0.1', '010.0.0.1', 'fd00::1::2', 'fe80::1%eth0', 'x'])(
    '"%s" is refused',
    (text) => {
      expect(() => parseAddress(text)).toThrow(/not an IPv4 or IPv6 address/)
    },
  )

  it.each(['10.1.0.0', '10.1.0.0/', '10.1.0.0/33', 'fd00::/129', '10.0.0.0/1e1', '10.0.0.0/-1'])(
    'the prefix "%s" is refused',
    (text) => {
      expect(() => parsePrefix(text)).toThrow(/ADDRESS\/BITS|at most/)
    },
  )

  it('survive the way through text, octets and words', () => {
    fc.assert(
      fc.property(fc.oneof(bytes4, bytes16), (bytes) => {
        const address = fromBytes(bytes)
        // An IPv4-mapped IPv6 address is the one value that words cannot tell from IPv4.
        expect(toBytes(address)).toEqual(bytes)
        expect(sameAddress(parseAddress(formatAddress(address)), address)).toBe(true)
        const mem = new Uint8Array(20).fill(0xa5)
        putAddress(mem, 2, address)
        expect(isAt(mem, 2, address)).toBe(true)
        const words = new Int32Array(6)
        loadWords(mem, 2, address.family, words, 1)
        expect(words.slice(1, 5)).toEqual(address.words)
      }),
    )
    expect(formatWords(parseAddress('10.0.0.1').words)).toBe('10.0.0.1')
    expect(formatWords(parseAddress('fd00::1').words)).toBe('fd00::1')
  })

  it('know their network', () => {
    expect(formatAddress(networkOf(parsePrefix('10.1.2.3/20')))).toBe('10.1.0.0')
    expect(formatAddress(networkOf(parsePrefix('fd00:1:2:3::9/33')))).toBe('fd00:1::')
    expect(contains(parsePrefix('10.1.0.0/24'), parseAddress('10.1.0.255'))).toBe(true)
    expect(contains(parsePrefix('10.1.0.0/24'), parseAddress('10.1.1.0'))).toBe(false)
    expect(contains(parsePrefix('0.0.0.0/0'), parseAddress('::1'))).toBe(false)
    expect(contains(parsePrefix('::/0'), parseAddress('fd00::1'))).toBe(true)
    expect(overlaps(parsePrefix('10.0.0.0/8'), parsePrefix('10.9.0.0/16'))).toBe(true)
    expect(overlaps(parsePrefix('10.9.0.0/16'), parsePrefix('10.0.0.0/8'))).toBe(true)
    expect(overlaps(parsePrefix('10.8.0.0/16'), parsePrefix('10.9.0.0/16'))).toBe(false)
    expect(formatPrefix(parsePrefix('10.1.0.1/24'))).toBe('10.1.0.1/24')
    expect([wordMask(-5), wordMask(0), wordMask(1), wordMask(32), wordMask(40)]).toEqual([
      0,
      0,
      -(2 ** 31),
      -1,
      -1,
    ])
  })
})

describe('hardware addresses', () => {
  it('survive the way through text', () => {
    const macs = fc.record({ hi: fc.nat(0xffff), lo: fc.integer({ min: 0, max: 0xffff_ffff }) })
    fc.assert(fc.property(macs, (mac) => sameMac(parseMac(formatMac(mac)), mac)))
    expect(formatMac(parseMac('02-00-00-00-00-0B'))).toBe('02:00:00:00:00:0b')
    expect(isGroupMac(parseMac('01:00:5e:00:00:01'))).toBe(true)
    expect(() => parseMac('02:00:00:00:00')).toThrow(/not a MAC address/)
  })
})
