/**
 * A running daemon: a runtime, the controller on it, and the API in front.
 *
 * ```text
 *   file ──parse──> Config ──> Controller ──> networks, TAPs      (on a Runtime)
 *                                  ↑
 *   unix socket ──> ApiServer ─────┘
 * ```
 *
 * The socket is claimed first, so that a second daemon of the same name is refused before it has
 * made anything. The controller applies configurations one after another; at most
 * {@link WAITING_MAX} wait for their turn.
 *
 * Closing undoes all of it in reverse, attempts everything, and reports what failed together.
 */

import { dirname } from 'node:path'
import type { SystemClock } from '../stack/clock.ts'
import type { Device } from '../stack/device.ts'
import { StackError } from '../stack/errors.ts'
import type { Pool } from '../stack/packet.ts'
import type { Random } from '../stack/random.ts'
import { ApiServer, type Served } from './api.ts'
import { type ApplyAnswer, type ApplyRequest, ConfigFaults, type DaemonInfo } from './api_types.ts'
import { Attachments } from './attachments.ts'
import { attemptAll } from './attempt_all.ts'
import type { NodeLimits } from './build_node.ts'
import type { Config } from './config/model.ts'
import { toConfigAside } from './config_aside.ts'
import { type ConfigText, rereadConfigText } from './config_file.ts'
import { type ApplyReport, Controller } from './controller.ts'
import type { StepReport } from './diff.ts'
import type { DnsHost } from './dns/host.ts'
import type { Events } from './events.ts'
import { GossipControl } from './gossip_control.ts'
import type { Links } from './links.ts'
import type { Log } from './log.ts'
import { packageVersion } from './version.ts'

/** Applies that may wait for the one that runs. */
const WAITING_MAX = 16

/** What a daemon runs on: see runtime.ts, or memory in tests. */
export interface DaemonRuntime {
  readonly pool: Pool
  /** Stands still between breaths; the daemon ticks it when it is asked something. */
  readonly clock: SystemClock
  readonly random: Random
  readonly links: Links
  /** Where names are asked outside; left out: nowhere. */
  readonly dns?: DnsHost
  /** Told of every device, where something must poll it; engines find theirs themselves. */
  readonly onDevice?: (device: Device, added: boolean) => void
  close(): void
}

export interface DaemonOptions {
  readonly runtime: DaemonRuntime
  readonly log: Log
  readonly events: Events
  /** Its configuration file: an absolute path. */
  readonly file: string
  readonly config: Config
  readonly socketPath: string
  readonly limits?: NodeLimits
}

export class Daemon implements Served {
  readonly controller: Controller
  readonly events: Events
  readonly gossip: GossipControl
  readonly attachments: Attachments
  readonly #options: DaemonOptions
  readonly #api: ApiServer
  readonly #startedAt = new Date()
  #state: DaemonInfo['state'] = 'starting'
  #listening: Promise<void> = Promise.resolve()
  /** Applies that have not ended. */
  #applying = 0
  #reading: Promise<unknown> = Promise.resolve()
  #following: Promise<void> = Promise.resolve()
  #closed: Promise<void> | undefined

  constructor(options: DaemonOptions) {
    const { runtime, log, events, limits } = options
    const { pool, clock, random, links, dns, onDevice } = runtime
    this.#options = options
    this.events = events
    this.controller = new Controller({
      pool,
      clock,
      random,
      links,
      log,
      dns,
      ...limits,
      ...(onDevice && { onDevice }),
    })
    const { overlays } = this.controller.node.context
    overlays.folder = dirname(options.file)
    this.gossip = new GossipControl({ clock, random, log, overlays, file: options.file })
    this.attachments = new Attachments(this.controller)
    this.#api = new ApiServer(this)
  }

  /** Listen, and apply the configuration. @throws StackError; close it in every case. */
  async start(): Promise<ApplyReport> {
    this.#listening = this.#api.listen(this.#options.socketPath)
    await this.#listening
    const report = await this.#inTurn(() => this.#apply(this.#options.config))
    this.#refuseIfStopping()
    this.#state = 'ready'
    return report
  }

  refresh(): void {
    this.#options.runtime.clock.tick()
  }

  info(): DaemonInfo {
    const { file, socketPath, config, runtime } = this.#options
    return {
      name: config.name,
      pid: process.pid,
      version: packageVersion(),
      state: this.#state,
      file,
      socket: socketPath,
      links: runtime.links.describe,
      startedAt: this.#startedAt.toISOString(),
    }
  }

  /** @throws ConfigFaults, StackError; the configuration is then as it was before. */
  async apply({ dryRun, ...source }: ApplyRequest): Promise<ApplyAnswer> {
    return await this.#inTurn(async () => {
      const config = await this.#read(source)
      const { name } = this.#options.config
      if (config.name !== name) {
        const message = `this daemon is "${name}", and ${source.file} is for "${config.name}"`
        throw new StackError('bad-argument', message)
      }
      if (!dryRun) return await this.#apply(config)
      const steps = this.controller.preview(this.attachments.merged(config))
      return { steps: [...steps, ...this.gossip.preview(config.node)] }
    })
  }

  /** Apply the file once more: what SIGHUP asks for. Faults are logged, and change nothing. */
  async reload(): Promise<void> {
    const { file, log } = this.#options
    try {
      await this.apply({ ...rereadConfigText(file), dryRun: false })
    } catch (error) {
      const faults = error instanceof ConfigFaults ? error.faults : undefined
      log.error({ file, err: error, ...(faults && { faults }) }, 'the file was not applied again')
    }
  }

  /** Let it be one of those that wait, if there are not too many. */
  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    if (this.#applying > WAITING_MAX) {
      throw new StackError('daemon', `${WAITING_MAX} configurations already wait to be applied`)
    }
    this.#applying++
    try {
      return await work()
    } finally {
      this.#applying--
    }
  }

  /** Read texts one after another, so that they are applied in the order in which they came. */
  #read(source: ConfigText): Promise<Config> {
    const done = this.#reading.then(() => toConfigAside(source))
    this.#reading = done.catch(() => {})
    return done
  }

  async #apply(config: Config): Promise<ApplyReport> {
    this.#refuseIfStopping()
    this.refresh()
    const report = await this.controller.apply(() => this.attachments.merged(config))
    this.controller.node.context.overlays.reloadKeys()
    const gossip = await this.#follow(config)
    return { ...report, steps: [...report.steps, ...gossip] }
  }

  /** Gossip, one configuration after the other. */
  #follow({ node }: Config): Promise<StepReport[]> {
    const done = this.#following.then(async () => {
      return this.#closed === undefined ? await this.gossip.apply(node) : []
    })
    this.#following = done.then(
      () => {},
      () => {},
    )
    return done
  }

  #refuseIfStopping(): void {
    if (this.#closed !== undefined) throw new StackError('daemon', 'this daemon is stopping')
  }

  /**
   * Remove all that was made, also in the middle of an apply. Idempotent.
   *
   * @throws AggregateError with everything that failed.
   */
  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  async #close(): Promise<void> {
    this.#state = 'stopping'
    await Promise.allSettled([this.#listening])
    await attemptAll([
      // Others stop sending here first.
      () => this.#following.then(() => this.gossip.close()),
      () => this.controller.close(),
      () => this.#api.close(),
      () => this.#options.runtime.close(),
    ])
  }
}
