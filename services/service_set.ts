/**
 * The services of a node at work: virtual addresses on their networks, and who balances them.
 *
 * A service is made on a network that is there, and goes before it. While it is updated its
 * connections stay; only what is behind it changes.
 */
import type { Address } from '../stack/address.ts'
import { StackError } from '../stack/errors.ts'
import type { Network } from './network.ts'
import type { ServiceState } from './state.ts'

/** What a balancer tells of one backend. */
export interface BalancerRow {
  readonly sandbox: string
  /** `up`, `down`, `draining`, or `unchecked` where nothing asks it. */
  readonly state: string
  /** Connections that it has now. */
  readonly flows: number
  /** Connections that it was given since the service was made. */
  readonly total: number
  /** Connections of it that were refused or not answered. */
  readonly failures: number
  /** What the last health check found, by family; empty: nothing checks it. */
  readonly checks: readonly string[]
}

/** What a balancer tells of its service. */
export interface BalancerTotals {
  /** Connections given to backends. */
  readonly flows: number
  /** Connections turned away, because no backend could take them. */
  readonly refused: number
  /** Clients that stick to a backend. */
  readonly clients: number
}

/** Spreads the connections of one service. */
export interface RunningBalancer {
  update(service: ServiceState): void
  stats(): readonly BalancerRow[]
  totals(): BalancerTotals
  /** May this address of a backend be given new clients? */
  isReady(sandbox: string, address: Address): boolean
  close(): void
}

/** @throws StackError; leaves nothing. */
export type OpenBalancer = (service: ServiceState) => RunningBalancer

interface Running {
  state: ServiceState
  /** Undefined: its mode is `dnsrr` and nothing checks it, so names do all of it. */
  balancer: RunningBalancer | undefined
}

export class ServiceSet {
  readonly #open: OpenBalancer
  readonly #running = new Map<string, Running>()

  constructor(open: OpenBalancer) {
    this.#open = open
  }

  get states(): Map<string, ServiceState> {
    return new Map([...this.#running].map(([name, { state }]) => [name, state]))
  }

  /** What is known of its backends; empty: nobody balances it. */
  stats(name: string): readonly BalancerRow[] {
    return this.#running.get(name)?.balancer?.stats() ?? []
  }

  /** Undefined: nobody balances it. */
  totals(name: string): BalancerTotals | undefined {
    return this.#running.get(name)?.balancer?.totals()
  }

  /** True also of what nobody checks. */
  isReady(name: string, sandbox: string, address: Address): boolean {
    return this.#running.get(name)?.balancer?.isReady(sandbox, address) ?? true
  }

  /** @throws StackError; leaves nothing. */
  create(state: ServiceState, network: Network | undefined): void {
    if (network === undefined) throw new StackError('not-found', `no network ${state.network}`)
    if (state.mode === 'dnsrr' && state.healthcheck === undefined) {
      this.#running.set(state.name, { state, balancer: undefined })
      return
    }
    const added: Address[] = []
    try {
      for (const vip of state.vips) {
        network.addAddress(vip)
        added.push(vip)
      }
      this.#running.set(state.name, { state, balancer: this.#open(state) })
    } catch (error) {
      for (const vip of added) network.removeAddress(vip)
      throw error
    }
  }

  /** Precondition: it is there. */
  update(state: ServiceState): void {
    const running = this.#running.get(state.name)!
    if (state.mode === 'dnsrr') this.#check(running, state)
    else running.balancer?.update(state)
    running.state = state
  }

  /** Without a virtual address there is a balancer only while backends are checked. */
  #check(running: Running, state: ServiceState): void {
    if (state.healthcheck === undefined) {
      running.balancer?.close()
      running.balancer = undefined
    } else if (running.balancer === undefined) running.balancer = this.#open(state)
    else running.balancer.update(state)
  }

  /** Its connections end. Harmless if it is not there. */
  delete({ name, vips }: ServiceState, network: Network | undefined): void {
    const running = this.#running.get(name)
    if (running === undefined) return
    this.#running.delete(name)
    running.balancer?.close()
    for (const vip of vips) network?.removeAddress(vip)
  }
}
