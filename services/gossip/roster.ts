/**
 * The members as serf sees them: longer than SWIM, which forgets the dead after half a minute, and
 * with the difference between who left and who failed.
 *
 * ```text
 *            leave intent              leaves, or is dead
 *   alive ───────────────> leaving ──────────────────────> left
 *     │ <──── join intent ────┘                              ↑
 *     └───────── is dead ────────────────────> failed ───────┘ leave intent (force-leave)
 * ```
 *
 * Intents are ordered by Lamport's clock, per member; those about members that are not known yet
 * are kept for a while. A failed or left member is forgotten after a day, or when the room is
 * needed, or when another one lives at its address: a host that was set up anew.
 */
import type { Clock } from '../../stack/clock.ts'
import type { Member, MemberEvent, MemberState } from './cluster.ts'
import { MEMBERS_MAX } from './defaults.ts'
import { isAt, type NodeRecord } from './node_table.ts'
import type { Intent } from './serf_messages.ts'
import { decodeTags } from './tags.ts'

/** serf's `reconnect_timeout` and `tombstone_timeout`. */
const GONE_MS: number = 24 * 3600 * 1000
const INTENT_MS: number = 5 * 60 * 1000
const INTENTS_MAX = 1024

export type Status = 'alive' | 'leaving' | 'failed' | 'left'

interface Entry {
  node: NodeRecord
  member: Member
  status: Status
  statusTime: number
  sinceMs: number
}

interface Early {
  readonly intent: Intent
  readonly atMs: number
}

export type RosterListener = (event: MemberEvent, member: Member) => void

export class Roster {
  readonly #clock: Clock
  readonly #tell: RosterListener
  readonly #entries = new Map<string, Entry>()
  /** Names of those that left or failed. */
  readonly #gone = new Set<string>()
  /** Latest intent about members that are not known. */
  readonly #early = new Map<string, Early>()

  constructor(clock: Clock, tell: RosterListener) {
    this.#clock = clock
    this.#tell = tell
  }

  members(): Member[] {
    return [...this.#entries.values()].map(current)
  }

  get(name: string): Member | undefined {
    const entry = this.#entries.get(name)
    return entry && current(entry)
  }

  status(name: string): Status | undefined {
    return this.#entries.get(name)?.status
  }

  /** Lamport times of what is known of each, for push/pulls. */
  statusTimes(): Map<string, number> {
    return new Map([...this.#entries].map(([name, { statusTime }]) => [name, statusTime]))
  }

  withStatus(status: Status): Member[] {
    const entries = [...this.#entries.values()].filter((entry) => entry.status === status)
    return entries.map(current)
  }

  /** SWIM has it alive. */
  onJoin(node: NodeRecord): void {
    const known = this.#entries.get(node.name)
    if (known === undefined && !this.#makeRoom()) return
    const entry = known ?? {
      node,
      member: describe(node),
      status: 'alive' as Status,
      statusTime: 0,
      sinceMs: this.#clock.nowMs,
    }
    this.#entries.set(node.name, entry)
    entry.node = node
    entry.member = describe(node)
    this.#set(entry, 'alive')
    const early = this.#early.get(node.name)
    this.#early.delete(node.name)
    if (early !== undefined && early.intent.time > entry.statusTime) {
      entry.statusTime = early.intent.time
      if (early.intent.type === 'leave') this.#set(entry, 'leaving')
    }
    this.#dropOthersAt(node)
    this.#tell('join', current(entry))
  }

  onUpdate(node: NodeRecord): void {
    const entry = this.#entries.get(node.name)
    if (entry === undefined) return
    entry.member = describe(node)
    this.#tell('update', current(entry))
  }

  /** SWIM has it dead, or it said that it leaves. */
  onLeave(node: NodeRecord): void {
    const entry = this.#entries.get(node.name)
    if (entry === undefined || isGone(entry)) return
    const left = entry.status === 'leaving' || node.state === 'left'
    this.#set(entry, left ? 'left' : 'failed')
    this.#tell(left ? 'leave' : 'fail', current(entry))
    for (const other of this.#entries.values()) {
      const taken = !isGone(other) && isAt(other.node, node.address, node.port)
      if (taken) this.#forget(node.name)
    }
  }

  /** True if it was news, which then goes on to others. */
  intent(intent: Intent): boolean {
    const entry = this.#entries.get(intent.node)
    if (entry === undefined) return this.#keepEarly(intent)
    if (intent.time <= entry.statusTime) return false
    entry.statusTime = intent.time
    if (intent.type === 'join') {
      if (entry.status === 'leaving') this.#set(entry, 'alive')
      return true
    }
    if (entry.status === 'alive') {
      this.#set(entry, 'leaving')
    } else if (entry.status === 'failed') {
      this.#set(entry, 'left')
      this.#tell('leave', current(entry))
    }
    if (intent.prune && isGone(entry)) this.#forget(intent.node)
    return true
  }

  /** Forget what is over. Called now and then. */
  reap(): void {
    const { nowMs } = this.#clock
    for (const [name, entry] of this.#entries) {
      if (isGone(entry) && nowMs - entry.sinceMs > GONE_MS) this.#forget(name)
    }
    for (const [name, { atMs }] of this.#early) {
      if (nowMs - atMs > INTENT_MS) this.#early.delete(name)
    }
  }

  #set(entry: Entry, status: Status): void {
    entry.status = status
    entry.sinceMs = this.#clock.nowMs
    if (isGone(entry)) this.#gone.add(entry.node.name)
    else this.#gone.delete(entry.node.name)
  }

  #forget(name: string): void {
    this.#entries.delete(name)
    this.#gone.delete(name)
  }

  #keepEarly(intent: Intent): boolean {
    const early = this.#early.get(intent.node)
    if (early !== undefined && early.intent.time >= intent.time) return false
    if (early === undefined && this.#early.size >= INTENTS_MAX) {
      // The oldest goes: a map keeps its order.
      const [oldest] = this.#early.keys()
      if (oldest !== undefined) this.#early.delete(oldest)
    }
    this.#early.set(intent.node, { intent, atMs: this.#clock.nowMs })
    return true
  }

  /** False: all are there. */
  #makeRoom(): boolean {
    if (this.#entries.size < MEMBERS_MAX) return true
    const gone = [...this.#entries.values()].filter(isGone)
    const [oldest] = gone.sort((a, b) => a.sinceMs - b.sinceMs)
    if (oldest !== undefined) this.#forget(oldest.node.name)
    return oldest !== undefined
  }

  #dropOthersAt(node: NodeRecord): void {
    for (const name of this.#gone) {
      const entry = this.#entries.get(name)
      if (entry !== undefined && isAt(entry.node, node.address, node.port)) this.#forget(name)
    }
  }
}

function isGone({ status }: Entry): boolean {
  return status === 'failed' || status === 'left'
}

/** With the state of now: SWIM's record says who is suspect. */
function current({ node, member, status }: Entry): Member {
  let state: MemberState
  if (status === 'failed') state = 'dead'
  else if (status === 'left') state = 'left'
  else state = node.state === 'suspect' ? 'suspect' : 'alive'
  return state === member.state ? member : { ...member, state }
}

function describe({ name, address, port, meta }: NodeRecord): Member {
  return { name, address, port, tags: decodeTags(meta), state: 'alive' }
}
