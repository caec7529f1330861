/**
 * The router's own leg to the outside, without a bridge between: a TAP in the namespace that is
 * outside, or a packet socket on an interface that is there already.
 *
 * ```text
 *   router interface "uplink" ── device end ─┬─ TAP │ tapline0 in the outer namespace
 *     addresses                              │      │   peer addresses
 *                                            └─ packet socket on eth1, beside the host
 * ```
 *
 * Default routes lead to its gateways. What sandboxes send there is translated, and what comes in
 * is let in, as their networks say (nat.ts). A device lost from outside stays listed as lost until
 * the configuration is applied again.
 */
import { EVERYWHERE } from '../stack/address.ts'
import type { Device } from '../stack/device.ts'
import type { Mac } from '../stack/eth/mac.ts'
import type { RouterInterface } from '../stack/ip/router_interface.ts'
import type { Context } from './context.ts'
import { type CaptureSink, DeviceEnd } from './device_end.ts'
import type { Links } from './links.ts'
import type { UplinkState } from './state.ts'

/** Its name in listings, captures and traces. */
export const UPLINK = 'uplink'
/** Name of the TAP in the outer namespace. */
const INTERFACE = 'tapline0'

export class Uplink {
  readonly state: UplinkState
  readonly device: Device
  /** Why the TAP was lost; undefined: it works. */
  lost: string | undefined = undefined
  readonly #context: Context
  readonly #end: DeviceEnd
  readonly #leg: RouterInterface
  #closed = false

  private constructor(context: Context, state: UplinkState, device: Device) {
    const { pool, router, nat, flows } = context
    this.state = state
    this.device = device
    this.#context = context
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
    if (state.interface === undefined) links.prepare({ name: UPLINK, netns: state.netns! })
    let device: Device | undefined
    let uplink: Uplink | undefined
    try {
      device = await openDevice(links, state)
      uplink = new Uplink(context, state, device)
      for (const via of state.gateways) {
        router.addRoute({ prefix: EVERYWHERE[via.family], kind: 'static', via })
      }
    } catch (error) {
      if (uplink !== undefined) uplink.#retire()
      if (device !== undefined) links.detach(device)
      release(links, state)
      throw error
    }
    const opened = uplink
    device.onLost = (why) => opened.#onLost(why)
    opened.#end.connect(opened.#leg.input)
    captures.add(opened)
    onDevice(device, true)
    return opened
  }

  /** Index of its leg, by which routes name it. */
  get link(): number {
    return this.#leg.index
  }

  watch(sinks: readonly CaptureSink[]): void {
    this.#end.watch(sinks)
  }

  /** Give everything back. Idempotent. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    const { links, captures, onDevice } = this.#context
    if (this.lost === undefined) {
      captures.remove(this)
      onDevice(this.device, false)
    }
    this.#retire()
    links.detach(this.device)
    release(links, this.state)
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
    router.removeInterface(this.#leg)
  }
}

/** Its device: of an interface that is there, or a TAP of our own. Precondition: prepared. */
async function openDevice(links: Links, state: UplinkState): Promise<Device> {
  const { interface: interfaceName, netns, mac } = state
  if (interfaceName !== undefined) {
    return links.borrow({ interfaceName, netns, deviceName: UPLINK, mac })
  }
  return await links.attach({
    sandbox: UPLINK,
    netns: netns!,
    interfaceName: INTERFACE,
    deviceName: UPLINK,
    mac: peerMac(mac),
    mtuBytes: state.mtuBytes,
    addresses: state.peerAddresses,
    routes: [],
    offload: true,
  })
}

/** Give its namespace back, if it was made for it. */
function release(links: Links, { interface: interfaceName, netns }: UplinkState): void {
  if (interfaceName === undefined) links.release({ name: UPLINK, netns: netns! })
}

/** A MAC for the far end of the TAP, unlike ours. */
function peerMac({ hi, lo }: Mac): Mac {
  return { hi, lo: (lo ^ 1) >>> 0 }
}
