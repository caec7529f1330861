/**
 * What Docker has asked for and not taken back: networks, endpoints, address pools. It is all that
 * the driver knows; the configuration of the node is made from it (desired.ts).
 *
 * Docker tells each thing once and takes it for granted ever after, over restarts of either side.
 * So the record is in a file before a call is answered: written beside it, forced to the disk, and
 * put in place in one step, so that whoever is killed leaves the old record or the new one.
 */
import { mkdirSync, readFileSync } from 'node:fs'
import { open, rename } from 'node:fs/promises'
import { dirname } from 'node:path'
import { z } from 'zod'
import { StackError } from '../../stack/errors.ts'

/** Of the file's format. A file of another one is refused, not guessed at. */
const VERSION = 1

const subnetRecord: z.ZodType<SubnetRecord> = z.strictObject({
  subnet: z.string(),
  gateway: z.string(),
  auxiliary: z.record(z.string(), z.string()),
})
const networkRecord: z.ZodType<NetworkRecord> = z.strictObject({
  id: z.string(),
  internal: z.boolean(),
  subnets: z.array(subnetRecord),
  options: z.record(z.string(), z.string()),
  prefix: z.string(),
})
const endpointRecord: z.ZodType<EndpointRecord> = z.strictObject({
  id: z.string(),
  network: z.string(),
  address4: z.string().optional(),
  address6: z.string().optional(),
  mac: z.string(),
  options: z.record(z.string(), z.string()),
  sandboxKey: z.string().optional(),
  ports: z.array(z.string()),
})
const poolRecord: z.ZodType<PoolRecord> = z.strictObject({
  id: z.string(),
  subnet: z.string(),
  range: z.string().optional(),
  addresses: z.array(z.string()),
})
const file = z.strictObject({
  version: z.literal(VERSION),
  networks: z.array(networkRecord),
  endpoints: z.array(endpointRecord),
  pools: z.array(poolRecord),
})

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

/** Keeps a record in a file. */
export class RecordFile {
  readonly path: string

  constructor(path: string) {
    this.path = path
  }

  /** Nothing, if there is no file yet. @throws StackError `bad-config` if it is not one of ours. */
  load(): DockerRecord {
    let text: string
    try {
      text = readFileSync(this.path, 'utf8')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return NOTHING
      throw error
    }
    try {
      const { networks, endpoints, pools } = file.parse(JSON.parse(text))
      return { networks: byId(networks), endpoints: byId(endpoints), pools: byId(pools) }
    } catch (error) {
      const message = `${this.path} is not a state file of version ${VERSION}`
      const hint = 'move it away to begin anew, and remove the networks that Docker has of it'
      throw new StackError('bad-config', `${message}; ${hint}`, { cause: error })
    }
  }

  /** Put a record in place of the one before. @throws if it cannot; the file is then as it was. */
  async save(record: DockerRecord): Promise<void> {
    const { path } = this
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
    const content = {
      version: VERSION,
      networks: [...record.networks.values()],
      endpoints: [...record.endpoints.values()],
      pools: [...record.pools.values()],
    }
    const beside = `${path}.new`
    const handle = await open(beside, 'w', 0o600)
    try {
      await handle.writeFile(`${JSON.stringify(content, undefined, 1)}\n`)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(beside, path)
  }
}

function byId<T extends { readonly id: string }>(list: readonly T[]): ReadonlyMap<string, T> {
  return new Map(list.map((one) => [one.id, one]))
}
