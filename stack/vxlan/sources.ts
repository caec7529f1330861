/**
 * Whom frames that come out of a tunnel say to be from, and who that cannot be: nobody of this
 * node sends by another one. And what the others teach, where learning is asked for.
 *
 * ```text
 *   the gateway's MAC, which every node has       vxlan-gateway     somebody lets it out
 *   this node's MAC, which its routed frames have vxlan-own-source  forged, or it went in a circle
 *   an endpoint of this node                      vxlan-own-source  the same
 * ```
 * If they went on, learning and what hosts know of their neighbors would follow them, and group
 * reports would be taken for the other node's. Endpoints are told by the control plane; stations
 * behind a trunk are not known to it, and not guarded.
 *
 * Bounded by {@link BRIDGE_PORTS_MAX} endpoints, as many as a bridge has ports.
 */
import { i32, u16 } from '../bytes.ts'
import type { Clock } from '../clock.ts'
import { DropReason } from '../drop.ts'
import { AGE_MS, BRIDGE_PORTS_MAX, Fdb } from '../eth/fdb.ts'
import { isGroup } from '../eth/frame.ts'
import { isMacAt, type Mac } from '../eth/mac.ts'
import type { SharedGateway } from './gateway.ts'

export interface SourcesOptions {
  readonly clock: Clock
  readonly seed: number
  /** Undefined: no node has a gateway, or one that is a station like any other. */
  readonly gateway: SharedGateway | undefined
}

export class Sources {
  readonly #gateway: SharedGateway | undefined
  readonly #own: Fdb

  constructor({ clock, seed, gateway }: SourcesOptions) {
    this.#gateway = gateway
    // Asked for each frame, in front of the flow cache: no flow rests on it.
    const changed = (): void => {}
    const entriesMax = BRIDGE_PORTS_MAX
    this.#own = new Fdb({ clock, seed, entriesMax, ageMs: AGE_MS, changed })
  }

  /** The station is one of this node's from now on. Idempotent. @throws StackError `exhausted`. */
  add(mac: Mac): void {
    this.#own.addStatic(0, mac, 0)
  }

  /** It is gone. Idempotent. */
  remove({ hi, lo }: Mac): void {
    this.#own.removeEntry(0, hi, lo | 0)
  }

  /** Why nothing from the source address at `at` may come out; -1 if it may. */
  refusal(mem: Uint8Array, at: number): number {
    const gateway = this.#gateway
    if (gateway !== undefined) {
      if (isMacAt(mem, at, gateway.mac)) return DropReason.VxlanGateway
      if (isMacAt(mem, at, gateway.nodeMac)) return DropReason.VxlanOwnSource
    }
    return this.#own.find(0, u16(mem, at), i32(mem, at + 2)) < 0 ? -1 : DropReason.VxlanOwnSource
  }

  close(): void {
    this.#own.close()
  }
}

/** Note at which node the source address at `at` is, unless that was told. */
export function learn(stations: Fdb, mem: Uint8Array, at: number, peer: number): void {
  const hi = u16(mem, at)
  const lo = i32(mem, at + 2)
  if (isGroup(mem, at) || (hi | lo) === 0) return
  const entry = stations.find(0, hi, lo)
  if (entry < 0) {
    if (stations.mayLearn(peer, Number.POSITIVE_INFINITY)) stations.learn(0, hi, lo, peer)
  } else if (!stations.isStatic(entry) && !stations.refresh(entry, peer)) {
    stations.move(entry, peer)
  }
}
