/**
 * The router: between the networks of a node, and on the way to and from its own addresses.
 *
 * ```text
 *  bridge -> input: ARP, ND, RS ----------------------------> neighbors, advertiser
 *              |    IPv4, IPv6
 *              v
 *            valid? trim padding -> martian? -> source routed back here? -> route
 *              |  own address                                                |
 *              v                                                             v
 *            reassemble -> local (echo, UDP, reset)      internal? hops left? fits the MTU?
 *                              |                                             |
 *                              +------------------> egress: fragments, neighbor -> bridge
 * ```
 *
 * This file puts the parts together and holds the legs and routes; ingress.ts, forward.ts,
 * delivery.ts and egress.ts are the way of a packet. Super-frames are routed whole, and measured
 * against the MTU by their segments. Own addresses and IPv4 broadcasts are routes of their own, so
 * one look-up tells what a packet is. A traced packet takes the same way and changes nothing.
 */

import { type Address, familyBits, type Prefix, sameAddress } from '../address.ts'
import { Neighbors } from '../arp/neighbors.ts'
import type { Clock } from '../clock.ts'
import { StackError } from '../errors.ts'
import type { Output, Packet, Pool } from '../packet.ts'
import type { Random } from '../random.ts'
import { Advertiser } from './advertise.ts'
import { BridgedErrors } from './bridged_errors.ts'
import { Delivery } from './delivery.ts'
import { Egress } from './egress.ts'
import type { Fib, Route } from './fib.ts'
import { Forward } from './forward.ts'
import { type HookParts, type Hooks, NO_HOOKS } from './hooks.ts'
import { IcmpErrors } from './icmp_errors.ts'
import { Ingress } from './ingress.ts'
import { Local, type TcpService, type UdpFilter, type UdpReceiver } from './local.ts'
import { Prober } from './prober.ts'
import { Problems } from './problems.ts'
import { Reassembly } from './reassembly.ts'
import { RouterInterface, type RouterInterfaceOptions } from './router_interface.ts'
import { Routing } from './routing.ts'

/** ICMP errors and TCP resets a second and interface; bursts of 50 (RFC 4443 §2.4 f). */
const ICMP_PER_S = 200

export interface RouterOptions {
  readonly pool: Pool
  readonly clock: Clock
  readonly random: Random
  /** ICMP errors and TCP resets a second, on each interface. Default 200. */
  readonly icmpPerS?: number
  /** Who looks at packets on their way (hooks.ts); left out: nobody. */
  readonly hooks?: (parts: HookParts) => Hooks
  /** Most neighbors remembered; left out: the default of {@link Neighbors}. */
  readonly neighborsMax?: number
}

export class Router {
  readonly neighbors: Neighbors
  readonly fib4: Fib
  readonly fib6: Fib
  /** Asks stations whether they are there. */
  readonly prober: Prober
  readonly #options: RouterOptions
  readonly #routing: Routing
  readonly #interfaces: (RouterInterface | undefined)[] = []
  readonly #advertisers: (Advertiser | undefined)[] = []
  readonly #egress: Egress
  readonly #local: Local
  readonly #reassembly: Reassembly
  readonly #ingress: Ingress
  readonly #bridged: BridgedErrors

  constructor(options: RouterOptions) {
    const { pool, clock, random, neighborsMax } = options
    this.#options = options
    this.#routing = new Routing(pool.notes.changed)
    const { fib4, fib6 } = this.#routing
    this.fib4 = fib4
    this.fib6 = fib6
    const serves: HookParts['serves'] = (from, packet, protocol, at) =>
      local.serves(from, packet, protocol, at)
    const hooks = options.hooks?.({ fib4, fib6, serves }) ?? NO_HOOKS
    const interfaces = this.#interfaces
    const advertisers = this.#advertisers
    const neighbors = new Neighbors({
      pool,
      clock,
      random,
      unreachable: (_link, packet) => errors.refuse(packet, Problems.Host),
      changed: pool.notes.changed,
      ...(neighborsMax === undefined ? {} : { entriesMax: neighborsMax }),
    })
    const egress = new Egress({ pool, random, fib4, fib6, neighbors, interfaces })
    const errors = new IcmpErrors({ pool, clock, egress, hooks })
    const forward = new Forward({ pool, egress, errors, hooks })
    const isReserved = (tuple: Int32Array): boolean => hooks.reserves?.(tuple) ?? false
    const prober = new Prober({ pool, clock, random, egress, isReserved })
    const local = new Local({ pool, clock, egress, errors, prober })
    const reassembly = new Reassembly({
      pool,
      clock,
      seed: random.bits(),
      timedOut: (first, from) => errors.refuse(first, Problems.ReassemblyTime, 0, interfaces[from]),
    })
    const delivery = new Delivery({ pool, local, reassembly, errors })
    this.neighbors = neighbors
    this.prober = prober
    this.#egress = egress
    this.#local = local
    this.#reassembly = reassembly
    this.#bridged = new BridgedErrors({ pool, egress, errors })
    this.#ingress = new Ingress({
      pool,
      fib4,
      fib6,
      interfaces,
      advertisers,
      neighbors,
      forward,
      delivery,
      errors,
      hooks,
    })
  }

  /**
   * A leg in one more network, with the routes to it.
   * @throws StackError `exists` if another has its network or addresses, `bad-argument`.
   */
  addInterface(options: RouterInterfaceOptions): RouterInterface {
    const free = this.#interfaces.indexOf(undefined)
    const index = free < 0 ? this.#interfaces.length : free
    const { pool, clock, random, icmpPerS = ICMP_PER_S } = this.#options
    const input = (from: RouterInterface): Output => {
      return (packet) => this.#ingress.receive(from, packet)
    }
    const iface = new RouterInterface(index, options, { input, icmpPerS })
    const { advertise } = options
    const advertiser =
      advertise === undefined || iface.linkLocal === undefined
        ? undefined
        : new Advertiser({ pool, clock, random, iface, advertise })
    this.#routing.connect(iface)
    this.#interfaces[index] = iface
    this.#advertisers[index] = advertiser
    this.neighbors.addLink(iface.link)
    advertiser?.start()
    return iface
  }

  /** Take a leg back, with its routes and neighbors. Static routes through it wait. Idempotent. */
  removeInterface(iface: RouterInterface): void {
    const { index } = iface
    if (this.#interfaces[index] !== iface) return
    this.#advertisers[index]?.close()
    this.#advertisers[index] = undefined
    this.#reassembly.forget(index)
    this.#routing.disconnect(iface)
    this.#interfaces[index] = undefined
    this.neighbors.removeLink(iface.link)
  }

  /**
   * Give a leg one more address, such as a virtual one: the router answers for it and receives
   * what is sent to it. @throws StackError `exists` if it is an address or network already.
   */
  addAddress(iface: RouterInterface, address: Address): void {
    this.#routing.addLocal(iface, address)
    iface.addresses.push({ address, bits: familyBits(address.family) })
  }

  /** Take it back. Precondition: {@link addAddress} gave it. Idempotent. */
  removeAddress(iface: RouterInterface, address: Address): void {
    const at = iface.addresses.findIndex((own) => sameAddress(own.address, address))
    if (at < 0) return
    iface.addresses.splice(at, 1)
    this.#routing.removeLocal(address)
  }

  /** The legs, by index. */
  interfaces(): RouterInterface[] {
    return this.#interfaces.filter((iface) => iface !== undefined)
  }

  /**
   * Add a static route or a blackhole; one of the same prefix and metric is replaced.
   * @throws StackError `bad-argument` if its next hop is on no network of the router.
   */
  addRoute(route: Route): void {
    this.#routing.add(route)
  }

  /** Remove the static routes and blackholes of a prefix. Idempotent. */
  removeRoute(prefix: Prefix): void {
    this.#routing.remove(prefix)
  }

  /** Connected, static and blackhole routes in use, by prefix. */
  routes(): Route[] {
    return this.#routing.list()
  }

  /**
   * Receive the UDP datagrams to a port of any own address, and broadcast or multicast ones to it,
   * that `accepts` says yes to; left out: all.
   * Returns what ends it. @throws StackError `exists` if the port is taken.
   */
  bindUdp(port: number, receive: UdpReceiver, accepts?: UdpFilter): () => void {
    if (!this.#local.bind(port, receive, accepts)) {
      throw new StackError('exists', `UDP port ${port} of the router is taken`)
    }
    return () => this.#local.unbind(port)
  }

  /** As {@link bindUdp}, for segments of TCP. @throws StackError `exists` if the port is taken. */
  bindTcp(port: number, service: TcpService): () => void {
    if (!this.#local.bindTcp(port, service)) {
      throw new StackError('exists', `TCP port ${port} of the router is taken`)
    }
    return () => this.#local.unbindTcp(port)
  }

  /**
   * Send a unicast packet of the node's own: `head` at a complete IP header, 14 octets of headroom.
   * Takes ownership. `from`: where a link-local destination is. What is too big is fragmented.
   */
  originate(packet: Packet, from: RouterInterface): void {
    this.#egress.originate(packet, from)
  }

  /**
   * Tell the sender of a frame of a leg's network, `head` at its Ethernet header, that it is too
   * big for where the bridge sends it; see bridged_errors.ts. The frame stays the caller's.
   */
  tellTooBig(frame: Packet, mtuBytes: number, leg: RouterInterface, routed: boolean): void {
    this.#bridged.tooBig(frame, mtuBytes, leg, routed)
  }

  /** Give everything back; no timer is left. Idempotent. */
  close(): void {
    for (const iface of this.interfaces()) this.removeInterface(iface)
    this.#reassembly.forget()
    this.prober.close()
    this.neighbors.close()
  }
}
