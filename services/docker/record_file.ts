/**
 * The record in a file: a line for each time that it changed, of which the last whole one counts.
 *
 * Docker tells each thing once and takes it for granted ever after, over restarts of either side.
 * So the line is written before a call is answered, and goes to the disk soon after:
 *
 * ```text
 *   save ──> one more line ──> answer      who is killed loses nothing that was answered
 *                └── fsync                 a loss of power finds this line or one before it
 * ```
 * What must outlast a loss of power, a network, is answered after {@link RecordFile.flushed}; an
 * endpoint ends with its container in any case, and `docker run` waits for several of these calls.
 * A process begins with a file of one line, and begins anew when it has grown.
 */
import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  fsync,
  mkdirSync,
  openSync,
  readFileSync,
  rename,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { promisify } from 'node:util'
import { z } from 'zod'
import { StackError } from '../../stack/errors.ts'
import {
  type DockerRecord,
  type EndpointRecord,
  type NetworkRecord,
  NOTHING,
  type PoolRecord,
  type SubnetRecord,
} from './record.ts'

const sync = promisify(fsync)
const move = promisify(rename)

/** Of the file's format. A file of another one is refused, not guessed at. */
const VERSION = 2
const { O_APPEND, O_CREAT, O_TRUNC, O_WRONLY } = constants
const NEW_FILE = O_WRONLY | O_CREAT | O_TRUNC | O_APPEND

/** A file that would be longer begins anew, unless it would have fewer lines than this. */
const FILE_BYTES_MAX = 1 << 20
const LINES_MIN = 16
/** Until a line that nobody waits for goes to the disk. */
const FLUSH_MS = 1000

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

/** Belongs to one process at a time. */
export class RecordFile {
  readonly path: string
  /** Of the file that lines are added to. Undefined: none was begun. */
  #fd: number | undefined
  #inode = 0
  #bytes = 0
  /** There while lines are not on their way to the disk. */
  #timer: NodeJS.Timeout | undefined
  #flushing: Promise<void> = Promise.resolve()

  constructor(path: string) {
    this.path = path
  }

  /** Nothing, if there is no file yet. @throws StackError `bad-config` if it is not one of ours. */
  load(): DockerRecord {
    if (!existsSync(this.path)) return NOTHING
    try {
      return lastOf(readFileSync(this.path, 'utf8'))
    } catch (error) {
      const message = `${this.path} is not a state file of version ${VERSION}`
      const hint = 'move it away to begin anew, and remove the networks that Docker has of it'
      throw new StackError('bad-config', `${message}; ${hint}`, { cause: error })
    }
  }

  /**
   * Put a record in place of the one before. It outlasts this process from then on. One at a time.
   * @throws if it cannot; the record is then as it was.
   */
  async save(record: DockerRecord): Promise<void> {
    const line = lineOf(record)
    if (!this.#takes(line)) return await this.#begin(line)
    try {
      writeFileSync(this.#fd!, line)
    } catch (error) {
      // What was written of it is no whole line, and stays the last: the next one begins anew.
      await this.close()
      throw error
    }
    this.#bytes += line.length
    this.#timer ??= setTimeout(() => void this.flushed().catch(() => undefined), FLUSH_MS).unref()
  }

  /** Wait until what was saved is on the disk. @throws if that failed: the disk is full, or ill. */
  flushed(): Promise<void> {
    const fd = this.#fd
    if (this.#timer === undefined || fd === undefined) return this.#flushing
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#flushing = this.#flushing.catch(() => undefined).then(() => sync(fd))
    return this.#flushing
  }

  /** Hold nothing open; a later save begins anew. Idempotent. */
  async close(): Promise<void> {
    await this.flushed().catch(() => undefined)
    if (this.#fd !== undefined) closeSync(this.#fd)
    this.#fd = undefined
  }

  /** False if the file would be too long, or somebody else has moved or changed it. */
  #takes({ length }: Buffer): boolean {
    const there = statSync(this.path, { throwIfNoEntry: false })
    if (this.#fd === undefined || there?.ino !== this.#inode) return false
    const mostBytes = Math.max(FILE_BYTES_MAX, LINES_MIN * length)
    return there.size === this.#bytes && this.#bytes + length <= mostBytes
  }

  /** A file with this line alone takes the place of the one before, whole and on the disk. */
  async #begin(line: Buffer): Promise<void> {
    const folder = dirname(this.path)
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    const beside = `${this.path}.new`
    const fd = openSync(beside, NEW_FILE, 0o600)
    try {
      writeFileSync(fd, line)
      await sync(fd)
      await move(beside, this.path)
    } catch (error) {
      closeSync(fd)
      rmSync(beside, { force: true })
      throw error
    }
    await this.#flushing.catch(() => undefined)
    if (this.#fd !== undefined) closeSync(this.#fd)
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#flushing = Promise.resolve()
    this.#fd = fd
    this.#inode = fstatSync(fd).ino
    this.#bytes = line.length
    await syncFolder(folder)
  }
}

/** Until then a loss of power may find the file of before under the name. */
async function syncFolder(folder: string): Promise<void> {
  const fd = openSync(folder, 'r')
  try {
    await sync(fd)
  } catch (error) {
    // Some file systems have nothing to do there.
    if ((error as NodeJS.ErrnoException).code !== 'EINVAL') throw error
  } finally {
    closeSync(fd)
  }
}

function lineOf({ networks, endpoints, pools }: DockerRecord): Buffer {
  const all = { networks, endpoints, pools }
  const lists = Object.entries(all).map(([name, map]) => [name, [...map.values()]])
  return Buffer.from(`${JSON.stringify({ version: VERSION, ...Object.fromEntries(lists) })}\n`)
}

/** The last lines may be cut off or damaged: they were not on the disk yet. @throws. */
function lastOf(text: string): DockerRecord {
  const lines = text.split('\n').slice(0, -1)
  let value: unknown
  while (value === undefined && lines.length > 0) value = jsonOf(lines.pop()!)
  const { networks, endpoints, pools } = file.parse(value)
  return { networks: byId(networks), endpoints: byId(endpoints), pools: byId(pools) }
}

function jsonOf(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch {
    return undefined
  }
}

function byId<T extends { readonly id: string }>(list: readonly T[]): ReadonlyMap<string, T> {
  return new Map(list.map((one) => [one.id, one]))
}
