/**
 * The socket that Docker finds the plugin by: `POST /Plugin.Activate`, `/NetworkDriver.*`,
 * `/IpamDriver.*`, JSON both ways.
 *
 * What a driver refuses is an answer like others, `{ "Err": "..." }`, and for IPAM
 * `{ "Error": "..." }`; Docker shows the text to whoever typed the command. A request that is no
 * request of Docker's is answered with 400, a path that is not there with 404, by which Docker
 * knows what a driver does not do.
 *
 * Idle connections stay open: Docker asks again where one was closed under a call, and then sends
 * an empty body.
 */
import { chmodSync, unlinkSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { type ZodType, z } from 'zod'
import { StackError } from '../../stack/errors.ts'
import type { Log } from '../log.ts'
import { readBody } from '../read_body.ts'
import { claimPath } from '../sockets.ts'
import type { DockerDriver } from './driver.ts'
import * as messages from './messages.ts'

const CONTENT_TYPE = 'application/vnd.docker.plugins.v1.2+json'
/** A network with thousands of published ports in one call is below one megabyte. */
const BODY_BYTES_MAX = 4 << 20
/** Docker keeps a few connections and opens more while many containers start at once. */
const CONNECTIONS_MAX = 1024
/** For a request to arrive as a whole, on a machine that is busy with starting containers. */
const REQUEST_MS = 120_000

const ACTIVATE = '/Plugin.Activate'
const JOIN = '/NetworkDriver.Join'

type Call = (driver: DockerDriver, body: unknown) => object | Promise<object>

function call<T>(
  schema: ZodType<T>,
  answer: (driver: DockerDriver, request: T) => object | Promise<object>,
): Call {
  return (driver, body) => answer(driver, schema.parse(body))
}

/** Answered with success and nothing else. */
const NOTED: Call = call(messages.anything, () => ({}))

const CALLS: Readonly<Record<string, Call>> = {
  [ACTIVATE]: () => ({ Implements: ['NetworkDriver', 'IpamDriver'] }),
  '/NetworkDriver.GetCapabilities': () => ({
    Scope: 'local',
    ConnectivityScope: 'local',
    GwAllocChecker: false,
  }),
  // Networks of one host are not allocated by a swarm's managers.
  '/NetworkDriver.AllocateNetwork': call(messages.anything, () => ({ Options: {} })),
  '/NetworkDriver.FreeNetwork': NOTED,
  '/NetworkDriver.CreateNetwork': call(messages.createNetwork, (d, r) => d.createNetwork(r)),
  '/NetworkDriver.DeleteNetwork': call(messages.ofNetwork, (d, r) => d.deleteNetwork(r)),
  '/NetworkDriver.CreateEndpoint': call(messages.createEndpoint, (d, r) => d.createEndpoint(r)),
  '/NetworkDriver.EndpointOperInfo': call(messages.ofEndpoint, (d, r) => d.endpointOperInfo(r)),
  '/NetworkDriver.DeleteEndpoint': call(messages.ofEndpoint, (d, r) => d.deleteEndpoint(r)),
  [JOIN]: call(messages.join, (d, r) => d.join(r)),
  '/NetworkDriver.Leave': call(messages.ofEndpoint, (d, r) => d.leave(r)),
  '/NetworkDriver.DiscoverNew': NOTED,
  '/NetworkDriver.DiscoverDelete': NOTED,
  '/NetworkDriver.ProgramExternalConnectivity': call(messages.ofEndpoint, (d, r) =>
    d.programExternalConnectivity(r),
  ),
  '/NetworkDriver.RevokeExternalConnectivity': call(messages.ofEndpoint, (d, r) =>
    d.revokeExternalConnectivity(r),
  ),
  '/IpamDriver.GetCapabilities': () => ({
    RequiresMACAddress: false,
    RequiresRequestReplay: false,
  }),
  '/IpamDriver.GetDefaultAddressSpaces': () => ({
    LocalDefaultAddressSpace: 'tapline-local',
    GlobalDefaultAddressSpace: 'tapline-global',
  }),
  '/IpamDriver.RequestPool': call(messages.requestPool, (d, r) => d.requestPool(r)),
  '/IpamDriver.ReleasePool': call(messages.ofPool, (d, r) => d.releasePool(r)),
  '/IpamDriver.RequestAddress': call(messages.requestAddress, (d, r) => d.requestAddress(r)),
  '/IpamDriver.ReleaseAddress': call(messages.releaseAddress, (d, r) => d.releaseAddress(r)),
}

export interface PluginServerOptions {
  readonly driver: DockerDriver
  readonly log: Log
  /** What was there is taken up: nothing is answered before. Rejects: it never will be. */
  readonly ready: () => Promise<void>
  /** Before the first container is joined after each start of Docker's. */
  readonly onFirstJoin: () => Promise<void>
}

export class PluginServer {
  readonly #driver: DockerDriver
  readonly #log: Log
  readonly #ready: () => Promise<void>
  readonly #onFirstJoin: () => Promise<void>
  #firstJoin: Promise<void> | undefined
  readonly #server: Server
  #path: string | undefined

  constructor({ driver, log, ready, onFirstJoin }: PluginServerOptions) {
    this.#driver = driver
    this.#log = log
    this.#ready = ready
    this.#onFirstJoin = onFirstJoin
    this.#server = createServer((request, response) => void this.#answer(request, response))
    this.#server.maxConnections = CONNECTIONS_MAX
    this.#server.requestTimeout = REQUEST_MS
    this.#server.keepAliveTimeout = 0
  }

  /** Listen at this path. A dead daemon's socket is taken over. @throws StackError `exists`. */
  async listen(path: string): Promise<void> {
    await claimPath(path)
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject)
      const mask = process.umask(0o177)
      this.#server.listen(path, () => resolve())
      process.umask(mask)
    })
    this.#path = path
    chmodSync(path, 0o600)
  }

  /** No more calls; those that are being answered go on. */
  async close(): Promise<void> {
    if (this.#path === undefined) return
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    this.#server.closeIdleConnections()
    const path = this.#path
    this.#path = undefined
    try {
      unlinkSync(path)
    } catch {
      // Node removes it itself.
    }
    await Promise.race([closed, this.#driver.idle()])
    this.#server.closeAllConnections()
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = (request.url ?? '').replace(/\?.*/, '')
    const name = path.slice(1)
    try {
      const found = Object.hasOwn(CALLS, path) ? CALLS[path] : undefined
      if (found === undefined) return send(response, 404, { Err: `tapline has no ${path}` })
      if (request.method !== 'POST') return send(response, 405, { Err: `${path} takes POST` })
      await this.#ready()
      if (path === ACTIVATE) this.#firstJoin = undefined
      if (path === JOIN) {
        this.#firstJoin ??= this.#onFirstJoin()
        await this.#firstJoin
      }
      send(response, 200, await found(this.#driver, await readJson(request)))
    } catch (error) {
      const { status, text } = explain(error)
      this.#log.warn({ call: name, err: error }, `${name}: ${text}`)
      send(response, status, name.startsWith('IpamDriver') ? refusal(status, text) : { Err: text })
    }
  }
}

/** For a request that is none, Docker looks for `Err` whoever is asked. */
function refusal(status: number, text: string): object {
  return status === 200 ? { Error: text } : { Error: text, Err: text }
}

function explain(error: unknown): { readonly status: number; readonly text: string } {
  if (error instanceof z.ZodError) {
    const [issue] = error.issues
    const where = issue?.path.join('.') || 'the body'
    return { status: 400, text: `not a request of Docker's: ${where}: ${issue?.message}` }
  }
  if (error instanceof BadBody) return { status: 400, text: error.message }
  if (error instanceof AggregateError) {
    const all = [error.message, ...error.errors.map((one) => (one as Error).message ?? one)]
    return { status: 200, text: all.join('; ') }
  }
  if (error instanceof StackError) return { status: 200, text: error.message }
  return { status: 500, text: error instanceof Error ? error.message : String(error) }
}

class BadBody extends Error {}

/** Empty is as good as an empty object: some calls come without a body. */
async function readJson(request: IncomingMessage): Promise<unknown> {
  const text = await readBody(request, BODY_BYTES_MAX, (message) => new BadBody(message))
  if (text.trim() === '') return {}
  try {
    return JSON.parse(text)
  } catch {
    throw new BadBody('the body is not JSON')
  }
}

function send(response: ServerResponse, status: number, body: object): void {
  const text = `${JSON.stringify(body)}\n`
  response.writeHead(status, {
    'content-type': CONTENT_TYPE,
    'content-length': Buffer.byteLength(text),
  })
  response.end(text)
}
