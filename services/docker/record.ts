/**
 * What Docker has asked for and not taken back: networks, endpoints, address pools. It is all that
 * the driver knows; the configuration of the node is made from it (desired.ts), and the next
 * process finds it in a file (record_file.ts).
 */
import { isDeepStrictEqual } from 'node:util'

export interface SubnetRecord {
  readonly subnet: string
  readonly gateway: string
  /** Held back, by name. */
  readonly auxiliary: Readonly<Record<string, string>>
}

export interface NetworkRecord {
  readonly id: string
  readonly internal: boolean
  readonly subnets: readonly SubnetRecord[]
  /** As given with `-o`. */
  readonly options: Readonly<Record<string, string>>
  /** Of the names of interfaces: `eth`. */
  readonly prefix: string
}

export interface EndpointRecord {
  readonly id: string
  /** ID of its network. */
  readonly network: string
  readonly address4?: string | undefined
  readonly address6?: string | undefined
  readonly mac: string
  /** As given with `--driver-opt`. */
  readonly options: Readonly<Record<string, string>>
  /** Namespace that it has joined; left out: none. */
  readonly sandboxKey?: string | undefined
  /** Published, as Compose writes them; all decided. */
  readonly ports: readonly string[]
}

export interface PoolRecord {
  readonly id: string
  readonly subnet: string
  readonly range?: string | undefined
  /** Handed out. */
  readonly addresses: readonly string[]
}

/** By ID. Values are replaced, never changed in place. */
export interface DockerRecord {
  readonly networks: ReadonlyMap<string, NetworkRecord>
  readonly endpoints: ReadonlyMap<string, EndpointRecord>
  readonly pools: ReadonlyMap<string, PoolRecord>
}

export const NOTHING: DockerRecord = {
  networks: new Map(),
  endpoints: new Map(),
  pools: new Map(),
}

/** Endpoints that are in a container. */
export function joined({ endpoints }: DockerRecord): EndpointRecord[] {
  return [...endpoints.values()].filter(({ sandboxKey }) => sandboxKey !== undefined)
}

/** The same map with one value set, or taken away. */
export function withEntry<T>(
  map: ReadonlyMap<string, T>,
  id: string,
  value: T | undefined,
): ReadonlyMap<string, T> {
  const copy = new Map(map)
  if (value === undefined) copy.delete(id)
  else copy.set(id, value)
  return copy
}

/** The endpoint after its container: nowhere, and without ports. */
export function left({ sandboxKey: _, ...rest }: EndpointRecord): EndpointRecord {
  return { ...rest, ports: [] }
}

export function withEndpoint(record: DockerRecord, one: EndpointRecord): DockerRecord {
  return { ...record, endpoints: withEntry(record.endpoints, one.id, one) }
}

/** The same record, if these are its ports already. */
export function withPorts(
  record: DockerRecord,
  one: EndpointRecord,
  ports: readonly string[],
): DockerRecord {
  if (isDeepStrictEqual(one.ports, ports)) return record
  return withEndpoint(record, { ...one, ports })
}
