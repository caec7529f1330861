/**
 * Queries, as a member of a cluster: those of others are sent on, answered if they are internal
 * ones and meant for this member, and their answers relayed; own ones are asked and collected.
 */
import type { Clock } from '../../stack/clock.ts'
import { StackError } from '../../stack/errors.ts'
import type { Random } from '../../stack/random.ts'
import { answerInternal } from './internal_queries.ts'
import type { Keyring } from './keyring.ts'
import type { Memberlist } from './memberlist.ts'
import { type Answers, QUERY_BYTES_MAX, Queries, RESPONSE_BYTES_MAX } from './queries.ts'
import { nodeFilter, passes } from './query_filter.ts'
import type { Roster } from './roster.ts'
import {
  encodeSerf,
  type Query,
  QueryFlag,
  type QueryResponse,
  type Relay,
} from './serf_messages.ts'

/** What a query asks. */
export interface Question {
  readonly name: string
  readonly payload: Uint8Array
  /** Names of those who are asked; default: all. */
  readonly to?: readonly string[]
}

export interface SerfQueriesOptions {
  readonly clock: Clock
  readonly random: Random
  /** Of this member. */
  readonly name: string
  readonly keyring?: Keyring
  readonly onKeys?: () => void
  readonly memberlist: Memberlist
  readonly roster: Roster
  readonly broadcast: (message: Uint8Array) => void
}

export class SerfQueries {
  readonly #options: SerfQueriesOptions
  readonly #queries: Queries

  constructor(options: SerfQueriesOptions) {
    this.#options = options
    this.#queries = new Queries(options.clock, options.random)
  }

  /** Lamport time of the next query. */
  get time(): number {
    return this.#queries.clock.time
  }

  witness(time: number): void {
    this.#queries.clock.witness(time)
  }

  ignoreBefore(time: number): void {
    this.#queries.ignoreBefore(time)
  }

  close(): void {
    this.#queries.close()
  }

  /** Ask all members, or some of them; this one answers, too. @throws StackError */
  async ask({ name, payload, to }: Question): Promise<Answers> {
    const { memberlist, roster } = this.#options
    const { address, port } = memberlist.swim.self
    const members = roster.members().filter(({ state }) => state === 'alive' || state === 'suspect')
    const wanted = members.flatMap((member) => {
      return to === undefined || to.includes(member.name) ? [member.name] : []
    })
    const query: Query = {
      type: 'query',
      ...this.#queries.next(),
      address,
      port,
      sourceNode: this.#options.name,
      filters: to === undefined ? [] : [nodeFilter(to)],
      flags: 0,
      timeoutMs: this.#queries.timeoutMs(members.length),
      name,
      payload,
    }
    const message = encodeSerf(query)
    if (message.length > QUERY_BYTES_MAX) {
      throw new StackError('bad-argument', `a query has at most ${QUERY_BYTES_MAX} octets`)
    }
    const answers = this.#queries.collect(query, new Set(wanted))
    this.onQuery(query, message)
    return answers
  }

  onQuery(query: Query, encoded: Uint8Array): void {
    const { name, roster, keyring, broadcast } = this.#options
    if (!this.#queries.receive(query)) return
    if ((query.flags & QueryFlag.NoBroadcast) === 0) broadcast(encoded)
    if (!passes(query.filters, name, roster.get(name)?.tags ?? {})) return
    if ((query.flags & QueryFlag.Ack) !== 0) this.#respond(query, new Uint8Array(0), QueryFlag.Ack)
    const answer = answerInternal(query, {
      name,
      member: (other) => roster.get(other),
      status: (other) => roster.status(other),
      keyring,
      onChange: () => this.#options.onKeys?.(),
    })
    if (answer !== undefined) this.#respond(query, answer, 0)
  }

  onResponse(response: QueryResponse): void {
    this.#queries.onResponse(response)
  }

  #respond(query: Query, payload: Uint8Array, flags: number): void {
    const { name: from, memberlist } = this.#options
    const { time, id, address, port, sourceNode } = query
    const response = { type: 'query-response', time, id, from, flags, payload } as const
    if (sourceNode === from) return this.#queries.onResponse(response)
    const message = encodeSerf(response)
    // Answers go to members only: nobody else is to be flooded with them.
    if (message.length > RESPONSE_BYTES_MAX || !memberlist.knows({ address, port })) return
    memberlist.send({ address, port }, message, sourceNode)
  }

  /** Pass on an answer that another member sends by way of this one. */
  onRelay({ address, port, message }: Relay): void {
    const { memberlist } = this.#options
    if (message.length > memberlist.payloadBytesMax || !memberlist.knows({ address, port })) return
    memberlist.send({ address, port }, message)
  }
}
