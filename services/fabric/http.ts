/**
 * HTTP between in-memory hosts, by Node's own client and server over {@link FabricStream}s: what is
 * tested is the program's real handler, and its real client if it takes an agent.
 */
import {
  Agent,
  createServer,
  type IncomingMessage,
  type RequestListener,
  type RequestOptions,
  request,
} from 'node:http'
import { StackError } from '../../stack/errors.ts'
import type { Driver } from './driver.ts'
import type { FabricStream } from './tcp.ts'
import type { TcpListener } from './tcp_ports.ts'

export interface FetchOptions {
  /** Default `GET`. */
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Uint8Array
  /** From the start to the last octet, in the fabric's time. Default 30 s. */
  readonly timeoutMs?: number
}

export interface HttpReply {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  /** The body as UTF-8 text. */
  readonly text: string
}

/** Opens a connection to `name:port`. */
export type Dial = (name: string, port: number) => FabricStream

const TIMEOUT_MS = 30_000
const HTTP_PORT = 80

/** Serve `port` with a handler of `node:http`. */
export function serveHttp(
  listen: (accept: (stream: FabricStream) => void) => TcpListener,
  handler: RequestListener,
): TcpListener {
  const server = createServer(handler)
  return listen((stream) => server.emit('connection', stream))
}

/** An agent of `node:http` whose connections begin at a sandbox. */
export class FabricAgent extends Agent {
  readonly #dial: Dial

  constructor(dial: Dial) {
    super({ keepAlive: false })
    this.#dial = dial
  }

  override createConnection(options: RequestOptions): FabricStream {
    return this.#dial(options.host ?? 'localhost', Number(options.port ?? HTTP_PORT))
  }
}

/** One request, and the whole answer. @throws TcpError, StackError `not-found`: none in time. */
export function fetchHttp(
  driver: Driver,
  agent: Agent,
  url: string,
  { method = 'GET', headers = {}, body, timeoutMs = TIMEOUT_MS }: FetchOptions = {},
): Promise<HttpReply> {
  return driver.until((resolve, reject) => {
    const outgoing = request(url, { agent, method, headers })
    const cancel = driver.clock.after(timeoutMs, () => {
      reject(new StackError('not-found', `${method} ${url}: no answer in ${timeoutMs} ms`))
      outgoing.destroy()
    })
    const fail = (error: Error): void => {
      cancel()
      reject(error)
    }
    outgoing.on('error', fail)
    outgoing.on('response', (incoming) => {
      incoming.on('error', fail)
      void readAll(incoming).then((text) => {
        cancel()
        resolve({ status: incoming.statusCode ?? 0, headers: incoming.headers, text })
      }, fail)
    })
    outgoing.end(body)
    driver.stir()
    return cancel
  })
}

async function readAll(incoming: IncomingMessage): Promise<string> {
  const parts: Uint8Array[] = []
  for await (const part of incoming) parts.push(part as Uint8Array)
  return Buffer.concat(parts).toString()
}
