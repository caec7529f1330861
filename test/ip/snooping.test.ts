/** A bridge with snooping: who gets which group, as reports, queries and time have it. */
import { describe, expect, it } from 'vitest'
import { parseAddress } from '../../stack/address.ts'
import { GroupRole } from '../../stack/eth/group_filter.ts'
import { parseMac } from '../../stack/eth/mac.ts'
import { Querier } from '../../stack/ip/querier.ts'
import { Snooper, type SnooperOptions } from '../../stack/ip/snooping.ts'
import { Trace } from '../../stack/trace.ts'
import { BridgeLab, hex, station } from '../eth/bridge_lab.ts'
import {
  asks,
  bytesOf,
  data,
  groupFrame,
  igmp,
  join,
  LINUX,
  leave,
  membership,
  mld,
  query,
  report,
} from './group_lab.ts'

const MINUTE = 60_000
const FOUR = 0
const SIX = 1
const GROUPS = ['239.1.2.3', 'ff05::1:3'] as const
const OTHERS = ['239.1.2.4', 'ff05::1:4'] as const
const QUERIERS = ['10.1.0.1', 'fe80::1'] as const

interface Bed {
  readonly lab: BridgeLab
  readonly snooper: Snooper
}

/** Ports `a` to `d`, and `q`, behind which a querier of both families was heard 10 s ago. */
function bed(options: Partial<SnooperOptions> = {}, asked = true): Bed {
  let snooper: Snooper | undefined
  const lab = new BridgeLab({
    groupsOf: (pool, clock) => {
      const rest = { seed: 7, portsMax: 64, vlans: 1 }
      snooper = new Snooper({ pool, clock, ...rest, ...options })
      return snooper
    },
  })
  for (const name of ['a', 'b', 'c', 'd', 'q']) lab.add(name)
  if (asked) {
    for (const source of QUERIERS) lab.send('q', asks(source))
    lab.wait(10_001)
  }
  return { lab, snooper: snooper! }
}

function end({ lab, snooper }: Bed): void {
  snooper.close()
  lab.balance()
}

function reach({ lab }: Bed, from: string, bytes: Uint8Array): string[] {
  return lab.send(from, bytes).map(({ port }) => port)
}

describe.each([
  ['IPv4', 0],
  ['IPv6', 1],
] as const)('%s', (_, family) => {
  const group = GROUPS[family]
  const other = OTHERS[family]

  it('sends a group to who joined it, and to the router', () => {
    const lab = bed()
    lab.lab.send('b', join(group))
    lab.lab.send('c', join(group, 0x0c))
    expect(reach(lab, 'a', data(group))).toEqual(['b', 'c', 'q'])
    expect(reach(lab, 'b', data(group))).toEqual(['c', 'q'])
    expect(reach(lab, 'a', data(other))).toEqual(['q'])
    expect(reach(lab, 'q', data(other))).toEqual([])
    expect(lab.lab.drops('q', 'group-no-member')).toBe(1)
    end(lab)
  })

  it('floods while there is no querier, and for ten seconds after', () => {
    const lab = bed({}, false)
    lab.lab.send('b', join(group))
    expect(reach(lab, 'a', data(group))).toEqual(['b', 'c', 'd', 'q'])
    lab.lab.send('q', asks(QUERIERS[family]))
    lab.lab.wait(900)
    expect(reach(lab, 'a', data(group))).toEqual(['b', 'c', 'd', 'q'])
    lab.lab.wait(10_000)
    expect(reach(lab, 'a', data(group))).toEqual(['b', 'q'])
    lab.lab.wait(4 * MINUTE + 16_000)
    expect(reach(lab, 'a', data(group))).toEqual(['b', 'c', 'd', 'q'])
    end(lab)
  })

  it('forgets a member that does not repeat itself after 260 s', () => {
    const lab = bed()
    lab.lab.send('b', join(group))
    lab.lab.send('c', join(group, 0x0c))
    lab.lab.wait(200_000)
    lab.lab.send('q', asks(QUERIERS[family]))
    lab.lab.send('b', join(group))
    lab.lab.wait(59_900)
    expect(reach(lab, 'a', data(group))).toEqual(['b', 'c', 'q'])
    lab.lab.wait(200)
    expect(reach(lab, 'a', data(group))).toEqual(['b', 'q'])
    end(lab)
  })

  it('sends reports to routers and to snoopers, and nowhere else', () => {
    const lab = bed()
    lab.lab.add('tunnel', { groupRole: GroupRole.Reports })
    expect(reach(lab, 'b', join(group))).toEqual(['q', 'tunnel'])
    expect(reach(lab, 'b', leave(group))).toEqual(['q', 'tunnel'])
    expect(reach(lab, 'a', data(group))).toEqual(['b', 'q'])
    lab.lab.send('tunnel', join(group, 0x0d))
    expect(reach(lab, 'a', data(group))).toEqual(['b', 'q', 'tunnel'])
    const alone = bed({}, false)
    expect(reach(alone, 'b', join(group))).toEqual([])
    expect(alone.lab.drops('b', 'delivered')).toBe(1)
    end(alone)
    end(lab)
  })

  it('with fast leave, ends a membership at once; else when nobody answers', () => {
    const lab = bed()
    lab.lab.add('fast', { fastLeave: true })
    lab.lab.send('fast', join(group))
    lab.lab.send('b', join(group))
    lab.lab.send('fast', leave(group))
    lab.lab.send('b', leave(group))
    expect(reach(lab, 'a', data(group))).toEqual(['b', 'q'])
    lab.lab.send('q', asks(QUERIERS[family], group))
    lab.lab.wait(1999)
    expect(reach(lab, 'a', data(group))).toEqual(['b', 'q'])
    lab.lab.wait(2)
    expect(reach(lab, 'a', data(group))).toEqual(['q'])
    end(lab)
  })

  it('a member that answers the question about its group stays', () => {
    const lab = bed()
    lab.lab.send('b', join(group))
    lab.lab.send('q', asks(QUERIERS[family], group))
    lab.lab.wait(500)
    lab.lab.send('b', join(group))
    lab.lab.wait(5000)
    expect(reach(lab, 'a', data(group))).toEqual(['b', 'q'])
    end(lab)
  })

  it('a port that never leads to a router is no router for all its questions', () => {
    const lab = bed({}, false)
    lab.lab.add('n', { groupRole: GroupRole.Never })
    lab.lab.add('y', { groupRole: GroupRole.Always })
    lab.lab.send('n', asks(QUERIERS[family]))
    lab.lab.wait(20_000)
    expect(lab.snooper.hasQuerier(0, family)).toBe(false)
    lab.lab.send('q', asks(QUERIERS[family]))
    lab.lab.wait(20_000)
    expect(reach(lab, 'a', data(group))).toEqual(['q', 'y'])
    end(lab)
  })

  it('believes a PIM hello', () => {
    const lab = bed()
    const to = family === FOUR ? '224.0.0.13' : 'ff02::d'
    lab.lab.send('c', groupFrame({ to, payload: [0x20, 0, 0, 0], protocol: 103 }))
    expect(reach(lab, 'a', data(group))).toEqual(['c', 'q'])
    end(lab)
  })

  it('a port that is removed leaves nothing to the one that has its number next', () => {
    const lab = bed()
    lab.lab.send('b', join(group))
    lab.lab.bridge.removePort(lab.lab.ports.get('b')!)
    lab.lab.add('e')
    expect(reach(lab, 'a', data(group))).toEqual(['q'])
    expect(lab.snooper.list()).toEqual([])
    end(lab)
  })

  it('a port beyond its share gets every group, and takes nothing from the others', () => {
    const lab = bed({ groupsMax: 16, membersMax: 64 })
    const groups = Array.from({ length: 40 }, (_, i) =>
      family === FOUR ? `239.9.0.${i}` : `ff05::9:${i.toString(16)}`,
    )
    for (const wanted of groups) lab.lab.send('d', join(wanted))
    expect(lab.snooper.list().length).toBe(8)
    expect(reach(lab, 'a', data(other))).toEqual(['d', 'q'])
    expect(lab.snooper.everyGroup()).toContainEqual({ port: 3, why: 'full' })
    lab.lab.send('b', join(group))
    expect(reach(lab, 'a', data(group))).toEqual(['b', 'd', 'q'])
    lab.lab.wait(261_000)
    for (const source of QUERIERS) lab.lab.send('q', asks(source))
    lab.lab.wait(10_000)
    expect(reach(lab, 'a', data(other))).toEqual(['q'])
    expect(lab.snooper.list()).toEqual([])
    end(lab)
  })
})

describe('messages', () => {
  it.each([
    ['IGMPv2', LINUX.join4v2, LINUX.leave4v2, GROUPS[0]],
    ['IGMPv3', LINUX.join4v3, LINUX.leave4v3, GROUPS[0]],
    ['MLDv1', LINUX.join6v1, LINUX.leave6v1, GROUPS[1]],
    ['MLDv2', LINUX.join6v2, LINUX.leave6v2, GROUPS[1]],
  ])('of Linux: %s', (_, joins, leaves, group) => {
    const lab = bed()
    lab.lab.add('fast', { fastLeave: true })
    expect(lab.lab.send('fast', bytesOf(joins))).toEqual([
      { port: 'q', bytes: hex(bytesOf(joins)) },
    ])
    expect(lab.snooper.list()).toMatchObject([{ vid: 0, group, port: 5, expiresMs: 260_000 }])
    expect(reach(lab, 'a', data(group))).toEqual(['q', 'fast'])
    lab.lab.send('fast', bytesOf(leaves))
    expect(reach(lab, 'a', data(group))).toEqual(['q'])
    end(lab)
  })

  it('of IGMPv1', () => {
    const lab = bed()
    const frame = groupFrame({ to: '239.1.2.3', payload: igmp(0x12, 0, '239.1.2.3'), protocol: 2 })
    expect(reach(lab, 'b', frame)).toEqual(['q'])
    expect(reach(lab, 'a', data('239.1.2.3'))).toEqual(['b', 'q'])
    end(lab)
  })

  it.each([GROUPS[0], GROUPS[1]])('every kind of record, for %s', (group) => {
    const sources = group.includes(':') ? ['fd00::1'] : ['10.1.0.9']
    const wants = (...records: { type: number; sources?: readonly string[] }[]): boolean => {
      const lab = bed()
      lab.lab.add('fast', { fastLeave: true })
      const payload = report(...records.map((record) => ({ ...record, group })))
      lab.lab.send('fast', membership(payload, group))
      const is = reach(lab, 'a', data(group)).includes('fast')
      end(lab)
      return is
    }
    expect(wants({ type: 1, sources })).toBe(true)
    expect(wants({ type: 1 })).toBe(false)
    expect(wants({ type: 2 })).toBe(true)
    expect(wants({ type: 2, sources })).toBe(true)
    expect(wants({ type: 3, sources })).toBe(true)
    expect(wants({ type: 4 })).toBe(true)
    expect(wants({ type: 5, sources })).toBe(true)
    expect(wants({ type: 5 })).toBe(false)
    expect(wants({ type: 6, sources })).toBe(false)
    expect(wants({ type: 4 }, { type: 3 })).toBe(false)
    expect(wants({ type: 3 }, { type: 4 })).toBe(true)
    expect(wants({ type: 4 }, { type: 6, sources })).toBe(true)
  })

  it.each(['224.0.0.251', '224.0.0.9', 'ff02::fb', 'ff02::1:ff00:1'])('%s is flooded', (group) => {
    const lab = bed()
    lab.lab.send('b', join(group))
    expect(lab.snooper.list()).toEqual([])
    expect(reach(lab, 'a', data(group))).toEqual(['b', 'c', 'd', 'q'])
    end(lab)
  })

  it('broken ones are dropped and teach nothing', () => {
    const lab = bed()
    const broken = [LINUX.join4v2, LINUX.join4v3, LINUX.join6v1, LINUX.join6v2].map(bytesOf)
    for (const bytes of broken) {
      bytes[bytes.length - 1]! ^= 1
      expect(reach(lab, 'b', bytes)).toEqual([])
    }
    const far = groupFrame({
      to: 'ff02::16',
      payload: report({ type: 4, group: 'ff05::9' }),
      protocol: 58,
      hops: 2,
    })
    const odd = groupFrame({ to: '224.0.0.1', payload: query('0.0.0.0').slice(0, 10), protocol: 2 })
    const routed = asks('fd00::1')
    for (const bytes of [far, odd, routed]) expect(reach(lab, 'b', bytes)).toEqual([])
    expect(lab.lab.drops('b', 'group-malformed')).toBe(7)
    expect(lab.snooper.list()).toEqual([])
    end(lab)
  })

  it('MLD without a router alert is data, as for hosts', () => {
    const lab = bed()
    const bytes = Uint8Array.from([...bytesOf(LINUX.join6v1)])
    const bare = Uint8Array.from([...bytes.subarray(0, 54), ...bytes.subarray(62)])
    bare[20] = 58
    bare[19]! -= 8
    expect(reach(lab, 'b', bare)).toEqual(['q'])
    expect(lab.snooper.list()).toEqual([])
    end(lab)
  })

  it('a question from 0.0.0.0 is no querier, one with bit S ends nothing', () => {
    const lab = bed({}, false)
    lab.lab.send('q', asks('0.0.0.0'))
    lab.lab.wait(20_000)
    expect(lab.snooper.hasQuerier(0, FOUR)).toBe(false)
    lab.lab.send('q', asks(QUERIERS[0]))
    lab.lab.wait(20_000)
    lab.lab.send('b', join(GROUPS[0]))
    const payload = query(GROUPS[0], { code: 10, flags: 0x0a })
    lab.lab.send('q', groupFrame({ source: '10.1.0.1', to: GROUPS[0], payload, protocol: 2 }))
    lab.lab.wait(5000)
    expect(reach(lab, 'a', data(GROUPS[0]))).toEqual(['b', 'q'])
    end(lab)
  })

  it.each([FOUR, SIX] as const)(
    'a question for some sources ends nothing (family %s)',
    (family) => {
      const lab = bed()
      const group = GROUPS[family]
      lab.lab.send('b', join(group))
      const source = family === FOUR ? '10.1.0.9' : 'fd00::9'
      const payload = query(group, { code: family === FOUR ? 10 : 1000, sources: [source] })
      const to = { to: group, payload, protocol: family === FOUR ? 2 : 58 }
      const question = groupFrame({ source: QUERIERS[family], ...to })
      expect(reach(lab, 'q', question)).toEqual(['a', 'b', 'c', 'd'])
      lab.lab.wait(5000)
      expect(reach(lab, 'a', data(group))).toEqual(['b', 'q'])
      lab.lab.send('q', asks(QUERIERS[family], group))
      lab.lab.wait(5000)
      expect(reach(lab, 'a', data(group))).toEqual(['q'])
      end(lab)
    },
  )

  it.each([FOUR, SIX] as const)(
    'a general question goes to all, or not at all (family %s)',
    (family) => {
      const lab = bed({}, false)
      const group = GROUPS[family]
      const payload = query(family === FOUR ? '0.0.0.0' : '::')
      const protocol = family === FOUR ? 2 : 58
      for (const to of [group, family === FOUR ? '224.0.0.2' : 'ff02::2']) {
        const question = groupFrame({ source: QUERIERS[family], to, payload, protocol })
        expect(reach(lab, 'q', question)).toEqual([])
      }
      expect(lab.lab.drops('q', 'group-malformed')).toBe(2)
      lab.lab.wait(20_000)
      expect(lab.snooper.hasQuerier(0, family)).toBe(false)
      expect(reach(lab, 'a', data(group))).toEqual(['b', 'c', 'd', 'q'])
      end(lab)
    },
  )

  it('what goes to all stations is not about groups', () => {
    const lab = bed()
    for (const bytes of [data(GROUPS[0]), join(GROUPS[0]), data(GROUPS[1])]) {
      expect(reach(lab, 'b', bytes.fill(0xff, 0, 6))).toEqual(['a', 'c', 'd', 'q'])
    }
    expect(lab.snooper.list()).toEqual([])
    end(lab)
  })

  it('a traced frame says who would get it, and teaches nothing', () => {
    const lab = bed()
    const trace = new Trace()
    lab.lab.pool.trace = trace
    lab.lab.send('b', join(GROUPS[0]), { traced: true })
    expect(lab.snooper.list()).toEqual([])
    lab.lab.send('b', join(GROUPS[0]))
    lab.lab.send('a', data(GROUPS[0]), { traced: true })
    expect(trace.steps.at(-1)?.text).toBe('a group: to who asked for it, b, q')
    end(lab)
  })
})

describe('VLANs', () => {
  it('are apart; a tag that is payload hides what is behind', () => {
    let snooper: Snooper | undefined
    const lab = new BridgeLab({
      vlanFiltering: true,
      groupsOf: (pool, clock) => {
        const rest = { seed: 7, portsMax: 64, vlans: 4095, isComplete: () => true }
        snooper = new Snooper({ pool, clock, ...rest })
        return snooper
      },
    })
    lab.add('a', { vlan: { pvid: 10 } })
    lab.add('b', { vlan: { pvid: 10 } })
    lab.add('c', { vlan: { pvid: 20 } })
    lab.add('t', { vlan: { tagged: [10, 20] } })
    const tagged = (bytes: Uint8Array, vid: number): Uint8Array =>
      Uint8Array.from([...bytes.subarray(0, 12), 0x81, 0, 0, vid, ...bytes.subarray(12)])
    lab.send('b', join(GROUPS[0]))
    lab.send('t', tagged(join(GROUPS[0], 0x0c), 20))
    const names = (from: string, bytes: Uint8Array) => lab.send(from, bytes).map(({ port }) => port)
    expect(names('a', data(GROUPS[0]))).toEqual(['b'])
    expect(names('c', data(GROUPS[0]))).toEqual(['t'])
    expect(names('t', tagged(data(GROUPS[0]), 10))).toEqual(['b'])
    expect(snooper!.list().map(({ vid, port }) => [vid, port])).toEqual([
      [10, 1],
      [20, 3],
    ])
    snooper!.close()
    lab.balance()
    const plain = bed()
    plain.lab.send('b', join(GROUPS[0]))
    expect(reach(plain, 'a', tagged(data(GROUPS[0]), 10))).toEqual(['b', 'c', 'd', 'q'])
    end(plain)
  })
})

describe('our own querier', () => {
  const MAC = '02:00:00:00:00:01'
  const OWN = { address4: parseAddress('10.1.0.1'), address6: parseAddress('fe80::1') }

  function withQuerier(own: Partial<typeof OWN> = OWN): Bed & { querier: Querier } {
    const made = bed({}, false)
    const { lab, snooper } = made
    const gateway = lab.add('gateway', { groupRole: GroupRole.Never })
    const querier = new Querier({
      pool: lab.pool,
      clock: lab.clock,
      snooper,
      vid: 0,
      mac: parseMac(MAC),
      address4: own.address4,
      address6: own.address6,
      send: gateway.input,
    })
    return { ...made, querier }
  }

  /** Times at which questions of both families came out at port `a`, and what the first were. */
  function questions(lab: BridgeLab, ms: number): { atMs: number[]; frames: string[] } {
    const atMs: number[] = []
    const frames: string[] = []
    lab.onOutput = (port, packet) => {
      if (port !== 'a') return
      atMs.push(lab.clock.nowMs)
      frames.push(hex(lab.pool.mem.slice(packet.head, packet.head + packet.len)))
    }
    lab.wait(ms)
    lab.onOutput = () => {}
    return { atMs, frames }
  }

  it('asks at the start, again after 31 s, and then every 125 s', () => {
    const { lab, querier, snooper } = withQuerier()
    const { atMs, frames } = questions(lab, 300_000)
    expect([...new Set(atMs)]).toEqual([0, 31_250, 156_250, 281_250])
    const four = groupFrame({
      station: 1,
      source: '10.1.0.1',
      to: '224.0.0.1',
      payload: query('0.0.0.0', { code: 100 }),
      protocol: 2,
    })
    // Ours has a router alert between header and message, TOS c0 and DF.
    expect(frames[0]!.slice(0, 28)).toBe(hex(four).slice(0, 28))
    expect(frames[0]!.slice(28)).toBe(
      `46c00024000040000102fa100a010001e000000194040000${hex(four.subarray(34))}`,
    )
    const payload = query('::', { code: 10_000 })
    const six = groupFrame({ station: 1, source: 'fe80::1', to: 'ff02::1', payload, protocol: 58 })
    expect(frames[1]).toBe(hex(six))
    expect(snooper.hasQuerier(0, FOUR) && snooper.hasQuerier(0, SIX)).toBe(true)
    querier.close()
    end({ lab, snooper })
  })

  it.each([0, 1] as const)('asks who remains when somebody left (family %i)', (family) => {
    const { lab, querier, snooper } = withQuerier()
    const group = GROUPS[family]
    lab.wait(20_000)
    lab.send('b', join(group))
    lab.send('c', join(group, 0x0c))
    lab.send('b', leave(group))
    const { atMs, frames } = questions(lab, 1500)
    expect(atMs).toEqual([20_000, 21_000])
    expect(frames[0]).toBe(frames[1])
    const bytes = family === FOUR ? '0a010001ef010203' : 'ff050000000000000000000000010003'
    expect(frames[0]).toContain(bytes)
    lab.send('c', join(group, 0x0c))
    lab.wait(2000)
    expect(reach({ lab, snooper }, 'a', data(group))).toEqual(['c'])
    querier.close()
    end({ lab, snooper })
  })

  it('gives way to a lower address while that is heard, and to no higher one', () => {
    const { lab, querier, snooper } = withQuerier()
    lab.wait(50_000)
    lab.send('d', asks('10.1.0.9'))
    expect(querier.isAtWork(FOUR)).toBe(true)
    lab.send('q', asks('10.0.255.255'))
    expect(querier.isAtWork(FOUR)).toBe(false)
    expect(querier.isAtWork(SIX)).toBe(true)
    expect(snooper.hasQuerier(0, FOUR)).toBe(true)
    expect(reach({ lab, snooper }, 'a', data(GROUPS[0]))).toEqual(['d', 'q'])
    lab.wait(256_000)
    expect(querier.isAtWork(FOUR)).toBe(true)
    lab.wait(140_000)
    expect(snooper.hasQuerier(0, FOUR)).toBe(true)
    querier.close()
    end({ lab, snooper })
  })

  it('asks nothing in a family in which it has no address', () => {
    const { lab, querier, snooper } = withQuerier({ address4: OWN.address4 })
    const { frames } = questions(lab, 100)
    expect(frames.length).toBe(1)
    lab.wait(20_000)
    expect(reach({ lab, snooper }, 'a', data(GROUPS[1]))).toEqual(['b', 'c', 'd', 'q', 'gateway'])
    expect(reach({ lab, snooper }, 'a', data(GROUPS[0]))).toEqual([])
    querier.close()
    end({ lab, snooper })
  })

  it('starts anew when poked, once a second', () => {
    const { lab, querier, snooper } = withQuerier()
    lab.wait(60_000)
    querier.poke()
    querier.poke()
    const { atMs } = questions(lab, 40_000)
    expect([...new Set(atMs)]).toEqual([60_000, 91_250])
    querier.close()
    end({ lab, snooper })
  })

  it('asks for a bounded number of groups at a time', () => {
    const { lab, querier, snooper } = withQuerier()
    lab.wait(20_000)
    for (let i = 0; i < 100; i++) lab.send('b', join(`239.5.0.${i}`))
    for (let i = 0; i < 100; i++) lab.send('b', leave(`239.5.0.${i}`))
    expect(questions(lab, 3500).atMs.length).toBe(128)
    expect(snooper.list().length).toBe(36)
    querier.close()
    end({ lab, snooper })
  })
})

it('a v1 MLD report is of its group', () => {
  const lab = bed()
  lab.lab.send('b', groupFrame({ to: 'ff0e::5', payload: mld(131, 'ff0e::5'), protocol: 58 }))
  expect(reach(lab, 'c', data('ff0e::5'))).toEqual(['b', 'q'])
  expect(lab.lab.station(station(0x0b))).toBe('b')
  end(lab)
})
