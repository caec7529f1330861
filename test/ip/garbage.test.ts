/** Whatever comes in: counted, never thrown, nothing leaks. Packets in = packets out + drops. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  echo4,
  echo6,
  frame,
  gatewayMac,
  icmp6,
  ip4,
  ip6,
  Lab,
  mendChecksum,
  pattern,
  tcp,
  udp,
} from './lab.ts'

const A4 = '10.1.0.11'
const A6 = 'fd00:1::11'
const MAC = gatewayMac('front')
const GW4 = '10.1.0.1'
const GW6 = 'fd00:1::1'

/** One valid frame of every kind that the router treats in its own way. */
const SEEDS: readonly Uint8Array[] = [
  udp({ from: A4, to: '10.2.0.22' }, { to: 53 }, pattern(64)),
  udp({ from: A6, to: 'fd00:2::22' }, { to: 53 }, pattern(64)),
  udp({ from: A4, to: GW4 }, { to: 4000 }, pattern(64)),
  udp({ from: A6, to: GW6 }, { to: 4000 }, pattern(64)),
  tcp({ from: A4, to: GW4 }, { to: 80, flags: 2, options: new Uint8Array(12) }, pattern(9)),
  tcp({ from: A6, to: GW6 }, { to: 80, flags: 16 }, pattern(9)),
  echo4({ from: A4, to: GW4 }, pattern(40)),
  echo6({ from: A6, to: GW6 }, pattern(40)),
  ip4({ from: A4, to: GW4, options: Uint8Array.of(148, 4, 0, 0, 7, 7, 4, 0) }, pattern(40)),
  ip4({ from: A4, to: GW4, fragment: 0x2000 }, pattern(40)),
  ip4({ from: A4, to: GW4, fragment: 5 }, pattern(40)),
  ip6({ from: A6, to: GW6, next: 44 }, Uint8Array.of(17, 0, 0, 1, 0, 0, 0, 1, ...pattern(40))),
  ip6({ from: A6, to: GW6, next: 44 }, Uint8Array.of(17, 0, 0, 40, 0, 0, 0, 1, ...pattern(40))),
  ip6(
    { from: A6, to: GW6, next: 0 },
    Uint8Array.of(60, 0, 1, 4, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 0, ...pattern(9)),
  ),
  ip6({ from: A6, to: GW6, next: 43 }, Uint8Array.of(17, 2, 0, 1, ...pattern(20))),
  icmp6({ from: A6, to: 'ff02::2', hops: 255 }, Uint8Array.of(133, 0, 0, 0, 0, 0, 0, 0)),
  icmp6({ from: A6, to: GW6, hops: 255 }, Uint8Array.of(135, 0, 0, 0, 0, 0, 0, 0, ...pattern(16))),
].map((packet) => frame(MAC, packet))

function newLab(): Lab {
  const lab = new Lab()
  lab.leg('front', ['10.1.0.1/24', 'fd00:1::1/64'], { advertise: {} })
  const back = lab.leg('back', ['10.2.0.1/24', 'fd00:2::1/64'], { mtuBytes: 1300 })
  lab.host(back, '10.2.0.22')
  lab.host(back, 'fd00:2::22')
  lab.router.bindUdp(4000, (packet) => lab.pool.free(packet))
  return lab
}

test('every seed cut short at every length', () => {
  const lab = newLab()
  const [front] = lab.router.interfaces()
  for (const seed of SEEDS) {
    for (let bytes = 0; bytes <= seed.length; bytes++) lab.receive(front!, seed.slice(0, bytes))
  }
  expect(lab.drops()['ip-malformed']).toBeGreaterThan(1000)
  lab.end()
})

const mutant = fc.record({
  seed: fc.nat(SEEDS.length - 1),
  changes: fc.array(fc.tuple(fc.nat(110), fc.nat(255)), { maxLength: 5 }),
  tail: fc.uint8Array({ maxLength: 30 }),
  mend: fc.boolean(),
  gsoType: fc.constantFrom(0, 0, 0, 1, 4, 5),
  gsoSize: fc.nat(100),
  /** 0: the checksum is complete. */
  csumStart: fc.constantFrom(0, 0, 0, 34, 54, 1, 60, 200),
  csumOffset: fc.constantFrom(16, 6, 2, 0, 900),
  traced: fc.boolean(),
})

test('mutants of every seed, some with the IPv4 checksum mended so that they get further', () => {
  const lab = newLab()
  const [front] = lab.router.interfaces()
  fc.assert(
    fc.property(fc.array(mutant, { minLength: 1, maxLength: 20 }), (mutants) => {
      for (const { seed, changes, tail, mend, csumStart, ...rest } of mutants) {
        const facts = { ...rest, ...(csumStart > 0 && { csumStart }) }
        const bytes = Uint8Array.of(...SEEDS[seed]!, ...tail)
        for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value
        if (mend && bytes[12] === 8) mendChecksum(bytes)
        lab.receive(front!, bytes, facts)
      }
      lab.run(3_000)
      lab.take()
    }),
    { numRuns: 250 },
  )
  lab.end()
})

test('random octets', () => {
  const lab = newLab()
  const [front] = lab.router.interfaces()
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.constantFrom(8, 0x86), (bytes, type) => {
      const packet = frame(MAC, bytes)
      packet.set(type === 8 ? [8, 0] : [0x86, 0xdd], 12)
      lab.receive(front!, packet)
      lab.receive(front!, bytes)
    }),
    { numRuns: 500 },
  )
  lab.end()
})
