/**
 * Which nodes there are, as tables need to know it: whose records count.
 *
 * ```text
 *              join                    fail                      keepDeadMs
 *   unheard ─────────> alive ─────────────────────────> dead ─────────────────> gone, forgotten
 *      │                 ^  └─────── leave ──────────────┼──────────────────────────^
 *      │ keepDeadMs      └─────────── join ──────────────┘
 *      └────> gone
 * ```
 *
 * The records of a node that does not answer stay in force for some time ({@link KEEP_DEAD_MS},
 * where the file does not say another): an overlay
 * goes on with what it was told while a node is merely cut off. A node that says that it leaves
 * takes its records with it at once, as does one whose place another node has taken (same address
 * and port, another name). Agents of other programs in the cluster have no tables. Records of nodes
 * that membership has not told of yet are held, but do not count before it does.
 */
import { sameAddress } from '../../stack/address.ts'
import type { Cluster, Member, MemberEvent } from './cluster.ts'
import { OWNERS_MAX } from './replica.ts'
import { isOwn } from './tags.ts'

/** How long the records of a node that failed stay: twice a disconnection of 30 s. */
export const KEEP_DEAD_MS = 60_000

type State = 'unheard' | 'alive' | 'dead'

interface NodeEntry {
  member: Member | undefined
  state: State
  /** When it was first heard of, or failed. */
  sinceMs: number
}

export interface NodesOptions {
  readonly cluster: Cluster
  readonly keepDeadMs: number
  /** A node's records count from now on, or no longer. */
  readonly onCounts: (name: string) => void
  /** It will not be back, or not for a long time: forget its records. */
  readonly onGone: (name: string) => void
}

export class Nodes {
  /** How long the records of a node that failed stay. May change at any time. */
  keepDeadMs: number
  readonly #options: NodesOptions
  readonly #nodes = new Map<string, NodeEntry>()
  /** Those that are not alive: the few that time may take away. */
  readonly #away = new Map<string, NodeEntry>()
  /** Alive, this one too. */
  #alive: readonly Member[] | undefined

  constructor(options: NodesOptions) {
    this.#options = options
    this.keepDeadMs = options.keepDeadMs
    for (const member of options.cluster.members()) {
      if (isUp(member) && isOwn(member))
        this.#nodes.set(member.name, { member, state: 'alive', sinceMs: 0 })
    }
  }

  alive(): readonly Member[] {
    this.#alive ??= [...this.#nodes.values()].flatMap(({ member, state }) =>
      member !== undefined && state === 'alive' ? [member] : [],
    )
    return this.#alive
  }

  /** Undefined: it is not alive. */
  member(name: string): Member | undefined {
    const node = this.#nodes.get(name)
    return node?.state === 'alive' ? node.member : undefined
  }

  isAlive(name: string): boolean {
    return this.#nodes.get(name)?.state === 'alive'
  }

  /** Its records are in force. */
  counts(name: string): boolean {
    const state = this.#nodes.get(name)?.state
    return state === 'alive' || state === 'dead'
  }

  /** False: records of this node are not to be taken, since it is gone, or there are too many. */
  hear(name: string, nowMs: number): boolean {
    if (this.#nodes.has(name)) return true
    if (this.#nodes.size >= OWNERS_MAX) return false
    const gone = this.#options.cluster.member(name)
    if (gone !== undefined && !isUp(gone)) return false
    const node: NodeEntry = { member: undefined, state: 'unheard', sinceMs: nowMs }
    this.#nodes.set(name, node)
    this.#away.set(name, node)
    return true
  }

  onMember(event: MemberEvent, member: Member, nowMs: number): void {
    const { name } = member
    if (!isOwn(member)) return
    const node = this.#nodes.get(name)
    this.#alive = undefined
    if (event === 'leave') return this.#remove(name)
    if (event === 'fail') {
      if (node === undefined || node.state !== 'alive') return
      node.state = 'dead'
      node.sinceMs = nowMs
      this.#away.set(name, node)
      return
    }
    if (node === undefined) this.#nodes.set(name, { member, state: 'alive', sinceMs: nowMs })
    else node.member = member
    if (node !== undefined) node.state = 'alive'
    this.#away.delete(name)
    this.#replaceDead(member)
    this.#options.onCounts(name)
  }

  /** Forget those that were away for too long. */
  sweep(nowMs: number): void {
    const { keepDeadMs } = this
    for (const [name, { sinceMs }] of this.#away) {
      if (nowMs - sinceMs >= keepDeadMs) this.#remove(name)
    }
  }

  #replaceDead({ name, address, port }: Member): void {
    for (const [other, { member, state }] of this.#away) {
      if (state !== 'dead' || member === undefined || other === name) continue
      if (member.port === port && sameAddress(member.address, address)) this.#remove(other)
    }
  }

  #remove(name: string): void {
    if (!this.#nodes.delete(name)) return
    this.#away.delete(name)
    this.#alive = undefined
    this.#options.onCounts(name)
    this.#options.onGone(name)
  }
}

function isUp({ state }: Member): boolean {
  return state === 'alive' || state === 'suspect'
}
