/**
 * The API of a running daemon: HTTP and JSON on a unix socket that only its owner may open.
 *
 * A path is one entry of {@link HANDLERS}, here or in the api_*.ts of its subject, with the
 * parameters that it takes: `GET /v1/flows?device`. Those of {@link STREAMERS} answer until
 * somebody hangs up. docs/cli.md says what each answers.
 *
 * Every error is `{ "error": { "code", "message" } }` with a status by its code; a refused
 * configuration also has `faults`, a line each. Bodies, heads, connections and what a slow reader
 * leaves unread are bounded. A client that hangs up ends what it started: its capture stops.
 *
 * Not simpler (a REST framework) because some twenty paths are a table; and no TCP port, since
 * whoever may open this socket may reconfigure the network.
 */
import { chmodSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { type ErrorCode, StackError } from '../stack/errors.ts'
import { ATTACHMENT_HANDLERS } from './api_attachments.ts'
import { DNS_HANDLERS } from './api_dns.ts'
import { GOSSIP_HANDLERS } from './api_gossip.ts'
import { CONNECTION_KEYS, OUTSIDE_HANDLERS } from './api_outside.ts'
import { OVERLAY_HANDLERS } from './api_overlay.ts'
import { type Streamer, streamCapture, streamConnections, streamEvents } from './api_streams.ts'
import {
  type ApiError,
  type ApplyAnswer,
  type ApplyRequest,
  ConfigFaults,
  type DaemonInfo,
} from './api_types.ts'
import type { Attachments } from './attachments.ts'
import type { Controller } from './controller.ts'
import type { Events } from './events.ts'
import type { GossipControl } from './gossip_control.ts'
import { readBody } from './read_body.ts'
import { claimOwnPath, inUse } from './sockets.ts'
import { parseTraceRequest } from './trace_request.ts'

/** A configuration of thousands of sandboxes is below one megabyte. */
export const BODY_BYTES_MAX: number = 8 * 1024 * 1024
const CONNECTIONS_MAX = 128

/** What the API speaks for. */
export interface Served {
  readonly controller: Controller
  readonly events: Events
  /** Left out: it is in no cluster. */
  readonly gossip?: GossipControl
  /** Who publishes ports while it runs; left out: the controller. */
  readonly publisher?: Pick<Controller, 'addPort' | 'removePort'>
  /** Left out: it takes none. */
  readonly attachments?: Attachments
  /** Bring the clock up to date, so that ages are true: nothing may have moved for hours. */
  refresh(): void
  info(): DaemonInfo
  /** @throws ConfigFaults, StackError */
  apply(request: ApplyRequest): Promise<ApplyAnswer>
}

const STATUS: { readonly [C in ErrorCode]: number } = {
  'bad-argument': 400,
  'bad-address': 400,
  'bad-config': 422,
  exists: 409,
  'not-found': 404,
  exhausted: 409,
  unsupported: 400,
  syscall: 500,
  daemon: 409,
}

/** What it returns is answered as JSON. */
export type Handler = (served: Served, query: URLSearchParams, body: unknown) => unknown

const HANDLERS: Readonly<Record<string, Handler>> = {
  'GET /v1/daemon': (served) => served.info(),
  'GET /v1/ls': ({ controller }) => controller.ls(),
  'GET /v1/inspect?name': ({ controller }, query) =>
    controller.inspect(query.get('name') ?? undefined),
  'GET /v1/groups?network': ({ controller }, query) =>
    controller.groups(query.get('network') ?? undefined),
  'GET /v1/fdb?network': ({ controller }, query) =>
    controller.fdb(query.get('network') ?? undefined),
  'GET /v1/leases?network': ({ controller }, query) =>
    controller.leases(query.get('network') ?? undefined),
  'GET /v1/neigh': ({ controller }) => controller.neigh(),
  'GET /v1/routes': ({ controller }) => controller.routes(),
  'GET /v1/stats': ({ controller }) => controller.stats(),
  'GET /v1/drops': ({ controller }) => controller.drops(),
  'POST /v1/trace': ({ controller }, _, body) => controller.trace(parseTraceRequest(body)),
  'POST /v1/apply': (served, _, body) => served.apply(parseApplyRequest(body)),
  ...OUTSIDE_HANDLERS,
  ...OVERLAY_HANDLERS,
  ...GOSSIP_HANDLERS,
  ...ATTACHMENT_HANDLERS,
  ...DNS_HANDLERS,
}

const STREAMERS: Readonly<Record<string, Streamer>> = {
  'GET /v1/capture?device&filter&snaplen&count': streamCapture,
  'GET /v1/events': streamEvents,
  [`GET /v1/conntrack/events?${CONNECTION_KEYS}`]: streamConnections,
}

/** A path without its parameters, and what it takes. */
interface Path<T> {
  readonly run: T
  readonly parameters: readonly string[]
}

function byPath<T>(written: Readonly<Record<string, T>>): ReadonlyMap<string, Path<T>> {
  return new Map(
    Object.entries(written).map(([key, run]) => {
      const [path, parameters] = key.split('?')
      return [path!, { run, parameters: parameters?.split('&') ?? [] }]
    }),
  )
}

const ANSWERED = byPath(HANDLERS)
const STREAMED = byPath(STREAMERS)

export class ApiServer {
  readonly #served: Served
  readonly #server: Server
  readonly #answers = new Set<ServerResponse>()

  constructor(served: Served) {
    this.#served = served
    this.#server = createServer((request, response) => {
      this.#answers.add(response)
      response.on('close', () => this.#answers.delete(response))
      this.#answer(request, response).catch((error: unknown) => fail(response, error))
    })
    this.#server.maxConnections = CONNECTIONS_MAX
    this.#server.requestTimeout = 30_000
  }

  /**
   * Listen at this path. A dead daemon's socket is taken over.
   *
   * @throws StackError `exists` if a daemon lives there, `bad-argument` if there is no such folder.
   */
  async listen(path: string): Promise<void> {
    await claimOwnPath(path)
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', (error: NodeJS.ErrnoException) => {
        reject(error.code === 'EADDRINUSE' ? inUse(path) : error)
      })
      // The mask holds while the socket is made, so that there is no moment at which others may
      // open it. `listen` binds before it returns.
      const mask = process.umask(0o177)
      try {
        this.#server.listen(path, resolve)
      } finally {
        process.umask(mask)
      }
    })
    chmodSync(path, 0o600)
  }

  /** Hang up on everybody and remove the socket. Idempotent. */
  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#server.close(() => resolve())
      for (const answer of this.#answers) answer.end()
      this.#server.closeIdleConnections()
      setTimeout(() => this.#server.closeAllConnections(), 250).unref()
    })
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = parseUrl(request.url ?? '/')
    const key = `${request.method} ${url.pathname}`
    const streamed = STREAMED.get(key)
    const answered = ANSWERED.get(key)
    const path = streamed ?? answered
    if (path === undefined) return refuse(response, url.pathname)
    checkQuery(url, path.parameters)
    if (streamed !== undefined) return streamed.run(this.#served, url.searchParams, response)
    const body = request.method === 'POST' ? await readJson(request) : undefined
    this.#served.refresh()
    const answer = await answered!.run(this.#served, url.searchParams, body)
    send(response, 200, answer ?? null)
  }
}

function send(response: ServerResponse, status: number, body: unknown): void {
  const text = `${JSON.stringify(body)}\n`
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(text),
  })
  response.end(text)
}

/** @throws StackError */
function parseUrl(text: string): URL {
  try {
    return new URL(text, 'http://tapline')
  } catch (error) {
    throw new StackError('bad-argument', `"${text}" is not a path`, { cause: error })
  }
}

/** A filter that nobody looks at would show, or delete, everything. @throws StackError. */
function checkQuery({ pathname, searchParams }: URL, known: readonly string[]): void {
  const strange = [...searchParams.keys()].find((key) => !known.includes(key))
  if (strange === undefined) return
  const takes = known.length === 0 ? 'none' : known.join(', ')
  const message = `${pathname} has no parameter "${strange}"; it takes ${takes}`
  throw new StackError('bad-argument', message)
}

/** No such path, or not with this method. */
function refuse(response: ServerResponse, path: string): void {
  const methods = ['GET', 'POST'].filter((method) => {
    const key = `${method} ${path}`
    return ANSWERED.has(key) || STREAMED.has(key)
  })
  if (methods.length > 0) response.setHeader('allow', methods.join(', '))
  const message = methods.length > 0 ? `${path} takes ${methods.join(', ')}` : `no path ${path}`
  const error: ApiError = { error: { code: 'not-found', message } }
  send(response, methods.length > 0 ? 405 : 404, error)
}

function fail(response: ServerResponse, error: unknown): void {
  if (response.headersSent) {
    response.destroy()
    return
  }
  if (error instanceof ConfigFaults) {
    const { message, faults } = error
    return send(response, 422, { error: { code: 'bad-config', message, faults } } as ApiError)
  }
  const code = error instanceof StackError ? error.code : 'daemon'
  const status = error instanceof StackError ? STATUS[code] : 500
  const message = error instanceof Error ? error.message : String(error)
  send(response, status, { error: { code, message } } as ApiError)
}

async function readJson(request: IncomingMessage): Promise<unknown> {
  const tooLong = (message: string): Error => new StackError('bad-argument', message)
  const text = await readBody(request, BODY_BYTES_MAX, tooLong)
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new StackError('bad-argument', 'the body is not JSON', { cause: error })
  }
}

function parseApplyRequest(body: unknown): ApplyRequest {
  const { file, text, dryRun = false } = (body ?? {}) as Record<string, unknown>
  if (typeof file !== 'string' || typeof text !== 'string' || typeof dryRun !== 'boolean') {
    throw new StackError(
      'bad-argument',
      'apply wants { file: string, text: string, dryRun?: boolean }',
    )
  }
  return { file, text, dryRun }
}
