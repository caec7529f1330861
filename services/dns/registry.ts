/**
 * Who is called what, kept up with the node step by step: networks, the sandboxes on them,
 * services, published ports, and endpoints on other nodes.
 *
 * ```text
 *   network front ── names: web1, alias www, service web, tasks.web, db of node n2
 *   sandbox web1  ── scope: [front, back]
 * ```
 *
 * Endpoints of other nodes come from whatever knows them ({@link Registry.setRemote}; see
 * ../overlay/peer_source.ts) and go only when that says so: while it is out of reach, its names
 * stay.
 */
import { type Address, contains, type Prefix } from '../../stack/address.ts'
import { formatMac, type Mac } from '../../stack/eth/mac.ts'
import { readAlias } from '../config/alias.ts'
import { DEFAULT_DNS, type DnsConfig } from '../config/dns_model.ts'
import type { EndpointRecord } from '../overlay/peer_source.ts'
import { PORT_PROTOCOLS } from '../ports.ts'
import {
  type EndpointState,
  endpointKey,
  type NetworkState,
  type PortState,
  type ServiceState,
} from '../state.ts'
import { join, type Name, parseName } from './name.ts'
import { type Member, type NamedPort, NetworkNames, type Source, within } from './names.ts'
import { NO_SETTINGS, Scope } from './scope.ts'

const TASKS = parseName('tasks')

/** Is this address of a backend to be given out? */
export type IsReady = (service: string, sandbox: string, address: Address) => boolean

/** A source under its names, to be taken back. */
interface Held {
  readonly network: string
  readonly names: readonly Name[]
  readonly source: Source
}

export class Registry {
  readonly networks: Map<string, NetworkNames> = new Map()
  /** By sandbox. */
  readonly scopes: Map<string, Scope> = new Map()
  /** How often names, who sees them, or settings became others. */
  changes = 0
  readonly #isReady: IsReady
  readonly #prefixes = new Map<string, readonly Prefix[]>()
  readonly #held = new Map<string, readonly Held[]>()
  /** Of sandboxes; sources of all their networks share the list. */
  readonly #ports = new Map<string, NamedPort[]>()
  #config: DnsConfig = DEFAULT_DNS

  constructor(isReady: IsReady) {
    this.#isReady = isReady
  }

  configure(config: DnsConfig): void {
    this.changes++
    this.#config = config
    for (const scope of this.scopes.values()) this.#configure(scope)
  }

  addNetwork({ name, driver, internal, subnets }: NetworkState): void {
    this.changes++
    if (driver === 'host' || driver === 'null' || driver === 'container') return
    this.networks.set(name, new NetworkNames(name, parseName(name), internal))
    const prefixes = subnets.map(({ subnet }) => subnet)
    this.#prefixes.set(name, prefixes)
    // An overlay network hears of other nodes as soon as it is made.
    for (const held of [...this.#held.values()].flat()) {
      if (held.network === name) this.networks.get(name)!.add(held.names, held.source)
    }
  }

  removeNetwork(name: string): void {
    this.changes++
    this.networks.delete(name)
    this.#prefixes.delete(name)
    for (const key of [...this.#held.keys()]) {
      if (key.startsWith(`remote ${name} `)) this.#held.delete(key)
    }
  }

  /** Is it an address of some network of this node? */
  isInside(address: Address): boolean {
    for (const prefixes of this.#prefixes.values()) {
      if (prefixes.some((prefix) => contains(prefix, address))) return true
    }
    return false
  }

  scope(sandbox: string): Scope {
    const known = this.scopes.get(sandbox)
    if (known !== undefined) return known
    const scope = new Scope(sandbox, this.#config.queriesPerS)
    this.scopes.set(sandbox, scope)
    this.#configure(scope)
    return scope
  }

  forget(sandbox: string): void {
    this.changes++
    this.scopes.delete(sandbox)
    this.#ports.delete(sandbox)
  }

  /** An endpoint came, or has other names. */
  setEndpoint(endpoint: EndpointState): void {
    const { sandbox, network, addresses, aliases } = endpoint
    const names = this.networks.get(network)
    if (names === undefined) return
    const own = parseName(sandbox)
    const source: Source = {
      kind: 'sandbox',
      isVirtual: false,
      members: [
        {
          target: within(own, names.suffix),
          addresses: addresses.map(({ address }) => address),
          weight: 1,
        },
      ],
      ports: this.#portsOf(sandbox),
      texts: [`sandbox=${sandbox}`, `network=${network}`],
    }
    const all = unique([own, ...aliases.map(parseName)])
    this.#hold(`endpoint ${endpointKey(endpoint)}`, [{ network, names: all, source }])
    const { networks } = this.scope(sandbox)
    if (!networks.includes(names)) networks.push(names)
  }

  removeEndpoint(endpoint: EndpointState): void {
    this.#release(`endpoint ${endpointKey(endpoint)}`)
    const names = this.networks.get(endpoint.network)
    const networks = this.scopes.get(endpoint.sandbox)?.networks
    const at = names === undefined ? -1 : (networks?.indexOf(names) ?? -1)
    if (at >= 0) networks!.splice(at, 1)
  }

  /** A service came, or changed. */
  setService(service: ServiceState): void {
    const { name, network, mode, vips, backends, scheduler } = service
    const names = this.networks.get(network)
    if (names === undefined) return
    const own = parseName(name)
    const target = within(own, names.suffix)
    const tasks = backends.map((backend): Member => {
      const { sandbox, addresses, weight } = backend
      const isReady = (address: Address): boolean => this.#isReady(name, sandbox, address)
      const member = { target: within(parseName(sandbox), names.suffix), addresses, weight }
      return service.answers === 'ready' ? { ...member, isReady } : member
    })
    const ports = service.ports.map(
      ({ protocol, target: port, count, name }): NamedPort => ({ protocol, port, count, name }),
    )
    const texts = [`service=${name}`, `network=${network}`, `mode=${mode}`]
    if (mode === 'vip') texts.push(`scheduler=${scheduler}`)
    const isVirtual = mode === 'vip'
    const given = tasks.filter(({ weight }) => weight > 0)
    const members: Member[] = isVirtual ? [{ target, addresses: vips, weight: 1 }] : given
    const front: Source = { kind: 'service', isVirtual, members, ports, texts }
    const behind: Source = { kind: 'tasks', isVirtual: false, members: tasks, ports, texts }
    this.#hold(`service ${name}`, [
      { network, names: unique([own, ...service.aliases.map(parseName)]), source: front },
      { network, names: [join(TASKS, own) ?? own], source: behind },
    ])
  }

  removeService(name: string): void {
    this.#release(`service ${name}`)
  }

  publish({ sandbox, key, port }: PortState): void {
    this.changes++
    const ports = this.#portsOf(sandbox)
    const { targetPort, count, protocol, name } = port
    ports.push({ port: targetPort, count, protocol: PORT_PROTOCOLS[protocol], name, key } as Keyed)
  }

  unpublish({ sandbox, key }: PortState): void {
    this.changes++
    const ports = this.#portsOf(sandbox)
    const at = ports.findIndex((port) => (port as Keyed).key === key)
    if (at >= 0) ports.splice(at, 1)
  }

  /** An endpoint on another node came, moved, or has other names. */
  setRemote(network: string, record: EndpointRecord): void {
    const { name, aliases, addresses, node, mac } = record
    const [own, ...others] = [name, ...aliases].flatMap(nameOfOther)
    if (own === undefined) return this.removeRemote(network, mac)
    const source: Source = {
      kind: 'remote',
      isVirtual: false,
      members: [{ target: within(own, parseName(network)), addresses, weight: 1 }],
      ports: [],
      texts: [`sandbox=${name}`, `network=${network}`, `node=${node}`],
    }
    const all = unique([own, ...others])
    this.#hold(remoteKey(network, mac), [{ network, names: all, source }])
  }

  removeRemote(network: string, mac: Mac): void {
    this.#release(remoteKey(network, mac))
  }

  #configure(scope: Scope): void {
    this.changes++
    const { queriesPerS, sandboxes } = this.#config
    scope.setRate(queriesPerS)
    scope.configure(sandboxes.find(({ sandbox }) => sandbox === scope.sandbox) ?? NO_SETTINGS)
  }

  #portsOf(sandbox: string): NamedPort[] {
    const ports = this.#ports.get(sandbox) ?? []
    this.#ports.set(sandbox, ports)
    return ports
  }

  #hold(key: string, held: readonly Held[]): void {
    this.#release(key)
    this.#held.set(key, held)
    for (const { network, names, source } of held) this.networks.get(network)?.add(names, source)
  }

  #release(key: string): void {
    this.changes++
    for (const { network, names, source } of this.#held.get(key) ?? []) {
      this.networks.get(network)?.remove(names, source)
    }
    this.#held.delete(key)
  }
}

interface Keyed extends NamedPort {
  /** Of the published port. */
  readonly key: string
}

/** A name that another node told: it may be anything. None if it is no name of a host. */
function nameOfOther(written: string): Name[] {
  try {
    return [parseName(readAlias(written))]
  } catch {
    return []
  }
}

function remoteKey(network: string, mac: Mac): string {
  return `remote ${network} ${formatMac(mac)}`
}

function unique(names: readonly Name[]): readonly Name[] {
  return [...new Set(names)]
}
