/**
 * IGMP and MLD under damage: whatever comes, nothing is thrown, no packet is lost or kept, tables
 * stay within their bounds, and what lies behind a frame in memory makes no difference.
 */
import { expect, it } from 'vitest'
import { VirtualClock } from '../../stack/clock.ts'
import { Audience, GroupRole } from '../../stack/eth/group_filter.ts'
import * as record from '../../stack/ip/group_record.ts'
import * as igmp from '../../stack/ip/igmp.ts'
import * as mld from '../../stack/ip/mld.ts'
import { Snooper } from '../../stack/ip/snooping.ts'
import { Pool } from '../../stack/packet.ts'
import { Random } from '../../stack/random.ts'
import { PLAIN } from '../conformance/device.ts'
import { BridgeLab } from '../eth/bridge_lab.ts'
import {
  asks,
  bytesOf,
  data,
  groupFrame,
  join,
  LINUX,
  leave,
  membership,
  report,
} from '../ip/group_lab.ts'
import { mendChecksum } from '../ip/lab.ts'
import type { Frame } from './corpus.ts'
import { mutate } from './mutate.ts'

const many4 = report(
  ...Array.from({ length: 20 }, (_, i) => ({
    type: 4,
    group: `239.2.0.${i}`,
    sources: ['10.1.0.9'],
  })),
)
const many6 = report(
  ...Array.from({ length: 9 }, (_, i) => ({
    type: 1 + (i % 6),
    group: `ff05::${i}`,
    sources: ['::1'],
  })),
)
const FRAMES: readonly Frame[] = [
  ...Object.values(LINUX).map(bytesOf),
  ...['239.1.2.3', 'ff05::1:3'].flatMap((group) => [data(group), join(group), leave(group)]),
  ...['10.1.0.1', 'fe80::1'].map((source) => asks(source)),
  asks('10.1.0.1', '239.1.2.3'),
  asks('fe80::1', 'ff05::1:3'),
  membership(many4, '239.2.0.1'),
  membership(many6, 'ff05::1'),
  groupFrame({ to: '224.0.0.13', payload: [0x20, 0, 0, 0], protocol: 103 }),
].map((bytes) => ({ what: 'group', bytes, facts: PLAIN }))

it('the parsers accept nothing that they would read past', () => {
  const random = new Random(11)
  let seen = 0
  for (let n = 0; n < 40_000; n++) {
    const source = FRAMES[random.below(FRAMES.length)]!
    const whole = random.chance(30) ? source.bytes : mutate(random, source, FRAMES[0]!).bytes
    const bytes = whole.subarray(random.below(70))
    const zeros = new Uint8Array(bytes.length + 4096)
    const ones = new Uint8Array(bytes.length + 4096).fill(0xff)
    zeros.set(bytes)
    ones.set(bytes)
    const understood = understand(zeros, bytes.length)
    expect(understand(ones, bytes.length)).toEqual(understood)
    if (understood.length > 0) seen++
  }
  expect(seen).toBeGreaterThan(300)
})

function understand(mem: Uint8Array, bytes: number): unknown[] {
  const seen: unknown[] = []
  if (igmp.isMessage(mem, 0, bytes)) {
    seen.push(igmp.type(mem, 0), igmp.group(mem, 0), igmp.maxResponseMs(mem, 0, bytes))
    if (igmp.type(mem, 0) === igmp.Type.Report3) {
      seen.push(walk(mem, igmp.RECORDS, igmp.recordCount(mem, 0), igmp.ADDRESS_BYTES, bytes))
    }
  }
  if (bytes > 0 && mld.isType(mem[0]!) && mld.isMessage(mem, 0, bytes)) {
    seen.push(mld.maxResponseMs(mem, 0, bytes))
    if (mem[0] === 143) {
      seen.push(walk(mem, mld.RECORDS, mld.recordCount(mem, 0), mld.ADDRESS_BYTES, bytes))
    }
  }
  return seen
}

function walk(mem: Uint8Array, at: number, count: number, size: number, end: number): unknown[] {
  const seen: unknown[] = []
  for (let i = 0; i < count; i++) {
    seen.push(record.isJoin(mem, at), record.isLeave(mem, at))
    at += record.recordBytes(mem, at, size)
    expect(at).toBeLessThanOrEqual(end)
  }
  return seen
}

it('a bridge that snoops keeps its books and its bounds', () => {
  const limits = { portsMax: 8, vlans: 1, groupsMax: 32, membersMax: 64 }
  const random = new Random(12)
  let snooper: Snooper | undefined
  const lab = new BridgeLab({
    groupsOf: (pool, clock) => {
      snooper = new Snooper({ pool, clock, seed: 3, ...limits })
      return snooper
    },
  })
  const names = ['a', 'b', 'c', 'd', 'e']
  for (const [i, name] of names.entries()) {
    lab.add(name, { groupRole: i % 4, fastLeave: i % 2 === 0 })
  }
  let most = 0
  for (let n = 0; n < 10_000; n++) {
    const frame = FRAMES[random.below(FRAMES.length)]!
    const { bytes } = random.chance(40) ? frame : mutate(random, frame, FRAMES[1]!)
    if (random.chance(50)) mend(bytes)
    lab.send(names[random.below(names.length)]!, bytes.subarray(0, 1900))
    if (random.chance(5)) lab.wait(random.below(20_000))
    if (n % 50 > 0) continue
    const { length } = snooper!.list()
    most = Math.max(most, length)
    expect(length).toBeLessThanOrEqual(limits.membersMax)
  }
  expect(most).toBeGreaterThan(20)
  for (const name of names) lab.bridge.removePort(lab.ports.get(name)!)
  expect(snooper!.list()).toEqual([])
  snooper!.close()
  lab.balance()
})

/** Change an address at random, and make the checksum right: so that much gets further in. */
function mend(bytes: Uint8Array): void {
  if (bytes.length > 34 && bytes[12] === 8 && bytes[13] === 0) mendChecksum(bytes)
}

it('every octet cut off: refused or flooded, never more', () => {
  const pool = new Pool({ smallCount: 4, largeCount: 0 })
  const rest = { seed: 3, portsMax: 4, vlans: 1, isComplete: () => true }
  for (const { bytes } of FRAMES) {
    for (let length = 14; length < bytes.length; length++) {
      const snooper = new Snooper({ pool, clock: new VirtualClock(), ...rest })
      snooper.addPort(0, { role: GroupRole.Auto, fastLeave: false })
      const packet = pool.alloc(length)!
      pool.mem.set(bytes.subarray(0, length), packet.head)
      packet.len = length
      expect(snooper.audience(packet, 0, 0)).toBe(Audience.Everybody)
      expect(snooper.list()).toEqual([])
      snooper.close()
      pool.free(packet)
    }
  }
})
