/**
 * One node: the router, the drivers with their networks, and what was made of them. Its parts are
 * put together in build_node.ts.
 *
 * The node does single steps (diff.ts) and always knows its own state: a step does all of its work
 * or throws and does none, so that after any failure `state` is what is really there. Which steps,
 * in which order, and what to do when one fails is the controller's.
 */

import { formatPrefix } from '../stack/address.ts'
import { StackError } from '../stack/errors.ts'
import type { PortMapping } from '../stack/ip/nat_rules.ts'
import type { TrackingConfig } from './config/model.ts'
import { ConnectionEvents } from './connection_events.ts'
import type { Context } from './context.ts'
import type { CaptureSink } from './device_end.ts'
import type { Step } from './diff.ts'
import type { NameService } from './dns/service.ts'
import type { NetworkDriver } from './drivers/driver.ts'
import type { Drivers } from './drivers/registry.ts'
import type { Edge } from './edge.ts'
import type { Network } from './network.ts'
import type { ServiceSet } from './service_set.ts'
import {
  EMPTY,
  type EndpointState,
  endpointKey,
  type NetworkState,
  type PortState,
  type RouteState,
  type SandboxState,
  type ServiceState,
  type State,
  UPLINK_KEY,
} from './state.ts'
import { Uplink } from './uplink.ts'

export class Node {
  readonly context: Context
  readonly startedMs: number
  readonly services: ServiceSet
  readonly names: NameService
  readonly connectionEvents: ConnectionEvents
  readonly #drivers: Drivers
  readonly #networks = new Map<string, NetworkState>()
  readonly #sandboxes = new Map<string, SandboxState>()
  readonly #endpoints = new Map<string, EndpointState>()
  /** Of these, those that could not be joined, with why: see {@link keepLost}. */
  readonly #absent = new Map<string, string>()
  readonly #routes = new Map<string, RouteState>()
  readonly #ports = new Map<string, PortState>()
  #tracking: TrackingConfig = EMPTY.tracking
  #uplink: Uplink | undefined

  constructor(
    context: Context,
    { drivers, services, names }: Pick<Node, 'services' | 'names'> & { readonly drivers: Drivers },
  ) {
    this.context = context
    this.startedMs = context.clock.nowMs
    this.#drivers = drivers
    this.services = services
    this.names = names
    this.connectionEvents = new ConnectionEvents(context.conntrack)
  }

  /** What is there. A snapshot: it does not change later. */
  get state(): State {
    const lost = this.edges()
      .filter((edge) => this.#whyLost(edge) !== undefined)
      .map(({ endpoint }) => endpointKey(endpoint))
    lost.push(...this.#absent.keys())
    if (this.#uplink?.lost !== undefined) lost.push(UPLINK_KEY)
    return {
      networks: new Map(this.#networks),
      sandboxes: new Map(this.#sandboxes),
      endpoints: new Map(this.#endpoints),
      routes: new Map(this.#routes),
      uplink: this.#uplink?.state,
      ports: new Map(this.#ports),
      services: this.services.states,
      tracking: this.#tracking,
      node: this.context.overlays.node,
      dns: this.names.config,
      leased: new Map(this.networks().map(({ state, dhcp }) => [state.name, dhcp?.held() ?? []])),
      lost: new Set(lost),
    }
  }

  /** Do one step. @throws StackError if it cannot be done; then nothing of it is. */
  async run(step: Step): Promise<void> {
    switch (step.action) {
      case 'update-tracking':
        return this.#updateTracking(step.tracking)
      case 'update-dns':
        return this.names.configure(step.dns)
      case 'create-network':
        return this.#createNetwork(step.network)
      case 'update-network':
        this.#networks.set(step.network.name, step.network)
        return this.network(step.network.name)?.update(step.network)
      case 'open-underlay':
        return this.context.overlays.open(step.node)
      case 'close-underlay':
        return this.context.overlays.closeUnderlay()
      case 'delete-network':
        return this.#deleteNetwork(step.network)
      case 'create-sandbox':
        return this.#createSandbox(step.sandbox)
      case 'delete-sandbox':
        return this.#deleteSandbox(step.sandbox)
      case 'join':
        return await this.#join(step.endpoint)
      case 'leave':
        return this.#leave(step.endpoint)
      case 'update':
        return this.#update(step.endpoint)
      case 'add-route':
        return this.#addRoute(step.route)
      case 'delete-route':
        return this.#deleteRoute(step.route)
      case 'open-uplink':
        this.#uplink = await Uplink.open(this.context, step.uplink)
        return
      case 'close-uplink':
        return await this.#closeUplink()
      case 'publish':
        return this.#publish(step.port)
      case 'unpublish':
        return this.#unpublish(step.port)
      case 'create-service':
        return this.#createService(step.service)
      case 'update-service':
        this.services.update(step.service)
        return this.names.setService(step.service)
      case 'delete-service':
        return this.#deleteService(step.service)
    }
  }

  /** After steps: what is outside of us, and is told of several at once. @throws StackError. */
  async settle(): Promise<void> {
    await this.#uplink?.settle()
  }

  /** Networks that have a data path here. */
  networks(): Network[] {
    return [...this.#networks.values()]
      .map(({ driver, name }) => this.#drivers[driver].network(name))
      .filter((network) => network !== undefined)
  }

  /** The data path of one network. */
  network(name: string): Network | undefined {
    const state = this.#networks.get(name)
    return state && this.#drivers[state.driver].network(name)
  }

  /** Undefined: there is no such sandbox. */
  netnsOf(sandbox: string): string | undefined {
    return this.#sandboxes.get(sandbox)?.netns
  }

  edges(): Edge[] {
    return this.networks().flatMap((network) => network.edges())
  }

  /** Why the device of an endpoint is lost; undefined: it works, or is not here. */
  whyLost(endpoint: EndpointState): string | undefined {
    const edge = this.network(endpoint.network)?.edge(endpoint.sandbox)
    return (edge && this.#whyLost(edge)) ?? this.#absent.get(endpointKey(endpoint))
  }

  #whyLost({ lost, device }: Edge): string | undefined {
    if (lost !== undefined || this.context.links.isAstray?.(device) !== true) return lost
    return 'its namespace lives on without the name'
  }

  /**
   * Go on with an endpoint that could not be joined as with one whose device was lost: it holds its
   * addresses and its MAC until it is joined again or leaves. Without its network or its sandbox it
   * is nothing.
   */
  keepLost(endpoint: EndpointState, why: string): void {
    if (!this.#networks.has(endpoint.network) || !this.#sandboxes.has(endpoint.sandbox)) return
    // What could not be detached is still there.
    if (this.network(endpoint.network)?.edge(endpoint.sandbox) !== undefined) return
    this.#endpoints.set(endpointKey(endpoint), endpoint)
    this.#absent.set(endpointKey(endpoint), why)
  }

  /** See {@link Captures.attach}. */
  attachCapture(devices: readonly string[] | 'all', sink: CaptureSink): () => void {
    return this.context.captures.attach(devices, sink)
  }

  /** The leg to the outside, if there is one. */
  get uplink(): Uplink | undefined {
    return this.#uplink
  }

  /** Precondition: every step was taken back. Idempotent. */
  close(): void {
    const { router, nat, conntrack, policies, overlays } = this.context
    this.names.close()
    overlays.close()
    router.close()
    nat.close()
    policies.close()
    conntrack.close()
  }

  #updateTracking(tracking: TrackingConfig): void {
    const { conntrack, nat, expiryResets } = this.context
    conntrack.configure(tracking.timeouts)
    nat.configure(tracking.nat)
    expiryResets.enabled = tracking.resetExpired
    this.#tracking = tracking
  }

  #createNetwork(network: NetworkState): void {
    const driver = this.#drivers[network.driver]
    driver.createNetwork(network)
    this.#networks.set(network.name, network)
    this.names.addNetwork(network, driver.network(network.name))
  }

  #deleteNetwork(network: NetworkState): void {
    this.#networks.delete(network.name)
    this.names.removeNetwork(network)
    this.#drivers[network.driver].deleteNetwork(network)
  }

  #createSandbox(sandbox: SandboxState): void {
    if (sandbox.stack === 'own') this.context.links.prepare(sandbox)
    this.#sandboxes.set(sandbox.name, sandbox)
    this.names.addSandbox(sandbox)
  }

  #deleteSandbox(sandbox: SandboxState): void {
    this.#sandboxes.delete(sandbox.name)
    this.names.removeSandbox(sandbox)
    if (sandbox.stack === 'own') this.context.links.release(sandbox)
  }

  async #join(endpoint: EndpointState): Promise<void> {
    const sandbox = this.#sandboxes.get(endpoint.sandbox)
    if (sandbox === undefined) {
      throw new StackError('not-found', `no sandbox ${endpoint.sandbox}`)
    }
    const driver = this.#driverOf(endpoint)
    // Its stack may have died since it was made, with a device that was lost.
    if (sandbox.stack === 'own') this.context.links.prepare(sandbox)
    driver.createEndpoint(endpoint)
    try {
      await driver.join(endpoint, sandbox)
    } catch (error) {
      driver.deleteEndpoint(endpoint)
      throw error
    }
    this.#endpoints.set(endpointKey(endpoint), endpoint)
    this.names.join(endpoint)
  }

  #update(endpoint: EndpointState): void {
    this.#endpoints.set(endpointKey(endpoint), endpoint)
    this.network(endpoint.network)?.updateEndpoint(endpoint)
    this.names.update(endpoint)
  }

  #leave(endpoint: EndpointState): void {
    const driver = this.#driverOf(endpoint)
    this.#endpoints.delete(endpointKey(endpoint))
    if (this.#absent.delete(endpointKey(endpoint))) return
    this.names.leave(endpoint)
    driver.leave(endpoint)
    driver.deleteEndpoint(endpoint)
  }

  #addRoute(route: RouteState): void {
    const { to, via } = route
    const { router } = this.context
    if (via === undefined) router.addRoute({ prefix: to, kind: 'blackhole' })
    else router.addRoute({ prefix: to, kind: 'static', via })
    this.#routes.set(formatPrefix(to), route)
  }

  #deleteRoute({ to }: RouteState): void {
    this.#routes.delete(formatPrefix(to))
    this.context.router.removeRoute(to)
  }

  async #closeUplink(): Promise<void> {
    const uplink = this.#uplink
    this.#uplink = undefined
    await uplink?.close()
  }

  #publish(port: PortState): void {
    const { nat } = this.context
    const done: PortMapping[] = []
    try {
      for (const mapping of port.mappings) {
        nat.publish(mapping)
        done.push(mapping)
      }
      this.#uplink?.publish(port.mappings)
    } catch (error) {
      for (const mapping of done) nat.unpublish(mapping)
      throw error
    }
    this.#ports.set(port.key, port)
    this.names.publish(port)
  }

  #unpublish(port: PortState): void {
    const { key, mappings } = port
    this.#ports.delete(key)
    this.names.unpublish(port)
    for (const mapping of mappings) this.context.nat.unpublish(mapping)
    this.#uplink?.unpublish(mappings)
  }

  #createService(service: ServiceState): void {
    const network = this.network(service.network)
    this.services.create(service, network)
    try {
      this.#uplink?.publishService(service)
    } catch (error) {
      this.services.delete(service, network)
      throw error
    }
    this.names.setService(service)
  }

  #deleteService(service: ServiceState): void {
    this.names.removeService(service)
    this.services.delete(service, this.network(service.network))
    this.#uplink?.unpublishService(service)
  }

  #driverOf({ network }: EndpointState): NetworkDriver {
    const state = this.#networks.get(network)
    if (state === undefined) throw new StackError('not-found', `no network ${network}`)
    return this.#drivers[state.driver]
  }
}
