/**
 * TAPs that somebody else moves to a sandbox and configures there, as Docker does with what its
 * network plugins hand it.
 *
 * ```text
 *   we: make it here, down, without addresses ──> they: move it, rename it, addresses, up
 *          │                                              │
 *          └── persistent, with an alias ───────> found by the alias after a restart of ours
 * ```
 *
 * Such a TAP is persistent, so that a sandbox keeps its interface while no process of ours runs:
 * without a carrier, so that its connections wait and go on. The alias is what stays the same
 * wherever it is and whatever it is called.
 *
 * A TAP that is opened again is opened where it is by then, so that our descriptor keeps that
 * namespace alive until the endpoint leaves (see tun.ts).
 */
import { setTimeout } from 'node:timers/promises'
import type { Device } from '../stack/device.ts'
import type { Engine } from '../stack/engine.ts'
import { StackError } from '../stack/errors.ts'
import { putMac } from '../stack/eth/mac.ts'
import { tapDevice } from '../stack/eth/tap.ts'
import type { VnetDevice } from '../stack/eth/vnet_device.ts'
import { close } from '../stack/native/libc.ts'
import { withNetlink } from '../stack/native/netlink.ts'
import { inNetns, isNetns } from '../stack/native/netns.ts'
import { openTap, setPersistent } from '../stack/native/tun.ts'
import type { Pool } from '../stack/packet.ts'
import {
  type HandedOverFate,
  type HandedOverLinks,
  type LinkRequest,
  queueLength,
} from './links.ts'

/** Aliases of ours begin like this. */
const ALIAS = 'tapline '
/** A killed process gives its TAPs back when the kernel has ended its I/O; all of them by then. */
const REOPEN_MS = 10_000
const REOPEN_STEP_MS = 20

/** Where such a TAP is. */
interface Found {
  /** Undefined: where the process is. */
  readonly netns: string | undefined
  readonly interfaceName: string
}

export interface HandedOverOptions {
  readonly pool: Pool
  readonly engine: Engine
  /** What the kernel was found to do. */
  readonly offload: boolean
}

export class HandedOver implements HandedOverLinks {
  readonly #options: HandedOverOptions
  /** By device: its name, if another process had made it. */
  readonly #devices = new Map<VnetDevice, string | undefined>()
  /** What another process has left is known: nothing else is looked for in sandboxes again. */
  #settled = false
  /** Those of it that were not taken up yet. */
  readonly #left = new Set<string>()
  #leave = false
  #keeps = false
  /** Until then, waiting for a process that ends is worth it. */
  #patientUntilMs: number | undefined

  constructor(options: HandedOverOptions) {
    this.#options = options
  }

  /** Make one, or take up the one that is there. @throws StackError, and leaves nothing new. */
  async open(request: LinkRequest): Promise<VnetDevice> {
    const name = request.handOver!
    const isNew = this.#settled && !this.#left.has(name)
    const found = isNew ? undefined : find(name, request.netns)
    this.#patientUntilMs ??= performance.now() + REOPEN_MS
    const tap = await patiently(this.#patientUntilMs, () =>
      found === undefined ? this.#make(request, name) : this.#reopen(request, found),
    )
    this.#left.delete(name)
    this.#devices.set(tap, found && name)
    tap.start()
    return tap
  }

  fate(name: string, netns: string): HandedOverFate {
    this.#left.add(name)
    // Docker takes an interface out of a namespace that it ends.
    const isEnded = !isNetns(netns)
    if (!isEnded && find(name, netns) !== undefined) return 'there'
    this.#left.delete(name)
    return isEnded ? 'ended' : 'lost'
  }

  async keeping<T>(work: () => Promise<T>): Promise<T> {
    this.#keeps = true
    try {
      return await work()
    } finally {
      this.#keeps = false
    }
  }

  removeUnclaimed(isOurs: (name: string) => boolean): string[] {
    this.#settled = true
    const all = withNetlink((netlink) => netlink.links())
    const left = all.filter(({ name, alias }) => alias === `${ALIAS}${name}` && isOurs(name))
    return left.flatMap(({ name }) => {
      try {
        const { fd } = openTap(name, false)
        setPersistent(fd, false)
        close(fd)
        return [name]
      } catch {
        // Another process of ours has it.
        return []
      }
    })
  }

  leave(): void {
    this.#leave = true
  }

  /** Close it, and remove it if it is not to be left. False: it is none of these. */
  close(device: Device): boolean {
    const tap = device as VnetDevice
    const taken = this.#devices.get(tap)
    if (!this.#devices.delete(tap)) return false
    const isKept = this.#keeps && taken !== undefined
    if (isKept) this.#left.add(taken)
    try {
      if (!this.#leave && !isKept) setPersistent(tap.fd, false)
    } catch {
      // Its namespace is gone, and it with it.
    }
    tap.close()
    return true
  }

  closeAll(): void {
    for (const device of [...this.#devices.keys()]) this.close(device)
  }

  #make(request: LinkRequest, name: string): VnetDevice {
    const tap = this.#tap(request, name)
    try {
      const mac = new Uint8Array(6)
      putMac(mac, 0, request.mac)
      const txQueueLen = request.txQueueLen ?? queueLength(tap.offload.tso)
      const { mtuBytes } = request
      withNetlink((netlink) => {
        const { index } = netlink.link(name)!
        netlink.setLink(index, { mac, mtuBytes, txQueueLen, alias: `${ALIAS}${name}` })
      })
      setPersistent(tap.fd, true)
      return tap
    } catch (error) {
      tap.close()
      throw error
    }
  }

  #reopen(request: LinkRequest, { netns, interfaceName }: Found): VnetDevice {
    const open = (): VnetDevice => this.#tap(request, interfaceName)
    return netns === undefined ? open() : inNetns(netns, open)
  }

  #tap(request: LinkRequest, interfaceName: string): VnetDevice {
    const { pool, engine, offload } = this.#options
    return tapDevice({
      pool,
      engine,
      interfaceName,
      name: request.deviceName,
      mtuBytes: request.mtuBytes,
      offload: request.offload && offload,
    })
  }
}

/** Open a TAP, and wait until `end` while another process still has it. */
async function patiently(end: number, open: () => VnetDevice): Promise<VnetDevice> {
  for (;;) {
    try {
      return open()
    } catch (error) {
      const busy = error instanceof StackError && error.code === 'exists'
      if (!busy || performance.now() > end) throw error
    }
    await setTimeout(REOPEN_STEP_MS)
  }
}

/** Where the TAP is that was handed over under this name, if it is anywhere. */
function find(name: string, netns: string): Found | undefined {
  const alias = `${ALIAS}${name}`
  const here = withNetlink((netlink) => netlink.link(name))
  if (here?.alias === alias) return { netns: undefined, interfaceName: name }
  if (!isNetns(netns)) return undefined
  const all = inNetns(netns, () => withNetlink((netlink) => netlink.links()))
  const there = all.find((link) => link.alias === alias)
  return there && { netns, interfaceName: there.name }
}
