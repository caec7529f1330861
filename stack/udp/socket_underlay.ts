/**
 * An underlay on UDP sockets of the host's: some that receive (receiver.ts), and several that send
 * (sender.ts), through the node's I/O engine, so that one wake-up serves TAPs and tunnels.
 *
 * ```text
 *   send ──> [cut: headers in scratch, payload in place] ──> queue of a socket ──flush──> sendmmsg
 *   engine: readable ──> recvmmsg, each datagram in a packet of its own ──> onDatagram
 * ```
 * What is queued leaves at the end of the engine's turn, or at once outside of one.
 *
 * **Groups.** A peer whose address is a multicast group stands for all nodes that have it too: what
 * is sent to the group is received by a socket of its own, and comes from the node that sent it.
 *
 * **Path MTU.** Every datagram has DF set. What the kernel knows of a path is asked when a peer is
 * added, when a message was too big, and each {@link PATH_CHECK_MS}; who tries what arrives may
 * limit it further. TCP is cut to fit; what cannot be is dropped as `underlay-mtu`, and told once
 * a peer.
 *
 * Bounded by {@link PEERS_MAX} peers and QUEUE_MESSAGES waiting datagrams a socket. Not supported:
 * link-local addresses, which need the name of an interface.
 */
import { type Address, formatAddress, isMulticast, MAPPED } from '../address.ts'
import { i32, u16 } from '../bytes.ts'
import { type Cancel, type Clock, every } from '../clock.ts'
import { DropReason } from '../drop.ts'
import type { Engine } from '../engine.ts'
import { StackError } from '../errors.ts'
import { close } from '../native/libc.ts'
import { interfaceOf } from '../native/multicast.ts'
import {
  openGroupReceiver,
  openProber,
  openReceiver,
  type Place,
  pathMtu,
} from '../native/udp_socket.ts'
import { GsoType, type Packet, type Pool } from '../packet.ts'
import { outerBytes } from './outer.ts'
import { PEERS_MAX, PeerTable } from './peer_table.ts'
import { Receiver } from './receiver.ts'
import { Sender } from './sender.ts'
import {
  type DatagramHandler,
  isOpen,
  NO_PEER,
  type Underlay,
  type UnderlayPeer,
} from './underlay.ts'

const PATH_CHECK_MS = 30_000
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
  /** Of outer packets; left out: the host's, and 1 to multicast groups. */
  readonly hopLimit?: number | undefined
  /** Told what an operator should know, once each. */
  readonly onProblem?: (text: string) => void
}

export class SocketUnderlay implements Underlay {
  readonly name: string
  readonly address: Address
  readonly udpPort: number
  readonly port: number
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
  /** Largest IP packet to each peer: what the kernel believes, and what it must not exceed or 0. */
  readonly #hostBytes = new Int32Array(PEERS_MAX)
  readonly #limitBytes = new Int32Array(PEERS_MAX)
  readonly #receiver: Receiver
  /** Address of the sender of the last datagram, and its number. */
  readonly #source = new Int32Array(4)
  #sourcePeer = NO_PEER
  /** 0: what is known of the last sender holds no more. */
  #sourcePort = 0
  readonly #outerBytes: number
  readonly #mtuBytes: number | undefined
  readonly #place: Place
  /** By peer that is a multicast group: the socket that hears it. */
  readonly #groups = new Map<number, number>()
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
    const { interfaceName, hopLimit } = options
    const own = interfaceOf(address, interfaceName)
    const place = { address, interfaceName, groupInterface: own?.index ?? 0, hopLimit }
    this.#place = place
    const { fd, segments } = openReceiver(place, udpPort)
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
    const flush = (): void => this.flush()
    this.#receiver = new Receiver({ pool, engine, port: this.port, deliver: this.#deliver, flush })
    this.#receiver.add(fd)
    this.#cancel = every(clock, PATH_CHECK_MS, () => this.#checkPaths())
    if (own !== undefined && mtuBytes !== undefined && own.mtuBytes < mtuBytes) {
      this.#tell(`interface ${own.name} takes ${own.mtuBytes} octets, and networks were given an
        MTU for ${mtuBytes}: set node.underlay.mtu to ${own.mtuBytes}`)
    }
  }

  pathMtuBytes(peer: number): number {
    return this.#sender.mtuBytes[peer]!
  }

  hostPathBytes(peer: number): number {
    return this.#hostBytes[peer]!
  }

  limitPath(peer: number, mtuBytes: number): void {
    this.#limitBytes[peer] = mtuBytes
    this.#settlePath(peer)
  }

  addPeer(peer: UnderlayPeer): number {
    if (peer.address.family !== this.address.family) {
      throw new StackError('bad-argument', `${formatAddress(peer.address)} is of another family`)
    }
    const isNew = !this.#peers.has(peer.address)
    const number = this.#peers.add(peer)
    if (!isNew) return number
    if (isMulticast(peer.address)) this.#joinGroup(number, peer.address)
    this.flush()
    this.#sender.setPeer(number, peer)
    const mtuBytes = this.#askPath(peer)
    this.#hostBytes[number] = mtuBytes
    this.#limitBytes[number] = 0
    this.#sender.mtuBytes[number] = mtuBytes
    this.#open[number] = 0
    this.#complained[number] = 0
    this.#sourcePort = 0
    this.onPeer(number)
    if (this.#mtuBytes !== undefined && mtuBytes < this.#mtuBytes) this.onPathMtu(number, mtuBytes)
    return number
  }

  /** The socket is opened where the thread is now. */
  #joinGroup(number: number, group: Address): void {
    let fd = -1
    try {
      fd = openGroupReceiver(this.#place, group, this.udpPort)
      this.#receiver.add(fd)
      this.#groups.set(number, fd)
    } catch (error) {
      if (fd >= 0) close(fd)
      this.#peers.remove(number)
      throw error
    }
  }

  removePeer(peer: number): void {
    if (!this.#peers.remove(peer)) return
    this.#sourcePort = 0
    const fd = this.#groups.get(peer)
    if (fd === undefined || this.#closed) return
    this.#groups.delete(peer)
    this.#receiver.remove(fd)
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

  probe(packet: Packet, peer: number): void {
    const pool = this.#pool
    if (this.#closed || this.#peers.peer(peer) === undefined) {
      return pool.drop(packet, DropReason.DeviceDown)
    }
    // Before and after, so that it leaves alone: what is joined arrives or not together.
    this.flush()
    const { mtuBytes } = this.#sender
    const limited = mtuBytes[peer]!
    mtuBytes[peer] = this.#hostBytes[peer]!
    const fits = this.#sender.queue(packet, peer, packet.len, 0, false)
    mtuBytes[peer] = limited
    if (!fits) return pool.drop(packet, DropReason.UnderlayMtu)
    this.flush()
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

  readonly #deliver = (packet: Packet, name: number, segmentBytes: number, tos: number): void => {
    const { names } = this.#receiver
    const peer = this.#peerOf(names, name)
    this.onDatagram(packet, peer, segmentBytes > 0 ? segmentBytes : packet.len, tos)
  }

  /** Number of the peer with the socket address at `at` of `names`. */
  #peerOf(names: Uint8Array, at: number): number {
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
    this.#hostBytes[peer] = this.#askPath(known)
    this.#settlePath(peer)
  }

  #settlePath(peer: number): void {
    const hostBytes = this.#hostBytes[peer]!
    const mtuBytes = Math.min(hostBytes, this.#limitBytes[peer]! || hostBytes)
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
    this.#receiver.close()
    close(this.#prober)
    this.#sender.close()
    this.#pool.counters.releasePort(this.port)
  }
}
