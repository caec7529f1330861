/**
 * Sandboxes made of hosts in memory, their interfaces cables: the {@link Links} of a fabric that
 * needs no root. The node's end of each cable is the device that the controller gets, and polled
 * where it says so; the host's end is polled by the driver from here.
 *
 * ```text
 *   node ── device "web/eth0" ── cable ── "web/eth0 (host)" ── host "web"
 * ```
 */
import { type Device, NO_OFFLOAD, type Offload } from '../../stack/device.ts'
import { StackError } from '../../stack/errors.ts'
import { Cable } from '../../stack/eth/memory.ts'
import type { Pool } from '../../stack/packet.ts'
import { Random } from '../../stack/random.ts'
import type { MemoryNet } from '../../stack/udp/memory_net.ts'
import type { MemoryUnderlay } from '../../stack/udp/memory_underlay.ts'
import type { Underlay } from '../../stack/udp/underlay.ts'
import type { Borrowed, BorrowRequest, LinkRequest, Links, UnderlayRequest } from '../links.ts'
import type { Driver } from './driver.ts'
import { Host } from './host.ts'

/** What a TAP offers where the kernel has all of it. */
const OFFLOAD: Offload = { csum: true, tso: true, uso: true }

interface Attached {
  readonly cable: Cable
  readonly host: Host
}

export interface MemoryLinksOptions {
  readonly pool: Pool
  readonly driver: Driver
  /** Every host and cable draws from a generator of its own, seeded by this one. */
  readonly random: Random
  /** Where other nodes are; left out: nowhere, and there are no overlay networks. */
  readonly net?: MemoryNet
}

export class MemoryLinks implements Links {
  readonly describe = 'memory'
  readonly #pool: Pool
  readonly #driver: Driver
  readonly #random: Random
  readonly #net: MemoryNet | undefined
  /** By network namespace, as sandboxes may share one. */
  readonly #hosts = new Map<string, Host>()
  /** By the node's end. */
  readonly #attached = new Map<Device, Attached>()

  constructor({ pool, driver, random, net }: MemoryLinksOptions) {
    this.#net = net
    this.#pool = pool
    this.#driver = driver
    this.#random = random
  }

  prepare({ name, netns }: { readonly name: string; readonly netns: string }): void {
    if (this.#hosts.has(netns)) return
    const random = new Random(this.#random.bits())
    const host = new Host({ name, pool: this.#pool, driver: this.#driver, random })
    this.#hosts.set(netns, host)
  }

  attach(request: LinkRequest): Device {
    const { netns, deviceName, mtuBytes } = request
    const host = this.#hosts.get(netns)
    if (host === undefined) throw new StackError('not-found', `no sandbox in ${netns}`)
    const cable = new Cable({
      name: deviceName,
      ends: [deviceName, `${deviceName} (host)`],
      pool: this.#pool,
      clock: this.#driver.clock,
      random: new Random(this.#random.bits()),
      mtuBytes,
      offload: request.offload ? OFFLOAD : NO_OFFLOAD,
      wake: this.#driver.wake,
    })
    this.#attached.set(cable.a, { cable, host })
    host.attach(cable.b, request)
    this.#driver.add(cable.b)
    return cable.a
  }

  borrow({ interfaceName }: BorrowRequest): Borrowed {
    throw new StackError('unsupported', `no interface ${interfaceName} in memory`)
  }

  openUnderlay({ address, udpPort, mtuBytes }: UnderlayRequest): Underlay {
    if (this.#net === undefined) {
      throw new StackError('unsupported', 'this node is alone: there is nothing between nodes')
    }
    const { wake } = this.#driver
    const closed = (): void => this.#driver.remove(underlay)
    const own = { pool: this.#pool, address, udpPort, mtuBytes, wake, closed }
    const underlay: MemoryUnderlay = this.#net.open(own)
    this.#driver.add(underlay)
    return underlay
  }

  detach(device: Device): void {
    const attached = this.#attached.get(device)
    if (attached === undefined) return
    this.#attached.delete(device)
    this.#unplug(attached)
    attached.cable.close()
  }

  release({ netns }: { readonly netns: string }): void {
    this.#hosts.get(netns)?.close()
    this.#hosts.delete(netns)
  }

  close(): void {
    for (const device of [...this.#attached.keys()]) this.detach(device)
    for (const netns of [...this.#hosts.keys()]) this.release({ netns })
  }

  /** The host of a sandbox, if there is one. */
  host(netns: string): Host | undefined {
    return this.#hosts.get(netns)
  }

  /** The cable to the device with this name. @throws StackError `not-found`. */
  cable(deviceName: string): Cable {
    for (const { cable } of this.#attached.values()) if (cable.name === deviceName) return cable
    throw new StackError('not-found', `no link ${deviceName}`)
  }

  /** Pull the far end of a cable out, as when a namespace dies: the node's device is lost. */
  cut(deviceName: string): void {
    const cable = this.cable(deviceName)
    this.#unplug(this.#attached.get(cable.a)!)
    cable.b.close()
  }

  #unplug({ cable, host }: Attached): void {
    this.#driver.remove(cable.b)
    host.detach(cable.b)
  }
}
