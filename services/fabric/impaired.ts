/**
 * Faults for devices of the kernel's: a lane each way between a TAP and its network, so that what a
 * cable in memory can do to frames can be done to those of real stacks.
 *
 * ```text
 *   TAP.output ──► lane "up" ──► network         TAP.transmit ◄── lane "down" ◄── network
 * ```
 *
 * Without faults a frame passes at once. Time is the system's, whatever is drawn comes of the seed:
 * a run is like another with the same seed, but not the same, as kernels do not wait.
 */
import { type Address, addressAt, sameAddress } from '../../stack/address.ts'
import type { Clock } from '../../stack/clock.ts'
import type { Device, Offload } from '../../stack/device.ts'
import { DropReason } from '../../stack/drop.ts'
import * as eth from '../../stack/eth/frame.ts'
import { Lane } from '../../stack/eth/lane.ts'
import { type Mac, mac as macAt, sameMac } from '../../stack/eth/mac.ts'
import * as ipv4 from '../../stack/ip/ipv4.ts'
import * as ipv6 from '../../stack/ip/ipv6.ts'
import type { Output, Packet, Pool } from '../../stack/packet.ts'
import { Random } from '../../stack/random.ts'
import type { Underlay } from '../../stack/udp/underlay.ts'
import type { MakeCipher } from '../../stack/vxlan/seal.ts'
import type {
  Borrowed,
  BorrowRequest,
  HandedOverLinks,
  HostRequest,
  HostSide,
  Inside,
  LinkRequest,
  Links,
  UnderlayRequest,
} from '../links.ts'
import type { TapLinks } from '../taps.ts'

/** Somebody else on the fabric. */
export interface Station {
  readonly mac: Mac
  readonly addresses: readonly Address[]
}

export interface ImpairedOptions {
  readonly pool: Pool
  readonly clock: Clock
  readonly random: Random
}

class ImpairedDevice implements Device {
  readonly up: Lane
  readonly down: Lane
  output: Output
  onLost: (why: string) => void = () => {}
  readonly #inner: Device
  readonly #pool: Pool
  /** Of whom nothing passes. */
  readonly #deafTo = new Set<Station>()

  constructor(inner: Device, { pool, clock, random }: ImpairedOptions) {
    this.#inner = inner
    this.#pool = pool
    this.output = inner.output
    const lane = (arrive: Output): Lane =>
      new Lane({
        pool,
        clock,
        random: new Random(random.bits()),
        port: inner.port,
        counted: false,
        arrive: (packet) => {
          arrive(packet)
          return true
        },
      })
    this.up = lane((packet) => this.output(packet))
    this.down = lane((packet) => inner.transmit(packet))
    inner.output = (packet) => this.up.carry(packet)
    inner.onLost = (why) => this.onLost(why)
  }

  get name(): string {
    return this.#inner.name
  }

  get kind(): string {
    return this.#inner.kind
  }

  get port(): number {
    return this.#inner.port
  }

  get mtuBytes(): number {
    return this.#inner.mtuBytes
  }

  get offload(): Offload {
    return this.#inner.offload
  }

  poll(budget: number): number {
    return this.#inner.poll(budget)
  }

  transmit(packet: Packet): void {
    if (this.#deafTo.size > 0 && this.#isDeafTo(packet)) {
      return this.#pool.drop(packet, DropReason.LinkLost)
    }
    this.down.carry(packet)
  }

  refusal(packet: Packet): number {
    if (this.#deafTo.size > 0 && this.#isDeafTo(packet)) return DropReason.LinkLost
    return this.#inner.refusal(packet)
  }

  flush(): void {
    this.#inner.flush()
  }

  /** The sandbox hears nothing of `station`, whichever way it comes; false: it does again. */
  setDeaf(station: Station, deaf: boolean): void {
    const known = [...this.#deafTo].find(({ mac }) => sameMac(mac, station.mac))
    if (known !== undefined) this.#deafTo.delete(known)
    if (deaf) this.#deafTo.add(station)
  }

  close(): void {
    this.up.abandon()
    this.down.abandon()
    this.#inner.close()
  }

  /** What the kernel's links know it by. */
  get inner(): Device {
    return this.#inner
  }

  #isDeafTo({ head, len }: Packet): boolean {
    const { mem } = this.#pool
    if (len < eth.HEADER_BYTES) return false
    const source = macAt(mem, head + eth.SRC)
    const ip = head + eth.HEADER_BYTES
    const bytes = len - eth.HEADER_BYTES
    const from = sourceOf(mem, ip, bytes, eth.type(mem, head))
    return [...this.#deafTo].some(
      ({ mac, addresses }) =>
        sameMac(mac, source) ||
        (from !== undefined && addresses.some((address) => sameAddress(address, from))),
    )
  }
}

function sourceOf(mem: Uint8Array, ip: number, bytes: number, type: number): Address | undefined {
  if (type === eth.EtherType.Ipv4 && bytes >= ipv4.HEADER_BYTES) {
    return addressAt(mem, ip + ipv4.SRC, 4)
  }
  if (type === eth.EtherType.Ipv6 && bytes >= ipv6.HEADER_BYTES) {
    return addressAt(mem, ip + ipv6.SRC, 6)
  }
  return undefined
}

/** Links whose devices can be impaired. */
export class ImpairedLinks implements Links {
  readonly describe: string
  readonly #inner: TapLinks
  readonly #options: ImpairedOptions
  readonly #devices = new Map<string, ImpairedDevice>()

  constructor(inner: TapLinks, options: ImpairedOptions) {
    this.#inner = inner
    this.#options = options
    this.describe = inner.describe
  }

  /** By its name: `web/eth0`. */
  device(name: string): ImpairedDevice | undefined {
    return this.#devices.get(name)
  }

  prepare(sandbox: { readonly name: string; readonly netns: string }): void {
    this.#inner.prepare(sandbox)
  }

  async attach(request: LinkRequest): Promise<Device> {
    const device = new ImpairedDevice(await this.#inner.attach(request), this.#options)
    this.#devices.set(request.deviceName, device)
    return device
  }

  borrow(request: BorrowRequest): Borrowed {
    return this.#inner.borrow(request)
  }

  detach(device: Device): void {
    if (!(device instanceof ImpairedDevice)) return this.#inner.detach(device)
    if (this.#devices.get(device.name) === device) this.#devices.delete(device.name)
    device.up.abandon()
    device.down.abandon()
    this.#inner.detach(device.inner)
  }

  made(netns: string): boolean {
    return this.#inner.made(netns)
  }

  readdress(device: Device, inside: Inside): void {
    this.#inner.readdress(device instanceof ImpairedDevice ? device.inner : device, inside)
  }

  addressesOf(place: Pick<BorrowRequest, 'interfaceName' | 'netns'>): Address[] {
    return this.#inner.addressesOf(place)
  }

  openSocket(netns: string, family: 4 | 6): number {
    return this.#inner.openSocket(netns, family)
  }

  openHost(request: HostRequest): Promise<HostSide> {
    return this.#inner.openHost(request)
  }

  get makeCipher(): MakeCipher | undefined {
    return this.#inner.makeCipher
  }

  openUnderlay(request: UnderlayRequest): Underlay {
    return this.#inner.openUnderlay(request)
  }

  get handedOver(): HandedOverLinks {
    return this.#inner.handedOver
  }

  release(sandbox: { readonly name: string; readonly netns: string }): void {
    this.#inner.release(sandbox)
  }

  close(): void {
    this.#devices.clear()
    this.#inner.close()
  }
}
