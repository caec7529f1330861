/**
 * A daemon that Docker configures: the node, the driver in front of it, and the API beside it.
 *
 * ```text
 *   dockerd ── plugin socket ──> PluginServer ──> DockerDriver ──> Controller ──> networks, TAPs
 *   tapline ls, trace, ... ───── API socket ────> ApiServer ──────────┘
 * ```
 *
 * When it ends, interfaces of containers stay where they are, and the next one takes them up; what
 * it set on the host is put back until then.
 */
import { StackError } from '../../stack/errors.ts'
import { ApiServer, type Served } from '../api.ts'
import type { ApplyAnswer, DaemonInfo } from '../api_types.ts'
import { attemptAll } from '../attempt_all.ts'
import type { NodeLimits } from '../build_node.ts'
import { Controller } from '../controller.ts'
import type { DaemonRuntime } from '../daemon.ts'
import type { Events } from '../events.ts'
import type { Log } from '../log.ts'
import { packageVersion } from '../version.ts'
import { Desired, type DesiredOptions, isLinkName, linkName } from './desired.ts'
import { DockerDriver } from './driver.ts'
import { acceptForwarded, refuseForwarded } from './forwarding.ts'
import { RecordFile } from './record_file.ts'
import { PluginServer } from './server.ts'
import { lockState } from './state_lock.ts'

export interface DockerDaemonOptions extends DesiredOptions {
  readonly runtime: DaemonRuntime
  readonly log: Log
  readonly events: Events
  /** Where Docker finds the plugin. */
  readonly pluginPath: string
  /** Where the record is kept. */
  readonly statePath: string
  /** Of the API. */
  readonly socketPath: string
  readonly limits?: NodeLimits
}

export class DockerDaemon implements Served {
  readonly controller: Controller
  readonly events: Events
  readonly driver: DockerDriver
  /** Ports that are added live are Docker's until the container stops. */
  readonly publisher: DockerDriver
  readonly #options: DockerDaemonOptions
  readonly #api: ApiServer
  readonly #plugin: PluginServer
  readonly #startedAt = new Date()
  #state: DaemonInfo['state'] = 'starting'
  #started: Promise<void> = Promise.resolve()
  #closed: Promise<void> | undefined
  /** Interface of the host that Docker's firewall lets through. */
  #accepted: string | undefined
  /** Gives the state file free. Undefined: it is not ours. */
  #unlock: (() => void) | undefined

  constructor(options: DockerDaemonOptions) {
    const { runtime, log, events, limits, statePath } = options
    const { pool, clock, random, links, dns, onDevice } = runtime
    const accept = (interfaceName: string): Promise<void> => this.#accept(interfaceName)
    const own = { ...limits, ...(onDevice && { onDevice }) }
    const node = { pool, clock, random, links, log, dns, accept, ...own }
    this.#options = options
    this.events = events
    this.controller = new Controller(node)
    this.driver = new DockerDriver({
      controller: this.controller,
      desired: new Desired(options),
      links,
      file: new RecordFile(statePath),
      log,
      onHost: options.uplink === 'host',
      refresh: () => this.refresh(),
    })
    this.publisher = this.driver
    this.#api = new ApiServer(this)
    this.#plugin = new PluginServer({
      driver: this.driver,
      log,
      ready: () => this.#started,
      onFirstJoin: () => this.#accept(),
    })
  }

  /** Take up what was there, and answer Docker. @throws StackError; close it in every case. */
  start(): Promise<void> {
    this.#started = this.#start()
    return this.#started
  }

  async #start(): Promise<void> {
    const { socketPath, pluginPath, statePath, log } = this.#options
    await this.#api.listen(socketPath)
    // Nothing of another daemon's is touched before all that is to be ours alone is ours.
    await this.#plugin.listen(pluginPath)
    this.#unlock = lockState(statePath)
    await this.driver.restore()
    const claimed = new Set([...this.driver.record.endpoints.keys()].map(linkName))
    const isLeft = (name: string): boolean => isLinkName(name) && !claimed.has(name)
    for (const name of this.#options.runtime.links.handedOver?.removeUnclaimed(isLeft) ?? []) {
      log.info({ interface: name }, 'removed an interface that nobody claims')
    }
    if (this.#closed !== undefined) throw new StackError('daemon', 'this daemon is stopping')
    this.#state = 'ready'
  }

  /** Docker looks for the plugins of its networks before it makes rules, for containers after. */
  async #accept(interfaceName = this.#accepted): Promise<void> {
    this.#accepted = interfaceName
    if (interfaceName !== undefined) await acceptForwarded(interfaceName, this.#options.log)
  }

  async #refuse(): Promise<void> {
    if (this.#accepted !== undefined) await refuseForwarded(this.#accepted)
  }

  refresh(): void {
    this.#options.runtime.clock.tick()
  }

  info(): DaemonInfo {
    const { statePath, socketPath, name, runtime } = this.#options
    return {
      name,
      pid: process.pid,
      version: packageVersion(),
      state: this.#state,
      file: statePath,
      socket: socketPath,
      links: runtime.links.describe,
      startedAt: this.#startedAt.toISOString(),
    }
  }

  /** @throws StackError: Docker is the only one that says what there is. */
  async apply(): Promise<ApplyAnswer> {
    throw new StackError('unsupported', 'this daemon is configured by Docker, not by a file')
  }

  /** End, and leave containers their interfaces. Idempotent. @throws AggregateError. */
  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  async #close(): Promise<void> {
    this.#state = 'stopping'
    await Promise.allSettled([this.#started])
    const { runtime } = this.#options
    await attemptAll([
      () => this.#plugin.close(),
      () => this.driver.idle(),
      () => this.#refuse(),
      () => runtime.links.handedOver?.leave(),
      () => this.controller.close(),
      () => this.#api.close(),
      () => this.driver.close(),
      () => this.#unlock?.(),
      () => runtime.close(),
    ])
  }
}
