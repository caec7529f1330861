/**
 * The seam between membership (SWIM, memberlist.ts) and what is told on top of it (tables.ts): who
 * is in the cluster, and messages to one member at a time.
 */
import type { Address } from '../../stack/address.ts'

export type MemberState = 'alive' | 'suspect' | 'dead' | 'left'

export interface Member {
  /** Unique in the cluster. */
  readonly name: string
  readonly address: Address
  readonly port: number
  /** As serf's tags. */
  readonly tags: Readonly<Record<string, string>>
  readonly state: MemberState
}

export type MemberEvent = 'join' | 'update' | 'leave' | 'fail'

export interface ClusterListener {
  /** `leave`: it said so; `fail`: it did not answer. */
  onMember(event: MemberEvent, member: Member): void
  /** Another member sent it, by {@link Cluster.send} or {@link Cluster.sendReliable}. */
  onMessage(message: Uint8Array): void
}

export interface Cluster {
  readonly self: Member
  /** Octets that fit into one {@link send}. */
  readonly messageBytesMax: number
  /** All that are known, this one too, also for some time those that left or failed. */
  members(): readonly Member[]
  /** The one of this name among them. */
  member(name: string): Member | undefined
  subscribe(listener: ClusterListener): () => void
  /** Best effort, one datagram. Precondition: at most `messageBytesMax`. */
  send(member: Member, message: Uint8Array): void
  /** Over TCP. Resolves once it is handed over, rejects with a StackError if it could not be. */
  sendReliable(member: Member, message: Uint8Array): Promise<void>
}
