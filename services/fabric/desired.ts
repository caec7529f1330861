/**
 * What a fabric should be, as a configuration file would say it: options of the library become
 * entries of the file format, so that one parser checks both and one page describes both.
 */
import { StackError } from '../../stack/errors.ts'
import { checkOptions, ENDPOINT, NETWORK, ROUTE, SANDBOX } from './options.ts'

export interface SubnetOptions {
  /** `10.1.0.0/24`, `fd00:1::/64`. */
  readonly subnet: string
  /** Left out: the first address. */
  readonly gateway?: string
  /** Where automatic addresses come from; left out: all of the subnet. */
  readonly range?: string
}

export interface NetworkOptions {
  /** `10.1.0.0/24`, `fd00:1::/64`; left out: one of the default pools. */
  readonly subnets?: readonly (string | SubnetOptions)[]
  /** IPv6 as well; true by itself if a subnet is IPv6. */
  readonly ipv6?: boolean
  /** Octets of a packet, 68 to 65521; 1280 and more with IPv6. Default 1500. */
  readonly mtu?: number
  /** Not routed to or from other networks. */
  readonly internal?: boolean
  /** Sandboxes reach the gateway only, not each other. */
  readonly isolated?: boolean
  /** Nothing is routed between it and other separate networks. */
  readonly separate?: boolean
  /** Answer ARP and neighbor solicitations for sandboxes instead of flooding. Default true. */
  readonly arpProxy?: boolean
  /** False: sandboxes may send from any MAC. */
  readonly macGuard?: boolean
  /** IGMP and MLD snooping with a querier. Default false. */
  readonly snooping?: boolean
  /** Endpoints are in VLANs, as their `vlan` says. Default false. */
  readonly vlanFiltering?: boolean
  /** Seconds after which the bridge forgets a station that it learned. Default 300. */
  readonly fdbAgeing?: number
  /** Super-frames and partial checksums. Default true. */
  readonly offload?: boolean
  /** Of all its endpoints, after their own. */
  readonly policy?: PolicyOptions
}

/** See the page on policy; names and values are the file's. */
export interface PolicyOptions {
  /** Of what endpoints are sent: the first rule that fits decides. */
  readonly ingress?: readonly IngressRule[]
  /** Of what endpoints send. */
  readonly egress?: readonly EgressRule[]
  readonly default_ingress?: 'allow' | 'deny'
  readonly default_egress?: 'allow' | 'deny'
}

interface RuleOptions {
  readonly action: 'allow' | 'deny'
  readonly protocol?: 'any' | 'tcp' | 'udp' | 'icmp' | 'sctp'
  /** Of the destination: `80`, `"8000-8010"`. */
  readonly ports?: number | string | readonly (number | string)[]
}

export interface IngressRule extends RuleOptions {
  /** Prefixes, addresses, or names of networks. */
  readonly from?: string | readonly string[]
}

export interface EgressRule extends RuleOptions {
  /** As `from`. */
  readonly to?: string | readonly string[]
}

export interface RateOptions {
  /** As a number, or such as `10mbit`. */
  readonly bits_per_s?: number | string
  readonly packets_per_s?: number
  /** A duration such as `250ms`. */
  readonly burst?: string
}

/** Of a sandbox in one network. */
export interface EndpointOptions {
  /** Left out: the lowest free one of the subnet. */
  readonly ipv4?: string
  /** As {@link ipv4}. */
  readonly ipv6?: string
  /** Left out: made of the address. */
  readonly mac?: string
  /** Further names in this network; `*.wild` stands for all below `wild`. */
  readonly aliases?: readonly string[]
  /** At most 15 characters. Default `eth0`, `eth1`, ... in the order of joining. */
  readonly interfaceName?: string
  /** Octets of a packet, at most the network's, which is the default. */
  readonly mtu?: number
  /** Does not reach others that are isolated in this network. */
  readonly isolated?: boolean
  /** Frames never pass between endpoints with one number here. */
  readonly splitHorizon?: number
  /** VLANs of a network with `vlanFiltering`: its own, and those it has with tags. */
  readonly vlan?: { readonly pvid?: number; readonly tagged?: readonly number[] }
  /** Frames a second. */
  readonly storm?: {
    readonly broadcast?: number
    readonly multicast?: number
    readonly unknown?: number
  }
  /** Its own, asked before its network's. */
  readonly policy?: PolicyOptions
  /** What it may send (`egress`) and be sent (`ingress`). */
  readonly rate?: { readonly ingress?: RateOptions; readonly egress?: RateOptions }
}

export interface SandboxOptions {
  /** Networks by name, in the order of interfaces: a list, or with options for each. */
  readonly networks?: readonly string[] | Readonly<Record<string, EndpointOptions>>
}

/** One name and address for several sandboxes; see the page on the balancer. */
export interface ServiceOptions {
  readonly network: string
  /** `80`, `"53/udp"`, ranges: where it is asked, as the file has it. Needed unless `dnsrr`. */
  readonly ports?: readonly (number | string)[]
  /** Sandboxes; with weights where they are not alike. */
  readonly backends: readonly string[] | Readonly<Record<string, { readonly weight?: number }>>
  /** Of each family at most one; left out: the lowest free. */
  readonly vip?: string | readonly string[]
  /** `dnsrr`: its name leads to the backends, and there is no virtual address. */
  readonly mode?: 'vip' | 'dnsrr'
  /** Default `maglev`. */
  readonly scheduler?: 'maglev' | 'rr' | 'wrr' | 'least_conn' | 'source_hash'
  /** Left out: nobody is asked. */
  readonly healthcheck?: HealthcheckOptions
  /** `client_ip`: a client keeps its backend. Default `none`. */
  readonly affinity?: 'none' | 'client_ip'
  readonly aliases?: readonly string[]
}

/** Names and values are the file's; durations such as `500ms`. */
export interface HealthcheckOptions {
  readonly type?: 'tcp' | 'http' | 'icmp' | 'udp' | 'dns'
  readonly port?: number
  readonly path?: string
  /** Between checks, 100 ms and more. Default `2s`. */
  readonly interval?: string
  /** At most `interval`. Default `1s`. */
  readonly timeout?: string
  /** Failures in a row that put a backend out. Default 3. */
  readonly retries?: number
  /** Successes in a row that bring it back. Default 1. */
  readonly rise?: number
  /** How long it then takes to get its whole share. Default none. */
  readonly slow_start?: string
}

export interface RouteOptions {
  /** Next hop, in one of the networks; left out: what goes there is discarded. */
  readonly via?: string
}

type Entry = Record<string, unknown>

export interface Desired {
  readonly name: string
  readonly networks: Readonly<Record<string, Entry>>
  readonly sandboxes: Readonly<Record<string, Entry>>
  readonly services: Readonly<Record<string, Entry>>
  readonly routes: readonly Entry[]
}

const NOUNS = { networks: 'network', sandboxes: 'sandbox', services: 'service' } as const
export type Kind = keyof typeof NOUNS

/** With one entry more. @throws StackError `exists`. */
export function added(desired: Desired, kind: Kind, name: string, entry: Entry): Desired {
  if (Object.hasOwn(desired[kind], name)) {
    throw new StackError('exists', `there is a ${NOUNS[kind]} ${name} already`)
  }
  return { ...desired, [kind]: { ...desired[kind], [name]: entry } }
}

export function removed(desired: Desired, kind: Kind, name: string): Desired {
  return { ...desired, [kind]: without(desired[kind], name) }
}

/** With a sandbox on one network more. @throws StackError `not-found`, `exists`, `bad-argument`. */
export function joined(
  desired: Desired,
  { sandbox, network }: { readonly sandbox: string; readonly network: string },
  options: EndpointOptions,
): Desired {
  const networks = networksOf(desired, sandbox)
  if (Object.hasOwn(networks, network)) {
    throw new StackError('exists', `${sandbox} has an interface in ${network} already`)
  }
  const entry = endpointEntry(sandbox, network, options)
  return withNetworks(desired, sandbox, { ...networks, [network]: entry })
}

/** With a sandbox on one network less. @throws StackError `not-found`. */
export function left(desired: Desired, sandbox: string, network: string): Desired {
  const networks = networksOf(desired, sandbox)
  if (Object.hasOwn(networks, network)) {
    return withNetworks(desired, sandbox, without(networks, network))
  }
  throw new StackError('not-found', `${sandbox} has no interface in ${network}`)
}

function networksOf({ sandboxes }: Desired, sandbox: string): Entry {
  const entry = sandboxes[sandbox]
  if (entry === undefined) throw new StackError('not-found', `no sandbox ${sandbox}`)
  return entry['networks'] as Entry
}

function withNetworks(desired: Desired, sandbox: string, networks: Entry): Desired {
  const entry = { ...desired.sandboxes[sandbox], networks }
  return { ...desired, sandboxes: { ...desired.sandboxes, [sandbox]: entry } }
}

function without<T>(entries: Readonly<Record<string, T>>, name: string): Record<string, T> {
  return Object.fromEntries(Object.entries(entries).filter(([key]) => key !== name))
}

export function networkEntry(name: string, options: NetworkOptions): Entry {
  checkOptions(`options of network "${name}"`, NETWORK, options)
  const config = options.subnets?.map((each) => {
    if (typeof each === 'string') return { subnet: each }
    const { subnet, gateway, range } = each
    return clean({ subnet, gateway, ip_range: range })
  })
  const six = config?.some(({ subnet }) => String(subnet).includes(':'))
  return clean({
    enable_ipv6: options.ipv6 ?? six,
    internal: options.internal,
    policy: options.policy,
    ipam: config === undefined ? undefined : { config },
    driver_opts: strings({
      'com.docker.network.driver.mtu': options.mtu,
      'com.docker.network.bridge.enable_icc': options.isolated === true ? false : undefined,
      'tapline.separate': options.separate,
      'tapline.arp_proxy': options.arpProxy,
      'tapline.mac_guard': options.macGuard,
      'tapline.igmp_snooping': options.snooping,
      'tapline.vlan_filtering': options.vlanFiltering,
      'tapline.fdb_ageing': options.fdbAgeing,
      'tapline.offload': options.offload,
    }),
  })
}

/** `netns`: the stack's name. */
export function sandboxEntry(name: string, netns: string, options: SandboxOptions): Entry {
  checkOptions(`options of sandbox "${name}"`, SANDBOX, options)
  const { networks = [] } = options
  const list: [string, EndpointOptions][] = isNames(networks)
    ? networks.map((name) => [name, {}])
    : Object.entries(networks)
  const twice = list.find(([network], i) => list.findIndex(([other]) => other === network) < i)
  if (twice !== undefined) {
    throw new StackError('bad-argument', `sandbox "${name}": network "${twice[0]}" is given twice`)
  }
  const entries = list.map(([network, options]) => [network, endpointEntry(name, network, options)])
  return { netns, networks: Object.fromEntries(entries) }
}

function endpointEntry(sandbox: string, network: string, options: EndpointOptions): Entry {
  checkOptions(`options of sandbox "${sandbox}" in network "${network}"`, ENDPOINT, options)
  const { vlan, storm } = options
  return clean({
    ipv4_address: options.ipv4,
    ipv6_address: options.ipv6,
    mac_address: options.mac,
    aliases: options.aliases,
    interface_name: options.interfaceName,
    policy: options.policy,
    rate: options.rate,
    driver_opts: strings({
      'tapline.mtu': options.mtu,
      'tapline.isolated': options.isolated,
      'tapline.split_horizon': options.splitHorizon,
      'tapline.vlan_pvid': vlan?.pvid,
      'tapline.vlan_tagged': vlan?.tagged?.join(','),
      'tapline.storm_broadcast': storm?.broadcast,
      'tapline.storm_multicast': storm?.multicast,
      'tapline.storm_unknown': storm?.unknown,
    }),
  })
}

export function serviceEntry({ mode, ...options }: ServiceOptions): Entry {
  return clean({ ...options, endpoint_mode: mode })
}

/** With a service that gives this backend nothing new. @throws StackError `not-found`. */
export function drained(desired: Desired, service: string, backend: string): Desired {
  const entry = desired.services[service]
  const { backends = [] } = (entry ?? {}) as Partial<ServiceOptions>
  const all: Record<string, object> = isNames(backends)
    ? Object.fromEntries(backends.map((name) => [name, {}]))
    : { ...backends }
  if (!Object.hasOwn(all, backend)) throw new StackError('not-found', `no backend ${backend}`)
  const changed = { ...entry, backends: { ...all, [backend]: { weight: 0 } } }
  return { ...desired, services: { ...desired.services, [service]: changed } }
}

function isNames<T>(given: readonly string[] | T): given is readonly string[] {
  return Array.isArray(given)
}

export function routeEntry(to: string, options: RouteOptions): Entry {
  checkOptions(`options of the route to ${to}`, ROUTE, options)
  const { via } = options
  return via === undefined ? { to, blackhole: true } : { to, via }
}

/** Without what is not given. */
function clean(entry: Entry): Entry {
  return Object.fromEntries(Object.entries(entry).filter(([, value]) => value !== undefined))
}

/** Options of drivers are strings; none at all: left out. */
function strings(options: Entry): Entry | undefined {
  const given = Object.entries(clean(options)).map(([key, value]) => [key, String(value)])
  return given.length === 0 ? undefined : Object.fromEntries(given)
}
