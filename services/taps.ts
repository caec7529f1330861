/**
 * Sandboxes made of network namespaces, their interfaces TAPs: the {@link Links} of a router
 * process. A TAP is opened inside its namespace, so it is born under its final name and never
 * seen elsewhere; everything about it is set through rtnetlink before the first frame is read.
 *
 * No descriptor of a namespace is kept: it must be able to die under us, and its TAPs with it.
 */
import { existsSync, writeFileSync } from 'node:fs'
import type { Device, Offload } from '../stack/device.ts'
import type { Engine } from '../stack/engine.ts'
import { StackError } from '../stack/errors.ts'
import { putMac } from '../stack/eth/mac.ts'
import { Tap } from '../stack/eth/tap.ts'
import { Netlink } from '../stack/native/netlink.ts'
import { addNetns, deleteNetns, inNetns, isNamed, netnsExists } from '../stack/native/netns.ts'
import type { Pool } from '../stack/packet.ts'
import type { LinkRequest, Links } from './links.ts'

/**
 * Frames that the kernel queues towards us. TCP fills a receiver's window (some 6 MB) before it
 * hears of loss: at 1,500 octets a frame that takes 4,096 places, as super-frames a quarter.
 */
const QUEUE_PLAIN = 4096
const QUEUE_SUPER = 1000

interface Place {
  readonly netns: string
  readonly interfaceName: string
}

interface SandboxName {
  readonly name: string
  readonly netns: string
}

export class TapLinks implements Links {
  readonly describe: string
  readonly #pool: Pool
  readonly #engine: Engine
  readonly #offload: Offload
  /** Where each device's interface is. */
  readonly #attached = new Map<Device, Place>()
  /** Interfaces that are closed and may not be quite gone, as `netns interface`. */
  readonly #closed = new Set<string>()
  /** Namespaces that we made, by name. */
  readonly #made = new Set<string>()

  /** `offload`: what the kernel was found to do; see probe.ts. */
  constructor({ pool, engine, offload }: { pool: Pool; engine: Engine; offload: Offload }) {
    this.#pool = pool
    this.#engine = engine
    this.#offload = offload
    this.describe = `tap (${engine.name})`
  }

  prepare({ netns }: SandboxName): void {
    if (netnsExists(netns)) return
    if (!isNamed(netns)) throw new StackError('not-found', `no network namespace ${netns}`)
    addNetns(netns)
    this.#made.add(netns)
    inNetns(netns, () => withNetlink((netlink) => bringUp(netlink, 'lo')))
  }

  attach(request: LinkRequest): Device {
    return inNetns(request.netns, () => {
      if (this.#closed.delete(key(request))) withNetlink((netlink) => remove(netlink, request))
      const tap = new Tap({
        pool: this.#pool,
        engine: this.#engine,
        interfaceName: request.interfaceName,
        name: request.deviceName,
        mtuBytes: request.mtuBytes,
        offload: request.offload && this.#offload.tso,
      })
      try {
        withNetlink((netlink) => configure(netlink, request, tap))
        tap.start()
      } catch (error) {
        tap.close()
        throw error
      }
      const { netns, interfaceName } = request
      this.#attached.set(tap, { netns, interfaceName })
      return tap
    })
  }

  detach(device: Device): void {
    const place = this.#attached.get(device)
    if (place !== undefined) this.#closed.add(key(place))
    this.#attached.delete(device)
    device.close()
  }

  release({ netns }: SandboxName): void {
    for (const entry of this.#closed) if (entry.startsWith(`${netns} `)) this.#closed.delete(entry)
    if (this.#made.delete(netns)) deleteNetns(netns)
  }

  close(): void {
    for (const device of [...this.#attached.keys()]) this.detach(device)
    for (const netns of [...this.#made]) this.release({ name: netns, netns })
  }
}

function withNetlink<T>(work: (netlink: Netlink) => T): T {
  const netlink = new Netlink()
  try {
    return work(netlink)
  } finally {
    netlink.close()
  }
}

function key({ netns, interfaceName }: Place): string {
  return `${netns} ${interfaceName}`
}

/** Take an interface away now. */
function remove(netlink: Netlink, { interfaceName }: Place): void {
  const link = netlink.link(interfaceName)
  if (link !== undefined) netlink.deleteLink(link.index)
}

function bringUp(netlink: Netlink, name: string): void {
  const link = netlink.link(name)
  if (link !== undefined && !link.up) netlink.setLink(link.index, { up: true })
}

/** Make the interface what was asked for. Precondition: this thread is in its namespace. */
function configure(netlink: Netlink, request: LinkRequest, tap: Tap): void {
  const { interfaceName, mac, mtuBytes, addresses, routes } = request
  const link = netlink.link(interfaceName)
  if (link === undefined) throw new StackError('not-found', `no interface ${interfaceName}`)
  const { index } = link
  const txQueueLen = request.txQueueLen ?? (tap.offload.tso ? QUEUE_SUPER : QUEUE_PLAIN)
  setIpv6(
    interfaceName,
    addresses.some(({ address }) => address.family === 6),
  )
  const macBytes = new Uint8Array(6)
  putMac(macBytes, 0, mac)
  netlink.setLink(index, { mac: macBytes, mtuBytes, txQueueLen })
  netlink.setLink(index, { up: true })
  for (const address of addresses) netlink.addAddress(index, address)
  for (const route of routes) netlink.addRoute(index, route)
}

/** An interface without IPv6 addresses keeps silent, instead of soliciting routers. */
function setIpv6(interfaceName: string, on: boolean): void {
  const file = `/proc/sys/net/ipv6/conf/${interfaceName}/disable_ipv6`
  if (existsSync(file)) writeFileSync(file, on ? '0' : '1')
}
