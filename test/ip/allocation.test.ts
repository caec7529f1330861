/**
 * Forwarding makes no garbage: half a million packets through the router, and not one
 * collection. The same buffers go round, so nothing here allocates either.
 */
import { expect, test } from 'vitest'
import { parseAddress, parsePrefix } from '../../stack/address.ts'
import { VirtualClock } from '../../stack/clock.ts'
import { DROP_NAMES } from '../../stack/drop.ts'
import { Router } from '../../stack/ip/router.ts'
import type { RouterInterface } from '../../stack/ip/router_interface.ts'
import { type Packet, Pool } from '../../stack/packet.ts'
import { Random } from '../../stack/random.ts'
import { garbageOf } from '../collections.ts'
import { echo4, frame, gatewayMac, HOST_MAC, pattern, tcp, udp } from './lab.ts'

const WARM = 60_000
/** So many that a page which the collector adds once (256 KB) is below an octet a packet. */
const COUNT = 500_000

interface Road {
  readonly pool: Pool
  readonly front: RouterInterface
  readonly router: Router
  sent: number
}

function road(): Road {
  const pool = new Pool({ smallCount: 8, largeCount: 8 })
  const router = new Router({ pool, clock: new VirtualClock(), random: new Random(5) })
  const output = (packet: Packet): void => {
    made.sent++
    pool.free(packet)
  }
  const leg = (name: string, addresses: string[]): RouterInterface =>
    router.addInterface({
      name,
      mac: gatewayMac(name),
      mtuBytes: 1500,
      addresses: addresses.map(parsePrefix),
      internal: false,
      output,
    })
  const front = leg('front', ['10.1.0.1/24', 'fd00:1::1/64'])
  const back = leg('back', ['10.2.0.1/24', 'fd00:2::1/64'])
  for (const address of ['10.2.0.22', 'fd00:2::22']) {
    router.neighbors.setPermanent(back.link, parseAddress(address), HOST_MAC)
  }
  router.neighbors.setPermanent(front.link, parseAddress('10.1.0.11'), HOST_MAC)
  const made: Road = { pool, front, router, sent: 0 }
  return made
}

function drive({ pool, front }: Road, bytes: Uint8Array, gsoSize: number, count: number): void {
  for (let i = 0; i < count; i++) {
    const packet = pool.alloc(bytes.length)!
    // The header is what the router changes; the payload of a reused slot stays as it was.
    const start = Math.min(bytes.length, 200)
    for (let at = 0; at < start; at++) pool.mem[packet.head + at] = bytes[at]!
    packet.len = bytes.length
    packet.ingress = 1
    if (gsoSize > 0) {
      packet.gsoType = bytes[12] === 8 ? 1 : 4
      packet.gsoSize = gsoSize
      packet.csumStart = packet.head + (bytes[12] === 8 ? 34 : 54)
      packet.csumOffset = 16
    }
    front.input(packet)
  }
}

const V4 = { from: '10.1.0.11', to: '10.2.0.22' }
const V6 = { from: 'fd00:1::11', to: 'fd00:2::22' }
const FLAGS = { to: 80, flags: 16 }
const cases: readonly [string, Uint8Array, number][] = [
  ['IPv4', udp(V4, { to: 53 }, pattern(20)), 0],
  ['IPv6', udp(V6, { to: 53 }, pattern(20)), 0],
  ['IPv4 super-frames', tcp(V4, FLAGS, pattern(40_000)), 1448],
  ['IPv6 super-frames', tcp(V6, FLAGS, pattern(40_000)), 1428],
  ['echo', echo4({ from: '10.1.0.11', to: '10.1.0.1' }, pattern(56)), 0],
]

for (const [name, packet, gsoSize] of cases) {
  test(`${name}: no collection in ${COUNT} packets`, async () => {
    const made = road()
    const bytes = frame(gatewayMac('front'), packet)
    drive(made, bytes, gsoSize, WARM)
    const { collections, grownBytes } = await garbageOf(() => drive(made, bytes, gsoSize, COUNT))
    const drops = DROP_NAMES.filter((_, reason) => made.pool.counters.drops(1, reason) > 0)
    expect(drops).toEqual([])
    expect(made.sent).toBe(WARM + COUNT)
    expect(collections).toBe(0)
    expect(grownBytes / COUNT).toBeLessThan(1)
    made.router.close()
    expect(made.pool.leaks()).toEqual([])
  })
}
