/**
 * Repair, every {@link RECONCILE_MS}: what tables of overlay networks say is compared with what
 * sources say, and mended where it differs. Nothing should ever differ; if something does, it is
 * counted and logged, since it is a fault of ours, or a table that was full.
 */
import { parseAddress } from '../../stack/address.ts'
import { type Cancel, type Clock, every } from '../../stack/clock.ts'
import { StackError } from '../../stack/errors.ts'
import { parseMac } from '../../stack/eth/mac.ts'
import type { FlowCache } from '../../stack/ip/flow_cache.ts'
import type { Router } from '../../stack/ip/router.ts'
import type { Pool } from '../../stack/packet.ts'
import type { Log } from '../log.ts'
import { compare, type Difference } from './compare.ts'
import type { OverlayNetwork } from './overlay_network.ts'

/** Often enough that nobody waits for long, and a hundred networks of a thousand cost nothing. */
const RECONCILE_MS = 30_000

export interface ReconcilerOptions {
  readonly clock: Clock
  readonly log: Log
  readonly pool: Pool
  readonly router: Router
  readonly flows: FlowCache | undefined
  readonly networks: () => readonly OverlayNetwork[]
}

export class Reconciler {
  /** Differences that were found and mended since the start. */
  repaired = 0
  readonly #options: ReconcilerOptions
  #cancel: Cancel | undefined = undefined

  constructor(options: ReconcilerOptions) {
    this.#options = options
  }

  /** Idempotent. */
  start(): void {
    this.#cancel ??= every(this.#options.clock, RECONCILE_MS, () => this.run())
  }

  /** Idempotent. */
  stop(): void {
    this.#cancel?.()
    this.#cancel = undefined
  }

  /** Compare and mend now; what differed. */
  run(): Difference[] {
    const { networks, log } = this.#options
    const all = networks().flatMap((network) => {
      const differences = compare(network, this.#options)
      for (const difference of differences) this.#mend(network, difference)
      if (differences.length > 0) network.reapply()
      return differences
    })
    this.repaired += all.length
    if (all.length > 0) {
      log.warn({ count: all.length, first: all[0] }, 'tables of overlay networks were mended')
    }
    return all
  }

  /** Take away what should not be there; what should is put in by `reapply`. */
  #mend(network: OverlayNetwork, { vni, table, key, expected, found }: Difference): void {
    const segment = network.segments.find((candidate) => candidate.vni === vni)
    if (segment === undefined || found === null) return
    try {
      if (table === 'flows') this.#options.pool.notes.changed()
      else if (table === 'neighbors') network.forget(parseAddress(key))
      else if (table === 'bindings') network.bindings.delete(parseAddress(key))
      else if (expected !== null) return
      else if (table === 'members') segment.tunnel.removeMember(parseAddress(key))
      else if (table === 'tunnel') segment.tunnel.removeStation(parseMac(key))
      else network.bridge.removeStatic(parseMac(key), segment.vid)
    } catch (error) {
      if (!(error instanceof StackError)) throw error
      this.#options.log.warn({ network: network.name, err: error }, 'a table was not mended')
    }
  }
}
