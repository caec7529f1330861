/**
 * Encryption between tunnels and the underlay (seal.ts): the datagrams of chosen VNIs are sealed on
 * the way out and opened on the way in; all others pass.
 *
 * ```text
 *   vtep -> send: VNI encrypted? -> cut super-frames -> sum checksums -> seal ─┐
 *                  └ no ───────────────────────────────────────────────────────┴> underlay
 *   vtep <- onDatagram <- open, each of joined datagrams, to where the last one ended <- underlay
 * ```
 *
 * What is not as it has to be is dropped and counted, in either direction: plain datagrams of an
 * encrypted VNI, encrypted ones of a plain VNI, keys that are not known, tags that are wrong,
 * numbers that were seen. Joined datagrams stay joined, so that what comes out can become one
 * super-frame; one that is refused is left out.
 *
 * Sealed datagrams go out one by one and say nothing of the flow inside; their outer source port
 * is one a peer.
 */
import type { Address } from '../address.ts'
import type { Clock } from '../clock.ts'
import { DropReason } from '../drop.ts'
import {
  completeChecksum,
  ipOffset,
  segmentAt,
  segmentCount,
  superHeaderBytes,
} from '../ip/segment.ts'
import { GsoType, headroom, type Packet, type Pool, pull, push, tailroom } from '../packet.ts'
import { type DatagramHandler, NO_PEER, type Underlay, type UnderlayPeer } from '../udp/underlay.ts'
import * as vxlan from './header.ts'
import * as seal from './seal.ts'
import { SealedPeer, Session } from './sealed_peer.ts'
import { type Joiner, splitter } from './split.ts'

/**
 * Datagrams in one epoch. AES-GCM keeps its promise for many more with numbers that count up; a
 * key that changes is one that cannot be worn out.
 */
const EPOCH_DATAGRAMS = 0x1_0000_0000

export interface SealedUnderlayOptions {
  readonly pool: Pool
  readonly clock: Clock
  readonly under: Underlay
  readonly keys: seal.SealKeys
  /** Default {@link EPOCH_DATAGRAMS}. */
  readonly epochDatagrams?: number
}

export class SealedUnderlay implements Underlay {
  readonly name: string
  readonly address: Address
  readonly udpPort: number
  readonly port: number
  readonly mayLeaveOpen: boolean
  onDatagram: DatagramHandler
  onPeer: (peer: number) => void = () => {}
  readonly #pool: Pool
  readonly #clock: Clock
  readonly #under: Underlay
  readonly #keys: seal.SealKeys
  readonly #epochDatagrams: number
  /** Each datagram in a packet of its own. */
  readonly #apart: Joiner
  readonly #encrypted = new Set<number>()
  /** By peer number. */
  readonly #peers: (SealedPeer | undefined)[] = []
  #sender: seal.SealSender | undefined = undefined
  #sent = 0

  /** `onDatagram`, `onPeer` and `onPathMtu` of `under` are taken over. */
  constructor({ pool, clock, under, keys, epochDatagrams }: SealedUnderlayOptions) {
    this.name = under.name
    this.address = under.address
    this.udpPort = under.udpPort
    this.port = under.port
    this.mayLeaveOpen = under.mayLeaveOpen
    this.onDatagram = (packet) => pool.drop(packet, DropReason.DeviceDown)
    this.#pool = pool
    this.#apart = splitter(pool)
    this.#clock = clock
    this.#under = under
    this.#keys = keys
    this.#epochDatagrams = epochDatagrams ?? EPOCH_DATAGRAMS
    under.onDatagram = (packet, peer, segmentBytes, tos) =>
      this.#receive(packet, peer, segmentBytes, tos)
    under.onPeer = (peer) => this.onPeer(peer)
  }

  /** Nothing of this network leaves or comes in in the clear. @throws StackError without a key. */
  encrypt(vni: number): void {
    this.#sender ??= this.#keys.sender()
    this.#encrypted.add(vni)
  }

  /** Nothing of this network is encrypted any more. Idempotent. */
  decrypt(vni: number): void {
    this.#encrypted.delete(vni)
  }

  /** Another key is in use, from the next datagram on. @throws StackError without a key. */
  rekey(): void {
    if (this.#sender === undefined) return
    this.#sender = this.#keys.sender()
    this.#sent = 0
  }

  /** Nothing that was sealed with the key opens any more. */
  forgetKey(keyId: number): void {
    for (const peer of this.#peers) peer?.forgetKey(keyId)
  }

  get onPathMtu(): Underlay['onPathMtu'] {
    return this.#under.onPathMtu
  }

  set onPathMtu(told: Underlay['onPathMtu']) {
    this.#under.onPathMtu = told
  }

  pathMtuBytes(peer: number): number {
    return this.#under.pathMtuBytes(peer)
  }

  hostPathBytes(peer: number): number {
    return this.#under.hostPathBytes(peer)
  }

  limitPath(peer: number, mtuBytes: number): void {
    this.#under.limitPath(peer, mtuBytes)
  }

  probe(packet: Packet, peer: number): void {
    this.#under.probe(packet, peer)
  }

  setOpenChecksums(peer: number, on: boolean): void {
    this.#under.setOpenChecksums(peer, on)
  }

  /** Not of what is sealed: the header that would tell of it is not sent. */
  leavesOpen(peer: number, packet: Packet, frame: number): boolean {
    const vni = vxlan.vni(this.#pool.mem, frame - vxlan.HEADER_BYTES)
    return !this.#encrypted.has(vni) && this.#under.leavesOpen(peer, packet, frame)
  }

  addPeer(peer: UnderlayPeer): number {
    return this.#under.addPeer(peer)
  }

  removePeer(peer: number): void {
    this.#under.removePeer(peer)
    if (this.#under.peer(peer) === undefined) this.#peers[peer] = undefined
  }

  peer(number: number): UnderlayPeer | undefined {
    return this.#under.peer(number)
  }

  sourceOf(): UnderlayPeer {
    return this.#under.sourceOf()
  }

  flush(): void {
    this.#under.flush()
  }

  close(): void {
    this.#under.close()
  }

  send(packet: Packet, peer: number, prefixBytes: number, tos: number): void {
    const { mem } = this.#pool
    const { head, len } = packet
    const vni = vxlan.vni(mem, head)
    // What nodes say of themselves (hello.ts) has no VNI.
    const isSealed = this.#encrypted.has(vni) && vxlan.isHeader(mem, head, len)
    if (!isSealed) return this.#under.send(packet, peer, prefixBytes, tos)
    if (packet.gsoType === GsoType.None) return this.#seal(packet, vni, peer, tos)
    this.#cut(packet, vni, peer, tos)
  }

  /** The segments that a super-frame stands for, each sealed. */
  #cut(packet: Packet, vni: number, peer: number, tos: number): void {
    const pool = this.#pool
    const { mem } = pool
    pull(packet, vxlan.HEADER_BYTES)
    const ip = ipOffset(mem, packet)
    const headerBytes = superHeaderBytes(mem, packet, ip)
    if (headerBytes < 0) return pool.drop(packet, DropReason.FrameOffloadBad)
    const count = segmentCount(packet, headerBytes)
    for (let i = 0; i < count; i++) {
      const segment = segmentAt(pool, packet, ip, headerBytes, i)
      if (segment === undefined) return pool.drop(packet, DropReason.PoolEmpty)
      push(segment, vxlan.HEADER_BYTES)
      this.#seal(segment, vni, peer, tos)
    }
    pool.free(packet)
  }

  /** A VXLAN header is at the head, one frame behind it. */
  #seal(packet: Packet, vni: number, peer: number, tos: number): void {
    const pool = this.#pool
    const { mem } = pool
    if (!completeChecksum(mem, packet)) return pool.drop(packet, DropReason.FrameOffloadBad)
    pull(packet, vxlan.HEADER_BYTES)
    const { head, len } = packet
    if (headroom(packet) < seal.HEADER_BYTES || tailroom(packet) < seal.TAG_BYTES) {
      return pool.drop(packet, DropReason.FrameOversize)
    }
    if (this.#sent >= this.#epochDatagrams) this.rekey()
    const sender = this.#sender!
    const number = this.#sent++
    push(packet, seal.HEADER_BYTES)
    const { keyId, epoch } = sender
    seal.putHeader(mem, packet.head, { keyId, vni, epoch, number })
    sender.cipher.seal(mem, packet.head, head, len)
    packet.len += seal.TAG_BYTES
    this.#under.send(packet, peer, packet.len, tos)
  }

  #receive(packet: Packet, peer: number, segmentBytes: number, tos: number): void {
    const { mem } = this.#pool
    const joined = segmentBytes > 0 && segmentBytes < packet.len
    if (!joined) return this.#receiveOne(packet, peer, tos)
    const sealed = packet.len > 0 && seal.isSealed(mem, packet.head)
    for (let skip = segmentBytes; skip < packet.len; skip += segmentBytes) {
      if (seal.isSealed(mem, packet.head + skip) === sealed) continue
      return this.#apart(packet, segmentBytes, peer, tos, this.#receiveOne)
    }
    // Plain datagrams of an encrypted network are rare: taken apart, each is judged.
    if (!sealed && this.#encrypted.size > 0) {
      for (let skip = 0; skip < packet.len; skip += segmentBytes) {
        if (!this.#isRefused(packet.head + skip, packet.len - skip)) continue
        return this.#apart(packet, segmentBytes, peer, tos, this.#receiveOne)
      }
    }
    if (!sealed) return this.onDatagram(packet, peer, segmentBytes, tos)
    this.#openAll(packet, peer, segmentBytes, tos)
  }

  /** True if what stands there in the clear is of an encrypted network. */
  #isRefused(at: number, bytes: number): boolean {
    const { mem } = this.#pool
    return vxlan.isHeader(mem, at, bytes) && this.#encrypted.has(vxlan.vni(mem, at))
  }

  readonly #receiveOne = (packet: Packet, peer: number, tos: number): void => {
    const pool = this.#pool
    const { mem } = pool
    const { head, len } = packet
    if (len === 0 || !seal.isSealed(mem, head)) {
      if (this.#isRefused(head, len)) return pool.drop(packet, DropReason.SealPlain)
      return this.onDatagram(packet, peer, len, tos)
    }
    const reason = this.#open(head, len, peer, head)
    if (reason >= 0) return pool.drop(packet, reason)
    packet.len = len - seal.SEAL_BYTES
    this.onDatagram(packet, peer, packet.len, tos)
  }

  /** Joined datagrams that are all sealed: opened one behind the other, from the head on. */
  #openAll(packet: Packet, peer: number, segmentBytes: number, tos: number): void {
    const pool = this.#pool
    const { head, len } = packet
    let bytes = 0
    for (let skip = 0; skip < len; skip += segmentBytes) {
      const one = Math.min(segmentBytes, len - skip)
      const reason = this.#open(head + skip, one, peer, head + bytes)
      if (reason < 0) bytes += one - seal.SEAL_BYTES
      else if (bytes === 0 && skip + one >= len) return pool.drop(packet, reason)
      else pool.counters.dropped(packet.ingress, reason)
    }
    packet.len = bytes
    this.onDatagram(packet, peer, segmentBytes - seal.SEAL_BYTES, tos)
  }

  /** Open the datagram at `at` to `to`, with a VXLAN header: -1, or why it is refused. */
  #open(at: number, bytes: number, peer: number, to: number): number {
    const { mem } = this.#pool
    if (!seal.isWhole(mem, at, bytes)) return DropReason.SealMalformed
    if (peer === NO_PEER) return DropReason.VxlanUnknownVtep
    const vni = seal.vni(mem, at)
    if (!this.#encrypted.has(vni)) return DropReason.SealUnexpected
    const known = this.#peers[peer]?.find(
      seal.keyId(mem, at),
      seal.epochHi(mem, at),
      seal.epochLo(mem, at),
    )
    if (known === undefined) return this.#openFirst(at, bytes, peer, to)
    return this.#openBy(known, at, bytes, to)
  }

  #openBy(session: Session, at: number, bytes: number, to: number): number {
    const { mem } = this.#pool
    const number = seal.number(mem, at)
    if (!session.window.isFresh(number)) return DropReason.SealReplayed
    const vni = seal.vni(mem, at)
    const frame = at + seal.HEADER_BYTES
    const frameBytes = bytes - seal.SEAL_BYTES - vxlan.HEADER_BYTES
    const opened = session.cipher.open(mem, at, frame, frameBytes, to + vxlan.HEADER_BYTES)
    if (!opened) return DropReason.SealForged
    vxlan.putHeader(mem, to, vni)
    session.window.mark(number)
    return -1
  }

  /** The first datagram of an epoch, or one that says so. */
  #openFirst(at: number, bytes: number, number: number, to: number): number {
    const { mem } = this.#pool
    const peer = this.#peers[number] ?? new SealedPeer()
    this.#peers[number] = peer
    const epoch = { hi: seal.epochHi(mem, at), lo: seal.epochLo(mem, at) }
    if (!peer.isNew(epoch)) return DropReason.SealReplayed
    const other = this.#under.peer(number)
    if (other === undefined) return DropReason.VxlanUnknownVtep
    if (!peer.mayTry(this.#clock.nowMs)) return DropReason.SealUnknownKey
    const keyId = seal.keyId(mem, at)
    const cipher = this.#keys.receiver(keyId, epoch, other.address)
    if (cipher === undefined) return DropReason.SealUnknownKey
    const session = new Session(keyId, epoch, cipher)
    const reason = this.#openBy(session, at, bytes, to)
    if (reason < 0) peer.add(session)
    return reason
  }
}
