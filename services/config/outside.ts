/** The parts of a file that are about the outside: `uplink`, and `ports` of sandboxes. */
import { z } from 'zod'
import { type Address, type Prefix, parseAddress, parsePrefix } from '../../stack/address.ts'
import { StackError } from '../../stack/errors.ts'
import type { Mac } from '../../stack/eth/mac.ts'
import { longPort, type PortConfig, parsePort as shortPort } from '../ports.ts'
import type { Faults, Path } from './faults.ts'
import type { UplinkConfig } from './model.ts'
import { MTU_MAX_BYTES, MTU6_MIN_BYTES } from './options.ts'
import { DEFAULT_MTU_BYTES } from './options_model.ts'
import { macAddress, mapping, netnsName, parseEntry, parseList, text } from './schema.ts'
import { transferNet } from './transfer.ts'

const address = text(parseAddress)
const prefix = text(parsePrefix)

const uplinkSchema: z.ZodType<UplinkEntry> = mapping({
  host: z.boolean().optional(),
  netns: netnsName.optional(),
  interface: z.string().min(1).optional(),
  addresses: z.array(prefix).optional(),
  peer_addresses: z.array(prefix).optional(),
  gateway: z.union([address, z.array(address)]).optional(),
  mac_address: macAddress.optional(),
  mtu: z.number().int().min(MTU6_MIN_BYTES).max(MTU_MAX_BYTES).optional(),
})

interface UplinkEntry {
  host?: boolean | undefined
  netns?: string | undefined
  interface?: string | undefined
  addresses?: Prefix[] | undefined
  peer_addresses?: Prefix[] | undefined
  gateway?: Address | Address[] | undefined
  mac_address?: Mac | undefined
  mtu?: number | undefined
}

/**
 * Undefined: there is none, or it has faults, which were told.
 *
 * @param name - of the file, by which the host's transfer net is chosen.
 */
export function parseUplink(
  value: unknown,
  name: string,
  faults: Faults,
): UplinkConfig | undefined {
  const path: Path = ['uplink']
  if (value === undefined || value === null) return undefined
  const entry = parseEntry(uplinkSchema, value === 'host' ? { host: true } : value, path, faults)
  if (entry === undefined) return undefined
  const { host = false, netns, interface: interfaceName, gateway = [] } = entry
  const open = host && entry.addresses === undefined && entry.peer_addresses === undefined
  const net = open ? transferNet(name) : undefined
  const addresses = net?.addresses ?? entry.addresses ?? []
  const peerAddresses = net?.peerAddresses ?? entry.peer_addresses ?? []
  const gateways = Array.isArray(gateway) ? gateway : [gateway]
  if (host) checkHost(entry, faults)
  else if (netns === undefined && interfaceName === undefined) {
    const ways = '"netns" (a TAP is put there), "interface" or "host: true"'
    faults.at(path, `an uplink needs ${ways}`)
  }
  if (interfaceName !== undefined && entry.peer_addresses !== undefined) {
    const message = '"peer_addresses" goes with a TAP only; an interface keeps what it has'
    faults.atKey([...path, 'peer_addresses'], message)
  }
  if (interfaceName !== undefined && entry.mtu !== undefined) {
    faults.atKey([...path, 'mtu'], '"mtu" goes with a TAP only; an interface keeps its own')
  }
  return {
    host,
    netns,
    interfaceName,
    mac: entry.mac_address,
    mtuBytes: entry.mtu ?? DEFAULT_MTU_BYTES,
    addresses,
    peerAddresses,
    gateways: host ? peerAddresses.map((peer) => peer.address) : gateways,
  }
}

/** The host is reached by one TAP in one namespace, and is the gateway itself. */
function checkHost(entry: UplinkEntry, faults: Faults): void {
  for (const key of ['netns', 'interface', 'gateway'] as const) {
    if (entry[key] === undefined) continue
    faults.atKey(['uplink', key], `"${key}" does not go with "host", which is where it leads`)
  }
  const { addresses = [], peer_addresses: peers = [] } = entry
  for (const family of [4, 6]) {
    const own = addresses.filter((prefix) => prefix.address.family === family)
    const far = peers.filter((prefix) => prefix.address.family === family)
    if (own.length === far.length && own.length <= 1) continue
    const message = '"host" needs one of "addresses" and one of "peer_addresses" of each family'
    return faults.at(['uplink'], `${message}, or neither key`)
  }
}

const portSchema: z.ZodType<PortEntry> = mapping({
  target: z.union([z.number(), z.string()]),
  published: z.union([z.number(), z.string()]).optional(),
  host_ip: z.string().optional(),
  protocol: z.string().optional(),
  mode: z.enum(['host', 'ingress']).optional(),
  name: z.string().optional(),
  // A hint for those who read the application's data, which nothing here does.
  app_protocol: z.string().optional(),
})

export interface PortEntry {
  target: number | string
  published?: number | string | undefined
  host_ip?: string | undefined
  protocol?: string | undefined
  mode?: 'host' | 'ingress' | undefined
  name?: string | undefined
  app_protocol?: string | undefined
}

/** Entries without faults; `note` is told where each was written. */
export function parsePorts(
  value: unknown,
  path: Path,
  faults: Faults,
  note: (port: PortConfig, path: Path) => void,
): PortConfig[] {
  const what = 'published ports'
  return parseList(value, { path, faults, what, note }, (item, at) => parsePort(item, at, faults))
}

/** One port in either form; undefined after faults were told. */
export function parsePort(item: unknown, path: Path, faults: Faults): PortConfig | undefined {
  try {
    if (typeof item === 'string' || typeof item === 'number') return shortPort(String(item))
    const entry = parseEntry(portSchema, item, path, faults)
    return entry && longPort(entry)
  } catch (error) {
    if (!(error instanceof StackError)) throw error
    faults.at(path, error.message)
    return undefined
  }
}
