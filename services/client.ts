/**
 * The command line's side of the API: HTTP and JSON over a daemon's unix socket (see api.ts).
 *
 * Errors of the daemon come back as the StackError that they were there, with its code; a daemon
 * that is not there is a StackError `daemon`.
 */
import { type IncomingMessage, request } from 'node:http'
import { StackError } from '../stack/errors.ts'
import { type ApiError, ConfigFaults } from './api_types.ts'

/** Largest answer taken, octets: FDBs of a full node in JSON are a few megabytes. */
const ANSWER_BYTES_MAX = 256 * 1024 * 1024

export type Query = Readonly<Record<string, string | number | readonly string[] | undefined>>

export interface Stream {
  /** The octets as they come. Ends when the daemon ends it. */
  readonly body: IncomingMessage
  /** Hang up. */
  close(): void
}

export class Client {
  readonly socketPath: string

  constructor(socketPath: string) {
    this.socketPath = socketPath
  }

  /** @throws StackError */
  async get<T>(path: string, query: Query = {}): Promise<T> {
    return JSON.parse(await readText(await this.#send('GET', path, query))) as T
  }

  /** @throws StackError */
  async post<T>(path: string, body: unknown, query: Query = {}): Promise<T> {
    return JSON.parse(await readText(await this.#send('POST', path, query, body))) as T
  }

  /** An answer that goes on until one side ends it. @throws StackError */
  async stream(path: string, query: Query = {}): Promise<Stream> {
    const body = await this.#send('GET', path, query)
    return { body, close: () => body.destroy() }
  }

  /** The answer's head, if it says success. */
  #send(method: string, path: string, query: Query, body?: unknown): Promise<IncomingMessage> {
    const text = body === undefined ? undefined : JSON.stringify(body)
    return new Promise((resolve, reject) => {
      const asked = request({
        socketPath: this.socketPath,
        method,
        path: `/v1/${path}${queryText(query)}`,
        headers: text === undefined ? {} : { 'content-type': 'application/json' },
        agent: false,
      })
      asked.on('error', (error: NodeJS.ErrnoException) => reject(this.#explain(error)))
      asked.on('response', (answer) => {
        if (answer.statusCode === 200) return resolve(answer)
        readText(answer).then((answerText) => reject(toError(answerText)), reject)
      })
      asked.end(text)
    })
  }

  #explain(error: NodeJS.ErrnoException): StackError {
    const { socketPath } = this
    const cause = { cause: error }
    if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED') {
      return new StackError('daemon', `no daemon listens at ${socketPath}`, cause)
    }
    if (error.code === 'EACCES') {
      return new StackError(
        'daemon',
        `${socketPath}: permission denied (its owner and root may)`,
        cause,
      )
    }
    return new StackError('daemon', `the daemon at ${socketPath} hung up: ${error.message}`, cause)
  }
}

function queryText(query: Query): string {
  const search = new URLSearchParams()
  for (const [key, value] of Object.entries(query)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined) search.append(key, String(one))
    }
  }
  return search.size === 0 ? '' : `?${search}`
}

async function readText(answer: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  try {
    for await (const chunk of answer as AsyncIterable<Buffer>) {
      bytes += chunk.length
      if (bytes > ANSWER_BYTES_MAX) throw new StackError('daemon', 'the answer is too long')
      chunks.push(chunk)
    }
  } catch (error) {
    if (error instanceof StackError) throw error
    throw new StackError('daemon', 'the daemon hung up in the middle of its answer', {
      cause: error,
    })
  }
  return Buffer.concat(chunks).toString()
}

function toError(text: string): StackError {
  let body: ApiError
  try {
    body = JSON.parse(text) as ApiError
  } catch {
    return new StackError('daemon', `not an answer of tapline: ${text.slice(0, 200)}`)
  }
  const { code, message, faults } = body.error
  return faults === undefined ? new StackError(code, message) : new ConfigFaults(faults)
}
