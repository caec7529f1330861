/**
 * The DHCP server of a network among its parts: what endpoints have it may not give, and what it
 * gave is bound, so that the network's proxies answer for it and guard it.
 */
import { type Address, ipv4, sameAddress } from '../../stack/address.ts'
import type { Bindings } from '../../stack/arp/bindings.ts'
import { type Mac, sameMac } from '../../stack/eth/mac.ts'
import type { RouterInterface } from '../../stack/ip/router_interface.ts'
import type { Context } from '../context.ts'
import type { EndpointState, NetworkState } from '../state.ts'
import { type DhcpNetwork, DhcpServer, type LeaseInfo } from './server.ts'

export interface NetworkDhcpOptions {
  readonly context: Context
  /** Precondition: it has a server. */
  readonly state: NetworkState
  readonly leg: RouterInterface
  readonly bindings: Bindings
  readonly endpoints: () => readonly EndpointState[]
}

export class NetworkDhcp implements DhcpNetwork {
  readonly name: string
  readonly #o: NetworkDhcpOptions
  readonly #server: DhcpServer
  /** Words that are bound because a client has them. */
  readonly #bound = new Set<number>()

  /** @throws StackError; leaves nothing. */
  constructor(o: NetworkDhcpOptions) {
    const { pool, clock, log, dhcpPort } = o.context
    this.#o = o
    this.name = o.state.name
    const state = o.state.dhcp!
    this.#server = new DhcpServer({ pool, clock, log, leg: o.leg, state, network: this })
    try {
      dhcpPort.add(o.leg, this.#server)
    } catch (error) {
      this.#server.close()
      throw error
    }
  }

  held(): Address[] {
    return this.#server.held()
  }

  list(): LeaseInfo[] {
    return this.#server.list()
  }

  usage(): ReturnType<DhcpServer['usage']> {
    return this.#server.usage()
  }

  endpointOf(mac: Mac): Address | undefined {
    const own = this.#o.endpoints().find((endpoint) => sameMac(endpoint.mac!, mac))
    const list = own?.addresses.map(({ address }) => address) ?? []
    return list.find(({ family }) => family === 4)
  }

  isTaken({ words }: Address): boolean {
    const word = words[3]!
    return this.#o.bindings.find4(word) >= 0 && !this.#bound.has(word)
  }

  bind(address: Address, mac: Mac, port: number): void {
    this.#o.bindings.set(address, mac, port)
    this.#bound.add(address.words[3]!)
  }

  unbind(address: Address): void {
    if (!this.#bound.delete(address.words[3]!)) return
    const { bindings, context, leg } = this.#o
    bindings.delete(address)
    context.router.neighbors.forget(leg.link, address)
  }

  /** An endpoint comes that may have what a client had: the file has the last word. */
  yield(addresses: readonly Address[]): void {
    const bound = [...this.#bound].map(ipv4)
    for (const address of addresses) {
      if (bound.some((one) => sameAddress(one, address))) this.unbind(address)
    }
  }

  /** A device is gone, and with it what was behind. */
  forgetPort(port: number): void {
    this.#server.forgetPort(port)
  }

  /** Idempotent. */
  close(): void {
    this.#server.close()
    this.#o.context.dhcpPort.remove(this.#o.leg)
  }
}
