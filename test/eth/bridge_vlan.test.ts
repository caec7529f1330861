/** Access, trunk and hybrid ports; tags pushed, popped and kept; one FDB a VLAN. */
import { describe, expect, test } from 'vitest'
import { parseMac } from '../../stack/eth/mac.ts'
import type { PortVlanOptions } from '../../stack/eth/vlan.ts'
import { BROADCAST, BridgeLab, type Delivery, frame, hex, station, type Tag } from './bridge_lab.ts'

const A = station(0xa)
const B = station(0xb)
const PAYLOAD = [0xde, 0xad, 0xbe, 0xef]

function lab(ports: Record<string, PortVlanOptions | undefined>): BridgeLab {
  const net = new BridgeLab({ vlanFiltering: true })
  for (const [name, vlan] of Object.entries(ports))
    net.add(name, vlan === undefined ? {} : { vlan })
  return net
}

function bytes(tags: readonly Tag[], dst = BROADCAST, src = A): Uint8Array {
  return frame({ dst, src, tags, payload: PAYLOAD })
}

function out(port: string, tags: readonly Tag[]): Delivery {
  return { port, bytes: hex(bytes(tags)) }
}

const PORTS = {
  access10: { pvid: 10 },
  other10: { pvid: 10 },
  access20: { pvid: 20 },
  trunk: { tagged: [10, 20, 30] },
  hybrid: { pvid: 10, tagged: [20] },
  native: { pvid: 10, tagged: [10] },
}

describe('tags', () => {
  test('an untagged frame of an access port leaves by the form of each port', () => {
    const net = lab(PORTS)
    expect(net.send('access10', bytes([]))).toEqual([
      out('other10', []),
      out('trunk', [{ vid: 10 }]),
      out('hybrid', []),
      out('native', [{ vid: 10 }]),
    ])
    net.balance()
  })

  test('a tagged frame of a trunk keeps its priority where it stays tagged', () => {
    const net = lab(PORTS)
    expect(net.send('trunk', bytes([{ vid: 20, priority: 5 }]))).toEqual([
      out('access20', []),
      out('hybrid', [{ vid: 20, priority: 5 }]),
    ])
    net.balance()
  })

  test('a priority tag is of the PVID: popped by access ports, filled in on trunks', () => {
    const net = lab(PORTS)
    expect(net.send('access10', bytes([{ vid: 0, priority: 3 }]))).toEqual([
      out('other10', []),
      out('trunk', [{ vid: 10, priority: 3 }]),
      out('hybrid', []),
      out('native', [{ vid: 10, priority: 3 }]),
    ])
    net.balance()
  })

  test('an access port takes frames tagged with its own VLAN', () => {
    const net = lab(PORTS)
    const reached = net.send('access20', bytes([{ vid: 20, priority: 1 }]))
    expect(reached).toEqual([
      out('trunk', [{ vid: 20, priority: 1 }]),
      out('hybrid', [{ vid: 20, priority: 1 }]),
    ])
    net.balance()
  })

  test('only the outer tag counts: the inner one and service tags are payload', () => {
    const net = lab(PORTS)
    expect(net.send('trunk', bytes([{ vid: 20 }, { vid: 30, priority: 7 }]))[0]).toEqual(
      out('access20', [{ vid: 30, priority: 7 }]),
    )
    const service = { vid: 20, tpid: 0x88a8 }
    expect(net.send('access10', bytes([service]))).toEqual([
      out('other10', [service]),
      out('trunk', [{ vid: 10 }, service]),
      out('hybrid', [service]),
      out('native', [{ vid: 10 }, service]),
    ])
    net.balance()
  })

  test('the smallest tagged frame loses its tag and nothing else', () => {
    const net = lab({ trunk: { tagged: [10] }, access: { pvid: 10 } })
    const least = frame({ dst: BROADCAST, src: A, tags: [{ vid: 10 }], type: 0x1234 })
    expect(least.length).toBe(18)
    const expected = hex(frame({ dst: BROADCAST, src: A, type: 0x1234 }))
    expect(net.send('trunk', least)).toEqual([{ port: 'access', bytes: expected }])
    net.balance()
  })

  test('offsets of a checksum into the payload hold while the tag moves', () => {
    const net = lab({ trunk: { tagged: [10] }, access: { pvid: 10 } })
    const starts: number[] = []
    net.onOutput = (_, { csumStart }) => starts.push(csumStart)
    net.send('access', bytes([]), { csumStart: 4711, csumOffset: 16 })
    net.send('trunk', bytes([{ vid: 10 }]), { csumStart: 4711, csumOffset: 16 })
    expect(starts).toEqual([4711, 4711])
    net.balance()
  })
})

describe('filtering', () => {
  test('refuses what a port does not carry, and counts it', () => {
    const net = lab(PORTS)
    expect(net.send('access10', bytes([{ vid: 20 }]))).toEqual([])
    expect(net.drops('access10', 'vlan-not-allowed')).toBe(1)
    for (const tags of [[], [{ vid: 0 }], [{ vid: 40 }], [{ vid: 4095 }]]) {
      expect(net.send('trunk', bytes(tags))).toEqual([])
    }
    expect(net.drops('trunk', 'vlan-not-allowed')).toBe(4)
    expect(net.bridge.fdb()).toEqual([])
    net.balance()
  })

  test('a port without VLAN settings carries all, and VLAN 1 without a tag', () => {
    const net = lab({ plain: undefined, trunk: { tagged: [1, 4094] }, one: { pvid: 1 } })
    expect(net.send('plain', bytes([]))).toEqual([out('trunk', [{ vid: 1 }]), out('one', [])])
    expect(net.send('trunk', bytes([{ vid: 4094 }]))).toEqual([out('plain', [{ vid: 4094 }])])
    expect(net.send('plain', bytes([{ vid: 4095 }]))).toEqual([])
    net.balance()
  })

  test('a bridge that does not filter passes tags as payload in one FDB', () => {
    const net = new BridgeLab()
    for (const name of ['a', 'b', 'c']) net.add(name)
    net.send('b', bytes([{ vid: 5 }], BROADCAST, B))
    const tagged = bytes([{ vid: 4095, priority: 2 }], B)
    expect(net.send('a', tagged)).toEqual([{ port: 'b', bytes: hex(tagged) }])
    expect(net.station(B, 0)).toBe('b')
    net.balance()
  })

  test('one station may be behind different ports in different VLANs', () => {
    const net = lab({
      t1: { tagged: [10, 20] },
      t2: { tagged: [10, 20] },
      t3: { tagged: [10, 20] },
    })
    net.send('t1', bytes([{ vid: 10 }], BROADCAST, B))
    net.send('t2', bytes([{ vid: 20 }], BROADCAST, B))
    expect(net.send('t3', bytes([{ vid: 10 }], B)).map(({ port }) => port)).toEqual(['t1'])
    expect(net.send('t3', bytes([{ vid: 20 }], B)).map(({ port }) => port)).toEqual(['t2'])
    expect(net.bridge.ports().map(({ moves }) => moves)).toEqual([0, 0, 0])
    net.balance()
  })

  test('static entries default to the PVID and may name a VLAN that the port carries', () => {
    const net = lab(PORTS)
    const hybrid = net.ports.get('hybrid')!
    net.bridge.addStatic(parseMac(B), hybrid)
    net.bridge.addStatic(parseMac(B), hybrid, 20)
    expect(net.bridge.fdb().map(({ vid }) => vid)).toEqual([10, 20])
    expect(net.send('access20', bytes([], B))).toEqual([
      { port: 'hybrid', bytes: hex(bytes([{ vid: 20 }], B)) },
    ])
    net.bridge.removeStatic(parseMac(B), 10)
    expect(
      net.bridge
        .fdb()
        .filter((entry) => entry.static)
        .map(({ vid }) => vid),
    ).toEqual([20])
    expect(() => net.bridge.addStatic(parseMac(B), hybrid, 30)).toThrow('does not carry VLAN 30')
    expect(() => net.bridge.addStatic(parseMac(B), net.ports.get('trunk')!)).toThrow('has no PVID')
    net.balance()
  })

  test.each([0, 4095, -1, 1.5, Number.NaN])('VLAN %d is refused', (vid) => {
    const net = new BridgeLab({ vlanFiltering: true })
    expect(() => net.add('a', { vlan: { pvid: vid } })).toThrow('1 to 4094')
    expect(() => net.add('b', { vlan: { tagged: [vid] } })).toThrow('1 to 4094')
    expect(net.bridge.ports()).toEqual([])
    net.balance()
  })
})
