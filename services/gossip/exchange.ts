/**
 * Streams of gossip: push/pulls, in which two nodes tell each other all that they believe; pings
 * where datagrams do not get through; and user messages that must not be lost.
 *
 * ```text
 *   push/pull   ours ──> theirs <──      each merges what the other one said
 *   ping        ping ──> ack <──
 *   user        message ──>
 * ```
 *
 * A stream lives for {@link STREAM_TIMEOUT_MS} at most, and carries at most
 * {@link STREAM_BYTES_MAX} in each direction.
 */
import { type Address, formatAddress } from '../../stack/address.ts'
import type { Cancel, Clock } from '../../stack/clock.ts'
import { StackError } from '../../stack/errors.ts'
import type { Destination } from './datagrams.ts'
import { STREAM_TIMEOUT_MS } from './defaults.ts'
import { type Sealing, sealStream } from './envelope.ts'
import {
  encodeMessage,
  encodePushPull,
  join,
  MessageType,
  type Ping,
  pack,
  WireState,
} from './messages.ts'
import { isAt } from './node_table.ts'
import { type PushPull, type StreamMessage, StreamParser } from './stream_parser.ts'
import type { Swim } from './swim.ts'
import type { GossipStream, StreamHandlers, Transport } from './transport.ts'

/** Some 10,000 members with their tags, or a large user message. */
const STREAM_BYTES_MAX: number = 4 * 1024 * 1024

export interface ExchangeCounters {
  pushPulls: number
  pushPullsFailed: number
  streamsIn: number
  /** Malformed, too large, not authentic, or nothing that begins a stream. */
  streamsRefused: number
}

/** The layer above: serf's state, or nothing. */
export interface UserState {
  local(join: boolean): Uint8Array
  merge(state: Uint8Array, join: boolean): void
  /** A user message came by a stream. */
  onMessage(payload: Uint8Array): void
}

export interface ExchangeOptions {
  readonly clock: Clock
  readonly transport: Transport
  readonly sealing: Sealing
  readonly swim: Swim
  readonly user: UserState
  /** What came from there is damaged, or of another label or key. */
  readonly onUnopened: (from: Address) => void
}

export class Exchange {
  readonly counters: ExchangeCounters = {
    pushPulls: 0,
    pushPullsFailed: 0,
    streamsIn: 0,
    streamsRefused: 0,
  }
  readonly #options: ExchangeOptions
  readonly #open = new Set<Conversation>()

  constructor(options: ExchangeOptions) {
    this.#options = options
  }

  /** Tell each other everything. `onEnd` without an error: it was done. */
  pushPull(to: Destination, isJoin: boolean, onEnd: (error?: StackError) => void): void {
    const request = this.#pushPull(isJoin)
    const ended = (error?: StackError): void => {
      if (error === undefined) this.counters.pushPulls++
      else this.counters.pushPullsFailed++
      onEnd(error)
    }
    this.#ask(to, request, {
      onMessage: (answer) => {
        if (answer.type === 'push-pull') {
          const conflict = this.#merge(answer, isJoin)
          return ended(conflict)
        }
        const text = answer.type === 'error' ? answer.text : `an answer of type ${answer.type}`
        ended(new StackError('daemon', text))
      },
      onFailure: (error) => ended(error),
    })
  }

  /** The cancel ends it at once. */
  ping(to: Destination, ping: Ping, onAck: () => void): Cancel {
    const conversation = this.#ask(to, encodeMessage(ping), {
      onMessage: (answer) => {
        if (answer.type === 'ack' && answer.seq === ping.seq) onAck()
      },
      onFailure: () => {},
    })
    return () => conversation.abandon()
  }

  /** `onEnd` without an error: the other side has taken the octets. */
  sendUser(to: Destination, payload: Uint8Array, onEnd: (error?: StackError) => void): void {
    const header = pack(MessageType.User, { UserMsgLen: payload.length })
    const request = join([header, payload])
    if (request.length > STREAM_BYTES_MAX) {
      return onEnd(new StackError('bad-argument', `at most ${STREAM_BYTES_MAX} octets`))
    }
    const conversation = this.#ask(to, request, {
      onMessage: () => {},
      onFailure: (error) => onEnd(error),
      onEnd: () => onEnd(),
    })
    conversation.end()
  }

  /** Another node began a stream. */
  accept(stream: GossipStream, from: Address): StreamHandlers {
    this.counters.streamsIn++
    const conversation = new Conversation(this.#options, this.#open, {
      onMessage: (message) => this.#serve(conversation, message),
      onFailure: (_, isUnopened) => {
        this.counters.streamsRefused++
        if (isUnopened) this.#options.onUnopened(from)
      },
    })
    conversation.stream = stream
    return conversation
  }

  /** End all of them. Nobody is told. */
  close(): void {
    for (const conversation of this.#open) conversation.abandon()
  }

  #serve(conversation: Conversation, message: StreamMessage): void {
    const { swim, user } = this.#options
    switch (message.type) {
      case 'push-pull': {
        conversation.write(this.#pushPull(false))
        this.#merge(message, message.join)
        return
      }
      case 'ping': {
        if (message.node !== '' && message.node !== swim.self.name) return
        const ack = { type: 'ack', seq: message.seq, payload: new Uint8Array(0) } as const
        return conversation.write(encodeMessage(ack))
      }
      case 'user':
        return user.onMessage(message.payload)
      default:
        this.counters.streamsRefused++
    }
  }

  #pushPull(isJoin: boolean): Uint8Array {
    const { swim, user } = this.#options
    return encodePushPull(isJoin, swim.states(), user.local(isJoin))
  }

  /** An error if somebody else has our name. */
  #merge({ nodes, userState }: PushPull, isJoin: boolean): StackError | undefined {
    const { swim, user } = this.#options
    swim.merge(nodes)
    if (userState.length > 0) user.merge(userState, isJoin)
    const own = nodes.find(({ node }) => node === swim.self.name)
    if (own === undefined || isAt(swim.self, own.address, own.port)) return undefined
    if (own.state === WireState.Dead || own.state === WireState.Left) return undefined
    const where = `${formatAddress(own.address)} port ${own.port}`
    return new StackError('exists', `the name ${own.node} is in use at ${where}`)
  }

  #ask(to: Destination, request: Uint8Array, handlers: ConversationHandlers): Conversation {
    const { transport } = this.#options
    const conversation = new Conversation(this.#options, this.#open, handlers)
    conversation.stream = transport.dial(to.address, to.port, conversation)
    conversation.write(request)
    return conversation
  }
}

interface ConversationHandlers {
  /** The one message of the other side. The stream is ended after it. */
  onMessage(message: StreamMessage): void
  /** It ended without one; `isUnopened`: since what came could not be opened. */
  onFailure(error: StackError, isUnopened: boolean): void
  /** Where given: it is no failure that the other side ends without saying anything. */
  onEnd?(): void
}

/** One stream: one message there, one back. */
class Conversation implements StreamHandlers {
  stream: GossipStream | undefined
  readonly #sealing: Sealing
  readonly #handlers: ConversationHandlers
  readonly #open: Set<Conversation>
  readonly #parser: StreamParser
  readonly #cancel: Cancel
  #done = false

  constructor(
    { clock, sealing }: { readonly clock: Clock; readonly sealing: Sealing },
    open: Set<Conversation>,
    handlers: ConversationHandlers,
  ) {
    this.#sealing = sealing
    this.#handlers = handlers
    this.#open = open
    this.#parser = new StreamParser(sealing, STREAM_BYTES_MAX)
    this.#cancel = clock.after(STREAM_TIMEOUT_MS, () => this.#expire())
    open.add(this)
  }

  write(message: Uint8Array): void {
    this.stream?.write(sealStream(message, this.#sealing))
  }

  end(): void {
    this.stream?.end()
  }

  onData(bytes: Uint8Array): void {
    if (this.#done) return
    const message = this.#parser.push(bytes)
    if (message === 'more') return
    if (message === 'bad') return this.#fail('malformed, or not encrypted with a key of ours', true)
    this.#done = true
    this.#handlers.onMessage(message)
    this.stream?.end()
  }

  onClose(error?: StackError): void {
    this.#cancel()
    this.#open.delete(this)
    if (this.#done) return
    if (error === undefined && this.#handlers.onEnd !== undefined) {
      this.#done = true
      return this.#handlers.onEnd()
    }
    this.#fail(error?.message ?? 'closed without an answer: do the keys and the label match?')
  }

  /** End it, and tell nobody. */
  abandon(): void {
    this.#done = true
    this.#drop()
  }

  /** Also what is done, but which the other side does not close. */
  #expire(): void {
    if (this.#done) this.#drop()
    else this.#fail('no answer in time')
  }

  #fail(what: string, isUnopened = false): void {
    if (this.#done) return
    this.#done = true
    this.#drop()
    this.#handlers.onFailure(new StackError('daemon', what), isUnopened)
  }

  #drop(): void {
    this.#cancel()
    this.#open.delete(this)
    this.stream?.destroy()
  }
}
