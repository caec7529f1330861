/**
 * One port of a bridge: what it may do, and what the bridge remembers of it. Only bridge.ts makes
 * and changes ports; to everyone else a port is a name and an input.
 */
import type { Cancel, Clock } from '../clock.ts'
import { DropReason } from '../drop.ts'
import type { Output } from '../packet.ts'
import type { Mac } from './mac.ts'
import { Storm, type StormLimits } from './storm.ts'
import { type PortVlanOptions, PortVlans } from './vlan.ts'

export interface BridgePortOptions {
  /** The device's name, for listings and traces; unique in its bridge. */
  readonly name: string
  /** Counters port of the device behind it; 0 for the router's. */
  readonly port: number
  /** Towards the device, or the router. */
  readonly output: Output
  /** Split horizon: frames never pass between two ports of one group. 0 or undefined: none. */
  readonly group?: number
  /** Frames never pass between two isolated ports. */
  readonly isolated?: boolean
  /** False: what is for a station that nobody knows is not flooded to it. Default true. */
  readonly takesUnknown?: boolean
  /** Undefined on a filtering bridge: every VLAN, 1 without a tag (see vlan.ts). */
  readonly vlan?: PortVlanOptions
  /** Spoof guard: the only sources it may use. Undefined: any. */
  readonly macs?: readonly Mac[]
  readonly storm?: StormLimits
  /** One of GroupRole (group_filter.ts). Default: Auto. */
  readonly groupRole?: number
  /** One station at most is behind it. Default: false. */
  readonly fastLeave?: boolean
  /** Most stations it may hold in the FDB, below the bridge's own limit (see fdb.ts). */
  readonly learnedMax?: number
}

/** What `addPort` hands out. */
export interface BridgePort {
  readonly name: string
  /** Frames from the device. Takes ownership. */
  readonly input: Output
  /** Towards the device. May be exchanged; what is between then calls `pool.notes.changed`. */
  output: Output
  /** True while the loop guard has shut it. */
  readonly isShut: boolean
}

/** One port, for listings. */
export interface BridgePortInfo {
  readonly name: string
  /** `shut`: by the loop guard, for its hold time. */
  readonly state: 'forwarding' | 'shut'
  /** Stations it holds in the FDB. */
  readonly learned: number
  /** Sources that were not learned because the port or the table was at its limit. */
  readonly learnRefused: number
  /** Stations that moved to it from another port. */
  readonly moves: number
  readonly group: number
  readonly isolated: boolean
  readonly vlan: PortVlanOptions | undefined
}

export const PortState = { Forwarding: 0, Shut: 1, Removed: 2 } as const

export class Port implements BridgePort {
  readonly name: string
  readonly input: Output
  output: Output
  /** Its number in the FDB, used again after it is removed. */
  readonly index: number
  /** Counts up over the bridge's life: of two ports, the greater was added later. */
  readonly order: number
  /** Counters port of its device. */
  readonly counter: number
  readonly group: number
  readonly isolated: boolean
  readonly takesUnknown: boolean
  readonly learnedMax: number
  readonly options: BridgePortOptions
  /** Undefined: the bridge does not filter VLANs. */
  readonly vlans: PortVlans | undefined
  readonly storm: Storm | undefined
  /** Pairs of words; undefined: any source. */
  readonly #sources: Int32Array | undefined
  state: number = PortState.Forwarding
  learnRefused = 0
  moves = 0
  /** When it was last said that the port learns no more. */
  fullSaidMs: number = Number.NEGATIVE_INFINITY
  cancelReopen: Cancel | undefined = undefined

  constructor(
    options: BridgePortOptions,
    place: {
      index: number
      order: number
      clock: Clock
      filtering: boolean
      input: (port: Port) => Output
    },
  ) {
    this.name = options.name
    this.output = options.output
    this.index = place.index
    this.order = place.order
    this.counter = options.port
    this.group = options.group ?? 0
    this.isolated = options.isolated ?? false
    this.takesUnknown = options.takesUnknown ?? true
    this.learnedMax = options.learnedMax ?? Number.POSITIVE_INFINITY
    this.options = options
    this.vlans = place.filtering ? new PortVlans(options.vlan) : undefined
    this.storm = options.storm === undefined ? undefined : new Storm(options.storm, place.clock)
    this.#sources = options.macs && Int32Array.from(options.macs.flatMap(({ hi, lo }) => [hi, lo]))
    this.input = place.input(this)
  }

  get isShut(): boolean {
    return this.state === PortState.Shut
  }

  /** The spoof guard's answer. `lo` is a signed word. */
  maySend(hi: number, lo: number): boolean {
    const sources = this.#sources
    if (sources === undefined) return true
    for (let i = 0; i < sources.length; i += 2) {
      if (sources[i] === hi && sources[i + 1] === lo) return true
    }
    return false
  }

  /** True if a flooded frame that came in here leaves by `to`; `group`: to a group address. */
  floods(to: Port, vid: number, group: boolean): boolean {
    return (group || to.takesUnknown) && this.refuses(to, vid) < 0
  }

  /** Why a frame of VLAN `vid` that came in here may not leave by `to`; -1 if it may. */
  refuses(to: Port, vid: number): number {
    if (to === this) return DropReason.BridgeSamePort
    if (to.state !== PortState.Forwarding) return DropReason.BridgePortShut
    if (this.isolated && to.isolated) return DropReason.BridgeIsolated
    if (this.group !== 0 && this.group === to.group) return DropReason.BridgeIsolated
    if (to.vlans !== undefined && !to.vlans.carries(vid)) return DropReason.VlanNotAllowed
    return -1
  }
}
