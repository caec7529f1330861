/**
 * Whatever comes in, from either side: counted, never thrown, nothing leaks, the books of ports,
 * hairpins and backends balance, and no address of a hidden network leaves by the uplink.
 */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { fromBytes, parseAddress, sameAddress } from '../../stack/address.ts'
import type { RouterInterface } from '../../stack/ip/router_interface.ts'
import {
  echo4,
  echo6,
  frame,
  icmp6,
  ip4,
  ip6,
  ipOf,
  mendChecksum,
  pattern,
  tcp,
  udp,
} from './lab.ts'
import { mappingOf, NatLab, PLAN4, PLAN6, type Plan, Turns } from './nat_lab.ts'

const VIP4 = '10.1.0.100'
const VIP6 = 'fd00:1::100'
const LEGS = ['front', 'back', 'up'] as const

/** Packets of every kind that translation treats in its own way, and where they come in. */
function seedsOf(plan: Plan, vip: string): [leg: (typeof LEGS)[number], packet: Uint8Array][] {
  const { client, sibling, server, uplink, outside, gateway } = plan
  const out = { from: client, to: outside }
  const back = { from: outside, to: uplink }
  const request = udp(out, { from: 5000, to: 53 }, pattern(9))
  const seen = udp({ from: uplink, to: outside }, { from: 5000, to: 53 }, pattern(9))
  const six = plan.family === 6
  const sctp = Uint8Array.of(0x13, 0x88, 0, 80, 0, 0, 0, 1, 1, 2, 3, 4, ...pattern(20))
  const quote = Uint8Array.of(3, 3, 0, 0, 0, 0, 0, 0, ...seen)
  const quote6 = Uint8Array.of(1, 4, 0, 0, 0, 0, 0, 0, ...seen)
  return [
    ['front', request],
    ['up', udp(back, { from: 53, to: 5000 }, pattern(9))],
    ['front', tcp(out, { from: 5001, to: 80, flags: 2 }, pattern(0))],
    ['up', tcp(back, { from: 80, to: 5001, flags: 0x12, ack: 1 }, pattern(0))],
    ['up', tcp(back, { from: 700, to: 8080, flags: 2 }, pattern(0))],
    ['back', tcp({ from: server, to: outside }, { from: 80, to: 700, flags: 0x14 }, pattern(0))],
    ['front', tcp({ from: client, to: vip }, { from: 701, to: 80, flags: 2 }, pattern(0))],
    ['front', tcp({ from: sibling, to: client }, { from: 80, to: 701, flags: 0x12 }, pattern(0))],
    ['front', six ? echo6(out, pattern(9)) : echo4(out, pattern(9))],
    ['up', six ? icmp6(back, quote6) : ip4({ ...back, protocol: 1 }, quote)],
    ['front', six ? ip6({ ...out, next: 132 }, sctp) : ip4({ ...out, protocol: 132 }, sctp)],
    ['front', six ? ip6({ ...out, next: 47 }, sctp) : ip4({ ...out, protocol: 47 }, sctp)],
    ['front', fragmentOf(out, request, true)],
    ['front', fragmentOf(out, request, false)],
    ['front', udp({ from: client, to: gateway }, { from: 5, to: 8080 }, pattern(9))],
    ['up', udp({ from: outside, to: client }, { from: 53, to: 5000 }, pattern(9))],
  ]
}

function fragmentOf(
  ends: { readonly from: string; readonly to: string },
  packet: Uint8Array,
  first: boolean,
): Uint8Array {
  if (ends.from.includes(':')) {
    const header = Uint8Array.of(17, 0, first ? 0 : 1, first ? 1 : 0, 0, 0, 0, 9)
    return ip6({ ...ends, next: 44 }, Uint8Array.of(...header, ...packet.slice(40, 56)))
  }
  return ip4({ ...ends, id: 9, fragment: first ? 0x2000 : 2 }, packet.slice(20, 36))
}

const SEEDS = [...seedsOf(PLAN4, VIP4), ...seedsOf(PLAN6, VIP6)]

function newLab(): { lab: NatLab; legs: Record<string, RouterInterface>; balance: Turns[] } {
  const lab = new NatLab({ entriesMax: 60, portMin: 5000, portMax: 5009 })
  const balance: Turns[] = []
  for (const [plan, vip] of [
    [PLAN4, VIP4],
    [PLAN6, VIP6],
  ] as const) {
    const turns = new Turns([plan.server, plan.sibling, plan.client])
    balance.push(turns)
    const address = parseAddress(vip)
    lab.router.addAddress(lab.front, address)
    lab.nat.addService({ protocol: 6, address, port: 80, targetPort: 80, balance: turns })
    lab.nat.publish(mappingOf(plan.server))
    lab.nat.publish(mappingOf(plan.client, { protocol: 17 }))
  }
  return { lab, legs: { front: lab.front, back: lab.back, up: lab.up }, balance }
}

/** No frame to the outside has a source that is hidden; the router may speak as itself. */
function expectHidden(lab: NatLab): void {
  const own = lab.router.interfaces().flatMap(({ addresses }) => addresses)
  for (const sent of lab.take()) {
    if (sent.leg !== 'up') continue
    const ip = ipOf(sent)
    const six = ip[0]! >>> 4 === 6
    const source = fromBytes(six ? ip.slice(8, 24) : ip.slice(12, 16))
    if (own.some(({ address }) => sameAddress(address, source))) continue
    expect(six ? ip[8] === 0xfd : ip[12] === 10, 'a private source').toBe(false)
  }
}

function finish(lab: NatLab, balance: readonly Turns[]): void {
  lab.end()
  for (const { open } of balance) expect(open.every((count) => count === 0)).toBe(true)
}

test('every seed cut short at every length, before and after it came whole', () => {
  const { lab, legs, balance } = newLab()
  for (const [name, packet] of [...SEEDS, ...SEEDS]) {
    const leg = legs[name]!
    const bytes = frame(leg.mac, packet)
    for (let length = 0; length <= bytes.length; length++) lab.receive(leg, bytes.slice(0, length))
    expectHidden(lab)
  }
  finish(lab, balance)
})

/** Mostly the first: so that what is rare does not hide what comes behind it. */
function mostly<T>(usual: T, ...rare: readonly T[]): fc.Arbitrary<T> {
  const weighted = rare.map((value) => ({ arbitrary: fc.constant(value), weight: 1 }))
  return fc.oneof({ arbitrary: fc.constant(usual), weight: 12 }, ...weighted)
}

const mutant = fc.record({
  seed: fc.nat(SEEDS.length - 1),
  leg: mostly<(typeof LEGS)[number] | undefined>(undefined, ...LEGS),
  changes: fc.array(fc.tuple(fc.integer({ min: 22, max: 120 }), fc.nat(255)), { maxLength: 3 }),
  gsoType: mostly(0, 1, 4, 5),
  gsoSize: fc.nat(100),
  partial: mostly(0, 34, 54),
  csumOffset: fc.constantFrom(16, 6, 2),
  traced: mostly(false, true),
  waitMs: mostly(0, 500, 200_000),
})

test('mutants of every seed, mixed with the seeds', () => {
  const { lab, legs, balance } = newLab()
  fc.assert(
    fc.property(fc.array(mutant, { minLength: 1, maxLength: 60, size: 'max' }), (mutants) => {
      for (const { seed, leg, changes, waitMs, partial, ...offloads } of mutants) {
        const facts = partial === 0 ? offloads : { ...offloads, csumStart: partial }
        const [name, packet] = SEEDS[seed]!
        const iface = legs[leg ?? name]!
        const bytes = frame(iface.mac, packet)
        for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value
        if (bytes[12] === 8 && bytes[14]! >>> 4 === 4) mendChecksum(bytes)
        const twin = lab.pool.alloc(bytes.length)!
        lab.pool.mem.set(bytes, twin.head)
        twin.len = bytes.length
        lab.nat.bypasses(twin)
        lab.pool.free(twin)
        const before = [lab.conntrack.count, lab.nat.mappings, lab.nat.hairpins]
        lab.receive(iface, bytes, facts)
        if (facts.traced) {
          expect([lab.conntrack.count, lab.nat.mappings, lab.nat.hairpins]).toEqual(before)
        }
        expectHidden(lab)
        lab.run(waitMs)
      }
    }),
    { numRuns: 200 },
  )
  lab.run(1_000)
  finish(lab, balance)
})
