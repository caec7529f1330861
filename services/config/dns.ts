/** The parts of a file about names: `dns` of the file and of networks, `dns...` of sandboxes. */
import { z } from 'zod'
import { type Address, parseAddress } from '../../stack/address.ts'
import { StackError } from '../../stack/errors.ts'
import { type Name, parseName } from '../dns/name.ts'
import { PORT_MAX } from '../ports.ts'
import {
  DEFAULT_DNS,
  type DnsConfig,
  type HostName,
  type NetworkDns,
  type SandboxDns,
  type ServerConfig,
  type ZoneConfig,
} from './dns_model.ts'
import { parseDuration } from './duration.ts'
import { type Faults, nearest, type Path } from './faults.ts'
import { mapping, parseEntry, refuse, type SandboxEntry, text } from './schema.ts'

const DNS_PORT = 53
const DAY_MS = 86_400_000
const TTL_MAX_MS = 7 * DAY_MS
const CACHE_MAX = 1_000_000
const QUERIES_MAX_PER_S = 10_000_000
/** As many as are asked for one question. */
const SERVERS_MAX = 3
/** resolv.conf(5) as C libraries read it today. */
const SEARCH_MAX = 32
/** Of resolv.conf(5), in glibc, musl and the BSDs. */
const NUMBERED = /^(ndots|timeout|attempts):\d{1,2}$/
const OPTIONS: readonly string[] = [
  ...['debug', 'rotate', 'edns0', 'inet6', 'use-vc', 'tcp', 'trust-ad', 'no-aaaa', 'no-reload'],
  ...['no-check-names', 'no-tld-query', 'single-request', 'single-request-reopen'],
  ...['ip6-bytestring', 'ip6-dotint', 'no-ip6-dotint', 'insecure1', 'insecure2'],
]

const server = text(readServer)
const servers = z.array(server).max(SERVERS_MAX)

function duration(leastMs: number, mostMs: number): z.ZodType<number> {
  return text((written) => {
    const ms = parseDuration(written)
    if (ms >= leastMs && ms <= mostMs) return ms
    return refuse(`"${written}" is out of range`)
  })
}

const dnsSchema: z.ZodType<DnsEntry> = mapping({
  enabled: z.boolean().optional(),
  loopback: z.boolean().optional(),
  ttl: duration(0, TTL_MAX_MS).optional(),
  forwarders: servers.optional(),
  strategy: z.enum(['order', 'parallel']).optional(),
  timeout: duration(100, 30_000).optional(),
  zones: z.record(z.string(), servers).optional(),
  cache: z.number().int().min(0).max(CACHE_MAX).optional(),
  stale: duration(0, TTL_MAX_MS).optional(),
  queries_per_s: z.number().int().min(1).max(QUERIES_MAX_PER_S).optional(),
  random_case: z.boolean().optional(),
})

interface DnsEntry {
  enabled?: boolean | undefined
  loopback?: boolean | undefined
  ttl?: number | undefined
  forwarders?: ServerConfig[] | undefined
  strategy?: 'order' | 'parallel' | undefined
  timeout?: number | undefined
  zones?: Record<string, ServerConfig[]> | undefined
  cache?: number | undefined
  stale?: number | undefined
  queries_per_s?: number | undefined
  random_case?: boolean | undefined
}

/** Compose takes one for a list of one. */
function oneOrMore<T>(one: z.ZodType<T>, most: number): z.ZodType<T | T[]> {
  return z.union([one, z.array(one).max(most)])
}

const sandboxServers = oneOrMore(server, SERVERS_MAX)
const search = oneOrMore(text(readSearch), SEARCH_MAX)
const resolverOptions = z.array(text(readOption))
const hostList = z.array(z.string())
const hostMap = z.record(z.string(), z.union([z.string(), z.array(z.string())]))

/** What the file says of names; `networks` and `sandboxes` as their entries said. */
export function parseDns(
  value: unknown,
  parts: { readonly networks: readonly NetworkDns[]; readonly sandboxes: readonly SandboxDns[] },
  faults: Faults,
): DnsConfig {
  const path: Path = ['dns']
  const entry: DnsEntry =
    value === undefined || value === null ? {} : (parseEntry(dnsSchema, value, path, faults) ?? {})
  const { ttl, forwarders, zones = {} } = entry
  const names = new Map(
    zoneNames(value).flatMap((name): [string, Name][] => {
      const zone = readOr(faults, [...path, 'zones', name], () => parseName(name))
      return zone === undefined ? [] : [[name, zone]]
    }),
  )
  return {
    enabled: entry.enabled ?? DEFAULT_DNS.enabled,
    loopback: entry.loopback ?? DEFAULT_DNS.loopback,
    ttlS: ttl === undefined ? DEFAULT_DNS.ttlS : Math.round(ttl / 1000),
    servers: forwarders,
    strategy: entry.strategy ?? DEFAULT_DNS.strategy,
    timeoutMs: entry.timeout ?? DEFAULT_DNS.timeoutMs,
    zones: Object.entries(zones).flatMap(([name, list]): ZoneConfig[] => {
      const zone = names.get(name)
      return zone === undefined ? [] : [{ zone, servers: list }]
    }),
    cacheMax: entry.cache ?? DEFAULT_DNS.cacheMax,
    staleMs: entry.stale ?? DEFAULT_DNS.staleMs,
    queriesPerS: entry.queries_per_s ?? DEFAULT_DNS.queriesPerS,
    randomCase: entry.random_case ?? DEFAULT_DNS.randomCase,
    serving: [],
    ...parts,
  }
}

/** As written, also where something else is wrong, which must not hide a fault of a name. */
function zoneNames(value: unknown): readonly string[] {
  const { zones } = (value ?? {}) as { readonly zones?: unknown }
  return typeof zones === 'object' && zones !== null ? Object.keys(zones) : []
}

/** `dns` of a network: its forwarders. */
export function parseNetworkDns(
  network: string,
  value: unknown,
  path: Path,
  faults: Faults,
): NetworkDns | undefined {
  if (value === undefined || value === null) return undefined
  const list = parseEntry(sandboxServers, value, path, faults)
  return list && { network, servers: [list].flat() }
}

/** `dns`, `dns_search`, `dns_opt` and `extra_hosts` of a sandbox; undefined: it has none. */
export function parseSandboxDns(
  sandbox: string,
  entry: SandboxEntry,
  path: Path,
  faults: Faults,
): SandboxDns | undefined {
  const read = <T>(schema: z.ZodType<T>, key: keyof SandboxEntry): T | undefined => {
    const value = entry[key]
    if (value === undefined || value === null) return undefined
    return parseEntry(schema, value, [...path, key], faults)
  }
  const dns: SandboxDns = {
    sandbox,
    servers: [read(sandboxServers, 'dns') ?? []].flat(),
    search: [read(search, 'dns_search') ?? []].flat(),
    options: read(resolverOptions, 'dns_opt') ?? [],
    hosts: parseHosts(entry.extra_hosts, [...path, 'extra_hosts'], faults),
  }
  const all = [dns.servers, dns.search, dns.options, dns.hosts]
  return all.every(({ length }) => length === 0) ? undefined : dns
}

/** Compose's: `name=address` or `name:address` in a list, or a mapping from names. */
function parseHosts(value: unknown, path: Path, faults: Faults): readonly HostName[] {
  if (value === undefined || value === null) return []
  if (Array.isArray(value)) {
    const list = parseEntry(hostList, value, path, faults) ?? []
    return list.flatMap((written, i) => {
      const [, name, address] = /^([^=:]+)[=:](.+)$/.exec(written) ?? []
      return hostName(name ?? '', address ?? written, [...path, i], faults)
    })
  }
  const map = parseEntry(hostMap, value, path, faults) ?? {}
  return Object.entries(map).flatMap(([name, addresses]) =>
    [addresses].flat().flatMap((address) => hostName(name, address, [...path, name], faults)),
  )
}

function hostName(name: string, address: string, path: Path, faults: Faults): HostName[] {
  const read = readOr(faults, path, (): HostName => {
    if (name === '') refuse(`"${address}" is no host, such as "db=192.0.2.7"`)
    return { name: parseName(name), address: parseAddress(address.replace(/^\[(.*)\]$/, '$1')) }
  })
  return read === undefined ? [] : [read]
}

function readOr<T>(faults: Faults, path: Path, read: () => T): T | undefined {
  try {
    return read()
  } catch (error) {
    if (!(error instanceof StackError)) throw error
    faults.at(path, error.message)
    return undefined
  }
}

function readServer(written: string): ServerConfig {
  const [, six, four, digits] = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d{1,5}))?$/.exec(written) ?? []
  const port = digits === undefined ? DNS_PORT : Number(digits)
  if (port < 1 || port > PORT_MAX) refuse(`"${written}": ${digits} is not a port`)
  const address: Address = parseAddress(six ?? four ?? written)
  return { address, port }
}

/** `.` means that there is none (Docker's way to say so). */
function readSearch(written: string): string {
  if (written !== '.') parseName(written)
  return written.toLowerCase()
}

function readOption(written: string): string {
  if (NUMBERED.test(written) || OPTIONS.includes(written)) return written
  const near = nearest(written, OPTIONS)
  const hint = near === undefined ? 'such as "ndots:1" or "rotate"' : `did you mean "${near}"?`
  return refuse(`"${written}" is not an option of resolv.conf, ${hint}`)
}
