/** Looking up what Docker names in a call: an error that says what to do where it is not there. */
import { StackError } from '../../stack/errors.ts'
import { shortId } from './desired.ts'
import type { DockerRecord, EndpointRecord, NetworkRecord } from './record.ts'

/** @throws StackError `not-found`. */
export function findNetwork({ networks }: DockerRecord, id: string): NetworkRecord {
  const found = networks.get(id)
  if (found !== undefined) return found
  const hint = 'its state file is another one; remove it with "docker network rm", and make it anew'
  throw new StackError('not-found', `tapline knows no network ${shortId(id)}: ${hint}`)
}

/** @throws StackError `not-found`. */
export function findEndpoint({ endpoints }: DockerRecord, id: string): EndpointRecord {
  const found = endpoints.get(id)
  if (found !== undefined) return found
  throw new StackError('not-found', `tapline knows no endpoint ${shortId(id)}`)
}
