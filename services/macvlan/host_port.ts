/**
 * The host as one more station of a `macvlan` network, which the kernel's macvlan cannot do: what
 * an endpoint sends by the parent never comes back to the host that the parent is of.
 *
 * ```text
 *   bridge ── port ── TAP "mv-lan" on the host
 *                       routes to each endpoint; the host speaks from its address on the parent
 * ```
 *
 * Endpoints find the host because it answers ARP for each of its addresses on every interface, as
 * Linux does unless `arp_ignore` forbids it. Of IPv6 a host answers for the addresses of the very
 * interface only, so the TAP has those of the parent as well, as /128. Between this port and the
 * parent nothing passes: else the host would answer the machines outside twice.
 */
import {
  type Address,
  contains,
  type Family,
  familyBits,
  type Prefix,
} from '../../stack/address.ts'
import type { Device } from '../../stack/device.ts'
import { StackError } from '../../stack/errors.ts'
import type { Bridge } from '../../stack/eth/bridge.ts'
import type { BridgePort } from '../../stack/eth/bridge_port.ts'
import { randomMac } from '../../stack/eth/mac.ts'
import type { Context } from '../context.ts'
import { type CaptureSink, DeviceEnd } from '../device_end.ts'
import { OWN_NETNS } from '../links.ts'
import { OUTSIDE_GROUP } from './parent.ts'

const NAME_MAX = 15

export interface HostPortOptions {
  readonly network: string
  /** Where the host has its addresses. */
  readonly parent: string
  readonly netns: string | undefined
  readonly mtuBytes: number
  readonly offload: boolean
}

export class HostPort {
  readonly #context: Context
  readonly #bridge: Bridge
  readonly #options: HostPortOptions
  readonly #device: Device
  readonly #port: BridgePort
  readonly #watched: {
    readonly device: Device
    readonly watch: (sinks: readonly CaptureSink[]) => void
  }
  #open = true

  private constructor(o: {
    readonly context: Context
    readonly bridge: Bridge
    readonly options: HostPortOptions
    readonly device: Device
  }) {
    const { pool, flows, captures, onDevice } = o.context
    this.#context = o.context
    this.#bridge = o.bridge
    this.#options = o.options
    this.#device = o.device
    const end = new DeviceEnd(pool, o.device, flows)
    const { name, port } = o.device
    this.#port = o.bridge.addPort({ name, port, output: end.transmit, group: OUTSIDE_GROUP })
    end.connect(this.#port.input)
    this.#watched = { device: o.device, watch: (sinks) => end.watch(sinks) }
    captures.add(this.#watched)
    onDevice(o.device, true)
  }

  /** @throws StackError; leaves nothing. */
  static async open(context: Context, bridge: Bridge, options: HostPortOptions): Promise<HostPort> {
    const { links, random, log } = context
    if (links.readdress === undefined) {
      throw new StackError('unsupported', `links of kind ${links.describe} have no host`)
    }
    const { network, netns, mtuBytes, offload } = options
    const interfaceName = `mv-${network}`.slice(0, NAME_MAX)
    const device = await links.attach({
      sandbox: network,
      netns: netns ?? OWN_NETNS,
      interfaceName,
      deviceName: `${network}@host`,
      mac: randomMac(random),
      mtuBytes,
      addresses: [],
      routes: [],
      offload,
    })
    try {
      const host = new HostPort({ context, bridge, options, device })
      device.onLost = (why) => {
        log.warn({ network, why }, `lost the interface to the host: ${why}`)
        host.#take()
      }
      return host
    } catch (error) {
      links.detach(device)
      throw error
    }
  }

  /** Lead the host to these endpoints, and no others. @throws StackError. */
  reach(endpoints: readonly Prefix[]): void {
    if (!this.#open) return
    const { links } = this.#context
    const { parent: interfaceName, netns } = this.#options
    const own = links.addressesOf?.({ interfaceName, netns }) ?? []
    const whole = (address: Address): Prefix => ({ address, bits: familyBits(address.family) })
    const routes = endpoints.map((endpoint) => {
      const source = own.find((address) => contains(endpoint, address))
      const destination = whole(endpoint.address)
      return source === undefined ? { destination } : { destination, source }
    })
    const near = own.filter((one) => endpoints.some((endpoint) => contains(endpoint, one)))
    const addresses = near.filter(({ family }) => family === 6).map(whole)
    const isOn = (family: Family): boolean => family === 4 || addresses.length > 0
    const reached = routes.filter(({ destination }) => isOn(destination.address.family))
    links.readdress!(this.#device, { addresses, routes: reached })
  }

  /** Idempotent. */
  close(): void {
    this.#take()
    this.#context.links.detach(this.#device)
  }

  #take(): void {
    if (!this.#open) return
    this.#open = false
    const { captures, onDevice } = this.#context
    captures.remove(this.#watched)
    this.#bridge.removePort(this.#port)
    onDevice(this.#device, false)
  }
}
