/**
 * Driver `macvlan`: endpoints are stations of a network outside, through a parent interface that is
 * there already; see macvlan/parent.ts. The gateway is that network's.
 *
 * | mode | between endpoints | with what the parent hears |
 * |---|---|---|
 * | `bridge` | by our bridge | yes |
 * | `private` | nothing, also not by a switch that reflects | yes |
 * | `vepa` | by the switch outside, if it reflects | everything goes there |
 * | `passthru` | there is one endpoint | what is for nobody else too |
 *
 * Without a parent the network ends at the node, as with Docker.
 */
import { StackError } from '../../stack/errors.ts'
import type { Mac } from '../../stack/eth/mac.ts'
import type { MacvlanOptions } from '../config/options_model.ts'
import type { Context } from '../context.ts'
import type { Wiring } from '../edge.ts'
import { HostPort } from '../macvlan/host_port.ts'
import { Leasing } from '../macvlan/leasing.ts'
import { Parent } from '../macvlan/parent.ts'
import { Network } from '../network.ts'
import type { EndpointState, NetworkState, SandboxState } from '../state.ts'
import type { NetworkDriver } from './driver.ts'

interface Running {
  readonly network: Network
  readonly parent: Parent | undefined
  /** Undefined: addresses are IPAM's. */
  readonly leasing: Leasing | undefined
  /** Undefined until the first endpoint joins, or for good. */
  host: HostPort | undefined
}

export class MacvlanDriver implements NetworkDriver {
  readonly name = 'macvlan'
  readonly #context: Context
  readonly #networks = new Map<string, Running>()

  constructor(context: Context) {
    this.#context = context
  }

  createNetwork(state: NetworkState): void {
    const { mode } = optionsOf(state)
    let parent: Parent | undefined
    const wiring: Wiring = {
      isolated: mode === 'private' || mode === 'vepa',
      takesUnknown: mode === 'passthru' || !state.options.macGuard,
      enter:
        mode === 'vepa' && optionsOf(state).parent !== undefined
          ? (packet) => parent!.transmit(packet)
          : undefined,
    }
    const network = new Network(this.#context, state, wiring)
    let leasing: Leasing | undefined
    try {
      parent = this.#openParent(network)
      const { leased } = optionsOf(state)
      if (leased && parent !== undefined) leasing = new Leasing(this.#context, network, parent)
    } catch (error) {
      parent?.close()
      network.close()
      throw error
    }
    network.parent = parent
    this.#networks.set(state.name, { network, parent, leasing, host: undefined })
  }

  deleteNetwork({ name }: NetworkState): void {
    const running = this.#networks.get(name)
    this.#networks.delete(name)
    running?.host?.close()
    running?.parent?.close()
    running?.network.close()
  }

  /** Addresses and MAC are decided; there is nothing to hold before the sandbox joins. */
  createEndpoint({ network, mac }: EndpointState): void {
    this.#find(network)
    if (mac === undefined) throw new StackError('bad-argument', 'the endpoint has no MAC address')
  }

  deleteEndpoint(_: EndpointState): void {}

  async join(endpoint: EndpointState, sandbox: SandboxState): Promise<void> {
    const running = this.#find(endpoint.network)
    const { network, parent } = running
    const before = stationsOf(network)
    // The parent must hear for it before the network is told of it.
    parent?.setStations([...before, endpoint.mac!])
    try {
      await this.#openHost(running)
      await network.attach(endpoint, sandbox)
    } catch (error) {
      parent?.setStations(before)
      throw error
    }
    running.leasing?.join(endpoint)
    this.#tellHost(running)
  }

  leave({ network: name, sandbox }: EndpointState): void {
    const running = this.#networks.get(name)
    if (running === undefined) return
    running.leasing?.leave(sandbox)
    running.network.detach(sandbox)
    running.parent?.setStations(stationsOf(running.network))
    this.#tellHost(running)
  }

  network(name: string): Network | undefined {
    return this.#networks.get(name)?.network
  }

  #find(name: string): Running {
    const running = this.#networks.get(name)
    if (running === undefined) throw new StackError('not-found', `no network ${name}`)
    return running
  }

  #openParent({ state, bridge }: Network): Parent | undefined {
    const { name, options } = state
    const { parent, netns, mode } = optionsOf(state)
    if (parent === undefined) return undefined
    const { mtuBytes, macGuard } = options
    const everything = !macGuard
    const own = { network: name, interfaceName: parent, netns, mode, mtuBytes, everything }
    return new Parent(this.#context, bridge, own)
  }

  async #openHost(running: Running): Promise<void> {
    const { state, bridge } = running.network
    const { parent, netns, hostAccess } = optionsOf(state)
    if (!hostAccess || parent === undefined || running.host !== undefined) return
    const { mtuBytes, offload } = state.options
    const own = { network: state.name, parent, netns, mtuBytes, offload }
    running.host = await HostPort.open(this.#context, bridge, own)
  }

  /** A host that cannot be led to an endpoint is no reason to take the endpoint away. */
  #tellHost({ network, host }: Running): void {
    if (host === undefined) return
    try {
      host.reach(network.edges().flatMap(({ endpoint }) => endpoint.addresses))
    } catch (error) {
      const { name } = network.state
      this.#context.log.error({ err: error, network: name }, `the host does not reach ${name}`)
    }
  }
}

function optionsOf({ options }: NetworkState): MacvlanOptions {
  return options.macvlan!
}

function stationsOf(network: Network): Mac[] {
  return network.edges().map(({ endpoint }) => endpoint.mac!)
}
