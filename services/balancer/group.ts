/**
 * The backends of a service in one family of addresses, with their health checks. Each family is
 * checked by itself: a server may listen in one and not in the other.
 */
import { type Address, formatAddress, sameAddress } from '../../stack/address.ts'
import { Backends } from '../../stack/ip/backends.ts'
import type { BackendCounts, BalanceSettings } from '../../stack/ip/balance.ts'
import type { HealthcheckConfig } from '../config/model.ts'
import type { BackendState, ServiceState } from '../state.ts'
import { type CheckParts, checkOf } from './checks.ts'
import { HealthCheck } from './health.ts'

export interface GroupParts extends Omit<CheckParts, 'openSocket'> {
  readonly openSocket: (sandbox: string, family: 4 | 6) => number
  /** A health check changed the state of a backend. */
  readonly onChange: (sandbox: string, address: string, up: boolean, detail: string) => void
  /** A backend goes: its connections end. */
  readonly onRemove: (backend: number) => void
}

interface Member {
  readonly index: number
  readonly address: Address
  check: HealthCheck | undefined
}

export interface MemberRow extends BackendCounts {
  /** What the last health check found; undefined: nothing checks it. */
  readonly detail: string | undefined
}

export class Group {
  readonly family: 4 | 6
  readonly backends: Backends
  readonly #parts: GroupParts
  /** By sandbox. */
  readonly #members = new Map<string, Member>()
  #healthcheck: HealthcheckConfig | undefined

  constructor(family: 4 | 6, service: ServiceState, parts: GroupParts) {
    const { clock, random } = parts
    this.family = family
    this.#parts = parts
    this.backends = new Backends({ clock, seed: random.bits(), ...settingsOf(service) })
    this.update(service)
  }

  /** Precondition: not more backends than connections can tell apart, weights in range. */
  update(service: ServiceState): void {
    const { healthcheck } = service
    const checked = !isSame(healthcheck, this.#healthcheck)
    this.#healthcheck = healthcheck
    this.backends.configure(settingsOf(service))
    const wanted = new Map(service.backends.map((backend) => [backend.sandbox, backend]))
    for (const [sandbox, { address }] of this.#members) {
      const now = this.#addressOf(wanted.get(sandbox))
      if (now === undefined || !sameAddress(now, address)) this.#remove(sandbox)
    }
    for (const backend of service.backends) {
      const member = this.#members.get(backend.sandbox)
      if (member === undefined) this.#add(backend)
      else {
        this.backends.setWeight(member.index, backend.weight)
        if (checked) this.#watch(backend.sandbox, member)
      }
    }
  }

  /** What is known of a backend; undefined: it has no address of this family. */
  row(sandbox: string): MemberRow | undefined {
    const member = this.#members.get(sandbox)
    return member && { ...this.backends.counts(member.index), detail: member.check?.detail }
  }

  /** Check no more. Idempotent. */
  close(): void {
    for (const { check } of this.#members.values()) check?.close()
  }

  #addressOf(backend: BackendState | undefined): Address | undefined {
    return backend?.addresses.find(({ family }) => family === this.family)
  }

  #add(backend: BackendState): void {
    const { sandbox, weight } = backend
    const address = this.#addressOf(backend)
    if (address === undefined) return
    const up = this.#healthcheck === undefined
    const index = this.backends.add({ address, weight, up })
    const member: Member = { index, address, check: undefined }
    this.#members.set(sandbox, member)
    this.#watch(sandbox, member)
  }

  #remove(sandbox: string): void {
    const { index, check } = this.#members.get(sandbox)!
    check?.close()
    this.#members.delete(sandbox)
    // First out of the choice, then its connections: their clients must not come back to it.
    this.backends.remove(index)
    this.#parts.onRemove(index)
  }

  /** Begin to check as configured now. It keeps its state until that says otherwise. */
  #watch(sandbox: string, member: Member): void {
    const { index, address } = member
    const { clock, random, prober, onChange, openSocket } = this.#parts
    const config = this.#healthcheck
    member.check?.close()
    member.check = undefined
    if (config === undefined) return this.backends.setUp(index, true)
    const open = (family: 4 | 6): number => openSocket(sandbox, family)
    const check = checkOf({ clock, random, prober, openSocket: open }, config, address)
    const changed = (up: boolean, detail: string): void => {
      this.backends.setUp(index, up)
      onChange(sandbox, formatAddress(address), up, detail)
    }
    member.check = new HealthCheck({ clock, random, config, check, changed })
  }
}

function settingsOf({ scheduler, affinityMs, healthcheck }: ServiceState): BalanceSettings {
  return { scheduler, affinityMs, slowStartMs: healthcheck?.slowStartMs ?? 0 }
}

/** Configurations are plain values, written by one function in one order. */
function isSame(a: HealthcheckConfig | undefined, b: HealthcheckConfig | undefined): boolean {
  return JSON.stringify(a) === JSON.stringify(b)
}
