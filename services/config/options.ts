/**
 * `driver_opts`: options as strings, as Compose has them. Docker's names where Docker has the
 * option, `tapline.` before the others. Numbers and booleans may also be written without quotes.
 */

import { type Address, type Family, parseAddress } from '../../stack/address.ts'
import { StackError } from '../../stack/errors.ts'
import { describe } from './explain.ts'
import { type Faults, type Path, unknownKey } from './faults.ts'
import type { DriverName } from './model.ts'
import {
  type EndpointOptions,
  type GatewayMode,
  MULTICAST_ROUTER,
  type MulticastRouter,
  type NetworkOptions,
  NO_ENDPOINT_OPTIONS,
  NO_NETWORK_OPTIONS,
} from './options_model.ts'

/** The least that IPv4 asks of a link (RFC 791 §3.2). */
const MTU_MIN_BYTES = 68
/** The least that IPv6 asks of a link (RFC 8200 §5). */
export const MTU6_MIN_BYTES = 1280
/** The most that the kernel's TAP takes: 65,535 less an Ethernet header. */
export const MTU_MAX_BYTES = 65_521
const VID_MAX = 4094
/** More frames a second than any port carries: a limit above it is a slip of the pen. */
const STORM_MAX_PER_S = 100_000_000

const MTU = 'com.docker.network.driver.mtu'
const ICC = 'com.docker.network.bridge.enable_icc'
const MASQUERADE = 'com.docker.network.bridge.enable_ip_masquerade'
const MODE4 = 'com.docker.network.bridge.gateway_mode_ipv4'
const MODE6 = 'com.docker.network.bridge.gateway_mode_ipv6'
const EGRESS4 = 'com.docker.network.host_ipv4'
const EGRESS6 = 'com.docker.network.host_ipv6'
const BINDING4 = 'com.docker.network.bridge.host_binding_ipv4'
/** Driver `container`: whose stack is shared. */
export const TARGET_KEY = 'tapline.sandbox'
export const SEPARATE = 'tapline.separate'
const SNOOPING = 'tapline.igmp_snooping'
const QUERIER = 'tapline.igmp_querier'
const AGEING = 'tapline.fdb_ageing'
/** In seconds: shorter would flood what is in use, longer is for ever. */
const AGEING_S = [10, 1_000_000] as const
const TX_QUEUE = 'tapline.txqueuelen'
const TX_QUEUE_PACKETS = [1, 100_000] as const
const SPLIT = 'tapline.split_horizon'
const SPLIT_MAX = 65_535
const FAST_LEAVE = 'tapline.fast_leave'
const MULTICAST = 'tapline.multicast_router'
const MODES: readonly GatewayMode[] = ['nat', 'nat-unprotected', 'routed', 'isolated']
/** Of networks of any driver. */
export const NETWORK_KEYS: readonly string[] = [
  MTU,
  ICC,
  'tapline.arp_proxy',
  'tapline.vlan_filtering',
  'tapline.offload',
  'tapline.mac_guard',
  SEPARATE,
  SNOOPING,
  QUERIER,
  AGEING,
  TX_QUEUE,
  TARGET_KEY,
  MASQUERADE,
  MODE4,
  MODE6,
  EGRESS4,
  EGRESS6,
  BINDING4,
]
/** Of driver `overlay` only; read in overlay.ts. */
export const OverlayKey = {
  Vni: 'com.docker.network.driver.overlay.vxlanid_list',
  Vlans: 'tapline.vlan_vni',
  Learning: 'tapline.vxlan_learning',
  Group: 'tapline.vxlan_group',
  Dscp: 'tapline.vxlan_dscp',
  InnerVlan: 'tapline.vxlan_inner_vlan',
  Encrypted: 'encrypted',
} as const
/** Of networks of driver `bridge`; see dhcp.ts. */
export const DhcpKey = {
  Dhcp: 'tapline.dhcp',
  Range: 'tapline.dhcp_range',
  Lease: 'tapline.dhcp_lease',
  Routes: 'tapline.dhcp_routes',
  Hosts: 'tapline.dhcp_hosts',
} as const
export const AnnounceKey = { Dns: 'tapline.dns', Search: 'tapline.dns_search' } as const
const GATEWAY = 'tapline.gateway'
/** What stations are told of, by the gateway. */
const LED_KEYS: readonly string[] = [...Object.values(DhcpKey), ...Object.values(AnnounceKey)]
const BRIDGE_KEYS: readonly string[] = [GATEWAY, ...LED_KEYS]
const OVERLAY_KEYS: readonly string[] = Object.values(OverlayKey)
const OVERLAY_NETWORK_KEYS: readonly string[] = [GATEWAY, ...OVERLAY_KEYS]
const NETWORK_LATER: readonly string[] = [
  'com.docker.network.bridge.name',
  'com.docker.network.bridge.default_bridge',
  'com.docker.network.bridge.inhibit_ipv4',
  'com.docker.network.container_iface_prefix',
]
const ENDPOINT_KEYS: readonly string[] = [
  'tapline.mtu',
  'tapline.isolated',
  'tapline.dhcp',
  'tapline.vlan_pvid',
  'tapline.vlan_tagged',
  SPLIT,
  'tapline.storm_broadcast',
  'tapline.storm_multicast',
  'tapline.storm_unknown',
  MULTICAST,
  FAST_LEAVE,
]

/** Where options are read from, and where their faults are told. */
export interface Source {
  readonly values: Record<string, unknown>
  readonly path: Path
  readonly faults: Faults
}

/** What of a network its options depend on. */
export interface NetworkFacts {
  readonly driver: DriverName
  readonly ipv6: boolean
  readonly internal: boolean
  /** Largest IP packet where the file says nothing. */
  readonly mtuBytes: number
  /** `ipam.driver: dhcp`. */
  readonly leased: boolean
}

export function networkOptions(o: Source, network: NetworkFacts): NetworkOptions {
  const { driver } = network
  if (network.leased && driver !== 'macvlan') {
    const message = 'addresses by DHCP come from a network outside: driver "macvlan" only'
    o.faults.atKey([...o.path.slice(0, -1), 'ipam', 'driver'], message)
  }
  const more = driver === 'overlay' ? OVERLAY_NETWORK_KEYS : driver === 'bridge' ? BRIDGE_KEYS : []
  unknown(o, [...NETWORK_KEYS, ...more], NETWORK_LATER)
  const least = network.ipv6 ? MTU6_MIN_BYTES : MTU_MIN_BYTES
  const vlanFiltering = flag(o, 'tapline.vlan_filtering', NO_NETWORK_OPTIONS.vlanFiltering)
  return {
    mtuBytes: integer(o, MTU, [least, MTU_MAX_BYTES]) ?? network.mtuBytes,
    isolated: !flag(o, ICC, true),
    gateway: gateway(o, network.internal),
    separate: flag(o, SEPARATE, NO_NETWORK_OPTIONS.separate),
    // One table of bindings serves all VLANs of a network, so that proxy ARP would tell a sandbox
    // about stations of other VLANs: off there unless asked for.
    arpProxy: flag(o, 'tapline.arp_proxy', !vlanFiltering),
    vlanFiltering,
    offload: flag(o, 'tapline.offload', NO_NETWORK_OPTIONS.offload),
    macGuard: flag(o, 'tapline.mac_guard', NO_NETWORK_OPTIONS.macGuard),
    snooping: flag(o, SNOOPING, driver === 'overlay' || NO_NETWORK_OPTIONS.snooping),
    querier: flag(o, QUERIER, NO_NETWORK_OPTIONS.querier),
    fdbAgeingS: integer(o, AGEING, AGEING_S) ?? NO_NETWORK_OPTIONS.fdbAgeingS,
    txQueueLen: integer(o, TX_QUEUE, TX_QUEUE_PACKETS),
    sandbox: target(o, network.driver === 'container'),
    masquerade: flag(o, MASQUERADE, NO_NETWORK_OPTIONS.masquerade),
    gatewayMode4: gatewayMode(o, MODE4, network.internal),
    gatewayMode6: gatewayMode(o, MODE6, network.internal),
    egress4: address(o, EGRESS4, 4),
    egress6: address(o, EGRESS6, 6),
    binding4: address(o, BINDING4, 4),
    macvlan: undefined,
  }
}

export function endpointOptions(
  o: Source,
  network: { readonly options: NetworkOptions; readonly ipv6: boolean },
): EndpointOptions {
  unknown(o, ENDPOINT_KEYS, [])
  const least = network.ipv6 ? MTU6_MIN_BYTES : MTU_MIN_BYTES
  const pvid = integer(o, 'tapline.vlan_pvid', [1, VID_MAX])
  const tagged = vids(o, 'tapline.vlan_tagged')
  if (!network.options.vlanFiltering) {
    for (const key of ['tapline.vlan_pvid', 'tapline.vlan_tagged']) {
      if (o.values[key] === undefined) continue
      const message = `"${key}" has no effect without "tapline.vlan_filtering: true" on the network`
      o.faults.atKey([...o.path, key], message)
    }
  }
  return {
    mtuBytes: integer(o, 'tapline.mtu', [least, network.options.mtuBytes]),
    isolated: flag(o, 'tapline.isolated', false),
    dhcp: flag(o, 'tapline.dhcp', false),
    pvid,
    tagged,
    splitHorizon: integer(o, SPLIT, [0, SPLIT_MAX]) ?? NO_ENDPOINT_OPTIONS.splitHorizon,
    broadcastPerS: integer(o, 'tapline.storm_broadcast', [0, STORM_MAX_PER_S]),
    multicastPerS: integer(o, 'tapline.storm_multicast', [0, STORM_MAX_PER_S]),
    unknownPerS: integer(o, 'tapline.storm_unknown', [0, STORM_MAX_PER_S]),
    multicastRouter: multicastRouter(o),
    fastLeave: o.values[FAST_LEAVE] === undefined ? undefined : flag(o, FAST_LEAVE, false),
  }
}

function unknown(o: Source, known: readonly string[], later: readonly string[]): void {
  for (const key of Object.keys(o.values)) {
    if (known.includes(key)) continue
    if (OVERLAY_KEYS.includes(key)) {
      o.faults.atKey([...o.path, key], `"${key}" goes with driver overlay only`)
    } else o.faults.atKey([...o.path, key], unknownKey(key, known, later))
  }
}

function target(o: Source, container: boolean): string | undefined {
  const key = TARGET_KEY
  const value = o.values[key]
  if (container && typeof value === 'string') return value
  if (container) {
    o.faults.at([...o.path, key], `driver container needs "${key}": whose stack is shared`)
  } else if (value !== undefined) {
    o.faults.atKey([...o.path, key], `"${key}" goes with driver container only`)
  }
  return undefined
}

function gateway(o: Source, internal: boolean): boolean {
  const has = flag(o, GATEWAY, NO_NETWORK_OPTIONS.gateway)
  if (!has && !internal) {
    const message = 'a network without a gateway leads nowhere: it needs "internal: true"'
    o.faults.at([...o.path, GATEWAY], message)
  }
  for (const key of has ? [] : [...LED_KEYS, SEPARATE]) {
    if (o.values[key] === undefined) continue
    o.faults.atKey([...o.path, key], `"${key}" is for networks with a gateway`)
  }
  return has
}

function gatewayMode(o: Source, key: string, internal: boolean): GatewayMode {
  const value = o.values[key]
  if (value === undefined) return NO_NETWORK_OPTIONS.gatewayMode4
  const mode = MODES.find((name) => name === value)
  if (mode === undefined) {
    o.faults.at([...o.path, key], `expected ${MODES.join(', ')}, got ${describe(value)}`)
  } else if (mode === 'isolated' && !internal) {
    o.faults.at([...o.path, key], 'mode "isolated" is for networks with "internal: true"')
  }
  return mode ?? NO_NETWORK_OPTIONS.gatewayMode4
}

function multicastRouter(o: Source): MulticastRouter {
  const value = o.values[MULTICAST]
  if (value === undefined) return NO_ENDPOINT_OPTIONS.multicastRouter
  const found = MULTICAST_ROUTER.find((name) => name === value)
  if (found !== undefined) return found
  const message = `expected ${MULTICAST_ROUTER.join(', ')}, got ${describe(value)}`
  o.faults.at([...o.path, MULTICAST], message)
  return NO_ENDPOINT_OPTIONS.multicastRouter
}

export function address(o: Source, key: string, family?: Family): Address | undefined {
  const value = o.values[key]
  if (value === undefined) return undefined
  try {
    const parsed = parseAddress(String(value))
    if (family === undefined || parsed.family === family) return parsed
  } catch (error) {
    if (!(error instanceof StackError)) throw error
  }
  o.faults.at(
    [...o.path, key],
    `expected an IPv${family ?? '4 or IPv6'} address, got ${describe(value)}`,
  )
  return undefined
}

export function flag(o: Source, key: string, otherwise: boolean): boolean {
  const value = o.values[key]
  if (value === undefined) return otherwise
  const written = String(value).toLowerCase()
  if (written === 'true' || written === '1') return true
  if (written === 'false' || written === '0') return false
  o.faults.at([...o.path, key], `expected "true" or "false", got ${describe(value)}`)
  return otherwise
}

function integer(
  o: Source,
  key: string,
  [least, most]: readonly [number, number],
): number | undefined {
  const value = o.values[key]
  if (value === undefined) return undefined
  const number = wholeNumber(value)
  if (number !== undefined && number >= least && number <= most) return number
  const wanted = `a whole number from ${least} to ${most}`
  o.faults.at([...o.path, key], `expected ${wanted}, got ${describe(value)}`)
  return undefined
}

function vids(o: Source, key: string): readonly number[] {
  const value = o.values[key]
  if (value === undefined) return []
  const list = String(value)
    .split(',')
    .map((part) => wholeNumber(part.trim()))
  const valid = list.filter((vid) => vid !== undefined && vid >= 1 && vid <= VID_MAX) as number[]
  if (valid.length === list.length) return [...new Set(valid)].sort((a, b) => a - b)
  const wanted = `VLAN numbers from 1 to ${VID_MAX} with commas, such as "10,20"`
  o.faults.at([...o.path, key], `expected ${wanted}, got ${describe(value)}`)
  return []
}

export function wholeNumber(value: unknown): number | undefined {
  const written = typeof value === 'number' ? String(value) : value
  return typeof written === 'string' && /^\d{1,10}$/.test(written) ? Number(written) : undefined
}
