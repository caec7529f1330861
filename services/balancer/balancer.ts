/**
 * One service at work: its virtual addresses and published ports, the backends behind them, and
 * their health checks.
 *
 * ```text
 *   vip:port, published ports   ──► Nat ──► Backends (one a family) ──► a sandbox
 *                                              ▲
 *                     health checks ───────────┘   up, down
 * ```
 *
 * All ports of a service share its backends: connections are counted, clients remembered and
 * sandboxes checked once a family. While it is updated, only connections of backends that go end;
 * a backend whose weight becomes 0 keeps its own.
 */
import { type Address, EVERYWHERE, formatAddress } from '../../stack/address.ts'
import { StackError } from '../../stack/errors.ts'
import { BACKENDS_MAX } from '../../stack/ip/nat_marks.ts'
import type { VirtualService } from '../../stack/ip/nat_rules.ts'
import type { Context } from '../context.ts'
import { isAny, portFamilies } from '../ports.ts'
import type { BalancerRow, BalancerTotals, RunningBalancer } from '../service_set.ts'
import type { ServiceState } from '../state.ts'
import { Group, type MemberRow } from './group.ts'

/** More of a backend than a list shows. */
export interface BackendRow extends BalancerRow {
  readonly weight: number
}

type StandIn = (address: Address) => Address | undefined

export interface BalancerOptions {
  readonly context: Pick<Context, 'clock' | 'random' | 'router' | 'nat' | 'links' | 'log'>
  /** Where what is asked of one of the host's addresses comes in, if the host is the outside. */
  readonly standIn: StandIn
  /** Where a sandbox's stack is, as in {@link LinkRequest}. Asked for checks by `http`. */
  readonly netnsOf: (sandbox: string) => string | undefined
}

export class Balancer implements RunningBalancer {
  readonly #options: BalancerOptions
  #state: ServiceState
  readonly #groups = new Map<4 | 6, Group>()
  /** By {@link keyOf}. */
  #virtual = new Map<string, VirtualService>()

  /** @throws StackError `exists` if an address and port is taken, `unsupported`; leaves nothing. */
  constructor(options: BalancerOptions, service: ServiceState) {
    this.#options = options
    this.#state = service
    try {
      this.update(service)
    } catch (error) {
      this.close()
      throw error
    }
  }

  /** @throws as the constructor; then all is as it was. */
  update(service: ServiceState): void {
    this.#check(service)
    const { nat } = this.#options.context
    const wanted = frontsOf(service, this.#options.standIn)
    const fresh: [string, VirtualService][] = []
    const families = new Set(this.#groups.keys())
    try {
      for (const family of checkedFamilies(service)) this.#group(family, service)
      for (const [key, front] of wanted) {
        if (this.#virtual.has(key)) continue
        const balance = this.#group(front.address.family, service).backends
        const virtual: VirtualService = { ...front, balance }
        nat.addService(virtual)
        fresh.push([key, virtual])
      }
    } catch (error) {
      for (const [, virtual] of fresh) nat.removeService(virtual)
      for (const [family, group] of this.#groups) {
        if (families.has(family)) continue
        group.close()
        this.#groups.delete(family)
      }
      throw error
    }
    for (const [key, virtual] of this.#virtual) {
      if (wanted.has(key)) continue
      nat.removeService(virtual)
      this.#virtual.delete(key)
    }
    for (const [key, virtual] of fresh) this.#virtual.set(key, virtual)
    this.#state = service
    for (const group of this.#groups.values()) group.update(service)
  }

  /** By backend, in the order of the service. */
  stats(): readonly BackendRow[] {
    const groups = [...this.#groups.values()]
    return this.#state.backends.map(({ sandbox, weight }) => {
      const rows = groups.flatMap((group) => {
        const row = group.row(sandbox)
        return row === undefined ? [] : [{ ...row, family: group.family }]
      })
      const total = (of: (row: MemberRow) => number): number =>
        rows.reduce((sum, row) => sum + of(row), 0)
      return {
        sandbox,
        weight,
        state: stateOf(rows, this.#state.healthcheck !== undefined),
        flows: total(({ active }) => active),
        total: total(({ total }) => total),
        failures: total(({ failures }) => failures),
        checks: rows.flatMap(({ family, detail }) => (detail ? [`IPv${family}: ${detail}`] : [])),
      }
    })
  }

  isReady(sandbox: string, { family }: Address): boolean {
    const row = this.#groups.get(family)?.row(sandbox)
    return row === undefined || row.status !== 'down'
  }

  totals(): BalancerTotals {
    const balances = [...this.#groups.values()].map(({ backends }) => backends)
    return {
      flows: balances.reduce((sum, { flows }) => sum + flows, 0),
      refused: balances.reduce((sum, { refusals }) => sum + refusals, 0),
      clients: balances.reduce((sum, { clients }) => sum + clients, 0),
    }
  }

  /** All of its connections end. Idempotent. */
  close(): void {
    for (const virtual of this.#virtual.values()) this.#options.context.nat.removeService(virtual)
    this.#virtual.clear()
    for (const group of this.#groups.values()) group.close()
    this.#groups.clear()
  }

  /** @throws StackError for what cannot be, before anything is changed. */
  #check({ name, backends, healthcheck }: ServiceState): void {
    const { links } = this.#options.context
    if (backends.length > BACKENDS_MAX) {
      throw new StackError('exhausted', `service ${name}: more than ${BACKENDS_MAX} backends`)
    }
    if (healthcheck?.type === 'http' && links.openSocket === undefined) {
      const what = `service ${name}: a health check of type http needs sandboxes that are network`
      throw new StackError('unsupported', `${what} namespaces; these are in memory`)
    }
  }

  #group(family: 4 | 6, service: ServiceState): Group {
    const known = this.#groups.get(family)
    if (known !== undefined) return known
    const { context, netnsOf } = this.#options
    const { clock, random, router, links, nat, log } = context
    const group: Group = new Group(family, service, {
      clock,
      random,
      prober: router.prober,
      openSocket: (sandbox, of) => links.openSocket!(netnsOf(sandbox) ?? '', of),
      onChange: (sandbox, address, up, detail) => {
        const about = { service: this.#state.name, sandbox, address, detail }
        const text = `service ${this.#state.name}: ${sandbox} (${address})`
        if (up) log.info(about, `${text} is up`)
        else log.warn(about, `${text} is down: ${detail}`)
      },
      onRemove: (backend) => {
        for (const virtual of this.#virtual.values()) {
          if (virtual.balance === group.backends) nat.endBackend(virtual, backend)
        }
      },
    })
    this.#groups.set(family, group)
    return group
  }
}

/** Without a virtual address, backends are checked for their names' sake. */
function checkedFamilies({ mode, backends }: ServiceState): Set<4 | 6> {
  if (mode === 'vip') return new Set()
  return new Set(backends.flatMap(({ addresses }) => addresses.map(({ family }) => family)))
}

type Front = Omit<VirtualService, 'balance'>

/** Addresses and ports that stand for a service, by key. */
function frontsOf({ vips, ports }: ServiceState, standIn: StandIn): Map<string, Front> {
  const fronts = new Map<string, Front>()
  const add = (front: Front): void => {
    const { protocol, address, port, count, targetPort } = front
    fronts.set(`${formatAddress(address)} ${port} ${count} ${protocol} ${targetPort}`, front)
  }
  for (const { target: targetPort, count, published, protocol } of ports) {
    for (const { family, ...vip } of vips) {
      const common = { count, protocol, targetPort }
      add({ ...common, address: { family, ...vip }, port: targetPort })
      if (published === undefined || !portFamilies(published).includes(family)) continue
      const { address = EVERYWHERE[family].address, port = 0 } = published
      add({ ...common, address, port, shared: true })
      const heard = isAny(address) ? undefined : standIn(address)
      if (heard !== undefined) {
        add({ ...common, address: heard, port, shared: true, outsideOnly: true })
      }
    }
  }
  return fronts
}

/** One word for all families, and what differs. */
function stateOf(
  rows: readonly (MemberRow & { readonly family: number })[],
  checked: boolean,
): string {
  const up = rows.filter(({ status }) => status === 'up')
  const [first] = rows
  if (first === undefined) return 'down'
  if (up.length === rows.length) return checked ? 'up' : 'unchecked'
  if (up.length === 0) return first.status
  const other = rows.find(({ status }) => status !== 'up')!
  return `up, IPv${other.family} ${other.status}`
}
