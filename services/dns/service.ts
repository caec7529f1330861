/**
 * The name service of a node, put together, and kept up with it step by step (node.ts).
 *
 * ```text
 *   sandbox ── 10.1.0.1:53 ──► gateway.ts ──┐                 ┌── registry.ts: names of networks
 *   sandbox ── 127.0.0.11 ──► loopback.ts ──┴──► server.ts ───┤
 *                                                             └── forwarder.ts ──► outside
 * ```
 *
 * It comes up with nothing to tell and never fails a step: what cannot be had (a taken port in a
 * namespace, a resolv.conf of somebody else's) is logged, and the gateway still answers.
 */
import type { Address } from '../../stack/address.ts'
import { parseAddress } from '../../stack/address.ts'
import type { Cancel } from '../../stack/clock.ts'
import { Random } from '../../stack/random.ts'
import { DEFAULT_DNS, type DnsConfig } from '../config/dns_model.ts'
import type { Context } from '../context.ts'
import type { Network } from '../network.ts'
import type {
  EndpointState,
  NetworkState,
  PortState,
  SandboxState,
  ServiceState,
} from '../state.ts'
import { Forwarder } from './forwarder.ts'
import { Gateway } from './gateway.ts'
import { GatewayStreams } from './gateway_streams.ts'
import type { DnsHost, LoopbackClient } from './host.ts'
import { type IsReady, Registry } from './registry.ts'
import { formatResolvConf } from './resolv_conf.ts'
import type { Scope } from './scope.ts'
import { LATER, NameServer } from './server.ts'
import { Stations, stationAddresses } from './stations.ts'
import { PORT, TCP_BYTES_MAX, UDP_BYTES } from './wire.ts'

/** Docker's address of the name service inside a sandbox. */
const LOOPBACK = parseAddress('127.0.0.11')

export interface NameServiceOptions {
  readonly context: Pick<Context, 'pool' | 'clock' | 'router' | 'links' | 'log'>
  /** Undefined: there is no kernel; nothing is asked outside. */
  readonly host: DnsHost | undefined
  readonly isReady: IsReady
}

/** A sandbox with a stack of its own. */
interface Inside {
  readonly sandbox: SandboxState
  readonly endpoints: Map<string, EndpointState>
  /** Ends its 127.0.0.11; undefined: it has none. */
  close: Cancel | undefined
  resolvConf: string | undefined
}

export class NameService {
  readonly registry: Registry
  readonly forwarder: Forwarder | undefined
  readonly server: NameServer
  readonly gateway: Gateway
  readonly streams: GatewayStreams
  readonly #stations: Stations
  readonly #options: NameServiceOptions
  readonly #networks = new Map<string, Network>()
  readonly #sandboxes = new Map<string, Inside>()
  /** Ends following the host's search list. */
  readonly #unwatch: Cancel | undefined
  readonly #scratch = new Uint8Array(TCP_BYTES_MAX)
  #config: DnsConfig = DEFAULT_DNS

  constructor(options: NameServiceOptions) {
    const { context, host, isReady } = options
    const { pool, clock, router } = context
    this.#options = options
    this.registry = new Registry(isReady)
    this.forwarder = host && new Forwarder({ clock, host })
    const hostServers = () =>
      (host?.resolvers().servers ?? []).map((address) => ({ address, port: PORT }))
    const { registry, forwarder } = this
    this.server = new NameServer({ clock, registry, forwarder, hostServers }, this.#config)
    this.#stations = new Stations(pool)
    const parts = { pool, clock, router, server: this.server, stations: this.#stations }
    this.gateway = new Gateway(parts)
    // In memory a guess harms nobody, and every run must be the same.
    const random = new Random(1)
    const random16 = host === undefined ? () => random.below(0x1_0000) : () => host.random16()
    this.streams = new GatewayStreams({ ...parts, random16 })
    this.configure(this.#config)
    this.#unwatch = host?.watchResolvers?.(() => this.#refreshAll())
  }

  get config(): DnsConfig {
    return this.#config
  }

  configure(config: DnsConfig): void {
    this.#config = config
    this.registry.configure(config)
    this.server.configure(config)
    const { cacheMax: entriesMax, staleMs, timeoutMs, randomCase } = config
    this.forwarder?.configure({ entriesMax, staleMs, timeoutMs, randomCase })
    if (config.enabled) {
      this.gateway.open()
      this.streams.open()
    } else {
      this.gateway.close()
      this.streams.close()
    }
    this.#refreshAll()
  }

  addNetwork(state: NetworkState, network: Network | undefined): void {
    if (network === undefined) return
    this.registry.addNetwork(state)
    this.#networks.set(state.name, network)
    for (const gateway of ownGateways(state)) this.#stations.addGateway(gateway)
  }

  removeNetwork(state: NetworkState): void {
    if (!this.#networks.delete(state.name)) return
    this.registry.removeNetwork(state.name)
    for (const gateway of ownGateways(state)) this.#stations.removeGateway(gateway)
  }

  addSandbox(sandbox: SandboxState): void {
    const scope = this.registry.scope(sandbox.name)
    if (sandbox.stack !== 'own') return
    if (this.#options.host?.listen !== undefined) scope.netns = sandbox.netns
    const inside = { sandbox, endpoints: new Map(), close: undefined, resolvConf: undefined }
    this.#sandboxes.set(sandbox.name, inside)
    this.#refresh(inside)
  }

  removeSandbox({ name }: SandboxState): void {
    const inside = this.#sandboxes.get(name)
    this.#sandboxes.delete(name)
    this.registry.forget(name)
    if (inside === undefined) return
    this.#silence(inside)
    this.#say(inside, undefined)
  }

  join(endpoint: EndpointState): void {
    const { sandbox, addresses, mac } = endpoint
    const network = this.#networks.get(endpoint.network)
    const edge = network?.edge(sandbox)
    if (network === undefined || edge === undefined || mac === undefined) return
    this.registry.setEndpoint(endpoint)
    const scope = this.registry.scope(sandbox)
    const own = stationAddresses(
      addresses.map(({ address }) => address),
      mac,
    )
    // Where the gateway is not ours, only the resolver inside the sandbox answers.
    if (network.link !== undefined) {
      this.#stations.remove(scope, network.link)
      this.#stations.add(scope, network.link, edge.device.port, own)
    }
    const inside = this.#sandboxes.get(sandbox)
    inside?.endpoints.set(endpoint.network, endpoint)
    if (inside !== undefined) this.#refresh(inside)
  }

  /** Other aliases. */
  update(endpoint: EndpointState): void {
    if (this.#networks.has(endpoint.network)) this.registry.setEndpoint(endpoint)
  }

  leave(endpoint: EndpointState): void {
    const { sandbox } = endpoint
    const network = this.#networks.get(endpoint.network)
    if (network === undefined) return
    this.registry.removeEndpoint(endpoint)
    if (network.link !== undefined) {
      this.#stations.remove(this.registry.scope(sandbox), network.link)
    }
    const inside = this.#sandboxes.get(sandbox)
    inside?.endpoints.delete(endpoint.network)
    if (inside !== undefined) this.#refresh(inside)
  }

  setService(service: ServiceState): void {
    this.registry.setService(service)
  }

  removeService({ name }: ServiceState): void {
    this.registry.removeService(name)
  }

  publish(port: PortState): void {
    this.registry.publish(port)
  }

  unpublish(port: PortState): void {
    this.registry.unpublish(port)
  }

  /** Does a sandbox have 127.0.0.11? */
  hasLoopback(sandbox: string): boolean {
    return this.#sandboxes.get(sandbox)?.close !== undefined
  }

  /** No timer and no socket is left. Idempotent. */
  close(): void {
    this.#unwatch?.()
    this.gateway.close()
    this.streams.close()
    this.forwarder?.close()
    for (const inside of this.#sandboxes.values()) {
      this.#silence(inside)
      this.#say(inside, undefined)
    }
    this.#sandboxes.clear()
  }

  #refreshAll(): void {
    for (const inside of this.#sandboxes.values()) this.#refresh(inside)
  }

  /** Bring a sandbox's own address, and its resolv.conf, to what they should be now. */
  #refresh(inside: Inside): void {
    const { host } = this.#options
    const { sandbox } = inside
    const { enabled, loopback, serving } = this.#config
    const wanted = enabled && loopback && !serving.includes(sandbox.name)
    if (!wanted) this.#silence(inside)
    else if (inside.close === undefined && host?.listen !== undefined) this.#listen(inside)
    if (!this.#options.context.links.made?.(sandbox.netns)) return
    const { settings } = this.registry.scope(sandbox.name)
    const servers = this.#serversFor(inside)
    const search = settings.search.length > 0 ? settings.search : (host?.resolvers().search ?? [])
    const options = settings.options.some((option) => option.startsWith('ndots:'))
      ? settings.options
      : [...settings.options, 'ndots:0']
    const text = formatResolvConf({ servers, search, options })
    this.#say(inside, enabled && servers.length > 0 ? text : undefined)
  }

  #serversFor({ close, endpoints }: Inside): readonly Address[] {
    if (close !== undefined) return [LOOPBACK]
    return [...endpoints.values()].flatMap(({ network }) => {
      const known = this.#networks.get(network)
      return known === undefined ? [] : ownGateways(known.state)
    })
  }

  #listen(inside: Inside): void {
    const { host, context } = this.#options
    const { name, netns } = inside.sandbox
    const scope = this.registry.scope(name)
    try {
      const close = host!.listen!(
        netns,
        (message, client) => this.#hear(scope, message, client),
        () => {
          if (inside.close === close) inside.close = undefined
        },
      )
      inside.close = close
    } catch (error) {
      const text = `sandbox ${name} has no 127.0.0.11, and asks its gateways for names`
      context.log.warn({ sandbox: name, err: error }, text)
    }
  }

  #silence(inside: Inside): void {
    inside.close?.()
    inside.close = undefined
  }

  #say(inside: Inside, text: string | undefined): void {
    const { host, context } = this.#options
    if (host?.setResolvConf === undefined || text === inside.resolvConf) return
    inside.resolvConf = text
    const { netns, name } = inside.sandbox
    try {
      host.setResolvConf(netns, text)
    } catch (error) {
      context.log.warn({ sandbox: name, err: error }, `no resolv.conf for sandbox ${name}`)
    }
  }

  /** A query at 127.0.0.11. */
  #hear(scope: Scope, message: Uint8Array, client: LoopbackClient): void {
    const { clock } = this.#options.context
    if (!scope.budget.take(clock.nowMs) || message.length > this.#scratch.length) return
    const { isStream } = client
    const manner = { scope, isStream, maxBytes: isStream ? TCP_BYTES_MAX : UDP_BYTES }
    const mem = this.#scratch
    mem.set(message)
    const length = this.server.respond(mem, 0, message.length, manner)
    if (length === 0) return
    if (length !== LATER) return client.reply(mem.subarray(0, length))
    const pending = this.server.pending(mem, 0, manner)
    this.server.forward(pending, (answer) => client.reply(answer))
  }
}

/** Where this node answers in a network. */
function ownGateways({ gatewayMac, subnets }: NetworkState): readonly Address[] {
  return gatewayMac === undefined ? [] : subnets.map(({ gateway }) => gateway)
}
