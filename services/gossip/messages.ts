/**
 * memberlist's messages: a type octet and a map with Go's field names (msgpack.ts).
 *
 * ```text
 *   datagrams: ping 0, indirect ping 1, ack 2, suspect 3, alive 4, dead 5, user 8, nack 11
 *   streams:   ping 0, ack 2, push/pull 6, user 8, error 13            (streams: stream_parser.ts)
 *   around them: compound 7, compress 9, encrypt 10, CRC 12, label 244 (envelope.ts)
 * ```
 *
 * Decoders answer undefined for what is malformed: a missing name, an address of 5 octets, meta
 * data of more than 512. A user message is opaque here: serf's, or our own.
 */
import { type Address, toBytes } from '../../stack/address.ts'
import { Fields } from './fields.ts'
import { Reader, type Value } from './msgpack.ts'
import { type Encodable, encode, encodeAfter } from './msgpack_writer.ts'

export const MessageType = {
  Ping: 0,
  IndirectPing: 1,
  Ack: 2,
  Suspect: 3,
  Alive: 4,
  Dead: 5,
  PushPull: 6,
  Compound: 7,
  User: 8,
  Compress: 9,
  Encrypt: 10,
  Nack: 11,
  HasCrc: 12,
  Error: 13,
  HasLabel: 244,
} as const

/** States of a node on the wire. */
export const WireState = { Alive: 0, Suspect: 1, Dead: 2, Left: 3 } as const

/** Octets of a node's meta data. */
export const META_BYTES_MAX = 512
/** Octets of a name: it must fit into a datagram beside other things. */
export const NAME_BYTES_MAX = 128
/** Lowest, highest and spoken version of the protocol, then of the delegate's (serf's). */
const VERSIONS_COUNT = 6
const U16_MAX = 0xffff
/** Longest part that is copied octet by octet; above it the cost of a call is paid back. */
const LOOP_BYTES = 64

export interface Ping {
  readonly type: 'ping'
  readonly seq: number
  /** Whom it is for; '': whoever gets it. */
  readonly node: string
  /** Where the answer goes; undefined: where it came from. */
  readonly sourceAddress: Address | undefined
  readonly sourcePort: number
  readonly sourceNode: string
}

export interface IndirectPing {
  readonly type: 'indirect-ping'
  readonly seq: number
  readonly node: string
  readonly target: Address
  readonly port: number
  /** Say so if the target does not answer. */
  readonly nack: boolean
  readonly sourceAddress: Address | undefined
  readonly sourcePort: number
  readonly sourceNode: string
}

export interface Ack {
  readonly type: 'ack'
  readonly seq: number
  readonly payload: Uint8Array
}

export interface Nack {
  readonly type: 'nack'
  readonly seq: number
}

/** `from` says of `node` that it is suspect or dead; of itself: that it leaves. */
export interface Verdict {
  readonly type: 'suspect' | 'dead'
  readonly incarnation: number
  readonly node: string
  readonly from: string
}

export interface Alive {
  readonly type: 'alive'
  readonly incarnation: number
  readonly node: string
  readonly address: Address
  readonly port: number
  /** It and the versions may lie within a datagram or stream: who keeps them copies them. */
  readonly meta: Uint8Array
  /** Six numbers; empty: not told. */
  readonly versions: Uint8Array
}

export interface User {
  readonly type: 'user'
  readonly payload: Uint8Array
}

export type Message = Ping | IndirectPing | Ack | Nack | Verdict | Alive | User

/** One node in a push/pull. */
export interface NodeState extends Omit<Alive, 'type'> {
  readonly state: (typeof WireState)[keyof typeof WireState]
}

/** A message of the type, from its fields. */
export function pack(type: number, fields: Encodable): Uint8Array {
  return encodeAfter(type, fields)
}

export function encodeMessage(message: Message): Uint8Array {
  switch (message.type) {
    case 'ping':
      return pack(MessageType.Ping, { SeqNo: message.seq, Node: message.node, ...source(message) })
    case 'indirect-ping':
      return pack(MessageType.IndirectPing, {
        SeqNo: message.seq,
        Target: toBytes(message.target),
        Port: message.port,
        Node: message.node,
        Nack: message.nack,
        ...source(message),
      })
    case 'ack':
      return pack(MessageType.Ack, { SeqNo: message.seq, Payload: message.payload })
    case 'nack':
      return pack(MessageType.Nack, { SeqNo: message.seq })
    case 'suspect':
    case 'dead': {
      const { incarnation, node, from } = message
      const type = message.type === 'dead' ? MessageType.Dead : MessageType.Suspect
      return pack(type, { Incarnation: incarnation, Node: node, From: from })
    }
    case 'alive':
      return pack(MessageType.Alive, {
        Incarnation: message.incarnation,
        Node: message.node,
        Addr: toBytes(message.address),
        Port: message.port,
        Meta: message.meta,
        Vsn: message.versions,
      })
    case 'user':
      return join([Uint8Array.of(MessageType.User), message.payload])
  }
}

type Source = Pick<Ping, 'sourceAddress' | 'sourcePort' | 'sourceNode'>

function source({ sourceAddress, sourcePort, sourceNode }: Source): Record<string, Encodable> {
  if (sourceAddress === undefined) return {}
  return { SourceAddr: toBytes(sourceAddress), SourcePort: sourcePort, SourceNode: sourceNode }
}

/** One message without anything around it; undefined: malformed, or none that we know. */
export function decodeMessage(mem: Uint8Array): Message | undefined {
  const type = mem[0]
  if (type === undefined) return undefined
  if (type === MessageType.User) return { type: 'user', payload: mem.subarray(1) }
  const fields = new Fields(new Reader(mem, 1).next())
  const message = decodeFields(type, fields)
  return fields.bad ? undefined : message
}

function decodeFields(type: number, fields: Fields): Message | undefined {
  switch (type) {
    case MessageType.Ping:
      return { type: 'ping', seq: fields.uint('SeqNo'), ...decodeSource(fields) }
    case MessageType.IndirectPing: {
      const target = fields.address('Target')
      if (target === undefined) return undefined
      const [port, nack] = [fields.uint('Port', U16_MAX), fields.flag('Nack')]
      const seq = fields.uint('SeqNo')
      return { type: 'indirect-ping', seq, target, port, nack, ...decodeSource(fields) }
    }
    case MessageType.Ack:
      return { type: 'ack', seq: fields.uint('SeqNo'), payload: fields.raw('Payload') }
    case MessageType.Nack:
      return { type: 'nack', seq: fields.uint('SeqNo') }
    case MessageType.Suspect:
    case MessageType.Dead: {
      const [node, from] = [name(fields, 'Node'), fields.text('From')]
      const kind = type === MessageType.Dead ? 'dead' : 'suspect'
      return { type: kind, incarnation: fields.uint('Incarnation'), node, from }
    }
    case MessageType.Alive: {
      const alive = decodeAlive(fields, 'Node')
      return alive && { type: 'alive', ...alive }
    }
    default:
      return undefined
  }
}

function decodeSource(fields: Fields): Source & { readonly node: string } {
  return {
    node: fields.text('Node'),
    sourceAddress: fields.address('SourceAddr'),
    sourcePort: fields.uint('SourcePort', U16_MAX),
    sourceNode: fields.text('SourceNode'),
  }
}

function decodeAlive(fields: Fields, nameKey: string): Omit<Alive, 'type'> | undefined {
  const [address, meta] = [fields.address('Addr'), fields.raw('Meta')]
  const versions = decodeVersions(fields)
  const bad = address === undefined || versions === undefined || meta.length > META_BYTES_MAX
  if (bad) return undefined
  return {
    incarnation: fields.uint('Incarnation'),
    node: name(fields, nameKey),
    address,
    port: fields.uint('Port', U16_MAX),
    meta,
    versions,
  }
}

/** Go sends `[]uint8` as a raw, and some encoders as a list of integers. */
function decodeVersions(fields: Fields): Uint8Array | undefined {
  const value = fields.any('Vsn')
  if (value === undefined || value === null) return new Uint8Array(0)
  const isRaw = value instanceof Uint8Array
  if (!isRaw && !Array.isArray(value)) return undefined
  if (value.length !== 0 && value.length !== VERSIONS_COUNT) return undefined
  if (isRaw) return value
  return value.every(isOctet) ? Uint8Array.from(value) : undefined
}

function isOctet(value: Value): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value < 256
}

function name(fields: Fields, key: string): string {
  const text = fields.text(key)
  if (text === '' || fields.raw(key).length > NAME_BYTES_MAX) fields.bad = true
  return text
}

/** Header of a push/pull; the nodes and the delegate's state follow. */
export function encodePushPull(
  join_: boolean,
  nodes: readonly NodeState[],
  userState: Uint8Array,
): Uint8Array {
  const header = { Nodes: nodes.length, UserStateLen: userState.length, Join: join_ }
  const states = nodes.map((node) =>
    encode({
      Name: node.node,
      Addr: toBytes(node.address),
      Port: node.port,
      Meta: node.meta,
      Incarnation: node.incarnation,
      State: node.state,
      Vsn: node.versions,
    }),
  )
  return join([pack(MessageType.PushPull, header), ...states, userState])
}

/** One node of a push/pull; undefined: malformed. */
export function decodeNodeState(value: Value): NodeState | undefined {
  const fields = new Fields(value)
  const alive = decodeAlive(fields, 'Name')
  const state = fields.uint('State', WireState.Left) as NodeState['state']
  return fields.bad || alive === undefined ? undefined : { ...alive, state }
}

export function join(parts: readonly Uint8Array[]): Uint8Array {
  let bytes = 0
  for (const part of parts) bytes += part.length
  const mem = new Uint8Array(bytes)
  let at = 0
  for (const part of parts) {
    if (part.length > LOOP_BYTES) mem.set(part, at)
    else for (let i = 0; i < part.length; i++) mem[at + i] = part[i]!
    at += part.length
  }
  return mem
}
