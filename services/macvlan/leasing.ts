/**
 * Addresses that the network outside gives (`ipam.driver: dhcp`): one DHCP client an endpoint,
 * whose lease becomes the address and the default route of the sandbox's interface, and goes again
 * with it. A sandbox is joined before its address is there, as a server may come late.
 */
import { EVERYWHERE, formatPrefix } from '../../stack/address.ts'
import { StackError } from '../../stack/errors.ts'
import type { Context } from '../context.ts'
import { type ClientLease, DhcpClient } from '../dhcp/client.ts'
import type { Edge } from '../edge.ts'
import type { Network } from '../network.ts'
import type { EndpointState } from '../state.ts'
import type { Parent } from './parent.ts'

export class Leasing {
  readonly #context: Context
  readonly #network: Network
  readonly #parent: Parent
  /** By sandbox. */
  readonly #clients = new Map<string, DhcpClient>()

  /** @throws StackError `unsupported` where interfaces cannot be told of their addresses later. */
  constructor(context: Context, network: Network, parent: Parent) {
    const { links } = context
    if (links.readdress === undefined) {
      throw new StackError('unsupported', `links of kind ${links.describe} cannot be readdressed`)
    }
    this.#context = context
    this.#network = network
    this.#parent = parent
  }

  /** Precondition: the endpoint is attached. */
  join({ sandbox, mac }: EndpointState): void {
    const { pool, clock, random } = this.#context
    const edge = this.#network.edge(sandbox)!
    const client = new DhcpClient({
      pool,
      clock,
      random,
      mac: mac!,
      hostName: sandbox,
      send: this.#parent.transmit,
      onLease: (lease) => this.#apply(edge, lease),
    })
    this.#clients.set(sandbox, client)
    this.#parent.clients.add(client)
    client.start()
  }

  /** Gives the lease back. Harmless if there is none. */
  leave(sandbox: string): void {
    const client = this.#clients.get(sandbox)
    if (client === undefined) return
    client.close()
    this.#parent.clients.delete(client)
    this.#clients.delete(sandbox)
  }

  #apply(edge: Edge, lease: ClientLease | undefined): void {
    const { links, log } = this.#context
    const { sandbox, network } = edge.endpoint
    const addresses = lease === undefined ? [] : [lease.address]
    const via = this.#network.state.internal ? undefined : lease?.router
    const routes = via === undefined ? [] : [{ destination: EVERYWHERE[4], via }]
    try {
      links.readdress!(edge.device, { addresses, routes })
      edge.lease(addresses)
    } catch (error) {
      log.error({ err: error, sandbox, network }, `${sandbox} was not given its lease`)
      return
    }
    const [address] = addresses.map(formatPrefix)
    if (address === undefined) log.warn({ sandbox, network }, `${sandbox} has lost its lease`)
    else log.info({ sandbox, network, address }, `${sandbox} leased ${address}`)
  }
}
