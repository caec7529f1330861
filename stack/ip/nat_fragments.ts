/**
 * Virtual reassembly (RFC 4787 REQ-14): only the first fragment of a datagram has ports, so it is
 * remembered which connection it was of, and the later ones go the same way without being joined.
 *
 * ```text
 *   table   source, destination, identification, protocol -> flow, PASSED, or WAITING
 *   held    later fragments that came before their first: a few, for a second at most
 * ```
 *
 * Held fragments are given to their leg again when the first has come. A remembered flow may have
 * ended and its number belong to another: whoever finds one checks it (nat.ts).
 */
import { loadWords } from '../address.ts'
import { i32, u8, u16 } from '../bytes.ts'
import type { Cancel, Clock } from '../clock.ts'
import { DropReason } from '../drop.ts'
import type { Packet, Pool } from '../packet.ts'
import type { Random } from '../random.ts'
import { Table } from '../table.ts'
import * as extension from './extension.ts'
import * as fragment from './fragment_header.ts'
import * as ipv4 from './ipv4.ts'
import * as ipv6 from './ipv6.ts'
import type { RouterInterface } from './router_interface.ts'

/** What {@link NatFragments.find} says if it is no flow. */
export const Fate = { Passed: -1, Waiting: -2, Unknown: -3 } as const

const KEY_WORDS = 10
/** Datagrams remembered; the next in turn goes for another. */
const DATAGRAMS_MAX = 4096
/** As Linux waits for fragments (`ipfrag_time`). */
const REMEMBERED_MS = 30_000
/** Fragments held at a time: a datagram of 64 KB in an MTU of 1500 has 45. */
const HELD_MAX = 128
const HELD_MS = 1000
const SWEEP_BUDGET = 64

interface Held {
  packet: Packet | undefined
  from: RouterInterface | undefined
  entry: number
  untilMs: number
}

export interface NatFragmentsOptions {
  readonly pool: Pool
  readonly clock: Clock
  readonly random: Random
}

export class NatFragments {
  readonly #pool: Pool
  readonly #clock: Clock
  readonly #table: Table
  readonly #held: readonly Held[]
  /** The key while others are removed, which overwrites it. */
  readonly #wanted = new Int32Array(KEY_WORDS)
  #heldCount = 0
  #timer: Cancel | undefined

  constructor({ pool, clock, random }: NatFragmentsOptions) {
    this.#pool = pool
    this.#clock = clock
    this.#table = new Table({
      keyWords: KEY_WORDS,
      valueWords: 1,
      entriesMax: DATAGRAMS_MAX,
      seed: random.bits(),
    })
    this.#held = Array.from({ length: HELD_MAX }, () => ({
      packet: undefined,
      from: undefined,
      entry: -1,
      untilMs: 0,
    }))
  }

  /** The key that the next call is about, when {@link read} returned true; addresses first. */
  get key(): Int32Array {
    return this.#table.key
  }

  /** True if the packet at `ip` is one of several fragments: then its key is taken down. */
  read(mem: Uint8Array, ip: number, end: number): boolean {
    const { key } = this.#table
    if (u8(mem, ip) >>> 4 === 4) {
      if (!ipv4.isFragment(mem, ip)) return false
      loadWords(mem, ip + ipv4.SRC, 4, key, 0)
      loadWords(mem, ip + ipv4.DST, 4, key, 4)
      key[8] = u16(mem, ip + ipv4.ID)
      key[9] = ipv4.protocol(mem, ip)
      return true
    }
    const next = ipv6.nextHeader(mem, ip)
    if (next === ipv4.Protocol.Tcp || next === ipv4.Protocol.Udp) return false
    const step = extension.walk(mem, ip, end)
    const at = ip + (step >>> 8)
    if ((step & 0xff) !== ipv6.Next.Fragment || at + fragment.HEADER_BYTES > end) return false
    if (!fragment.moreFragments(mem, at) && fragment.offsetBytes(mem, at) === 0) return false
    loadWords(mem, ip + ipv6.SRC, 6, key, 0)
    loadWords(mem, ip + ipv6.DST, 6, key, 4)
    key[8] = i32(mem, at + fragment.ID)
    key[9] = ipv6.Next.Fragment
    return true
  }

  /** The flow of the key's datagram, or a {@link Fate}. */
  find(): number {
    const entry = this.#table.find()
    return entry < 0 ? Fate.Unknown : this.#table.values[entry]!
  }

  /** The key's first fragment came: the entry of its datagram, for {@link settle}. */
  begin(): number {
    let entry = this.#table.find()
    if (entry < 0) entry = this.#insert()
    this.#table.values[entry] = Fate.Waiting
    this.#table.seenMs[entry] = this.#clock.nowMs
    return entry
  }

  /**
   * The datagram is of `flow`, or {@link Fate}.Passed. What waited for it goes on, and has run to
   * its end when this returns: it must be the caller's last act.
   */
  settle(entry: number, flow: number): void {
    this.#table.values[entry] = flow
    for (let i = 0; this.#heldCount > 0 && i < HELD_MAX; i++) {
      const held = this.#held[i]!
      if (held.packet === undefined || held.entry !== entry) continue
      const { packet, from } = held
      this.#take(held)
      from!.input(packet)
    }
  }

  /**
   * A later fragment of the key's datagram came before the first. Takes ownership. Drops:
   * `fragment-table-full`, and `fragment-timeout` if the first does not come.
   */
  hold(from: RouterInterface, packet: Packet): void {
    const pool = this.#pool
    if (packet.traced) {
      pool.trace?.end('consumed', 'would wait for the first fragment')
      return pool.free(packet)
    }
    if (this.#heldCount === HELD_MAX) return pool.drop(packet, DropReason.FragmentTableFull)
    const { nowMs } = this.#clock
    let entry = this.#table.find()
    if (entry < 0) {
      entry = this.#insert()
      this.#table.values[entry] = Fate.Waiting
    }
    let slot = 0
    while (this.#held[slot]!.packet !== undefined) slot++
    const held = this.#held[slot]!
    held.packet = packet
    held.from = from
    held.entry = entry
    held.untilMs = nowMs + HELD_MS
    this.#heldCount++
    this.#timer ??= this.#clock.after(HELD_MS, this.#expireHeld)
  }

  /** Give back what waits; no timer is left. */
  close(): void {
    for (const held of this.#held) this.#giveUp(held)
    this.#timer?.()
    this.#timer = undefined
    this.#table.clear()
  }

  /** An entry for the key, in place of an old one if there is no room. */
  #insert(): number {
    const table = this.#table
    const { nowMs } = this.#clock
    let entry = table.insert(nowMs)
    if (entry >= 0) return entry
    const wanted = this.#wanted
    wanted.set(table.key)
    table.sweep(nowMs - REMEMBERED_MS, SWEEP_BUDGET, this.#forget)
    while (table.count === DATAGRAMS_MAX) table.sweep(Number.POSITIVE_INFINITY, 1, this.#forget)
    table.key.set(wanted)
    entry = table.insert(nowMs)
    return entry
  }

  readonly #forget = (entry: number): void => {
    if (this.#table.values[entry] === Fate.Waiting) {
      for (const held of this.#held) if (held.entry === entry) this.#giveUp(held)
    }
    this.#table.remove(entry)
  }

  readonly #expireHeld = (): void => {
    this.#timer = undefined
    const { nowMs } = this.#clock
    let nextMs = Number.POSITIVE_INFINITY
    for (const held of this.#held) {
      if (held.packet === undefined) continue
      if (held.untilMs <= nowMs) this.#giveUp(held)
      else nextMs = Math.min(nextMs, held.untilMs)
    }
    if (this.#heldCount > 0) this.#timer = this.#clock.after(nextMs - nowMs, this.#expireHeld)
  }

  #giveUp(held: Held): void {
    const { packet } = held
    if (packet === undefined) return
    this.#take(held)
    this.#pool.drop(packet, DropReason.FragmentTimeout)
  }

  #take(held: Held): void {
    held.packet = undefined
    held.from = undefined
    held.entry = -1
    this.#heldCount--
  }
}
