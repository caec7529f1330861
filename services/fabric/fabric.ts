/**
 * tapline as a library: networks and sandboxes by the words of the container network model, in a
 * test file, with the node of the daemon behind them.
 *
 * ```text
 *   fabric.network, sandbox, route ──► desired ──► controller ──► node
 *                                                     │
 *   in memory:  virtual clock, cables, hosts ◄────────┤   sandbox.ping, udp, connect, fetch
 *   on TAPs:    system clock, TAPs, namespaces ◄──────┘   sandbox.exec, sandbox.start
 * ```
 *
 * Each change is applied before its promise resolves; one that cannot be had changes nothing.
 * Closing takes everything away and then closes the books: every packet back in the pool, and in
 * memory no timer left. What is still there is an error, because it is a leak.
 */
import { performance } from 'node:perf_hooks'
import { parsePrefix } from '../../stack/address.ts'
import { StackError } from '../../stack/errors.ts'
import { parseMac } from '../../stack/eth/mac.ts'
import { parseValues } from '../config/parse.ts'
import { Controller } from '../controller.ts'
import { type Log, QUIET } from '../log.ts'
import type { EndpointDetail } from '../views.ts'
import { Capture } from './capture.ts'
import {
  added,
  type Desired,
  drained,
  joined,
  type Kind,
  left,
  type NetworkOptions,
  networkEntry,
  type RouteOptions,
  removed,
  routeEntry,
  type SandboxOptions,
  type ServiceOptions,
  sandboxEntry,
  serviceEntry,
} from './desired.ts'
import { closed, sleep } from './driver.ts'
import type { Host } from './host.ts'
import { FabricLink, type LinkLanes } from './link.ts'
import { addressNamed } from './names.ts'
import { uniqueNetns } from './namespaces.ts'
import { checkOptions, FABRIC, TIME_MS } from './options.ts'
import { LIMITS, openPlatform, type Platform, type PlatformOptions } from './platform.ts'
import { type Replayed, type ReplayOptions, replay } from './replay.ts'
import { Sandbox, type SandboxHome } from './sandbox.ts'
import type { FabricNetwork, FabricService } from './types.ts'

export interface FabricOptions extends PlatformOptions {
  /** Default `fabric`. */
  readonly name?: string
  /** Where the node tells what happens; left out: nowhere. */
  readonly log?: Log
}

/**
 * A new, empty fabric.
 *
 * @throws StackError if its devices cannot be had, or options are not what there is.
 */
export async function createFabric(options: FabricOptions = {}): Promise<Fabric> {
  checkOptions('options of a fabric', FABRIC, options)
  return new Fabric(options, await openPlatform(options))
}

/** Owns all that is made with it: {@link Fabric.close}, or `await using`, takes it away. */
export class Fabric implements AsyncDisposable {
  /** The node's own views: `ls`, `inspect`, `fdb`, `neigh`, `routes`, `stats`, `drops`, `trace`. */
  readonly controller: Controller
  readonly #platform: Platform
  readonly #sandboxes = new Map<string, Sandbox>()
  #desired: Desired
  #last: Promise<unknown> = Promise.resolve()
  #closed: Promise<void> | undefined

  /** Use {@link createFabric}. */
  constructor({ name = 'fabric', log = QUIET }: FabricOptions, platform: Platform) {
    const { pool, random, driver, links, dns, onDevice } = platform
    const { clock } = driver
    this.#platform = platform
    this.#desired = { name, networks: {}, sandboxes: {}, services: {}, routes: [] }
    const options = { pool, clock, random, links, log, dns, onDevice }
    this.controller = new Controller({ ...options, ...LIMITS })
  }

  /** Milliseconds since some fixed point, by the fabric's clock. */
  get nowMs(): number {
    return this.#platform.driver.clock.nowMs
  }

  /** A new network. @throws StackError `bad-config`, `exists`, `exhausted`. */
  async network(name: string, options: NetworkOptions = {}): Promise<FabricNetwork> {
    await this.#change((desired) => added(desired, 'networks', name, networkEntry(name, options)))
    return { name, remove: () => this.#remove('networks', name) }
  }

  /** A new sandbox. @throws StackError `bad-config`, `exists`, `exhausted`. */
  async sandbox(name: string, options: SandboxOptions = {}): Promise<Sandbox> {
    const netns = this.#platform.memory === undefined ? uniqueNetns(name) : name
    await this.#change((desired) =>
      added(desired, 'sandboxes', name, sandboxEntry(name, netns, options)),
    )
    const sandbox = new Sandbox(name, netns, this.#home)
    this.#sandboxes.set(name, sandbox)
    return sandbox
  }

  /** A new service. @throws StackError `bad-config`, `exists`, `exhausted`. */
  async service(name: string, options: ServiceOptions): Promise<FabricService> {
    await this.#change((desired) => added(desired, 'services', name, serviceEntry(options)))
    const { vips = [] } = this.controller.services().find((row) => row.name === name) ?? {}
    const drain = (backend: string): Promise<void> =>
      this.#change((desired) => drained(desired, name, backend))
    return { name, vips, drain, remove: () => this.#remove('services', name) }
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

  /** The way between a sandbox and a network: for faults. @throws StackError. */
  link(sandbox: string, network: string): FabricLink {
    this.#assertOpen()
    return new FabricLink(this.#deviceOf(sandbox, network), (device) => this.#lanes(device))
  }

  /**
   * Nothing passes between two sandboxes, or two groups of them, whichever way it goes; all else
   * does. Returns what heals it. @throws StackError.
   */
  partition(some: string | readonly string[], others: string | readonly string[]): () => void {
    this.#assertOpen()
    const pairs = [some].flat().flatMap((a) => [others].flat().map((b) => [a, b] as const))
    const parts = pairs.flatMap(([a, b]) => [this.#deafness(a, b), this.#deafness(b, a)])
    const set = (deaf: boolean): void => {
      for (const part of parts) part(deaf)
    }
    set(true)
    return () => set(false)
  }

  /** Capture frames from now on: of some devices (`web/eth0`), or of all. @throws StackError. */
  capture(devices: readonly string[] | 'all' = 'all'): Capture {
    this.#assertOpen()
    const { isVirtual, driver } = this.#platform
    const originMs = isVirtual ? 0 : performance.timeOrigin
    return new Capture(this.controller, devices, () => (originMs + driver.clock.nowMs) * 1000)
  }

  /** Frames of a capture come in by a device (`web/eth0`): see replay.ts. @throws StackError. */
  async replay(
    device: string,
    capture: string | Uint8Array,
    options: ReplayOptions = {},
  ): Promise<Replayed> {
    this.#assertOpen()
    const { driver } = this.#platform
    return await replay(this.controller, driver, { device, capture, options })
  }

  /** Let so much time pass. @throws StackError `bad-argument`. */
  async advance(ms: number): Promise<void> {
    checkOptions('time to pass, in ms', TIME_MS, ms)
    await sleep(this.#platform.driver, ms)
  }

  /**
   * Let time pass until something of the test's own has happened, such as the promise of a client
   * that works on a stream or an agent of a sandbox's.
   */
  run<T>(work: Promise<T> | (() => Promise<T>)): Promise<T> {
    const { driver } = this.#platform
    return driver.until((resolve, reject) => {
      const promise = typeof work === 'function' ? work() : work
      void promise.then(resolve, reject).finally(() => driver.stir())
      driver.stir()
      return undefined
    })
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
    driver: () => this.#platform.driver,
    host: (netns) => {
      this.#assertOpen()
      return this.#platform.memory && this.#hostIn(netns)
    },
    tcp: () => this.#platform.tcp!,
    addressesOf: (sandbox) =>
      new Map(this.#endpointsOf(sandbox).map((e) => [e.network, e.addresses])),
    addressNamed: (sandbox, name) => {
      this.#assertOpen()
      return addressNamed(this.controller, sandbox, name)
    },
    join: (sandbox, network, options) =>
      this.#change((desired) => joined(desired, { sandbox, network }, options)),
    leave: (sandbox, network) => this.#change((desired) => left(desired, sandbox, network)),
    removeSandbox: async (name) => {
      await this.#remove('sandboxes', name)
      this.#sandboxes.delete(name)
    },
  }

  #assertOpen(): void {
    if (this.#closed !== undefined) throw closed()
  }

  /** One change after the other; one that fails is as if it had not been asked for. */
  #change(next: (desired: Desired) => Desired): Promise<void> {
    const result = this.#last.then(async () => {
      this.#assertOpen()
      const desired = next(this.#desired)
      await this.controller.apply(parseValues(desired, desired.name))
      this.#desired = desired
    })
    this.#last = result.catch(() => {})
    return result
  }

  #remove(kind: Kind, name: string): Promise<void> {
    return this.#change((desired) => removed(desired, kind, name))
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

  #lanes(device: string): LinkLanes {
    this.#assertOpen()
    const { memory, taps } = this.#platform
    if (memory !== undefined) {
      const { a: down, b: up } = memory.cable(device)
      return { up, down, cut: () => memory.cut(device) }
    }
    const found = taps!.device(device)
    if (found === undefined) throw new StackError('not-found', `no link ${device}`)
    const cut = (): never => {
      throw new StackError('unsupported', 'TAPs are not cut: remove their namespace')
    }
    return { up: found.up, down: found.down, cut }
  }

  /** Makes `listener` deaf to `speaker`, or hear it again. */
  #deafness(listener: string, speaker: string): (deaf: boolean) => void {
    const [here, there] = [this.get(listener), this.get(speaker)]
    const { memory, taps } = this.#platform
    if (memory !== undefined) {
      const [ear, mouth] = [this.#hostIn(here.netns), this.#hostIn(there.netns)]
      return (deaf) => ear.setDeaf(mouth, deaf)
    }
    const devices = this.#endpointsOf(listener).map(({ device }) => taps!.device(device ?? ''))
    const stations = this.#endpointsOf(speaker).map(({ mac, addresses }) => ({
      mac: parseMac(mac!),
      addresses: addresses.map((written) => parsePrefix(written).address),
    }))
    return (deaf) => {
      for (const device of devices) {
        for (const station of stations) device?.setDeaf(station, deaf)
      }
    }
  }

  #endpointsOf(sandbox: string): readonly EndpointDetail[] {
    this.#assertOpen()
    return this.controller.inspect(sandbox).sandboxes[0]?.endpoints ?? []
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
      await Promise.all([...this.#sandboxes.values()].map((sandbox) => sandbox.stopAll()))
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
