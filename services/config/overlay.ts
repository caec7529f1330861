/**
 * The parts of a file about several hosts: `node`, and what a network of driver `overlay` has
 * beside the rest. What is said of a whole node (its peers) is the default of its networks.
 */
import { z } from 'zod'
import {
  type Address,
  formatAddress,
  isMulticast,
  parseAddress,
  sameAddress,
} from '../../stack/address.ts'
import type { Mac } from '../../stack/eth/mac.ts'
import { UDP_PORT, VNI_MAX } from '../../stack/vxlan/header.ts'
import { SEAL_BYTES } from '../../stack/vxlan/seal.ts'
import { PORT_MAX } from '../ports.ts'
import { describe } from './explain.ts'
import type { Faults, Path } from './faults.ts'
import { type GossipEntry, gossipOf, gossipSchema } from './gossip.ts'
import type { DriverName } from './model.ts'
import {
  address as addressOption,
  flag,
  MTU_MAX_BYTES,
  MTU6_MIN_BYTES,
  OverlayKey,
  type Source,
  wholeNumber,
} from './options.ts'
import { DEFAULT_MTU_BYTES } from './options_model.ts'
import type { NodeConfig, OverlayConfig, RemoteConfig, VlanVni } from './overlay_model.ts'
import {
  fileName,
  macAddress,
  mapping,
  type NetworkEntry,
  parseEntry,
  parseList,
  text,
} from './schema.ts'
import type { Note } from './services.ts'

/** Outer headers: IPv4 or IPv6, UDP, VXLAN; and the inner Ethernet header. */
const OVERHEAD_BYTES = { 4: 50, 6: 70 } as const
const VID_MAX = 4094
const DSCP_MAX = 63
const INHERIT = -1

const address = text(parseAddress)
const port = z.number().int().min(1).max(PORT_MAX)

interface NodeEntry {
  name: string
  underlay: {
    address: Address
    port?: number | undefined
    interface?: string | undefined
    mtu?: number | undefined
    ttl?: number | undefined
    keys_file?: string | undefined
  }
  peers?: unknown
  gossip?: GossipEntry | null | undefined
}

const nodeSchema: z.ZodType<NodeEntry> = mapping({
  name: fileName,
  underlay: mapping({
    address,
    port: port.optional(),
    interface: z.string().min(1).optional(),
    mtu: z.number().int().min(MTU6_MIN_BYTES).max(MTU_MAX_BYTES).optional(),
    ttl: z.number().int().min(1).max(255).optional(),
    keys_file: z.string().min(1).optional(),
  }),
  peers: z.unknown().optional(),
  gossip: gossipSchema.nullish(),
})

/** Undefined: there is none, or it has faults, which were told. */
export function parseNode(value: unknown, faults: Faults): NodeConfig | undefined {
  if (value === undefined) return undefined
  const path: Path = ['node']
  const entry = parseEntry(nodeSchema, value, path, faults)
  if (entry === undefined) return undefined
  const { name, underlay, gossip } = entry
  const peers = parsePeers(entry.peers, [...path, 'peers'], faults, underlay.address)
  return {
    name,
    underlay: {
      address: underlay.address,
      udpPort: underlay.port ?? UDP_PORT,
      interfaceName: underlay.interface,
      mtuBytes: underlay.mtu ?? DEFAULT_MTU_BYTES,
      hopLimit: underlay.ttl,
      keysFile: underlay.keys_file,
    },
    peers,
    // Without a value, it has the defaults.
    gossip: gossip === undefined ? undefined : gossipOf(gossip ?? {}, underlay.address),
  }
}

/** MTU of a network that says nothing: what fits into the underlay's packets. */
export function defaultMtuBytes(
  driver: DriverName,
  node: NodeConfig | undefined,
  encrypted: boolean,
): number {
  if (driver !== 'overlay' || node === undefined) return DEFAULT_MTU_BYTES
  const { address: own, mtuBytes } = node.underlay
  return mtuBytes - OVERHEAD_BYTES[own.family] - (encrypted ? SEAL_BYTES : 0)
}

/** Undefined: another driver, or faults, which were told. */
export function parseOverlay(o: {
  readonly entry: NetworkEntry
  readonly driver: DriverName
  readonly path: Path
  readonly node: NodeConfig | undefined
  /** There is a node in the file, though it may have faults. */
  readonly hasNode: boolean
  readonly notes: Note
}): OverlayConfig | undefined {
  const { entry, driver, path, node, hasNode, notes } = o
  const { faults } = notes
  if (driver !== 'overlay') {
    for (const key of ['peers', 'remote'] as const) {
      if (entry[key] === undefined) continue
      faults.atKey([...path, key], `"${key}" goes with driver overlay only`)
    }
    return undefined
  }
  if (node === undefined) {
    if (hasNode) return undefined
    const message =
      'driver "overlay" needs "node" at the top: its name, and its underlay\'s address'
    faults.at([...path, 'driver'], message)
    return undefined
  }
  const source: Source = { values: entry.driver_opts ?? {}, path: [...path, 'driver_opts'], faults }
  const own = node.underlay.address
  return {
    vni: vniOf(source),
    vlans: vlansOf(source),
    peers:
      entry.peers === undefined
        ? node.peers
        : parsePeers(entry.peers, [...path, 'peers'], faults, own),
    remote: parseRemote(entry.remote, [...path, 'remote'], notes),
    learning: flag(source, OverlayKey.Learning, false),
    group: groupOf(source, own),
    dscp: dscpOf(source),
    innerVlan: flag(source, OverlayKey.InnerVlan, false),
    encrypted: encryptedOf(source, node),
  }
}

/** Docker's option, empty there. It needs keys here: those of gossip are not for data. */
function encryptedOf(o: Source, { underlay }: NodeConfig): boolean {
  const encrypted = o.values[OverlayKey.Encrypted] === '' || flag(o, OverlayKey.Encrypted, false)
  if (encrypted && underlay.keysFile === undefined) {
    const message = `"${OverlayKey.Encrypted}" needs "keys_file" under node.underlay`
    o.faults.at([...o.path, OverlayKey.Encrypted], message)
  }
  return encrypted
}

/** True if the options of a network say so; faults are told by who reads them all. */
export function isEncrypted(values: Readonly<Record<string, unknown>>): boolean {
  const value = values[OverlayKey.Encrypted]
  return value !== undefined && ['true', '1', ''].includes(String(value).toLowerCase())
}

/** Tunnel ends of other nodes, each once. */
function parsePeers(value: unknown, path: Path, faults: Faults, own: Address): Address[] {
  const known: Address[] = []
  const list = { path, faults, what: 'addresses', note: () => {} }
  return parseList(value, list, (item, at) => {
    const vtep = readVtep(item, at, faults, own)
    if (vtep === undefined) return undefined
    if (known.some((other) => sameAddress(other, vtep))) {
      faults.at(at, `${formatAddress(vtep)} is listed already`)
      return undefined
    }
    known.push(vtep)
    return vtep
  })
}

function readVtep(item: unknown, path: Path, faults: Faults, own: Address): Address | undefined {
  const result = address.safeParse(item)
  if (!result.success) {
    faults.at(path, `expected an address, got ${describe(item)}`)
    return undefined
  }
  const why = vtepFault(result.data, own)
  if (why === undefined) return result.data
  faults.at(path, why)
  return undefined
}

/** What is wrong with a remote tunnel end; undefined: nothing. */
export function vtepFault(vtep: Address, own: Address): string | undefined {
  const written = formatAddress(vtep)
  if (vtep.family !== own.family) return `${written} is not an IPv${own.family} address`
  if (sameAddress(vtep, own)) return `${written} is this node's own underlay address`
  return isMulticast(vtep) ? `${written} is a multicast group` : undefined
}

interface RemoteEntry {
  vtep: Address
  mac: Mac
  ipv4_address?: Address | undefined
  ipv6_address?: Address | undefined
  name?: string | undefined
  vni?: number | undefined
}

const remoteSchema: z.ZodType<RemoteEntry> = mapping({
  vtep: address,
  mac: macAddress,
  ipv4_address: address.optional(),
  ipv6_address: address.optional(),
  name: fileName.optional(),
  vni: z.number().int().min(1).max(VNI_MAX).optional(),
})

function parseRemote(value: unknown, path: Path, { faults, note }: Note): RemoteConfig[] {
  const list = { path, faults, what: 'endpoints of other nodes', note }
  return parseList(value, list, (item, at) => {
    const entry = parseEntry(remoteSchema, item, at, faults)
    if (entry === undefined) return undefined
    const { vtep, mac, ipv4_address: four, ipv6_address: six, name = '', vni } = entry
    if (four?.family === 6) faults.at([...at, 'ipv4_address'], 'not an IPv4 address')
    if (six?.family === 4) faults.at([...at, 'ipv6_address'], 'not an IPv6 address')
    const addresses = [four, six].filter((each) => each !== undefined)
    return { vtep, mac, addresses, name, vni }
  })
}

function vniOf(o: Source): number {
  const value = o.values[OverlayKey.Vni]
  const path = [...o.path, OverlayKey.Vni]
  const vni = wholeNumber(value)
  if (vni !== undefined && vni >= 1 && vni <= VNI_MAX) return vni
  if (value === undefined) {
    const message = `driver "overlay" needs "${OverlayKey.Vni}": its VNI, the same on every node`
    o.faults.at(o.path, message)
  } else if (String(value).includes(',')) {
    o.faults.at(path, 'one VNI is all that a network has; its subnets are routed inside it')
  } else o.faults.at(path, `expected a VNI from 1 to ${VNI_MAX}, got ${describe(value)}`)
  return 0
}

/** `10:5010,20:5020`. */
function vlansOf(o: Source): VlanVni[] {
  const value = o.values[OverlayKey.Vlans]
  if (value === undefined) return []
  const pairs = String(value)
    .split(',')
    .map((part) => part.split(':').map((half) => wholeNumber(half.trim())))
  const vlans: VlanVni[] = []
  for (const [vid, vni, more] of pairs) {
    const valid = vid !== undefined && vni !== undefined && more === undefined
    if (!valid || vid < 1 || vid > VID_MAX || vni < 1 || vni > VNI_MAX) {
      const wanted = 'VLAN:VNI with commas, such as "10:5010,20:5020"'
      o.faults.at([...o.path, OverlayKey.Vlans], `expected ${wanted}, got ${describe(value)}`)
      return []
    }
    vlans.push({ vid, vni })
  }
  return vlans
}

function groupOf(o: Source, own: Address): Address | undefined {
  const group = addressOption(o, OverlayKey.Group)
  if (group === undefined) return undefined
  if (group.family === own.family && isMulticast(group)) return group
  const message = `expected a multicast group of IPv${own.family}, got ${formatAddress(group)}`
  o.faults.at([...o.path, OverlayKey.Group], message)
  return undefined
}

function dscpOf(o: Source): number {
  const value = o.values[OverlayKey.Dscp]
  if (value === undefined) return 0
  if (value === 'inherit') return INHERIT
  const dscp = wholeNumber(value)
  if (dscp !== undefined && dscp <= DSCP_MAX) return dscp
  const wanted = `"inherit" or a DSCP from 0 to ${DSCP_MAX}`
  o.faults.at([...o.path, OverlayKey.Dscp], `expected ${wanted}, got ${describe(value)}`)
  return 0
}
