/**
 * tapline as a library: networks and sandboxes by the words of the container network model, in a
 * test file, with the node of the daemon behind them.
 *
 * ```text
 *   fabric.network, sandbox, route ──► desired ──► controller ──► node
 *                                                     │
 *   in memory:  virtual clock, cables, hosts ◄────────┤   sandbox.ping, sandbox.udp
 *   on TAPs:    system clock, TAPs, namespaces ◄──────┘   sandbox.exec
 * ```
 *
 * Each change is applied before its promise resolves; one that cannot be had changes nothing.
 * Closing takes everything away and then closes the books: every packet back in the pool, and in
 * memory no timer left. What is still there is an error, because it is a leak.
 */
import { StackError } from '../../stack/errors.ts'
import { Controller } from '../controller.ts'
import type { Log } from '../log.ts'
import { Capture } from './capture.ts'
import {
  type Desired,
  endpointEntry,
  type NetworkOptions,
  networkEntry,
  type RouteOptions,
  routeEntry,
  type SandboxOptions,
  sandboxEntry,
  toConfig,
} from './desired.ts'
import { sleep } from './driver.ts'
import type { Host } from './host.ts'
import { FabricLink } from './link.ts'
import { openPlatform, type Platform, type PlatformOptions } from './platform.ts'
import { Sandbox, type SandboxHome } from './sandbox.ts'

// What a user of the library may want to name.
export type { CableFaults } from '../../stack/eth/lane.ts'
export type { Capture } from './capture.ts'
export type {
  EgressRule,
  EndpointOptions,
  IngressRule,
  NetworkOptions,
  PolicyOptions,
  RateOptions,
  SandboxOptions,
} from './desired.ts'
export type { FabricLink } from './link.ts'
export type { PingError, PingOptions, PingReply } from './ping.ts'
export type { Sandbox } from './sandbox.ts'
export type { Message, SendOptions, SocketError, UdpSocket } from './udp.ts'

export interface FabricOptions extends PlatformOptions {
  /** Default `fabric`. */
  readonly name?: string
  /** Where the node tells what happens; left out: nowhere. */
  readonly log?: Log
}

/** A network of a fabric. */
export interface FabricNetwork {
  readonly name: string
  remove(): Promise<void>
}

const SILENT: Log = { info: () => {}, warn: () => {}, error: () => {} }
let namespaces = 0

/**
 * A new, empty fabric.
 *
 * @throws StackError if its devices cannot be had.
 */
export async function createFabric(options: FabricOptions = {}): Promise<Fabric> {
  return new Fabric(options, await openPlatform(options))
}

export class Fabric implements AsyncDisposable {
  /** The node's own views: `ls`, `inspect`, `fdb`, `neigh`, `routes`, `stats`, `drops`, `trace`. */
  readonly controller: Controller
  readonly #platform: Platform
  readonly #sandboxes = new Map<string, Sandbox>()
  #desired: Desired
  #last: Promise<unknown> = Promise.resolve()
  #closed: Promise<void> | undefined

  /** Use {@link createFabric}. */
  constructor({ name = 'fabric', log = SILENT }: FabricOptions, platform: Platform) {
    const { pool, random, driver, links, dns, onDevice } = platform
    const { clock } = driver
    this.#platform = platform
    this.#desired = { name, networks: {}, sandboxes: {}, routes: [] }
    this.controller = new Controller({ pool, clock, random, links, log, dns, onDevice })
  }

  /** Milliseconds since some fixed point, by the fabric's clock. */
  get nowMs(): number {
    return this.#platform.driver.clock.nowMs
  }

  /** A new network. @throws StackError `bad-config`, `exists`, `exhausted`. */
  async network(name: string, options: NetworkOptions = {}): Promise<FabricNetwork> {
    await this.#change((desired) => {
      refuseTwice(desired.networks, name, 'network')
      return { ...desired, networks: { ...desired.networks, [name]: networkEntry(options) } }
    })
    const remove = (): Promise<void> =>
      this.#change((desired) => ({ ...desired, networks: without(desired.networks, name) }))
    return { name, remove }
  }

  /** A new sandbox. @throws StackError `bad-config`, `exists`, `exhausted`. */
  async sandbox(name: string, options: SandboxOptions = {}): Promise<Sandbox> {
    const netns = this.#platform.memory === undefined ? uniqueNetns(name) : name
    await this.#change((desired) => {
      refuseTwice(desired.sandboxes, name, 'sandbox')
      const entry = sandboxEntry(netns, options)
      return { ...desired, sandboxes: { ...desired.sandboxes, [name]: entry } }
    })
    const sandbox = new Sandbox(name, netns, this.#home)
    this.#sandboxes.set(name, sandbox)
    return sandbox
  }

  /** A sandbox by its name. @throws StackError `not-found`. */
  get(name: string): Sandbox {
    const sandbox = this.#sandboxes.get(name)
    if (sandbox === undefined) throw new StackError('not-found', `no sandbox ${name}`)
    return sandbox
  }

  /** A static route of the router. @throws StackError `bad-config`. */
  async route(to: string, options: RouteOptions = {}): Promise<void> {
    await this.#change((desired) => ({
      ...desired,
      routes: [...desired.routes.filter((each) => each['to'] !== to), routeEntry(to, options)],
    }))
  }

  /**
   * Apply what is wanted once more: joins again what was lost.
   */
  async apply(): Promise<void> {
    await this.#change((desired) => desired)
  }

  /** The cable of a sandbox in a network: for faults. In memory only. @throws StackError. */
  link(sandbox: string, network: string): FabricLink {
    return new FabricLink(this.#memory('links'), this.#deviceOf(sandbox, network))
  }

  /**
   * Nothing passes between two sandboxes, or two groups of them, whichever way it goes; all else
   * does. In memory only. Returns what heals it.
   */
  partition(some: string | readonly string[], others: string | readonly string[]): () => void {
    const pairs = [some].flat().flatMap((a) => [others].flat().map((b) => [a, b] as const))
    const hosts = pairs.map(([a, b]) => [this.#hostOf(a), this.#hostOf(b)] as const)
    const set = (deaf: boolean): void => {
      for (const [a, b] of hosts) {
        a.setDeaf(b, deaf)
        b.setDeaf(a, deaf)
      }
    }
    set(true)
    return () => set(false)
  }

  /** Capture frames from now on: of some devices (`web/eth0`), or of all. @throws StackError. */
  capture(devices: readonly string[] | 'all' = 'all'): Capture {
    const { isVirtual, driver } = this.#platform
    const nowUs = isVirtual ? () => driver.clock.nowMs * 1000 : () => Date.now() * 1000
    return new Capture(this.controller, devices, nowUs)
  }

  /** Let so much time pass. */
  advance(ms: number): Promise<void> {
    return sleep(this.#platform.driver, ms)
  }

  /**
   * Take everything away. Idempotent.
   * @throws AggregateError if something could not be; StackError if something was not given back.
   */
  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  readonly #home: SandboxHome = {
    host: (netns) => this.#platform.memory && this.#hostIn(netns),
    addressesOf: (sandbox) =>
      new Map(
        this.controller
          .inspect(sandbox)
          .sandboxes[0]?.endpoints.map((e) => [e.network, e.addresses]),
      ),
    join: (sandbox, network, options) =>
      this.#edit(sandbox, (networks) => ({ ...networks, [network]: endpointEntry(options) })),
    leave: (sandbox, network) => this.#edit(sandbox, (networks) => without(networks, network)),
    removeSandbox: async (name) => {
      await this.#change((desired) => ({ ...desired, sandboxes: without(desired.sandboxes, name) }))
      this.#sandboxes.delete(name)
    },
  }

  /** One change after the other; one that fails is as if it had not been asked for. */
  #change(next: (desired: Desired) => Desired): Promise<void> {
    const result = this.#last.then(async () => {
      if (this.#closed !== undefined) throw new StackError('daemon', 'the fabric is closed')
      const desired = next(this.#desired)
      await this.controller.apply(toConfig(desired))
      this.#desired = desired
    })
    this.#last = result.catch(() => {})
    return result
  }

  #edit(
    sandbox: string,
    next: (networks: Record<string, unknown>) => Record<string, unknown>,
  ): Promise<void> {
    return this.#change((desired) => {
      const entry = desired.sandboxes[sandbox]
      if (entry === undefined) throw new StackError('not-found', `no sandbox ${sandbox}`)
      const networks = next(entry['networks'] as Record<string, unknown>)
      return { ...desired, sandboxes: { ...desired.sandboxes, [sandbox]: { ...entry, networks } } }
    })
  }

  #memory(what: string): NonNullable<Platform['memory']> {
    const { memory } = this.#platform
    if (memory !== undefined) return memory
    throw new StackError('unsupported', `${what} are for fabrics in memory`)
  }

  #hostIn(netns: string): Host {
    const host = this.#memory('hosts').host(netns)
    if (host === undefined) throw new StackError('not-found', `the sandbox in ${netns} is gone`)
    return host
  }

  #hostOf(name: string): Host {
    this.#memory('partitions')
    return this.#hostIn(this.get(name).netns)
  }

  #deviceOf(sandbox: string, network: string): string {
    const [found] = this.controller.inspect(sandbox).sandboxes
    const device = found?.endpoints.find((each) => each.network === network)?.device
    if (device !== undefined && device !== null) return device
    throw new StackError('not-found', `${sandbox} has no interface in ${network}`)
  }

  async #close(): Promise<void> {
    await this.#last
    const { pool, driver, memory } = this.#platform
    try {
      await this.controller.close()
    } finally {
      this.#platform.close()
    }
    const leaks = pool.leaks()
    const timers = memory === undefined ? 0 : driver.pending
    if (leaks.length === 0 && timers === 0) return
    const what = `${leaks.length} packets and ${timers} timers were not given back`
    throw new StackError('daemon', [what, ...leaks].join('\n'))
  }
}

function refuseTwice(entries: Desired['networks'], name: string, what: string): void {
  if (name in entries) throw new StackError('exists', `there is a ${what} ${name} already`)
}

function without<T>(entries: Readonly<Record<string, T>>, name: string): Record<string, T> {
  return Object.fromEntries(Object.entries(entries).filter(([key]) => key !== name))
}

/** Namespaces are the machine's: several fabrics, and several processes, must not meet in one. */
function uniqueNetns(name: string): string {
  return `tl${process.pid}-${namespaces++}-${name}`
}
