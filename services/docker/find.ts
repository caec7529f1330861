/** Looking up what Docker names in a call: an error that says what to do where it is not there. */
import { StackError } from '../../stack/errors.ts'
import { shortId } from './desired.ts'
import { type DockerRecord, type EndpointRecord, joined, type NetworkRecord } from './record.ts'

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

/** With the MAC of another one, it would take what is sent to that. @throws StackError `exists`. */
export function refuseTwin(record: DockerRecord, { id, network, mac }: EndpointRecord): void {
  const twin = joined(record).find(
    (other) => other.id !== id && other.network === network && other.mac === mac,
  )
  if (twin === undefined) return
  throw new StackError('exists', `${mac} is taken by sandbox ${shortId(twin.id)} on this network`)
}
