import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { put16, u16 } from '../../stack/bytes.ts'
import { finish, fold, pseudo4, pseudo6, sum, update } from '../../stack/checksum.ts'

/** RFC 1071 §4.1, as slowly as it is written there. */
function naive(bytes: Uint8Array): number {
  let total = 0
  for (let i = 0; i < bytes.length; i += 2) total += (bytes[i]! << 8) | (bytes[i + 1] ?? 0)
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16)
  return total
}

/** 0 and 0xffff are the same number in one's complement. */
function same(sum: number): number {
  return sum === 0xffff ? 0 : sum
}

describe('sum', () => {
  it('is the example of RFC 1071 §3', () => {
    const bytes = Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7)
    expect(sum(bytes, 0, 8)).toBe(0xddf2)
  })

  it('is the naive sum at every offset and length', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 0, maxLength: 3000 }),
        fc.nat(70),
        fc.nat(0xffff),
        (data, at, seed) => {
          const mem = new Uint8Array(at + data.length + 80).fill(0xa5)
          mem.set(data, at)
          expect(same(sum(mem, at, data.length, seed))).toBe(same(fold(naive(data) + seed)))
        },
      ),
      { numRuns: 2000 },
    )
  })

  it('does not overflow over 64 KB of ones', () => {
    const mem = new Uint8Array(65_536 + 4).fill(0xff)
    for (const at of [0, 1, 2, 3]) expect(sum(mem, at, 65_536)).toBe(0xffff)
    expect(sum(mem, 0, 65_535)).toBe(naive(mem.subarray(0, 65_535)))
  })
})

describe('update', () => {
  it('equals a checksum computed anew (RFC 1624)', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 20, maxLength: 20 }),
        fc.nat(9),
        fc.nat(0xffff),
        (mem, word, value) => {
          const before = ~sum(mem, 0, 20) & 0xffff
          const updated = update(before, u16(mem, 2 * word), value)
          put16(mem, 2 * word, value)
          expect(same(updated)).toBe(same(~sum(mem, 0, 20) & 0xffff))
        },
      ),
    )
  })
})

describe('pseudo-headers and finish', () => {
  it('make a UDP checksum that verifies, over both families', () => {
    for (const [addressBytes, pseudo] of [
      [8, pseudo4],
      [32, pseudo6],
    ] as const) {
      const mem = new Uint8Array(addressBytes + 8 + 101).map((_, i) => i * 7)
      const udp = addressBytes
      const bytes = mem.length - udp
      put16(mem, udp + 6, pseudo(mem, 0, 17, bytes))
      finish(mem, udp, 6, mem.length)
      expect(sum(mem, udp, bytes, pseudo(mem, 0, 17, bytes))).toBe(0xffff)
    }
  })

  it('never send a UDP checksum of zero (RFC 768)', () => {
    const mem = new Uint8Array(8)
    put16(mem, 0, 0xffff)
    finish(mem, 0, 6, 8)
    expect(u16(mem, 6)).toBe(0xffff)
  })
})
