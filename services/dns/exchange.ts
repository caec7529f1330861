/**
 * One question to several forwarders, until one of them knows.
 *
 * ```text
 *   order:     first ──silence, SERVFAIL, REFUSED──► next ... ──► the last failure is the answer
 *   parallel:  all at once; the first that knows
 *
 *   one forwarder: UDP ──half the time in silence──► the same datagram once more
 *                  UDP ──truncated, or letters of the name changed──► TCP
 *                  EDNS ──FORMERR, NOTIMP──► without
 * ```
 *
 * NOERROR and NXDOMAIN are knowledge, all else is not. Every query has an identifier, a port and
 * letters of its own (RFC 5452, 0x20); what comes back otherwise is ignored and waited past, but
 * for a few such messages: then it is being guessed at, and TCP is asked.
 */
import type { Cancel, Clock } from '../../stack/clock.ts'
import type { Question } from './forwarder.ts'
import { type DnsHost, formatServer, type Server, type ServerSocket } from './host.ts'
import type { Say } from './local.ts'
import { isReply, makeQuery, type NoReply, type Reply, readReply } from './reply.ts'
import { Rcode, rcodeName } from './wire.ts'

/** Messages that are no answer, after which one must be luckier than chance to be an answer. */
const FORGERIES_MAX = 3

export interface ExchangeOptions {
  readonly clock: Clock
  readonly host: DnsHost
  readonly question: Question
  /** In the order in which they are to be asked; at least one. */
  readonly servers: readonly Server[]
  readonly parallel: boolean
  readonly randomCase: boolean
  readonly timeoutMs: number
  readonly say: Say
  /** A forwarder answered, or did not. */
  readonly judged: (server: Server, answers: boolean) => void
  /** Told once. Undefined: nobody answered at all. */
  readonly done: (reply: Reply | undefined) => void
}

export class Exchange {
  readonly #options: ExchangeOptions
  readonly #tries = new Set<Try>()
  #next = 0
  #failure: Reply | undefined
  #over = false

  constructor(options: ExchangeOptions) {
    this.#options = options
  }

  start(): void {
    const { servers, parallel } = this.#options
    const count = parallel ? servers.length : 1
    for (let i = 0; i < count && !this.#over; i++) this.#ask()
  }

  /** Give up; nobody is told. Idempotent. */
  close(): void {
    this.#over = true
    for (const one of this.#tries) one.close()
    this.#tries.clear()
  }

  #ask(): void {
    const server = this.#options.servers[this.#next++]
    if (server === undefined) {
      if (this.#tries.size === 0) this.#finish(this.#failure)
      return
    }
    const one: Try = new Try(this.#options, server, (reply) => this.#told(one, server, reply))
    this.#tries.add(one)
    one.start()
  }

  #told(one: Try, server: Server, reply: Reply | undefined): void {
    if (this.#over) return
    this.#tries.delete(one)
    this.#options.judged(server, reply !== undefined)
    if (reply !== undefined && isKnowledge(reply)) return this.#finish(reply)
    this.#failure = reply ?? this.#failure
    this.#ask()
  }

  #finish(reply: Reply | undefined): void {
    if (this.#over) return
    this.close()
    this.#options.done(reply)
  }
}

function isKnowledge({ rcode }: Reply): boolean {
  return rcode === Rcode.NoError || rcode === Rcode.NxDomain
}

/** One forwarder being asked. */
class Try {
  readonly #options: ExchangeOptions
  readonly #server: Server
  readonly #done: (reply: Reply | undefined) => void
  #socket: ServerSocket | undefined
  #cancel: Cancel
  #cancelAgain: Cancel
  #edns = true
  #forgeries = 0
  #over = false
  #startMs = 0

  constructor(options: ExchangeOptions, server: Server, done: (reply: Reply | undefined) => void) {
    this.#options = options
    this.#server = server
    this.#done = done
    this.#cancel = (): void => {}
    this.#cancelAgain = (): void => {}
  }

  start(): void {
    const { clock, timeoutMs } = this.#options
    this.#startMs = clock.nowMs
    this.#cancel = clock.after(timeoutMs, () => this.#fail(`no answer in ${timeoutMs} ms`))
    this.#send('udp')
  }

  close(): void {
    this.#over = true
    this.#cancel()
    this.#cancelAgain()
    this.#socket?.close()
  }

  #send(way: 'udp' | 'tcp'): void {
    const { clock, host, question, randomCase, timeoutMs } = this.#options
    this.#cancelAgain()
    this.#socket?.close()
    const { query, asked } = makeQuery({
      ...question,
      id: host.random16(),
      edns: this.#edns,
      bits: way === 'udp' && randomCase ? () => host.random16() : undefined,
    })
    const socket = host[way](this.#server, {
      heard: (message) => {
        if (!this.#over && this.#socket === socket) this.#heard(way, readReply(message, asked))
      },
      failed: (why) => {
        if (!this.#over && this.#socket === socket) this.#fail(why)
      },
    })
    this.#socket = socket
    socket.send(query)
    if (way === 'tcp') return
    // A lost datagram must not cost more than that, nor give a forwarder a bad name.
    const againMs = this.#startMs + timeoutMs / 2 - clock.nowMs
    if (againMs > 0) this.#cancelAgain = clock.after(againMs, () => socket.send(query))
  }

  #heard(way: 'udp' | 'tcp', reply: Reply | NoReply): void {
    if (!isReply(reply)) {
      if (!reply.ignored) return this.#fail(reply.why)
      this.#say(`ignored a message by ${way}: ${reply.why}`)
      if (way === 'tcp') return this.#fail(reply.why)
      if (++this.#forgeries >= FORGERIES_MAX) this.#send('tcp')
      return
    }
    if (reply.truncated) {
      if (way === 'tcp') return this.#fail('truncated over TCP')
      this.#say('truncated; asked again by tcp')
      return this.#send('tcp')
    }
    const odd = reply.rcode === Rcode.FormErr || reply.rcode === Rcode.NotImp
    if (odd && this.#edns) {
      this.#say(`${rcodeName(reply.rcode)}; asked again without EDNS`)
      this.#edns = false
      return this.#send(way)
    }
    const tookMs = Math.round(this.#options.clock.nowMs - this.#startMs)
    this.#say(`${rcodeName(reply.rcode)} by ${way} after ${tookMs} ms`)
    this.#end(reply)
  }

  #fail(why: string): void {
    this.#say(why)
    this.#end(undefined)
  }

  #end(reply: Reply | undefined): void {
    if (this.#over) return
    this.close()
    this.#done(reply)
  }

  #say(text: string): void {
    this.#options.say(`forwarder ${formatServer(this.#server)}: ${text}`)
  }
}
