/**
 * What a schema cannot say: how the parts of a configuration fit together. Subnets do not overlap,
 * addresses lie in them and are given once, names refer to something, drivers get what they can do.
 *
 * Every fault is told at the place where the later of two parties is written.
 */
import {
  type Address,
  contains,
  formatAddress,
  formatPrefix,
  overlaps,
  type Prefix,
  parsePrefix,
  sameAddress,
} from '../../stack/address.ts'
import { PORTS_MAX } from '../../stack/counters.ts'
import { defaultGateway, Subnet } from '../ipam.ts'
import { UPLINK_KEY } from '../state.ts'
import { checkDhcp } from './check_dhcp.ts'
import { checkMacvlan } from './check_macvlan.ts'
import { checkOutside } from './check_outside.ts'
import { checkOverlays } from './check_overlay.ts'
import { checkPolicies } from './check_policy.ts'
import { checkSandboxes } from './check_sandboxes.ts'
import { checkServices } from './check_services.ts'
import { hasInterfaces } from './drivers.ts'
import type { Path } from './faults.ts'
import { addressKey, Holders, type Located } from './located.ts'
import { isBridged, type NetworkConfig, type SubnetConfig } from './model.ts'

/** Prefixes that no network may have: what hosts and routers treat in a way of its own. */
const SPECIAL: readonly (readonly [Prefix, string])[] = [
  [parsePrefix('0.0.0.0/8'), 'means "this network"'],
  [parsePrefix('127.0.0.0/8'), 'is loopback'],
  [parsePrefix('169.254.0.0/16'), 'is link-local'],
  [parsePrefix('224.0.0.0/4'), 'is multicast'],
  [parsePrefix('240.0.0.0/4'), 'is reserved'],
  [parsePrefix('::/8'), 'is reserved'],
  [parsePrefix('fe80::/10'), 'is link-local'],
  [parsePrefix('ff00::/8'), 'is multicast'],
]

/** Names that `network_mode` uses, and that of the way out. */
const RESERVED: readonly string[] = ['host', 'none', UPLINK_KEY]

export function check(o: Located): void {
  checkNetworks(o)
  const held = new Holders()
  for (const network of o.config.networks) reserveOwn(o, network, held)
  checkDhcp(o, held)
  checkSandboxes(o, held)
  checkApart(o)
  checkMacvlan(o)
  checkRoutes(o)
  checkOutside(o)
  checkServices(o, held)
  checkPolicies(o)
  checkOverlays(o, held)
  const endpoints = o.config.sandboxes.flatMap((sandbox) => sandbox.endpoints)
  if (endpoints.length >= PORTS_MAX) {
    const message = `${endpoints.length} interfaces; one node has at most ${PORTS_MAX - 1}`
    o.faults.at(['sandboxes'], message)
  }
}

function checkNetworks(o: Located): void {
  const before: Placed[] = []
  for (const network of o.config.networks) {
    const path = o.path(network)
    if (path[0] === 'networks' && RESERVED.includes(network.name)) {
      o.faults.atKey(
        path,
        network.name === UPLINK_KEY
          ? `"${network.name}" is reserved for the way out`
          : `"${network.name}" is reserved for network_mode: ${network.name}`,
      )
    }
    if (hasInterfaces(network.driver)) checkFamilies(o, network)
    else if (network.subnets.length > 0 || network.ipv6) {
      const at = [...path, network.ipv6 ? 'enable_ipv6' : 'ipam']
      o.faults.atKey(at, `driver "${network.driver}" gives no addresses; leave this out`)
    }
    for (const subnet of network.subnets) {
      checkSubnet(o, subnet)
      const other = before.find((earlier) => clash(earlier, { network, subnet }))
      if (other !== undefined) {
        const whose = `${formatPrefix(other.subnet.subnet)} of network "${other.network.name}"`
        const message = `${formatPrefix(subnet.subnet)} overlaps ${whose}`
        o.faults.at([...o.path(subnet), 'subnet'], message)
      }
      before.push({ network, subnet })
    }
  }
}

interface Placed {
  readonly network: NetworkConfig
  readonly subnet: SubnetConfig
}

/** One router serves all networks, but those that it has no part in. */
function clash(a: Placed, b: Placed): boolean {
  const isRouted = a.network.options.gateway && b.network.options.gateway
  return (isRouted || a.network === b.network) && overlaps(a.subnet.subnet, b.subnet.subnet)
}

/** Networks without a gateway may have equal subnets; a kernel that is on both could not tell. */
function checkApart({ config, faults, path }: Located): void {
  for (const sandbox of config.sandboxes) {
    const own = sandbox.endpoints.map(({ network }) => network)
    const networks = config.networks.filter(({ name }) => own.includes(name))
    const all = networks.flatMap((network) =>
      network.subnets.map(({ subnet }) => ({ network, subnet })),
    )
    for (const [i, { network, subnet }] of all.entries()) {
      const other = all.slice(0, i).find((earlier) => overlaps(earlier.subnet, subnet))
      if (other === undefined || other.network === network) continue
      const both = `${formatPrefix(other.subnet)} of network "${other.network.name}"`
      const message = `${formatPrefix(subnet)} of network "${network.name}" overlaps ${both}`
      return faults.at(path(sandbox), `a sandbox cannot be on both: ${message}`)
    }
  }
}

function checkFamilies(o: Located, network: NetworkConfig): void {
  const path = o.path(network)
  if (!network.ipv4 && !network.ipv6) {
    o.faults.at([...path, 'enable_ipv4'], 'a network without IPv4 needs enable_ipv6: true')
  }
  for (const subnet of network.subnets) {
    const { family } = subnet.subnet.address
    if (family === 6 ? network.ipv6 : network.ipv4) continue
    const message = `an IPv${family} subnet needs enable_ipv${family}: true on the network`
    o.faults.at([...o.path(subnet), 'subnet'], message)
  }
}

function checkSubnet(o: Located, config: SubnetConfig): void {
  const path = o.path(config)
  const subnet = new Subnet(config)
  const text = formatPrefix(config.subnet)
  for (const [special, why] of SPECIAL) {
    if (!overlaps(special, config.subnet)) continue
    return o.faults.at(
      [...path, 'subnet'],
      `${text} cannot be used: ${formatPrefix(special)} ${why}`,
    )
  }
  if (config.subnet.bits > (config.subnet.address.family === 4 ? 31 : 127)) {
    const message = `${text} is too small: it needs room for a gateway and a sandbox`
    return o.faults.at([...path, 'subnet'], message)
  }
  const { gateway, range, auxiliary } = config
  if (gateway !== undefined && !subnet.isHost(gateway)) {
    o.faults.at([...path, 'gateway'], `${formatAddress(gateway)} is not a host address of ${text}`)
  }
  const inside = range === undefined || contains(config.subnet, range.address)
  if (range !== undefined && (!inside || range.bits < config.subnet.bits)) {
    o.faults.at([...path, 'ip_range'], `${formatPrefix(range)} is not inside ${text}`)
  }
  for (const { address } of auxiliary) {
    if (subnet.isHost(address)) continue
    const at = o.path(auxiliary.find((entry) => entry.address === address)!)
    o.faults.at(at, `${formatAddress(address)} is not a host address of ${text}`)
  }
}

/** Gateways and auxiliary addresses are taken before any sandbox asks. */
function reserveOwn(o: Located, network: NetworkConfig, held: Holders): void {
  for (const subnet of network.subnets) {
    held.take(addressKey(network, subnet.gateway ?? defaultGateway(subnet)), 'the gateway')
    for (const auxiliary of subnet.auxiliary) {
      const who = held.take(
        addressKey(network, auxiliary.address),
        `aux_addresses "${auxiliary.name}"`,
      )
      if (who === undefined) continue
      o.faults.at(o.path(auxiliary), `${formatAddress(auxiliary.address)} is taken by ${who}`)
    }
  }
}

function checkRoutes(o: Located): void {
  const bridges = o.config.networks.filter((network) => isBridged(network.driver))
  const subnets = bridges.flatMap((network) => network.subnets.map((s) => ({ network, ...s })))
  const seen = new Set<string>()
  for (const route of o.config.routes) {
    const path = o.path(route)
    const text = formatPrefix(route.to)
    if (seen.has(text)) o.faults.at([...path, 'to'], `there is already a route to ${text}`)
    seen.add(text)
    const { gateways = [] } = o.config.uplink ?? {}
    if (route.to.bits === 0 && gateways.some(({ family }) => family === route.to.address.family)) {
      o.faults.at([...path, 'to'], 'the gateway of the uplink is the way there already')
    }
    if ((route.via !== undefined) === route.blackhole) {
      o.faults.at(path, 'a route has either "via: ADDRESS" or "blackhole: true"')
      continue
    }
    const own = subnets.find((s) => samePrefix(s.subnet, route.to))
    if (own !== undefined) {
      const message = `${text} is network "${own.network.name}" itself, which has its own route`
      o.faults.at([...path, 'to'], message)
    }
    if (route.via !== undefined) checkVia(o, { path, to: route.to, via: route.via, bridges })
  }
}

function checkVia(
  o: Located,
  route: {
    readonly path: Path
    readonly to: Prefix
    readonly via: Address
    readonly bridges: readonly NetworkConfig[]
  },
): void {
  const { via, to, bridges } = route
  const path = [...route.path, 'via']
  const { family } = via
  const text = formatAddress(via)
  if (family !== to.address.family) {
    return o.faults.at(path, `${text} is not an IPv${to.address.family} address`)
  }
  const on = bridges.find((n) => n.subnets.some((s) => contains(s.subnet, via)))
  const uplink = o.config.uplink?.addresses.filter((own) => contains(own, via)) ?? []
  if (on === undefined && uplink.length > 0) {
    if (!uplink.some((own) => sameAddress(own.address, via))) return
    return o.faults.at(path, `${text} is the router's own address`)
  }
  // A network whose subnet IPAM will choose may turn out to hold it: asked again in plan.ts.
  const open =
    o.broken.size > 0 ||
    bridges.some(
      (n) =>
        (family === 6 ? n.ipv6 : n.ipv4) &&
        !n.subnets.some((s) => s.subnet.address.family === family),
    )
  if (on === undefined) {
    if (!open) o.faults.at(path, `${text} is not on any network of this file`)
  } else if (on.internal) {
    o.faults.at(path, `network "${on.name}" is internal: nothing is routed through it`)
  } else if (on.subnets.some((s) => sameAddress(s.gateway ?? defaultGateway(s), via))) {
    o.faults.at(path, `${text} is the router's own address`)
  }
}

function samePrefix(a: Prefix, b: Prefix): boolean {
  return a.bits === b.bits && sameAddress(a.address, b.address)
}
