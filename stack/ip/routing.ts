/**
 * The routes of a router, both families: those that its interfaces make, and those configured.
 *
 * A static route names a next router, which must be on a connected network. When that network goes
 * the route waits, and comes back with the network.
 */
import {
  type Address,
  type Family,
  familyBits,
  formatAddress,
  formatPrefix,
  networkOf,
  type Prefix,
  sameAddress,
} from '../address.ts'
import { StackError } from '../errors.ts'
import { Fib, type Route, type RouteKind } from './fib.ts'
import type { RouterInterface } from './router_interface.ts'

/** Made by interfaces, and by configuration. */
const OWN_KINDS: readonly RouteKind[] = ['local', 'broadcast', 'connected']
const CONFIGURED_KINDS: readonly RouteKind[] = ['static', 'blackhole']

export class Routing {
  readonly fib4: Fib
  readonly fib6: Fib
  /** Static routes whose next router is on no connected network now. */
  #waiting: Route[] = []

  /** `changed`: see {@link Fib}. */
  constructor(changed: () => void) {
    this.fib4 = new Fib(4, changed)
    this.fib6 = new Fib(6, changed)
  }

  fib(family: Family): Fib {
    return family === 4 ? this.fib4 : this.fib6
  }

  /**
   * The routes that an interface makes: its addresses, its networks and their broadcasts.
   * @throws StackError `exists` if another interface has one of them.
   */
  connect(iface: RouterInterface): void {
    const link = iface.index
    const routes: Route[] = [
      ...iface.networks().map((prefix): Route => ({ prefix, kind: 'connected', link })),
      ...iface.broadcasts().map((prefix): Route => ({ prefix, kind: 'broadcast', link })),
      ...iface.addresses
        .filter(({ address }) => address !== iface.linkLocal)
        .map(({ address }): Route => ({ prefix: hostOf(address), kind: 'local', link })),
    ]
    for (const route of routes) this.#mustBeFree(iface, route.prefix)
    for (const route of routes) this.fib(route.prefix.address.family).add(route)
    const retry = this.#waiting
    this.#waiting = []
    for (const route of retry) if (!this.#activate(route)) this.#waiting.push(route)
  }

  /** One more own address. @throws StackError `exists` if it is one already. */
  addLocal(iface: RouterInterface, address: Address): void {
    const prefix = hostOf(address)
    this.#mustBeFree(iface, prefix)
    this.fib(address.family).add({ prefix, kind: 'local', link: iface.index })
  }

  removeLocal(address: Address): void {
    this.fib(address.family).remove(hostOf(address), ['local'])
  }

  disconnect(iface: RouterInterface): void {
    for (const fib of [this.fib4, this.fib6]) {
      for (const route of fib.list()) {
        if (route.link !== iface.index) continue
        fib.remove(route.prefix, [route.kind])
        if (route.kind === 'static') this.#waiting.push(route)
      }
    }
  }

  /**
   * Add a static route or a blackhole; one of the same prefix and metric is replaced.
   * @throws StackError `bad-argument` if its next router is on no connected network.
   */
  add(route: Route): void {
    if (!CONFIGURED_KINDS.includes(route.kind)) {
      throw new StackError('bad-argument', `${route.kind} routes are made by interfaces`)
    }
    if (route.via !== undefined && route.via.family !== route.prefix.address.family) {
      throw new StackError('bad-argument', `next hop ${formatAddress(route.via)}: wrong family`)
    }
    if (this.#activate(route)) return
    const via = route.via === undefined ? 'a static route needs a next hop or a link' : ''
    throw new StackError(
      'bad-argument',
      via || `next hop ${formatAddress(route.via!)} is on no network of the router`,
    )
  }

  /** Remove the configured routes of a prefix. False if there was none. */
  remove(prefix: Prefix): boolean {
    const same = (route: Route): boolean => samePrefix(route.prefix, prefix)
    const waited = this.#waiting.some(same)
    this.#waiting = this.#waiting.filter((route) => !same(route))
    return this.fib(prefix.address.family).remove(prefix, CONFIGURED_KINDS) || waited
  }

  /** Connected, static and blackhole routes in use. */
  list(): Route[] {
    return [...this.fib4.list(), ...this.fib6.list()].filter(
      ({ kind }) => kind !== 'local' && kind !== 'broadcast',
    )
  }

  /** Put a configured route to use. False if nothing connected leads to its next router. */
  #activate(route: Route): boolean {
    const fib = this.fib(route.prefix.address.family)
    if (route.kind === 'blackhole') {
      fib.add({ ...route, via: undefined, link: undefined })
      return true
    }
    const link = route.via === undefined ? route.link : this.#linkTowards(route.via)
    if (link === undefined) return false
    fib.add({ ...route, link })
    return true
  }

  #linkTowards(via: Address): number | undefined {
    const fib = this.fib(via.family)
    const id = fib.lookup(via.words, 0)
    if (id < 0) return undefined
    const { kind, link } = fib.route(id)
    return kind === 'connected' ? link : undefined
  }

  #mustBeFree(iface: RouterInterface, prefix: Prefix): void {
    const other = this.fib(prefix.address.family).find(prefix)
    if (other === undefined || !OWN_KINDS.includes(other.kind)) return
    const why = `${formatPrefix(prefix)} is already an address or network of the router`
    throw new StackError('exists', `network ${iface.name}: ${why}`)
  }
}

function hostOf(address: Address): Prefix {
  return { address, bits: familyBits(address.family) }
}

function samePrefix(a: Prefix, b: Prefix): boolean {
  return a.bits === b.bits && sameAddress(networkOf(a), networkOf(b))
}
