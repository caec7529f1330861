/**
 * What Docker has asked for and not taken back: networks, endpoints, address pools. It is all that
 * the driver knows; the configuration of the node is made from it (desired.ts).
 *
 * Docker tells each thing once and takes it for granted ever after, over restarts of either side.
 * So before a call is answered the record of it is written, and soon after it is on the disk:
 *
 * ```text
 *   save ──> FILE.new, whole ──> answer        who is killed loses nothing that was answered
 *                 └──> fsync ──> FILE          a loss of power finds the old record or the new one
 * ```
 * {@link RecordFile.load} takes FILE.new if it is whole: it is the later one. What must outlast a
 * loss of power, a network, is answered after the second step; an endpoint ends with its
 * container in any case, and `docker run` waits for several of these calls.
 */
import {
  closeSync,
  existsSync,
  fsync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { promisify } from 'node:util'
import { z } from 'zod'
import { StackError } from '../../stack/errors.ts'

const sync = promisify(fsync)

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

/** Keeps a record in a file. */
export class RecordFile {
  readonly path: string
  /** Settles when what was saved last is on the disk. */
  #flushed: Promise<void> = Promise.resolve()

  constructor(path: string) {
    this.path = path
  }

  /** Nothing, if there is no file yet. @throws StackError `bad-config` if it is not one of ours. */
  load(): DockerRecord {
    try {
      const later = read(this.#beside)
      if (later !== undefined) return later
    } catch {
      // Cut off while it was written: nobody was told of it.
    }
    try {
      return read(this.path) ?? NOTHING
    } catch (error) {
      const message = `${this.path} is not a state file of version ${VERSION}`
      const hint = 'move it away to begin anew, and remove the networks that Docker has of it'
      throw new StackError('bad-config', `${message}; ${hint}`, { cause: error })
    }
  }

  /**
   * Put a record in place of the one before. It outlasts this process from the return on, and a
   * loss of power from when {@link flushed} settles on.
   * @throws if it cannot; the record is then as it was.
   */
  async save(record: DockerRecord): Promise<void> {
    await this.#flushed.catch(() => undefined)
    mkdirSync(dirname(this.path), { recursive: true, mode: 0o700 })
    const content = {
      version: VERSION,
      networks: [...record.networks.values()],
      endpoints: [...record.endpoints.values()],
      pools: [...record.pools.values()],
    }
    const fd = openSync(this.#beside, 'w', 0o600)
    try {
      writeFileSync(fd, `${JSON.stringify(content, undefined, 1)}\n`)
    } catch (error) {
      closeSync(fd)
      unlinkSync(this.#beside)
      throw error
    }
    this.#flushed = this.#flush(fd)
    // Whoever needs to know waits for it.
    this.#flushed.catch(() => undefined)
  }

  /** Wait until what was saved is on the disk. @throws if that failed: the disk is full, or ill. */
  flushed(): Promise<void> {
    return this.#flushed
  }

  async #flush(fd: number): Promise<void> {
    try {
      await sync(fd)
      renameSync(this.#beside, this.path)
    } catch (error) {
      unlinkSync(this.#beside)
      throw error
    } finally {
      closeSync(fd)
    }
  }

  get #beside(): string {
    return `${this.path}.new`
  }
}

/** Undefined: there is no such file. @throws if it is not one of ours. */
function read(path: string): DockerRecord | undefined {
  if (!existsSync(path)) return undefined
  const { networks, endpoints, pools } = file.parse(JSON.parse(readFileSync(path, 'utf8')))
  return { networks: byId(networks), endpoints: byId(endpoints), pools: byId(pools) }
}

function byId<T extends { readonly id: string }>(list: readonly T[]): ReadonlyMap<string, T> {
  return new Map(list.map((one) => [one.id, one]))
}
