/**
 * An underlay on UDP sockets of the host's: one that receives, and several that send (sender.ts),
 * through the node's I/O engine, so that one wake-up serves TAPs and tunnels.
 *
 * ```text
 *   send ──> [cut: headers in scratch, payload in place] ──> queue of a socket ──flush──> sendmmsg
 *   engine: readable ──> recvmmsg, each datagram in a packet of its own ──> onDatagram
 * ```
 * What is queued leaves at the end of the engine's turn, or at once outside of one.
 *
 * **Receiving.** Datagrams of one flow and size come joined (UDP_GRO), in one large packet. The
 * socket is asked again until it is empty, and only then is the engine asked to watch it.
 *
 * **Path MTU.** Every datagram has DF set. What the kernel knows of a path is asked when a peer is
 * added, when a message was too big, and each {@link PATH_CHECK_MS}. TCP is cut to fit; what
 * cannot be is dropped as `underlay-mtu`, and told once a peer.
 *
 * Bounded by {@link PEERS_MAX} peers and QUEUE_MESSAGES waiting datagrams a socket. Not supported:
 * link-local addresses, which need the name of an interface.
 */
import { type Address, formatAddress, MAPPED } from '../address.ts'
import { i32, u16 } from '../bytes.ts'
import { type Cancel, type Clock, every } from '../clock.ts'
import { Count } from '../counters.ts'
import { DropReason } from '../drop.ts'
import type { DatagramChannel, Engine } from '../engine.ts'
import { StackError } from '../errors.ts'
import { close, Errno } from '../native/libc.ts'
import { BATCH_MESSAGES, MessagesIn } from '../native/messages_in.ts'
import { openProber, openReceiver, pathMtu } from '../native/udp_socket.ts'
import { GsoType, HEADROOM_BYTES, LARGE_FRAME_BYTES, type Packet, type Pool } from '../packet.ts'
import { outerBytes } from './outer.ts'
import { PEERS_MAX, PeerTable } from './peer_table.ts'
import { Sender } from './sender.ts'
import {
  type DatagramHandler,
  isOpen,
  NO_PEER,
  type Underlay,
  type UnderlayPeer,
} from './underlay.ts'

/** Super-frames received a call: few, so that they are still in the cache when they are sent. */
const LARGE_BATCH = 8
export const PATH_CHECK_MS = 30_000
/** Assumed while there is no route. */
const UNKNOWN_PATH_BYTES = 1500

export interface SocketUnderlayOptions {
  readonly pool: Pool
  readonly engine: Engine
  readonly clock: Clock
  readonly seed: number
  /** Where datagrams are received, and what they are sent from. */
  readonly address: Address
  readonly udpPort: number
  /** Undefined: whichever interface the host's routes say. */
  readonly interfaceName?: string | undefined
  /** Largest IP packet where nothing smaller is known of a path; left out: what the kernel says. */
  readonly mtuBytes?: number
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
  onPeer: (peer: number) => void = () => {}
  readonly mayLeaveOpen = true
  onPathMtu: (peer: number, mtuBytes: number) => void = () => {}
  readonly #pool: Pool
  readonly #engine: Engine
  readonly #onProblem: (text: string) => void
  readonly #sender: Sender
  readonly #prober: number
  readonly #peers: PeerTable
  readonly #open = new Uint8Array(PEERS_MAX)
  readonly #complained = new Uint8Array(PEERS_MAX)
  readonly #in = new MessagesIn()
  /** Where the next datagrams are received. */
  readonly #lent: (Packet | undefined)[] = new Array<undefined>(BATCH_MESSAGES).fill(undefined)
  /** Address of the sender of the last datagram, and its number. */
  readonly #source = new Int32Array(4)
  #sourcePeer = NO_PEER
  /** 0: what is known of the last sender holds no more. */
  #sourcePort = 0
  #batch = BATCH_MESSAGES
  readonly #outerBytes: number
  readonly #mtuBytes: number | undefined
  readonly #engineId: number
  readonly #cancel: Cancel
  #closed = false

  /** @throws StackError: `exists` if the port is taken. Opened where the thread is now. */
  constructor(options: SocketUnderlayOptions) {
    const { pool, engine, clock, seed, address, udpPort, onProblem, mtuBytes } = options
    this.#pool = pool
    this.#engine = engine
    this.#onProblem = onProblem ?? ((): void => {})
    this.address = address
    this.udpPort = udpPort
    const text = formatAddress(address)
    this.name = `udp ${address.family === 4 ? text : `[${text}]`}:${udpPort}`
    this.#peers = new PeerTable(seed)
    this.#outerBytes = outerBytes(address)
    this.#mtuBytes = mtuBytes
    const place = { address, interfaceName: options.interfaceName }
    const { fd, segments } = openReceiver(place, udpPort)
    this.fd = fd
    this.port = pool.counters.acquirePort()
    let prober = -1
    try {
      prober = openProber(place)
      const onRefused = (peer: number): void => this.#checkPath(peer)
      const tell = (what: string): void => this.#tell(what)
      const { port } = this
      this.#sender = new Sender({ pool, port, place, seed, segments, onRefused, tell })
    } catch (error) {
      for (const opened of [fd, prober]) if (opened >= 0) close(opened)
      pool.counters.releasePort(this.port)
      throw error
    }
    this.#prober = prober
    this.onDatagram = (packet) => pool.drop(packet, DropReason.DeviceDown)
    this.#engineId = engine.addDatagrams(this)
    this.#cancel = every(clock, PATH_CHECK_MS, () => this.#checkPaths())
  }

  pathMtuBytes(peer: number): number {
    return this.#sender.mtuBytes[peer]!
  }

  addPeer(peer: UnderlayPeer): number {
    if (peer.address.family !== this.address.family) {
      throw new StackError('bad-argument', `${formatAddress(peer.address)} is of another family`)
    }
    const isNew = !this.#peers.has(peer.address)
    const number = this.#peers.add(peer)
    if (!isNew) return number
    this.flush()
    this.#sender.setPeer(number, peer)
    this.#sender.mtuBytes[number] = this.#askPath(peer)
    this.#open[number] = 0
    this.#complained[number] = 0
    this.#sourcePort = 0
    this.onPeer(number)
    return number
  }

  removePeer(peer: number): void {
    if (this.#peers.remove(peer)) this.#sourcePort = 0
  }

  peer(number: number): UnderlayPeer | undefined {
    return this.#peers.peer(number)
  }

  sourceOf(): UnderlayPeer {
    const words = this.#source.slice()
    const family = words[0] === 0 && words[1] === 0 && words[2] === MAPPED ? 4 : 6
    return { address: { family, words }, udpPort: this.#sourcePort }
  }

  setOpenChecksums(peer: number, on: boolean): void {
    this.#open[peer] = on ? 1 : 0
  }

  leavesOpen(peer: number, packet: Packet, frame: number): boolean {
    return this.#open[peer] === 1 && isOpen(packet, frame)
  }

  send(packet: Packet, peer: number, prefixBytes: number, tos: number): void {
    const pool = this.#pool
    if (this.#closed || this.#peers.peer(peer) === undefined) {
      return pool.drop(packet, DropReason.DeviceDown)
    }
    const frame = packet.head + prefixBytes
    const open = this.leavesOpen(peer, packet, frame)
    if (!this.#sender.queue(packet, peer, prefixBytes, tos, open)) this.#tooBig(packet, peer)
    else if (!this.#engine.turning) this.flush()
  }

  #tooBig(packet: Packet, peer: number): void {
    if (this.#complained[peer] === 0) {
      this.#complained[peer] = 1
      const { address } = this.#peers.peer(peer)!
      const [is, takes] = [packet.len + this.#outerBytes, this.pathMtuBytes(peer)]
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
    this.#sender.flush()
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
    this.onDatagram(packet, peer, segmentBytes > 0 ? segmentBytes : bytes, tos)
  }

  /** Number of the peer with the socket address at `at`. */
  #peerOf(at: number): number {
    const { names } = this.#in
    const source = this.#source
    const port = u16(names, at + 2)
    const isV4 = this.address.family === 4
    const a = isV4 ? 0 : i32(names, at + 8)
    const b = isV4 ? 0 : i32(names, at + 12)
    const c = isV4 ? MAPPED : i32(names, at + 16)
    const d = i32(names, isV4 ? at + 4 : at + 20)
    const same = source[0] === a && source[1] === b && source[2] === c && source[3] === d
    if (same && this.#sourcePort !== 0) {
      this.#sourcePort = port
      return this.#sourcePeer
    }
    source[0] = a
    source[1] = b
    source[2] = c
    source[3] = d
    this.#sourcePort = port
    this.#sourcePeer = this.#peers.find(source)
    return this.#sourcePeer
  }

  #askPath({ address, udpPort }: UnderlayPeer): number {
    const knownBytes = pathMtu(this.#prober, address, udpPort)
    const mostBytes = this.#mtuBytes ?? (knownBytes || UNKNOWN_PATH_BYTES)
    return knownBytes === 0 ? mostBytes : Math.min(knownBytes, mostBytes)
  }

  #checkPaths(): void {
    for (let peer = 0; peer < PEERS_MAX; peer++) {
      if (this.#peers.peer(peer) !== undefined) this.#checkPath(peer)
    }
  }

  #checkPath(peer: number): void {
    const known = this.#peers.peer(peer)
    if (known === undefined) return
    const mtuBytes = this.#askPath(known)
    if (mtuBytes === this.#sender.mtuBytes[peer]) return
    this.#sender.mtuBytes[peer] = mtuBytes
    this.#complained[peer] = 0
    this.onPathMtu(peer, mtuBytes)
  }

  close(): void {
    if (this.#closed) return
    this.flush()
    this.#closed = true
    this.#cancel()
    this.#engine.removeDatagrams(this.#engineId)
    for (const fd of [this.fd, this.#prober]) close(fd)
    this.#sender.close()
    for (const [i, packet] of this.#lent.entries()) {
      this.#lent[i] = undefined
      if (packet !== undefined) this.#pool.free(packet)
    }
    this.#pool.counters.releasePort(this.port)
  }
}
