/**
 * Gossip beside a controller: runs while the configuration has `node.gossip`, and gives the node's
 * overlay networks a source of what other nodes have.
 *
 * It follows the configuration in force: what changed in `node.gossip` or the node's name ends the
 * old membership, with a good-bye, and begins another one. The overlay goes on forwarding by what
 * it was told last only while the source is there; a change of the bind address is a cut. What the
 * file of keys holds, and how long the dead count, changes without that.
 */
import { dirname, resolve } from 'node:path'
import { formatAddress } from '../stack/address.ts'
import type { SystemClock } from '../stack/clock.ts'
import { StackError } from '../stack/errors.ts'
import type { Random } from '../stack/random.ts'
import type { GossipConfig, NodeConfig } from './config/overlay_model.ts'
import { Gossip } from './gossip/gossip.ts'
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

  /** Bring it to what the configuration says. @throws StackError */
  async apply(node: NodeConfig | undefined): Promise<void> {
    const made = node?.gossip && describe(node)
    if (made === this.#running?.made) {
      if (node?.gossip !== undefined) this.#amend(node.gossip)
      return
    }
    await this.close()
    if (node?.gossip === undefined || made === undefined) return
    const { clock, random, log, overlays, file } = this.#options
    const { keysFile } = node.gossip
    const keys = keysFile === undefined ? undefined : resolve(dirname(file), keysFile)
    const { address } = node.underlay
    const gossip = await Gossip.open({
      clock,
      random,
      log,
      name: node.name,
      tags: { vtep: formatAddress(address) },
      config: { ...node.gossip, keysFile: keys },
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
    this.#running = { gossip, source, made }
    overlays.addSource(source)
    // Whoever is not there yet is tried again; the networks of this node need not wait.
    void gossip.join()
  }

  /** What needs no good-bye. @throws StackError; the keys are then as they were. */
  #amend({ endpointTimeoutMs }: GossipConfig): void {
    const { gossip, source } = this.#running!
    source.tables.keepDeadMs = endpointTimeoutMs
    gossip.reloadKeys()
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
  const rest = gossip && { ...gossip, endpointTimeoutMs: undefined }
  return JSON.stringify([name, formatAddress(underlay.address), rest])
}
