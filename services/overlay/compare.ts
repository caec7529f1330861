/**
 * Whether the tables of an overlay network say what its sources say: bridge FDB, tunnel, members,
 * bindings, what the router has found out by itself, and where cached flows go.
 */
import { type Address, formatAddress, sameAddress } from '../../stack/address.ts'
import { formatMac } from '../../stack/eth/mac.ts'
import type { FlowCache } from '../../stack/ip/flow_cache.ts'
import type { Router } from '../../stack/ip/router.ts'
import type { OverlayNetwork } from './overlay_network.ts'
import type { EndpointRecord } from './peer_source.ts'
import type { Segment } from './segment.ts'

export interface Difference {
  readonly network: string
  readonly vni: number
  readonly table: 'bridge' | 'tunnel' | 'members' | 'bindings' | 'neighbors' | 'flows'
  /** MAC, address or tunnel end. */
  readonly key: string
  /** What sources say; null: nothing. */
  readonly expected: string | null
  /** What the table says; null: nothing. */
  readonly found: string | null
}

/** What each table should say, by its keys, and what it says. */
export interface TableState {
  readonly table: Difference['table']
  readonly expected: ReadonlyMap<string, string>
  readonly found: ReadonlyMap<string, string>
}

/** What is found out by traffic. */
export interface Learned {
  readonly router: Router
  /** Undefined: nothing is cached. */
  readonly flows: FlowCache | undefined
}

export function compare(network: OverlayNetwork, learned: Learned): Difference[] {
  return network.segments.flatMap((segment) =>
    tablesOf(network, segment, learned).flatMap(({ table, expected, found }) => {
      const keys = new Set([...expected.keys(), ...found.keys()])
      return [...keys].flatMap((key): Difference[] => {
        const [should, is] = [expected.get(key) ?? null, found.get(key) ?? null]
        if (should === is) return []
        return [
          { network: network.name, vni: segment.vni, table, key, expected: should, found: is },
        ]
      })
    }),
  )
}

/** Endpoints of other nodes that sources tell of, the first source first, and not ones of ours. */
function toldRecords(network: OverlayNetwork, vni: number): EndpointRecord[] {
  const told = new Map<string, EndpointRecord>()
  for (const source of network.sources()) {
    for (const record of source.records(vni)) {
      const mac = formatMac(record.mac)
      const away = !network.isOwn(record.vtep) && !network.isLocal(record.mac)
      if (away && !told.has(mac)) told.set(mac, record)
    }
  }
  return [...told.values()]
}

/** Nodes that sources tell of. */
function toldVteps(network: OverlayNetwork, vni: number): Address[] {
  const told: Address[] = []
  for (const vtep of network.sources().flatMap((source) => source.vteps(vni))) {
    if (network.isOwn(vtep) || told.some((other) => sameAddress(other, vtep))) continue
    told.push(vtep)
  }
  return told
}

function tablesOf(
  network: OverlayNetwork,
  segment: Segment,
  { router, flows }: Learned,
): TableState[] {
  const { vni, tunnel, port, vid = 0 } = segment
  const told = toldRecords(network, vni)
  const at = new Map(told.map(({ mac, vtep }) => [formatMac(mac), formatAddress(vtep)]))
  const statics = tunnel.stations().filter((station) => station.static)
  const addresses = addressesOf(network, told)
  const bound = network.bindings.list().filter((binding) => binding.port === tunnel.port)
  const known = router.neighbors
    .list()
    .filter(({ link, mac, address }) => {
      return link === network.name && mac !== undefined && addresses.has(address)
    })
    .map(({ address, mac }) => [address, mac!] as const)
  const bridged = network.bridge.fdb().filter((row) => row.static && row.port === port.name)
  const members = toldVteps(network, vni).map(formatAddress)
  const ways = (flows?.waysTo(tunnel.port) ?? []).map(({ mac, output }) => {
    const vtep = tunnel.vtepBehind(output)
    return [formatMac(mac), vtep === undefined ? 'nobody' : formatAddress(vtep)] as const
  })
  // Of several ways to a station, one that goes astray counts.
  const ours = ways.filter(([mac]) => at.has(mac))
  const isRight = ([mac, vtep]: readonly [string, string]): boolean => at.get(mac) === vtep
  const going = [...ours.filter(isRight), ...ours.filter((way) => !isRight(way))]
  const taking = tunnel.peers().filter(({ member }) => member)
  return [
    {
      table: 'bridge',
      expected: new Map([...at.keys()].map((mac) => [mac, `${port.name} ${vid}`])),
      found: new Map(bridged.map((row) => [row.mac, `${row.port} ${row.vid}`])),
    },
    {
      table: 'tunnel',
      expected: at,
      found: new Map(statics.map(({ mac, vtep }) => [formatMac(mac), formatAddress(vtep)])),
    },
    {
      table: 'members',
      expected: new Map(members.map((vtep) => [vtep, 'member'])),
      found: new Map(taking.map(({ vtep }) => [formatAddress(vtep), 'member'])),
    },
    {
      table: 'bindings',
      expected: addresses,
      found: new Map(bound.map(({ address, mac }) => [address, mac])),
    },
    {
      table: 'neighbors',
      // The router need not have asked.
      expected: new Map(known.map(([address]) => [address, addresses.get(address)!])),
      found: new Map(known),
    },
    {
      table: 'flows',
      // Nor need there be traffic.
      expected: new Map(going.map(([mac]) => [mac, at.get(mac)!])),
      found: new Map(going),
    },
  ]
}

/** Addresses with their MACs; an address that an endpoint of this node has is its. */
function addressesOf(
  network: OverlayNetwork,
  records: readonly EndpointRecord[],
): Map<string, string> {
  const addresses = new Map<string, string>()
  for (const { mac, addresses: own } of records) {
    for (const address of own) {
      if (!network.isHeldHere(address)) addresses.set(formatAddress(address), formatMac(mac))
    }
  }
  return addresses
}
