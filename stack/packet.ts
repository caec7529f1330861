/**
 * # Packets
 *
 * One slab of memory cut into fixed slots of two classes, and one `Packet` record per slot. Both
 * are made at start-up; nothing on the data path allocates.
 *
 * ```text
 *   slot             head                  head + len         slot + slotBytes
 *    |--- headroom ---|------- packet -------|----- tailroom -----|
 *              push ←   → pull        trim ←   → put
 * ```
 *
 * Invariant: a packet has exactly one owner. Calling an {@link Output} gives the packet away; every
 * owner ends by calling exactly one Output, `Pool.free` or `Pool.drop`. Flooding therefore copies
 * (`Pool.clone`) and unicast never does.
 *
 * Small slots hold an Ethernet frame of the usual MTU, large ones a 64 KB super-frame. The headroom
 * takes an outer IPv6 + UDP + VXLAN header (or the 10-byte virtio-net header), and is chosen so
 * that the IP header of a received Ethernet frame starts on a cache line.
 *
 * Offload facts travel with the packet, as virtio-net names them: a super-frame (`gsoType`,
 * `gsoSize`) is many segments in one; a partial checksum (`csumStart`, `csumOffset`) is still to
 * be summed from `csumStart` to the end, and its field holds the pseudo-header's sum.
 *
 * Not simpler (one object per packet, made when read) because allocation is what makes JavaScript
 * packet code pause; not reference-counted because a `push` would write over a frame that another
 * port still holds.
 */
import { Counters } from './counters.ts'
import { DROP_NAMES } from './drop.ts'
import { FlowNotes } from './flow_notes.ts'
import type { Trace } from './trace.ts'

/** 114 + 14 = 128: the IP header of a frame at `slot + HEADROOM_BYTES` is 64-byte aligned. */
export const HEADROOM_BYTES = 114
/** Strides are odd multiples of 64, so that the heads of slots spread over all cache sets. */
export const SMALL_SLOT_BYTES = 2112
export const LARGE_SLOT_BYTES = 65_856
/** Largest frame in each class: slot less headroom. */
export const SMALL_FRAME_BYTES: number = SMALL_SLOT_BYTES - HEADROOM_BYTES
export const LARGE_FRAME_BYTES: number = LARGE_SLOT_BYTES - HEADROOM_BYTES

/** Kinds of super-frame; the numbers are virtio-net's. */
export const GsoType = { None: 0, TcpV4: 1, TcpV6: 4, Udp: 5 } as const

/** `Packet.flow` of a packet that no connection is known of. */
export const NO_FLOW = -1

/** Where a packet leaves one element and enters the next. Takes ownership. */
export type Output = (packet: Packet) => void

export class Packet {
  /** First byte of the packet, as an offset into `Pool.mem`. */
  head = 0
  len = 0
  gsoType = 0
  /** Payload bytes a segment; 0 unless a super-frame. */
  gsoSize = 0
  /** Offset into `Pool.mem` from which the checksum is still to be summed; 0: it is complete. */
  csumStart = 0
  /** Where the checksum goes, relative to `csumStart`. */
  csumOffset = 0
  /** Port number (see counters.ts) of the device it came in by; 0: made by this node. */
  ingress = 0
  /** What connection tracking knows of it: see ip/hooks.ts; {@link NO_FLOW} until it was asked. */
  flow: number = NO_FLOW
  /** True if this packet only asks what would happen: elements explain, and change nothing. */
  traced = false
  /** True while the flow cache notes what happens to it: see flow_notes.ts. */
  recorded = false
  /** True between `alloc` and `free`: catches double frees. */
  live = false
  /** Start of the slot in `Pool.mem`, its size, and its number in the pool. */
  readonly slot: number
  readonly slotBytes: number
  readonly index: number

  constructor(slot: number, slotBytes: number, index: number) {
    this.slot = slot
    this.slotBytes = slotBytes
    this.index = index
  }
}

/** Memory for a pool: `address` is where native code sees `bytes[0]`, 0 where none does. */
export interface PacketMemory {
  readonly bytes: Uint8Array
  readonly address: number
}

export interface PoolOptions {
  readonly smallCount: number
  readonly largeCount: number
  /** Backing store of at least {@link poolBytes}; left out: a plain ArrayBuffer. */
  readonly memory?: PacketMemory
  readonly counters?: Counters
  /** Remember who allocated, and poison what is freed: for tests. */
  readonly checked?: boolean
}

/** Bytes of backing store that a pool with these counts needs. */
export function poolBytes(counts: { smallCount: number; largeCount: number }): number {
  return counts.smallCount * SMALL_SLOT_BYTES + counts.largeCount * LARGE_SLOT_BYTES
}

/** A stack of idle packets. A fixed array with a count: JavaScript's `pop` shrinks its store. */
class IdleStack {
  readonly #packets: Packet[] = []
  count = 0

  constructor(first: number, count: number, slot: number, slotBytes: number) {
    for (let i = 0; i < count; i++) {
      this.#packets.push(new Packet(slot + i * slotBytes, slotBytes, first + i))
    }
    this.#packets.reverse()
    this.count = count
  }

  pop(): Packet | undefined {
    return this.count === 0 ? undefined : this.#packets[--this.count]
  }

  push(packet: Packet): void {
    this.#packets[this.count++] = packet
  }

  list(): readonly Packet[] {
    return [...this.#packets]
  }
}

export class Pool {
  readonly mem: Uint8Array
  /** Address of `mem[0]` for native code; 0 where there is none. */
  readonly address: number
  readonly counters: Counters
  /** Every packet by its number. */
  readonly packets: readonly Packet[]
  /** Hears the steps of packets with `traced` set. */
  trace: Trace | undefined = undefined
  /** Hears what the flow of packets with `recorded` set rests on. */
  readonly notes: FlowNotes = new FlowNotes()
  readonly #small: IdleStack
  readonly #large: IdleStack
  readonly #sites: (string | undefined)[] | undefined

  constructor({ smallCount, largeCount, memory, counters, checked = false }: PoolOptions) {
    const bytes = poolBytes({ smallCount, largeCount })
    this.mem = memory?.bytes ?? new Uint8Array(bytes)
    if (this.mem.length < bytes) throw new RangeError(`pool needs ${bytes} bytes of memory`)
    this.address = memory?.address ?? 0
    this.counters = counters ?? new Counters()
    this.#small = new IdleStack(0, smallCount, 0, SMALL_SLOT_BYTES)
    const smallBytes = smallCount * SMALL_SLOT_BYTES
    this.#large = new IdleStack(smallCount, largeCount, smallBytes, LARGE_SLOT_BYTES)
    const all = [...this.#small.list(), ...this.#large.list()]
    this.packets = all.sort((a, b) => a.index - b.index)
    this.#sites = checked ? new Array<string | undefined>(all.length).fill(undefined) : undefined
  }

  /** Idle slots of both classes. */
  get idle(): number {
    return this.#small.count + this.#large.count
  }

  get idleLarge(): number {
    return this.#large.count
  }

  get idleSmall(): number {
    return this.#small.count
  }

  /** An empty packet with room for `bytes` octets, or undefined: the caller counts a drop. */
  alloc(bytes: number): Packet | undefined {
    let packet = bytes <= SMALL_FRAME_BYTES ? this.#small.pop() : undefined
    if (packet === undefined) {
      if (bytes > LARGE_FRAME_BYTES) return undefined
      packet = this.#large.pop()
      if (packet === undefined) return undefined
    }
    packet.head = packet.slot + HEADROOM_BYTES
    packet.len = 0
    packet.gsoType = 0
    packet.gsoSize = 0
    packet.csumStart = 0
    packet.csumOffset = 0
    packet.ingress = 0
    packet.flow = NO_FLOW
    packet.traced = false
    packet.recorded = false
    packet.live = true
    if (this.#sites !== undefined) this.#sites[packet.index] = new Error('allocated').stack
    return packet
  }

  /** A copy with the same facts, or undefined if the pool is exhausted. */
  clone(packet: Packet): Packet | undefined {
    const twin = this.alloc(packet.len)
    if (twin === undefined) return undefined
    twin.len = packet.len
    twin.gsoType = packet.gsoType
    twin.gsoSize = packet.gsoSize
    if (packet.csumStart !== 0) twin.csumStart = packet.csumStart - packet.head + twin.head
    twin.csumOffset = packet.csumOffset
    twin.ingress = packet.ingress
    twin.traced = packet.traced
    this.mem.copyWithin(twin.head, packet.head, packet.head + packet.len)
    return twin
  }

  /** Give a slot back. For packets that went where they should; else {@link drop}. */
  free(packet: Packet): void {
    if (!packet.live) throw new Error(`packet ${packet.index} freed twice`)
    packet.live = false
    packet.recorded = false
    if (this.#sites !== undefined) {
      this.#sites[packet.index] = undefined
      this.mem.fill(0xa5, packet.slot, packet.slot + packet.slotBytes)
    }
    if (packet.slotBytes === SMALL_SLOT_BYTES) this.#small.push(packet)
    else this.#large.push(packet)
  }

  /** End a packet undelivered, counted against the device it came in by. */
  drop(packet: Packet, reason: number): void {
    if (packet.traced) this.trace?.end('dropped', DROP_NAMES[reason]!)
    else this.counters.dropped(packet.ingress, reason)
    if (packet.recorded) this.notes.dropped(packet, reason)
    this.free(packet)
  }

  /** Where each live packet was allocated; stacks only if `checked`. */
  leaks(): string[] {
    return this.packets
      .filter((packet) => packet.live)
      .map((packet) => `packet ${packet.index}: ${this.#sites?.[packet.index] ?? 'live'}`)
  }
}

/** Prepend `bytes` octets of uninitialised header. Precondition: that much headroom is left. */
export function push(packet: Packet, bytes: number): void {
  packet.head -= bytes
  packet.len += bytes
}

/** Strip `bytes` octets from the front. Precondition: `bytes <= packet.len`. */
export function pull(packet: Packet, bytes: number): void {
  packet.head += bytes
  packet.len -= bytes
}

/** Octets that could still be appended. */
export function tailroom(packet: Packet): number {
  return packet.slot + packet.slotBytes - packet.head - packet.len
}

/** Octets that could still be prepended. */
export function headroom(packet: Packet): number {
  return packet.head - packet.slot
}
