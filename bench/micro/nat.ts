/**
 * A million connections through a router that translates, without any I/O: each packet is the first
 * of its connection, a 60-byte frame from a host of one leg to one behind the other.
 *
 * ```text
 *   out   from one client, masqueraded: 50,000 ports of its own, each to 20 servers
 *   in    from 20 clients outside, 50,000 ports each, to one published port
 * ```
 */
import { parseAddress, parsePrefix } from '../../stack/address.ts'
import { put16 } from '../../stack/bytes.ts'
import { VirtualClock } from '../../stack/clock.ts'
import * as eth from '../../stack/eth/frame.ts'
import type { Mac } from '../../stack/eth/mac.ts'
import { Conntrack } from '../../stack/ip/conntrack.ts'
import * as ipv4 from '../../stack/ip/ipv4.ts'
import { Nat } from '../../stack/ip/nat.ts'
import { Router } from '../../stack/ip/router.ts'
import type { RouterInterface } from '../../stack/ip/router_interface.ts'
import { Pool } from '../../stack/packet.ts'
import { Random } from '../../stack/random.ts'
import { FLOWS, fill } from './fill.ts'
import { FRAME_BYTES, putFrame } from './piece.ts'
import type { PieceResult } from './result.ts'

const SEED = 1
/** Client ports, from the first above those of system services. */
const PORT_COUNT = 50_000
const PORT_MIN = 1024
const PEERS = FLOWS / PORT_COUNT
const STRIDE = 64
const [CLIENT, NODE, GATEWAY] = ['10.1.0.11', '203.0.113.2', '203.0.113.1']
const HOST_MAC: Mac = { hi: 0x0200, lo: 0xaa }
const SRC_PORT = eth.HEADER_BYTES + ipv4.HEADER_BYTES
/** Where the frames of piece.ts are sent. */
const PUBLISHED = 9000

/** Two legs, the client's and the uplink, whose frames go nowhere. */
class Road {
  readonly pool = new Pool({ smallCount: 8, largeCount: 2 })
  readonly conntrack: Conntrack
  readonly front: RouterInterface
  readonly up: RouterInterface
  sent = 0

  constructor() {
    const { pool } = this
    const clock = new VirtualClock()
    const random = new Random(SEED)
    this.conntrack = new Conntrack({ pool, clock, seed: SEED, entriesMax: FLOWS })
    let nat: Nat | undefined
    const router = new Router({
      pool,
      clock,
      random,
      hooks: (fibs) => {
        nat = new Nat({ pool, clock, random, conntrack: this.conntrack, ...fibs })
        return nat
      },
    })
    this.front = this.#leg(router, { name: 'front', subnet: '10.1.0.1/24', lo: 1 })
    this.up = this.#leg(router, { name: 'up', subnet: `${NODE}/24`, lo: 2 })
    router.neighbors.setPermanent(this.front.link, parseAddress(CLIENT), HOST_MAC)
    router.neighbors.setPermanent(this.up.link, parseAddress(GATEWAY), HOST_MAC)
    const prefix = parsePrefix('0.0.0.0/0')
    router.addRoute({ prefix, kind: 'static', via: parseAddress(GATEWAY) })
    const masquerade = 'interface'
    nat!.setNetwork(this.front, {
      masquerade4: masquerade,
      masquerade6: masquerade,
      inbound4: 'published',
      inbound6: 'published',
    })
    nat!.setExternal(this.up, true)
    nat!.publish({
      protocol: ipv4.Protocol.Udp,
      address: undefined,
      port: PUBLISHED,
      count: 1,
      target: parseAddress(CLIENT),
      targetPort: 80,
    })
  }

  #leg(
    router: Router,
    { name, subnet, lo }: { name: string; subnet: string; lo: number },
  ): RouterInterface {
    return router.addInterface({
      name,
      mac: { hi: 0x0242, lo },
      mtuBytes: 1500,
      addresses: [parsePrefix(subnet)],
      internal: false,
      output: (packet) => {
        this.sent++
        this.pool.free(packet)
      },
    })
  }
}

function through(name: string, inwards: boolean): PieceResult[] {
  const road = new Road()
  const { pool } = road
  const leg = inwards ? road.up : road.front
  const store = pool.alloc(PEERS * STRIDE)!
  for (let i = 0; i < PEERS; i++) {
    const peer = `198.51.100.${1 + i}`
    const from = { mac: HOST_MAC, address: inwards ? peer : CLIENT }
    const to = { mac: leg.mac, address: inwards ? NODE : peer }
    putFrame(pool.mem, store.head + i * STRIDE, { from, to })
  }
  const results = fill(name, FLOWS, (i) => {
    const { sent } = road
    const packet = pool.alloc(FRAME_BYTES)!
    const template = store.head + (i % PEERS) * STRIDE
    pool.mem.copyWithin(packet.head, template, template + FRAME_BYTES)
    put16(pool.mem, packet.head + SRC_PORT, PORT_MIN + Math.floor(i / PEERS))
    packet.len = FRAME_BYTES
    packet.ingress = 1
    leg.input(packet)
    return road.sent > sent
  })
  if (road.conntrack.count !== FLOWS) throw new Error(`${name}: ${road.conntrack.count} are there`)
  return results
}

export function measureNat(): PieceResult[] {
  return [
    ...through('new connection out through NAT', false),
    ...through('new connection in by a published port', true),
  ]
}
