/**
 * An underlay on UDP sockets of the host's: one that receives, {@link SENDERS} that send, through
 * the node's I/O engine, so that one wake-up serves TAPs and tunnels.
 *
 * ```text
 *   send ──> [cut: headers in scratch, payload in place] ──> queue of a socket ──flush──> sendmmsg
 *   engine: readable ──> recvmmsg, each datagram in a packet of its own ──> onDatagram
 * ```
 * **Sending.** A frame is one datagram. A super-frame is one message of up to 64 segments, which
 * the kernel carries as one for as long as it can (UDP_SEGMENT); only their headers are made here
 * (cut.ts). What is queued leaves at the end of the engine's turn, or at once outside of one.
 * Packets are free again when the call returns.
 *
 * **Receiving.** Datagrams of one flow and size come joined (UDP_GRO), in one large packet.
 *
 * **Path MTU.** Every datagram has DF set. What the kernel knows of a path is asked when a peer is
 * added, when a message was too big, and each {@link PATH_CHECK_MS}. TCP is cut to fit; what
 * cannot be is dropped as `underlay-mtu` and told once a peer.
 *
 * **Where the kernel cannot segment** (EIO: the interface has no checksum offload; EINVAL: it does
 * not know UDP_SEGMENT), segments are sent one by one from then on, and that is told.
 *
 * Bounded by {@link PEERS_MAX} peers and QUEUE_MESSAGES waiting datagrams a socket; link-local
 * addresses, which need an interface's name, are refused.
 */
import { type Address, formatAddress, MAPPED } from '../address.ts'
import { i32, u16 } from '../bytes.ts'
import { type Cancel, type Clock, every } from '../clock.ts'
import { Count } from '../counters.ts'
import { DropReason } from '../drop.ts'
import type { DatagramChannel, Engine } from '../engine.ts'
import { completeChecksum } from '../ip/segment.ts'
import { close, Errno, errnoName, mapMemory } from '../native/libc.ts'
import { BATCH_MESSAGES, MessagesIn } from '../native/messages_in.ts'
import { MessagesOut, SEGMENTS_MAX } from '../native/messages_out.ts'
import * as native from '../native/udp_socket.ts'
import { GsoType, HEADROOM_BYTES, LARGE_FRAME_BYTES, type Packet, type Pool } from '../packet.ts'
import { Cutter, Refusal } from './cut.ts'
import { flowBits } from './entropy.ts'
import { PEERS_MAX, PeerTable } from './peer_table.ts'
import { type DatagramHandler, isOpen, NO_PEER, type Underlay, type UnderlayPeer } from './underlay.ts'

const SENDER_BITS = 3
/** Sockets that send, each from a port of its own. */
export const SENDERS: number = 1 << SENDER_BITS
/** Super-frames received a call: few, so that they are still in the cache when they are sent. */
const LARGE_BATCH = 8
/** Largest payload of one message: IPv4's 65,535 less its header and UDP's. */
const MESSAGE_BYTES_MAX = 65_507
export const PATH_CHECK_MS = 30_000
/** Assumed while there is no route. */
const UNKNOWN_PATH_BYTES = 1500
const NAME_SLOT_BYTES = 32
const UDP_HEADER_BYTES = 8

export interface SocketUnderlayOptions {
  readonly pool: Pool
  readonly engine: Engine
  readonly clock: Clock
  readonly seed: number
  /** Where datagrams are received, and what they are sent from. */
  readonly address: Address
  readonly udpPort: number
  /** Told what an operator should know, once each. */
  readonly onProblem?: (text: string) => void
}

export class SocketUnderlay implements Underlay, DatagramChannel {
  readonly name: string
  readonly address: Address
  readonly udpPort: number
  readonly port: number
  readonly fd: number
  onDatagram: DatagramHandler
  onPathMtu: (peer: number, mtuBytes: number) => void = () => {}
  readonly #pool: Pool
  readonly #engine: Engine
  readonly #onProblem: (text: string) => void
  readonly #senders: number[] = []
  readonly #prober: number
  readonly #peers: PeerTable
  /** A socket address for each peer. */
  readonly #names: Uint8Array
  readonly #namesAddress: number
  readonly #mtu = new Int32Array(PEERS_MAX)
  readonly #open = new Uint8Array(PEERS_MAX)
  readonly #complained = new Uint8Array(PEERS_MAX)
  readonly #out: MessagesOut
  readonly #in = new MessagesIn()
  readonly #cutter = new Cutter()
  /** Where the next datagrams are received. */
  readonly #lent: (Packet | undefined)[] = new Array<undefined>(BATCH_MESSAGES).fill(undefined)
  /** Address of the sender of the last datagram, and its number. */
  readonly #sender = new Int32Array(4)
  #senderPeer = NO_PEER
  #senderPort = 0
  #batch = BATCH_MESSAGES
  /** False: the kernel does not cut what leaves. */
  #segments: boolean
  readonly #outerBytes: number
  readonly #engineId: number
  readonly #cancel: Cancel
  #closed = false

  /** @throws StackError: `exists` if the port is taken. Opened where the thread is now. */
  constructor({ pool, engine, clock, seed, address, udpPort, onProblem }: SocketUnderlayOptions) {
    this.#pool = pool
    this.#engine = engine
    this.#onProblem = onProblem ?? ((): void => {})
    this.address = address
    this.udpPort = udpPort
    const { family } = address
    this.name = `udp ${family === 4 ? formatAddress(address) : `[${formatAddress(address)}]`}:${udpPort}`
    const { fd, abilities } = native.openReceiver(address, udpPort)
    this.fd = fd
    this.#segments = abilities.segment
    try {
      this.#prober = native.openProber(address)
      this.#senders.push(this.#prober)
      for (let i = 0; i < SENDERS; i++) {
        this.#senders.push(native.openSender(address, (seed >>> 2) + i))
      }
      this.#senders.shift()
    } catch (error) {
      for (const opened of [fd, ...this.#senders]) close(opened)
      throw error
    }
    this.#peers = new PeerTable(seed)
    const names = mapMemory(PEERS_MAX * NAME_SLOT_BYTES)
    this.#names = new Uint8Array(names.buffer)
    this.#namesAddress = names.address
    this.#out = new MessagesOut(SENDERS, family)
    this.#outerBytes = (family === 4 ? 20 : 40) + UDP_HEADER_BYTES
    this.port = pool.counters.acquirePort()
    this.onDatagram = (packet) => pool.drop(packet, DropReason.DeviceDown)
    this.#engineId = engine.addDatagrams(this)
    this.#cancel = every(clock, PATH_CHECK_MS, () => this.#checkPaths())
  }

  pathMtuBytes(peer: number): number {
    return this.#mtu[peer]!
  }

  addPeer(peer: UnderlayPeer): number {
    const { number, isNew } = this.#peers.add(peer)
    if (!isNew) return number
    native.putSockaddr(this.#names, number * NAME_SLOT_BYTES, peer.address, peer.udpPort)
    this.#mtu[number] = this.#askPath(peer)
    this.#open[number] = 0
    this.#complained[number] = 0
    this.#senderPort = 0
    return number
  }

  removePeer(peer: number): void {
    if (this.#peers.remove(peer)) this.#senderPort = 0
  }

  peer(number: number): UnderlayPeer | undefined {
    return this.#peers.get(number)
  }

  sourceOf(): UnderlayPeer {
    const words = this.#sender.slice()
    const family = words[0] === 0 && words[1] === 0 && words[2] === MAPPED ? 4 : 6
    return { address: { family, words }, udpPort: this.#senderPort }
  }

  setOpenChecksums(peer: number, on: boolean): void {
    this.#open[peer] = on ? 1 : 0
  }

  leavesOpen(peer: number, packet: Packet, frame: number): boolean {
    return this.#open[peer] === 1 && isOpen(packet, frame)
  }

  send(packet: Packet, peer: number, prefixBytes: number, tos: number): void {
    const pool = this.#pool
    if (this.#closed || this.#peers.get(peer) === undefined) {
      return pool.drop(packet, DropReason.DeviceDown)
    }
    const frame = packet.head + prefixBytes
    const open = this.leavesOpen(peer, packet, frame)
    const queue = flowBits(pool.mem, frame, packet.len - prefixBytes, SENDER_BITS)
    if (packet.gsoType !== GsoType.None) {
      this.#sendSuper(packet, peer, queue, prefixBytes, tos, open)
    } else this.#sendOne(packet, peer, queue, tos, open)
    if (!this.#engine.turning) this.flush()
  }

  #sendOne(packet: Packet, peer: number, queue: number, tos: number, open: boolean): void {
    const pool = this.#pool
    if (packet.len + this.#outerBytes > this.#mtu[peer]!) return this.#tooBig(packet, peer)
    if (packet.csumStart !== 0 && !open && !completeChecksum(pool.mem, packet)) {
      return pool.drop(packet, DropReason.FrameOffloadBad)
    }
    const out = this.#out
    if (!out.fits(queue, 1, 1, 0)) this.flush()
    pool.counters.transmitted(this.port, packet.len)
    out.addPiece(pool.address + packet.head, packet.len)
    out.endMessage(queue, this.#nameOf(peer), 0, tos, packet.index, peer)
  }

  #sendSuper(
    packet: Packet,
    peer: number,
    queue: number,
    prefixBytes: number,
    tos: number,
    open: boolean,
  ): void {
    const { mem, address, counters } = this.#pool
    const cutter = this.#cutter
    const room = this.#mtu[peer]! - this.#outerBytes
    const refusal = cutter.begin(mem, packet, prefixBytes, room, !open)
    if (refusal === Refusal.TooBig) return this.#tooBig(packet, peer)
    if (refusal !== Refusal.None) return this.#pool.drop(packet, DropReason.FrameOffloadBad)
    const { count, headerBytes, pieceBytes } = cutter
    const segmentBytes = headerBytes + pieceBytes
    const most = this.#segments
      ? Math.min(SEGMENTS_MAX, Math.floor(MESSAGE_BYTES_MAX / segmentBytes))
      : 1
    counters.transmitted(this.port, packet.len)
    const out = this.#out
    const payload = address + packet.head + headerBytes
    for (let first = 0; first < count; first += most) {
      const end = Math.min(count, first + most)
      if (!out.fits(queue, 1, 2 * most, most * headerBytes)) this.flush()
      for (let i = first; i < end; i++) {
        const at = out.takeScratch(headerBytes)
        cutter.putHeaders(mem, out.scratch, at, i)
        out.addScratch(at, headerBytes)
        out.addPiece(payload + i * pieceBytes, cutter.payloadOf(i))
      }
      const tag = end === count ? packet.index : NO_PACKET
      const joined = end - first > 1 ? segmentBytes : 0
      out.endMessage(queue, this.#nameOf(peer), joined, tos, tag, peer)
    }
  }

  #nameOf(peer: number): number {
    return this.#namesAddress + peer * NAME_SLOT_BYTES
  }

  #tooBig(packet: Packet, peer: number): void {
    if (this.#complained[peer] === 0) {
      this.#complained[peer] = 1
      const { address } = this.#peers.get(peer)!
      const [is, takes] = [packet.len + this.#outerBytes, this.#mtu[peer]!]
      const frame = packet.gsoType === GsoType.None ? `${is} octets` : 'UDP segments'
      this.#tell(`path to ${formatAddress(address)} takes ${takes} octets, not ${frame}: lower the
        MTU of the network, or raise the underlay's`)
    }
    this.#pool.drop(packet, DropReason.UnderlayMtu)
  }

  #tell(text: string): void {
    this.#onProblem(`${this.name}: ${text.replace(/\s+/g, ' ')}`)
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
    const fd = this.#senders[queue]!
    for (let done = 0; done < count; ) {
      const sent = out.send(queue, fd, done)
      for (let i = 0; i < sent; i++) {
        const tag = out.tag(queue, done + i)
        if (tag !== NO_PACKET) this.#pool.free(this.#pool.packets[tag]!)
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
      const before = this.#mtu[peer]!
      this.#checkPath(peer)
      reason = DropReason.UnderlayMtu
      if (joined && code === Errno.Inval && this.#mtu[peer] === before) this.#stopSegments(code)
    } else if (joined && code === Errno.Io) this.#stopSegments(code)
    if (joined && !this.#segments && out.sendApart(queue, this.#senders[queue]!, index)) {
      if (tag !== NO_PACKET) this.#pool.free(packets[tag]!)
      return
    }
    counters.bump(this.port, Count.TxErrors)
    if (tag !== NO_PACKET) this.#pool.drop(packets[tag]!, reason)
  }

  #stopSegments(code: number): void {
    if (!this.#segments) return
    this.#segments = false
    this.#tell(`the kernel cannot segment for this interface (${errnoName(code)}): slower`)
  }

  receive(budget: number): boolean {
    const batch = Math.min(this.#batch, budget)
    const count = this.#lend(batch)
    if (count === 0) return false
    const came = this.#in.receive(this.fd, count)
    if (came < 0) return came !== -Errno.Again && came !== -Errno.Intr && came !== -Errno.BadF
    this.#batch = BATCH_MESSAGES
    for (let i = 0; i < came; i++) this.#deliver(i)
    return came === count && !this.#closed
  }

  /** A packet for each of so many datagrams: how many there are. */
  #lend(batch: number): number {
    const pool = this.#pool
    for (let i = 0; i < batch; i++) {
      if (this.#lent[i] !== undefined) continue
      const packet = pool.alloc(LARGE_FRAME_BYTES)
      if (packet === undefined) {
        if (i === 0) pool.counters.bump(this.port, Count.RxNoBuffer)
        return i
      }
      this.#lent[i] = packet
      this.#in.point(i, pool.address + packet.head, packet.slotBytes - HEADROOM_BYTES)
    }
    return batch
  }

  #deliver(index: number): void {
    const packet = this.#lent[index]
    // Closed by what an earlier datagram of this batch caused.
    if (packet === undefined) return
    this.#lent[index] = undefined
    const pool = this.#pool
    const bytes = this.#in.lengthOf(index)
    packet.ingress = this.port
    if (bytes < 0) return pool.drop(packet, DropReason.UnderlayTruncated)
    packet.len = bytes
    pool.counters.received(this.port, bytes)
    const { segmentBytes, tos } = this.#in
    if (segmentBytes > 0) this.#batch = LARGE_BATCH
    const peer = this.#peerOf(this.#in.nameAt(index))
    this.onDatagram(packet, peer, segmentBytes, tos)
  }

  /** Number of the peer with the socket address at `at`. */
  #peerOf(at: number): number {
    const { names } = this.#in
    const sender = this.#sender
    const port = u16(names, at + 2)
    const isV4 = this.address.family === 4
    const a = isV4 ? 0 : i32(names, at + 8)
    const b = isV4 ? 0 : i32(names, at + 12)
    const c = isV4 ? MAPPED : i32(names, at + 16)
    const d = i32(names, isV4 ? at + 4 : at + 20)
    const same = sender[0] === a && sender[1] === b && sender[2] === c && sender[3] === d
    if (same && this.#senderPort !== 0) {
      this.#senderPort = port
      return this.#senderPeer
    }
    sender[0] = a
    sender[1] = b
    sender[2] = c
    sender[3] = d
    this.#senderPort = port
    this.#senderPeer = this.#peers.find(sender, 0)
    return this.#senderPeer
  }

  #askPath({ address, udpPort }: UnderlayPeer): number {
    return native.pathMtu(this.#prober, address, udpPort) || UNKNOWN_PATH_BYTES
  }

  #checkPaths(): void {
    for (let peer = 0; peer < PEERS_MAX; peer++) {
      if (this.#peers.get(peer) !== undefined) this.#checkPath(peer)
    }
  }

  #checkPath(peer: number): void {
    const known = this.#peers.get(peer)
    if (known === undefined) return
    const mtuBytes = this.#askPath(known)
    if (mtuBytes === this.#mtu[peer]) return
    this.#mtu[peer] = mtuBytes
    this.#complained[peer] = 0
    this.onPathMtu(peer, mtuBytes)
  }

  close(): void {
    if (this.#closed) return
    this.flush()
    this.#closed = true
    this.#cancel()
    this.#engine.removeDatagrams(this.#engineId)
    for (const fd of [this.fd, this.#prober, ...this.#senders]) close(fd)
    for (const [i, packet] of this.#lent.entries()) {
      this.#lent[i] = undefined
      if (packet !== undefined) this.#pool.free(packet)
    }
    this.#pool.counters.releasePort(this.port)
  }
}

/** Tag of a message that is not the last of its packet. */
const NO_PACKET = -1
