/**
 * The shape of a configuration file, one schema per mapping. A mapping's keys are all optional to
 * zod where the file format says so, and unknown keys are faults that name the nearest known key.
 *
 * Entries (a network, a sandbox, an endpoint, a route) are parsed one by one rather than in one
 * schema of the whole file, so that a fault in one does not hide the faults of the others.
 */
import { z } from 'zod'
import {
  type Address,
  formatPrefix,
  networkOf,
  type Prefix,
  parseAddress,
  parsePrefix,
  sameAddress,
} from '../../stack/address.ts'
import { StackError } from '../../stack/errors.ts'
import { isGroupMac, type Mac, parseMac } from '../../stack/eth/mac.ts'
import { LABEL, readAlias } from './alias.ts'
import { describe, explain } from './explain.ts'
import { type Faults, type Path, unknownKey } from './faults.ts'

/** IFNAMSIZ less its terminating zero. */
const INTERFACE_NAME_MAX = 15

export function nameFault(name: string): string | undefined {
  if (LABEL.test(name)) return undefined
  return `"${name}" is not a name: 1 to 63 letters, digits and inner hyphens, such as "web-1"`
}

/** A string that `read` turns into a value or refuses with a StackError. */
export function text<T>(read: (written: string) => T): z.ZodType<T> {
  return z.string().transform((written, context) => {
    try {
      return read(written)
    } catch (error) {
      if (!(error instanceof StackError)) throw error
      context.addIssue({ code: 'custom', message: error.message })
      return z.NEVER
    }
  })
}

export function refuse(message: string): never {
  throw new StackError('bad-config', message)
}

function readAddress(family: 4 | 6): (written: string) => Address {
  return (written) => {
    const address = parseAddress(written)
    if (address.family !== family) refuse(`"${written}" is not an IPv${family} address`)
    return address
  }
}

export function readNetworkPrefix(written: string): Prefix {
  const prefix = parsePrefix(written)
  const network = { address: networkOf(prefix), bits: prefix.bits }
  if (!sameAddress(network.address, prefix.address)) {
    refuse(`"${written}" has host bits set; "${formatPrefix(network)}" would be right`)
  }
  return network
}

function readMac(written: string): Mac {
  const mac = parseMac(written)
  if (isGroupMac(mac)) {
    refuse(`"${written}" is a group address; an interface needs one whose first octet is even`)
  }
  if (mac.hi === 0 && mac.lo === 0) refuse('the all-zero MAC address cannot be used')
  return mac
}

function readName(written: string): string {
  return nameFault(written) === undefined ? written : refuse(nameFault(written)!)
}

/** Why it cannot be a namespace; undefined: it can. */
export function netnsFault(written: string): string | undefined {
  if (/^pid:[1-9]\d*$/.test(written) || /^\/[^\0]+$/.test(written)) return undefined
  if (/^[^/\0:\s]{1,255}$/.test(written) && written !== '.' && written !== '..') return undefined
  return `"${written}" is not a namespace: a name such as "web1", "pid:1234", or a path`
}

function readNetns(written: string): string {
  const fault = netnsFault(written)
  return fault === undefined ? written : refuse(fault)
}

function readInterfaceName(written: string): string {
  const fits = /^[^/:\s]+$/.test(written) && written.length <= INTERFACE_NAME_MAX
  if (fits && !['.', '..', 'lo', 'all', 'default'].includes(written)) return written
  return refuse(
    `"${written}" is not an interface name: at most ${INTERFACE_NAME_MAX} characters ` +
      'without "/", ":" or blanks, and not "lo"',
  )
}

const address = text(parseAddress)
/** What else something is called. */
export const aliasName: z.ZodType<string> = text(readAlias)
const networkPrefix = text(readNetworkPrefix)
const name = text(readName)
export const netnsName: z.ZodType<string> = text(readNetns)
export const macAddress: z.ZodType<Mac> = text(readMac)
const options = z.record(z.string(), z.unknown()).nullish()

/** A mapping with these keys; `later` are keys of the format that this version cannot do. */
export function mapping<S extends z.ZodRawShape>(
  shape: S,
  later: readonly string[] = [],
): z.ZodObject<S, z.core.$strict> {
  const known = Object.keys(shape)
  return z.strictObject(shape, {
    error: (issue) =>
      issue.code === 'unrecognized_keys'
        ? issue.keys.map((key) => unknownKey(key, known, later)).join('\n')
        : undefined,
  })
}

const FILE_KEYS: readonly string[] = [
  'name',
  'networks',
  'sandboxes',
  'services',
  'routes',
  'uplink',
  'conntrack',
  'nat',
  'node',
  'dns',
]
const FILE_LATER: readonly string[] = ['ports', 'include', 'secrets', 'configs', 'volumes']

/** Keys of the file itself; `x-...` is free for anchors, as in Compose. */
export function fileKeyFault(key: string): string | undefined {
  if (FILE_KEYS.includes(key) || key.startsWith('x-')) return undefined
  return unknownKey(key, FILE_KEYS, FILE_LATER)
}

export const fileName: z.ZodType<string> = name

const subnetSchema: z.ZodType<SubnetEntry> = mapping({
  subnet: networkPrefix,
  gateway: address.optional(),
  ip_range: networkPrefix.optional(),
  aux_addresses: z.record(z.string(), address).optional(),
})

export const networkSchema: z.ZodType<NetworkEntry> = mapping(
  {
    driver: z.enum(['bridge', 'null', 'host', 'container', 'overlay', 'macvlan']).optional(),
    enable_ipv4: z.boolean().optional(),
    enable_ipv6: z.boolean().optional(),
    internal: z.boolean().optional(),
    driver_opts: options,
    policy: z.unknown().optional(),
    peers: z.unknown().optional(),
    remote: z.unknown().optional(),
    dns: z.unknown().optional(),
    ipam: mapping(
      { driver: z.enum(['default', 'dhcp']).optional(), config: z.array(subnetSchema).optional() },
      ['options'],
    ).nullish(),
  },
  ['attachable', 'external', 'labels', 'name'],
)

export interface SubnetEntry {
  subnet: Prefix
  gateway?: Address | undefined
  ip_range?: Prefix | undefined
  aux_addresses?: Record<string, Address> | undefined
}

export interface NetworkEntry {
  driver?: 'bridge' | 'null' | 'host' | 'container' | 'overlay' | 'macvlan' | undefined
  enable_ipv4?: boolean | undefined
  enable_ipv6?: boolean | undefined
  internal?: boolean | undefined
  driver_opts?: Record<string, unknown> | null | undefined
  policy?: unknown
  peers?: unknown
  remote?: unknown
  dns?: unknown
  ipam?:
    | { driver?: 'default' | 'dhcp' | undefined; config?: SubnetEntry[] | undefined }
    | null
    | undefined
}

export const sandboxSchema: z.ZodType<SandboxEntry> = mapping(
  {
    netns: netnsName.optional(),
    networks: z.unknown().optional(),
    network_mode: z.string().optional(),
    ports: z.unknown().optional(),
    dns: z.unknown().optional(),
    dns_search: z.unknown().optional(),
    dns_opt: z.unknown().optional(),
    extra_hosts: z.unknown().optional(),
  },
  ['hostname', 'sysctls', 'expose'],
)

export interface SandboxEntry {
  netns?: string | undefined
  networks?: unknown
  network_mode?: string | undefined
  ports?: unknown
  dns?: unknown
  dns_search?: unknown
  dns_opt?: unknown
  extra_hosts?: unknown
}

export const endpointSchema: z.ZodType<EndpointEntry> = mapping(
  {
    ipv4_address: text(readAddress(4)).optional(),
    ipv6_address: text(readAddress(6)).optional(),
    mac_address: macAddress.optional(),
    aliases: z.array(aliasName).optional(),
    interface_name: text(readInterfaceName).optional(),
    driver_opts: options,
    policy: z.unknown().optional(),
    rate: z.unknown().optional(),
  },
  ['priority', 'gw_priority', 'link_local_ips'],
)

export interface EndpointEntry {
  ipv4_address?: Address | undefined
  ipv6_address?: Address | undefined
  mac_address?: Mac | undefined
  aliases?: string[] | undefined
  interface_name?: string | undefined
  driver_opts?: Record<string, unknown> | null | undefined
  policy?: unknown
  rate?: unknown
}

export const routeSchema: z.ZodType<RouteEntry> = mapping({
  to: networkPrefix,
  via: address.optional(),
  blackhole: z.boolean().optional(),
})

export interface RouteEntry {
  to: Prefix
  via?: Address | undefined
  blackhole?: boolean | undefined
}

/** Parse one entry; undefined after faults were told. */
export function parseEntry<T>(
  schema: z.ZodType<T>,
  value: unknown,
  path: Path,
  faults: Faults,
): T | undefined {
  const result = schema.safeParse(value ?? {}, { reportInput: true })
  if (result.success) return result.data
  const { issues } = result.error
  const placeOf = (issue: z.core.$ZodIssue): string => issue.path.join('\n')
  const odd = new Set(issues.filter(({ code }) => code === 'invalid_type').map(placeOf))
  for (const issue of issues) {
    // How long a list is does not matter where there is none.
    if (issue.code !== 'too_big' || !odd.has(placeOf(issue))) tell(issue, path, faults)
  }
  return undefined
}

function tell(issue: z.core.$ZodIssue, path: Path, faults: Faults): void {
  const at: Path = [...path, ...issue.path.map((step) => step as string | number)]
  if (issue.code === 'unrecognized_keys') {
    const messages = issue.message.split('\n')
    for (const [i, key] of issue.keys.entries()) faults.atKey([...at, key], messages[i]!)
    return
  }
  // Of several forms, the one that was meant is the one whose type is right.
  const meant =
    issue.code === 'invalid_union'
      ? issue.errors.find(([first]) => first?.code !== 'invalid_type' || first.path.length > 0)
      : undefined
  if (meant === undefined) return faults.at(at, explain(issue))
  for (const inner of meant) tell(inner, at, faults)
}

/** Entries of a list of `what` that `read` finds no fault in; `note` is told where each is. */
export function parseList<T>(
  value: unknown,
  o: {
    readonly path: Path
    readonly faults: Faults
    readonly what: string
    readonly note: (entry: T, path: Path) => void
  },
  read: (item: unknown, path: Path) => T | undefined,
): T[] {
  if (value === undefined || value === null) return []
  if (!Array.isArray(value)) {
    o.faults.at(o.path, `expected a list of ${o.what}, got ${describe(value)}`)
    return []
  }
  const entries: T[] = []
  for (const [i, item] of value.entries()) {
    const path: Path = [...o.path, i]
    const entry = read(item, path)
    if (entry === undefined) continue
    o.note(entry, path)
    entries.push(entry)
  }
  return entries
}
