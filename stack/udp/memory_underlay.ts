/**
 * Underlays in memory: the UDP sockets of several nodes, on any clock. The wires between them,
 * which delay, lose, duplicate and corrupt, are in memory_net.ts.
 *
 * ```text
 *   send: cut super-frames, sum checksums -> outer headers -> fits the path? -> lane ─┐ to each
 *   onDatagram <- [join] <- headers off <- checksums asked <- inbox <- poll           <┘ node
 * ```
 *
 * Datagrams are whole IP packets on the wire, so that a flipped bit is found by a checksum as on a
 * real one. Nodes may have packet pools of their own: what changes the pool is copied. A peer whose
 * address is a multicast group stands for all other nodes that have that peer too.
 *
 * A packet that is too big for a wire is dropped, and its sender is told the size that fits, as
 * ICMP would, unless the wire is silent; before that it knows only its own MTU.
 */
import { type Address, formatAddress, isMulticast } from '../address.ts'
import { copy } from '../bytes.ts'
import { DropReason } from '../drop.ts'
import { StackError } from '../errors.ts'
import {
  completeChecksum,
  ipOffset,
  segmentAt,
  segmentCount,
  superHeaderBytes,
} from '../ip/segment.ts'
import { GsoType, LARGE_FRAME_BYTES, type Packet, type Pool, pull, push } from '../packet.ts'
import type { MemoryNet } from './memory_net.ts'
import { loadSource, outerBytes, outerRefusal, outerTos, pullOuter, putOuter } from './outer.ts'
import { PeerTable } from './peer_table.ts'
import type { DatagramHandler, Underlay, UnderlayPeer } from './underlay.ts'

export interface MemoryUnderlayOptions {
  readonly pool: Pool
  readonly address: Address
  readonly udpPort: number
  /** Default 1500. */
  readonly mtuBytes?: number
  /** Hand over equal datagrams of one sender in one packet, as UDP_GRO does. Default false. */
  readonly joins?: boolean
  /** Called when there is something to poll and was nothing. */
  readonly wake?: () => void
  readonly closed?: () => void
}

/** Datagrams that wait at a node. */
const INBOX_DATAGRAMS = 4096
const MTU_BYTES = 1500

export class MemoryUnderlay implements Underlay {
  readonly name: string
  readonly address: Address
  readonly udpPort: number
  readonly port: number
  readonly pool: Pool
  onDatagram: DatagramHandler
  onPeer: (peer: number) => void = () => {}
  readonly mayLeaveOpen = false
  onPathMtu: (peer: number, mtuBytes: number) => void = () => {}
  readonly #net: MemoryNet
  readonly #mtuBytes: number
  readonly #joins: boolean
  readonly #wake: () => void
  readonly #onClose: () => void
  readonly #peers: PeerTable
  /** By peer; undefined: nothing smaller than our own MTU is known. */
  readonly #pathMtus: (number | undefined)[] = []
  /** By peer; 0 or undefined: none. */
  readonly #limits: (number | undefined)[] = []
  readonly #inbox: (Packet | undefined)[] = new Array(INBOX_DATAGRAMS).fill(undefined)
  readonly #source = new Int32Array(5)
  #read = 0
  #written = 0
  #closed = false

  /** Use {@link MemoryNet.open}. */
  constructor(o: MemoryUnderlayOptions, net: MemoryNet, seed: number) {
    const { pool, address, udpPort } = o
    this.name = `udp ${formatAddress(address)}:${udpPort} in memory`
    this.address = address
    this.udpPort = udpPort
    this.port = pool.counters.acquirePort()
    this.pool = pool
    this.onDatagram = (packet) => pool.drop(packet, DropReason.DeviceDown)
    this.#net = net
    this.#mtuBytes = o.mtuBytes ?? MTU_BYTES
    this.#joins = o.joins ?? false
    this.#wake = o.wake ?? (() => {})
    this.#onClose = o.closed ?? (() => {})
    this.#peers = new PeerTable(seed)
  }

  pathMtuBytes(peer: number): number {
    const hostBytes = this.hostPathBytes(peer)
    return Math.min(hostBytes, this.#limits[peer] || hostBytes)
  }

  hostPathBytes(peer: number): number {
    return this.#pathMtus[peer] ?? this.#mtuBytes
  }

  limitPath(peer: number, mtuBytes: number): void {
    const before = this.pathMtuBytes(peer)
    this.#limits[peer] = mtuBytes
    const after = this.pathMtuBytes(peer)
    if (after !== before) this.onPathMtu(peer, after)
  }

  addPeer(peer: UnderlayPeer): number {
    if (peer.address.family !== this.address.family) {
      throw new StackError('bad-argument', `${formatAddress(peer.address)} is of another family`)
    }
    const isNew = !this.#peers.has(peer.address)
    const number = this.#peers.add(peer)
    if (isNew) this.onPeer(number)
    return number
  }

  removePeer(peer: number): void {
    if (!this.#peers.remove(peer)) return
    this.#pathMtus[peer] = undefined
    this.#limits[peer] = undefined
  }

  peer(number: number): UnderlayPeer | undefined {
    return this.#peers.peer(number)
  }

  /** Checksums are always summed here, so that a flipped bit is found. */
  setOpenChecksums(): void {}

  leavesOpen(): boolean {
    return false
  }

  hasPeer(address: Address): boolean {
    return this.#peers.has(address)
  }

  sourceOf(): UnderlayPeer {
    const words = this.#source.slice(0, 4)
    const address: Address = { family: this.address.family, words }
    return { address, udpPort: this.#source[4]! }
  }

  send(packet: Packet, peer: number, prefixBytes: number, tos: number): void {
    const { pool } = this
    const { mem } = pool
    const to = this.#peers.peer(peer)
    if (this.#closed || to === undefined) return pool.drop(packet, DropReason.DeviceDown)
    if (packet.gsoType === GsoType.None) {
      if (!completeChecksum(mem, packet)) return pool.drop(packet, DropReason.FrameOffloadBad)
      return this.#emit(packet, peer, to, tos)
    }
    pull(packet, prefixBytes)
    const ip = ipOffset(mem, packet)
    const headerBytes = superHeaderBytes(mem, packet, ip)
    push(packet, prefixBytes)
    if (headerBytes < 0) return pool.drop(packet, DropReason.FrameOffloadBad)
    const all = headerBytes + prefixBytes
    const count = segmentCount(packet, all)
    for (let i = 0; i < count; i++) {
      const segment = segmentAt(pool, packet, ip, all, i)
      if (segment === undefined) return pool.drop(packet, DropReason.PoolEmpty)
      completeChecksum(mem, segment)
      this.#emit(segment, peer, to, tos)
    }
    pool.free(packet)
  }

  probe(packet: Packet, peer: number): void {
    const { pool } = this
    const to = this.#peers.peer(peer)
    if (this.#closed || to === undefined) return pool.drop(packet, DropReason.DeviceDown)
    const bytes = packet.len + outerBytes(to.address)
    if (bytes <= this.hostPathBytes(peer)) return this.#put(packet, peer, to, 0)
    pool.drop(packet, DropReason.FrameOversize)
  }

  flush(): void {}

  /** Deliver at most `budget` datagrams that arrived; how many. */
  poll(budget: number): number {
    let count = 0
    while (count < budget && this.#read !== this.#written) {
      count++
      this.#deliver(this.#take())
    }
    return count
  }

  /** Datagrams that arrived and were not polled yet. */
  get waiting(): number {
    return this.#written - this.#read
  }

  /** A packet of another node's, for {@link Lane}; false: there is no room. */
  arrive(packet: Packet, pool: Pool): boolean {
    if (this.#closed || this.waiting === INBOX_DATAGRAMS) return false
    let own = packet
    if (pool !== this.pool) {
      const twin = this.pool.alloc(packet.len)
      if (twin === undefined) return false
      twin.len = packet.len
      this.pool.mem.set(pool.mem.subarray(packet.head, packet.head + packet.len), twin.head)
      pool.free(packet)
      own = twin
    }
    this.#inbox[this.#written++ % INBOX_DATAGRAMS] = own
    if (this.waiting === 1) this.#wake()
    return true
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    while (this.#read !== this.#written) this.pool.free(this.#take())
    this.#net.remove(this)
    this.pool.counters.releasePort(this.port)
    this.#onClose()
  }

  #emit(packet: Packet, peer: number, to: UnderlayPeer, tos: number): void {
    const bytes = packet.len + outerBytes(to.address)
    if (bytes <= this.pathMtuBytes(peer)) return this.#put(packet, peer, to, tos)
    this.pool.drop(packet, DropReason.FrameOversize)
  }

  /** On the wire. */
  #put(packet: Packet, peer: number, to: UnderlayPeer, tos: number): void {
    const { pool } = this
    putOuter(pool.mem, packet, this, to, tos)
    if (isMulticast(to.address)) return this.#emitGroup(packet, to)
    const other = this.#net.find(to.address)
    if (other === undefined) return pool.drop(packet, DropReason.LinkLost)
    const mtuBytes = this.#net.mtuBytes(this.address, to.address)
    if (packet.len > mtuBytes) {
      if (this.#net.isSilent(this.address, to.address)) {
        return pool.drop(packet, DropReason.LinkLost)
      }
      pool.drop(packet, DropReason.FrameOversize)
      this.#pathMtus[peer] = mtuBytes
      return this.onPathMtu(peer, mtuBytes)
    }
    this.#net.lane(this, other).carry(packet)
  }

  #emitGroup(packet: Packet, to: UnderlayPeer): void {
    for (const other of this.#net.members(to.address, this)) {
      const twin = this.pool.clone(packet)
      if (twin === undefined) this.pool.counters.dropped(this.port, DropReason.PoolEmpty)
      else this.#net.lane(this, other).carry(twin)
    }
    this.pool.free(packet)
  }

  #take(): Packet {
    const at = this.#read++ % INBOX_DATAGRAMS
    const packet = this.#inbox[at]!
    this.#inbox[at] = undefined
    return packet
  }

  #deliver(packet: Packet): void {
    const { pool } = this
    const { mem } = pool
    const { family } = this.address
    packet.ingress = this.port
    pool.counters.received(this.port, packet.len)
    const refusal = outerRefusal(mem, packet, family)
    if (refusal >= 0) return pool.drop(packet, refusal)
    const tos = outerTos(mem, packet.head, family)
    loadSource(mem, packet.head, family, this.#source)
    pullOuter(packet, family)
    const { len } = packet
    const joined = this.#joins ? this.#join(packet, tos) : packet
    this.onDatagram(joined, this.#peers.find(this.#source), len, tos)
  }

  /** What waits and is like the first is put behind it; a shorter one is the last. */
  #join(first: Packet, tos: number): Packet {
    const { pool } = this
    const { mem } = pool
    const { len } = first
    let joined: Packet | undefined
    while (this.#read !== this.#written) {
      const next = this.#inbox[this.#read % INBOX_DATAGRAMS]!
      const bytes = next.len - outerBytes(this.address)
      const total = (joined ?? first).len
      if (bytes > len || total + bytes > LARGE_FRAME_BYTES || !this.#isLike(next, tos)) break
      if (joined === undefined) {
        joined = pool.alloc(LARGE_FRAME_BYTES)
        if (joined === undefined) break
        joined.len = len
        joined.ingress = this.port
        copy(mem, joined.head, first.head, len)
        pool.free(first)
      }
      this.#take()
      pool.counters.received(this.port, next.len)
      pullOuter(next, this.address.family)
      copy(mem, joined.head + joined.len, next.head, bytes)
      joined.len += bytes
      pool.free(next)
      if (bytes < len) break
    }
    return joined ?? first
  }

  #isLike(next: Packet, tos: number): boolean {
    const { mem } = this.pool
    const { family } = this.address
    if (outerRefusal(mem, next, family) >= 0 || outerTos(mem, next.head, family) !== tos)
      return false
    const source = new Int32Array(5)
    loadSource(mem, next.head, family, source)
    return source.every((word, i) => word === this.#source[i])
  }
}
