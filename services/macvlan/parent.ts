/**
 * The way from a `macvlan` network to its parent interface: a packet device of the parent (or of
 * one VLAN of it) as a port of the network's bridge.
 *
 * ```text
 *   parent device -> [captures] -> [flow cache] -> dhcpTap -> refuseOwn -> port.input -> bridge
 *   parent device <- [segmenter] <- [captures] <-------------- port.output
 *                                              <- endpoints, in mode vepa
 * ```
 *
 * `refuseOwn` is left out in mode `vepa`, where the switch outside sends frames of one endpoint
 * back to another.
 *
 * A parent that is lost (its interface went down, or away) takes its port off the bridge; endpoints
 * stay, and go on to reach each other where the mode lets them. Whether it is back is tried every
 * {@link REOPEN_MS}: that costs one look-up of a name.
 */
import type { Cancel } from '../../stack/clock.ts'
import type { Device } from '../../stack/device.ts'
import { DropReason } from '../../stack/drop.ts'
import { StackError } from '../../stack/errors.ts'
import type { Bridge } from '../../stack/eth/bridge.ts'
import type { BridgePort } from '../../stack/eth/bridge_port.ts'
import type { Mac } from '../../stack/eth/mac.ts'
import { OwnStations, refuseOwn } from '../../stack/eth/reflection.ts'
import type { Output, Packet } from '../../stack/packet.ts'
import type { MacvlanMode } from '../config/options_model.ts'
import type { Context } from '../context.ts'
import { type CaptureSink, DeviceEnd } from '../device_end.ts'
import type { DhcpClient } from '../dhcp/client.ts'
import { dhcpTap } from '../dhcp/tap.ts'
import type { Borrowed } from '../links.ts'
import type { ParentPort } from '../network_facts.ts'

/** Quick enough for people, and nothing to the machine. */
const REOPEN_MS = 1000
/** Ports of this group have nothing to say to each other: what is outside, both of it. */
export const OUTSIDE_GROUP = -1

export interface ParentOptions {
  readonly network: string
  readonly interfaceName: string
  readonly netns: string | undefined
  readonly mode: MacvlanMode
  /** The least that the parent must carry. */
  readonly mtuBytes: number
  /** Hear what is for no endpoint. */
  readonly everything: boolean
}

interface Open {
  readonly borrowed: Borrowed
  readonly port: BridgePort
  readonly transmit: Output
  readonly watched: {
    readonly device: Device
    readonly watch: (sinks: readonly CaptureSink[]) => void
  }
}

export class Parent implements ParentPort {
  readonly interfaceName: string
  readonly mode: MacvlanMode
  lost: string | undefined = undefined
  /** Who asks for addresses by it; the owner adds and removes them. */
  readonly clients: Set<DhcpClient> = new Set()
  readonly #context: Context
  readonly #bridge: Bridge
  readonly #options: ParentOptions
  readonly #own = new OwnStations()
  #stations: readonly Mac[] = []
  #open: Open | undefined
  /** A lost device that is not given back yet. */
  #gone: Device | undefined
  #cancel: Cancel | undefined

  /** @throws StackError if the parent is not there, down or too small; leaves nothing. */
  constructor(context: Context, bridge: Bridge, options: ParentOptions) {
    this.interfaceName = options.interfaceName
    this.mode = options.mode
    this.#context = context
    this.#bridge = bridge
    this.#options = options
    this.#connect()
  }

  get device(): Device | undefined {
    return this.#open?.borrowed.device
  }

  /** Straight to the parent, past the bridge. Takes ownership. */
  readonly transmit: Output = (packet: Packet) => {
    const open = this.#open
    if (open === undefined) return this.#context.pool.drop(packet, DropReason.DeviceDown)
    open.transmit(packet)
  }

  /** Who is behind the bridge from now on. @throws StackError. */
  setStations(stations: readonly Mac[]): void {
    this.#open?.borrowed.setStations(stations)
    this.#stations = stations
    this.#own.set(stations)
    this.#context.pool.notes.changed()
  }

  /** Idempotent. */
  close(): void {
    this.#cancel?.()
    this.#cancel = undefined
    const device = this.#take()?.borrowed.device ?? this.#gone
    this.#gone = undefined
    if (device !== undefined) this.#context.links.detach(device)
  }

  #connect(): void {
    const { pool, links, flows, captures, onDevice } = this.#context
    const { network, interfaceName, netns, mode, mtuBytes, everything } = this.#options
    const deviceName = `${network}@${interfaceName}`
    const where = { interfaceName, netns, deviceName }
    const borrowed = links.borrow({ ...where, stations: this.#stations, everything })
    const { device } = borrowed
    try {
      if (device.mtuBytes < mtuBytes) {
        const message = `${interfaceName} has an MTU of ${device.mtuBytes}, below ${mtuBytes}`
        throw new StackError('bad-argument', message)
      }
      const end = new DeviceEnd(pool, device, flows)
      const { transmit: output } = end
      const { port: counter } = device
      const common = { name: deviceName, port: counter, output, group: OUTSIDE_GROUP }
      const port = this.#bridge.addPort(common)
      const guarded = mode === 'vepa' ? port.input : refuseOwn(pool, this.#own, port.input)
      end.connect(dhcpTap(pool, this.clients, guarded))
      device.onLost = (why) => this.#onLost(why)
      const watched = { device, watch: (sinks: readonly CaptureSink[]) => end.watch(sinks) }
      this.#open = { borrowed, port, watched, transmit: end.transmit }
      captures.add(watched)
    } catch (error) {
      links.detach(device)
      throw error
    }
    onDevice(device, true)
  }

  /** Off the bridge, no longer watched or polled; the device is the caller's. */
  #take(): Open | undefined {
    const open = this.#open
    if (open === undefined) return undefined
    const { captures, onDevice } = this.#context
    captures.remove(open.watched)
    this.#bridge.removePort(open.port)
    this.#open = undefined
    onDevice(open.borrowed.device, false)
    return open
  }

  /** The device is given back by a timer, as this is told in the middle of its own `poll`. */
  #onLost(why: string): void {
    const { log, clock, tally, links } = this.#context
    const open = this.#take()
    if (open === undefined) return
    this.lost = why
    tally.lostDevices++
    const { network, interfaceName } = this.#options
    log.warn({ network, parent: interfaceName, why }, `lost the parent of ${network}: ${why}`)
    this.#gone = open.borrowed.device
    this.#cancel = clock.after(0, () => {
      this.#gone = undefined
      links.detach(open.borrowed.device)
      this.#retry()
    })
  }

  #retry(): void {
    this.#cancel = this.#context.clock.after(REOPEN_MS, () => {
      this.#cancel = undefined
      const { network, interfaceName } = this.#options
      try {
        this.#connect()
      } catch (error) {
        this.lost = error instanceof Error ? error.message : String(error)
        return this.#retry()
      }
      this.lost = undefined
      const message = `the parent of ${network} is back`
      this.#context.log.info({ network, parent: interfaceName }, message)
    })
  }
}
