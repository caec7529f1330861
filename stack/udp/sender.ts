/**
 * The sending half of a socket underlay: frames and super-frames into queues, one a socket, and
 * from there to the kernel.
 *
 * A frame is one datagram, a super-frame one message of up to 64 segments, which the kernel carries
 * as one for as long as it can (UDP_SEGMENT); only their headers are made here (cut.ts). Datagrams
 * of one size that follow each other to a peer become one message, too.
 * The kernel has copied what it took when its call returns, so packets are free again then.
 *
 * **Where the kernel cannot segment** (EIO: the interface has no checksum offload; EINVAL: it does
 * not know UDP_SEGMENT), segments are sent one by one from then on, and that is told once.
 */
import type { Address } from '../address.ts'
import { Count } from '../counters.ts'
import { DropReason } from '../drop.ts'
import { completeChecksum } from '../ip/segment.ts'
import { putSockaddr } from '../native/inet_socket.ts'
import { close, Errno, errnoName, mapMemory } from '../native/libc.ts'
import { MESSAGE_BYTES_MAX, MessagesOut, SEGMENTS_MAX } from '../native/messages_out.ts'
import { openSender, type Place } from '../native/udp_socket.ts'
import { GsoType, type Packet, type Pool } from '../packet.ts'
import { Cutter, Refusal } from './cut.ts'
import { flowBits } from './entropy.ts'
import { outerBytes } from './outer.ts'
import { PEERS_MAX } from './peer_table.ts'
import type { UnderlayPeer } from './underlay.ts'

const SENDER_BITS = 3
/** Sockets that send, each from a port of its own. */
const SENDERS: number = 1 << SENDER_BITS

/** Segments of a super-frame that leaves as one message, each in an IP packet of `mtuBytes`. */
export function segmentsOf(mtuBytes: number, address: Address): number {
  return Math.min(SEGMENTS_MAX, Math.floor(MESSAGE_BYTES_MAX / (mtuBytes - outerBytes(address))))
}
const NAME_SLOT_BYTES = 32
/** Tag of a message that is not the last of its packet. */
const NO_PACKET = -1

export interface SenderOptions {
  readonly pool: Pool
  /** Counted against. */
  readonly port: number
  readonly place: Place
  readonly seed: number
  readonly segments: boolean
  /** A message to the peer was too big: ask for its path again. */
  readonly onRefused: (peer: number) => void
  readonly tell: (text: string) => void
}

export class Sender {
  /** Largest IP packet to each peer, octets. */
  readonly mtuBytes: Int32Array = new Int32Array(PEERS_MAX)
  readonly #o: SenderOptions
  readonly #pool: Pool
  readonly #port: number
  readonly #sockets: number[] = []
  /** A socket address for each peer. */
  readonly #names: Uint8Array
  readonly #namesAddress: number
  readonly #out: MessagesOut
  readonly #cutter: Cutter
  /** By packet number: the packet before it in its message. */
  readonly #before: Int32Array
  readonly #outerBytes: number
  /** False: the kernel does not cut what leaves. */
  #segments: boolean

  /** @throws StackError. Sockets are opened where the thread is now. */
  constructor(options: SenderOptions) {
    const { pool, port, place, seed, segments } = options
    this.#o = options
    this.#pool = pool
    this.#port = port
    this.#segments = segments
    this.#outerBytes = outerBytes(place.address)
    try {
      for (let i = 0; i < SENDERS; i++) this.#sockets.push(openSender(place, (seed >>> 2) + i))
    } catch (error) {
      this.close()
      throw error
    }
    const names = mapMemory(PEERS_MAX * NAME_SLOT_BYTES)
    this.#names = new Uint8Array(names.buffer)
    this.#namesAddress = names.address
    this.#out = new MessagesOut(SENDERS, place.address.family)
    this.#cutter = new Cutter(this.#out.scratch)
    this.#before = new Int32Array(pool.packets.length)
  }

  setPeer(number: number, { address, udpPort }: UnderlayPeer): void {
    putSockaddr(this.#names, number * NAME_SLOT_BYTES, address, udpPort)
  }

  /**
   * Queue a packet, whose checksum stays open if it is `open`. Takes ownership unless it returns
   * false: then the packet does not fit the path.
   */
  queue(packet: Packet, peer: number, prefixBytes: number, tos: number, open: boolean): boolean {
    const frame = packet.head + prefixBytes
    const bytes = packet.len - prefixBytes
    const queue = flowBits(this.#pool.mem, frame, bytes, SENDER_BITS)
    if (packet.gsoType === GsoType.None) return this.#queueOne(packet, peer, queue, tos, open)
    return this.#queueSuper(packet, peer, queue, prefixBytes, tos, open)
  }

  #queueOne(packet: Packet, peer: number, queue: number, tos: number, open: boolean): boolean {
    const pool = this.#pool
    if (packet.len + this.#outerBytes > this.mtuBytes[peer]!) return false
    if (packet.csumStart !== 0 && !open && !completeChecksum(pool.mem, packet)) {
      pool.drop(packet, DropReason.FrameOffloadBad)
      return true
    }
    const out = this.#out
    const { len, index } = packet
    const address = pool.address + packet.head
    pool.counters.transmitted(this.#port, len)
    if (this.#segments && out.canFollow(queue, peer, tos, len)) {
      this.#before[index] = out.follow(queue, address, len, index)
      return true
    }
    if (!out.fits(queue, 0, 0)) this.flush()
    out.addPiece(address, len)
    out.endMessage(queue, this.#nameOf(peer), 0, tos, index, peer)
    this.#before[index] = NO_PACKET
    return true
  }

  #queueSuper(
    packet: Packet,
    peer: number,
    queue: number,
    prefixBytes: number,
    tos: number,
    open: boolean,
  ): boolean {
    const { mem, address, counters } = this.#pool
    const cutter = this.#cutter
    const room = this.mtuBytes[peer]! - this.#outerBytes
    const refusal = cutter.begin(mem, packet, prefixBytes, room, !open)
    if (refusal === Refusal.TooBig) return false
    if (refusal !== Refusal.None) {
      this.#pool.drop(packet, DropReason.FrameOffloadBad)
      return true
    }
    const { count, headerBytes, pieceBytes } = cutter
    const segmentBytes = headerBytes + pieceBytes
    const most = this.#segments
      ? Math.min(SEGMENTS_MAX, Math.floor(MESSAGE_BYTES_MAX / segmentBytes))
      : 1
    counters.transmitted(this.#port, packet.len)
    const out = this.#out
    const payload = address + packet.head + headerBytes
    for (let first = 0; first < count; first += most) {
      const end = Math.min(count, first + most)
      if (!out.fits(queue, end - first, headerBytes)) this.flush()
      for (let i = first; i < end; i++) {
        const at = out.takeScratch(headerBytes)
        cutter.putHeaders(mem, at, i)
        out.addScratch(at, headerBytes)
        out.addPiece(payload + i * pieceBytes, cutter.payloadOf(i))
      }
      const tag = end === count ? packet.index : NO_PACKET
      this.#before[packet.index] = NO_PACKET
      const joined = end - first > 1 ? segmentBytes : 0
      out.endMessage(queue, this.#nameOf(peer), joined, tos, tag, peer)
    }
    return true
  }

  #nameOf(peer: number): number {
    return this.#namesAddress + peer * NAME_SLOT_BYTES
  }

  flush(): void {
    let any = false
    for (let queue = 0; queue < SENDERS; queue++) {
      if (this.#out.count(queue) === 0) continue
      any = true
      this.#flushQueue(queue)
    }
    if (any) this.#out.reset()
  }

  #flushQueue(queue: number): void {
    const out = this.#out
    const count = out.count(queue)
    const fd = this.#sockets[queue]!
    for (let done = 0; done < count; ) {
      const sent = out.send(queue, fd, done)
      for (let i = 0; i < sent; i++) {
        this.#free(out.tag(queue, done + i))
      }
      if (sent > 0) done += sent
      else this.#refused(queue, done++, -sent)
    }
  }

  /** The kernel did not take a message. */
  #refused(queue: number, index: number, code: number): void {
    const { packets, counters } = this.#pool
    const out = this.#out
    const tag = out.tag(queue, index)
    const peer = out.peer(queue, index)
    const joined = out.isJoined(queue, index)
    let reason = DropReason.UnderlayUnreachable
    if (code === Errno.Again || code === Errno.NoBufs) reason = DropReason.QueueFull
    else if (code === Errno.MsgSize || code === Errno.Inval) {
      const before = this.mtuBytes[peer]!
      this.#o.onRefused(peer)
      reason = DropReason.UnderlayMtu
      if (joined && code === Errno.Inval && this.mtuBytes[peer] === before) this.#stopSegments(code)
    } else if (joined && code === Errno.Io) this.#stopSegments(code)
    if (joined && !this.#segments && out.sendApart(queue, this.#sockets[queue]!, index)) {
      return this.#free(tag)
    }
    counters.bump(this.#port, Count.TxErrors)
    for (let i = tag; i !== NO_PACKET; i = this.#before[i]!) this.#pool.drop(packets[i]!, reason)
  }

  /** All packets of a message, of which `last` is the last. */
  #free(last: number): void {
    const { packets } = this.#pool
    for (let i = last; i !== NO_PACKET; i = this.#before[i]!) this.#pool.free(packets[i]!)
  }

  #stopSegments(code: number): void {
    if (!this.#segments) return
    this.#segments = false
    this.#o.tell(`the kernel cannot segment for this interface (${errnoName(code)}): slower`)
  }

  close(): void {
    for (const fd of this.#sockets) close(fd)
  }
}
