/** Tunnel ends: who gets what, what is refused, and that nothing in a datagram breaks anything. */
import fc from 'fast-check'
import { afterEach, expect, test } from 'vitest'
import { parseAddress } from '../../stack/address.ts'
import { type Mac, parseMac } from '../../stack/eth/mac.ts'
import { GsoType, type Packet } from '../../stack/packet.ts'
import * as vxlan from '../../stack/vxlan/header.ts'
import { echo4, frame, HOST_MAC, ip4, pattern, pseudo, tcp, udp } from '../ip/lab.ts'
import { hex, VtepLab } from './lab.ts'

const V4 = { from: '10.1.0.11', to: '10.1.0.12' }
const B1: Mac = parseMac('02:00:00:00:00:21')
const GATEWAY: Mac = parseMac('02:56:58:00:00:2a')
const NODE: Mac = parseMac('02:4e:0a:c8:00:01')
const OTHER_NODE: Mac = parseMac('02:4e:0a:c8:00:02')
const BROADCAST: Mac = parseMac('ff:ff:ff:ff:ff:ff')
const ARP = Uint8Array.from([0, 1, 8, 0, 6, 4, 0, 1, ...new Uint8Array(20)])

function datagram(vni: number, inner: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(8 + inner.length)
  vxlan.putHeader(bytes, 0, vni)
  bytes.set(inner, 8)
  return bytes
}

function arpFrame(destination: Mac): Uint8Array {
  const bytes = frame(destination, ip4(V4, ARP))
  bytes.set([8, 6], 12)
  bytes.set(ARP, 14)
  return bytes
}

function from(bytes: Uint8Array, source: Mac): Uint8Array {
  const copy = bytes.slice()
  const view = new DataView(copy.buffer)
  view.setUint16(6, source.hi)
  view.setUint32(8, source.lo)
  return copy
}

const ECHO = frame(B1, echo4(V4, pattern(20)))

let lab: VtepLab | undefined

function ends(count = 3, joins = false): VtepLab {
  lab = new VtepLab(count, joins)
  return lab
}

afterEach(() => {
  lab?.finish()
  lab = undefined
})

test('a known station is sent to its node alone, unknown ones and groups once to each', () => {
  const it = ends()
  const [a, b, c] = [it.open(1, [2, 3]), it.open(2, [1, 3]), it.open(3, [1, 2])]
  a.addStation(B1, it.address(2))
  it.send(a, ECHO)
  expect([it.out(b), it.out(c)]).toEqual([[hex(ECHO)], []])
  a.removeStation(B1)
  it.send(a, ECHO)
  expect([it.out(b), it.out(c)]).toEqual([[hex(ECHO)], [hex(ECHO)]])
  const all = arpFrame(BROADCAST)
  it.send(a, all)
  expect([it.out(a), it.out(b), it.out(c)]).toEqual([[], [hex(all)], [hex(all)]])
  a.removeMember(it.address(3))
  it.send(a, all)
  expect([it.out(b), it.out(c)]).toEqual([[hex(all)], []])
  a.removeMember(it.address(2))
  it.send(a, all)
  expect(it.drops('vxlan-no-peer')).toBe(1)
})

test('a station that moves is sent to its new node at once; what was told wins', () => {
  const it = ends()
  const [a, b, c] = [it.open(1, [2, 3], { learning: true }), it.open(2, [1]), it.open(3, [1])]
  a.addStation(B1, it.address(2))
  it.send(a, ECHO)
  a.addStation(B1, it.address(3))
  it.send(a, ECHO)
  expect([it.out(b).length, it.out(c).length]).toEqual([1, 1])
  it.send(b, from(ECHO, B1))
  it.send(a, ECHO)
  expect([it.out(b).length, it.out(c).length], 'a frame moves nothing').toEqual([0, 1])
  expect(a.stations()).toMatchObject([{ static: true }])
})

test('stations are learned only where asked for, and age', () => {
  const it = ends()
  const [a, b, c] = [it.open(1, [2, 3], { learning: true }), it.open(2, [1]), it.open(3, [1])]
  it.send(b, from(arpFrame(BROADCAST), B1))
  it.send(a, ECHO)
  expect([it.out(b).length, it.out(c).length]).toEqual([1, 0])
  it.clock.jump(301_000)
  it.send(a, ECHO)
  expect([it.out(b).length, it.out(c).length]).toEqual([1, 1])
  it.send(a, from(arpFrame(BROADCAST), HOST_MAC))
  expect(b.stations()).toEqual([])
})

test('networks are apart: same stations, other VNI', () => {
  const it = ends(2)
  const red = [it.open(1, [2], { vni: 7 }), it.open(2, [1], { vni: 7 })] as const
  const blue = [it.open(1, [2], { vni: 8 }), it.open(2, [1], { vni: 8 })] as const
  red[0].addStation(B1, it.address(2))
  it.send(red[0], ECHO)
  it.send(blue[0], arpFrame(BROADCAST))
  expect([it.out(red[1]).length, it.out(blue[1]).length]).toEqual([1, 1])
  expect(it.out(red[1]).length + it.out(blue[1]).length).toBe(0)
})

test('what is no datagram of a network here, or from nobody in it, is dropped and counted', () => {
  const it = ends()
  const a = it.open(1, [2])
  it.open(2, [1])
  it.inject(2, 1, datagram(42, ECHO))
  expect(it.out(a)).toEqual([hex(ECHO)])
  it.inject(3, 1, datagram(42, ECHO))
  expect(it.drops('vxlan-unknown-vtep')).toBe(1)
  for (let vni = 0; vni < 64; vni++) if (vni !== 42) it.inject(2, 1, datagram(vni, ECHO))
  expect(it.drops('vxlan-unknown-vni')).toBe(63)
  for (let bytes = 1; bytes < 8; bytes++) it.inject(2, 1, datagram(42, ECHO).slice(0, bytes))
  const without = datagram(42, ECHO)
  without[0] = 0
  it.inject(2, 1, without)
  expect(it.drops('vxlan-malformed')).toBe(8)
  for (let bytes = 8; bytes < 22; bytes++) it.inject(2, 1, datagram(42, ECHO).slice(0, bytes))
  expect(it.drops('frame-runt')).toBe(14)
  expect(it.out(a)).toEqual([])
})

test('a node is heard while it is a member or has a station, no longer', () => {
  const it = ends(2)
  const a = it.open(1, [])
  a.addStation(B1, it.address(2))
  it.inject(2, 1, datagram(42, ECHO))
  a.removeStation(B1)
  it.inject(2, 1, datagram(42, ECHO))
  expect(it.out(a)).toHaveLength(1)
  expect(it.drops('vxlan-unknown-vtep')).toBe(1)
  expect(it.underlay(1).peer(0)).toBeUndefined()
})

test("a gateway's routed packets cross as the node's; its ARP and others' gateways do not", () => {
  const it = ends(2)
  const gateway = { mac: GATEWAY, nodeMac: NODE }
  const other = { mac: GATEWAY, nodeMac: OTHER_NODE }
  const [a, b] = [it.open(1, [2], { gateway }), it.open(2, [1], { gateway: other })]
  it.send(a, from(ECHO, GATEWAY))
  expect(it.out(b)).toEqual([hex(from(ECHO, NODE))])
  it.send(a, from(arpFrame(BROADCAST), GATEWAY))
  it.send(a, from(arpFrame(B1), GATEWAY))
  expect(it.drops('vxlan-gateway')).toBe(2)
  it.inject(1, 2, datagram(42, from(ECHO, GATEWAY)))
  expect(it.drops('vxlan-gateway')).toBe(3)
  expect(it.out(b)).toEqual([])
})

test('nothing comes out that says to be from this node: its endpoints, its routed packets', () => {
  const it = ends(2)
  const gateway = { mac: GATEWAY, nodeMac: NODE }
  const a = it.open(1, [2], { gateway, learning: true })
  it.open(2, [1])
  a.addOwn(B1)
  a.addOwn(B1)
  it.inject(2, 1, datagram(42, from(ECHO, B1)))
  it.inject(2, 1, datagram(42, from(arpFrame(BROADCAST), B1)))
  it.inject(2, 1, datagram(42, from(ECHO, NODE)))
  expect([it.out(a), it.drops('vxlan-own-source'), a.stations()]).toEqual([[], 3, []])
  it.inject(2, 1, datagram(42, from(ECHO, OTHER_NODE)))
  expect(it.out(a), 'another node routes').toEqual([hex(from(ECHO, OTHER_NODE))])
  a.removeOwn(B1)
  it.inject(2, 1, datagram(42, from(ECHO, B1)))
  expect([it.out(a).length, it.drops('vxlan-own-source')], 'it moved away').toEqual([1, 3])
})

test('an own station is told to be nowhere else, until it is gone', () => {
  const it = ends(2)
  const [a, b] = [it.open(1, [2]), it.open(2, [1])]
  a.addStation(B1, it.address(2))
  a.addOwn(B1)
  expect(a.stations()).toEqual([])
  it.inject(2, 1, datagram(42, from(ECHO, B1)))
  expect(it.drops('vxlan-own-source')).toBe(1)
  a.removeOwn(B1)
  a.addStation(B1, it.address(2))
  it.send(a, ECHO)
  expect(it.out(b)).toHaveLength(1)
})

test('who sends too much for the path to a node is told what fits, exactly', () => {
  const it = ends(2)
  const told: number[] = []
  const tooBig = (_: Packet, mtuBytes: number): void => void told.push(mtuBytes)
  for (const [vni, sealBytes, mtuBytes] of [
    [42, 0, 1350],
    [43, 32, 1318],
  ] as const) {
    const a = it.open(1, [2], { vni, sealBytes, tooBig })
    const b = it.open(2, [1], { vni })
    it.net.setFaults({ mtuBytes: 1400 })
    const echo = (bytes: number): Uint8Array => frame(B1, echo4(V4, pattern(bytes - 28)))
    // A path is as wide as the interface until it refuses something.
    if (vni === 42) it.send(a, echo(1450))
    expect(told).toEqual([])
    it.send(a, echo(mtuBytes))
    expect([told.splice(0), it.out(b).length]).toEqual([[], 1])
    it.send(a, echo(mtuBytes + 1))
    expect(told.splice(0)).toEqual([mtuBytes])
    it.out(b)
    const header = { ...V4, protocol: 6 }
    const bytes = frame(B1, tcp(header, { to: 80, flags: 0x10 }, pattern(4000)))
    const facts = { gsoType: GsoType.TcpV4, csumOffset: 16 }
    for (const [gsoSize, tells] of [
      [mtuBytes - 40, []],
      [mtuBytes - 39, [mtuBytes]],
    ] as const) {
      const packet = it.packet(bytes, { ...facts, gsoSize })
      packet.csumStart = packet.head + 34
      a.transmit(packet)
      it.settle()
      expect(told.splice(0)).toEqual(tells)
    }
  }
})

test('tags stay out unless asked for, both ways', () => {
  const it = ends(2)
  const tagged = Uint8Array.from([...ECHO.slice(0, 12), 0x81, 0, 0, 5, ...ECHO.slice(12)])
  const [a, b] = [it.open(1, [2]), it.open(2, [1])]
  it.send(a, tagged)
  it.inject(2, 1, datagram(42, tagged))
  expect(it.drops('vxlan-inner-vlan')).toBe(2)
  const wide = { vni: 43, innerVlan: true }
  const [c, d] = [it.open(1, [2], wide), it.open(2, [1], wide)]
  it.send(c, tagged)
  expect([it.out(d), it.out(b)]).toEqual([[hex(tagged)], []])
})

test('congestion marks cross both ways', () => {
  const it = ends(2)
  const [a, b] = [it.open(1, [2]), it.open(2, [1])]
  const ect0 = frame(B1, echo4({ ...V4, tos: 2 }, pattern(20)))
  it.inject(2, 1, datagram(42, ect0), 3)
  expect(it.out(a)).toEqual([hex(frame(B1, echo4({ ...V4, tos: 3 }, pattern(20))))])
  it.inject(2, 1, datagram(42, ECHO), 3)
  expect(it.drops('vxlan-ecn')).toBe(1)
  let seen = -1
  it.underlay(2).onDatagram = (packet, _peer, _bytes, tos) => {
    seen = tos
    it.pool.free(packet)
  }
  it.send(a, frame(B1, echo4({ ...V4, tos: 0xb9 }, pattern(20))))
  expect(seen, 'the mark, and no DSCP').toBe(1)
  expect(it.out(b)).toEqual([])
})

test('a super-frame is cut, and is whole again where its segments come joined', () => {
  for (const joins of [false, true]) {
    const it = ends(2, joins)
    const [a, b] = [it.open(1, [2]), it.open(2, [1])]
    const header = { ...V4, protocol: 6 }
    const bytes = frame(B1, tcp(header, { to: 80, flags: 0x10 }, pattern(3000)))
    const partial = pseudo(header, bytes.length - 34)
    bytes.set([partial >>> 8, partial & 0xff], 50)
    const packet = it.packet(bytes, { gsoType: GsoType.TcpV4, gsoSize: 1000, csumOffset: 16 })
    packet.csumStart = packet.head + 34
    a.transmit(packet)
    it.settle()
    const lengths = it.out(b).map(({ length }) => length / 2)
    expect(lengths).toEqual(joins ? [3054] : [1054, 1054, 1054])
    it.finish()
    lab = undefined
  }
})

test('a multicast group of the underlay serves for all at once', () => {
  const it = ends()
  const tunnels = [it.open(1, [2, 3]), it.open(2, [1, 3]), it.open(3, [1, 2])] as const
  for (const tunnel of tunnels) tunnel.setGroup(parseAddress('239.1.1.1'))
  it.send(tunnels[0], arpFrame(BROADCAST))
  expect(tunnels.map((tunnel) => it.out(tunnel).length)).toEqual([0, 1, 1])
})

test('limits are kept, and said', () => {
  const it = ends(2)
  const a = it.open(1, [2], { stationsMax: 4 })
  for (let i = 0; i < 4; i++) a.addStation({ hi: 0x0200, lo: i }, it.address(2))
  expect(() => a.addStation({ hi: 0x0200, lo: 9 }, it.address(2))).toThrow('4 FDB entries')
  expect(() => it.open(1, [])).toThrow('VNI 42 is that of network t')
  expect(() => it.open(1, [], { vni: 0 })).toThrow('from 1 to 16777215')
  expect(() => it.open(1, [], { vni: 1 << 24 })).toThrow('from 1 to 16777215')
})

test('no datagram breaks anything, and each comes out or is counted', () => {
  const it = ends(2)
  const gateway = { mac: GATEWAY, nodeMac: NODE }
  const a = it.open(1, [2], { learning: true, gateway, stationsMax: 64 })
  it.open(2, [1])
  const valid = datagram(42, frame(B1, udp({ ...V4 }, { to: 53 }, pattern(40))))
  const mutation = fc.tuple(fc.nat(valid.length - 1), fc.nat(255))
  const mutated = fc
    .tuple(fc.array(mutation, { maxLength: 8 }), fc.nat(valid.length), fc.nat(255))
    .map(([changes, bytes, tos]) => {
      const copy = valid.slice(0, Math.max(1, bytes))
      for (const [at, value] of changes) if (at < copy.length) copy[at] = value
      return [copy, tos] as const
    })
  const random = fc.tuple(fc.uint8Array({ minLength: 1, maxLength: 200 }), fc.nat(255))
  let sent = 0
  let out = 0
  fc.assert(
    fc.property(fc.oneof(mutated, random), ([bytes, tos]) => {
      it.inject(2, 1, bytes, tos)
      out += it.out(a).length
      expect(out + it.allDrops()).toBe(++sent)
    }),
    { numRuns: 1500 },
  )
  expect(out).toBeGreaterThan(10)
  expect(a.stations().length).toBeLessThanOrEqual(64)
})
