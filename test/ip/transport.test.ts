/** Where the transport header is: found in every form, and never where the packet has ended. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  hasTransport,
  locate,
  offsetOf,
  Part,
  partOf,
  protocolOf,
} from '../../stack/ip/transport.ts'
import { A4, A6, B4, B6, ip4, ip6, pattern } from './lab.ts'

const four = { from: A4, to: B4, protocol: 17 }
const six = { from: A6, to: B6 }
const UDP = 17
const extension = (next: number): number[] => [next, 0, 1, 4, 0, 0, 0, 0]
/** `flags`: the offset of the fragment, and 1 if more follow. */
const fragment = (flags: number): number[] => [UDP, 0, flags >> 8, flags & 0xff, 0, 0, 0, 7]
const chain = (...octets: number[]): Uint8Array =>
  ip6({ ...six, next: octets.length === 8 ? 44 : 0 }, Uint8Array.of(...octets, ...pattern(8)))

describe('the transport header', () => {
  it.each([
    ['of IPv4', ip4(four, pattern(8)), 20, Part.Whole],
    ['behind options', ip4({ ...four, options: Uint8Array.of(1, 1, 1, 1) }, pattern(8)), 24, 0],
    ['of a first fragment', ip4({ ...four, fragment: 0x2000 }, pattern(8)), 20, Part.First],
    ['of a later one', ip4({ ...four, fragment: 0x2001 }, pattern(8)), 20, Part.Later],
    ['of the last one', ip4({ ...four, fragment: 1 }, pattern(8)), 20, Part.Later],
    ['of IPv6', ip6({ ...six, next: UDP }, pattern(8)), 40, Part.Whole],
    ['behind a chain', chain(...extension(60), ...extension(UDP)), 56, Part.Whole],
    ['of a first fragment of IPv6', chain(...fragment(1)), 48, Part.First],
    ['of a fragment that is alone', chain(...fragment(0)), 48, Part.First],
    ['of a later one of IPv6', chain(...fragment(9)), 48, Part.Later],
    ['of one behind a chain', chain(...extension(44), ...fragment(8)), 56, Part.Later],
  ])('%s is found', (_, packet, offset, part) => {
    const located = locate(packet, 0, packet.length)
    expect([offsetOf(located), partOf(located), protocolOf(located)]).toEqual([offset, part, UDP])
    expect(hasTransport(located)).toBe(part !== Part.Later)
  })

  it('is nowhere in a chain that is cut short, or too long', () => {
    const whole = chain(...extension(44), ...fragment(8))
    for (const end of [41, 47, 48, 55]) expect(locate(whole, 0, end)).toBe(-1)
    const long = chain(...Array.from({ length: 9 }, () => extension(60)).flat())
    expect(locate(long, 0, long.length)).toBe(-1)
    expect(hasTransport(-1)).toBe(false)
  })

  it('lies within any packet of IPv6', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 40, maxLength: 128 }), (octets) => {
        octets[0] = 0x60
        const located = locate(octets, 0, octets.length)
        expect(located === -1 || offsetOf(located) <= octets.length).toBe(true)
      }),
    )
  })
})
