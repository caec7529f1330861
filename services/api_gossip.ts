/** The part of the API about the cluster: members, user events, keys. */
import { StackError } from '../stack/errors.ts'
import type { Handler } from './api.ts'
import type { KeyOperation } from './gossip/gossip.ts'

const OPERATIONS: readonly string[] = ['list', 'install', 'use', 'remove'] satisfies KeyOperation[]

export const GOSSIP_HANDLERS: Readonly<Record<string, Handler>> = {
  'GET /v1/members': ({ gossip }) => gossip.gossip.view(),
  'POST /v1/event': ({ gossip }, _, body) => {
    const { name, payload = '' } = (body ?? {}) as Record<string, unknown>
    if (typeof name !== 'string' || typeof payload !== 'string') {
      throw new StackError('bad-argument', 'wanted { name: string, payload?: string }')
    }
    gossip.gossip.serf.event(name, Buffer.from(payload))
    return {}
  },
  'POST /v1/keys': ({ gossip }, _, body) => {
    const { operation, key } = (body ?? {}) as Record<string, unknown>
    if (!isOperation(operation) || (key !== undefined && typeof key !== 'string')) {
      const wanted = OPERATIONS.map((name) => `"${name}"`).join(' | ')
      throw new StackError('bad-argument', `wanted { operation: ${wanted}, key?: string }`)
    }
    return gossip.gossip.keys(operation, key)
  },
}

function isOperation(value: unknown): value is KeyOperation {
  return typeof value === 'string' && OPERATIONS.includes(value)
}
