/**
 * From the plain values of a configuration to its entries: networks first, as sandboxes and
 * services refer to them, then the checks of how all of it fits together (check.ts). Faults are
 * collected, each with the path of what is wrong.
 */
import { check } from './check.ts'
import { parseAnnounce, parseDhcp } from './dhcp.ts'
import { parseDns, parseNetworkDns, parseSandboxDns } from './dns.ts'
import type { NetworkDns, SandboxDns } from './dns_model.ts'
import { describe } from './explain.ts'
import type { Faults, Path } from './faults.ts'
import { impliedNetwork } from './implied.ts'
import type { Located } from './located.ts'
import { macvlanOptions } from './macvlan_options.ts'
import type {
  Config,
  EndpointConfig,
  NetworkConfig,
  SandboxConfig,
  ServiceConfig,
  SubnetConfig,
} from './model.ts'
import { endpointOptions, networkOptions } from './options.ts'
import { NO_ENDPOINT_OPTIONS } from './options_model.ts'
import { parsePorts, parseUplink } from './outside.ts'
import { defaultMtuBytes, isEncrypted, parseNode, parseOverlay } from './overlay.ts'
import type { NodeConfig } from './overlay_model.ts'
import { parsePolicy, parseRates } from './policy.ts'
import { parseRoutes } from './routes.ts'
import {
  type EndpointEntry,
  endpointSchema,
  fileKeyFault,
  fileName,
  nameFault,
  networkSchema,
  parseEntry,
  type SandboxEntry,
  type SubnetEntry,
  sandboxSchema,
} from './schema.ts'
import { type Note, parseService } from './services.ts'
import { parseTracking } from './tracking.ts'

/** The file's own mapping, its values not looked at yet. */
export interface Root {
  readonly name?: unknown
  readonly networks?: unknown
  readonly sandboxes?: unknown
  readonly routes?: unknown
  readonly uplink?: unknown
  readonly services?: unknown
  readonly conntrack?: unknown
  readonly nat?: unknown
  readonly node?: unknown
  readonly dns?: unknown
}

/** Reads the entries of one file, once. */
export class Reader {
  readonly #root: Root
  readonly #faults: Faults
  /** For parsers of parts: where faults are told, and where each part was written. */
  readonly #notes: Note
  /** Where each part of the configuration was written. */
  readonly #paths = new Map<object, Path>()
  readonly #networks = new Map<string, NetworkConfig>()
  /** Networks whose entry has faults: referring to them is not one more. */
  readonly #broken = new Set<string>()
  #node: NodeConfig | undefined = undefined
  readonly #networkDns: NetworkDns[] = []
  readonly #sandboxDns: SandboxDns[] = []

  constructor(root: Root, faults: Faults) {
    this.#root = root
    this.#faults = faults
    this.#notes = { faults, note: (part, path) => this.#paths.set(part, path) }
  }

  read(): Config {
    for (const key of Object.keys(this.#root)) {
      const fault = fileKeyFault(key)
      if (fault !== undefined) this.#faults.atKey([key], fault)
    }
    const name = this.#name()
    this.#node = parseNode(this.#root.node, this.#faults)
    for (const [key, value] of this.#entries('networks')) this.#network(key, value)
    const sandboxes = [...this.#entries('sandboxes')].map(([key, v]) => this.#sandbox(key, v))
    const services = [...this.#entries('services')].map(([key, v]) => this.#service(key, v))
    const config: Config = {
      name,
      networks: [...this.#networks.values()],
      sandboxes: sandboxes.filter((sandbox) => sandbox !== undefined),
      routes: parseRoutes(this.#root.routes, this.#faults, (route, path) =>
        this.#paths.set(route, path),
      ),
      uplink: parseUplink(this.#root.uplink, name, this.#faults),
      services: services.filter((service) => service !== undefined),
      tracking: parseTracking(this.#root, this.#faults),
      node: this.#node,
      dns: parseDns(
        this.#root.dns,
        { networks: this.#networkDns, sandboxes: this.#sandboxDns },
        this.#faults,
      ),
    }
    const located: Located = {
      config,
      broken: this.#broken,
      path: (part) => this.#paths.get(part) ?? [],
      faults: this.#faults,
    }
    check(located)
    return config
  }

  #name(): string {
    const value = this.#root.name
    if (value === undefined) {
      this.#faults.at([], '"name" is missing; it names the daemon and its socket')
      return ''
    }
    return parseEntry(fileName, value, ['name'], this.#faults) ?? ''
  }

  /** Named entries of a top-level mapping. */
  *#entries(key: 'networks' | 'sandboxes' | 'services'): Iterable<[string, unknown]> {
    const value = this.#root[key]
    if (value === undefined || value === null) return
    if (typeof value !== 'object' || Array.isArray(value)) {
      this.#faults.at([key], `expected a mapping from names to ${key}, got ${describe(value)}`)
      return
    }
    for (const [name, entry] of Object.entries(value)) {
      const fault = nameFault(name)
      if (fault !== undefined) this.#faults.atKey([key, name], fault)
      yield [name, entry]
    }
  }

  #network(name: string, value: unknown): void {
    const path: Path = ['networks', name]
    const before = this.#faults.list.length
    const entry = parseEntry(networkSchema, value, path, this.#faults)
    this.#broken.add(name)
    if (entry === undefined) return
    const driver = entry.driver ?? 'bridge'
    const ipv6 = entry.enable_ipv6 ?? false
    const values = entry.driver_opts ?? {}
    const source = { values, path: [...path, 'driver_opts'], faults: this.#faults }
    const network: NetworkConfig = {
      name,
      driver,
      ipv4: entry.enable_ipv4 ?? true,
      ipv6,
      internal: entry.internal ?? false,
      subnets: (entry.ipam?.config ?? []).map((subnet, i) =>
        this.#subnet(subnet, [...path, 'ipam', 'config', i]),
      ),
      options: (driver === 'macvlan' ? macvlanOptions : networkOptions)(source, {
        driver,
        ipv6,
        internal: entry.internal ?? false,
        leased: entry.ipam?.driver === 'dhcp',
        mtuBytes: defaultMtuBytes(driver, this.#node, isEncrypted(values)),
      }),
      policy: parsePolicy(entry.policy, [...path, 'policy'], this.#notes),
      dhcp: parseDhcp(source, driver),
      announce: parseAnnounce(source, driver),
      overlay: parseOverlay({
        entry,
        driver,
        path,
        node: this.#node,
        hasNode: this.#root.node !== undefined,
        notes: this.#notes,
      }),
    }
    const dns = parseNetworkDns(name, entry.dns, [...path, 'dns'], this.#faults)
    if (dns !== undefined) this.#networkDns.push(dns)
    this.#paths.set(network, path)
    this.#networks.set(name, network)
    if (this.#faults.list.length === before) this.#broken.delete(name)
  }

  #subnet(entry: SubnetEntry, path: Path): SubnetConfig {
    const subnet: SubnetConfig = {
      subnet: entry.subnet,
      gateway: entry.gateway,
      range: entry.ip_range,
      auxiliary: Object.entries(entry.aux_addresses ?? {}).map(([name, address]) => {
        const auxiliary = { name, address }
        this.#paths.set(auxiliary, [...path, 'aux_addresses', name])
        return auxiliary
      }),
    }
    this.#paths.set(subnet, path)
    return subnet
  }

  #sandbox(name: string, value: unknown): SandboxConfig | undefined {
    const path: Path = ['sandboxes', name]
    const entry = parseEntry(sandboxSchema, value, path, this.#faults)
    if (entry === undefined) return undefined
    const sandbox: SandboxConfig = {
      name,
      netns: entry.netns ?? name,
      endpoints: this.#endpoints(entry, path),
      ports: parsePorts(entry.ports, [...path, 'ports'], this.#faults, (port, at) =>
        this.#paths.set(port, at),
      ),
    }
    const dns = parseSandboxDns(name, entry, path, this.#faults)
    if (dns !== undefined) this.#sandboxDns.push(dns)
    this.#paths.set(sandbox, path)
    return sandbox
  }

  #service(name: string, value: unknown): ServiceConfig | undefined {
    return parseService(name, value, ['services', name], this.#notes)
  }

  #endpoints(entry: SandboxEntry, path: Path): EndpointConfig[] {
    const { networks, network_mode: mode } = entry
    if (mode !== undefined) {
      if (networks !== undefined) {
        const message = 'a sandbox has "networks" or "network_mode", not both'
        this.#faults.atKey([...path, 'network_mode'], message)
      }
      return this.#mode(mode, [...path, 'network_mode'])
    }
    if (networks === undefined || networks === null) return []
    const at: Path = [...path, 'networks']
    if (typeof networks !== 'object') {
      this.#faults.at(at, `expected a list or a mapping of networks, got ${describe(networks)}`)
      return []
    }
    const names: [string, unknown, string | number][] = Array.isArray(networks)
      ? networks.map((network, i) => [network as string, undefined, i])
      : Object.entries(networks).map(([network, value]) => [network, value, network])
    const endpoints: EndpointConfig[] = []
    for (const [index, [network, value, step]] of names.entries()) {
      if (typeof network !== 'string') {
        this.#faults.at([...at, step], `expected the name of a network, got ${describe(network)}`)
        continue
      }
      const options = parseEntry(endpointSchema, value, [...at, step], this.#faults)
      if (options === undefined) continue
      endpoints.push(this.#endpoint({ network, index, entry: options, path: [...at, step] }))
    }
    return endpoints
  }

  #endpoint(o: {
    network: string
    index: number
    entry: EndpointEntry
    path: Path
  }): EndpointConfig {
    const { entry } = o
    const network = this.#networks.get(o.network)
    const path: Path = [...o.path, 'driver_opts']
    const values = entry.driver_opts ?? {}
    const endpoint: EndpointConfig = {
      network: o.network,
      interfaceName: entry.interface_name ?? `eth${o.index}`,
      address4: entry.ipv4_address,
      address6: entry.ipv6_address,
      mac: entry.mac_address,
      aliases: entry.aliases ?? [],
      options:
        network === undefined
          ? NO_ENDPOINT_OPTIONS
          : endpointOptions({ values, path, faults: this.#faults }, network),
      policy: parsePolicy(entry.policy, [...o.path, 'policy'], this.#notes),
      rate: parseRates(entry.rate, [...o.path, 'rate'], this.#faults),
    }
    this.#paths.set(endpoint, o.path)
    return endpoint
  }

  /** `network_mode` as Compose has it, on networks that need no entry of their own. */
  #mode(mode: string, path: Path): EndpointConfig[] {
    const network = impliedNetwork(mode)
    if (network === undefined) {
      const message = `"${mode}" is not a network mode: host, none or container:NAME`
      this.#faults.at(path, message)
      return []
    }
    const known = this.#networks.get(network.name)
    if (known !== undefined && this.#paths.get(known)?.[0] === 'networks') return []
    if (known === undefined) {
      this.#networks.set(network.name, network)
      this.#paths.set(network, path)
    }
    const entry: EndpointEntry = {}
    return [this.#endpoint({ network: network.name, index: 0, entry, path })]
  }
}
