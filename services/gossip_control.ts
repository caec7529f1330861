/**
 * Gossip beside a controller: runs while the configuration has `node.gossip`, and gives the node's
 * overlay networks a source of what other nodes have.
 *
 * It follows the configuration in force: what changed in `node.gossip` or the node's name ends the
 * old membership, with a good-bye, and begins another one. The overlay goes on forwarding by what
 * it was told last only while the source is there; a change of the bind address is a cut. Whom to
 * join, what the file of keys holds, and how long the dead count, changes without that. Each is a
 * step, so that `apply` says beforehand what it will do.
 */
import { dirname, resolve } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { formatAddress } from '../stack/address.ts'
import type { SystemClock } from '../stack/clock.ts'
import { StackError } from '../stack/errors.ts'
import type { Random } from '../stack/random.ts'
import type { GossipConfig, NodeConfig } from './config/overlay_model.ts'
import type { GossipAction, StepReport } from './diff.ts'
import { checkKeys, Gossip } from './gossip/gossip.ts'
import { GossipSource } from './gossip/gossip_source.ts'
import type { Log } from './log.ts'
import type { Overlays } from './overlay/overlays.ts'

export interface GossipControlOptions {
  readonly clock: SystemClock
  readonly random: Random
  readonly log: Log
  readonly overlays: Overlays
  /** The configuration file: names of other files are relative to it. */
  readonly file: string
}

interface Running {
  readonly gossip: Gossip
  readonly source: GossipSource
  /** Of what it was made. */
  readonly made: string
  readonly name: string
  /** As it is now. */
  config: GossipConfig
}

export class GossipControl {
  readonly #options: GossipControlOptions
  #running: Running | undefined

  constructor(options: GossipControlOptions) {
    this.#options = options
  }

  /** @throws StackError `not-found` where there is none. */
  get gossip(): Gossip {
    if (this.#running !== undefined) return this.#running.gossip
    throw new StackError('not-found', 'there is no gossip: the file has no "node.gossip"')
  }

  /** What {@link apply} would do now. @throws StackError: the file of keys has a fault. */
  preview(node: NodeConfig | undefined): StepReport[] {
    const running = this.#running
    const wanted = node?.gossip && describe(node)
    const step = (action: GossipAction, subject: string, detail: string): StepReport[] => {
      return [{ action, subject, detail }]
    }
    if (node?.gossip === undefined || wanted === undefined) {
      return running === undefined ? [] : step('stop-gossip', running.name, '')
    }
    const { host, port } = node.gossip.bind
    const place = `${host} port ${port}`
    const isMade = running?.made === wanted
    const keys = this.#keysFile(node.gossip)
    if (!isMade && keys !== undefined) checkKeys(keys)
    if (running === undefined) return step('start-gossip', node.name, place)
    if (!isMade) return step('restart-gossip', node.name, place)
    const changes = amended(running, node.gossip)
    return changes.length === 0 ? [] : step('update-gossip', node.name, changes.join(', '))
  }

  /** Bring it to what the configuration says; what was done. @throws StackError */
  async apply(node: NodeConfig | undefined): Promise<StepReport[]> {
    const steps = this.preview(node)
    if (steps.length === 0) return steps
    if (steps[0]!.action === 'update-gossip') this.#amend(node!.gossip!)
    else await this.#begin(node)
    return steps
  }

  /** Its name is relative to that of the configuration. */
  #keysFile({ keysFile }: GossipConfig): string | undefined {
    return keysFile === undefined ? undefined : resolve(dirname(this.#options.file), keysFile)
  }

  /** Leave the cluster, and enter the one that the configuration says. */
  async #begin(node: NodeConfig | undefined): Promise<void> {
    await this.close()
    if (node?.gossip === undefined) return
    const { clock, random, log, overlays } = this.#options
    const { address } = node.underlay
    const gossip = await Gossip.open({
      clock,
      random,
      log,
      name: node.name,
      tags: { vtep: formatAddress(address) },
      config: { ...node.gossip, keysFile: this.#keysFile(node.gossip) },
    })
    const boot = Date.now()
    const source = new GossipSource({
      cluster: gossip.serf,
      clock,
      random,
      vtep: address,
      boot,
      keepDeadMs: node.gossip.endpointTimeoutMs,
    })
    const made = describe(node)
    this.#running = { gossip, source, made, name: node.name, config: node.gossip }
    overlays.addSource(source)
    // Whoever is not there yet is tried again; the networks of this node need not wait.
    void gossip.join()
  }

  /** What needs no good-bye. @throws StackError; the keys are then as they were. */
  #amend(config: GossipConfig): void {
    const running = this.#running!
    const { gossip, source } = running
    gossip.reloadKeys()
    source.tables.keepDeadMs = config.endpointTimeoutMs
    if (!isDeepStrictEqual(running.config.join, config.join)) gossip.rejoin(config.join)
    running.config = config
  }

  /** Leave the cluster. Idempotent. */
  async close(): Promise<void> {
    const running = this.#running
    if (running === undefined) return
    this.#running = undefined
    this.#options.overlays.removeSource(running.source)
    await running.source.close()
    await running.gossip.close()
  }
}

/** All for which a node has to leave and join anew. */
function describe({ name, underlay, gossip }: NodeConfig): string {
  const rest = gossip && { ...gossip, join: undefined, endpointTimeoutMs: undefined }
  return JSON.stringify([name, formatAddress(underlay.address), rest])
}

/** Keys of the file whose change needs no good-bye, and which have changed. */
function amended({ gossip, config }: Running, next: GossipConfig): string[] {
  const changes: string[] = []
  if (!isDeepStrictEqual(config.join, next.join)) changes.push('join')
  if (config.endpointTimeoutMs !== next.endpointTimeoutMs) changes.push('endpoint_timeout')
  if (gossip.hasOtherKeys()) changes.push('keys')
  return changes
}
