/** What is bounded: packets that wait, neighbors that are kept, and who is displaced. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseAddress } from '../../stack/address.ts'
import { parseMac } from '../../stack/eth/mac.ts'
import {
  A,
  arpFrame,
  B,
  dataFrame,
  GATEWAY,
  hex,
  ipPacket,
  NeighborLab,
  ndFrame,
  O,
  S,
} from './lab.ts'

function answer(lab: NeighborLab, spa: string, sha = A): void {
  lab.receive(arpFrame({ oper: 2, sha, spa, tha: GATEWAY, tpa: '10.1.0.1', dst: GATEWAY }))
}

function reach(lab: NeighborLab, address: string): void {
  lab.send(address)
  answer(lab, address)
}

describe('packets that wait', () => {
  it('are the newest 64 of a neighbor (RFC 4861 §7.2.2)', () => {
    const lab = new NeighborLab({}, 400)
    for (let mark = 0; mark < 68; mark++) lab.send('10.1.0.11', mark)
    expect(lab.drops('neighbor-queue-full')).toBe(4)
    lab.take()
    answer(lab, '10.1.0.11')
    const kept = Array.from({ length: 64 }, (_, i) => dataFrame(A, 4, i + 4))
    expect(lab.take()).toEqual(kept)
    lab.balance()
  })

  it('are the newest 512 in all, so that a scan does not hold the pool', () => {
    const lab = new NeighborLab({}, 2100)
    for (let i = 2; i < 202; i++) for (let n = 0; n < 4; n++) lab.send(`10.1.0.${i}`, n)
    expect(lab.drops('neighbor-queue-full')).toBe(800 - 512)
    lab.take()
    answer(lab, '10.1.0.201')
    expect(lab.take()).toEqual([0, 1, 2, 3].map((mark) => dataFrame(A, 4, mark)))
    lab.wait(3_000)
    expect(lab.failed).toHaveLength(508)
    for (let n = 0; n < 5; n++) lab.send('10.1.0.250', n)
    expect(lab.drops('neighbor-queue-full'), 'the room is given back').toBe(800 - 512)
    lab.balance()
  })

  it('are never more than a quarter of the pool', () => {
    const lab = new NeighborLab({}, 38)
    for (let i = 2; i < 100; i++) lab.send(`10.1.0.${i}`)
    expect(lab.pool.leaks()).toHaveLength(10)
    lab.balance()
  })
})

describe('a full table', () => {
  it('gives up failed, then stale neighbors, the least recently used first', () => {
    const lab = new NeighborLab({ entriesMax: 4 })
    for (const host of [11, 12, 13]) {
      reach(lab, `10.1.0.${host}`)
      lab.wait(10)
    }
    lab.wait(45_000)
    lab.send('10.1.0.99')
    lab.wait(3_000)
    expect(lab.state('10.1.0.99')).toBe('failed')
    const addresses = (): string[] => lab.neighbors.list().map(({ address }) => address.slice(7))
    reach(lab, '10.1.0.14')
    expect(addresses().sort()).toEqual(['11', '12', '13', '14'])
    reach(lab, '10.1.0.15')
    expect(addresses().sort()).toEqual(['12', '13', '14', '15'])
    reach(lab, '10.1.0.16')
    expect(addresses().sort()).toEqual(['13', '14', '15', '16'])
    lab.balance()
  })

  it('keeps who is reachable, verified or permanent, and drops for the rest', () => {
    const lab = new NeighborLab({ entriesMax: 3 })
    lab.neighbors.setPermanent(lab.link, parseAddress('10.1.0.11'), parseMac(B))
    reach(lab, '10.1.0.12')
    lab.wait(45_000)
    lab.send('10.1.0.12')
    expect(lab.state('10.1.0.12')).toBe('delay')
    reach(lab, '10.1.0.13')
    lab.send('10.1.0.14')
    expect(lab.drops('neighbor-table-full')).toBe(1)
    lab.receive(arpFrame({ sha: A, spa: '10.1.0.15', tpa: '10.1.0.1' }))
    const states = lab.neighbors.list().map(({ state }) => state)
    expect(states.sort()).toEqual(['delay', 'permanent', 'reachable'])
    const address = parseAddress('10.1.0.16')
    expect(() => lab.neighbors.setPermanent(lab.link, address, parseMac(B))).toThrow('too many')
    lab.balance()
  })

  it('does not let a scan keep a real neighbor from being found', () => {
    const lab = new NeighborLab({ entriesMax: 128 }, 1024)
    reach(lab, '10.1.0.2')
    const scan = (from: number, count: number): void => {
      for (let i = from; i < from + count; i++) lab.send(`10.1.${2 + (i >> 8)}.${i & 0xff}`)
    }
    scan(0, 1000)
    lab.send('10.1.0.3', 7)
    scan(1000, 50)
    lab.take()
    answer(lab, '10.1.0.3')
    expect(lab.take()).toEqual([dataFrame(A, 4, 7)])
    lab.send('10.1.0.2', 8)
    expect(lab.take()).toEqual([dataFrame(A, 4, 8)])
    expect(lab.neighbors.list().length).toBeLessThanOrEqual(128)
    lab.balance()
  })

  it('does not remember those who ask, rather than forget those in use', () => {
    const lab = new NeighborLab({ entriesMax: 2 })
    reach(lab, '10.1.0.11')
    reach(lab, '10.1.0.12')
    lab.wait(60_000)
    lab.take()
    for (let i = 20; i < 40; i++) {
      lab.receive(arpFrame({ sha: A, spa: `10.1.0.${i}`, tpa: '10.1.0.1' }))
    }
    expect(lab.take()).toHaveLength(20)
    const addresses = lab.neighbors.list().map(({ address }) => address)
    expect(addresses.sort()).toEqual(['10.1.0.11', '10.1.0.12'])
    lab.balance()
  })
})

describe('links', () => {
  it('keep equal addresses apart', () => {
    const lab = new NeighborLab()
    const back = lab.makeLink(5, 'back')
    lab.neighbors.addLink(back)
    reach(lab, '10.1.0.11')
    lab.take()
    lab.send('10.1.0.11', 1, {}, back)
    expect(lab.take()).not.toContain(dataFrame(A, 4, 1))
    expect(
      lab.neighbors
        .list()
        .map(({ link, state }) => `${link} ${state}`)
        .sort(),
    ).toEqual(['back incomplete', 'front reachable'])
    lab.neighbors.flush(back)
    expect(lab.neighbors.list().map(({ link }) => link)).toEqual(['front'])
    lab.balance()
  })

  it('may be closed by what a failure calls', () => {
    const lab = new NeighborLab({
      unreachable: (_, packet) => {
        lab.pool.free(packet)
        lab.neighbors.close()
      },
    })
    lab.send('10.1.0.11')
    lab.send('10.1.0.12')
    lab.send('10.1.0.12')
    lab.wait(10_000)
    lab.balance()
  })

  it('may send again from what a failure calls, in a table with no room', () => {
    let refused = 0
    const lab = new NeighborLab({
      entriesMax: 1,
      unreachable: (_, packet) => {
        lab.pool.free(packet)
        if (refused++ < 5) lab.send(`10.1.0.${100 + refused}`)
      },
    })
    for (let i = 0; i < 4; i++) lab.send('10.1.0.11')
    lab.wait(20_000)
    expect(refused).toBeGreaterThanOrEqual(5)
    lab.balance()
  })
})

describe('whatever happens', () => {
  const HOSTS = 6
  const four = (n: number): string => `10.1.0.${10 + n}`
  const six = (n: number): string => `fd00:1::1${n}`
  const mac = (n: number): string => `02:00:00:00:00:${10 + n}`
  const host = fc.nat(HOSTS - 1)
  const event = fc.oneof(
    fc.record({ kind: fc.constant('send4' as const), n: host, m: host }),
    fc.record({ kind: fc.constant('send6' as const), n: host, m: host }),
    fc.record({ kind: fc.constant('reply' as const), n: host, m: host }),
    fc.record({ kind: fc.constant('request' as const), n: host, m: host }),
    fc.record({ kind: fc.constant('advertise' as const), n: host, m: host }),
    fc.record({ kind: fc.constant('wait' as const), n: fc.nat(12_000), m: host }),
    fc.record({ kind: fc.constant('flush' as const), n: host, m: host }),
    fc.record({ kind: fc.constant('permanent' as const), n: host, m: host }),
    fc.record({ kind: fc.constant('forget' as const), n: host, m: host }),
  )

  function apply(lab: NeighborLab, { kind, n, m }: { kind: string; n: number; m: number }): void {
    if (kind === 'send4') lab.send(four(n))
    if (kind === 'send6') lab.send(six(n))
    if (kind === 'reply') answer(lab, four(n), mac(m))
    if (kind === 'request') lab.receive(arpFrame({ sha: mac(m), spa: four(n), tpa: '10.1.0.1' }))
    if (kind === 'advertise') {
      const base = { type: 136, src: six(n), target: six(n), flags: m & 1 ? S | O : S }
      const to = { dst: 'fd00:1::1', etherDst: GATEWAY, etherSrc: mac(m), mac: mac(m) }
      lab.receive(ndFrame({ ...base, ...to }))
    }
    if (kind === 'wait') lab.wait(n)
    if (kind === 'flush') lab.neighbors.flush()
    if (kind === 'permanent') {
      try {
        lab.neighbors.setPermanent(lab.link, parseAddress(four(n)), parseMac(mac(m)))
      } catch (error) {
        expect(error).toMatchObject({ code: 'exhausted' })
      }
    }
    if (kind === 'forget') lab.neighbors.forget(lab.link, parseAddress(four(n)))
  }

  it('no packet is lost uncounted, no bound is broken, nothing is left', () => {
    fc.assert(
      fc.property(
        fc.array(event, { maxLength: 60 }),
        fc.integer({ min: 1, max: 8 }),
        (events, max) => {
          const lab = new NeighborLab({ entriesMax: max }, 128)
          let given = 0
          for (const one of events) {
            if (one.kind === 'send4' || one.kind === 'send6') given++
            apply(lab, one)
            expect(lab.neighbors.list().length).toBeLessThanOrEqual(max)
          }
          // Whoever is awaited either answers or fails, and then all is quiet.
          lab.wait(60_000)
          expect(lab.clock.pending).toBe(0)
          const four = hex(ipPacket(4, 0))
          const six = hex(ipPacket(6, 0))
          const sent = lab.sent.filter(
            (frame) => frame.endsWith(four) || frame.endsWith(six),
          ).length
          const full = lab.drops('neighbor-table-full') + lab.drops('neighbor-queue-full')
          const gone = lab.drops('neighbor-failed') + lab.drops('device-down')
          expect(sent + full + gone).toBe(given)
          lab.balance()
        },
      ),
      { numRuns: 100 },
    )
  })

  it('nothing throws and nothing leaks on mutated messages', () => {
    const lab = new NeighborLab()
    const seeds = [
      arpFrame({ sha: A, spa: '10.1.0.11', tpa: '10.1.0.1' }),
      ndFrame({
        type: 135,
        src: 'fd00:1::11',
        dst: 'ff02::1:ff00:1',
        target: 'fd00:1::1',
        mac: A,
        etherDst: '33:33:ff:00:00:01',
        etherSrc: A,
      }),
    ]
    const mutation = fc.array(fc.tuple(fc.nat(90), fc.nat(255)), { maxLength: 4 })
    fc.assert(
      fc.property(
        fc.constantFrom(...seeds),
        mutation,
        fc.integer({ min: 14, max: 90 }),
        (seed, changes, bytes) => {
          const frame = seed.slice()
          for (const [at, value] of changes) if (at >= 14 && at < frame.length) frame[at] = value
          // A partial checksum lets mutations through to the code behind it.
          lab.receive(frame.slice(0, bytes), { csumStart: 1 })
          lab.take()
          lab.clock.jump(lab.clock.nowMs + 1)
          expect(lab.pool.leaks()).toEqual([])
        },
      ),
      { numRuns: 3000 },
    )
    lab.balance()
  })
})
