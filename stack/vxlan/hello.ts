/**
 * What tunnel ends of ours say to each other of themselves, so that nothing of it has to be
 * configured: that they take checksums which were left open (remote checksum offload), and what
 * the path to them carries (path_probe.ts).
 *
 * ```text
 *  0       1          4       8         9       10          11      12      16
 *  | 0     | reserved | magic | version | kind  | abilities | rsvd  | nonce | zeros ... |
 * ```
 * It is where a VXLAN header would be, and has no VNI flag: RFC 7348 §5 has every other tunnel end
 * discard it. A peer is asked when it is added and each {@link HELLO_MS}; its answer counts if it
 * repeats the nonce of the question, which whoever is not on the path cannot know. Who leaves
 * {@link SILENCE_MAX} questions unanswered is believed to have been replaced by something else.
 *
 * Who is asked by a silent peer asks it back at once, so two nodes know each other as soon as both
 * run. Questions may be padded, to whoever said that it understands that. Only peers are answered,
 * with {@link HELLO_BYTES} octets and so never with more than they sent.
 */
import { isMulticast } from '../address.ts'
import { put32, u8, u32 } from '../bytes.ts'
import { type Cancel, type Clock, every } from '../clock.ts'
import { DropReason } from '../drop.ts'
import type { Packet, Pool } from '../packet.ts'
import type { Random } from '../random.ts'
import { outerBytes } from '../udp/outer.ts'
import { PEERS_MAX } from '../udp/peer_table.ts'
import type { Underlay } from '../udp/underlay.ts'
import { PathProbe } from './path_probe.ts'

export const HELLO_BYTES = 16
export const HELLO_MS = 30_000
export const SILENCE_MAX = 3
/** "tapl" */
const MAGIC = 0x7461_706c
const VERSION = 1
const Kind = { Ask: 0, Answer: 1 } as const
const Ability = { OpenChecksums: 1, PaddedQuestions: 2 } as const
const ABILITIES = Ability.OpenChecksums | Ability.PaddedQuestions

export interface HelloOptions {
  readonly pool: Pool
  readonly clock: Clock
  readonly random: Random
  readonly underlay: Underlay
}

export class Hello {
  readonly #pool: Pool
  readonly #random: Random
  readonly #underlay: Underlay
  readonly #cancel: Cancel
  readonly #paths: PathProbe
  /** Of the last question to each peer. */
  readonly #nonces = new Int32Array(PEERS_MAX)
  /** Questions that a peer left unanswered. */
  readonly #silent = new Uint8Array(PEERS_MAX)

  /** `onPeer` of the underlay is taken over. */
  constructor({ pool, clock, random, underlay }: HelloOptions) {
    this.#pool = pool
    this.#random = random
    this.#underlay = underlay
    const ask = (peer: number, nonce: number, bytes: number): void =>
      this.#askPadded(peer, nonce, bytes)
    this.#paths = new PathProbe({ clock, random, underlay, ask })
    underlay.onPeer = (peer) => {
      this.#silent[peer] = 0
      this.#paths.forget(peer)
      this.#ask(peer)
    }
    this.#cancel = every(clock, HELLO_MS, () => this.#askAll())
  }

  /** A datagram that has no VXLAN header. Takes ownership. */
  receive(packet: Packet, peer: number): void {
    const { mem } = this.#pool
    const at = packet.head
    const isHello =
      packet.len >= HELLO_BYTES &&
      u32(mem, at) === 0 &&
      u32(mem, at + 4) === MAGIC &&
      u8(mem, at + 8) === VERSION
    if (!isHello || peer < 0) return this.#pool.drop(packet, DropReason.VxlanMalformed)
    const kind = u8(mem, at + 9)
    const nonce = u32(mem, at + 12) | 0
    if (kind === Kind.Ask) {
      this.#send(peer, Kind.Answer, nonce)
      // With the nonce that is on its way already, or answers to it would count no more.
      if (this.#silent[peer]! > 0) this.#send(peer, Kind.Ask, this.#nonces[peer]!)
    } else if (kind === Kind.Answer && nonce === this.#nonces[peer]) {
      this.#answered(peer, u8(mem, at + 10))
    } else if (kind === Kind.Answer) this.#paths.answered(peer, nonce)
    this.#pool.drop(packet, DropReason.Delivered)
  }

  /** A small question was. */
  #answered(peer: number, abilities: number): void {
    const isFirst = this.#silent[peer]! > 0
    this.#silent[peer] = 0
    this.#underlay.setOpenChecksums(peer, (abilities & Ability.OpenChecksums) !== 0)
    if ((abilities & Ability.PaddedQuestions) === 0) this.#paths.forget(peer)
    else if (isFirst) this.#paths.check(peer)
    else this.#paths.heard(peer)
  }

  /** Idempotent. */
  close(): void {
    this.#cancel()
    this.#paths.close()
    this.#underlay.onPeer = () => {}
  }

  #askAll(): void {
    for (let peer = 0; peer < PEERS_MAX; peer++) {
      if (this.#underlay.peer(peer) === undefined) continue
      if (this.#silent[peer]! >= SILENCE_MAX) {
        this.#underlay.setOpenChecksums(peer, false)
        this.#paths.forget(peer)
      }
      this.#ask(peer)
    }
  }

  #ask(peer: number): void {
    // A group is no node: each of its nodes is asked by its own address.
    if (isMulticast(this.#underlay.peer(peer)!.address)) return
    this.#silent[peer] = Math.min(SILENCE_MAX, this.#silent[peer]! + 1)
    this.#nonces[peer] = this.#random.bits()
    this.#send(peer, Kind.Ask, this.#nonces[peer]!)
  }

  /** The small one is behind: once it is answered, the padded one was, or is lost. */
  #askPadded(peer: number, nonce: number, bytes: number): void {
    const padded = this.#make(Kind.Ask, nonce, bytes - outerBytes(this.#underlay.address))
    // The small one alone would look like a loss.
    if (padded === undefined) return
    this.#underlay.probe(padded, peer)
    this.#send(peer, Kind.Ask, this.#nonces[peer]!)
  }

  #send(peer: number, kind: number, nonce: number): void {
    const packet = this.#make(kind, nonce, HELLO_BYTES)
    if (packet !== undefined) this.#underlay.send(packet, peer, HELLO_BYTES, 0)
  }

  /** Undefined: there is no room. */
  #make(kind: number, nonce: number, bytes: number): Packet | undefined {
    const packet = this.#pool.alloc(bytes)
    if (packet === undefined) return undefined
    const { mem } = this.#pool
    const { head } = packet
    packet.len = bytes
    mem.fill(0, head, head + bytes)
    put32(mem, head + 4, MAGIC)
    put32(mem, head + 8, (VERSION << 24) | (kind << 16) | (ABILITIES << 8))
    put32(mem, head + 12, nonce)
    return packet
  }
}
