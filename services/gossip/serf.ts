/**
 * A member of a cluster that serf's agents may be members of as well: see each other, join, leave,
 * fail; user events both ways; serf's internal queries, with which keys are exchanged.
 *
 * ```text
 *   Cluster (cluster.ts) ── tables, tunnels
 *      │
 *   Serf ── Roster (who), UserEvents, Queries, keys
 *      │ user messages, state in push/pulls, tags as meta data
 *   Memberlist ── Swim, Prober, Datagrams, Exchange ── Transport
 * ```
 *
 * Tapline's own messages go only to members with the tag `tapline`: serf's agents log messages of
 * a type that they do not know. What they broadcast is passed on, whatever it is about.
 *
 * Not here: network coordinates, snapshots, a query's relay factor, and serf's vote about a name
 * that two nodes claim: the first keeps it, the other one cannot join.
 */
import { formatAddress } from '../../stack/address.ts'
import type { Clock } from '../../stack/clock.ts'
import { StackError } from '../../stack/errors.ts'
import type { Random } from '../../stack/random.ts'
import type { Log } from '../log.ts'
import type { Cluster, ClusterListener, Member, MemberEvent } from './cluster.ts'
import type { Destination } from './datagrams.ts'
import type { Keyring } from './keyring.ts'
import { LamportClock } from './lamport.ts'
import { type Delegate, type GossipCounters, Memberlist } from './memberlist.ts'
import { type Alive, NAME_BYTES_MAX } from './messages.ts'
import type { NodeRecord } from './node_table.ts'
import type { Answers } from './queries.ts'
import { Roster } from './roster.ts'
import {
  decodeSerf,
  decodeState,
  encodeSerf,
  encodeState,
  type Intent,
  type SerfMessage,
  type UserEvent,
} from './serf_messages.ts'
import { type Question, SerfQueries } from './serf_queries.ts'
import { SerfQueues } from './serf_queues.ts'
import { isOwn, ownMeta, type Tags } from './tags.ts'
import type { Transport } from './transport.ts'
import { type UserEventListener, UserEvents } from './user_events.ts'

/**
 * Between the intent to leave and the leave. serf's agents handle what comes together in the
 * opposite order, and would first tell of a failure.
 */
const LEAVE_GAP_MS = 50

export interface SerfOptions {
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly transport: Transport
  /** Unique in the cluster. */
  readonly name: string
  readonly tags?: Tags
  /** Given: everything is encrypted, and nothing else is accepted. */
  readonly keyring?: Keyring
  /** The same for all members: another cluster's datagrams are not ours. */
  readonly label?: string
  /** Where others reach this node, if that is not the transport's address. */
  readonly advertise?: Destination
  /** The keyring was changed by a query. @throws Error: that could not be kept. */
  readonly onKeys?: () => void
}

export class Serf implements Cluster {
  readonly #options: SerfOptions
  readonly #memberlist: Memberlist
  readonly #roster: Roster
  readonly #clock = new LamportClock()
  readonly #events = new UserEvents()
  readonly #queries: SerfQueries
  readonly #listeners = new Set<ClusterListener>()
  readonly #queues: SerfQueues
  /** Joins of ours that go on: what happened before is not told. */
  #joining = 0
  #leaving = false

  /** @throws StackError `bad-argument`: a name or tags that are too long. */
  constructor(options: SerfOptions) {
    this.#options = options
    const { clock, name, keyring, label = '' } = options
    if (name === '' || Buffer.byteLength(name) > NAME_BYTES_MAX) {
      throw new StackError('bad-argument', `a name has 1 to ${NAME_BYTES_MAX} octets`)
    }
    const meta = ownMeta(options.tags ?? {})
    this.#roster = new Roster(clock, (event, member) => this.#tell(event, member))
    this.#queues = new SerfQueues(
      () => this.#memberlist.wake(),
      () => this.#memberlist.payloadBytesMax - COMPOUND_BYTES,
    )
    this.#memberlist = new Memberlist({
      ...options,
      meta,
      sealing: { keyring, label: new TextEncoder().encode(label) },
      delegate: this.#delegate(),
    })
    this.#queries = new SerfQueries({
      ...options,
      memberlist: this.#memberlist,
      roster: this.#roster,
      broadcast: (message) => this.#queues.queue('queries', message),
    })
    this.#roster.onJoin(this.#memberlist.swim.self)
  }

  get self(): Member {
    return this.#roster.get(this.#options.name)!
  }

  get messageBytesMax(): number {
    return this.#memberlist.payloadBytesMax - 1
  }

  get counters(): GossipCounters {
    return this.#memberlist.counters
  }

  get keyring(): Keyring | undefined {
    return this.#options.keyring
  }

  members(): Member[] {
    return this.#roster.members()
  }

  member(name: string): Member | undefined {
    return this.#roster.get(name)
  }

  subscribe(listener: ClusterListener): () => void {
    this.#listeners.add(listener)
    return () => {
      this.#listeners.delete(listener)
    }
  }

  /** Told of each user event once. Returns how to leave. */
  onUserEvent(listener: UserEventListener): () => void {
    return this.#events.subscribe(listener)
  }

  send(member: Member, payload: Uint8Array): void {
    if (!isOwn(member)) return
    this.#memberlist.send(member, encodeSerf({ type: 'tapline', payload }), member.name)
  }

  sendReliable(member: Member, payload: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      if (!isOwn(member)) throw new StackError('unsupported', `${member.name}: not a tapline node`)
      this.#memberlist.sendReliable(member, encodeSerf({ type: 'tapline', payload }), (error) => {
        if (error === undefined) resolve()
        else reject(error)
      })
    })
  }

  start(): void {
    this.#memberlist.start()
  }

  /** Join by way of any of these; one is enough. Returns what went wrong with the others. */
  async join(targets: readonly Destination[]): Promise<StackError[]> {
    this.#joining++
    const failures = await this.#memberlist.join(targets)
    this.#joining--
    if (failures.length < targets.length) this.#announce()
    return failures
  }

  /** Tell of this member's state, with one that may have lost sight of it. */
  reach(to: Destination, onEnd: (error?: StackError) => void): void {
    this.#memberlist.reach(to, (error) => {
      if (error === undefined) this.#announce()
      onEnd(error)
    })
  }

  /** Say good-bye; resolves when enough others know, or after some seconds. */
  async leave(): Promise<void> {
    if (this.#leaving) return
    this.#leaving = true
    const node = this.#options.name
    const intent: Intent = { type: 'leave', time: this.#clock.tick(), node, prune: false }
    this.#roster.intent(intent)
    const message = encodeSerf(intent)
    this.#queues.queue('intents', message, node)
    this.#memberlist.tell(message)
    await this.#memberlist.leave(LEAVE_GAP_MS)
  }

  /** Stop without a word. The transport is its owner's to close. Idempotent. */
  close(): void {
    this.#memberlist.close()
    this.#queries.close()
    this.#listeners.clear()
    this.#events.close()
  }

  /** Members that failed: somebody should try to reach them. */
  failed(): Member[] {
    return this.#roster.withStatus('failed')
  }

  get othersCount(): number {
    return this.#memberlist.othersCount
  }

  reap(): void {
    this.#roster.reap()
  }

  /** Tell all members; this one, too. @throws StackError `bad-argument` if it is too long. */
  event(name: string, payload: Uint8Array, coalesce = true): void {
    const event = this.#events.make(name, payload, coalesce)
    this.#onUserEvent(event, encodeSerf(event))
  }

  /** Ask all members, or some of them; this one answers, too. @throws StackError */
  query(question: Question): Promise<Answers> {
    return this.#queries.ask(question)
  }

  #delegate(): Delegate {
    return {
      onJoin: (node) => this.#roster.onJoin(node),
      onUpdate: (node) => this.#roster.onUpdate(node),
      onLeave: (node) => this.#roster.onLeave(node),
      onConflict: (node, other) => this.#onConflict(node, other),
      onUserMessage: (payload) => this.#onMessage(payload),
      broadcasts: (overhead, bytes, limit) => this.#queues.take(overhead, bytes, limit),
      hasBroadcasts: () => this.#queues.size > 0,
      localState: () => this.#localState(),
      mergeState: (state, join) => this.#mergeState(state, join),
    }
  }

  #tell(event: MemberEvent, member: Member): void {
    for (const listener of this.#listeners) listener.onMember(event, member)
  }

  #onConflict({ name, address, port }: NodeRecord, other: Alive): void {
    const kept = `${formatAddress(address)}:${port}`
    const refused = `${formatAddress(other.address)}:${other.port}`
    this.#options.log.warn({ kept, refused }, `${refused} claims the name ${name} of ${kept}`)
  }

  /** This member is there, and does not leave. */
  #announce(): void {
    if (this.#leaving) return
    const { time } = this.#clock
    const intent: Intent = { type: 'join', time, node: this.#options.name, prune: false }
    this.#clock.witness(time)
    this.#roster.intent(intent)
    this.#queues.queue('intents', encodeSerf(intent), intent.node)
  }

  #onMessage(payload: Uint8Array): void {
    const message = decodeSerf(payload)
    if (message === undefined) this.#memberlist.refuse()
    else this.#handle(message, payload)
  }

  #handle(message: SerfMessage, encoded: Uint8Array): void {
    switch (message.type) {
      case 'leave':
      case 'join':
        if (this.#onIntent(message)) this.#queues.queue('intents', encoded, message.node)
        return
      case 'user-event':
        return this.#onUserEvent(message, encoded)
      case 'query':
        return this.#queries.onQuery(message, encoded)
      case 'query-response':
        return this.#queries.onResponse(message)
      case 'relay':
        return this.#queries.onRelay(message)
      case 'tapline':
        for (const listener of this.#listeners) listener.onMessage(message.payload)
    }
  }

  /** True if it was news. */
  #onIntent(intent: Intent): boolean {
    this.#clock.witness(intent.time)
    const isSelf = intent.node === this.#options.name
    if (isSelf && intent.type === 'leave' && !this.#leaving) {
      // Of an earlier run, or of somebody who errs.
      this.#announce()
      return false
    }
    return this.#roster.intent(intent)
  }

  #onUserEvent(event: UserEvent, encoded: Uint8Array): void {
    if (this.#events.receive(event)) this.#queues.queue('events', encoded)
  }

  #localState(): Uint8Array {
    return encodeState({
      time: this.#clock.time,
      statusTimes: this.#roster.statusTimes(),
      left: this.#roster.withStatus('left').map(({ name }) => name),
      eventTime: this.#events.clock.time,
      events: this.#events.recent(),
      queryTime: this.#queries.time,
    })
  }

  #mergeState(mem: Uint8Array, join: boolean): void {
    const state = decodeState(mem)
    if (state === undefined) return this.#memberlist.refuse()
    this.#clock.witness(state.time - 1)
    this.#events.clock.witness(state.eventTime - 1)
    this.#queries.witness(state.queryTime - 1)
    const left = new Set(state.left)
    for (const [node, time] of state.statusTimes) {
      this.#onIntent({ type: left.has(node) ? 'leave' : 'join', time, node, prune: false })
    }
    if (join && this.#joining > 0) {
      this.#events.ignoreBefore(state.eventTime)
      this.#queries.ignoreBefore(state.queryTime)
    }
    this.#events.merge(state.events)
  }
}

/** Around a user message in a compound: its type, its length, the compound's header. */
const COMPOUND_BYTES = 5
