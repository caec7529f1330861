/**
 * The IPAM driver: address pools of Docker's networks, by the rules of ipam.md: lowest free first,
 * inside `--ip-range` where there is one, and no two pools overlap. Pools that nobody names come
 * from the other end of the list than with Docker's own IPAM driver, which knows nothing of them.
 *
 * Calls are functions from a record to another one, so that a call that fails has changed nothing.
 * A subnet's set of taken addresses is made anew for each call, from a few addresses a container.
 */
import {
  type Address,
  formatAddress,
  formatPrefix,
  overlaps,
  type Prefix,
  parseAddress,
  parsePrefix,
} from '../../stack/address.ts'
import { StackError } from '../../stack/errors.ts'
import { readNetworkPrefix } from '../config/schema.ts'
import { hostAddresses } from '../host/host_addresses.ts'
import { defaultGateway, defaultSubnet, Subnet } from '../ipam.ts'
import {
  GATEWAY_TYPE,
  type ReleaseAddress,
  type RequestAddress,
  type RequestPool,
} from './messages.ts'
import { type DockerRecord, type PoolRecord, withEntry } from './record.ts'

/** Pools of all networks of a host: Docker's own has room for some thirty by default. */
const POOLS_MAX = 1024

export interface Changed<T> {
  readonly record: DockerRecord
  readonly answer: T
}

/** @throws StackError `exists` if it overlaps another, `exhausted`, `bad-argument`. */
export function requestPool(
  record: DockerRecord,
  { AddressSpace, Pool, SubPool, Options, V6 }: RequestPool,
): Changed<{ readonly PoolID: string; readonly Pool: string; readonly Data: object }> {
  const { pools } = record
  if (pools.size >= POOLS_MAX) throw new StackError('exhausted', `${POOLS_MAX} pools are in use`)
  const [unknown] = Object.keys(Options)
  if (unknown !== undefined) {
    throw new StackError('bad-argument', `unknown option "${unknown}" of --ipam-opt; there is none`)
  }
  if (Pool === '' && SubPool !== '') {
    throw new StackError('bad-argument', '--ip-range needs a --subnet that it is a part of')
  }
  const taken = [...pools.values()].map(({ subnet }) => parsePrefix(subnet))
  const family = V6 ? 6 : 4
  const subnet =
    Pool === ''
      ? defaultSubnet(family, `docker ${pools.size}`, [...taken, ...hostNets()], true)
      : readNetworkPrefix(Pool)
  const text = formatPrefix(subnet)
  if (subnet.address.family !== family) {
    throw new StackError('bad-argument', `${text} is not an IPv${family} subnet`)
  }
  const other = taken.find((one) => overlaps(one, subnet))
  if (other !== undefined) {
    throw new StackError('exists', `${text} overlaps the pool ${formatPrefix(other)}`)
  }
  const range = SubPool === '' ? undefined : readNetworkPrefix(SubPool)
  if (range !== undefined && (!overlaps(range, subnet) || range.bits < subnet.bits)) {
    throw new StackError('bad-argument', `--ip-range ${SubPool} is not a part of ${text}`)
  }
  const id = [AddressSpace || 'tapline', text, ...(range ? [formatPrefix(range)] : [])].join(' ')
  const pool: PoolRecord = { id, subnet: text, ...(range && { range: SubPool }), addresses: [] }
  const answer = { PoolID: id, Pool: text, Data: {} }
  return { record: { ...record, pools: withEntry(pools, id, pool) }, answer }
}

/** Harmless if it is not there. */
export function releasePool(record: DockerRecord, id: string): Changed<object> {
  return { record: { ...record, pools: withEntry(record.pools, id, undefined) }, answer: {} }
}

/** @throws StackError `exists`, `exhausted`, `bad-address`, `not-found`. */
export function requestAddress(
  record: DockerRecord,
  { PoolID, Address: wanted, Options }: RequestAddress,
): Changed<{ readonly Address: string; readonly Data: object }> {
  const pool = record.pools.get(PoolID)
  if (pool === undefined) throw new StackError('not-found', `no address pool "${PoolID}"`)
  const prefix = parsePrefix(pool.subnet)
  const range = pool.range === undefined ? undefined : parsePrefix(pool.range)
  const subnet = new Subnet({ subnet: prefix, range })
  for (const address of pool.addresses) subnet.reserve(parseAddress(address), 'another')
  const chosen = choose(subnet, { prefix, wanted, gateway: isGateway(Options) })
  const text = formatAddress(chosen)
  const changed: PoolRecord = { ...pool, addresses: [...pool.addresses, text] }
  return {
    record: { ...record, pools: withEntry(record.pools, PoolID, changed) },
    answer: { Address: `${text}/${prefix.bits}`, Data: {} },
  }
}

/** Harmless if it is free. */
export function releaseAddress(
  record: DockerRecord,
  { PoolID, Address: given }: ReleaseAddress,
): Changed<object> {
  const pool = record.pools.get(PoolID)
  if (pool === undefined) return { record, answer: {} }
  const text = formatAddress(parseAddress(given.replace(/\/.*/, '')))
  const changed = { ...pool, addresses: pool.addresses.filter((one) => one !== text) }
  return { record: { ...record, pools: withEntry(record.pools, PoolID, changed) }, answer: {} }
}

/** A gateway is the first host of the subnet, wherever the range is. */
function choose(
  subnet: Subnet,
  o: { readonly prefix: Prefix; readonly wanted: string; readonly gateway: boolean },
): Address {
  const first = defaultGateway({
    subnet: o.prefix,
    gateway: undefined,
    range: undefined,
    auxiliary: [],
  })
  if (o.wanted !== '') {
    const address = parseAddress(o.wanted.replace(/\/.*/, ''))
    subnet.reserve(address, 'this')
    return address
  }
  if (!o.gateway || subnet.holder(first) !== undefined) return subnet.allocate('a container')
  subnet.reserve(first, 'this')
  return first
}

function isGateway(options: Readonly<Record<string, unknown>>): boolean {
  return options['RequestAddressType'] === GATEWAY_TYPE
}

/**
 * Whoever publishes ports to a net that the host is on could not be answered: the router would look
 * for its clients on its own network. @throws StackError `exists`.
 */
export function refuseHostNet(subnet: Prefix): void {
  const other = hostAddresses().find(({ prefix }) => overlaps(prefix, subnet))
  if (other === undefined) return
  const where = `${formatPrefix(other.prefix)}, which this host has on ${other.interfaceName}`
  const message = `${formatPrefix(subnet)} overlaps ${where}: give the network another --subnet`
  throw new StackError('exists', message)
}

/** Networks that the host is on: no pool that is chosen here takes their addresses. */
function hostNets(): Prefix[] {
  return hostAddresses().map(({ prefix }) => prefix)
}
