/**
 * What the process before has left, and what of it the node does not have yet.
 *
 * ```text
 *   namespace is gone      the container has ended: endpoint and its addresses are dropped
 *   interface is gone      the endpoint has left; Docker will take it away
 *   both are there         it is taken up; where that fails, it stays in the record, apart from
 *                          the node, and is tried again: its container runs
 * ```
 *
 * Docker does not ask again for what it removed while no driver answered, so an endpoint without a
 * namespace would stay for good. An endpoint that fails is another matter: its TAP may be held for
 * a moment by a process that ends, or a program of the host may have its port.
 */
import { contains, parseAddress, parsePrefix } from '../../stack/address.ts'
import type { HandedOverFate, Links } from '../links.ts'
import type { Log } from '../log.ts'
import { linkName, shortId } from './desired.ts'
import { type DockerRecord, type EndpointRecord, joined, left, withEndpoint } from './record.ts'

/** A record without what has ended since it was saved. */
export function stillThere(saved: DockerRecord, links: Links, log: Log): DockerRecord {
  let record = saved
  for (const endpoint of joined(saved)) {
    const facts = { endpoint: shortId(endpoint.id), network: shortId(endpoint.network) }
    const fate = fateOf(endpoint, links, log)
    if (fate === 'lost') {
      log.warn(facts, 'an endpoint is taken as left: its interface is gone')
      record = withEndpoint(record, left(endpoint))
    } else if (fate === 'ended') {
      log.warn(facts, 'an endpoint is dropped: its container has ended while tapline was away')
      record = withoutEndpoint(record, endpoint)
    }
  }
  return record
}

/** What cannot be told now is there: it is tried again. */
function fateOf({ id, sandboxKey }: EndpointRecord, links: Links, log: Log): HandedOverFate {
  if (links.handedOver === undefined) return 'lost'
  try {
    return links.handedOver.fate(linkName(id), sandboxKey!)
  } catch (error) {
    log.error({ endpoint: shortId(id), err: error }, 'it is not known where an endpoint is')
    return 'there'
  }
}

/** Off the record, and its addresses free in the pools that its network has them of. */
function withoutEndpoint(record: DockerRecord, endpoint: EndpointRecord): DockerRecord {
  const { id, network, address4, address6 } = endpoint
  const subnets = record.networks.get(network)?.subnets.map(({ subnet }) => subnet) ?? []
  const own = [address4, address6].filter((one) => one !== undefined)
  const endpoints = new Map(record.endpoints)
  endpoints.delete(id)
  const pools = new Map(record.pools)
  for (const pool of record.pools.values()) {
    if (!subnets.includes(pool.subnet)) continue
    const prefix = parsePrefix(pool.subnet)
    const here = own.filter((one) => contains(prefix, parseAddress(one)))
    const addresses = pool.addresses.filter((one) => !here.includes(one))
    if (addresses.length < pool.addresses.length) pools.set(pool.id, { ...pool, addresses })
  }
  return { ...record, endpoints, pools }
}

/** Endpoints of the record that the node does not have, and why not. */
export class Apart {
  readonly #log: Log
  readonly #why = new Map<string, string>()

  constructor(log: Log) {
    this.#log = log
  }

  get size(): number {
    return this.#why.size
  }

  /** Have all endpoints that are joined apart, until {@link takeUp}. */
  addAll(record: DockerRecord): void {
    for (const { id } of joined(record)) this.#why.set(id, '')
  }

  /** The record as the node is to have it. */
  without(record: DockerRecord): DockerRecord {
    if (this.#why.size === 0) return record
    const endpoints = [...record.endpoints].filter(([id]) => !this.#why.has(id))
    return { ...record, endpoints: new Map(endpoints) }
  }

  /** Those that have left meanwhile are no longer waited for. */
  forget({ endpoints }: DockerRecord): void {
    for (const id of this.#why.keys()) {
      if (endpoints.get(id)?.sandboxKey === undefined) this.#why.delete(id)
    }
  }

  /** Try each once; what fails is told when it fails otherwise than before. */
  async takeUp(apply: () => Promise<unknown>, isEnding: () => boolean): Promise<void> {
    for (const [id, before] of [...this.#why]) {
      if (isEnding()) return
      this.#why.delete(id)
      try {
        await apply()
        if (before !== '') this.#log.info({ endpoint: shortId(id) }, 'an endpoint was taken up')
      } catch (error) {
        const why = error instanceof Error ? error.message : String(error)
        this.#why.set(id, why)
        if (why === before) continue
        const message = `an endpoint could not be taken up, and is tried again: ${why}`
        this.#log.error({ endpoint: shortId(id), err: error }, message)
      }
    }
  }
}
