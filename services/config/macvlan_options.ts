/** `driver_opts` of a network of driver `macvlan`: Docker's names where Docker has the option. */

import { describe } from './explain.ts'
import { flag, NETWORK_KEYS, type NetworkFacts, networkOptions, type Source } from './options.ts'
import { MACVLAN_MODES, type MacvlanOptions, type NetworkOptions } from './options_model.ts'
import { parentFault } from './parent.ts'
import { netnsFault } from './schema.ts'

const PARENT = 'parent'
const MODE = 'macvlan_mode'
const NETNS = 'tapline.parent_netns'
const HOST = 'tapline.host_access'
const KEYS: readonly string[] = [PARENT, MODE, NETNS, HOST]
/** Of all networks, those that mean something without a gateway of ours. */
const SHARED: readonly string[] = [
  'com.docker.network.driver.mtu',
  'tapline.arp_proxy',
  'tapline.vlan_filtering',
  'tapline.offload',
  'tapline.mac_guard',
]

export function macvlanOptions(o: Source, network: NetworkFacts): NetworkOptions {
  const macvlan = parentOptions(o, network.leased)
  const values = Object.entries(o.values).filter(([key]) => !KEYS.includes(key))
  for (const [key] of values) {
    if (SHARED.includes(key) || !NETWORK_KEYS.includes(key)) continue
    o.faults.atKey([...o.path, key], `"${key}" has no effect with driver "macvlan"`)
  }
  const options = networkOptions({ ...o, values: Object.fromEntries(values) }, network)
  // Who has the parent to itself may be several stations, unless that is forbidden.
  const alone = macvlan.mode === 'passthru' && o.values['tapline.mac_guard'] === undefined
  // A station that is kept apart is not to be answered for.
  const apart = macvlan.mode === 'private' || macvlan.mode === 'vepa'
  const macGuard = options.macGuard && !alone
  return { ...options, macGuard, arpProxy: options.arpProxy && !apart, macvlan }
}

function parentOptions(o: Source, leased: boolean): MacvlanOptions {
  const parent = name(o, PARENT, parentFault)
  const netns = name(o, NETNS, netnsFault)
  const hostAccess = flag(o, HOST, false)
  const value = o.values[MODE] ?? 'bridge'
  const mode = MACVLAN_MODES.find((known) => known === value)
  if (mode === undefined) {
    const wanted = MACVLAN_MODES.join(', ')
    o.faults.at([...o.path, MODE], `expected ${wanted}, got ${describe(value)}`)
  }
  for (const key of [NETNS, HOST]) {
    if (parent !== undefined || o.values[key] === undefined) continue
    o.faults.atKey([...o.path, key], `"${key}" has no effect without "${PARENT}"`)
  }
  if (hostAccess && (mode === 'vepa' || mode === 'passthru')) {
    const message = `mode "${mode}" sends everything to the parent: the host is not reached`
    o.faults.atKey([...o.path, HOST], message)
  }
  return { parent, netns, mode: mode ?? 'bridge', hostAccess, leased }
}

function name(
  o: Source,
  key: string,
  fault: (name: string) => string | undefined,
): string | undefined {
  const value = o.values[key]
  if (value === undefined) return undefined
  const written = String(value)
  const message = fault(written)
  if (message === undefined) return written
  o.faults.at([...o.path, key], message)
  return undefined
}
