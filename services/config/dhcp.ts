/**
 * The parts of a network's `driver_opts` about what its stations are told: by DHCP, and in router
 * advertisements. For networks of driver `bridge`, whose gateway is here and nowhere else.
 */
import {
  type Address,
  formatAddress,
  type Prefix,
  parseAddress,
  parsePrefix,
} from '../../stack/address.ts'
import { StackError } from '../../stack/errors.ts'
import { isGroupMac, type Mac, parseMac } from '../../stack/eth/mac.ts'
import { labels } from '../../stack/udp/dhcp_values.ts'
import { POOL_MAX } from '../dhcp/leases.ts'
import { toInteger } from '../ipam.ts'
import { parseDuration } from './duration.ts'
import { describe } from './explain.ts'
import type { AnnounceConfig, DhcpConfig, DriverName } from './model.ts'
import { AnnounceKey, DhcpKey, flag, type Source } from './options.ts'
import { refuse } from './schema.ts'

const LEASE_MS = 3_600_000
/** Shorter ones have clients ask all the time; longer ones outlive what is known here. */
const LEASE_MIN_MS = 60_000
const LEASE_MAX_MS = 30 * 86_400_000
/** What one message can carry with all the rest. */
const DNS_MAX = 8
const SEARCH_MAX = 8
const ROUTES_MAX = 32
const HOSTS_MAX = 1024

/** Undefined: the network has no DHCP server. */
export function parseDhcp(o: Source, driver: DriverName): DhcpConfig | undefined {
  if (driver !== 'bridge') return undefined
  const on = flag(o, DhcpKey.Dhcp, false)
  for (const key of Object.values(DhcpKey)) {
    if (on || key === DhcpKey.Dhcp || o.values[key] === undefined) continue
    o.faults.atKey([...o.path, key], `"${key}" has no effect without "${DhcpKey.Dhcp}: true"`)
  }
  if (!on) return undefined
  const example = '10.1.0.200-10.1.0.250'
  const [range] = list(o, DhcpKey.Range, { max: 1, read: readRange, example })
  const [leaseMs = LEASE_MS] = list(o, DhcpKey.Lease, { max: 1, read: readLease, example: '1h' })
  const via = '10.9.0.0/16 via 10.1.0.5'
  const host = '02:00:00:00:00:0b=10.1.0.30'
  return {
    range,
    leaseMs,
    routes: list(o, DhcpKey.Routes, { max: ROUTES_MAX, read: readRoute, example: via }),
    hosts: list(o, DhcpKey.Hosts, { max: HOSTS_MAX, read: readHost, example: host }),
  }
}

export function parseAnnounce(o: Source, driver: DriverName): AnnounceConfig {
  if (driver !== 'bridge') return { dns: undefined, search: [] }
  const read = (part: string): Address => parseAddress(part)
  const dns = list(o, AnnounceKey.Dns, { max: DNS_MAX, read, example: '10.1.0.1' })
  const search = list(o, AnnounceKey.Search, {
    max: SEARCH_MAX,
    read: readName,
    example: 'shop.example',
  })
  return { dns: o.values[AnnounceKey.Dns] === undefined ? undefined : dns, search }
}

function list<T>(
  o: Source,
  key: string,
  { max, read, example }: { max: number; read: (part: string) => T; example: string },
): T[] {
  const value = o.values[key]
  if (value === undefined) return []
  const parts = String(value)
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
  const many = max > 1 ? `at most ${max} with commas, such as "${example}"` : `such as "${example}"`
  try {
    if (parts.length <= max && typeof value !== 'object') return parts.map(read)
  } catch (error) {
    if (!(error instanceof StackError)) throw error
    o.faults.at([...o.path, key], `${error.message}; expected ${many}`)
    return []
  }
  o.faults.at([...o.path, key], `expected ${many}, got ${describe(value)}`)
  return []
}

function read4(part: string): Address {
  const address = parseAddress(part.trim())
  return address.family === 4 ? address : refuse(`"${part}" is not an IPv4 address`)
}

function readRange(part: string): { readonly first: Address; readonly last: Address } {
  const ends = part.split('-')
  if (ends.length !== 2) refuse(`"${part}" is not a range`)
  const [first, last] = [read4(ends[0]!), read4(ends[1]!)]
  const size = toInteger(last) - toInteger(first) + 1n
  if (size < 1n) refuse(`"${part}" ends before it begins`)
  if (size > BigInt(POOL_MAX)) refuse(`"${part}" has more than ${POOL_MAX} addresses`)
  return { first, last }
}

function readLease(part: string): number {
  const ms = parseDuration(part)
  if (ms >= LEASE_MIN_MS && ms <= LEASE_MAX_MS) return ms
  return refuse(`"${part}" is not between one minute and 30 days`)
}

function readRoute(part: string): { readonly to: Prefix; readonly via: Address } {
  const words = part.split(/\s+/)
  if (words.length !== 3 || words[1] !== 'via') refuse(`"${part}" is not a route`)
  const to = parsePrefix(words[0]!)
  if (to.address.family !== 4) refuse(`"${words[0]}" is not an IPv4 prefix`)
  return { to, via: read4(words[2]!) }
}

function readHost(part: string): { readonly mac: Mac; readonly address: Address } {
  const [mac = '', address = '', ...rest] = part.split('=')
  if (rest.length > 0 || address === '') refuse(`"${part}" is not MAC=ADDRESS`)
  const station = parseMac(mac)
  if (isGroupMac(station)) refuse(`"${mac}" is a group address`)
  return { mac: station, address: read4(address) }
}

function readName(part: string): string {
  labels(part)
  return part
}

/** For messages: `10.1.0.200 to 10.1.0.250`. */
export function formatRange({ first, last }: { first: Address; last: Address }): string {
  return `${formatAddress(first)} to ${formatAddress(last)}`
}
