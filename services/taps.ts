/**
 * Sandboxes made of network namespaces, their interfaces TAPs: the {@link Links} of a router
 * process. TAPs are opened in a nameless namespace, where nothing else sees or touches them, and
 * moved from there to their sandbox; everything about them is set through rtnetlink before the
 * first frame is read.
 *
 * No descriptor of a sandbox's namespace is kept: it must be able to die under us, and its TAPs
 * with it. That is also why they are opened elsewhere; see tun.ts.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { networkInterfaces } from 'node:os'
import { isDeepStrictEqual } from 'node:util'
import { type Address, type Prefix, parseAddress } from '../stack/address.ts'
import type { Clock } from '../stack/clock.ts'
import type { Device, Offload } from '../stack/device.ts'
import type { Engine } from '../stack/engine.ts'
import { StackError } from '../stack/errors.ts'
import { packetDevice } from '../stack/eth/af_packet.ts'
import { mac as macAt, putMac } from '../stack/eth/mac.ts'
import { tapDevice } from '../stack/eth/tap.ts'
import type { VnetDevice } from '../stack/eth/vnet_device.ts'
import { inetSocket } from '../stack/native/inet_socket.ts'
import { type LinkInfo, Netlink, withNetlink } from '../stack/native/netlink.ts'
import { anonymousNetns, inNetns, isNamed, Netns, netnsId } from '../stack/native/netns.ts'
import type { Pool } from '../stack/packet.ts'
import type { Random } from '../stack/random.ts'
import { SocketUnderlay } from '../stack/udp/socket_underlay.ts'
import type { Underlay } from '../stack/udp/underlay.ts'
import { findGcm } from '../stack/vxlan/gcm.ts'
import type { MakeCipher } from '../stack/vxlan/seal.ts'
import { splitVlan } from './config/parent.ts'
import { HandedOver } from './handed_over.ts'
import { HostGateway } from './host/gateway.ts'
import { lookInside } from './inside.ts'
import {
  type Borrowed,
  type BorrowRequest,
  type FoundInside,
  type HostRequest,
  type HostSide,
  type Inside,
  type LinkRequest,
  type Links,
  OWN_NETNS,
  queueLength,
  type UnderlayRequest,
} from './links.ts'
import { MadeNamespaces } from './made_netns.ts'

interface Place {
  readonly netns: string
  readonly interfaceName: string
}

interface Attached extends Place, Inside {
  readonly netnsId: number
}

interface SandboxName {
  readonly name: string
  readonly netns: string
}

export interface TapLinksOptions {
  readonly pool: Pool
  readonly engine: Engine
  readonly offload: Offload
  readonly clock: Clock
  readonly random: Random
}

export class TapLinks implements Links {
  readonly describe: string
  readonly #pool: Pool
  readonly #engine: Engine
  readonly #offload: Offload
  readonly #clock: Clock
  readonly #random: Random
  /** Where each device's interface is, and what it has. */
  readonly #attached = new Map<Device, Attached>()
  /** Interfaces that are closed and may not be quite gone, as `netns interface`. */
  readonly #closed = new Set<string>()
  /** Where TAPs are born, and how many were. */
  readonly #nursery: Netns = anonymousNetns()
  #bornCount = 0
  readonly handedOver: HandedOver
  readonly #made = new MadeNamespaces()

  /** `offload`: what the kernel was found to do; see probe.ts. */
  constructor({ pool, engine, offload, clock, random }: TapLinksOptions) {
    this.#pool = pool
    this.#engine = engine
    this.#clock = clock
    this.#random = random
    this.#offload = offload
    this.handedOver = new HandedOver({ pool, engine, offload: offload.tso })
    this.describe = `tap (${engine.name})`
  }

  prepare({ netns }: SandboxName): void {
    this.#made.prepare(netns)
  }

  made(netns: string): boolean {
    return this.#made.has(netns)
  }

  async attach(request: LinkRequest): Promise<Device> {
    if (request.handOver !== undefined) return await this.handedOver.open(request)
    const netns = new Netns(request.netns)
    const { id } = netns
    let tap: VnetDevice | undefined
    try {
      if (this.#closed.delete(key(request))) netns.run(() => remove(request))
      tap = await this.#open(request, netns)
      const { offload } = tap
      netns.run(() => withNetlink((netlink) => configure(netlink, request, offload.tso)))
      tap.start()
    } catch (error) {
      tap?.close()
      throw error
    } finally {
      netns.close()
    }
    const { netns: name, interfaceName, addresses, routes } = request
    this.#attached.set(tap, { netns: name, netnsId: id, interfaceName, addresses, routes })
    return tap
  }

  /** Open a TAP and move it to `netns` under its name. */
  async #open(request: LinkRequest, netns: Netns): Promise<VnetDevice> {
    const born = `tap${this.#bornCount++}`
    const { tap, netlink } = this.#nursery.run(() => {
      const opened = tapDevice({
        pool: this.#pool,
        engine: this.#engine,
        interfaceName: born,
        name: request.deviceName,
        mtuBytes: request.mtuBytes,
        offload: request.offload && this.#offload.tso,
      })
      return { tap: opened, netlink: new Netlink() }
    })
    try {
      const link = netlink.link(born)
      if (link === undefined) throw new StackError('not-found', `no interface ${born}`)
      await netlink.moveLink(link.index, { netnsFd: netns.fd, name: request.interfaceName })
      return tap
    } catch (error) {
      tap.close()
      refuseTaken(request, netns)
      throw error
    } finally {
      netlink.close()
    }
  }

  readdress(device: Device, inside: Inside): void {
    const before = this.#attached.get(device)
    if (before === undefined) throw new StackError('not-found', `no interface ${device.name}`)
    inNetns(before.netns, () => withNetlink((netlink) => exchange(netlink, before, inside)))
    this.#attached.set(device, { ...before, ...inside })
  }

  isAstray(device: Device): boolean {
    const place = this.#attached.get(device)
    return place !== undefined && isNamed(place.netns) && netnsId(place.netns) !== place.netnsId
  }

  addressesOf({ interfaceName, netns }: Pick<BorrowRequest, 'interfaceName' | 'netns'>): Address[] {
    const list = inNetns(netns ?? OWN_NETNS, () => networkInterfaces()[interfaceName])
    return (list ?? []).filter(({ scopeid }) => !scopeid).map((own) => parseAddress(own.address))
  }

  lookInside(netns: string, interfaceName: string): FoundInside | undefined {
    return lookInside(netns, interfaceName)
  }

  borrow({ interfaceName, netns, deviceName, ...hearing }: BorrowRequest): Borrowed {
    const open = (): Borrowed => {
      const { link, vid } = findParent(interfaceName, netns)
      const mac = macAt(link.mac, 0)
      const { device, setStations } = packetDevice({
        ...hearing,
        pool: this.#pool,
        engine: this.#engine,
        interfaceIndex: link.index,
        interfaceMac: mac,
        vid,
        name: deviceName,
        mtuBytes: link.mtuBytes,
      })
      device.start()
      return { device, mac, setStations }
    }
    return netns === undefined ? open() : inNetns(netns, open)
  }

  detach(device: Device): void {
    if (this.handedOver.close(device)) return
    const place = this.#attached.get(device)
    if (place !== undefined && !this.isAstray(device)) this.#closed.add(key(place))
    this.#attached.delete(device)
    device.close()
  }

  openHost(request: HostRequest): Promise<HostSide> {
    return HostGateway.open(this, request)
  }

  openSocket(netns: string, family: 4 | 6): number {
    const open = (): number => inetSocket('tcp', family)
    return netns === '' ? open() : inNetns(netns, open)
  }

  /** OpenSSL's functions are looked up only where a tunnel needs them. */
  get makeCipher(): MakeCipher | undefined {
    return findGcm()
  }

  openUnderlay({ log, ...request }: UnderlayRequest): Underlay {
    return new SocketUnderlay({
      pool: this.#pool,
      engine: this.#engine,
      clock: this.#clock,
      seed: this.#random.bits(),
      onProblem: (text) => log.warn({}, text),
      ...request,
    })
  }

  release({ netns }: SandboxName): void {
    for (const entry of this.#closed) if (entry.startsWith(`${netns} `)) this.#closed.delete(entry)
    this.#made.remove(netns)
  }

  close(): void {
    for (const device of [...this.#attached.keys()]) this.detach(device)
    this.handedOver.closeAll()
    this.#nursery.close()
    this.#made.removeAll()
  }
}

function key({ netns, interfaceName }: Place): string {
  return `${netns} ${interfaceName}`
}

/** @throws StackError `exists` if another interface has the name. */
function refuseTaken({ interfaceName, netns: where }: LinkRequest, netns: Netns): void {
  const there = netns.run(() => withNetlink((netlink) => netlink.link(interfaceName)))
  if (there === undefined) return
  const hint = 'remove it there, or ask for another name'
  throw new StackError('exists', `${where} has an interface ${interfaceName} already: ${hint}`)
}

/** Take an interface away now. Precondition: this thread is in its namespace. */
function remove({ interfaceName }: Place): void {
  withNetlink((netlink) => {
    const link = netlink.link(interfaceName)
    if (link !== undefined) netlink.deleteLink(link.index)
  })
}

/**
 * The interface of that name; else, of `eth0.10`, the interface `eth0` and VLAN 10.
 * @throws StackError `not-found`, `bad-argument` if it is down.
 */
function findParent(name: string, netns: string | undefined): { link: LinkInfo; vid: number } {
  const { base, vid } = splitVlan(name)
  const where = netns === undefined ? '' : ` in ${netns}`
  const found = withNetlink((netlink) => {
    const whole = netlink.link(name)
    if (whole !== undefined) return { link: whole, vid: 0 }
    const link = vid === 0 ? undefined : netlink.link(base)
    return link && { link, vid }
  })
  if (found === undefined) throw new StackError('not-found', `no interface ${base}${where}`)
  if (!found.link.up) throw new StackError('bad-argument', `${found.link.name}${where} is down`)
  return found
}

/** Make the interface what was asked for. Precondition: this thread is in its namespace. */
function configure(netlink: Netlink, request: LinkRequest, superFrames: boolean): void {
  const { interfaceName, mac, mtuBytes, addresses, routes } = request
  const link = netlink.link(interfaceName)
  if (link === undefined) throw new StackError('not-found', `no interface ${interfaceName}`)
  const { index } = link
  const txQueueLen = request.txQueueLen ?? queueLength(superFrames)
  setIpv6(interfaceName, addresses)
  const macBytes = new Uint8Array(6)
  putMac(macBytes, 0, mac)
  netlink.setLink(index, { mac: macBytes, mtuBytes, txQueueLen })
  if (superFrames && request.segmentsMax !== undefined) {
    netlink.setLink(index, { segmentsMax: request.segmentsMax })
  }
  netlink.setLink(index, { up: true })
  for (const address of addresses) netlink.addAddress(index, address)
  for (const route of routes) netlink.addRoute(index, route)
}

/** What only `before` has goes, and what only `after` has comes. */
function exchange(netlink: Netlink, before: Attached, after: Inside): void {
  const link = netlink.link(before.interfaceName)
  if (link === undefined) throw new StackError('not-found', `no interface ${before.interfaceName}`)
  const { index } = link
  setIpv6(before.interfaceName, after.addresses)
  const only = <T>(own: readonly T[], other: readonly T[]): T[] =>
    own.filter((one) => !other.some((same) => isDeepStrictEqual(one, same)))
  for (const route of only(before.routes, after.routes)) netlink.deleteRoute(index, route)
  for (const address of only(before.addresses, after.addresses)) {
    netlink.deleteAddress(index, address)
  }
  for (const address of only(after.addresses, before.addresses)) netlink.addAddress(index, address)
  // Routes of an address that went may have gone with it.
  for (const route of after.routes) netlink.addRoute(index, route)
}

/**
 * An interface without IPv6 addresses keeps silent, instead of soliciting routers. In a container
 * whose /proc/sys is read-only it solicits, which does no harm; with IPv6 it is an error.
 */
function setIpv6(interfaceName: string, addresses: readonly Prefix[]): void {
  const on = addresses.some(({ address }) => address.family === 6)
  const file = `/proc/sys/net/ipv6/conf/${interfaceName}/disable_ipv6`
  const value = on ? '0' : '1'
  if (!existsSync(file) || readFileSync(file, 'utf8').trim() === value) return
  try {
    writeFileSync(file, value)
  } catch (error) {
    if (on || (error as NodeJS.ErrnoException).code !== 'EROFS') throw error
  }
}
