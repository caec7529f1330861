/**
 * Who has which address of a network's pool, and until when.
 *
 * ```text
 *   offered ──60 s──> forgotten          bound ──lease time, or RELEASE──> free, remembered
 *   declined (somebody else has it) ──10 min──> free
 * ```
 *
 * A free address that is remembered goes to the client that had it, and to another one only when
 * none is left that nobody had: then the one that is free for longest. Addresses are words.
 *
 * Bounded by the pool, which has at most {@link POOL_MAX} addresses.
 */
import type { Clock } from '../../stack/clock.ts'
import type { Mac } from '../../stack/eth/mac.ts'

/** A /20, as large as Docker's own pools. */
export const POOL_MAX = 4096
const OFFER_MS = 60_000
const DECLINE_MS = 600_000

export type LeaseKind = 'offered' | 'bound' | 'declined' | 'free'

export interface Lease {
  readonly address: number
  /** Who it is of: the client's identifier, or its MAC. */
  readonly client: string
  readonly mac: Mac
  readonly hostName: string
  /** Counters port of the device that the client is behind. */
  readonly port: number
  readonly kind: LeaseKind
  readonly untilMs: number
}

export interface Pool {
  /** First and last address, unsigned. */
  readonly first: number
  readonly last: number
}

export class Leases {
  readonly #clock: Clock
  readonly #pool: Pool
  /** May an address be given, as far as others are concerned that are no clients of ours. */
  readonly #isFree: (address: number) => boolean
  readonly #byAddress = new Map<number, Lease>()
  readonly #byClient = new Map<string, Lease>()

  constructor(clock: Clock, pool: Pool, isFree: (address: number) => boolean) {
    this.#clock = clock
    this.#pool = pool
    this.#isFree = isFree
  }

  /** What a client has, or had. */
  of(client: string): Lease | undefined {
    return this.#byClient.get(client)
  }

  list(): Lease[] {
    return [...this.#byAddress.values()].sort((a, b) => (a.address >>> 0) - (b.address >>> 0))
  }

  get size(): number {
    return Math.max(0, this.#pool.last - this.#pool.first + 1)
  }

  /** Addresses that nobody can be given now. */
  get used(): number {
    let used = 0
    for (let at = this.#pool.first; at <= this.#pool.last; at++) if (!this.#isOpen(at | 0)) used++
    return used
  }

  isInPool(address: number): boolean {
    return address >>> 0 >= this.#pool.first && address >>> 0 <= this.#pool.last
  }

  /** True if the client may have it: nobody else has. */
  mayHave(client: string, address: number): boolean {
    if (!this.isInPool(address) || !this.#isFree(address)) return false
    const lease = this.#byAddress.get(address)
    if (lease === undefined || lease.kind === 'free') return true
    return lease.client === client && lease.kind !== 'declined'
  }

  /** The address for a client: what it has or had, what it wants, or any; undefined: none. */
  choose(client: string, wanted: number | undefined): number | undefined {
    const own = this.#byClient.get(client)
    if (own !== undefined && this.mayHave(client, own.address)) return own.address
    if (wanted !== undefined && this.mayHave(client, wanted)) return wanted
    let oldest: Lease | undefined
    for (let at = this.#pool.first; at <= this.#pool.last; at++) {
      const address = at | 0
      if (!this.#isOpen(address)) continue
      const before = this.#byAddress.get(address)
      if (before === undefined) return address
      if (oldest === undefined || before.untilMs < oldest.untilMs) oldest = before
    }
    return oldest?.address
  }

  offer(lease: Omit<Lease, 'kind' | 'untilMs'>): void {
    const own = this.#byAddress.get(lease.address)
    // An offer of what it has takes nothing from it.
    if (own?.client === lease.client && own.kind === 'bound') return
    this.#set({ ...lease, kind: 'offered', untilMs: this.#clock.nowMs + OFFER_MS })
  }

  bind(lease: Omit<Lease, 'kind' | 'untilMs'>, leaseMs: number): void {
    this.#set({ ...lease, kind: 'bound', untilMs: this.#clock.nowMs + leaseMs })
  }

  /** It is given back, and remembered. */
  release(lease: Lease): void {
    this.#set({ ...lease, kind: 'free', untilMs: this.#clock.nowMs })
  }

  /** Another machine has it. */
  decline(lease: Lease): void {
    this.#byClient.delete(lease.client)
    const untilMs = this.#clock.nowMs + DECLINE_MS
    this.#byAddress.set(lease.address, { ...lease, client: '', kind: 'declined', untilMs })
  }

  forget(lease: Lease): void {
    if (this.#byAddress.get(lease.address) === lease) this.#byAddress.delete(lease.address)
    if (this.#byClient.get(lease.client) === lease) this.#byClient.delete(lease.client)
  }

  /** End what is over; bound leases that were. */
  expire(): Lease[] {
    const over = this.list().filter(
      ({ kind, untilMs }) => kind !== 'free' && untilMs <= this.#clock.nowMs,
    )
    for (const lease of over) {
      if (lease.kind === 'bound') this.#set({ ...lease, kind: 'free' })
      else this.forget(lease)
    }
    return over.filter(({ kind }) => kind === 'bound')
  }

  #isOpen(address: number): boolean {
    const lease = this.#byAddress.get(address)
    return (lease === undefined || lease.kind === 'free') && this.#isFree(address)
  }

  /** One lease a client, and one an address. */
  #set(lease: Lease): void {
    const before = this.#byClient.get(lease.client)
    if (before !== undefined) this.#byAddress.delete(before.address)
    const other = this.#byAddress.get(lease.address)
    if (other !== undefined) this.#byClient.delete(other.client)
    this.#byAddress.set(lease.address, lease)
    this.#byClient.set(lease.client, lease)
  }
}
