/**
 * The way that packets of a flow take through the node: what is asked of each packet before it, and
 * what is done to it. Many flows share one path; nothing of a packet or a connection is in it.
 *
 * ```text
 *   may     would the elements do the same with this packet?   -> false: it goes the long way
 *   hear    what they remember of it: stations heard
 *   touch   what they remember of it if its connection takes it: neighbor used
 *   ends    sent into `output`, or dropped with `reason`
 * ```
 *
 * The checks are the elements' own and in no other order than theirs where it shows: a packet that
 * fails one must be counted, answered or fragmented by the element that knows how.
 */
import { u8 } from '../bytes.ts'
import * as eth from '../eth/frame.ts'
import { type Ageing, type FlowNotes, NO_NEIGHBOR, NOT_HEARD } from '../flow_notes.ts'
import { GsoType, type Output, type Packet } from '../packet.ts'
import { isOffloadFit } from './ingress.ts'
import * as ipv4 from './ipv4.ts'
import * as ipv6 from './ipv6.ts'
import { superHeaderBytes } from './segment.ts'

/** The neighbor cache, as paths use it. */
export interface NextHops {
  /** True if a packet to it would be sent at once, and nothing else be done. */
  isUsable(entry: number): boolean
  /** A packet is sent to it. */
  touch(entry: number): void
}

/** How packets on a path end. */
export interface FlowEnd {
  /** Undefined: they are dropped with `reason`. */
  readonly output: Output | undefined
  /** Counters port of the device it leads to; 0: none. */
  readonly port: number
  readonly reason: number
  /** Addresses or ports are not what they were. */
  readonly translated: boolean
  /** Both MACs with which the frame leaves, in three words. */
  readonly macs: Int32Array
}

export class FlowPath implements FlowEnd {
  readonly output: Output | undefined
  readonly port: number
  readonly reason: number
  readonly translated: boolean
  readonly macs: Int32Array
  /** Of the network it is forwarded to; 0: it is bridged, or dropped before. */
  readonly mtuBytes: number
  readonly #routed: boolean
  readonly #neighbor: number
  readonly #tables: readonly Ageing[]
  readonly #entries: Int32Array
  readonly #ports: Int32Array

  constructor(notes: FlowNotes, end: FlowEnd) {
    const { stationCount } = notes
    this.output = end.output
    this.port = end.port
    this.reason = end.reason
    this.translated = end.translated
    this.macs = end.macs.slice()
    this.mtuBytes = notes.mtuBytes
    this.#routed = notes.routed
    this.#neighbor = notes.neighbor
    this.#tables = notes.tables.slice(0, stationCount).map((table) => table!)
    this.#entries = notes.entries.slice(0, stationCount)
    this.#ports = notes.ports.slice(0, stationCount)
  }

  /** True if it is the path that these notes would make. */
  is(notes: FlowNotes, end: FlowEnd): boolean {
    if (this.output !== end.output || this.reason !== end.reason) return false
    if (this.translated !== end.translated || this.mtuBytes !== notes.mtuBytes) return false
    if (this.#routed !== notes.routed || this.#neighbor !== notes.neighbor) return false
    if (this.#entries.length !== notes.stationCount) return false
    for (let i = 0; i < this.macs.length; i++) if (this.macs[i] !== end.macs[i]) return false
    for (let i = 0; i < this.#entries.length; i++) {
      if (this.#tables[i] !== notes.tables[i] || this.#entries[i] !== notes.entries[i]) return false
      if (this.#ports[i] !== notes.ports[i]) return false
    }
    return true
  }

  /**
   * True if the elements would treat the packet as this path says. Padding is cut off then, if they
   * would; else nothing is changed. Precondition: flow_key.ts read it, of family `four`.
   */
  may(mem: Uint8Array, packet: Packet, four: boolean, nextHops: NextHops): boolean {
    for (let i = 0; i < this.#entries.length; i++) {
      if (!this.#tables[i]!.isFresh(this.#entries[i]!)) return false
    }
    if (!this.#routed) return true
    if (this.#neighbor !== NO_NEIGHBOR && !nextHops.isUsable(this.#neighbor)) return false
    const { head, len } = packet
    const ip = head + eth.HEADER_BYTES
    if (four) {
      if (!ipv4.isIntact(mem, ip)) return false
      packet.len = eth.HEADER_BYTES + ipv4.totalBytes(mem, ip)
    } else packet.len = eth.HEADER_BYTES + ipv6.HEADER_BYTES + ipv6.payloadBytes(mem, ip)
    const least = ip + (four ? ipv4.HEADER_BYTES : ipv6.HEADER_BYTES)
    if (isOffloadFit(packet, least) && this.#isForwardable(mem, packet, ip, four)) return true
    packet.len = len
    return false
  }

  /** After {@link may}: the bridge hears the source, whatever becomes of the packet. */
  hear(): void {
    for (let i = 0; i < this.#entries.length; i++) {
      const port = this.#ports[i]!
      if (port !== NOT_HEARD) this.#tables[i]!.refresh(this.#entries[i]!, port)
    }
  }

  /** The packet takes this path to its end. */
  touch(nextHops: NextHops): void {
    if (this.#neighbor !== NO_NEIGHBOR) nextHops.touch(this.#neighbor)
  }

  #isForwardable(mem: Uint8Array, packet: Packet, ip: number, four: boolean): boolean {
    if (this.mtuBytes === 0) return true
    if (u8(mem, ip + (four ? ipv4.TTL : ipv6.HOP_LIMIT)) <= 1) return false
    let largest = packet.len
    if (packet.gsoType !== GsoType.None) {
      const headers = superHeaderBytes(mem, packet, ip)
      if (headers < 0) return false
      largest = Math.min(packet.len, headers + packet.gsoSize)
    }
    return largest - eth.HEADER_BYTES <= this.mtuBytes
  }
}
