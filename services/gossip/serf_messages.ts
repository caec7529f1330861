/**
 * serf's messages, which travel as memberlist's user messages: a type octet and a map.
 *
 * ```text
 *   leave 0, join 1       intents: a member means to leave, or is there again
 *   push/pull 2           clocks, who left, recent events: beside memberlist's own push/pull
 *   user event 3          query 4, its response 5, relay 9
 *   conflict response 6, key request 7, key response 8: payloads of internal queries
 * ```
 *
 * Our own messages to other tapline nodes are a type of their own, {@link SerfType}.Tapline, and
 * never go to others.
 */
import { type Address, toBytes } from '../../stack/address.ts'
import { Fields } from './fields.ts'
import { LAMPORT_MAX } from './lamport.ts'
import { NAME_BYTES_MAX, pack } from './messages.ts'
import { Reader, textOf, type Value } from './msgpack.ts'

export const SerfType = {
  Leave: 0,
  Join: 1,
  PushPull: 2,
  UserEvent: 3,
  Query: 4,
  QueryResponse: 5,
  ConflictResponse: 6,
  KeyRequest: 7,
  KeyResponse: 8,
  Relay: 9,
  Tapline: 0x74,
} as const

const NS_PER_MS = 1e6
/** Members in one state, more than which nobody has. */
const STATUSES_MAX = 16_384

export interface Intent {
  readonly type: 'leave' | 'join'
  readonly time: number
  readonly node: string
  /** Of a leave: forget it as well. */
  readonly prune: boolean
}

export interface UserEvent {
  readonly type: 'user-event'
  readonly time: number
  readonly name: string
  readonly payload: Uint8Array
  /** Several of its name at once may be handled as one. */
  readonly coalesce: boolean
}

export const QueryFlag = { Ack: 1, NoBroadcast: 2 } as const

export interface Query {
  readonly type: 'query'
  readonly time: number
  readonly id: number
  /** Who asks, and where the answers go. */
  readonly address: Address
  readonly port: number
  readonly sourceNode: string
  /** Encoded: see query_filter.ts. */
  readonly filters: readonly Uint8Array[]
  readonly flags: number
  readonly timeoutMs: number
  readonly name: string
  readonly payload: Uint8Array
}

export interface QueryResponse {
  readonly type: 'query-response'
  readonly time: number
  readonly id: number
  readonly from: string
  /** {@link QueryFlag}.Ack: it was received; else an answer. */
  readonly flags: number
  readonly payload: Uint8Array
}

export interface Relay {
  readonly type: 'relay'
  readonly address: Address
  readonly port: number
  /** A whole message of serf's. */
  readonly message: Uint8Array
}

export interface Own {
  readonly type: 'tapline'
  readonly payload: Uint8Array
}

export type SerfMessage = Intent | UserEvent | Query | QueryResponse | Relay | Own

/** Events that happened at one time. */
export interface EventsAt {
  readonly time: number
  readonly events: readonly { readonly name: string; readonly payload: Uint8Array }[]
}

/** Serf's part of a push/pull. */
export interface SerfState {
  readonly time: number
  readonly statusTimes: ReadonlyMap<string, number>
  readonly left: readonly string[]
  readonly eventTime: number
  readonly events: readonly EventsAt[]
  readonly queryTime: number
}

export function encodeSerf(message: Exclude<SerfMessage, Relay>): Uint8Array {
  switch (message.type) {
    case 'leave':
      return pack(SerfType.Leave, {
        LTime: message.time,
        Node: message.node,
        Prune: message.prune,
      })
    case 'join':
      return pack(SerfType.Join, { LTime: message.time, Node: message.node })
    case 'user-event':
      return pack(SerfType.UserEvent, {
        LTime: message.time,
        Name: message.name,
        Payload: message.payload,
        CC: message.coalesce,
      })
    case 'query':
      return pack(SerfType.Query, {
        LTime: message.time,
        ID: message.id,
        Addr: toBytes(message.address),
        Port: message.port,
        SourceNode: message.sourceNode,
        Filters: message.filters,
        Flags: message.flags,
        RelayFactor: 0,
        Timeout: Math.round(message.timeoutMs * NS_PER_MS),
        Name: message.name,
        Payload: message.payload,
      })
    case 'query-response':
      return pack(SerfType.QueryResponse, {
        LTime: message.time,
        ID: message.id,
        From: message.from,
        Flags: message.flags,
        Payload: message.payload,
      })
    case 'tapline': {
      const mem = new Uint8Array(1 + message.payload.length)
      mem[0] = SerfType.Tapline
      mem.set(message.payload, 1)
      return mem
    }
  }
}

/** Undefined: malformed, or nothing that is sent as a message. */
export function decodeSerf(mem: Uint8Array): SerfMessage | undefined {
  const type = mem[0]
  if (type === undefined) return undefined
  if (type === SerfType.Tapline) return { type: 'tapline', payload: mem.subarray(1) }
  const reader = new Reader(mem, 1)
  const fields = new Fields(reader.next())
  if (fields.bad) return undefined
  const message = decodeFields(type, fields, reader)
  return fields.bad ? undefined : message
}

function decodeFields(type: number, fields: Fields, reader: Reader): SerfMessage | undefined {
  switch (type) {
    case SerfType.Leave:
    case SerfType.Join: {
      const node = nameOf(fields)
      const prune = fields.flag('Prune')
      return { type: type === SerfType.Join ? 'join' : 'leave', time: timeOf(fields), node, prune }
    }
    case SerfType.UserEvent: {
      const [name, payload] = [fields.text('Name'), fields.raw('Payload').slice()]
      const coalesce = fields.flag('CC')
      return { type: 'user-event', time: timeOf(fields), name, payload, coalesce }
    }
    case SerfType.Query:
      return decodeQuery(fields)
    case SerfType.QueryResponse: {
      const [id, from, flags] = [fields.uint('ID'), fields.text('From'), fields.uint('Flags')]
      const payload = fields.raw('Payload').slice()
      return { type: 'query-response', time: timeOf(fields), id, from, flags, payload }
    }
    case SerfType.Relay: {
      const to = new Fields(fields.map('DestAddr'))
      const [address, port] = [to.address('IP'), to.uint('Port', 0xffff)]
      if (to.bad || address === undefined) return undefined
      return { type: 'relay', address, port, message: reader.rest() }
    }
    default:
      return undefined
  }
}

function decodeQuery(fields: Fields): Query | undefined {
  const address = fields.address('Addr')
  const filters: Uint8Array[] = []
  for (const filter of fields.list('Filters')) {
    if (!(filter instanceof Uint8Array)) return undefined
    filters.push(filter)
  }
  if (address === undefined) return undefined
  return {
    type: 'query',
    time: timeOf(fields),
    id: fields.uint('ID'),
    address,
    port: fields.uint('Port', 0xffff),
    sourceNode: fields.text('SourceNode'),
    filters,
    flags: fields.uint('Flags'),
    timeoutMs: fields.uint('Timeout', Number.MAX_SAFE_INTEGER) / NS_PER_MS,
    name: fields.text('Name'),
    payload: fields.raw('Payload').slice(),
  }
}

function timeOf(fields: Fields, key = 'LTime'): number {
  return fields.uint(key, LAMPORT_MAX)
}

function nameOf(fields: Fields): string {
  const name = fields.text('Node')
  if (name === '' || name.length > NAME_BYTES_MAX) fields.bad = true
  return name
}

export function encodeState(state: SerfState): Uint8Array {
  return pack(SerfType.PushPull, {
    LTime: state.time,
    StatusLTimes: state.statusTimes,
    LeftMembers: state.left,
    EventLTime: state.eventTime,
    Events: state.events.map(({ time, events }) => ({
      LTime: time,
      Events: events.map(({ name, payload }) => ({ Name: name, Payload: payload })),
    })),
    QueryLTime: state.queryTime,
  })
}

/** Undefined: malformed. */
export function decodeState(mem: Uint8Array): SerfState | undefined {
  if (mem[0] !== SerfType.PushPull) return undefined
  const fields = new Fields(new Reader(mem, 1).next())
  const statusTimes = new Map<string, number>()
  for (const [node, time] of fields.map('StatusLTimes')) {
    if (typeof time !== 'number' || time < 0 || time > LAMPORT_MAX) return undefined
    if (statusTimes.size < STATUSES_MAX) statusTimes.set(node, time)
  }
  const left = fields.list('LeftMembers').map(rawText)
  const events = fields.list('Events').flatMap((value): (EventsAt | undefined)[] => {
    // Slots of serf's ring that hold nothing are nil.
    return value === null ? [] : [decodeEventsAt(value)]
  })
  const [time, eventTime] = [timeOf(fields), timeOf(fields, 'EventLTime')]
  const queryTime = timeOf(fields, 'QueryLTime')
  if (fields.bad || !left.every(isDefined) || !events.every(isDefined)) return undefined
  return { time, statusTimes, left, eventTime, events, queryTime }
}

function decodeEventsAt(value: Value): EventsAt | undefined {
  const fields = new Fields(value)
  const time = timeOf(fields)
  const events = fields.list('Events').map((item) => {
    const event = new Fields(item)
    const [name, payload] = [event.text('Name'), event.raw('Payload').slice()]
    if (event.bad) fields.bad = true
    return { name, payload }
  })
  return fields.bad ? undefined : { time, events }
}

function rawText(value: Value): string | undefined {
  return value instanceof Uint8Array ? textOf(value) : undefined
}

function isDefined<T>(value: T | undefined): value is T {
  return value !== undefined
}
