/** The flow cache makes no garbage: bridged, routed, translated or dropped, of both families. */
import { expect, test } from 'vitest'
import { DeviceEnd } from '../../services/device_end.ts'
import { parseAddress, parsePrefix } from '../../stack/address.ts'
import type { Device } from '../../stack/device.ts'
import { Bridge } from '../../stack/eth/bridge.ts'
import type { Mac } from '../../stack/eth/mac.ts'
import { FlowCache } from '../../stack/ip/flow_cache.ts'
import type { Pool } from '../../stack/packet.ts'
import { garbageOf } from '../collections.ts'
import { frame, gatewayMac, HOST_MAC, pattern, tcp, udp } from './lab.ts'
import { leadOut, natBed, packetOf } from './nat_bed.ts'
import { MASQUERADED, PLAN4, PLAN6 } from './nat_lab.ts'

const WARM = 60_000
/** So many that a page which the collector adds once (256 KB) is below an octet a packet. */
const COUNT = 500_000
const ACK = 0x10
const OTHER_MAC: Mac = { hi: 0x0200, lo: 0xbb }
const OFFLOAD = { csum: true, tso: true, uso: true }

interface Road {
  readonly pool: Pool
  readonly devices: readonly Device[]
  readonly flows: FlowCache
  readonly close: () => void
  sent: number
}

/** Device 0 is on a bridge with device 1 and in front of a router; 2 behind it, 3 outside. */
function road(): Road {
  const bed = natBed()
  const { pool, clock, router, nat, conntrack } = bed
  const nextHops = router.neighbors
  const flows = new FlowCache({ pool, clock, seed: 3, conntrack, nextHops, flowsMax: 256 })
  const devices = [0, 1, 2, 3].map((i): Device => {
    const port = pool.counters.acquirePort()
    return {
      name: `d${i}`,
      kind: 'sink',
      port,
      mtuBytes: 1500,
      offload: OFFLOAD,
      output: (packet) => pool.free(packet),
      onLost: () => {},
      poll: () => 0,
      transmit: (packet) => {
        made.sent++
        pool.free(packet)
      },
      refusal: () => -1,
      flush: () => {},
      close: () => {},
    }
  })
  const ends = devices.map((device) => new DeviceEnd(pool, device, flows))
  const leg = (name: string, addresses: string[], end: number | undefined) =>
    router.addInterface({
      name,
      mac: gatewayMac(name),
      mtuBytes: 1500,
      addresses: addresses.map(parsePrefix),
      internal: false,
      output: end === undefined ? (packet) => gateway.input(packet) : ends[end]!.transmit,
    })
  const bridge = new Bridge({ name: 'front', pool, clock, seed: 2 })
  const ports = [0, 1].map((i) => {
    const { port, name } = devices[i]!
    const macs = i === 1 ? { macs: [OTHER_MAC] } : {}
    return bridge.addPort({ name, port, output: ends[i]!.transmit, ...macs })
  })
  const gateway = bridge.addPort({
    name: 'gateway',
    port: 0,
    output: (packet) => front.input(packet),
  })
  const front = leg('front', ['10.1.0.1/24', 'fd00:1::1/64'], undefined)
  const back = leg('back', ['10.2.0.1/24', 'fd00:2::1/64'], 2)
  const up = leg('up', ['203.0.113.2/24', '2001:db8::2/64'], 3)
  bridge.addStatic(gatewayMac('front'), gateway)
  bridge.addStatic(OTHER_MAC, ports[1]!)
  ends[0]!.connect(ports[0]!.input)
  ends[1]!.connect(ports[1]!.input)
  ends[2]!.connect(back.input)
  ends[3]!.connect(up.input)
  for (const { server } of [PLAN4, PLAN6]) {
    router.neighbors.setPermanent(back.link, parseAddress(server), HOST_MAC)
  }
  leadOut(bed, up)
  router.addRoute({ prefix: parsePrefix('10.99.0.0/16'), kind: 'blackhole' })
  nat.setNetwork(front, MASQUERADED)
  nat.setNetwork(back, MASQUERADED)
  nat.setExternal(up, true)
  const close = (): void => {
    bed.close()
    bridge.close()
  }
  const made: Road = { pool, devices, flows, close, sent: 0 }
  return made
}

function drive({ pool, devices }: Road, by: number, bytes: Uint8Array, count: number): void {
  const device = devices[by]!
  for (let i = 0; i < count; i++) {
    const packet = packetOf(pool, bytes)
    packet.ingress = device.port
    device.output(packet)
  }
}

const GATEWAY = gatewayMac('front')
const IN4 = { from: PLAN4.client, to: PLAN4.sibling }
const IN6 = { from: PLAN6.client, to: PLAN6.sibling }
const OVER4 = { from: PLAN4.client, to: PLAN4.server }
const OVER6 = { from: PLAN6.client, to: PLAN6.server }
const OUT4 = { from: PLAN4.client, to: PLAN4.outside }
const OUT6 = { from: PLAN6.client, to: PLAN6.outside }
const HOLE = { from: PLAN4.client, to: '10.99.0.1' }
const DATA = pattern(20)
const PORT = { to: 53 }

const cases: readonly [string, number, Mac, Uint8Array, boolean][] = [
  ['bridged, IPv4', 0, OTHER_MAC, udp(IN4, PORT, DATA), true],
  ['bridged, IPv6', 0, OTHER_MAC, udp(IN6, PORT, DATA), true],
  ['routed, IPv4', 0, GATEWAY, udp(OVER4, PORT, DATA), true],
  ['routed, IPv6', 0, GATEWAY, udp(OVER6, PORT, DATA), true],
  ['translated, IPv4', 0, GATEWAY, udp(OUT4, PORT, DATA), true],
  ['translated, IPv6', 0, GATEWAY, udp(OUT6, PORT, DATA), true],
  ['translated segments, IPv4', 0, GATEWAY, tcp(OUT4, { to: 80, flags: ACK }, DATA), true],
  ['translated segments, IPv6', 0, GATEWAY, tcp(OUT6, { to: 80, flags: ACK }, DATA), true],
  ['into a blackhole', 0, GATEWAY, udp(HOLE, PORT, DATA), false],
  ['from a MAC that is not allowed, IPv6', 1, GATEWAY, udp(OVER6, PORT, DATA), false],
]

for (const [name, by, to, packet, passes] of cases) {
  test(`${name}: no collection in ${COUNT} packets`, async () => {
    const made = road()
    const bytes = frame(to, packet)
    drive(made, by, bytes, WARM)
    const { collections, grownBytes } = await garbageOf(() => drive(made, by, bytes, COUNT))
    const [flow] = made.flows.list()
    expect(made.sent).toBe(passes ? WARM + COUNT : 0)
    // All but the packets that it was learned from.
    expect(flow?.packets).toBeGreaterThan(WARM + COUNT - 3)
    expect(flow?.drop === undefined).toBe(passes)
    expect(collections).toBe(0)
    expect(grownBytes / COUNT).toBeLessThan(1)
    made.close()
    expect(made.pool.leaks()).toEqual([])
  })
}
