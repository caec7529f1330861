/** The part of the API about the cluster: members, user events, keys. */
import { StackError } from '../stack/errors.ts'
import type { Handler, Served } from './api.ts'
import type { Gossip, KeyOperation } from './gossip/gossip.ts'

const OPERATIONS: readonly string[] = ['list', 'install', 'use', 'remove'] satisfies KeyOperation[]

export const GOSSIP_HANDLERS: Readonly<Record<string, Handler>> = {
  'GET /v1/members': (served) => gossipOf(served).view(),
  'POST /v1/event': (served, _, body) => {
    const { name, payload = '' } = (body ?? {}) as Record<string, unknown>
    if (typeof name !== 'string' || typeof payload !== 'string') {
      throw new StackError('bad-argument', 'wanted { name: string, payload?: string }')
    }
    gossipOf(served).serf.event(name, Buffer.from(payload))
    return {}
  },
  'POST /v1/keys': (served, _, body) => {
    const { operation, key } = (body ?? {}) as Record<string, unknown>
    if (!isOperation(operation) || (key !== undefined && typeof key !== 'string')) {
      const wanted = OPERATIONS.map((name) => `"${name}"`).join(' | ')
      throw new StackError('bad-argument', `wanted { operation: ${wanted}, key?: string }`)
    }
    return gossipOf(served).keys(operation, key)
  },
}

function isOperation(value: unknown): value is KeyOperation {
  return typeof value === 'string' && OPERATIONS.includes(value)
}

/** @throws StackError `not-found`. */
function gossipOf({ gossip }: Served): Gossip {
  if (gossip !== undefined) return gossip.gossip
  throw new StackError('not-found', 'this daemon is in no cluster')
}
