/**
 * Queries that serf's agents ask each other, by names that begin with `_serf_`: is it there, who
 * has this name, and those about keys (key_queries.ts). Others are for users, and not answered.
 */
import { toBytes } from '../../stack/address.ts'
import type { Member } from './cluster.ts'
import { answerKeyQuery, encodeKeyAnswer, isKeyQuery, type KeyStore } from './key_queries.ts'
import { pack } from './messages.ts'
import { textOf } from './msgpack.ts'
import type { Status } from './roster.ts'
import { type Query, SerfType } from './serf_messages.ts'

const CONFLICT = '_serf_conflict'

/** serf's numbers of a member's status. */
const STATUS: { readonly [S in Status]: number } = { alive: 1, leaving: 2, left: 3, failed: 4 }

export interface Answering extends KeyStore {
  readonly name: string
  member(name: string): Member | undefined
  status(name: string): Status | undefined
}

/** Undefined: there is nothing to say. `_serf_ping` wants an ack, which it gets as any query. */
export function answerInternal(query: Query, answering: Answering): Uint8Array | undefined {
  const { name, payload } = query
  if (isKeyQuery(name)) return encodeKeyAnswer(answerKeyQuery(name, payload, answering))
  if (name !== CONFLICT) return undefined
  const who = textOf(payload) ?? ''
  const [member, status] = [answering.member(who), answering.status(who)]
  // Whose name is in question does not vote.
  if (member === undefined || status === undefined || who === answering.name) return undefined
  return pack(SerfType.ConflictResponse, {
    Name: member.name,
    Addr: toBytes(member.address),
    Port: member.port,
    Tags: member.tags,
    Status: STATUS[status],
    ProtocolMin: 1,
    ProtocolMax: 5,
    ProtocolCur: 2,
    DelegateMin: 2,
    DelegateMax: 5,
    DelegateCur: 5,
  })
}
