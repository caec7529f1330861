/**
 * From what Docker says of a network or an endpoint to what is kept of it: addresses in one form,
 * options by name, and an error that tells the person who typed the command what is wrong.
 */
import {
  formatAddress,
  formatPrefix,
  networkOf,
  parseAddress,
  parsePrefix,
} from '../../stack/address.ts'
import { StackError } from '../../stack/errors.ts'
import { formatMac, parseMac } from '../../stack/eth/mac.ts'
import { MacPool } from '../mac_pool.ts'
import type * as messages from './messages.ts'
import { GENERIC, IFACE_PREFIX, INTERNAL } from './messages.ts'
import type { EndpointRecord, NetworkRecord, SubnetRecord } from './record.ts'

/** Auxiliary addresses by which Docker's bridge names another machine as the gateway. */
const OTHER_GATEWAY = { 4: 'DefaultGatewayIPv4', 6: 'DefaultGatewayIPv6' } as const
const DEFAULT_PREFIX = 'eth'

/** @throws StackError `bad-argument`, `bad-address`. */
export function networkRecord(request: messages.CreateNetwork): NetworkRecord {
  const { NetworkID: id, Options, IPv4Data, IPv6Data } = request
  const { [IFACE_PREFIX]: prefix = DEFAULT_PREFIX, ...options } = texts(Options[GENERIC])
  if (!/^[a-z][\w.-]{0,9}$/i.test(prefix)) {
    throw new StackError('bad-argument', `"${prefix}" is not the beginning of an interface's name`)
  }
  const subnets = [...IPv4Data, ...IPv6Data].map(subnetRecord)
  if (subnets.length === 0) {
    throw new StackError('bad-argument', 'a network needs a subnet: IPAM has given none')
  }
  return { id, internal: Options[INTERNAL] === true, subnets, options, prefix }
}

function subnetRecord({ Pool, Gateway, AuxAddresses }: messages.IpamData): SubnetRecord {
  const pool = parsePrefix(Pool)
  if (pool.bits === 0) {
    throw new StackError('bad-argument', 'the IPAM driver "null" gives no subnet; use another one')
  }
  if (Gateway === '') throw new StackError('bad-argument', `subnet ${Pool} has no gateway`)
  const auxiliary = Object.entries(AuxAddresses).map(([name, one]) => [name, hostPart(one)])
  return {
    subnet: formatPrefix({ address: networkOf(pool), bits: pool.bits }),
    gateway: hostPart(Gateway),
    auxiliary: Object.fromEntries(auxiliary),
  }
}

/** Its MAC, if Docker leaves it to us, is made of its address. @throws StackError. */
export function endpointRecord(request: messages.CreateEndpoint): EndpointRecord {
  const { NetworkID: network, EndpointID: id, Interface, Options } = request
  const address4 = Interface.Address === '' ? undefined : hostPart(Interface.Address)
  const address6 = Interface.AddressIPv6 === '' ? undefined : hostPart(Interface.AddressIPv6)
  const first = address4 ?? address6
  if (first === undefined) {
    throw new StackError('bad-argument', 'an endpoint needs an address: IPAM has given none')
  }
  const given = Interface.MacAddress
  return {
    id,
    network,
    ...(address4 !== undefined && { address4 }),
    ...(address6 !== undefined && { address6 }),
    mac: formatMac(given === '' ? new MacPool().derive(parseAddress(first)) : parseMac(given)),
    options: driverOptions(Options),
    ports: [],
  }
}

/** The machine that sandboxes are to use: the router, unless the network names another one. */
export function gatewayFor(subnets: readonly SubnetRecord[], family: 4 | 6): string {
  const own = subnets.find(({ gateway }) => parseAddress(gateway).family === family)
  return own?.auxiliary[OTHER_GATEWAY[family]] ?? own?.gateway ?? ''
}

/** Options of an endpoint are beside what Docker tells of it: those of ours, by their names. */
function driverOptions(all: Readonly<Record<string, unknown>>): Record<string, string> {
  return texts(
    Object.fromEntries(Object.entries(all).filter(([key]) => key.startsWith('tapline.'))),
  )
}

function texts(value: unknown): Record<string, string> {
  if (typeof value !== 'object' || value === null) return {}
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, String(one)]))
}

/** Without the bits of the subnet. @throws StackError `bad-address`. */
function hostPart(text: string): string {
  return formatAddress(parseAddress(text.replace(/\/.*/, '')))
}
