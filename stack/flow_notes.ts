/**
 * What the flow cache is told while the first packets of a flow take the long way: each element
 * that decides something notes what its decision rests on, so that the cache (ip/flow_cache.ts)
 * knows what to ask before it decides the same without them.
 *
 * ```text
 *   cache: begin(packet) -> bridge: stations -> router: routed -> forward: forwarded, MTU
 *          -> neighbors: next hop -> device's end: sent        an entry of the cache
 *                                 \-> pool.drop: dropped       an entry that drops
 *          policy, on the way in and on the way out: admitted
 * ```
 *
 * A packet with `recorded` set is the one that these notes are about. Whoever does with it what the
 * next packet must see again (answers, queues, floods, fragments it) clears the mark, and nothing
 * is kept. What frames carry is not noted: the cache compares the frame as it came and as it left.
 *
 * Everything else that a decision rests on is configuration, or changes rarely: who changes it
 * calls {@link FlowNotes.changed}, and all entries are void. The pool holds the notes because every
 * element has it.
 */
import type { Output, Packet } from './packet.ts'

/** A table whose entries age by time alone: the FDB of a bridge. */
export interface Ageing {
  /** True if the entry would be found now. */
  isFresh(entry: number): boolean
  /** The station of the entry was heard on the port. */
  refresh(entry: number, port: number): boolean
}

/** Stations at most: source and destination in both bridges on its way, and one in a tunnel. */
const STATIONS_MAX = 5
/** `ports` of a station that is a destination. */
export const NOT_HEARD = -1
/** Ways past a policy: into the node, and out of it. */
export const WAYS = 2
/** No next hop was asked for. */
export const NO_NEIGHBOR = -1

export class FlowNotes {
  /** Counts changes of what all flows rest on. A signed word. */
  epoch = 0
  stationCount = 0
  readonly tables: (Ageing | undefined)[] = new Array<Ageing | undefined>(STATIONS_MAX)
  readonly entries: Int32Array = new Int32Array(STATIONS_MAX)
  /** On which port of the bridge a source is refreshed, or {@link NOT_HEARD}. */
  readonly ports: Int32Array = new Int32Array(STATIONS_MAX)
  /** The router took it: its IP header was checked, and padding cut. */
  routed = false
  /** It is sent on, if hops are left and it fits in so many octets; else 0. */
  mtuBytes = 0
  neighbor: number = NO_NEIGHBOR
  /** What policies admitted it as, by way: flow + 1, 0 for none, and that flow's serial number. */
  readonly policyFlows: Int32Array = new Int32Array(WAYS)
  readonly policySerials: Int32Array = new Int32Array(WAYS)
  /** Hears that the recorded packet goes into `output`, to the device with counters port `port`. */
  left: (packet: Packet, output: Output, port: number) => void = () => {}
  /** Hears that the recorded packet is dropped. */
  dropped: (packet: Packet, reason: number) => void = () => {}

  /** Something that flows may rest on has changed: none that is cached is good any more. */
  readonly changed = (): void => {
    this.epoch = (this.epoch + 1) | 0
  }

  begin(packet: Packet): void {
    packet.recorded = true
    this.stationCount = 0
    this.routed = false
    this.mtuBytes = 0
    this.neighbor = NO_NEIGHBOR
    this.policyFlows.fill(0)
  }

  /** A policy admitted it as a packet of `flow`. */
  admitted(way: number, flow: number, serial: number): void {
    this.policyFlows[way] = flow + 1
    this.policySerials[way] = serial
  }

  /** An entry that ages, of the source if `port` is one, else of the destination. */
  station(packet: Packet, table: Ageing, entry: number, port: number): void {
    const at = this.stationCount++
    if (at >= STATIONS_MAX) {
      packet.recorded = false
      return
    }
    this.tables[at] = table
    this.entries[at] = entry
    this.ports[at] = port
  }
}
