/**
 * One message from a stream, whatever the pieces it arrives in. Each stream carries one message in
 * each direction: a push/pull and its answer, a ping and its ack, or a user message.
 *
 * ```text
 *   [label] [10, octets, encrypted:] [9, map of compressed octets:] message
 *   push/pull    6, map { Nodes, UserStateLen, Join }, Nodes x map, user state
 *   user         8, map { UserMsgLen }, octets
 * ```
 *
 * The parser is a generator that yields how many octets it needs before it can go on, so that a
 * large push/pull is not parsed again with each segment. More than `bytesMax`, compressed or not,
 * is refused as soon as it is announced.
 */
import { u32 } from '../../stack/bytes.ts'
import type { Sealing } from './envelope.ts'
import {
  decrypt,
  inflate,
  LABEL_HEADER_BYTES,
  STREAM_HEADER_BYTES,
  withoutLabel,
} from './envelope.ts'
import { Fields } from './fields.ts'
import {
  type Ack,
  decodeMessage,
  decodeNodeState,
  join,
  MessageType,
  type NodeState,
  type Ping,
  type User,
} from './messages.ts'
import { Reader, type Value } from './msgpack.ts'

/** Nodes in one push/pull. */
const NODES_MAX = 16_384

export interface PushPull {
  readonly type: 'push-pull'
  readonly join: boolean
  readonly nodes: readonly NodeState[]
  readonly userState: Uint8Array
}

/** The other side could not do it. */
export interface RemoteError {
  readonly type: 'error'
  readonly text: string
}

export type StreamMessage = Ping | Ack | User | PushPull | RemoteError

/** Octets that are there, and whether more may come. */
interface Source {
  mem: Uint8Array
  growing: boolean
}

/** Yields octets that are wanted; ends with undefined for what is malformed. */
type Parsing<T> = Generator<number, T | undefined, void>

export class StreamParser {
  readonly #sealing: Sealing
  readonly #bytesMax: number
  readonly #source: Source = { mem: new Uint8Array(0), growing: true }
  readonly #parsing: Parsing<StreamMessage>
  #chunks: Uint8Array[] = []
  #bytes = 0
  #wanted = 1

  constructor(sealing: Sealing, bytesMax: number) {
    this.#sealing = sealing
    this.#bytesMax = bytesMax
    this.#parsing = this.#parse()
    this.#parsing.next()
  }

  /** `more`: not complete yet; `bad`: will never be. Precondition: it was `more` so far. */
  push(chunk: Uint8Array): StreamMessage | 'more' | 'bad' {
    this.#chunks.push(chunk)
    this.#bytes += chunk.length
    if (this.#bytes > this.#bytesMax) return 'bad'
    if (this.#bytes < this.#wanted) return 'more'
    this.#source.mem = join([this.#source.mem, ...this.#chunks])
    this.#chunks = []
    const { done, value } = this.#parsing.next()
    if (done) return value ?? 'bad'
    this.#wanted = value
    return value > this.#bytesMax ? 'bad' : 'more'
  }

  *#parse(): Parsing<StreamMessage> {
    const raw = this.#source
    if (!(yield* need(raw, 1))) return undefined
    const { label, keyring } = this.#sealing
    const labelBytes = label.length === 0 ? 0 : LABEL_HEADER_BYTES + label.length
    if (!(yield* need(raw, labelBytes + 1))) return undefined
    if (withoutLabel(raw.mem, label) === undefined) return undefined
    if (keyring === undefined) return yield* this.#inflated(raw, labelBytes)
    if (raw.mem[labelBytes] !== MessageType.Encrypt) return undefined
    const start = labelBytes + STREAM_HEADER_BYTES
    if (!(yield* need(raw, start))) return undefined
    const end = start + u32(raw.mem, labelBytes + 1)
    if (!(yield* need(raw, end))) return undefined
    const authenticated = join([raw.mem.subarray(labelBytes, start), label])
    const plain = decrypt(keyring, raw.mem.subarray(start, end), authenticated)
    if (plain === undefined || plain.length === 0) return undefined
    return yield* this.#inflated({ mem: plain, growing: false }, 0)
  }

  *#inflated(source: Source, at: number): Parsing<StreamMessage> {
    if (source.mem[at] !== MessageType.Compress) return yield* message(source, at)
    const map = yield* valueAt(source, at + 1)
    if (map === undefined) return undefined
    const plain = inflate(new Fields(map.value), this.#bytesMax)
    if (plain === undefined || plain.length === 0) return undefined
    return yield* message({ mem: plain, growing: false }, 0)
  }
}

/** True once so many octets are there; false: they will never be. */
function* need(source: Source, bytes: number): Generator<number, boolean, void> {
  while (source.mem.length < bytes) {
    if (!source.growing) return false
    yield bytes
  }
  return true
}

interface ValueAt {
  readonly value: Value
  readonly end: number
}

function* valueAt(source: Source, at: number): Parsing<ValueAt> {
  for (;;) {
    const reader = new Reader(source.mem, at)
    const value = reader.next()
    if (value !== undefined) return { value, end: reader.at }
    if (reader.wanted === 0 || !(yield* need(source, reader.wanted))) return undefined
  }
}

function* message(source: Source, at: number): Parsing<StreamMessage> {
  const type = source.mem[at]
  const head = yield* valueAt(source, at + 1)
  if (head === undefined) return undefined
  const fields = new Fields(head.value)
  switch (type) {
    case MessageType.Ping:
    case MessageType.Ack:
      return decodeMessage(source.mem.subarray(at, head.end)) as Ping | Ack | undefined
    case MessageType.PushPull:
      return yield* pushPull(source, head.end, fields)
    case MessageType.User: {
      const end = head.end + fields.uint('UserMsgLen')
      if (fields.bad || !(yield* need(source, end))) return undefined
      return { type: 'user', payload: source.mem.subarray(head.end, end) }
    }
    case MessageType.Error: {
      const text = fields.text('Error')
      return fields.bad ? undefined : { type: 'error', text }
    }
    default:
      return undefined
  }
}

function* pushPull(source: Source, from: number, fields: Fields): Parsing<PushPull> {
  const count = fields.uint('Nodes', NODES_MAX)
  const [userBytes, isJoin] = [fields.uint('UserStateLen'), fields.flag('Join')]
  if (fields.bad) return undefined
  const nodes: NodeState[] = []
  let at = from
  for (let i = 0; i < count; i++) {
    const found = yield* valueAt(source, at)
    const node = found && decodeNodeState(found.value)
    if (found === undefined || node === undefined) return undefined
    nodes.push(node)
    at = found.end
  }
  if (!(yield* need(source, at + userBytes))) return undefined
  const userState = source.mem.subarray(at, at + userBytes)
  return { type: 'push-pull', join: isJoin, nodes, userState }
}
