/**
 * What a node believes of the others, and how that changes (SWIM, with Lifeguard's suspicion).
 *
 * ```text
 *                 alive, newer incarnation
 *   (unknown) ──> alive <──────────────── suspect ──> dead       (nobody confirmed that it lives)
 *                   │  ────── suspect ──────> │        ↑
 *                   └──────────── dead ───────┴────────┘         from itself: left
 * ```
 *
 * An incarnation belongs to the node that it is about: only the node itself makes a newer one,
 * when it hears that others doubt it. Of one incarnation, suspect outweighs alive, and dead both.
 * Whatever changes something here is broadcast once more, so that it reaches everybody.
 *
 * A name that is in use is not taken over by another address: the first keeps it, and both are
 * told. One whose node left, or has been dead for some time, may come back from anywhere.
 */
import type { Clock } from '../../stack/clock.ts'
import type { Random } from '../../stack/random.ts'
import { Awareness } from './awareness.ts'
import { BroadcastQueue } from './broadcasts.ts'
import {
  DEAD_RECLAIM_MS,
  GOSSIP_TO_THE_DEAD_MS,
  SUSPICION_MAX_MULT,
  SUSPICION_MULT,
  suspicionMinMs,
} from './defaults.ts'
import { type Alive, encodeMessage, type NodeState, type Verdict, WireState } from './messages.ts'
import { isAt, isGone, type NodeRecord, NodeTable } from './node_table.ts'
import { Suspicion } from './suspicion.ts'

const WIRE_STATES = {
  alive: WireState.Alive,
  suspect: WireState.Suspect,
  dead: WireState.Dead,
  left: WireState.Left,
} as const

/** Incarnations are 32 bits; one near their end is nonsense, and would leave no room to refute. */
const INCARNATION_MAX = 0xffff_0000

export interface NodeEvents {
  /** It is there, for the first time or again. */
  onJoin(node: NodeRecord): void
  /** Its meta data, versions or address changed. */
  onUpdate(node: NodeRecord): void
  /** Its state says whether it left, or is dead. */
  onLeave(node: NodeRecord): void
  /** `other` claims the name of `existing` from another address. */
  onConflict(existing: NodeRecord, other: Alive): void
}

export interface SwimCounters {
  suspicions: number
  /** Others doubted this node. */
  refutations: number
  conflicts: number
  /** Nodes that found no room. */
  tableFull: number
}

export interface SwimOptions {
  readonly clock: Clock
  readonly random: Random
  readonly events: NodeEvents
  /** This node as it starts; incarnation 1. */
  readonly self: Omit<Alive, 'type' | 'incarnation'>
  /** There is something to tell. */
  readonly onQueued: () => void
}

export class Swim {
  readonly table: NodeTable
  readonly queue: BroadcastQueue
  readonly awareness: Awareness = new Awareness()
  readonly counters: SwimCounters = { suspicions: 0, refutations: 0, conflicts: 0, tableFull: 0 }
  readonly self: NodeRecord
  readonly #clock: Clock
  readonly #events: NodeEvents
  /** This node's. */
  readonly #versions: Uint8Array
  #leaving = false

  constructor({ clock, random, events, self, onQueued }: SwimOptions) {
    this.#clock = clock
    this.#events = events
    this.#versions = self.versions
    this.table = new NodeTable(random)
    this.queue = new BroadcastQueue(onQueued)
    this.self = this.#record({ ...self, type: 'alive', incarnation: 1 })
    this.self.state = 'alive'
    this.table.add(this.self)
  }

  get leaving(): boolean {
    return this.#leaving
  }

  /** Tell that this node leaves. `onDone`: enough others were told. */
  leave(onDone: () => void): void {
    this.#leaving = true
    const { name, incarnation } = this.self
    this.self.state = 'left'
    this.self.stateChangedMs = this.#clock.nowMs
    this.#broadcast({ type: 'dead', incarnation, node: name, from: name }, onDone)
  }

  alive(alive: Alive): void {
    const isSelf = alive.node === this.self.name
    if ((isSelf && this.#leaving) || alive.incarnation > INCARNATION_MAX) return
    if (!areVersions(alive.versions)) return
    const known = this.table.get(alive.node)
    const node = known ?? this.#record(alive)
    if (known === undefined && !this.table.add(node)) {
      this.counters.tableFull++
      return
    }
    const moves = !isAt(node, alive.address, alive.port)
    if (moves && !this.#isReclaimable(node)) {
      this.counters.conflicts++
      return this.#events.onConflict(node, alive)
    }
    if (isSelf) return this.#hearOfSelf(alive)
    if (known !== undefined && alive.incarnation <= node.incarnation && !moves) return
    this.#revive(node, alive)
  }

  /** It is alive, and that is news. */
  #revive(node: NodeRecord, alive: Alive): void {
    const wasGone = isGone(node)
    const sameMeta = sameBytes(node.meta, alive.meta)
    node.suspicion?.cancel()
    node.suspicion = undefined
    node.incarnation = alive.incarnation
    node.address = alive.address
    node.port = alive.port
    if (!sameMeta) node.meta = alive.meta.slice()
    if (alive.versions.length > 0) node.versions = this.#keepVersions(alive.versions)
    if (node.state !== 'alive') this.#setState(node, 'alive')
    this.#broadcast(alive)
    if (wasGone) this.#events.onJoin(node)
    else if (!sameMeta) this.#events.onUpdate(node)
  }

  /** Others have us in an incarnation that an earlier run of this node made. */
  #hearOfSelf(alive: Alive): void {
    const { self } = this
    if (alive.incarnation < self.incarnation) return
    const same = sameBytes(alive.meta, self.meta) && sameBytes(alive.versions, self.versions)
    if (alive.incarnation === self.incarnation && same) return
    this.#refute(alive.incarnation)
  }

  suspect(verdict: Verdict): void {
    const node = this.table.get(verdict.node)
    if (node === undefined || !this.#isCurrent(node, verdict)) return
    if (node.suspicion !== undefined) {
      if (node.suspicion.confirm(verdict.from)) this.#broadcast(verdict)
      return
    }
    if (node.state !== 'alive') return
    if (node === this.self) return this.#refute(verdict.incarnation)
    this.counters.suspicions++
    this.#broadcast(verdict)
    node.incarnation = verdict.incarnation
    this.#setState(node, 'suspect')
    const members = this.table.size
    const minMs = suspicionMinMs(members)
    const wanted = members - 2 < SUSPICION_MULT - 2 ? 0 : SUSPICION_MULT - 2
    node.suspicion = new Suspicion({
      clock: this.#clock,
      from: verdict.from,
      minMs,
      maxMs: SUSPICION_MAX_MULT * minMs,
      wanted,
      onTimeout: () => this.#expire(node),
    })
  }

  #expire({ name, incarnation }: NodeRecord): void {
    this.dead({ type: 'dead', incarnation, node: name, from: this.self.name })
  }

  dead(verdict: Verdict): void {
    const node = this.table.get(verdict.node)
    if (node === undefined || !this.#isCurrent(node, verdict) || isGone(node)) return
    if (node === this.self) return this.#refute(verdict.incarnation)
    node.suspicion?.cancel()
    node.suspicion = undefined
    this.#broadcast(verdict)
    node.incarnation = verdict.incarnation
    this.#setState(node, verdict.from === verdict.node ? 'left' : 'dead')
    this.#events.onLeave(node)
  }

  /** All that another node believes. Whom it takes for dead is suspected, and may refute. */
  merge(nodes: readonly NodeState[]): void {
    for (const { state, ...rest } of nodes) {
      const { node, incarnation } = rest
      if (state === WireState.Alive) {
        this.alive({ type: 'alive', ...rest })
      } else if (state === WireState.Left) {
        this.dead({ type: 'dead', incarnation, node, from: node })
      } else {
        this.suspect({ type: 'suspect', incarnation, node, from: this.self.name })
      }
    }
  }

  /** What this node believes, for another one to {@link Swim.merge}. */
  states(): NodeState[] {
    return Array.from(this.table.values(), (node) => ({
      node: node.name,
      address: node.address,
      port: node.port,
      meta: node.meta,
      versions: node.versions,
      incarnation: node.incarnation,
      state: WIRE_STATES[node.state],
    }))
  }

  /** Dead for so long that nobody needs to be told any more. */
  isForgotten(node: NodeRecord): boolean {
    return isGone(node) && this.#clock.nowMs - node.stateChangedMs > GOSSIP_TO_THE_DEAD_MS
  }

  /** No timer goes on. */
  close(): void {
    for (const node of this.table.values()) node.suspicion?.cancel()
  }

  #refute(accused: number): void {
    if (this.#leaving || accused > INCARNATION_MAX) return
    this.self.incarnation = Math.max(this.self.incarnation, accused) + 1
    this.awareness.apply(1)
    this.counters.refutations++
    this.#broadcast(this.#aliveOf(this.self))
  }

  #isCurrent(node: NodeRecord, { incarnation }: Verdict): boolean {
    return incarnation >= node.incarnation && incarnation <= INCARNATION_MAX
  }

  #isReclaimable(node: NodeRecord): boolean {
    if (node.state === 'left') return true
    const goneMs = this.#clock.nowMs - node.stateChangedMs
    return node.state === 'dead' && goneMs >= DEAD_RECLAIM_MS
  }

  #record(alive: Alive): NodeRecord {
    return {
      name: alive.node,
      address: alive.address,
      port: alive.port,
      meta: alive.meta.slice(),
      versions: this.#keepVersions(alive.versions),
      incarnation: alive.incarnation,
      state: 'dead',
      stateChangedMs: this.#clock.nowMs,
      suspicion: undefined,
    }
  }

  /** A copy, or those of this node where they are the same, as mostly. */
  #keepVersions(versions: Uint8Array): Uint8Array {
    return sameBytes(versions, this.#versions) ? this.#versions : versions.slice()
  }

  #aliveOf({ name, address, port, meta, versions, incarnation }: NodeRecord): Alive {
    return { type: 'alive', incarnation, node: name, address, port, meta, versions }
  }

  #setState(node: NodeRecord, state: NodeRecord['state']): void {
    node.state = state
    node.stateChangedMs = this.#clock.nowMs
  }

  #broadcast(message: Alive | Verdict, onDone?: () => void): void {
    const done = onDone && { onDone }
    this.queue.queue({ subject: message.node, message: encodeMessage(message), ...done })
  }
}

/** The lowest version is not 0, and the spoken one between lowest and highest; none is good too. */
function areVersions(versions: Uint8Array): boolean {
  const [min, max, current] = versions
  if (min === undefined || max === undefined || current === undefined) return true
  return min > 0 && min <= current && current <= max
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false
  return true
}
