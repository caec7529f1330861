/**
 * What snooping knows (snooping.ts): members of groups, ports that lead to routers, queriers.
 *
 * ```text
 *   port    role, whether it leaves at once; until when a router is behind it, by family;
 *           until when it gets every group, because it may hold no more memberships
 *   VLAN    since and until when there is a querier, by family
 *   group   members (membership.ts); those of the group asked for last are marked
 * ```
 *
 * All of it is in typed arrays from the start, so that frames cost no memory.
 */
import type { Cancel, Clock } from '../clock.ts'
import { type GroupPort, GroupRole } from '../eth/group_filter.ts'
import { GROUPS_MAX, MEMBERS_MAX, type MemberRow, Membership } from './membership.ts'

/** RFC 3376 §8: robustness, query interval, query response interval. */
export const ROBUSTNESS = 2
export const QUERY_INTERVAL_MS = 125_000
export const RESPONSE_MS = 10_000
/** RFC 3376 §8.8, §8.9: who asks and who is asked again for the last time. */
export const LAST_MEMBER_MS = 1000
/** Group membership interval (RFC 3376 §8.4, RFC 3810 §9.4). */
const MEMBERSHIP_MS: number = ROBUSTNESS * QUERY_INTERVAL_MS + RESPONSE_MS
/** Other querier present interval (§8.5); a router is believed in for as long. */
export const QUERIER_MS: number = ROBUSTNESS * QUERY_INTERVAL_MS + RESPONSE_MS / 2
/** After so long, who is new has been asked twice what it wants. */
export const NEW_MS: number = QUERY_INTERVAL_MS / 4 + RESPONSE_MS
/** How often memory of memberships that ended is given back, while there are any. */
const SWEEP_MS = 10_000
/** In which time those that remain have confirmed, if they are asked twice, and some more. */
const LEAVE_MS = ROBUSTNESS * LAST_MEMBER_MS + LAST_MEMBER_MS

/** Families, as indices. */
export const Family = { Four: 0, Six: 1 } as const
export interface GroupStateOptions {
  readonly clock: Clock
  readonly seed: number
  /** Port numbers are below. */
  readonly portsMax: number
  /** VLAN numbers are below: 1 where tags are payload. */
  readonly vlans: number
  /**
   * True while what is known of a family is complete, since a querier keeps it so: of a tunnel,
   * whose peers have queriers of their own. Undefined: while one is heard here.
   */
  readonly isComplete?: (family: number) => boolean
  /** Of ports that are not told of by `addPort`. Default: Auto. */
  readonly role?: number
  /** Default {@link GROUPS_MAX}. */
  readonly groupsMax?: number
  /** Default {@link MEMBERS_MAX}. */
  readonly membersMax?: number
}

/** Who asks the questions, if that is us. */
export interface Asker {
  /** Somebody left the group at `key` (VLAN, then address); true: we ask who remains. */
  left(key: Int32Array, family: number): boolean
  /** Another one asked in general, from the address at `source` in `mem`. */
  heard(vid: number, family: number, mem: Uint8Array, source: number): void
}

/** A port that gets every group, for listings. */
export interface EveryGroup {
  readonly port: number
  /** It leads to a router; or it may hold no more memberships. */
  readonly why: 'router' | 'full'
}

export class GroupState {
  readonly #clock: Clock
  readonly #members: Membership
  readonly #isComplete: ((family: number) => boolean) | undefined
  readonly #portsMax: number
  readonly #role: number
  readonly #roles: Uint8Array
  readonly #fast: Uint8Array
  readonly #routerMs: Float64Array
  readonly #everyMs: Float64Array
  readonly #sinceMs: Float64Array
  readonly #untilMs: Float64Array
  readonly #marks: Int32Array
  #stamp = 0
  #marked = -1
  /** Who asks; undefined: nobody here. */
  asker: Asker | undefined
  #cancelSweep: Cancel | undefined

  constructor(options: GroupStateOptions) {
    const { clock, seed, portsMax, vlans } = options
    const { groupsMax = GROUPS_MAX, membersMax = MEMBERS_MAX } = options
    this.#clock = clock
    this.#portsMax = portsMax
    this.#isComplete = options.isComplete
    this.#members = new Membership({ clock, seed, portsMax, groupsMax, membersMax })
    this.#role = options.role ?? GroupRole.Auto
    this.#roles = new Uint8Array(portsMax).fill(this.#role)
    this.#fast = new Uint8Array(portsMax)
    this.#routerMs = new Float64Array(2 * portsMax)
    this.#everyMs = new Float64Array(portsMax)
    this.#marks = new Int32Array(portsMax)
    this.#sinceMs = new Float64Array(2 * vlans)
    this.#untilMs = new Float64Array(2 * vlans)
  }

  /** The key that the next call is about: VLAN, then four words of the group. */
  get key(): Int32Array {
    return this.#members.key
  }

  addPort(port: number, { role, fastLeave, everyMs = 0 }: GroupPort): void {
    this.#roles[port] = role
    this.#fast[port] = fastLeave ? 1 : 0
    this.#routerMs[port] = 0
    this.#routerMs[port + this.#portsMax] = 0
    this.#everyMs[port] = this.#clock.nowMs + everyMs
  }

  removePort(port: number): void {
    this.#members.forgetPort(port)
    this.addPort(port, { role: this.#role, fastLeave: false })
    if (this.#members.count === 0) this.#stopSweep()
  }

  /** Ports with others who snoop behind them get every group until a new one there was asked. */
  awaitNews(): void {
    const untilMs = this.#clock.nowMs + NEW_MS
    for (let port = 0; port < this.#portsMax; port++) {
      if (this.isReporter(port)) this.#everyMs[port] = untilMs
    }
  }

  /** The group with the key, or -1. */
  find(): number {
    return this.#members.find()
  }

  join(port: number): void {
    if (!this.#members.join(port, MEMBERSHIP_MS)) {
      this.#everyMs[port] = this.#clock.nowMs + MEMBERSHIP_MS
    }
    if (this.#members.count > 0) this.#cancelSweep ??= this.#sweepLater()
  }

  /** Gone at once if nobody else is behind the port; else soon, if those who remain are asked. */
  leave(port: number, family: number): void {
    const members = this.#members
    // Behind it are others who snoop: who is left there is known to them.
    if (this.isReporter(port) && this.#isComplete === undefined) return
    if (this.#fast[port] === 1) {
      members.shorten(port, 0)
      if (!members.hasOthers(port)) return
    }
    const asked = this.asker?.left(members.key, family) ?? false
    if (asked || this.#isComplete !== undefined) members.shorten(port, LEAVE_MS)
  }

  /** Members of the group with the key were asked, and answer in `responseMs`. */
  asked(responseMs: number): void {
    this.#members.shortenAll(ROBUSTNESS * Math.max(LAST_MEMBER_MS, responseMs))
  }

  /** Whether what routers say by this port is believed. */
  mayLead(port: number): boolean {
    return this.#roles[port] !== GroupRole.Never
  }

  /** A router was heard by the port. */
  leads(port: number, family: number): void {
    this.#routerMs[port + family * this.#portsMax] = this.#clock.nowMs + QUERIER_MS
  }

  isRouter(port: number, family: number): boolean {
    const role = this.#roles[port]
    if (role === GroupRole.Always) return true
    if (role === GroupRole.Never) return false
    return this.#routerMs[port + family * this.#portsMax]! > this.#clock.nowMs
  }

  isReporter(port: number): boolean {
    return this.#roles[port] === GroupRole.Reports
  }

  /** A querier was heard, and hosts answer it in `responseMs`. */
  querier(vid: number, family: number, responseMs: number): void {
    this.#querierFor(2 * vid + family, this.#clock.nowMs + QUERIER_MS, responseMs)
  }

  /** Our own querier is at work in the VLAN, or gave way to one that was heard just now. */
  setOwn(vid: number, family: number, atWork: boolean): void {
    const at = 2 * vid + family
    if (!atWork) this.#untilMs[at] = this.#clock.nowMs + QUERIER_MS
    else this.#querierFor(at, Number.POSITIVE_INFINITY, RESPONSE_MS)
  }

  /** True if what is known of a family in a VLAN is complete. */
  hasQuerier(vid: number, family: number): boolean {
    const { nowMs } = this.#clock
    const at = 2 * vid + family
    return this.#untilMs[at]! > nowMs && this.#sinceMs[at]! <= nowMs
  }

  /** True if frames go by what is known. */
  decides(vid: number, family: number): boolean {
    return this.#isComplete?.(family) ?? this.hasQuerier(vid, family)
  }

  /** True if the port gets every group. */
  getsAll(port: number): boolean {
    return this.#everyMs[port]! > this.#clock.nowMs
  }

  /** What {@link isMember} knows is of before: a new frame, or a new moment. */
  refresh(): void {
    this.#marked = -1
  }

  isMember(group: number, port: number): boolean {
    if (this.#marked !== group) {
      this.#stamp = (this.#stamp + 1) | 0
      this.#marked = group
      this.#members.mark(group, this.#marks, this.#stamp)
    }
    if (this.#marks[port] === this.#stamp) return true
    return this.isRouter(port, this.#members.isSix(group) ? Family.Six : Family.Four)
  }

  list(): MemberRow[] {
    return this.#members.list()
  }

  everyGroup(): EveryGroup[] {
    const rows: EveryGroup[] = []
    for (let port = 0; port < this.#portsMax; port++) {
      const router = this.isRouter(port, Family.Four) || this.isRouter(port, Family.Six)
      if (router) rows.push({ port, why: 'router' })
      else if (this.getsAll(port)) rows.push({ port, why: 'full' })
    }
    return rows
  }

  close(): void {
    this.#members.clear()
    this.#stopSweep()
    this.asker = undefined
  }

  #querierFor(at: number, untilMs: number, responseMs: number): void {
    const { nowMs } = this.#clock
    if (this.#untilMs[at]! <= nowMs) this.#sinceMs[at] = nowMs + Math.min(responseMs, RESPONSE_MS)
    this.#untilMs[at] = Math.max(this.#untilMs[at]!, untilMs)
  }

  #sweepLater(): Cancel {
    return this.#clock.after(SWEEP_MS, () => {
      this.#members.sweep()
      this.#cancelSweep = this.#members.count > 0 ? this.#sweepLater() : undefined
    })
  }

  #stopSweep(): void {
    this.#cancelSweep?.()
    this.#cancelSweep = undefined
  }
}
