/** Learning, ageing, flooding, static entries, split horizon, isolation, guards and limits. */
import { describe, expect, test } from 'vitest'
import { DropReason } from '../../stack/drop.ts'
import { BROADCAST as BROADCAST_MAC, parseMac } from '../../stack/eth/mac.ts'
import { Trace } from '../../stack/trace.ts'
import { BROADCAST, BridgeLab, frame, hex, station } from './bridge_lab.ts'

const A = station(0xa)
const B = station(0xb)
const C = station(0xc)
const GROUP = '01:00:5e:00:00:fb'

function lab(ports: readonly string[] = ['a', 'b', 'c'], options = {}): BridgeLab {
  const made = new BridgeLab(options)
  for (const name of ports) made.add(name)
  return made
}

describe('forwarding', () => {
  test('floods what it does not know, to every other port, with the same octets', () => {
    const net = lab()
    const bytes = frame({ dst: B, src: A, payload: [1, 2, 3] })
    const out = net.send('a', bytes)
    expect(out.map(({ port }) => port)).toEqual(['b', 'c'])
    for (const delivery of out) expect(delivery.bytes).toBe(hex(bytes))
    net.balance()
  })

  test('sends to one port once it has heard the station', () => {
    const net = lab()
    net.send('b', frame({ dst: BROADCAST, src: B }))
    expect(net.reach('a', { dst: B, src: A })).toEqual(['b'])
    expect(net.reach('b', { dst: A, src: B })).toEqual(['a'])
    net.balance()
  })

  test('floods broadcast and multicast even if the group was heard of', () => {
    const net = lab()
    expect(net.reach('a', { dst: BROADCAST, src: A })).toEqual(['b', 'c'])
    expect(net.reach('a', { dst: GROUP, src: A })).toEqual(['b', 'c'])
    net.balance()
  })

  test('gives the frame itself to the last port and copies to the others', () => {
    const net = lab(['a', 'b', 'c', 'd'])
    const seen: number[] = []
    net.onOutput = (_, packet) => seen.push(packet.index)
    net.send('a', frame({ dst: BROADCAST, src: A }))
    // The frame is in slot 0; the lab frees each copy before the next is made, so both are in 1.
    expect(seen).toEqual([1, 1, 0])
    net.balance()
  })

  test('makes no copy for a flood to a single port', () => {
    const net = new BridgeLab({}, { smallCount: 1, largeCount: 0 })
    net.add('a')
    net.add('b')
    expect(net.reach('a', { dst: BROADCAST, src: A })).toEqual(['b'])
    net.balance()
  })

  test('keeps the facts of a super-frame in every copy', () => {
    const net = lab()
    const facts: unknown[] = []
    net.onOutput = (_, packet) => {
      const { gsoType, gsoSize, csumStart, csumOffset, ingress, head } = packet
      facts.push({ gsoType, gsoSize, csum: csumStart - head, csumOffset, ingress })
    }
    const bytes = frame({ dst: BROADCAST, src: A, payload: new Uint8Array(100) })
    const { ports } = net
    expect(ports.size).toBe(3)
    const csumStart = net.pool.packets.find((p) => !p.live)!.slot + 114 + 34
    net.send('a', bytes, { gsoType: 1, gsoSize: 20, csumStart, csumOffset: 16 })
    const same = { gsoType: 1, gsoSize: 20, csum: 34, csumOffset: 16, ingress: 1 }
    expect(facts).toEqual([same, same])
    net.balance()
  })

  test('never sends a frame back to its port', () => {
    const net = lab()
    net.send('a', frame({ dst: BROADCAST, src: A }))
    net.send('a', frame({ dst: BROADCAST, src: B }))
    expect(net.reach('a', { dst: B, src: A })).toEqual([])
    expect(net.drops('a', 'bridge-same-port')).toBe(1)
    net.balance()
  })

  test('counts a flood to nobody', () => {
    const net = lab(['a'])
    expect(net.reach('a', { dst: B, src: A })).toEqual([])
    expect(net.drops('a', 'bridge-no-port')).toBe(1)
    net.balance()
  })

  test('a copy that cannot be made is the loss of that port only', () => {
    const net = new BridgeLab({}, { smallCount: 2, largeCount: 0 })
    for (const name of ['a', 'b', 'c', 'd']) net.add(name)
    // With the second slot taken there is none for the copies to b and c; d gets the frame itself.
    const spare = net.pool.alloc(60)!
    expect(net.reach('a', { dst: BROADCAST, src: A })).toEqual(['d'])
    expect(net.drops('b', 'pool-empty')).toBe(1)
    expect(net.drops('c', 'pool-empty')).toBe(1)
    expect(net.drops('d', 'pool-empty')).toBe(0)
    net.pool.free(spare)
    net.balance()
  })

  test('survives an output that answers into the bridge or removes a port in mid-flood', () => {
    const net = lab(['a', 'b', 'c', 'd'])
    let answered = false
    net.onOutput = (port) => {
      if (port === 'b' && !answered) {
        answered = true
        net.bridge.removePort(net.ports.get('d')!)
        net.inject('b', frame({ dst: A, src: B }))
      }
    }
    const out = net.reach('a', { dst: BROADCAST, src: A })
    // b's answer to a is the first to arrive, then the copies of the flood.
    expect(out).toEqual(['a', 'b', 'c'])
    expect(net.station(B)).toBe('b')
    net.balance()
  })
})

describe('refused frames', () => {
  test.each([0, 1, 6, 12, 13])('a frame of %i octets is a runt', (bytes) => {
    const net = lab()
    expect(net.send('a', frame({ dst: B, src: A }).subarray(0, bytes))).toEqual([])
    expect(net.drops('a', 'frame-runt')).toBe(1)
    net.balance()
  })

  test.each([14, 15, 16, 17])('a tagged frame of %i octets is a runt', (bytes) => {
    const net = lab()
    const tagged = frame({ dst: B, src: A, tags: [{ vid: 5 }] })
    expect(net.send('a', tagged.subarray(0, bytes))).toEqual([])
    expect(net.drops('a', 'frame-runt')).toBe(1)
    expect(net.send('a', tagged).length).toBe(2)
    net.balance()
  })

  test('the smallest frame is a header', () => {
    const net = lab()
    expect(net.reach('a', { dst: B, src: A })).toEqual(['b', 'c'])
    net.balance()
  })

  test('group and zero sources are refused and not learned', () => {
    const net = lab()
    for (const src of [BROADCAST, GROUP, '03:00:00:00:00:01', '00:00:00:00:00:00']) {
      expect(net.reach('a', { dst: B, src })).toEqual([])
    }
    expect(net.drops('a', 'bridge-source-group')).toBe(4)
    expect(net.bridge.fdb()).toEqual([])
    net.balance()
  })

  test('01:80:c2:00:00:00 to 0f are refused and teach nothing, 10 and 20 pass', () => {
    const net = lab()
    for (let last = 0; last <= 0x0f; last++) {
      const dst = `01:80:c2:00:00:0${last.toString(16)}`
      expect(net.reach('a', { dst, src: A })).toEqual([])
    }
    expect(net.drops('a', 'bridge-reserved-group')).toBe(16)
    expect(net.station(A)).toBeUndefined()
    for (const dst of ['01:80:c2:00:00:10', '01:80:c2:00:00:20', '01:80:c2:00:01:00']) {
      expect(net.reach('a', { dst, src: A })).toEqual(['b', 'c'])
    }
    net.balance()
  })

  test('the spoof guard lets only its sources through', () => {
    const net = new BridgeLab()
    net.add('a', { macs: [parseMac(A), parseMac('fe:ff:ff:ff:ff:fe')] })
    net.add('b')
    expect(net.reach('a', { dst: B, src: A })).toEqual(['b'])
    expect(net.reach('a', { dst: B, src: 'fe:ff:ff:ff:ff:fe' })).toEqual(['b'])
    expect(net.reach('a', { dst: B, src: C })).toEqual([])
    expect(net.reach('a', { dst: BROADCAST, src: 'fe:ff:ff:ff:ff:ff' })).toEqual([])
    expect(net.drops('a', 'mac-spoofed')).toBe(2)
    expect(net.station(C)).toBeUndefined()
    net.balance()
  })

  test('a guard with no source refuses all', () => {
    const net = new BridgeLab()
    net.add('a', { macs: [] })
    net.add('b')
    expect(net.reach('a', { dst: B, src: A })).toEqual([])
    net.balance()
  })
})

describe('learning', () => {
  test('a station moves with its frames', () => {
    const net = lab()
    net.send('a', frame({ dst: BROADCAST, src: A }))
    net.send('b', frame({ dst: BROADCAST, src: A }))
    expect(net.station(A)).toBe('b')
    expect(net.reach('c', { dst: A, src: C })).toEqual(['b'])
    const [a, b] = net.bridge.ports()
    expect([a!.learned, a!.moves, b!.learned, b!.moves]).toEqual([0, 0, 1, 1])
    net.balance()
  })

  test('a station is forgotten exactly ageMs after its last frame', () => {
    const net = lab(undefined, { ageMs: 1000 })
    net.send('b', frame({ dst: BROADCAST, src: B }))
    net.wait(999)
    expect(net.reach('a', { dst: B, src: A })).toEqual(['b'])
    net.wait(1)
    expect(net.bridge.fdb().map(({ mac }) => mac)).toEqual([A])
    expect(net.reach('a', { dst: B, src: A })).toEqual(['b', 'c'])
    net.balance()
  })

  test('ages after 300 s unless told otherwise, and every frame refreshes', () => {
    const net = lab()
    net.send('b', frame({ dst: BROADCAST, src: B }))
    net.wait(200_000)
    net.send('b', frame({ dst: A, src: B }))
    net.wait(299_999)
    expect(net.bridge.fdb()).toEqual([{ mac: B, vid: 0, port: 'b', static: false, ageMs: 299_999 }])
    net.wait(1)
    expect(net.bridge.fdb()).toEqual([])
    net.balance()
  })

  test('memory returns by the sweep, and the timer stops with the last station', () => {
    const net = lab(undefined, { ageMs: 1000 })
    for (let i = 1; i <= 50; i++) net.send('a', frame({ dst: BROADCAST, src: station(i) }))
    expect(net.bridge.ports()[0]!.learned).toBe(50)
    expect(net.clock.pending).toBe(1)
    net.wait(1200)
    expect(net.bridge.ports()[0]!.learned).toBe(0)
    expect(net.clock.pending).toBe(0)
    net.send('a', frame({ dst: BROADCAST, src: A }))
    expect(net.clock.pending).toBe(1)
    net.balance()
  })

  test('a removed port takes its entries along, and its index is used again', () => {
    const net = lab()
    net.send('b', frame({ dst: BROADCAST, src: B }))
    const b = net.ports.get('b')!
    net.bridge.addStatic(parseMac(C), b)
    net.bridge.removePort(b)
    net.bridge.removePort(b)
    expect(net.bridge.fdb()).toEqual([])
    net.inject('b', frame({ dst: A, src: B }))
    expect(net.drops('b', 'device-down')).toBe(1)
    net.add('d')
    net.send('d', frame({ dst: BROADCAST, src: B }))
    expect(net.station(B)).toBe('d')
    expect(net.reach('a', { dst: B, src: A })).toEqual(['d'])
    net.balance()
  })
})

describe('static entries', () => {
  test('win over what was learned and over what frames say later', () => {
    const net = lab()
    net.send('a', frame({ dst: BROADCAST, src: B }))
    net.bridge.addStatic(parseMac(B), net.ports.get('b')!)
    expect(net.station(B)).toBe('b')
    expect(net.bridge.ports()[0]!.learned).toBe(0)
    expect(net.reach('c', { dst: BROADCAST, src: B })).toEqual(['a', 'b'])
    expect(net.station(B)).toBe('b')
    net.wait(1_000_000)
    expect(net.reach('a', { dst: B, src: A })).toEqual(['b'])
    expect(net.bridge.fdb().find(({ mac }) => mac === B)).toEqual({
      mac: B,
      vid: 0,
      port: 'b',
      static: true,
      ageMs: 0,
    })
    net.balance()
  })

  test('are replaced by a second, and gone when removed', () => {
    const net = lab()
    net.bridge.addStatic(parseMac(B), net.ports.get('b')!)
    net.bridge.addStatic(parseMac(B), net.ports.get('c')!)
    expect(net.reach('a', { dst: B, src: A })).toEqual(['c'])
    net.bridge.removeStatic(parseMac(B))
    net.bridge.removeStatic(parseMac(B))
    expect(net.reach('a', { dst: B, src: A })).toEqual(['b', 'c'])
    net.balance()
  })

  test('with addresses above 80:00:00:00 in their last four octets are found', () => {
    const net = lab()
    const high = '02:00:ff:ff:ff:fe'
    net.bridge.addStatic(parseMac(high), net.ports.get('b')!)
    expect(net.reach('a', { dst: high, src: A })).toEqual(['b'])
    net.bridge.removeStatic(parseMac(high))
    expect(net.bridge.fdb().map(({ mac }) => mac)).toEqual([A])
    net.balance()
  })

  test('refuse group addresses, foreign ports and VLANs where none are filtered', () => {
    const net = lab()
    const port = net.ports.get('a')!
    const foreign = lab().ports.get('a')!
    expect(() => net.bridge.addStatic(BROADCAST_MAC, port)).toThrow('group address')
    expect(() => net.bridge.addStatic(parseMac(A), foreign)).toThrow('no port')
    expect(() => net.bridge.addStatic(parseMac(A), port, 5)).toThrow('does not filter')
    net.balance()
  })

  test('take the place of the oldest learned entry in a full table', () => {
    const net = lab(undefined, { fdbMax: 3 })
    net.send('a', frame({ dst: BROADCAST, src: station(1) }))
    net.wait(10)
    net.send('b', frame({ dst: BROADCAST, src: station(2) }))
    net.bridge.addStatic(parseMac(station(3)), net.ports.get('c')!)
    net.bridge.addStatic(parseMac(station(4)), net.ports.get('c')!)
    expect(net.station(station(1))).toBeUndefined()
    expect(net.station(station(2))).toBe('b')
    net.bridge.addStatic(parseMac(station(5)), net.ports.get('c')!)
    expect(() => net.bridge.addStatic(parseMac(station(6)), net.ports.get('c')!)).toThrow('static')
    net.balance()
  })
})

describe('flood of sources', () => {
  test('one port fills at most half, others go on learning, known stations keep service', () => {
    const net = lab(['good', 'bad', 'new'], { fdbMax: 100 })
    net.send('good', frame({ dst: BROADCAST, src: A }))
    for (let i = 1; i <= 1000; i++) net.send('bad', frame({ dst: A, src: station(1000 + i) }))
    const [, bad] = net.bridge.ports()
    expect(bad!.learned).toBe(50)
    expect(bad!.learnRefused).toBe(950)
    expect(net.reach('new', { dst: A, src: B })).toEqual(['good'])
    expect(net.reach('good', { dst: B, src: A })).toEqual(['new'])
    expect(net.events).toEqual([{ kind: 'fdb-full', bridge: 'lab', port: 'bad', learned: 50 }])
    net.balance()
  })

  test('with every port but one flooding, that one can still learn', () => {
    const net = lab(['p0', 'p1', 'p2', 'p3', 'victim'], { fdbMax: 64 })
    for (let i = 0; i < 2000; i++) {
      net.send(`p${i % 4}`, frame({ dst: BROADCAST, src: station(5000 + i) }))
    }
    net.send('victim', frame({ dst: BROADCAST, src: A }))
    expect(net.station(A)).toBe('victim')
    expect(net.bridge.fdb().length).toBeLessThanOrEqual(64)
    net.balance()
  })

  test('learnedMax is a limit of the port, for new stations and for moved ones', () => {
    const net = new BridgeLab()
    net.add('a', { learnedMax: 2 })
    net.add('b')
    net.send('b', frame({ dst: BROADCAST, src: C }))
    for (let i = 1; i <= 5; i++) net.send('a', frame({ dst: BROADCAST, src: station(i) }))
    net.send('a', frame({ dst: BROADCAST, src: C }))
    expect(net.station(C)).toBe('b')
    expect(net.bridge.ports()[0]).toMatchObject({ learned: 2, learnRefused: 4, moves: 0 })
    net.balance()
  })

  test('a port that is full says so once a minute', () => {
    const net = new BridgeLab()
    net.add('a', { learnedMax: 1 })
    for (let i = 0; i < 1300; i++) {
      net.send('a', frame({ dst: BROADCAST, src: station(i + 1) }))
      net.wait(100)
    }
    expect(net.events.length).toBe(3)
    net.balance()
  })
})

describe('groups and isolation', () => {
  test('frames never pass between two ports of one group', () => {
    const net = new BridgeLab()
    net.add('t1', { group: 1 })
    net.add('t2', { group: 1 })
    net.add('u', { group: 2 })
    net.add('a')
    net.add('b')
    expect(net.reach('t1', { dst: BROADCAST, src: A })).toEqual(['u', 'a', 'b'])
    expect(net.reach('a', { dst: BROADCAST, src: B })).toEqual(['t1', 't2', 'u', 'b'])
    expect(net.reach('t2', { dst: A, src: C })).toEqual([])
    expect(net.drops('t2', 'bridge-isolated')).toBe(1)
    net.balance()
  })

  test('frames never pass between two isolated ports', () => {
    const net = new BridgeLab()
    net.add('a', { isolated: true })
    net.add('b', { isolated: true })
    net.add('gateway')
    expect(net.reach('a', { dst: BROADCAST, src: A })).toEqual(['gateway'])
    expect(net.reach('gateway', { dst: BROADCAST, src: C })).toEqual(['a', 'b'])
    expect(net.reach('b', { dst: A, src: B })).toEqual([])
    expect(net.drops('b', 'bridge-isolated')).toBe(1)
    expect(net.reach('b', { dst: C, src: B })).toEqual(['gateway'])
    net.balance()
  })
})

describe('storm limits', () => {
  test('each class has its bucket and its reason; known unicast has no limit', () => {
    const net = new BridgeLab()
    net.add('a', { storm: { broadcastPerS: 3, multicastPerS: 2, unknownPerS: 1 } })
    net.add('b')
    net.send('b', frame({ dst: BROADCAST, src: B }))
    for (let i = 0; i < 10; i++) {
      net.send('a', frame({ dst: BROADCAST, src: A }))
      net.send('a', frame({ dst: GROUP, src: A }))
      net.send('a', frame({ dst: C, src: A }))
      expect(net.reach('a', { dst: B, src: A })).toEqual(['b'])
    }
    expect(net.drops('a', 'storm-broadcast')).toBe(7)
    expect(net.drops('a', 'storm-multicast')).toBe(8)
    expect(net.drops('a', 'storm-unknown')).toBe(9)
    net.balance()
  })

  test('tokens come back with time, up to one second of them', () => {
    const net = new BridgeLab()
    net.add('a', { storm: { broadcastPerS: 10 } })
    net.add('b')
    const burst = (): number => {
      let passed = 0
      for (let i = 0; i < 50; i++) passed += net.reach('a', { dst: BROADCAST, src: A }).length
      return passed
    }
    expect(burst()).toBe(10)
    net.wait(500)
    expect(burst()).toBe(5)
    net.wait(60_000)
    expect(burst()).toBe(10)
    net.balance()
  })

  test('a limit of 0 lets nothing through, one below 1 a frame now and then', () => {
    const net = new BridgeLab()
    net.add('a', { storm: { broadcastPerS: 0, multicastPerS: 0.5 } })
    net.add('b')
    expect(net.reach('a', { dst: BROADCAST, src: A })).toEqual([])
    expect(net.reach('a', { dst: GROUP, src: A })).toEqual(['b'])
    net.wait(1000)
    expect(net.reach('a', { dst: GROUP, src: A })).toEqual([])
    net.wait(1000)
    expect(net.reach('a', { dst: GROUP, src: A })).toEqual(['b'])
    net.balance()
  })

  test('a super-frame costs as many tokens as it has segments', () => {
    const net = new BridgeLab()
    net.add('a', { storm: { broadcastPerS: 10 } })
    net.add('b')
    const bytes = frame({ dst: BROADCAST, src: A, payload: new Uint8Array(286) })
    expect(net.send('a', bytes, { gsoType: 5, gsoSize: 10 }).length).toBe(1)
    expect(net.send('a', bytes).length).toBe(0)
    net.wait(2000)
    expect(net.send('a', bytes).length).toBe(0)
    net.wait(200)
    expect(net.send('a', bytes).length).toBe(1)
    net.balance()
  })

  test('frames over the limit teach nothing; a bad limit is refused', () => {
    const net = new BridgeLab()
    net.add('a', { storm: { broadcastPerS: 1 } })
    net.add('b')
    net.send('a', frame({ dst: BROADCAST, src: A }))
    net.send('a', frame({ dst: BROADCAST, src: C }))
    expect(net.station(C)).toBeUndefined()
    expect(() => net.add('x', { storm: { unknownPerS: -1 } })).toThrow('storm limit')
    expect(() => net.add('x', { storm: { unknownPerS: Number.NaN } })).toThrow('storm limit')
    net.balance()
  })
})

describe('loop guard', () => {
  function flap(net: BridgeLab, times: number, ports = ['a', 'b']): void {
    for (let i = 0; i < times; i++) {
      net.send(ports[i % 2]!, frame({ dst: BROADCAST, src: station(0x99) }))
    }
  }

  test('shuts the newer port of a flapping pair, says so, and opens it after the hold time', () => {
    const net = lab(['a', 'b', 'c'], { loopGuard: { movesMax: 4, windowMs: 1000, holdMs: 5000 } })
    flap(net, 5)
    expect(net.bridge.ports().map(({ state }) => state)).not.toContain('shut')
    flap(net, 2, ['b', 'a'])
    expect(net.events).toEqual([
      {
        kind: 'loop',
        bridge: 'lab',
        port: 'b',
        other: 'a',
        mac: station(0x99),
        vid: 0,
        holdMs: 5000,
      },
    ])
    expect(net.bridge.ports()[1]).toMatchObject({ name: 'b', state: 'shut', learned: 0 })
    expect(net.drops('b', 'bridge-loop')).toBe(1)
    expect(net.station(station(0x99))).toBe('a')
    expect(net.reach('b', { dst: BROADCAST, src: B })).toEqual([])
    expect(net.drops('b', 'bridge-port-shut')).toBe(1)
    expect(net.reach('a', { dst: BROADCAST, src: A })).toEqual(['c'])
    net.wait(5000)
    expect(net.events[1]).toEqual({ kind: 'reopened', bridge: 'lab', port: 'b' })
    expect(net.reach('a', { dst: BROADCAST, src: A })).toEqual(['b', 'c'])
    net.balance()
  })

  test('lets the frame pass that showed the loop if it came by the older port', () => {
    const net = lab(['a', 'b', 'c'], { loopGuard: { movesMax: 3, windowMs: 1000 } })
    flap(net, 4, ['b', 'a'])
    expect(net.events).toEqual([])
    net.send('b', frame({ dst: BROADCAST, src: station(0x99) }))
    expect(net.events.length).toBe(1)
    net.wait(30_000)
    net.events.length = 0
    flap(net, 4, ['a', 'b'])
    expect(net.reach('a', { dst: BROADCAST, src: station(0x99) })).toEqual(['c'])
    expect(net.events[0]).toMatchObject({ kind: 'loop', port: 'b', other: 'a' })
    expect(net.station(station(0x99))).toBe('a')
    net.balance()
  })

  test('moves that are rare are no loop', () => {
    const net = lab(['a', 'b'], { loopGuard: { movesMax: 2, windowMs: 1000 } })
    for (let i = 0; i < 50; i++) {
      flap(net, 1, [i % 2 === 0 ? 'a' : 'b'])
      net.wait(600)
    }
    expect(net.events).toEqual([])
    net.balance()
  })

  test('frames to a static station behind a shut port are counted', () => {
    const net = lab(['a', 'b'], { loopGuard: { movesMax: 1 } })
    net.bridge.addStatic(parseMac(C), net.ports.get('b')!)
    flap(net, 3, ['b', 'a'])
    expect(net.bridge.ports()[1]!.state).toBe('shut')
    expect(net.reach('a', { dst: C, src: A })).toEqual([])
    expect(net.drops('a', 'bridge-port-shut')).toBe(1)
    net.balance()
  })

  test('a loop between two ports is broken within a few frames', () => {
    const net = lab(['host', 'x', 'y'])
    // A cable joins x and y: what leaves by one comes in by the other, in order.
    const cable: { readonly to: string; readonly bytes: Uint8Array }[] = []
    net.onOutput = (port, packet) => {
      if (port === 'host') return
      const bytes = net.pool.mem.slice(packet.head, packet.head + packet.len)
      cable.push({ to: port === 'x' ? 'y' : 'x', bytes })
    }
    net.send('host', frame({ dst: BROADCAST, src: A }))
    let hops = 0
    for (; cable.length > 0 && hops < 1000; hops++) {
      const { to, bytes } = cable.shift()!
      net.inject(to, bytes)
    }
    expect(hops).toBeLessThan(100)
    expect(net.events.length).toBe(1)
    expect(net.bridge.ports().find(({ name }) => name === 'y')!.state).toBe('shut')
    expect(net.pool.leaks()).toEqual([])
    net.balance()
  })

  test('refuses values that make no sense', () => {
    expect(() => lab([], { loopGuard: { movesMax: 0 } })).toThrow('movesMax')
    expect(() => lab([], { loopGuard: { holdMs: -1 } })).toThrow('holdMs')
    expect(() => lab([], { ageMs: 0 })).toThrow('ageing')
    expect(() => lab([], { fdbMax: 0 })).toThrow('room')
  })
})

describe('control', () => {
  test('names are unique, and VLANs need a filtering bridge', () => {
    const net = lab()
    expect(() => net.add('a')).toThrow('has a port a')
    expect(() => net.add('v', { vlan: { pvid: 1 } })).toThrow('does not filter')
    net.balance()
  })

  test('lists its ports with their settings', () => {
    const net = new BridgeLab({ vlanFiltering: true })
    net.add('a', { group: 3, isolated: true, vlan: { pvid: 7 } })
    expect(net.bridge.ports()).toEqual([
      {
        name: 'a',
        state: 'forwarding',
        learned: 0,
        learnRefused: 0,
        moves: 0,
        group: 3,
        isolated: true,
        vlan: { pvid: 7 },
      },
    ])
    net.balance()
  })

  test('close is final and idempotent', () => {
    const net = lab(undefined, { loopGuard: { movesMax: 1 } })
    for (const port of ['b', 'a', 'b']) net.send(port, frame({ dst: BROADCAST, src: A }))
    net.bridge.close()
    net.bridge.close()
    expect(net.bridge.ports()).toEqual([])
    expect(net.bridge.fdb()).toEqual([])
    net.inject('a', frame({ dst: BROADCAST, src: A }))
    expect(net.drops('a', 'device-down')).toBe(1)
    net.balance()
  })
})

describe('trace', () => {
  function traced(net: BridgeLab, port: string, bytes: Uint8Array): Trace {
    const trace = new Trace()
    net.pool.trace = trace
    net.send(port, bytes, { traced: true })
    net.pool.trace = undefined
    return trace
  }

  test('tells the way of a known unicast frame', () => {
    const net = lab()
    net.send('b', frame({ dst: BROADCAST, src: B }))
    net.send('a', frame({ dst: BROADCAST, src: A }))
    const trace = traced(net, 'a', frame({ dst: B, src: A }))
    expect(trace.steps).toEqual([
      { element: 'bridge lab', text: `in by a, to ${B}` },
      { element: 'bridge lab', text: `the source ${A} is known on a (learned)` },
      { element: 'bridge lab', text: 'the destination is known on b' },
    ])
    net.balance()
  })

  test('changes nothing: no station, no counter, no token, no move, no age', () => {
    const net = lab([], { loopGuard: { movesMax: 1 } })
    net.add('a', { storm: { broadcastPerS: 1, unknownPerS: 1 } })
    net.add('b', { learnedMax: 1 })
    net.send('b', frame({ dst: C, src: B }))
    net.wait(1000)
    const before = [net.bridge.fdb(), net.bridge.ports()]
    for (let i = 0; i < 5; i++) {
      traced(net, 'a', frame({ dst: BROADCAST, src: A }))
      traced(net, 'a', frame({ dst: C, src: B }))
      traced(net, 'b', frame({ dst: B, src: B }))
      traced(net, 'b', frame({ dst: BROADCAST, src: station(i + 1) }))
      traced(net, 'a', new Uint8Array(5))
    }
    expect([net.bridge.fdb(), net.bridge.ports()]).toEqual(before)
    expect(net.events).toEqual([])
    for (const reason of Object.values(DropReason)) expect(net.counters.dropTotal(reason)).toBe(0)
    expect(net.reach('a', { dst: BROADCAST, src: A })).toEqual(['b'])
    net.balance()
  })

  test('a flood names its ports, and a drop its reason', () => {
    const net = lab()
    const flood = traced(net, 'a', frame({ dst: BROADCAST, src: A }))
    expect(flood.steps[1]!.text).toBe(`the source ${A} is new; a real frame would teach it`)
    expect(flood.steps[2]!.text).toBe('a group address: flooded to b, c')
    const drop = traced(net, 'a', frame({ dst: '01:80:c2:00:00:00', src: A }))
    expect(drop.ends).toEqual([{ verdict: 'dropped', detail: 'bridge-reserved-group' }])
    net.balance()
  })
})
