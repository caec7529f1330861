/**
 * Drivers `bridge` and `overlay`: each network a bridge with a leg of the router, and with tunnels
 * to other nodes if it is an overlay; see network.ts.
 */
import { StackError } from '../../stack/errors.ts'
import type { Context } from '../context.ts'
import { Network } from '../network.ts'
import type { EndpointState, NetworkState, SandboxState } from '../state.ts'
import type { NetworkDriver } from './driver.ts'

export class BridgeDriver implements NetworkDriver {
  readonly name: 'bridge' | 'overlay'
  readonly #context: Context
  readonly #networks = new Map<string, Network>()

  constructor(name: 'bridge' | 'overlay', context: Context) {
    this.name = name
    this.#context = context
  }

  createNetwork(network: NetworkState): void {
    this.#networks.set(network.name, new Network(this.#context, network))
  }

  deleteNetwork({ name }: NetworkState): void {
    const network = this.#networks.get(name)
    this.#networks.delete(name)
    network?.close()
  }

  /** Addresses and MAC are decided; there is nothing to hold before the sandbox joins. */
  createEndpoint({ network, mac }: EndpointState): void {
    this.#find(network)
    if (mac === undefined) throw new StackError('bad-argument', 'the endpoint has no MAC address')
  }

  deleteEndpoint(_: EndpointState): void {}

  async join(endpoint: EndpointState, sandbox: SandboxState): Promise<void> {
    await this.#find(endpoint.network).attach(endpoint, sandbox)
  }

  leave({ network, sandbox }: EndpointState): void {
    this.#networks.get(network)?.detach(sandbox)
  }

  network(name: string): Network | undefined {
    return this.#networks.get(name)
  }

  #find(name: string): Network {
    const network = this.#networks.get(name)
    if (network === undefined) throw new StackError('not-found', `no network ${name}`)
    return network
  }
}
