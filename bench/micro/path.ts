/**
 * Whole ways of a 60-byte frame through the real elements, from the device's output to the
 * device's input, with taking the packet from the pool and giving it back:
 *
 *   switched   arpProxy -> bridge -> (out)
 *   routed     arpProxy -> bridge front -> router -> bridge back -> (out)
 *
 * So these are the nanoseconds that tapline adds to a null forwarder, without any I/O.
 */
import { parseAddress, parsePrefix } from '../../stack/address.ts'
import { Bindings } from '../../stack/arp/bindings.ts'
import { arpProxy } from '../../stack/arp/proxy.ts'
import { VirtualClock } from '../../stack/clock.ts'
import { Bridge } from '../../stack/eth/bridge.ts'
import type { BridgePort } from '../../stack/eth/bridge_port.ts'
import type { Mac } from '../../stack/eth/mac.ts'
import { Router } from '../../stack/ip/router.ts'
import type { RouterInterface } from '../../stack/ip/router_interface.ts'
import { type Output, Pool } from '../../stack/packet.ts'
import { Random } from '../../stack/random.ts'
import { type End, FRAME_BYTES, OPERATIONS, type Piece, putFrame } from './piece.ts'

const SEED = 1
/** Endpoints of each network; frames go from each to the next. */
const ENDPOINTS = 64
/** Frames are kept this far apart, on cache lines of their own. */
const STRIDE = 64

/** The large packets hold the templates of the two ways. */
const pool: Pool = new Pool({ smallCount: 64, largeCount: 2 })
const clock: VirtualClock = new VirtualClock()
const random: Random = new Random(SEED)
const out: Output = (packet) => pool.free(packet)

interface Station extends End {
  readonly input: Output
}

/** A network as services/ builds it: bindings, a bridge, and a guarded port an endpoint. */
class Network {
  readonly bindings: Bindings = new Bindings({ seed: SEED })
  readonly bridge: Bridge
  readonly stations: readonly Station[]
  readonly gateway: BridgePort
  readonly gatewayMac: Mac
  leg: RouterInterface | undefined = undefined

  constructor(name: string, subnet: number) {
    this.bridge = new Bridge({ name, pool, clock, seed: SEED })
    this.gatewayMac = { hi: 0x0242, lo: subnet << 8 }
    const output: Output = (packet) => this.leg!.input(packet)
    this.gateway = this.bridge.addPort({ name: 'gateway', port: 0, output })
    this.bridge.addStatic(this.gatewayMac, this.gateway)
    const hosts = Array.from({ length: ENDPOINTS }, (_, i) => i + 2)
    this.stations = hosts.map((host) => this.#add(subnet, host))
  }

  #add(subnet: number, host: number): Station {
    const mac = { hi: 0x0200, lo: (subnet << 8) | host }
    const address = `10.0.${subnet}.${host}`
    const counter = pool.counters.acquirePort()
    const name = `s${host}/eth0`
    const port = this.bridge.addPort({ name, port: counter, output: out, macs: [mac] })
    this.bridge.addStatic(mac, port)
    this.bindings.set(parseAddress(address), mac, counter)
    const common = { pool, bindings: this.bindings, name, port: counter, suppress: true }
    return { mac, address, input: arpProxy({ ...common, reply: out, next: port.input }) }
  }
}

/** Send frame `i` of the templates by input `i`, again and again. */
function way(name: string, from: readonly Station[], to: readonly End[]): Piece {
  const store = pool.alloc(ENDPOINTS * STRIDE)!
  const inputs = from.map(({ input }) => input)
  for (let i = 0; i < ENDPOINTS; i++) {
    putFrame(pool.mem, store.head + i * STRIDE, { from: from[i]!, to: to[i]! })
  }
  return {
    name,
    operations: OPERATIONS,
    run: () => {
      for (let i = 0; i < OPERATIONS; i++) {
        const endpoint = i & (ENDPOINTS - 1)
        const packet = pool.alloc(FRAME_BYTES)!
        const template = store.head + endpoint * STRIDE
        pool.mem.copyWithin(packet.head, template, template + FRAME_BYTES)
        packet.len = FRAME_BYTES
        packet.ingress = 1
        inputs[endpoint]!(packet)
      }
      return pool.idle
    },
  }
}

function connect(router: Router, network: Network, subnet: string): void {
  const leg = router.addInterface({
    name: network.bridge.name,
    mac: network.gatewayMac,
    mtuBytes: 1500,
    addresses: [parsePrefix(subnet)],
    output: network.gateway.input,
    internal: false,
  })
  network.leg = leg
  for (const { address, mac } of network.stations) {
    router.neighbors.setPermanent(leg.link, parseAddress(address), mac)
  }
}

export function pathPieces(): Piece[] {
  const front = new Network('front', 1)
  const back = new Network('back', 2)
  const router = new Router({ pool, clock, random })
  connect(router, front, '10.0.1.1/24')
  connect(router, back, '10.0.2.1/24')
  const next = front.stations.map((_, i) => front.stations[(i + 1) % ENDPOINTS]!)
  const routed = back.stations.map(({ address }) => ({ address, mac: front.gatewayMac }))
  return [
    way('packet through proxy ARP and bridge', front.stations, next),
    way('packet through bridge, router, bridge', front.stations, routed),
  ]
}
