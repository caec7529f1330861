/**
 * Which groups are wanted behind which ports: what snooping learns (snooping.ts).
 *
 * ```text
 *   groups    (VLAN, group) -> first member        a Table; IPv4 groups are IPv4-mapped
 *   members   port, until when, next member of the group      one a group and port
 * ```
 *
 * Flood protection is the FDB's (eth/fdb.ts): a port may add a group while it holds fewer
 * memberships than there are free groups, and a membership while it holds fewer than are free. So
 * a port that joins everything ends with half of the table, and one that holds little can always
 * join. {@link Membership.join} says when it was refused; what then happens is the caller's.
 *
 * A membership is exact: it counts until its time, and not a moment longer. The memory of what
 * ended returns with {@link Membership.sweep}.
 */
import { formatWords } from '../address.ts'
import type { Clock } from '../clock.ts'
import { Table } from '../table.ts'

/** Groups of one bridge or tunnel, in all VLANs. */
export const GROUPS_MAX = 1024
/** Memberships: a group and a port each. About 120 KB with the groups. */
export const MEMBERS_MAX = 4096

/** VLAN, and four words of address. */
const KEY_WORDS = 5
const FREE = -1

export interface MembershipOptions {
  readonly clock: Clock
  readonly seed: number
  readonly portsMax: number
  readonly groupsMax: number
  readonly membersMax: number
}

/** One membership, for listings. */
export interface MemberRow {
  readonly vid: number
  readonly group: string
  readonly port: number
  readonly expiresMs: number
}

export class Membership {
  readonly #clock: Clock
  readonly #groups: Table
  readonly #ports: Int32Array
  readonly #next: Int32Array
  readonly #untilMs: Float64Array
  /** Memberships by port. */
  readonly #held: Int32Array
  readonly #membersMax: number
  #free = 0
  #count = 0

  constructor({ clock, seed, portsMax, groupsMax, membersMax }: MembershipOptions) {
    this.#clock = clock
    this.#groups = new Table({ keyWords: KEY_WORDS, valueWords: 1, entriesMax: groupsMax, seed })
    this.#membersMax = membersMax
    this.#ports = new Int32Array(membersMax)
    this.#untilMs = new Float64Array(membersMax)
    this.#next = Int32Array.from({ length: membersMax }, (_, member) =>
      member + 1 < membersMax ? member + 1 : FREE,
    )
    this.#held = new Int32Array(portsMax)
  }

  /** Memberships, those included that ended and wait for the sweep. */
  get count(): number {
    return this.#count
  }

  /** Of {@link key}: VLAN, then the group. */
  get key(): Int32Array {
    return this.#groups.key
  }

  /** The group with the key, or -1: nobody ever asked for it, or all that did are gone. */
  find(): number {
    return this.#groups.find()
  }

  /** True if it is an IPv6 group. */
  isSix(group: number): boolean {
    const { keys } = this.#groups
    const at = group * KEY_WORDS + 1
    return keys[at]! >>> 24 === 0xff
  }

  /** `port` wants the group with the key for `ms` from now. False: no room. */
  join(port: number, ms: number): boolean {
    const groups = this.#groups
    let group = groups.find()
    const member = group < 0 ? -1 : this.#member(group, port)
    if (member >= 0) {
      this.#untilMs[member] = this.#clock.nowMs + ms
      return true
    }
    const held = this.#held[port]!
    if (held >= this.#membersMax - this.#count) return false
    if (group < 0) {
      if (held >= groups.entriesMax - groups.count) return false
      group = groups.insert(this.#clock.nowMs)
      groups.values[group] = FREE
    }
    const added = this.#free
    this.#free = this.#next[added]!
    this.#ports[added] = port
    this.#untilMs[added] = this.#clock.nowMs + ms
    this.#next[added] = groups.values[group]!
    groups.values[group] = added
    this.#held[port]!++
    this.#count++
    return true
  }

  /** The membership of `port` in the group with the key ends `ms` from now, if not before. */
  shorten(port: number, ms: number): void {
    const group = this.#groups.find()
    const member = group < 0 ? -1 : this.#member(group, port)
    if (member >= 0) this.#shorten(member, ms)
  }

  /** The same for all members of the group with the key. */
  shortenAll(ms: number): void {
    const group = this.#groups.find()
    if (group < 0) return
    for (let m = this.#groups.values[group]!; m >= 0; m = this.#next[m]!) this.#shorten(m, ms)
  }

  /** Put `stamp` into `marks` at each port that wants the group now. */
  mark(group: number, marks: Int32Array, stamp: number): void {
    const { nowMs } = this.#clock
    for (let m = this.#groups.values[group]!; m >= 0; m = this.#next[m]!) {
      if (this.#untilMs[m]! > nowMs) marks[this.#ports[m]!] = stamp
    }
  }

  /** True if any port but `port` wants the group with the key now. */
  hasOthers(port: number): boolean {
    const group = this.#groups.find()
    if (group < 0) return false
    const { nowMs } = this.#clock
    for (let m = this.#groups.values[group]!; m >= 0; m = this.#next[m]!) {
      if (this.#untilMs[m]! > nowMs && this.#ports[m] !== port) return true
    }
    return false
  }

  forgetPort(port: number): void {
    const { nowMs } = this.#clock
    for (let g = this.#groups.nextLive(0); g >= 0; g = this.#groups.nextLive(g + 1)) {
      const member = this.#member(g, port)
      if (member >= 0) this.#untilMs[member] = nowMs
    }
    this.sweep()
  }

  /** Give back the memory of what ended. */
  sweep(): void {
    for (let g = this.#groups.nextLive(0); g >= 0; g = this.#groups.nextLive(g + 1)) this.#prune(g)
  }

  clear(): void {
    this.#untilMs.fill(0)
    this.sweep()
  }

  /** Every membership that has not ended. Not for the data path. */
  list(): MemberRow[] {
    const { keys, values } = this.#groups
    const { nowMs } = this.#clock
    const rows: MemberRow[] = []
    for (let g = this.#groups.nextLive(0); g >= 0; g = this.#groups.nextLive(g + 1)) {
      const at = g * KEY_WORDS
      for (let m = values[g]!; m >= 0; m = this.#next[m]!) {
        const expiresMs = this.#untilMs[m]! - nowMs
        if (expiresMs <= 0) continue
        const group = formatWords(keys, at + 1)
        rows.push({ vid: keys[at]!, group, port: this.#ports[m]!, expiresMs })
      }
    }
    return rows
  }

  #member(group: number, port: number): number {
    let member = this.#groups.values[group]!
    while (member >= 0 && this.#ports[member] !== port) member = this.#next[member]!
    return member
  }

  #shorten(member: number, ms: number): void {
    const untilMs = this.#clock.nowMs + ms
    if (untilMs < this.#untilMs[member]!) this.#untilMs[member] = untilMs
  }

  /** Members of a group that ended go, and with the last one the group. */
  #prune(group: number): void {
    const { values } = this.#groups
    const { nowMs } = this.#clock
    let kept = FREE
    for (let m = values[group]!; m >= 0; ) {
      const after = this.#next[m]!
      if (this.#untilMs[m]! > nowMs) {
        this.#next[m] = kept
        kept = m
      } else {
        this.#held[this.#ports[m]!]!--
        this.#next[m] = this.#free
        this.#free = m
        this.#count--
      }
      m = after
    }
    values[group] = kept
    if (kept < 0) this.#groups.remove(group)
  }
}
