/**
 * The answers of the API that go on until somebody hangs up: captures, events, connections.
 *
 * None may hold up the daemon, so none waits for its reader: what a reader leaves unread is
 * bounded, and what goes beyond is left out.
 */
import type { ServerResponse } from 'node:http'
import { StackError } from '../stack/errors.ts'
import type { Served } from './api.ts'
import { connectionFilter } from './api_outside.ts'
import { parseFilter } from './capture/filter.ts'
import { CaptureSession } from './capture/session.ts'
import { ownersName } from './stack_owner.ts'

/** Largest value of `snaplen`, as tcpdump has it. */
const SNAP_BYTES_MAX = 262_144
/** Log lines that a follower may leave unread before it misses some. */
const EVENTS_BACKLOG_BYTES: number = 1024 * 1024

/** Writes its own answer. @throws StackError before anything is written. */
export type Streamer = (served: Served, query: URLSearchParams, response: ServerResponse) => void

export function streamCapture(
  { controller }: Served,
  query: URLSearchParams,
  response: ServerResponse,
): void {
  const batch = new Batch(response)
  const session = new CaptureSession({
    filter: parseFilter(query.get('filter') ?? ''),
    snapBytes: positive(query, 'snaplen', SNAP_BYTES_MAX),
    count: positive(query, 'count', Number.MAX_SAFE_INTEGER),
    nowUs: () => (performance.timeOrigin + performance.now()) * 1000,
    write: (bytes) => batch.write(bytes),
    backlogBytes: () => batch.backlogBytes,
    end: () => batch.end(),
  })
  const { sandboxes } = controller.node.state
  const devices = query.getAll('device').map((name) => ownersName(sandboxes, name))
  for (const device of devices) session.addInterface(device)
  const wanted = devices.length === 0 ? 'all' : devices
  response.on('close', controller.attachCapture(wanted, session.sink))
  response.writeHead(200, { 'content-type': 'application/x-pcapng' })
}

export function streamEvents(
  { events }: Served,
  _query: URLSearchParams,
  response: ServerResponse,
): void {
  const leave = events.subscribe((line) => {
    if (isOpen(response) && response.writableLength < EVENTS_BACKLOG_BYTES) response.write(line)
  })
  response.on('close', leave)
  response.writeHead(200, { 'content-type': 'application/x-ndjson' })
  response.flushHeaders()
}

export function streamConnections(
  { controller }: Served,
  query: URLSearchParams,
  response: ServerResponse,
): void {
  const leave = controller.followConnections(connectionFilter(query), (event) => {
    if (!isOpen(response) || response.writableLength >= EVENTS_BACKLOG_BYTES) return
    response.write(`${JSON.stringify(event)}\n`)
  })
  response.on('close', leave)
  response.writeHead(200, { 'content-type': 'application/x-ndjson' })
  response.flushHeaders()
}

/** Joins what is written in one turn of the event loop: a frame is much smaller than a write. */
class Batch {
  readonly #response: ServerResponse
  #pieces: Uint8Array[] = []
  #bytes = 0
  #ended = false

  constructor(response: ServerResponse) {
    this.#response = response
  }

  get backlogBytes(): number {
    return this.#bytes + this.#response.writableLength
  }

  write(bytes: Uint8Array): void {
    if (this.#pieces.push(bytes) === 1) setImmediate(() => this.#flush())
    this.#bytes += bytes.length
  }

  /** End the answer when all is written. */
  end(): void {
    this.#ended = true
  }

  #flush(): void {
    const pieces = this.#pieces
    this.#pieces = []
    this.#bytes = 0
    if (!isOpen(this.#response)) return
    this.#response.write(Buffer.concat(pieces))
    if (this.#ended) this.#response.end()
  }
}

/** Writing to a closed answer is an error event; a client may hang up at any time. */
function isOpen(response: ServerResponse): boolean {
  return !response.destroyed && !response.writableEnded
}

function positive(query: URLSearchParams, key: string, max: number): number | undefined {
  const text = query.get(key)
  if (text === null) return undefined
  const value = Number(text)
  if (!Number.isInteger(value) || value < 1 || value > max) {
    throw new StackError('bad-argument', `${key} is a number from 1 to ${max}, not "${text}"`)
  }
  return value
}
