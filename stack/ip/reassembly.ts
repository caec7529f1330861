/**
 * Reassembly of datagrams to the router itself (RFC 791 §3.2, RFC 8200 §4.5).
 *
 * Each datagram takes one large packet of the pool, into which fragments are copied in place:
 *
 * ```text
 *  slot                    base - header                base                        base + 65535
 *   | headroom | room ...  | Ethernet | header of first | payload octets where they belong |
 *              blocks: one bit for every 8 payload octets received; starts: where fragments began
 * ```
 *
 * An overlap refuses the whole datagram and what still comes of it (RFC 5722 §4, applied to IPv4
 * as well: RFC 1858). A fragment that repeats one exactly, place, length and content, is only a
 * duplicate of the network and is ignored (RFC 8200 §4.5 allows it).
 *
 * Bounds: so many datagrams in all and so many of one source, whose oldest has to go for another;
 * each is given up after a time. The bitmaps make the cost of a fragment proportional to its size,
 * whatever the order and however small: no list that a sender can make long.
 */
import { loadWords } from '../address.ts'
import { copy, equal, i32, u16 } from '../bytes.ts'
import type { Cancel, Clock } from '../clock.ts'
import { DropReason } from '../drop.ts'
import * as eth from '../eth/frame.ts'
import { LARGE_FRAME_BYTES, type Packet, type Pool } from '../packet.ts'
import { Table } from '../table.ts'
import { BlockMap } from './block_map.ts'
import {
  base,
  DATAGRAM_MAX_BYTES,
  type Datagram,
  HEADER_ROOM_BYTES,
  newDatagram,
  type Piece,
  restart,
  unite,
} from './datagram.ts'
import * as fragment from './fragment_header.ts'
import * as ipv4 from './ipv4.ts'
import * as ipv6 from './ipv6.ts'

/** RFC 8200 §4.5; in the range of RFC 1122 §3.3.2 for IPv4. */
export const REASSEMBLY_MS = 60_000
/** Each holds a large packet, of which a pool has a few hundred. */
export const DATAGRAMS_MAX = 32
/** More at a time than this are fragments lost on the way. */
export const DATAGRAMS_A_SOURCE_MAX = 4
/** Source and destination, identification, and what else tells datagrams apart. */
const KEY_WORDS = 10

export interface ReassemblyOptions {
  readonly pool: Pool
  readonly clock: Clock
  readonly seed: number
  /**
   * Takes ownership of the first fragment of a datagram that was given up, `head` at the IP
   * header, and ends it as `fragment-timeout`.
   */
  readonly timedOut: (first: Packet, from: number) => void
}

export class Reassembly {
  readonly #pool: Pool
  readonly #clock: Clock
  readonly #timedOut: ReassemblyOptions['timedOut']
  readonly #table: Table
  readonly #datagrams: Datagram[]
  readonly #received: BlockMap
  readonly #starts: BlockMap
  #timer: Cancel | undefined

  constructor({ pool, clock, seed, timedOut }: ReassemblyOptions) {
    this.#pool = pool
    this.#clock = clock
    this.#timedOut = timedOut
    this.#table = new Table({
      keyWords: KEY_WORDS,
      valueWords: 1,
      entriesMax: DATAGRAMS_MAX,
      seed,
    })
    this.#datagrams = Array.from({ length: DATAGRAMS_MAX }, newDatagram)
    this.#received = new BlockMap(DATAGRAMS_MAX)
    this.#starts = new BlockMap(DATAGRAMS_MAX)
  }

  /** Datagrams in progress, refused ones included. */
  get count(): number {
    return this.#table.count
  }

  /**
   * A fragment, `head` at the Ethernet header. Takes ownership. Returns the datagram if this was
   * the last one missing, in the same form; the caller owns it. `from`: the interface's index.
   * Precondition: a valid header with `isFragment`. Drops: `delivered` for a fragment that was
   * used, `fragment-malformed`, `fragment-overlap`, `fragment-table-full`, `pool-empty`.
   */
  add4(packet: Packet, from: number): Packet | undefined {
    const { mem } = this.#pool
    const ip = packet.head + eth.HEADER_BYTES
    const { key } = this.#table
    loadWords(mem, ip + ipv4.SRC, 4, key, 0)
    loadWords(mem, ip + ipv4.DST, 4, key, 4)
    key[8] = u16(mem, ip + ipv4.ID)
    key[9] = (from << 16) | (4 << 8) | ipv4.protocol(mem, ip)
    const headerBytes = ipv4.headerBytes(mem, ip)
    return this.#add(packet, from, {
      headerBytes: eth.HEADER_BYTES + headerBytes,
      bytes: ipv4.totalBytes(mem, ip) - headerBytes,
      offset: ipv4.fragmentOffset(mem, ip),
      more: ipv4.moreFragments(mem, ip),
      maxBytes: DATAGRAM_MAX_BYTES - headerBytes,
    })
  }

  /** As {@link add4}; `at`: the fragment header, which is not in the datagram returned. */
  add6(packet: Packet, from: number, at: number): Packet | undefined {
    const { mem } = this.#pool
    const ip = packet.head + eth.HEADER_BYTES
    const { key } = this.#table
    loadWords(mem, ip + ipv6.SRC, 6, key, 0)
    loadWords(mem, ip + ipv6.DST, 6, key, 4)
    key[8] = i32(mem, at + fragment.ID)
    key[9] = (from << 16) | (6 << 8)
    const payload = at + fragment.HEADER_BYTES
    return this.#add(packet, from, {
      headerBytes: payload - packet.head,
      bytes: packet.head + packet.len - payload,
      offset: fragment.offsetBytes(mem, at),
      more: fragment.moreFragments(mem, at),
      maxBytes: DATAGRAM_MAX_BYTES - (at - ip - ipv6.HEADER_BYTES),
    })
  }

  /** Give up all datagrams that came in by an interface, or all. */
  forget(from?: number): void {
    const table = this.#table
    for (let e = table.nextLive(0); e >= 0; e = table.nextLive(e + 1)) {
      if (from === undefined || this.#datagrams[e]!.from === from) this.#abandon(e)
    }
    if (table.count > 0) return
    this.#timer?.()
    this.#timer = undefined
  }

  #add(packet: Packet, from: number, piece: Piece): Packet | undefined {
    const pool = this.#pool
    if (packet.traced) {
      pool.trace?.end('consumed', 'would wait for the other fragments')
      pool.free(packet)
      return undefined
    }
    const { bytes, offset, more, headerBytes, maxBytes } = piece
    const bad = bytes <= 0 || (more && (bytes & 7) !== 0) || offset + bytes > maxBytes
    if (bad || headerBytes > HEADER_ROOM_BYTES)
      return this.#end(packet, DropReason.FragmentMalformed)
    let entry = this.#table.find()
    if (entry < 0) {
      entry = this.#begin(packet, from)
      if (entry < 0) return undefined
    }
    const datagram = this.#datagrams[entry]!
    if (datagram.packet === undefined) return this.#end(packet, DropReason.FragmentOverlap)
    if (!this.#fits(datagram, entry, piece)) {
      if (this.#repeats(datagram, entry, packet, piece))
        return this.#end(packet, DropReason.Delivered)
      pool.drop(datagram.packet, DropReason.FragmentOverlap)
      datagram.packet = undefined
      return this.#end(packet, DropReason.FragmentOverlap)
    }
    this.#place(datagram, entry, packet, piece)
    pool.drop(packet, DropReason.Delivered)
    if (datagram.totalBytes < 0 || datagram.blocks < (datagram.totalBytes + 7) >>> 3)
      return undefined
    return this.#finish(entry)
  }

  #end(packet: Packet, reason: number): undefined {
    this.#pool.drop(packet, reason)
  }

  /** Start a datagram with the key in the table's scratch; -1, and the packet is dropped. */
  #begin(packet: Packet, from: number): number {
    const pool = this.#pool
    this.#makeRoom()
    if (this.#table.count === DATAGRAMS_MAX) {
      pool.drop(packet, DropReason.FragmentTableFull)
      return -1
    }
    const buffer = pool.alloc(LARGE_FRAME_BYTES)
    if (buffer === undefined) {
      pool.drop(packet, DropReason.PoolEmpty)
      return -1
    }
    buffer.ingress = packet.ingress
    const { nowMs } = this.#clock
    const entry = this.#table.insert(nowMs)
    const datagram = this.#datagrams[entry]!
    restart(datagram, buffer, from, nowMs)
    this.#received.clear(entry)
    this.#starts.clear(entry)
    this.#timer ??= this.#clock.after(REASSEMBLY_MS, this.#expire)
    return entry
  }

  /** Give up the oldest datagram of the key's source if it has its share. Keeps the key. */
  #makeRoom(): void {
    const table = this.#table
    const wanted = table.key.slice()
    let oldest = -1
    let count = 0
    for (let e = table.nextLive(0); e >= 0; e = table.nextLive(e + 1)) {
      let same = true
      for (let i = 0; i < 4; i++) same &&= table.keys[e * KEY_WORDS + i] === wanted[i]
      if (!same) continue
      count++
      if (oldest < 0 || this.#datagrams[e]!.startedMs < this.#datagrams[oldest]!.startedMs)
        oldest = e
    }
    if (count < DATAGRAMS_A_SOURCE_MAX) return
    this.#abandon(oldest)
    table.key.set(wanted)
  }

  /** True if all of the piece is new and agrees with what is known of the end. */
  #fits(datagram: Datagram, entry: number, { offset, bytes, more }: Piece): boolean {
    const end = offset + bytes
    if (datagram.totalBytes >= 0 && (!more || end > datagram.totalBytes)) return false
    if (!more && this.#received.any(entry, (end + 7) >>> 3, BlockMap.COUNT)) return false
    return !this.#received.any(entry, offset >>> 3, (end + 7) >>> 3)
  }

  /** True if exactly this fragment came before. */
  #repeats(
    { packet: buffer, totalBytes }: Datagram,
    entry: number,
    packet: Packet,
    { offset, bytes, more, headerBytes }: Piece,
  ): boolean {
    const first = offset >>> 3
    const end = (offset + bytes + 7) >>> 3
    if (more === (offset + bytes === totalBytes)) return false
    if (!this.#starts.any(entry, first, first + 1) || this.#starts.any(entry, first + 1, end)) {
      return false
    }
    if (!this.#received.all(entry, first, end)) return false
    const after = this.#received.any(entry, end, end + 1)
    if (after && !this.#starts.any(entry, end, end + 1)) return false
    const { mem } = this.#pool
    return equal(mem, base(buffer!) + offset, packet.head + headerBytes, bytes)
  }

  #place(datagram: Datagram, entry: number, packet: Packet, piece: Piece): void {
    const { mem } = this.#pool
    const { bytes, headerBytes, more, offset } = piece
    const to = base(datagram.packet!)
    const end = (offset + bytes + 7) >>> 3
    copy(mem, to + offset, packet.head + headerBytes, bytes)
    this.#received.set(entry, offset >>> 3, end)
    this.#starts.set(entry, offset >>> 3, (offset >>> 3) + 1)
    datagram.blocks += end - (offset >>> 3)
    if (!more) datagram.totalBytes = offset + bytes
    if (offset > 0) return
    copy(mem, to - headerBytes, packet.head, headerBytes)
    datagram.headerBytes = headerBytes
    datagram.firstBytes = bytes
  }

  /** All is there: the header of the first fragment becomes the datagram's. */
  #finish(entry: number): Packet | undefined {
    const { mem } = this.#pool
    const { packet, headerBytes, totalBytes } = this.#datagrams[entry]!
    this.#remove(entry)
    if (packet === undefined) return undefined
    packet.head = base(packet) - headerBytes
    packet.len = headerBytes + totalBytes
    if (unite(mem, packet, base(packet))) return packet
    return this.#end(packet, DropReason.FragmentMalformed)
  }

  readonly #expire = (): void => {
    const table = this.#table
    this.#timer = undefined
    const { nowMs } = this.#clock
    let oldestMs = Number.POSITIVE_INFINITY
    for (let e = table.nextLive(0); e >= 0; e = table.nextLive(e + 1)) {
      const { startedMs } = this.#datagrams[e]!
      if (nowMs - startedMs >= REASSEMBLY_MS) this.#abandon(e)
      else oldestMs = Math.min(oldestMs, startedMs)
    }
    if (table.count === 0) return
    this.#timer ??= this.#clock.after(oldestMs + REASSEMBLY_MS - nowMs, this.#expire)
  }

  /** Give a datagram up; who sent a first fragment hears of it. Overwrites the table's key. */
  #abandon(entry: number): void {
    const { packet, headerBytes, firstBytes, from } = this.#datagrams[entry]!
    this.#remove(entry)
    if (packet === undefined) return
    if (headerBytes === 0) return this.#pool.drop(packet, DropReason.FragmentTimeout)
    packet.head = base(packet) - headerBytes + eth.HEADER_BYTES
    packet.len = headerBytes - eth.HEADER_BYTES + firstBytes
    this.#timedOut(packet, from)
  }

  #remove(entry: number): void {
    this.#datagrams[entry]!.packet = undefined
    this.#table.remove(entry)
  }
}
