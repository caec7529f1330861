/**
 * From Docker's record to a configuration of the node.
 *
 * ```text
 *   network   -> network of driver bridge, named by the first 12 digits of its ID
 *   endpoint  -> sandbox with one interface, named alike; there while it is joined
 *   ports     -> published ports of that sandbox
 * ```
 *
 * An endpoint is a sandbox of its own, not one of its container's: Docker publishes ports by
 * endpoint, and moves and names interfaces itself.
 *
 * Entries go through the parser of configuration files, which checks them and explains what is
 * wrong; what it made of an entry is kept as long as the entry is.
 */
import { StackError } from '../../stack/errors.ts'
import type { Config, NetworkConfig, SandboxConfig } from '../config/model.ts'
import { SEPARATE } from '../config/options.ts'
import { parseValues } from '../config/parse.ts'
import { netnsFault } from '../config/schema.ts'
import { type PortConfig, parsePort } from '../ports.ts'
import { type DockerRecord, type EndpointRecord, joined, type NetworkRecord } from './record.ts'

const SHORT_DIGITS = 12
/** Of names of TAPs until Docker has moved them: 14 characters with the ID. */
const LINK_PREFIX = 'tl'

/** Stands for the namespace of an endpoint that is not joined yet. */
const NOWHERE = '/proc/self/ns/net'

/** Name of a network or sandbox: as Docker shortens IDs. */
export function shortId(id: string): string {
  return id.slice(0, SHORT_DIGITS)
}

/** Name of an endpoint's TAP in Docker's namespace. */
export function linkName(endpoint: string): string {
  return `${LINK_PREFIX}${shortId(endpoint)}`
}

export function isLinkName(name: string): boolean {
  return /^tl[\da-f]{12}$/.test(name)
}

export interface DesiredOptions {
  /** Of the daemon. */
  readonly name: string
  /** How the networks reach the outside. */
  readonly uplink: 'host' | 'none'
}

export class Desired {
  readonly #name: string
  readonly #uplink: object
  readonly #networks = new WeakMap<NetworkRecord, NetworkConfig>()
  /** By the options of an endpoint, which its records share while it joins and publishes. */
  readonly #parsed = new WeakMap<EndpointRecord['options'], SandboxConfig>()
  readonly #sandboxes = new WeakMap<EndpointRecord, SandboxConfig>()
  readonly #base: Config

  constructor({ name, uplink }: DesiredOptions) {
    this.#name = name
    this.#uplink = uplink === 'host' ? { uplink: 'host' } : {}
    this.#base = this.#parse({}, {})
  }

  /** All of a record. @throws StackError `bad-config` with every fault. */
  config(record: DockerRecord): Config {
    const networks = this.#all(record)
    const sandboxes = joined(record).map((endpoint) => this.#sandbox(endpoint, record))
    return { ...this.#base, networks, sandboxes }
  }

  /** One network, on its own. @throws StackError `bad-config`. */
  check(record: DockerRecord): void {
    this.#all(record)
  }

  /** An endpoint, whether it is joined or not. @throws StackError `bad-config`. */
  checkEndpoint(endpoint: EndpointRecord, record: DockerRecord): void {
    this.#parseEndpoint(endpoint, record)
  }

  /** Networks are parsed together, as they must fit together, and only when there is a new one. */
  #all(record: DockerRecord): NetworkConfig[] {
    const records = [...record.networks.values()]
    const known = records.map((one) => this.#networks.get(one))
    if (known.every((one) => one !== undefined)) return known
    const entries = records.map((one) => [shortId(one.id), networkEntry(one)])
    const { networks } = this.#parse(Object.fromEntries(entries), {})
    // Docker sets the routes itself, and fails where an advertisement was faster.
    const silent = networks.map((one) => ({ ...one, advertise: false }))
    for (const [i, one] of records.entries()) this.#networks.set(one, silent[i]!)
    return silent
  }

  #sandbox(endpoint: EndpointRecord, record: DockerRecord): SandboxConfig {
    const known = this.#sandboxes.get(endpoint)
    if (known !== undefined) return known
    const netns = endpoint.sandboxKey!
    const fault = netnsFault(netns)
    if (fault !== undefined) throw new StackError('bad-config', fault)
    const sandbox: SandboxConfig = {
      ...this.#parseEndpoint(endpoint, record),
      netns,
      ports: endpoint.ports.map((written): PortConfig => parsePort(written)),
    }
    this.#sandboxes.set(endpoint, sandbox)
    return sandbox
  }

  /** Nowhere yet, and without ports: what stays, and takes longest, is done once in its life. */
  #parseEndpoint(endpoint: EndpointRecord, record: DockerRecord): SandboxConfig {
    const known = this.#parsed.get(endpoint.options)
    if (known !== undefined) return known
    const network = record.networks.get(endpoint.network)!
    const name = shortId(endpoint.id)
    const { sandboxes } = this.#parse(
      { [shortId(network.id)]: networkEntry(network) },
      { [name]: sandboxEntry(endpoint) },
    )
    const [made] = sandboxes
    const handOver = linkName(endpoint.id)
    const endpoints = made!.endpoints.map((one) => ({ ...one, handOver }))
    const parsed: SandboxConfig = { ...made!, endpoints }
    this.#parsed.set(endpoint.options, parsed)
    return parsed
  }

  #parse(networks: object, sandboxes: object): Config {
    const file = { name: this.#name, ...this.#uplink, networks, sandboxes }
    return parseValues(file, this.#name)
  }
}

function networkEntry({ internal, subnets, options }: NetworkRecord): object {
  const has = (six: boolean): boolean => subnets.some((one) => one.subnet.includes(':') === six)
  return {
    driver: 'bridge',
    internal,
    enable_ipv4: has(false),
    enable_ipv6: has(true),
    // As Docker's own networks are.
    driver_opts: { [SEPARATE]: 'true', ...options },
    ipam: {
      config: subnets.map(({ subnet, gateway, auxiliary }) => ({
        subnet,
        gateway,
        aux_addresses: auxiliary,
      })),
    },
  }
}

function sandboxEntry(endpoint: EndpointRecord): object {
  const { address4, address6, mac, options } = endpoint
  return {
    netns: NOWHERE,
    networks: {
      [shortId(endpoint.network)]: {
        ipv4_address: address4,
        ipv6_address: address6,
        mac_address: mac,
        driver_opts: options,
      },
    },
  }
}
