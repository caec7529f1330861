import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { formatAddress, parseAddress, parsePrefix } from '../../stack/address.ts'
import { announce } from '../../stack/arp/announce.ts'
import * as nd from '../../stack/arp/nd.ts'
import { linkLocal } from '../../stack/arp/nd_emit.ts'
import { Option } from '../../stack/arp/nd_option.ts'
import { solicit } from '../../stack/arp/solicit.ts'
import { mayBeNd, upperLayer } from '../../stack/arp/upper.ts'
import { parseMac } from '../../stack/eth/mac.ts'
import type { Packet } from '../../stack/packet.ts'
import { A, ALL_NODES, B, hex, Lab, type NdFields, ndFrame, O, S, unhex } from './lab.ts'

/** Built with scapy 2.5, which computes checksums by itself: Ethernet, IP (or ARP), ICMPv6. */
const VECTORS = {
  solicitGroup: [
    '3333ff00001202000000000a86dd',
    '6000000000203afffd000001000000000000000000000011ff0200000000000000000001ff000012',
    '87007d5c00000000fd000001000000000000000000000012010102000000000a',
  ].join(''),
  solicitOne: [
    '02000000000b02000000000a86dd',
    '6000000000203afffd000001000000000000000000000011fd000001000000000000000000000012',
    '87007e5f00000000fd000001000000000000000000000012010102000000000a',
  ].join(''),
  probe: [
    '3333ff00001202000000000a86dd',
    '6000000000183aff00000000000000000000000000000000ff0200000000000000000001ff000012',
    '87007d8200000000fd000001000000000000000000000012',
  ].join(''),
  answer: [
    '02000000000a02000000000b86dd',
    '6000000000203afffd000001000000000000000000000012fd000001000000000000000000000011',
    '88001c5e60000000fd000001000000000000000000000012020102000000000b',
  ].join(''),
  announcement: [
    '33330000000102000000000b86dd',
    '6000000000203afffd000001000000000000000000000012ff020000000000000000000000000001',
    '88005a6d20000000fd000001000000000000000000000012020102000000000b',
  ].join(''),
  routerAnnouncement: [
    '33330000000102000000000b86dd',
    '6000000000203afffd000001000000000000000000000012ff020000000000000000000000000001',
    '8800da6ca0000000fd000001000000000000000000000012020102000000000b',
  ].join(''),
  arpAnnouncement: [
    'ffffffffffff02000000000b0806',
    '000108000604000102000000000b0a01000c0000000000000a01000c',
  ].join(''),
  arpRequest: [
    'ffffffffffff02000000000a0806',
    '000108000604000102000000000a0a01000b0000000000000a01000c',
  ].join(''),
} as const

const SOLICITATION: NdFields = {
  type: 135,
  src: 'fd00:1::11',
  dst: 'ff02::1:ff00:12',
  target: 'fd00:1::12',
  mac: A,
  etherDst: '33:33:ff:00:00:12',
  etherSrc: A,
}
const PROBE: NdFields = {
  type: 135,
  src: '::',
  dst: 'ff02::1:ff00:12',
  target: 'fd00:1::12',
  etherDst: '33:33:ff:00:00:12',
  etherSrc: A,
}
const ADVERTISEMENT: NdFields = {
  type: 136,
  src: 'fd00:1::12',
  dst: 'fd00:1::11',
  target: 'fd00:1::12',
  flags: S | O,
  mac: B,
  etherDst: A,
  etherSrc: B,
}

function isMessage(frame: Uint8Array, complete = true): boolean {
  return nd.isMessage(frame, 14, frame.length - 14, complete)
}

describe('vectors', () => {
  it('agree with messages built by hand and by scapy', () => {
    expect(hex(ndFrame(SOLICITATION))).toBe(VECTORS.solicitGroup)
    expect(hex(ndFrame(PROBE))).toBe(VECTORS.probe)
    expect(hex(ndFrame(ADVERTISEMENT))).toBe(VECTORS.answer)
    for (const name of ['solicitGroup', 'solicitOne', 'probe', 'answer', 'announcement'] as const) {
      expect(isMessage(unhex(VECTORS[name])), name).toBe(true)
    }
  })

  it('are what announcements look like', () => {
    const lab = new Lab()
    const octets = (packet: Packet | undefined): string => {
      const text = hex(lab.pool.mem.slice(packet!.head, packet!.head + packet!.len))
      lab.pool.free(packet!)
      return text
    }
    const [mac, four, six] = [parseMac(B), parseAddress('10.1.0.12'), parseAddress('fd00:1::12')]
    // Freed packets are poisoned, so what is not written would show.
    expect(octets(announce(lab.pool, four, mac))).toBe(VECTORS.arpAnnouncement)
    expect(octets(announce(lab.pool, six, mac))).toBe(VECTORS.announcement)
    expect(octets(announce(lab.pool, six, mac, true))).toBe(VECTORS.routerAnnouncement)
    expect(lab.pool.leaks()).toEqual([])
  })

  it('are what solicitations look like', () => {
    const lab = new Lab()
    const asker = {
      mac: parseMac(A),
      addresses: ['10.1.0.11/24', 'fd00:1::11/64'].map(parsePrefix),
    }
    const octets = (target: string, to?: string): string => {
      const packet = solicit(lab.pool, asker, parseAddress(target), to ? parseMac(to) : undefined)!
      const text = hex(lab.pool.mem.slice(packet.head, packet.head + packet.len))
      lab.pool.free(packet)
      return text
    }
    expect(octets('10.1.0.12')).toBe(VECTORS.arpRequest)
    expect(octets('10.1.0.12', B)).toBe(VECTORS.arpRequest.replace('ffffffffffff', '02000000000b'))
    expect(octets('fd00:1::12')).toBe(VECTORS.solicitGroup)
    expect(octets('fd00:1::12', B)).toBe(VECTORS.solicitOne)
    expect(lab.pool.leaks()).toEqual([])
  })

  it('ask as a member of the right subnet, and not at all without an address', () => {
    const lab = new Lab()
    const addresses = ['10.1.0.1/24', '10.2.0.1/24', 'fd00:1::1/64', 'fe80::1/64'].map(parsePrefix)
    const source = (target: string, from = addresses): string | undefined => {
      const asker = { mac: parseMac(A), addresses: from }
      const packet = solicit(lab.pool, asker, parseAddress(target), undefined)
      if (packet === undefined) return undefined
      const four = !target.includes(':')
      const at = packet.head + (four ? 28 : 22)
      const bytes = lab.pool.mem.slice(at, at + (four ? 4 : 16))
      lab.pool.free(packet)
      return hex(bytes)
    }
    expect(source('10.2.0.9')).toBe('0a020001')
    expect(source('192.0.2.1')).toBe('0a010001')
    expect(source('fe80::9')).toBe('fe800000000000000000000000000001')
    expect(source('fd00:1::9')).toBe('fd000001000000000000000000000001')
    expect(source('fd00:1::9', addresses.slice(0, 2))).toBeUndefined()
    expect(lab.pool.leaks()).toEqual([])
  })

  it('is counted when no packet is free', () => {
    const lab = new Lab(1)
    const held = [lab.packet(unhex('00')), lab.pool.alloc(1)!, lab.pool.alloc(1)!]
    expect(announce(lab.pool, parseAddress('10.1.0.1'), parseMac(A))).toBeUndefined()
    const asker = { mac: parseMac(A), addresses: [parsePrefix('10.1.0.1/24')] }
    expect(solicit(lab.pool, asker, parseAddress('10.1.0.2'), undefined)).toBeUndefined()
    expect(lab.drops('pool-empty')).toBe(1)
    for (const packet of held) lab.pool.free(packet)
  })

  it('derives link-local addresses (RFC 2464 §4: its own example)', () => {
    expect(formatAddress(linkLocal(parseMac('34:56:78:9a:bc:de')))).toBe(
      'fe80::3656:78ff:fe9a:bcde',
    )
    expect(formatAddress(linkLocal(parseMac('02:42:ac:11:00:02')))).toBe('fe80::42:acff:fe11:2')
  })
})

describe('isMessage (RFC 4861 §7.1)', () => {
  const cases: readonly [string, Uint8Array][] = [
    ['hop limit', ndFrame({ ...SOLICITATION, hopLimit: 254 })],
    ['code', ndFrame({ ...SOLICITATION, code: 1 })],
    ['target is a group', ndFrame({ ...SOLICITATION, target: 'ff02::12' })],
    ['source is a group', ndFrame({ ...SOLICITATION, src: 'ff02::12' })],
    ['option of length zero', ndFrame({ ...SOLICITATION, options: [1, 0, 2, 0, 0, 0, 0, 10] })],
    ['option beyond the end', ndFrame({ ...SOLICITATION, options: [1, 2, 2, 0, 0, 0, 0, 10] })],
    ['half an option', ndFrame({ ...SOLICITATION, options: [14] })],
    ['a long link-layer address', ndFrame({ ...SOLICITATION, options: [1, 2, ...zeros(14)] })],
    ['two source addresses', ndFrame({ ...SOLICITATION, options: twice(1) })],
    ['two target addresses', ndFrame({ ...ADVERTISEMENT, options: twice(2) })],
    ['probe not to solicited-node', ndFrame({ ...PROBE, dst: 'ff02::1' })],
    ['probe to one station', ndFrame({ ...PROBE, dst: 'fd00:1::12' })],
    ['probe with a link-layer address', ndFrame({ ...PROBE, mac: A })],
    ['solicited to a group', ndFrame({ ...ADVERTISEMENT, dst: 'ff02::1' })],
    ['another ICMPv6 type', ndFrame({ ...SOLICITATION, type: 134 })],
  ]
  it.each(cases)('refuses: %s', (_, frame) => {
    expect(isMessage(frame)).toBe(false)
  })

  it('accepts options it does not know, and finds the address behind them', () => {
    const nonce = [14, 1, 1, 2, 3, 4, 5, 6]
    const frame = ndFrame({ ...SOLICITATION, options: [...nonce, 1, 1, 2, 0, 0, 0, 0, 10] })
    expect(isMessage(frame)).toBe(true)
    expect(nd.linkAddress(frame, 14, Option.Source)).toBe(14 + 64 + 8 + 2)
    expect(nd.linkAddress(frame, 14, Option.Target)).toBe(0)
    expect(isMessage(ndFrame({ ...PROBE, options: nonce }))).toBe(true)
  })

  it('accepts an unsolicited advertisement to all nodes, and trailing octets of the frame', () => {
    const dst = 'ff02::1'
    const frame = ndFrame({ ...ADVERTISEMENT, dst, flags: O, etherDst: ALL_NODES })
    expect(isMessage(frame)).toBe(true)
    expect(isMessage(Uint8Array.from([...frame, 0, 0, 0]))).toBe(true)
  })

  it('refuses every truncation, also one whose lengths lie', () => {
    const whole = ndFrame(SOLICITATION)
    for (let bytes = 0; bytes < whole.length; bytes++) {
      expect(isMessage(whole.slice(0, bytes))).toBe(false)
      expect(nd.isMessage(whole, 14, bytes - 14, false)).toBe(false)
    }
  })

  it('notices every bit that is flipped in what the checksum covers', () => {
    const whole = ndFrame(ADVERTISEMENT)
    for (let bit = 8 * 22; bit < 8 * whole.length; bit++) {
      const frame = whole.slice()
      frame[bit >> 3]! ^= 1 << (bit & 7)
      expect(isMessage(frame), `bit ${bit}`).toBe(false)
    }
  })

  it('does not ask a partial checksum', () => {
    const frame = ndFrame(SOLICITATION)
    frame[14 + nd.CHECKSUM]! ^= 0xff
    expect(isMessage(frame)).toBe(false)
    expect(isMessage(frame, false)).toBe(true)
  })

  it('is total on arbitrary octets', () => {
    const seed = ndFrame(SOLICITATION)
    const mutation = fc.array(fc.tuple(fc.nat(seed.length - 1), fc.nat(255)), { maxLength: 6 })
    fc.assert(
      fc.property(mutation, fc.nat(seed.length), (changes, bytes) => {
        const frame = seed.slice()
        for (const [at, value] of changes) frame[at] = value
        const cut = frame.slice(0, bytes)
        const valid = nd.isMessage(cut, 14, cut.length - 14, false)
        if (!valid) return
        const option = nd.linkAddress(cut, 14, Option.Source)
        expect(option + 6).toBeLessThanOrEqual(cut.length)
      }),
      { numRuns: 3000 },
    )
  })
})

describe('upperLayer (RFC 7113)', () => {
  const destination = (next: number, units = 0): number[] => [
    next,
    units,
    1,
    4,
    ...zeros(4 + 8 * units),
  ]
  const upper = (next: number, bytes: readonly number[]): number => {
    const frame = ndFrame({ ...ADVERTISEMENT, extension: { next, bytes } })
    return mayBeNd(frame, 14) ? upperLayer(frame, 14, frame.length) : -2
  }

  it('finds ICMPv6 behind extension headers', () => {
    expect(upper(58, [])).toBe(54)
    expect(upper(60, destination(58))).toBe(62)
    expect(upper(0, [...destination(43, 2), ...destination(58)])).toBe(86)
    expect(upper(44, [58, 0, 0, 1, 0, 0, 0, 9])).toBe(62)
  })

  it('does not look for it where it cannot be', () => {
    expect(upper(6, [])).toBe(-2)
    expect(upper(60, destination(17))).toBe(-1)
    expect(upper(44, [58, 0, 0, 9, 0, 0, 0, 9])).toBe(-1)
    expect(upper(60, [58, 255, 0, 0, 0, 0, 0, 0])).toBe(-1)
  })

  it('gives up on a chain that no host sends', () => {
    expect(upper(60, Array(15).fill(destination(60)).flat().concat(destination(58)))).toBe(0)
    expect(upper(60, Array(14).fill(destination(60)).flat().concat(destination(58)))).toBe(174)
  })

  it('is total on arbitrary octets', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 41, maxLength: 200 }), (bytes) => {
        const frame = Uint8Array.from([...zeros(14), ...bytes])
        const at = mayBeNd(frame, 14) ? upperLayer(frame, 14, frame.length) : -1
        expect(at).toBeLessThan(frame.length)
      }),
      { numRuns: 2000 },
    )
  })
})

function zeros(count: number): number[] {
  return Array<number>(count).fill(0)
}

/** Two options of a type, with different addresses. */
function twice(type: number): number[] {
  return [type, 1, 2, 0, 0, 0, 0, 10, type, 1, 2, 0, 0, 0, 0, 12]
}
