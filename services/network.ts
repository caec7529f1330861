/**
 * A network at work: one bridge, one table of bindings, one leg of the router, and an edge per
 * endpoint. An overlay has tunnels to other nodes as well (overlay/). A network without a gateway,
 * or with one that is a machine outside (driver `macvlan`), has no leg.
 *
 * ```text
 *   web1/eth0 ── edge ──┐
 *   web2/eth0 ── edge ──┤ bridge ── port "gateway" ── router interface
 *   db/eth1   ── edge ──┘   └─── port "tunnel" ── other nodes
 * ```
 *
 * The gateway is a station of its network like any other: it has a MAC that the bridge knows, its
 * addresses are bound like those of sandboxes, and the router sees Ethernet frames. What the router
 * asks of the network goes through a proxy as well, so that it finds endpoints without a flood.
 *
 * A lost device is not given back in the middle of its own `poll`, but by a timer due at once.
 */
import { type Address, sameAddress } from '../stack/address.ts'
import { Bindings } from '../stack/arp/bindings.ts'
import { arpProxy } from '../stack/arp/proxy.ts'
import type { Cancel } from '../stack/clock.ts'
import type { Device } from '../stack/device.ts'
import { Bridge } from '../stack/eth/bridge.ts'
import type { BridgePort } from '../stack/eth/bridge_port.ts'
import { GroupRole } from '../stack/eth/group_filter.ts'
import type { Mac } from '../stack/eth/mac.ts'
import { DEFAULT_PVID } from '../stack/eth/vlan.ts'
import type { RouterInterface } from '../stack/ip/router_interface.ts'
import type { Context } from './context.ts'
import { NetworkDhcp } from './dhcp/network_dhcp.ts'
import { BRIDGED, Edge, type Wiring } from './edge.ts'
import { NetworkGroups } from './groups.ts'
import { gatewayAddresses, givenInside, hasIpv6, natOf, type ParentPort } from './network_facts.ts'
import { OverlayNetwork } from './overlay/overlay_network.ts'
import type { EndpointState, NetworkState, SandboxState } from './state.ts'

/** The bridge port that leads to the router; device names have a slash, so none is like it. */
const GATEWAY_PORT = 'gateway'

/** An edge, and what is still to be done for it. */
interface Attached {
  readonly edge: Edge
  /** Set while the device was lost and is not given back yet. */
  cancel: Cancel | undefined
}

export class Network {
  readonly bridge: Bridge
  /** The interface outside that the network is on; undefined: it is on none. */
  parent: ParentPort | undefined = undefined
  #state: NetworkState
  readonly #context: Context
  readonly #wiring: Wiring
  readonly #bindings: Bindings
  /** Undefined: the network has no gateway of ours. */
  readonly #leg: RouterInterface | undefined
  /** Undefined: every group goes to everybody. */
  readonly groups: NetworkGroups | undefined
  /** Undefined: another driver. */
  readonly overlay: OverlayNetwork | undefined
  /** Undefined: nobody leases addresses here. */
  readonly dhcp: NetworkDhcp | undefined
  /** By sandbox. */
  readonly #attached = new Map<string, Attached>()

  /** @throws StackError; leaves nothing. */
  constructor(context: Context, state: NetworkState, wiring: Wiring = BRIDGED) {
    const { pool, clock, random, log } = context
    const { name, options, gatewayMac: mac } = state
    this.#state = state
    this.#context = context
    this.#wiring = wiring
    this.#bindings = new Bindings({ seed: random.bits() })
    const { snooping, vlanFiltering, querier } = options
    const seed = random.bits()
    this.groups = snooping ? new NetworkGroups({ pool, clock, seed, vlanFiltering }) : undefined
    this.bridge = new Bridge({
      name,
      pool,
      clock,
      seed,
      ...(this.groups && { groups: this.groups.filter }),
      vlanFiltering: options.vlanFiltering,
      ageMs: options.fdbAgeingS * 1000,
      log: (event) => log.warn(event, `bridge ${name}: ${event.kind}`),
    })
    try {
      const gateway = mac && this.#addGateway(mac)
      if (state.overlay !== undefined) this.overlay = this.#openOverlay()
      if (mac !== undefined && gateway !== undefined) {
        this.#leg = this.#openLeg(mac, gateway)
        if (state.dhcp !== undefined) this.dhcp = this.#openDhcp(this.#leg)
        context.nat.setNetwork(this.#leg, natOf(state))
        const addresses = state.subnets.map((subnet) => subnet.gateway)
        if (querier) this.groups?.ask({ mac, addresses, send: gateway.input })
      }
      this.overlay?.start()
    } catch (error) {
      this.close()
      throw error
    }
  }

  get state(): NetworkState {
    return this.#state
  }

  /** Give an endpoint its interface, and tell the network. @throws StackError; leaves nothing. */
  async attach(endpoint: EndpointState, sandbox: SandboxState): Promise<void> {
    const { pool, clock, links, captures, onDevice, nat, flows, policies, router } = this.#context
    this.dhcp?.yield(endpoint.addresses.map(({ address }) => address))
    const device = await links.attach({
      sandbox: sandbox.name,
      netns: sandbox.netns,
      interfaceName: endpoint.interfaceName,
      deviceName: endpoint.deviceName,
      mac: endpoint.mac!,
      mtuBytes: endpoint.mtuBytes,
      txQueueLen: this.state.options.txQueueLen,
      ...givenInside(endpoint),
      offload: this.state.options.offload,
      ...(this.overlay && { segmentsMax: this.#context.overlays.segmentsMax }),
      ...(endpoint.handOver !== undefined && { handOver: endpoint.handOver }),
    })
    let edge: Edge | undefined
    try {
      const parts = { bridge: this.bridge, bindings: this.#bindings, network: this.state }
      const ways = { remote: this.overlay?.port, wiring: this.#wiring, router, leg: this.#leg }
      edge = new Edge({ pool, clock, nat, flows, policies, ...parts, ...ways, endpoint, device })
      edge.register()
      this.#announce(edge)
    } catch (error) {
      edge?.detach()
      links.detach(device)
      throw error
    }
    const attached: Attached = { edge, cancel: undefined }
    this.#attached.set(endpoint.sandbox, attached)
    device.onLost = (why) => this.#lost(attached, why)
    captures.add(edge)
    onDevice(device, true)
    edge.announce()
  }

  /** Take an endpoint's interface away. Harmless if it is not there. */
  detach(sandbox: string): void {
    const attached = this.#attached.get(sandbox)
    if (attached === undefined) return
    this.#attached.delete(sandbox)
    if (attached.edge.lost !== undefined) {
      if (attached.cancel === undefined) return
      attached.cancel()
      return this.#giveBack(attached.edge.device)
    }
    this.#retire(attached.edge)
    this.#giveBack(attached.edge.device)
  }

  /** What the file says of other nodes has changed. */
  update(state: NetworkState): void {
    this.#state = state
    this.overlay?.update(state)
  }

  /** Names, policy or rates of an endpoint have changed. */
  updateEndpoint(endpoint: EndpointState): void {
    const edge = this.edge(endpoint.sandbox)
    edge?.update(endpoint)
    if (edge !== undefined && edge.lost === undefined) this.#announce(edge)
  }

  edges(): Edge[] {
    return [...this.#attached.values()].map(({ edge }) => edge)
  }

  edge(sandbox: string): Edge | undefined {
    return this.#attached.get(sandbox)?.edge
  }

  /** Who has an address here: its MAC. For traces; not for the data path. */
  macOf(address: Address): Mac | undefined {
    if (gatewayAddresses(this.state).some((own) => sameAddress(own, address))) {
      return this.state.gatewayMac
    }
    const holder = this.edges().find(({ endpoint }) =>
      endpoint.addresses.some((own) => sameAddress(own.address, address)),
    )
    if (holder !== undefined) return holder.endpoint.mac
    const entry = this.#bindings.find(address)
    if (entry < 0) return undefined
    return { hi: this.#bindings.macHi(entry), lo: this.#bindings.macLo(entry) >>> 0 }
  }

  /** Index of its leg, by which routes name it; undefined: it has none. */
  get link(): number | undefined {
    return this.#leg?.index
  }

  /**
   * One more address of the gateway, such as the virtual one of a service: it answers for it.
   * Precondition: it has a gateway. @throws StackError `exists`, `exhausted`; leaves nothing.
   */
  addAddress(address: Address): void {
    const { router } = this.#context
    const leg = this.#leg!
    router.addAddress(leg, address)
    try {
      this.#bindings.set(address, leg.mac, 0)
    } catch (error) {
      router.removeAddress(leg, address)
      throw error
    }
  }

  /** Take it back. Idempotent. */
  removeAddress(address: Address): void {
    this.#bindings.delete(address)
    this.#context.router.removeAddress(this.#leg!, address)
  }

  /** Precondition: no endpoint is attached. */
  close(): void {
    this.dhcp?.close()
    if (this.#leg !== undefined) {
      this.#context.nat.setNetwork(this.#leg, undefined)
      this.#context.router.removeInterface(this.#leg)
    }
    this.groups?.close()
    this.overlay?.close()
    this.bridge.close()
  }

  #addGateway(mac: Mac): BridgePort {
    const gateway = this.bridge.addPort({
      name: GATEWAY_PORT,
      port: 0,
      output: (packet) => this.#leg!.input(packet),
      // The router takes part in groups of the link only, and those are flooded.
      groupRole: GroupRole.Never,
      ...(this.state.options.vlanFiltering ? { vlan: { pvid: DEFAULT_PVID } } : {}),
    })
    this.bridge.addStatic(mac, gateway)
    for (const address of gatewayAddresses(this.state)) this.#bindings.set(address, mac, 0)
    return gateway
  }

  #openLeg(mac: Mac, gateway: BridgePort): RouterInterface {
    const { name, subnets, internal, options, announce: told } = this.state
    const { mtuBytes, separate } = options
    const { router, pool } = this.#context
    return router.addInterface({
      ...{ name, mac, mtuBytes, internal, separate },
      addresses: subnets.map(({ subnet, gateway }) => ({ address: gateway, bits: subnet.bits })),
      output: arpProxy({
        pool,
        bindings: this.#bindings,
        name: GATEWAY_PORT,
        port: 0,
        suppress: options.arpProxy || this.overlay !== undefined, // They cross no tunnel.
        ...(this.overlay && { remote: this.overlay.port }),
        reply: (packet) => this.#leg!.input(packet),
        next: gateway.input,
      }),
      ...(hasIpv6(this.state) && this.state.advertise !== false
        ? { advertise: { dnsAddresses: told.dns, dnsSearch: told.search } }
        : {}),
    })
  }

  #openDhcp(leg: RouterInterface): NetworkDhcp {
    const own = { context: this.#context, state: this.state, bindings: this.#bindings, leg }
    return new NetworkDhcp({ ...own, endpoints: () => this.edges().map((edge) => edge.endpoint) })
  }

  #openOverlay(): OverlayNetwork {
    const { state, bridge } = this
    const { neighbors } = this.#context.router
    const own = { context: this.#context, bridge, bindings: this.#bindings }
    const forget = (address: Address): void =>
      this.#leg && neighbors.forget(this.#leg.link, address)
    return new OverlayNetwork({ ...own, state, forget, groups: this.groups, leg: () => this.#leg })
  }

  /** Tell other nodes. A trunk's stations are its own business. */
  #announce(edge: Edge): void {
    const local = edge.local()
    if (local !== undefined) this.overlay?.announce(local)
  }

  #lost(attached: Attached, why: string): void {
    const { edge } = attached
    const { log, clock, tally } = this.#context
    if (edge.lost !== undefined || this.edge(edge.endpoint.sandbox) !== edge) return
    edge.lost = why
    tally.lostDevices++
    this.#retire(edge)
    attached.cancel = clock.after(0, () => {
      attached.cancel = undefined
      try {
        this.#giveBack(edge.device)
      } catch (error) {
        log.error({ err: error, device: edge.device.name }, 'a lost device was not given back')
      }
    })
    const { sandbox, network, deviceName } = edge.endpoint
    log.warn({ sandbox, network, device: deviceName, why }, `lost ${deviceName}: ${why}`)
  }

  /** Off the bridge, no neighbor of the router any more, and no longer polled. */
  #retire(edge: Edge): void {
    const { router, captures, onDevice } = this.#context
    edge.detach()
    this.dhcp?.forgetPort(edge.device.port)
    const link = this.#leg?.link
    if (link !== undefined) {
      for (const address of edge.addresses()) router.neighbors.forget(link, address)
    }
    const local = edge.local()
    if (local !== undefined) this.overlay?.withdraw(local)
    captures.remove(edge)
    onDevice(edge.device, false)
  }

  #giveBack(device: Device): void {
    this.#context.links.detach(device)
  }
}
