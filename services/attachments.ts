/**
 * Sandboxes that are asked for while a daemon runs, beside those of its file: containers of a
 * runtime that brings its own namespaces, by CNI (cni/).
 *
 * ```text
 *   file ──────────────┐
 *                      ├─ merged ──> Controller
 *   attachments ───────┘
 * ```
 *
 * An attachment is one interface of one container, as CNI has it; here a sandbox with one endpoint.
 * Applying the file again keeps attachments; a file without the network of one is refused. One
 * whose interface was lost, as its namespace ended, is no longer asked for, but listed until it is
 * removed.
 */
import {
  type Address,
  contains,
  formatAddress,
  formatPrefix,
  parseAddress,
  parsePrefix,
} from '../stack/address.ts'
import { StackError } from '../stack/errors.ts'
import { formatMac, isGroupMac, type Mac, parseMac, sameMac } from '../stack/eth/mac.ts'
import type { RateSpec } from '../stack/ip/rate_limit.ts'
import { refuseUnfit } from './amend.ts'
import type { Config, NetworkConfig, SandboxConfig } from './config/model.ts'
import { MTU6_MIN_BYTES } from './config/options.ts'
import { NO_ENDPOINT_OPTIONS } from './config/options_model.ts'
import { nameFault } from './config/schema.ts'
import type { Controller } from './controller.ts'
import { faultsInside } from './inside_check.ts'
import { parsePort } from './ports.ts'
import { type EndpointState, endpointKey, type State } from './state.ts'

/** More than a node has devices for. */
const ATTACHMENTS_MAX = 4096
/** Of an ID in a sandbox's name: as much as Docker and others show of theirs. */
const NAME_MAX = 40

/** What a runtime asks for; see api_attachments.ts for its form on the wire. */
export interface AttachRequest {
  /** Of the container. */
  readonly id: string
  readonly interfaceName: string
  /** A path. */
  readonly netns: string
  readonly network: string
  /** Whose it is, for {@link Attachments.collect}. */
  readonly owner: string
  /** With or without bits; a family that has none here gets one by IPAM. */
  readonly addresses: readonly string[]
  readonly mac: string | undefined
  readonly mtuBytes: number | undefined
  /** As Compose writes them. */
  readonly ports: readonly string[]
  readonly aliases: readonly string[]
  readonly ingress: RateSpec | undefined
  readonly egress: RateSpec | undefined
}

/** An attachment as it is. */
export interface Attachment {
  readonly id: string
  readonly interfaceName: string
  readonly netns: string
  readonly network: string
  readonly owner: string
  /** Its sandbox, as other commands call it. */
  readonly sandbox: string
  readonly state: 'up' | 'lost'
  readonly mac: string
  readonly mtuBytes: number
  readonly addresses: readonly AttachedAddress[]
  readonly routes: readonly { readonly to: string; readonly via: string }[]
}

export interface AttachedAddress {
  /** With the bits of its subnet. */
  readonly address: string
  readonly gateway: string
}

interface Held {
  readonly request: AttachRequest
  readonly sandbox: SandboxConfig
}

export class Attachments {
  readonly #controller: Controller
  /** By {@link keyOf}. */
  readonly #held = new Map<string, Held>()
  /** Sandboxes of those that were lost. */
  readonly #lost = new Set<SandboxConfig>()

  constructor(controller: Controller) {
    this.#controller = controller
  }

  /** A configuration with the attachments. @throws StackError `bad-config`: it lacks a network. */
  merged(config: Config): Config {
    this.#noteLost()
    const all = [...this.#held.values()].map(({ sandbox }) => sandbox)
    const sandboxes = all.filter((sandbox) => !this.#lost.has(sandbox))
    for (const sandbox of sandboxes) {
      const { network } = sandbox.endpoints[0]!
      if (config.networks.some(({ name }) => name === network)) continue
      const message = `network "${network}" is gone, and container "${sandbox.name}" is on it`
      throw new StackError('bad-config', message)
    }
    return { ...config, sandboxes: [...config.sandboxes, ...sandboxes] }
  }

  /** @throws StackError; then nothing of it is there. */
  async add(request: AttachRequest): Promise<Attachment> {
    const key = keyOf(request)
    if (this.#held.has(key)) throw new StackError('exists', `${key} is attached already`)
    if (this.#held.size >= ATTACHMENTS_MAX) {
      throw new StackError('exhausted', `${ATTACHMENTS_MAX} interfaces are attached already`)
    }
    const { hasAddress } = this.#controller
    try {
      await this.#controller.amend((config, state) => {
        if (this.#held.has(key)) throw new StackError('exists', `${key} is attached already`)
        const sandbox = sandboxConfig(request, { config, state, hasAddress })
        this.#held.set(key, { request, sandbox })
        return { ...config, sandboxes: [...this.#living(config), sandbox] }
      })
    } catch (error) {
      const { request: holder } = this.#held.get(key) ?? {}
      if (holder === request) this.#held.delete(key)
      throw error
    }
    return this.#describe(this.#held.get(key)!, this.#controller.node.state)
  }

  /** False: it was not there. @throws StackError. */
  async remove(id: string, interfaceName: string): Promise<boolean> {
    const key = keyOf({ id, interfaceName })
    const held = this.#held.get(key)
    if (held === undefined) return false
    await this.#controller.amend((config) => {
      this.#held.delete(key)
      const { name } = held.sandbox
      return { ...config, sandboxes: this.#living(config).filter((one) => one.name !== name) }
    })
    this.#lost.delete(held.sandbox)
    return true
  }

  /** Remove those of `owner` but these, by {@link keyOf}; how many there were. @throws. */
  async collect(owner: string, valid: ReadonlySet<string>): Promise<number> {
    const stale = [...this.#held].filter(
      ([key, { request }]) => request.owner === owner && !valid.has(key),
    )
    for (const [, { request }] of stale) await this.remove(request.id, request.interfaceName)
    return stale.length
  }

  /**
   * What it lacks inside its container, in words. @throws StackError `not-found` if it is not
   * attached, or its namespace is gone.
   */
  faults(id: string, interfaceName: string): string[] {
    const held = this.#held.get(keyOf({ id, interfaceName }))
    if (held === undefined) throw new StackError('not-found', `no ${id}/${interfaceName}`)
    const { netns, network } = held.request
    const { state, context } = this.#controller.node
    const key = endpointKey({ sandbox: held.sandbox.name, network })
    const { addresses = [], routes = [] } = state.endpoints.get(key) ?? {}
    return faultsInside({ netns, interfaceName, addresses, routes }, context.links)
  }

  /** `network`: only those that are on it. */
  list(network?: string): Attachment[] {
    const { state } = this.#controller.node
    return [...this.#held.values()]
      .filter(({ request }) => network === undefined || request.network === network)
      .map((held) => this.#describe(held, state))
  }

  /** Sandboxes without attachments that were lost. */
  #living({ sandboxes }: Config): SandboxConfig[] {
    this.#noteLost()
    const names = new Set([...this.#lost].map(({ name }) => name))
    return sandboxes.filter(({ name }) => !names.has(name))
  }

  #noteLost(): void {
    const { lost } = this.#controller.node.state
    for (const { request, sandbox } of this.#held.values()) {
      if (lost.has(endpointKey({ sandbox: sandbox.name, network: request.network }))) {
        this.#lost.add(sandbox)
      }
    }
  }

  #describe({ request, sandbox }: Held, { endpoints, lost, networks }: State): Attachment {
    const { id, interfaceName, netns, network, owner } = request
    const key = endpointKey({ sandbox: sandbox.name, network })
    const endpoint: EndpointState | undefined = endpoints.get(key)
    const subnets = networks.get(network)?.subnets ?? []
    const gatewayOf = (address: Address): string => {
      const own = subnets.find(({ subnet }) => contains(subnet, address))
      return own === undefined ? '' : formatAddress(own.gateway)
    }
    const { mac, mtuBytes = 0, addresses = [], routes = [] } = endpoint ?? {}
    return {
      ...{ id, interfaceName, netns, network, owner },
      sandbox: sandbox.name,
      state: endpoint === undefined || lost.has(key) ? 'lost' : 'up',
      mac: mac === undefined ? '' : formatMac(mac),
      mtuBytes,
      addresses: addresses.map((prefix) => ({
        address: formatPrefix(prefix),
        gateway: gatewayOf(prefix.address),
      })),
      routes: routes.map(({ destination, via }) => ({
        to: formatPrefix(destination),
        via: formatAddress(via),
      })),
    }
  }
}

/** Of an attachment, among all. */
function keyOf(o: { readonly id: string; readonly interfaceName: string }): string {
  return `${o.id}/${o.interfaceName}`
}

/** @throws StackError that says what cannot be had. */
function sandboxConfig(
  request: AttachRequest,
  o: {
    readonly config: Config
    readonly state: State
    readonly hasAddress: Controller['hasAddress']
  },
): SandboxConfig {
  const { config, state, hasAddress } = o
  const network = config.networks.find(({ name }) => name === request.network)
  if (network === undefined) {
    throw new StackError('not-found', `no network "${request.network}"`)
  }
  if (network.driver !== 'bridge') {
    const message = `network "${network.name}" has driver "${network.driver}", which has no place`
    throw new StackError('bad-argument', `${message} for a container of another's`)
  }
  const addresses = request.addresses.map((text) => ownAddress(text, request.network, state))
  const of = (family: 4 | 6): Address | undefined => {
    const [first, second] = addresses.filter((address) => address.family === family)
    if (second === undefined) return first
    const message = `${request.addresses.join(', ')}: an interface has one IPv${family} address`
    throw new StackError('bad-argument', message)
  }
  const mac = request.mac === undefined ? undefined : freeMac(request.mac, request.network, state)
  const { mtuBytes } = request
  if (mtuBytes !== undefined) refuseMtu(mtuBytes, network)
  for (const alias of request.aliases) {
    const fault = nameFault(alias)
    if (fault !== undefined) throw new StackError('bad-argument', fault)
  }
  const ports = request.ports.map(parsePort)
  if (ports.length > 0 && config.uplink === undefined) {
    const [port] = request.ports
    const message = `port ${port} cannot be published: the daemon's file has no "uplink"`
    throw new StackError('bad-argument', `${message}, by which the host would lead to it`)
  }
  for (const port of ports) refuseUnfit(config, state, { port, network, hasAddress })
  return {
    name: sandboxName(request, config),
    netns: request.netns,
    endpoints: [
      {
        network: network.name,
        interfaceName: request.interfaceName,
        address4: of(4),
        address6: of(6),
        mac,
        aliases: request.aliases,
        options: { ...NO_ENDPOINT_OPTIONS, mtuBytes },
        policy: undefined,
        rate: { ingress: request.ingress, egress: request.egress },
      },
    ],
    ports,
  }
}

/** @throws StackError `bad-address` if it is not of the network. */
function ownAddress(text: string, network: string, state: State): Address {
  const address = text.includes('/') ? parsePrefix(text).address : parseAddress(text)
  const { subnets = [] } = state.networks.get(network) ?? {}
  if (subnets.some(({ subnet }) => contains(subnet, address))) return address
  const list = subnets.map(({ subnet }) => formatPrefix(subnet)).join(', ')
  throw new StackError('bad-address', `${text} is not of network "${network}" (${list})`)
}

/** @throws StackError `bad-argument`, `bad-address`, `exists` if another one there has it. */
function freeMac(text: string, network: string, { endpoints, lost }: State): Mac {
  const mac = parseMac(text)
  if (isGroupMac(mac)) throw new StackError('bad-argument', `${text} is a group address`)
  for (const [key, { mac: other, network: where, sandbox }] of endpoints) {
    if (where !== network || other === undefined || !sameMac(mac, other) || lost.has(key)) continue
    throw new StackError('exists', `${text} is taken by sandbox "${sandbox}" on this network`)
  }
  return mac
}

/** @throws StackError `bad-argument`. */
function refuseMtu(bytes: number, { name, ipv6, options }: NetworkConfig): void {
  if (bytes > options.mtuBytes) {
    throw new StackError('bad-argument', `MTU ${bytes}: network "${name}" has ${options.mtuBytes}`)
  }
  if (ipv6 && bytes < MTU6_MIN_BYTES) {
    throw new StackError('bad-argument', `MTU ${bytes}: IPv6 needs ${MTU6_MIN_BYTES} or more`)
  }
}

/** A name like its ID, which no other sandbox has. */
function sandboxName({ id, interfaceName }: AttachRequest, { sandboxes }: Config): string {
  const plain = id.replace(/[^a-z0-9-]/gi, '-').slice(0, /^[\da-f]{64}$/.test(id) ? 12 : NAME_MAX)
  const base = plain.replace(/^-+|-+$/g, '') || 'container'
  const link = interfaceName.replace(/[^a-z0-9-]/gi, '-').replace(/^-+|-+$/g, '')
  const taken = new Set(sandboxes.map(({ name }) => name))
  for (const name of [base, `${base}-${link}`]) if (!taken.has(name)) return name
  for (let i = 2; ; i++) if (!taken.has(`${base}-${i}`)) return `${base}-${i}`
}
