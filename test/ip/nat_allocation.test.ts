/**
 * Translation makes no garbage, of known connections and of new ones, and leaves super-frames whole
 * with a checksum that is still partial.
 */
import { describe, expect, it, test } from 'vitest'
import { parsePrefix } from '../../stack/address.ts'
import type { RouterInterface } from '../../stack/ip/router_interface.ts'
import type { Packet, Pool } from '../../stack/packet.ts'
import { garbageOf } from '../collections.ts'
import { frame, gatewayMac, ipOf, pattern, pseudo, tcp, u16, udp } from './lab.ts'
import { leadOut, natBed, packetOf } from './nat_bed.ts'
import { MASQUERADED, NatLab, PLAN4, PLAN6, type Plan } from './nat_lab.ts'

const WARM = 60_000
/** So many that a page which the collector adds once (256 KB) is below an octet a packet. */
const COUNT = 500_000
const SYN = 2
const ACK = 0x10

interface Road {
  readonly pool: Pool
  readonly front: RouterInterface
  readonly close: () => void
  sent: number
}

function road(): Road {
  const bed = natBed()
  const { pool, router, nat } = bed
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
  const up = leg('up', ['203.0.113.2/24', '2001:db8::2/64'])
  leadOut(bed, up)
  nat.setNetwork(front, MASQUERADED)
  nat.setExternal(up, true)
  const made: Road = { pool, front, close: bed.close, sent: 0 }
  return made
}

/** `fresh`: each packet is of a new connection, by its source port and the port it is to. */
function drive({ pool, front }: Road, bytes: Uint8Array, count: number, fresh: boolean): void {
  const ports = bytes[12] === 8 ? 34 : 54
  for (let i = 0; i < count; i++) {
    const packet = packetOf(pool, bytes)
    packet.ingress = 1
    if (fresh) {
      pool.mem[packet.head + ports] = 0x20 | (i & 0x1f)
      pool.mem[packet.head + ports + 1] = i >>> 5
      pool.mem[packet.head + ports + 2] = i >>> 13
    }
    front.input(packet)
  }
}

const V4 = { from: PLAN4.client, to: PLAN4.outside }
const V6 = { from: PLAN6.client, to: PLAN6.outside }
const cases: readonly [string, Uint8Array, boolean][] = [
  ['IPv4 datagrams', udp(V4, { to: 53 }, pattern(20)), false],
  ['IPv6 datagrams', udp(V6, { to: 53 }, pattern(20)), false],
  ['IPv4 segments', tcp(V4, { to: 80, flags: ACK }, pattern(20)), false],
  ['new connections', tcp(V4, { to: 80, flags: SYN }, pattern(0)), true],
]

for (const [name, packet, fresh] of cases) {
  test(`${name}: no collection in ${COUNT} packets`, async () => {
    const made = road()
    const bytes = frame(gatewayMac('front'), packet)
    drive(made, bytes, WARM, fresh)
    const { collections, grownBytes } = await garbageOf(() => drive(made, bytes, COUNT, fresh))
    expect(made.sent).toBe(WARM + COUNT)
    expect(collections).toBe(0)
    expect(grownBytes / COUNT).toBeLessThan(1)
    made.close()
    expect(made.pool.leaks()).toEqual([])
  })
}

describe.each([
  ['IPv4', PLAN4],
  ['IPv6', PLAN6],
])('super-frames, %s', (_, plan: Plan) => {
  it('stay whole, and their checksum partial', () => {
    const { client, outside, uplink, family } = plan
    const lab = new NatLab({ portMin: 6000, portMax: 6009 })
    const start = family === 4 ? 34 : 54
    const bytes = tcp({ from: client, to: outside }, { to: 80, flags: ACK }, pattern(40_000))
    const segmentBytes = bytes.length - (start - 14)
    const field = start - 14 + 16
    const partial = pseudo({ from: client, to: outside, protocol: 6 }, segmentBytes)
    bytes.set([partial >>> 8, partial & 0xff], field)
    const gsoSize = 1400
    const gsoType = family === 4 ? 1 : 4
    lab.ip(lab.front, bytes, { gsoType, gsoSize, csumStart: start, csumOffset: 16 })
    const sent = lab.one()
    expect(sent).toMatchObject({ leg: 'up', gsoType, gsoSize, csumStart: start, csumOffset: 16 })
    const ip = ipOf(sent)
    const wanted = pseudo({ from: uplink, to: outside, protocol: 6 }, segmentBytes)
    expect(u16(ip, field) % 0xffff).toBe(wanted % 0xffff)
    const port = u16(ip, start - 14)
    expect(port).toBeGreaterThanOrEqual(6000)
    expect(port).toBeLessThanOrEqual(6009)
    expect(ip.slice(field + 4)).toEqual(bytes.slice(field + 4))
    lab.end()
  })
})
