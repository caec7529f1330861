/**
 * One endpoint at work: its device and the elements between it and its network's bridge.
 *
 * ```text
 *   device.output -> [captures] -> [rate] -> [flow cache]
 *                      -> [policy] -> viaGateway -> arpProxy -> port.input -> bridge
 *   device        <- sender <- [segmenter] <- [captures] <- [rate] <- [policy] <- port.output
 * ```
 *
 * Captures, rates and segmenter are the device's end (device_end.ts). Replies of the proxy leave by
 * the lower way, behind the policy. Policy and rates are there only where the endpoint has them,
 * and are exchanged while it stays. A driver may wire its edges in another way: {@link Wiring}.
 *
 * A device that is lost from outside takes its edge off the bridge at once, and keeps the edge
 * itself: the endpoint goes on to be listed, as lost, until it leaves or is joined again.
 */

import { isDeepStrictEqual } from 'node:util'
import type { Address, Prefix } from '../stack/address.ts'
import { announce } from '../stack/arp/announce.ts'
import type { Bindings } from '../stack/arp/bindings.ts'
import { linkLocal } from '../stack/arp/nd_emit.ts'
import { arpProxy } from '../stack/arp/proxy.ts'
import type { Clock } from '../stack/clock.ts'
import type { Device } from '../stack/device.ts'
import { DropReason } from '../stack/drop.ts'
import type { Bridge } from '../stack/eth/bridge.ts'
import type { BridgePort, BridgePortOptions } from '../stack/eth/bridge_port.ts'
import { DST, SRC } from '../stack/eth/frame.ts'
import { GroupRole } from '../stack/eth/group_filter.ts'
import { isMacAt, type Mac, putMac } from '../stack/eth/mac.ts'
import { refuseEcho } from '../stack/eth/reflection.ts'
import type { StormLimits } from '../stack/eth/storm.ts'
import { DEFAULT_PVID, type PortVlanOptions } from '../stack/eth/vlan.ts'
import type { FlowCache } from '../stack/ip/flow_cache.ts'
import type { Nat } from '../stack/ip/nat.ts'
import { Policy, type PolicySpec } from '../stack/ip/policy.ts'
import type { PolicyFlows } from '../stack/ip/policy_flows.ts'
import { RateLimit, type RateSpec } from '../stack/ip/rate_limit.ts'
import type { Router } from '../stack/ip/router.ts'
import type { RouterInterface } from '../stack/ip/router_interface.ts'
import type { Output, Packet, Pool } from '../stack/packet.ts'
import type { RatesConfig } from './config/model.ts'
import { type CaptureSink, DeviceEnd } from './device_end.ts'
import type { LocalEndpoint } from './overlay/local_endpoint.ts'
import { formatRate } from './rates.ts'
import type { EndpointState, NetworkState } from './state.ts'

/** How edges meet their bridge, where a driver does it in a way of its own. */
export interface Wiring {
  /** No frame passes from one endpoint to another by the bridge. */
  readonly isolated: boolean
  /** What is for a station that nobody knows is flooded to endpoints. */
  readonly takesUnknown: boolean
  /** Where frames of endpoints go, and may come back from; undefined: into the bridge. */
  readonly enter: Output | undefined
}

export const BRIDGED: Wiring = { isolated: false, takesUnknown: true, enter: undefined }

export interface EdgeOptions {
  readonly pool: Pool
  readonly bridge: Bridge
  readonly bindings: Bindings
  readonly network: NetworkState
  /** Precondition: it has a MAC. */
  readonly endpoint: EndpointState
  readonly device: Device
  /** Counters port of the network's tunnel; undefined: it has none. */
  readonly remote: number | undefined
  readonly nat: Nat
  readonly flows: FlowCache | undefined
  readonly policies: PolicyFlows
  readonly clock: Clock
  readonly wiring: Wiring
  readonly router: Router
  /** The router's leg in the network; undefined: it has none. */
  readonly leg: RouterInterface | undefined
}

export class Edge {
  endpoint: EndpointState
  readonly device: Device
  /** Why the device was lost; undefined: it works. */
  lost: string | undefined = undefined
  readonly #pool: Pool
  readonly #bridge: Bridge
  readonly #bindings: Bindings
  readonly #mac: Mac
  readonly #port: BridgePort
  readonly #end: DeviceEnd
  readonly #options: EdgeOptions
  /** Into the bridge, or where the driver leads. */
  readonly #enter: Output
  /** Given by the network outside, for now. */
  #leased: readonly Prefix[] = []
  /** Where frames go that the endpoint may send. */
  readonly #next: Output
  #policy: Policy | undefined
  #attached = true

  constructor(o: EdgeOptions) {
    const { pool, device, endpoint } = o
    this.#options = o
    this.endpoint = endpoint
    this.device = device
    this.#pool = pool
    this.#bridge = o.bridge
    this.#bindings = o.bindings
    this.#mac = endpoint.mac!
    this.#end = new DeviceEnd(pool, device, o.flows, tooBig(o))
    const toDevice = this.#end.transmit
    this.#port = o.bridge.addPort(portOptions(o, toDevice))
    this.#enter = o.wiring.enter ?? this.#port.input
    const guarded = arpProxy({
      pool,
      bindings: o.bindings,
      name: device.name,
      port: device.port,
      suppress: o.network.options.arpProxy,
      ...(o.remote !== undefined && { remote: o.remote }),
      reply: toDevice,
      next: this.#enter,
    })
    this.#next = viaGateway(o, guarded)
    this.#judge(endpoint.policy)
    this.#limit(endpoint.rate)
  }

  /** Other names, another policy or other rates, while the interface stays. */
  update(endpoint: EndpointState): void {
    const before = this.endpoint
    this.endpoint = endpoint
    if (!this.#attached) return
    if (!isDeepStrictEqual(before.policy, endpoint.policy)) this.#judge(endpoint.policy)
    if (!isDeepStrictEqual(before.rate, endpoint.rate)) this.#limit(endpoint.rate)
  }

  /**
   * Make the endpoint known: its MAC to the bridge, its addresses to the proxies of the network.
   * @throws StackError `exhausted`; call {@link detach} then.
   */
  register(): void {
    if (this.#isUntagged) this.#bridge.addStatic(this.#mac, this.#port)
    for (const address of this.addresses()) {
      this.#bindings.set(address, this.#mac, this.device.port)
    }
  }

  /** True while the loop guard has shut its port. */
  get isShut(): boolean {
    return this.#port.isShut
  }

  /** Addresses that it has by a lease, beside its own. */
  get leased(): readonly Prefix[] {
    return this.#leased
  }

  /** Exchange them, and tell the network. @throws StackError `exhausted`. */
  lease(leased: readonly Prefix[]): void {
    if (!this.#attached) return
    for (const { address } of this.#leased) this.#bindings.delete(address)
    this.#leased = []
    for (const { address } of leased) this.#bindings.set(address, this.#mac, this.device.port)
    this.#leased = leased
    this.announce()
  }

  /** Tell the network where the endpoint's addresses are now. The frames are the node's own. */
  announce(): void {
    if (!this.#isUntagged) return
    for (const { address } of [...this.endpoint.addresses, ...this.#leased]) {
      const packet = announce(this.#pool, address, this.#mac)
      if (packet === undefined) return this.#pool.counters.dropped(0, DropReason.PoolEmpty)
      this.#enter(packet)
    }
  }

  /** Who watches from now on. */
  watch(sinks: readonly CaptureSink[]): void {
    this.#end.watch(sinks)
  }

  /** Take it off the bridge. Idempotent; the device is the caller's. */
  detach(): void {
    if (!this.#attached) return
    this.#attached = false
    this.#policy?.close()
    this.#policy = undefined
    for (const address of this.addresses()) this.#bindings.delete(address)
    this.#bridge.removeStatic(this.#mac)
    this.#bridge.removePort(this.#port)
  }

  /** Flows that the policy does not allow end; without one, all that it knew is forgotten. */
  #judge(spec: PolicySpec | undefined): void {
    const { pool, policies, wiring } = this.#options
    const { port, name } = this.device
    if (spec !== undefined && this.#policy !== undefined) return this.#policy.set(spec)
    this.#policy?.close()
    this.#policy = spec && new Policy({ pool, flows: policies, port, name, spec })
    this.#end.connect(this.#policy?.egress(this.#next) ?? this.#next)
    const inside = this.#policy?.ingress(this.#end.transmit) ?? this.#end.transmit
    this.#port.output = wiring.enter ? refuseEcho(pool, this.#mac, inside) : inside
  }

  #limit({ ingress, egress }: RatesConfig): void {
    const { pool, clock } = this.#options
    const { name } = this.device
    const limit = (spec: RateSpec | undefined, way: string): RateLimit | undefined =>
      spec && new RateLimit({ pool, clock, spec, name, text: `${way} ${formatRate(spec)}` })
    this.#end.limit({ ingress: limit(ingress, 'ingress'), egress: limit(egress, 'egress') })
  }

  /** A trunk without a PVID has no VLAN of its own: its stations are learned as they speak. */
  get #isUntagged(): boolean {
    const { pvid, tagged } = this.endpoint.options
    return tagged.length === 0 || pvid !== undefined
  }

  /** As other nodes of an overlay network know it; undefined: not at all. */
  local(): LocalEndpoint | undefined {
    if (!this.#isUntagged) return undefined
    const { sandbox, aliases, options } = this.endpoint
    const { vlanFiltering } = this.#options.network.options
    const vid = vlanFiltering ? (options.pvid ?? DEFAULT_PVID) : undefined
    return { mac: this.#mac, addresses: this.addresses(), vid, name: sandbox, aliases }
  }

  /** Own addresses, and the link-local one that hosts make of their MAC (RFC 4862 §5.3). */
  addresses(): Address[] {
    const given = [...this.endpoint.addresses, ...this.#leased]
    const own = given.map(({ address }) => address)
    return own.some(({ family }) => family === 6) ? [...own, linkLocal(this.#mac)] : own
  }
}

/**
 * Nobody else tells a sender that an endpoint takes less than its network: the gateway does, also
 * where the frame is bridged. Undefined: the endpoint takes all that its network carries.
 */
function tooBig({ pool, endpoint, network, router, leg }: EdgeOptions): Output | undefined {
  const { mtuBytes } = endpoint
  if (leg === undefined || mtuBytes >= network.options.mtuBytes) return undefined
  return (packet) => {
    const routed = isMacAt(pool.mem, packet.head + SRC, leg.mac)
    router.tellTooBig(packet, mtuBytes, leg, routed)
  }
}

/**
 * Answers of a hairpin, a connection that was translated inside its own network. The two ends are
 * neighbors and would speak directly, but only the router can give an answer the address that was
 * asked as its source: so such frames get the gateway's MAC. All others pass as they are.
 */
function viaGateway({ pool, nat, network }: EdgeOptions, next: Output): Output {
  const gateway = network.gatewayMac
  if (gateway === undefined) return next
  const { mem } = pool
  return (packet: Packet): void => {
    if (nat.bypasses(packet)) putMac(mem, packet.head + DST, gateway)
    next(packet)
  }
}

function portOptions(
  { network, endpoint, device, wiring }: EdgeOptions,
  output: Output,
): BridgePortOptions {
  const { options } = endpoint
  const trunk = options.tagged.length > 0
  return {
    name: device.name,
    port: device.port,
    output,
    group: options.splitHorizon,
    isolated: wiring.isolated || network.options.isolated || options.isolated,
    takesUnknown: wiring.takesUnknown,
    groupRole: GROUP_ROLES[options.multicastRouter],
    fastLeave: options.fastLeave ?? (network.options.macGuard && !trunk),
    ...stormOptions(options),
    ...(network.options.vlanFiltering ? { vlan: vlanOptions(options) } : {}),
    // Behind a trunk are stations of their own.
    ...(network.options.macGuard && !trunk ? { macs: [endpoint.mac!] } : {}),
  }
}

const GROUP_ROLES = {
  auto: GroupRole.Auto,
  never: GroupRole.Never,
  always: GroupRole.Always,
} as const

/** Nothing at all where there is no limit: a port without limits does not count. */
function stormOptions(options: EndpointState['options']): { storm?: StormLimits } {
  const { broadcastPerS, multicastPerS, unknownPerS } = options
  const storm: StormLimits = {
    ...(broadcastPerS === undefined ? {} : { broadcastPerS }),
    ...(multicastPerS === undefined ? {} : { multicastPerS }),
    ...(unknownPerS === undefined ? {} : { unknownPerS }),
  }
  return Object.keys(storm).length === 0 ? {} : { storm }
}

/** As in Linux: VLAN 1 where nothing is said. A trunk without a PVID takes tagged frames only. */
function vlanOptions({ pvid, tagged }: EndpointState['options']): PortVlanOptions {
  if (pvid !== undefined) return { pvid, tagged }
  return tagged.length > 0 ? { tagged } : { pvid: DEFAULT_PVID }
}
