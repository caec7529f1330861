/**
 * A small HTTP service and its client: what the example tests. Nothing here knows of tapline.
 *
 * An order has a key of its own. The client repeats an order that was not answered, since it cannot
 * know whether the order or the answer was lost; so the shop must know an order again by its key.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'

export class Shop {
  /** What was sold, in order. */
  readonly sold: string[] = []
  readonly #known = new Set<string>()

  readonly handler = (request: IncomingMessage, response: ServerResponse): void => {
    if (request.method !== 'POST' || request.url !== '/orders') {
      response.writeHead(404).end()
      return
    }
    let text = ''
    request.on('data', (part: Buffer) => {
      text += part.toString()
    })
    request.on('end', () => {
      if (this.isNew(String(request.headers['order-key']))) this.sold.push(text)
      response.writeHead(201).end(text)
    })
  }

  isNew(key: string): boolean {
    if (this.#known.has(key)) return false
    this.#known.add(key)
    return true
  }
}

/** Sends one request and gives back the status of its answer. */
export type Send = (
  url: string,
  request: { method: string; headers: Record<string, string>; body: string; timeoutMs: number },
) => Promise<{ status: number }>

const ATTEMPTS = 20
const PATIENCE_MS = 400

export class ShopClient {
  readonly #url: string
  readonly #send: Send
  #orders = 0

  constructor(url: string, send: Send) {
    this.#url = url
    this.#send = send
  }

  /** Resolves once the shop has taken the order. */
  async order(what: string): Promise<void> {
    const headers = { 'order-key': `order-${this.#orders++}` }
    const request = { method: 'POST', headers, body: what, timeoutMs: PATIENCE_MS }
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const answer = await this.#send(this.#url, request).catch(() => undefined)
      if (answer?.status === 201) return
    }
    throw new Error(`the shop did not take the order of ${what}`)
  }
}
