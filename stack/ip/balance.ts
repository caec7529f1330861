/**
 * The seam between address translation and load balancing: nat_start.ts asks where a new connection
 * goes, and tells what became of it. `backends.ts` is the one that is made of configurations.
 */
import type { Address } from '../address.ts'
import type { Clock } from '../clock.ts'
import type { SchedulerName } from './schedulers.ts'

/** Who decides which backend a new connection to a virtual address gets. */
export interface Balance {
  /**
   * A backend for the client whose packet has this tuple, or -1. Allocates nothing, but for the
   * first time after backends were added, removed or weighted anew.
   */
  pick(words: Int32Array, nowMs: number): number
  /** Four words, as in address.ts. */
  addressWords(backend: number): Int32Array
  /** Its own port; left out or 0: the service's. */
  targetPort?(backend: number): number
  opened(backend: number): void
  /** A connection is over; what is sent twice still finds its way for a while. */
  closed(backend: number): void
  /** One that was closed goes on. */
  reopened(backend: number): void
  /** One that was closed is not known any more. */
  forgotten(backend: number): void
  /** A connection was refused or not answered. */
  failed(backend: number): void
  /** A connection was turned away, because `pick` found nobody. */
  refused?(): void
}

/** Greatest weight: sums of them stay far from the limits of a 32-bit integer. */
export const WEIGHT_MAX = 65_535

export interface BalanceSettings {
  readonly scheduler: SchedulerName
  /** How long a client keeps its backend after its last new connection; 0: not at all. */
  readonly affinityMs: number
  /** How long a backend that comes takes to get its whole share; 0: it has it at once. */
  readonly slowStartMs: number
}

export interface BackendsOptions extends BalanceSettings {
  readonly clock: Clock
  /** For the table of clients. */
  readonly seed: number
}

export interface BackendSpec {
  readonly address: Address
  /** Left out or 0: the service's. */
  readonly port?: number
  /** 0 to {@link WEIGHT_MAX}; 0: it keeps what it has and gets nothing. */
  readonly weight: number
  /** False: down until {@link Backends.setUp}. */
  readonly up: boolean
}

/** `draining` also if its weight is 0. */
export type BackendStatus = 'up' | 'down' | 'draining' | 'ejected'

export interface BackendCounts {
  readonly status: BackendStatus
  readonly weight: number
  /** Connections that it has, and that it was given so far. */
  readonly active: number
  readonly total: number
  readonly failures: number
}
