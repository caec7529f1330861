/**
 * The router's own leg to the outside, without a bridge between: a TAP in the namespace that is
 * outside, a packet socket on an interface that is there already, or the host.
 *
 * ```text
 *   router interface "uplink" ── device end ─┬─ TAP │ tapline0 in the outer namespace
 *     addresses                              │      │   peer addresses
 *                                            ├─ packet socket on eth1, beside the host
 *                                            └─ TAP │ tapline0 on the host, with rules that lead
 *                                                   │   its traffic there (host/gateway.ts)
 * ```
 *
 * Default routes lead to its gateways. What sandboxes send there is translated, and what comes in
 * is let in, as their networks say (nat.ts). A device lost from outside stays listed as lost until
 * the configuration is applied again.
 *
 * On the host, its addresses are aliases of ours: sandboxes that ask for a published port by them
 * are led there at once, instead of out and in again as somebody else. They are read again every
 * {@link ADDRESSES_MS}, as hosts come by addresses and lose them.
 */
import {
  type Address,
  EVERYWHERE,
  formatAddress,
  isLoopback,
  sameAddress,
} from '../stack/address.ts'
import { type Cancel, every } from '../stack/clock.ts'
import type { Device } from '../stack/device.ts'
import { StackError } from '../stack/errors.ts'
import type { Mac } from '../stack/eth/mac.ts'
import type { PortMapping } from '../stack/ip/nat_rules.ts'
import type { RouterInterface } from '../stack/ip/router_interface.ts'
import type { Context } from './context.ts'
import { type CaptureSink, DeviceEnd } from './device_end.ts'
import type { HostPort, HostSide } from './links.ts'
import { isAny, PORT_PROTOCOLS, portFamilies } from './ports.ts'
import type { ServiceState, UplinkState } from './state.ts'

/** Its name in listings, captures and traces. */
export const UPLINK = 'uplink'
/** Name of the TAP in the outer namespace. */
const INTERFACE = 'tapline0'
/** A reading takes a tenth of a millisecond. */
const ADDRESSES_MS = 5000

interface Opened {
  readonly device: Device
  /** Undefined: the outside is not the host. */
  readonly host: HostSide | undefined
}

export class Uplink {
  readonly state: UplinkState
  readonly device: Device
  /** Undefined: the outside is not the host. */
  readonly host: HostSide | undefined
  /** Why the TAP was lost; undefined: it works. */
  lost: string | undefined = undefined
  readonly #context: Context
  readonly #end: DeviceEnd
  readonly #leg: RouterInterface
  /** The host's addresses when last read, as text. */
  #known = ''
  #stopReading: Cancel = () => undefined
  #closed = false

  private constructor(context: Context, state: UplinkState, { device, host }: Opened) {
    const { pool, router, nat, flows } = context
    this.state = state
    this.device = device
    this.#context = context
    this.host = host
    this.#end = new DeviceEnd(pool, device, flows)
    this.#leg = router.addInterface({
      name: UPLINK,
      mac: state.mac,
      mtuBytes: device.mtuBytes,
      addresses: state.addresses,
      output: this.#end.transmit,
      internal: false,
    })
    nat.setExternal(this.#leg, true)
  }

  /** Make it and the routes through it. @throws StackError; leaves nothing. */
  static async open(context: Context, state: UplinkState): Promise<Uplink> {
    const { links, captures, onDevice, router } = context
    if (isMade(state)) links.prepare({ name: UPLINK, netns: state.netns! })
    let opened: Opened | undefined
    let uplink: Uplink | undefined
    try {
      opened = await openDevice(context, state)
      uplink = new Uplink(context, state, opened)
      for (const via of state.gateways) {
        router.addRoute({ prefix: EVERYWHERE[via.family], kind: 'static', via })
      }
    } catch (error) {
      if (uplink !== undefined) uplink.#retire()
      if (opened !== undefined) links.detach(opened.device)
      await opened?.host?.close()
      release(context, state)
      throw error
    }
    const { device } = opened
    const made = uplink
    device.onLost = (why) => made.#onLost(why)
    made.#end.connect(made.#leg.input)
    captures.add(made)
    onDevice(device, true)
    if (opened.host !== undefined) made.#follow(opened.host)
    return made
  }

  /** Index of its leg, by which routes name it. */
  get link(): number {
    return this.#leg.index
  }

  /** False: the outside is the host, which has no such address. */
  hasAddress(address: Address): boolean {
    if (this.host === undefined || isLoopback(address)) return true
    return this.host.addresses().some((own) => sameAddress(own, address))
  }

  watch(sinks: readonly CaptureSink[]): void {
    this.#end.watch(sinks)
  }

  /** Have the host, if that is the outside, lead ports here: {@link settle}. @throws StackError. */
  publish(mappings: readonly PortMapping[]): void {
    if (this.host === undefined) return
    const { nat } = this.#context
    const done: PortMapping[] = []
    try {
      for (const mapping of this.#stoodIn(mappings)) {
        nat.publish(mapping)
        done.push(mapping)
      }
      this.host.publish(mappings.map(hostPort))
    } catch (error) {
      for (const mapping of done) nat.unpublish(mapping)
      throw error
    }
  }

  unpublish(mappings: readonly PortMapping[]): void {
    if (this.host === undefined) return
    for (const mapping of this.#stoodIn(mappings)) this.#context.nat.unpublish(mapping)
    this.host.unpublish(mappings.map(hostPort))
  }

  /** Where the host leads what is asked of its address; undefined: the outside is elsewhere. */
  standIn(address: Address): Address | undefined {
    return this.host?.standIn(address)
  }

  /** The same of a service's ports. */
  publishService(service: ServiceState): void {
    this.host?.publish(servicePorts(service))
  }

  unpublishService(service: ServiceState): void {
    this.host?.unpublish(servicePorts(service))
  }

  /** Have the host do what was published and taken away. @throws StackError. */
  async settle(): Promise<void> {
    await this.host?.settle()
  }

  /** Give everything back. Idempotent. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    const { links, captures, onDevice } = this.#context
    this.#stopReading()
    if (this.lost === undefined) {
      captures.remove(this)
      onDevice(this.device, false)
    }
    this.#retire()
    try {
      await this.host?.close()
    } finally {
      links.detach(this.device)
      release(this.#context, this.state)
    }
  }

  #onLost(why: string): void {
    const { captures, onDevice, tally, log } = this.#context
    if (this.lost !== undefined || this.#closed) return
    this.lost = why
    tally.lostDevices++
    captures.remove(this)
    onDevice(this.device, false)
    log.warn({ device: UPLINK, why }, `lost the uplink: ${why}`)
  }

  /** Off the router, with the routes through it. */
  #retire(): void {
    const { router, nat } = this.#context
    for (const { family } of this.state.gateways) router.removeRoute(EVERYWHERE[family])
    nat.setExternal(this.#leg, false)
    if (this.host !== undefined) nat.setAliases([], [])
    router.removeInterface(this.#leg)
  }

  #follow(host: HostSide): void {
    this.#readAddresses(host)
    this.#stopReading = every(this.#context.clock, ADDRESSES_MS, () => this.#readAddresses(host))
  }

  #readAddresses(host: HostSide): void {
    const addresses = host.addresses()
    const text = addresses.map(formatAddress).join(' ')
    if (text === this.#known) return
    this.#known = text
    const own = this.state.addresses.map(({ address }) => address)
    this.#context.nat.setAliases(addresses, own)
  }

  /** What is asked of one address of the host comes in by its stand-in. */
  #stoodIn(mappings: readonly PortMapping[]): PortMapping[] {
    return mappings.flatMap((mapping) =>
      mapping.address === undefined
        ? []
        : [{ ...mapping, address: this.host!.standIn(mapping.address), outsideOnly: true }],
    )
  }
}

function hostPort({ protocol, address, port, count, target }: PortMapping): HostPort {
  return { protocol, family: target.family, address, port, count }
}

function servicePorts({ ports, vips }: ServiceState): HostPort[] {
  const published = ports.flatMap((port) => port.published ?? [])
  return published.flatMap((entry) => {
    const { address, port = 0, count } = entry
    const protocol = PORT_PROTOCOLS[entry.protocol]
    const own = address === undefined || isAny(address) ? undefined : address
    return vips
      .filter(({ family }) => portFamilies(entry).includes(family))
      .map(({ family }) => ({ protocol, family, address: own, port, count }))
  })
}

/** Its device: of an interface that is there, or a TAP of our own. Precondition: prepared. */
async function openDevice({ links, log, accept }: Context, state: UplinkState): Promise<Opened> {
  const { interface: interfaceName, netns, mac, mtuBytes, peerAddresses, hostTable } = state
  if (hostTable !== undefined) {
    if (links.openHost === undefined) {
      throw new StackError('unsupported', `links of kind ${links.describe} have no host`)
    }
    const { addresses } = state
    const end = { deviceName: UPLINK, mac: peerMac(mac), mtuBytes, addresses, peerAddresses }
    const host = await links.openHost({ ...end, table: hostTable, accept, log })
    return { device: host.device, host }
  }
  if (interfaceName !== undefined) {
    const hearing = { stations: [mac], everything: false }
    const { device } = links.borrow({ interfaceName, netns, deviceName: UPLINK, ...hearing })
    return { device, host: undefined }
  }
  const device = await links.attach({
    sandbox: UPLINK,
    netns: netns!,
    interfaceName: INTERFACE,
    deviceName: UPLINK,
    mac: peerMac(mac),
    mtuBytes,
    addresses: peerAddresses,
    routes: [],
    offload: true,
  })
  return { device, host: undefined }
}

/** True if it has a namespace, which may have to be made for it. */
function isMade({ interface: interfaceName, hostTable }: UplinkState): boolean {
  return interfaceName === undefined && hostTable === undefined
}

function release({ links }: Context, state: UplinkState): void {
  if (isMade(state)) links.release({ name: UPLINK, netns: state.netns! })
}

/** A MAC for the far end of the TAP, unlike ours. */
export function peerMac({ hi, lo }: Mac): Mac {
  return { hi, lo: (lo ^ 1) >>> 0 }
}
