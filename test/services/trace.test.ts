/** Traces: the steps and the verdict are those of a real packet, and nothing changes. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { TraceRequest } from '../../services/trace_request.ts'
import { DROP_COUNT } from '../../stack/drop.ts'
import { Rig } from './rig.ts'

const FILE = {
  name: 't',
  networks: {
    front: {
      enable_ipv6: true,
      ipam: { config: [{ subnet: '10.1.0.0/24' }, { subnet: 'fd00:1::/64' }] },
    },
    back: {
      enable_ipv6: true,
      driver_opts: { 'com.docker.network.driver.mtu': 1400 },
      ipam: { config: [{ subnet: '10.2.0.0/24' }, { subnet: 'fd00:2::/64' }] },
    },
    inner: { internal: true, ipam: { config: [{ subnet: '10.3.0.0/24' }] } },
  },
  sandboxes: {
    web: { networks: ['front', 'inner'] },
    db: { networks: ['front'] },
    far: { networks: ['back'] },
    deep: { networks: ['inner'] },
    bare: { network_mode: 'none' },
    mon: { network_mode: 'host' },
    side: { network_mode: 'container:deep' },
    slim: {
      networks: {
        front: { ipv4_address: '10.1.0.9', driver_opts: { 'tapline.mtu': 1300 } },
      },
    },
  },
  routes: [{ to: '10.8.0.0/16', blackhole: true }],
}

async function up(): Promise<Rig> {
  const rig = new Rig()
  await rig.apply(FILE)
  rig.quiet()
  return rig
}

/** Everything that a packet could have changed. */
function world(rig: Rig): unknown {
  const { controller, pool } = rig
  const drops = Array.from({ length: DROP_COUNT }, (_, reason) => pool.counters.dropTotal(reason))
  const views = [controller.fdb(), controller.neigh(), controller.routes(), controller.stats()]
  return { drops, views, pending: rig.clock.pending }
}

describe('a trace', () => {
  const cases: [TraceRequest, string, RegExp][] = [
    [{ from: 'web', to: '10.1.0.3' }, 'transmitted db/eth0', /sends to 10.1.0.3 \(icmp, 56 octets/],
    [{ from: 'web', to: 'fd00:1::3' }, 'transmitted db/eth0', /on link/],
    [{ from: 'web', to: '10.2.0.2' }, '', /via 10.1.0.1/],
    [{ from: 'web', to: '10.1.0.1' }, '', /by eth0, on link/],
    [{ from: 'web', to: '10.3.0.3' }, 'transmitted deep/eth0', /by eth1, on link/],
    [{ from: 'web', to: '10.1.0.9', size: 1272 }, 'transmitted slim/eth0', /1272 octets/],
    [{ from: 'web', to: '10.1.0.9', size: 1273 }, 'dropped frame-oversize', /MTU is 1300/],
    [
      { from: 'web', to: '10.1.0.9', size: 1273 },
      '',
      /would answer ICMP packet too big from 10.1.0.1/,
    ],
    [{ from: 'far', to: '10.3.0.3' }, 'dropped network-internal', /via 10.2.0.1/],
    [{ from: 'web', to: '10.8.0.1' }, 'dropped route-blackhole', /via 10.1.0.1/],
    [{ from: 'web', to: '192.0.2.1' }, '', /via 10.1.0.1/],
    [{ from: 'web', to: '10.2.0.2', ttl: 1 }, '', /TTL 1/],
    [{ from: 'web', to: '10.2.0.2', size: 1472 }, '', /1472 octets/],
    [{ from: 'web', to: '10.1.0.3', proto: 'tcp' }, 'transmitted db/eth0', /tcp, 0 octets/],
    [{ from: 'web', to: 'fd00:1::3', proto: 'udp', size: 9 }, 'transmitted db/eth0', /udp, 9/],
    [{ from: 'web', to: '10.1.0.77' }, 'transmitted db/eth0', /nobody is known to have 10.1.0.77/],
    [{ from: 'web', to: '10.1.0.3', arp: true }, '', /asks who has 10.1.0.3 by eth0/],
    [{ from: 'web', to: 'fd00:1::3', arp: true }, '', /asks who has fd00:1::3/],
    [{ from: 'web', to: '10.1.0.255' }, 'transmitted db/eth0', /to MAC ff:ff:ff:ff:ff:ff/],
    [{ from: 'web', to: '224.0.0.251' }, 'transmitted db/eth0', /to MAC 01:00:5e:00:00:fb/],
    [{ from: 'web', to: 'ff02::fb' }, 'transmitted db/eth0', /to MAC 33:33:00:00:00:fb/],
    [{ from: 'web/eth1', to: '10.3.0.3' }, 'transmitted deep/eth0', /by eth1/],
    [
      { from: 'web', raw: 'ff:ff:ff:ff:ff:ff 020000000001 0800 00' },
      'dropped mac-spoofed',
      /given/,
    ],
    [{ from: 'web', raw: '00' }, 'dropped frame-runt', /given/],
  ]

  it.each(cases)('%j', async (request, end, step) => {
    const rig = await up()
    const before = world(rig)
    const { from, steps, ends } = rig.controller.trace(request)
    expect(from).toMatch(/^(web|far)\/eth/)
    expect(ends.length).toBeGreaterThan(0)
    const told = ends.map(({ verdict, detail }) => `${verdict} ${detail}`)
    if (end !== '') expect(told).toContain(end)
    expect(steps.map(({ element, text }) => `${element}: ${text}`).join('\n')).toMatch(step)
    expect(world(rig)).toEqual(before)
    expect(rig.received('db/eth0')).toEqual([])
    expect(rig.received('far/eth0')).toEqual([])
    await rig.finish()
  })

  it.each<[TraceRequest, string]>([
    [{ from: 'nosuch', to: '10.1.0.3' }, 'no sandbox or interface "nosuch"'],
    [{ from: 'bare', to: '10.1.0.3' }, '"bare" has no interface of its own: none of its networks'],
    [{ from: 'mon', to: '10.1.0.3' }, "no interface of its own: it has the host's stack"],
    [{ from: 'side', to: '10.9.0.3' }, 'deep has no route to 10.9.0.3'],
    [{ from: 'web' }, 'a trace needs an address'],
    [{ from: 'web', to: 'x' }, '"x" is not an IPv4 or IPv6 address'],
    [{ from: 'deep', to: '10.1.0.3' }, 'deep has no route to 10.1.0.3'],
    [{ from: 'deep', to: 'fd00::1', arp: true }, 'deep has no IPv6 address on inner'],
    [{ from: 'web', to: '10.1.0.3', ttl: 0 }, 'ttl must be from 1 to 255, not 0'],
    [{ from: 'web', to: '10.1.0.3', size: 65_516 }, 'size must be from 0 to 65515'],
    [{ from: 'web', to: '10.1.0.3', dport: 1.5 }, 'dport must be from 0 to 65535, not 1.5'],
    [{ from: 'web', raw: 'xyz' }, 'not a frame in pairs of hexadecimal digits'],
    [{ from: 'web', to: '10.1.0.3', size: 1473 }, 'above the MTU'],
  ])('is refused: %j', async (request, message) => {
    const rig = await up()
    expect(() => rig.controller.trace(request)).toThrow(message)
    await rig.finish()
  })

  it('of a lost device is refused', async () => {
    const rig = await up()
    rig.lose('db/eth0')
    const request = { from: 'db', to: '10.1.0.1' }
    expect(() => rig.controller.trace(request)).toThrow('db/eth0 is lost: its namespace is gone')
    await rig.finish()
  })

  it('of any frame changes nothing and ends somewhere', async () => {
    const rig = await up()
    const before = world(rig)
    const types = fc.constantFrom('0800', '0806', '86dd', '8100', '88b5')
    const macs = fc.constantFrom('ffffffffffff', '02420a010001', '02420a010003', '0180c2000000')
    const bytes = fc.uint8Array({ maxLength: 90 })
    fc.assert(
      fc.property(macs, types, bytes, (mac, type, rest) => {
        const raw = `${mac}02420a010002${type}${Buffer.from(rest).toString('hex')}`
        const { ends } = rig.controller.trace({ from: 'web', raw })
        expect(ends.length).toBeGreaterThan(0)
      }),
      { numRuns: 500 },
    )
    expect(world(rig)).toEqual(before)
    await rig.finish()
  })
})

const OUTSIDE = {
  ...FILE,
  sandboxes: {
    ...FILE.sandboxes,
    web: {
      networks: {
        front: {
          ipv4_address: '10.1.0.11',
          ipv6_address: 'fd00:1::11',
        },
      },
      ports: ['8080:80', '53:5300/udp', '9000:9000/sctp'],
    },
  },
  uplink: {
    netns: 'outside',
    addresses: ['203.0.113.2/24', '2001:db8::2/64'],
    peer_addresses: ['203.0.113.1/24', '2001:db8::1/64'],
    gateway: ['203.0.113.1', '2001:db8::1'],
  },
}

describe('a trace from outside', () => {
  const from = 'uplink'
  const OWN4 = '203.0.113.2'
  it.each<[TraceRequest, string, RegExp]>([
    [
      { from, to: OWN4, proto: 'tcp', dport: 8080 },
      'until 10.1.0.11 answers on front',
      /becomes 10.1.0.11 port 80/,
    ],
    [
      { from, source: '192.0.2.7', to: OWN4, proto: 'udp', sport: 5, dport: 53 },
      'until 10.1.0.11 answers on front',
      /outside: 192.0.2.7 sends to 203.0.113.2 \(udp, .*becomes 10.1.0.11 port 5300/s,
    ],
    [
      { from, to: OWN4, proto: 'sctp', dport: 9000 },
      'until 10.1.0.11 answers on front',
      /becomes 10.1.0.11 port 9000/,
    ],
    [
      { from, source: '2001:db8:9::1', to: '2001:db8::2', proto: 'tcp', dport: 8080 },
      'until fd00:1::11 answers on front',
      /becomes fd00:1::11 port 80/,
    ],
    [
      { from, to: OWN4, proto: 'tcp', dport: 81 },
      'port-unreachable',
      /203.0.113.1 sends to 203.0.113.2/,
    ],
    [{ from, to: '10.1.0.11', proto: 'tcp' }, 'not-published', /new, from outside/],
    [{ from, to: OWN4 }, 'would answer', /icmp, 56 octets/],
    [{ from, to: '2001:db8::2', arp: true }, 'would answer', /2001:db8::1 asks who has/],
    [{ from, raw: '00' }, 'frame-runt', /sends the given frame/],
  ])('%j', async (request, end, step) => {
    const rig = new Rig()
    await rig.apply(OUTSIDE)
    rig.quiet()
    const before = world(rig)
    const { from: device, steps, ends } = rig.controller.trace(request)
    expect(device).toBe('uplink')
    expect(ends.map(({ verdict, detail }) => `${verdict} ${detail}`).join()).toContain(end)
    expect(ends).toHaveLength(1)
    expect(steps.map(({ element, text }) => `${element}: ${text}`).join('\n')).toMatch(step)
    expect(world(rig)).toEqual(before)
    await rig.finish()
  })

  it.each<[TraceRequest, string]>([
    [{ from, source: '192.0.2.1', to: '2001:db8::2' }, 'is not of IPv6'],
    [{ from, source: 'x', to: OWN4 }, '"x" is not an IPv4 or IPv6 address'],
    [{ from }, 'a trace needs an address'],
    [{ from, to: OWN4, size: 1473 }, 'above the MTU'],
    [{ from: 'uplnk', to: OWN4 }, 'did you mean "uplink"'],
  ])('is refused: %j', async (request, message) => {
    const rig = new Rig()
    await rig.apply(OUTSIDE)
    expect(() => rig.controller.trace(request)).toThrow(message)
    await rig.finish()
  })

  it('needs an uplink', async () => {
    const rig = await up()
    expect(() => rig.controller.trace({ from, to: OWN4 })).toThrow('no sandbox or interface')
    await rig.finish()
  })
})
