/**
 * What tunnel ends of ours say to each other of themselves, so that nothing of it has to be
 * configured: that they take checksums which were left open (remote checksum offload).
 *
 * ```text
 *  0       1          4       8         9       10          11      12      16
 *  | 0     | reserved | magic | version | kind  | abilities | rsvd  | nonce |
 * ```
 * It is where a VXLAN header would be, and has no VNI flag: RFC 7348 §5 has every other tunnel end
 * discard it. A peer is asked when it is added and each {@link HELLO_MS}; its answer counts if it
 * repeats the nonce of the question, which whoever is not on the path cannot know. Who leaves
 * {@link SILENCE_MAX} questions unanswered is believed to have been replaced by something else.
 *
 * Who is asked by a silent peer asks it back at once, so two nodes know each other as soon as both
 * run. Only peers are answered, with as many octets as they sent.
 */
import { isMulticast } from '../address.ts'
import { put32, u8, u32 } from '../bytes.ts'
import { type Cancel, type Clock, every } from '../clock.ts'
import { DropReason } from '../drop.ts'
import type { Packet, Pool } from '../packet.ts'
import type { Random } from '../random.ts'
import { PEERS_MAX } from '../udp/peer_table.ts'
import type { Underlay } from '../udp/underlay.ts'

export const HELLO_BYTES = 16
export const HELLO_MS = 30_000
export const SILENCE_MAX = 3
/** "tapl" */
const MAGIC = 0x7461_706c
const VERSION = 1
const Kind = { Ask: 0, Answer: 1 } as const
const Ability = { OpenChecksums: 1 } as const

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
  /** Of the last question to each peer. */
  readonly #nonces = new Int32Array(PEERS_MAX)
  /** Questions that a peer left unanswered. */
  readonly #silent = new Uint8Array(PEERS_MAX)

  /** `onPeer` of the underlay is taken over. */
  constructor({ pool, clock, random, underlay }: HelloOptions) {
    this.#pool = pool
    this.#random = random
    this.#underlay = underlay
    underlay.onPeer = (peer) => {
      this.#silent[peer] = 0
      this.#ask(peer)
    }
    this.#cancel = every(clock, HELLO_MS, () => this.#askAll())
  }

  /** A datagram that has no VXLAN header. Takes ownership. */
  receive(packet: Packet, peer: number): void {
    const { mem } = this.#pool
    const at = packet.head
    const isHello =
      packet.len === HELLO_BYTES &&
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
      this.#silent[peer] = 0
      const open = (u8(mem, at + 10) & Ability.OpenChecksums) !== 0
      this.#underlay.setOpenChecksums(peer, open)
    }
    this.#pool.drop(packet, DropReason.Delivered)
  }

  /** Idempotent. */
  close(): void {
    this.#cancel()
    this.#underlay.onPeer = () => {}
  }

  #askAll(): void {
    for (let peer = 0; peer < PEERS_MAX; peer++) {
      if (this.#underlay.peer(peer) === undefined) continue
      if (this.#silent[peer]! >= SILENCE_MAX) this.#underlay.setOpenChecksums(peer, false)
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

  #send(peer: number, kind: number, nonce: number): void {
    const packet = this.#pool.alloc(HELLO_BYTES)
    if (packet === undefined) return
    const { mem } = this.#pool
    packet.len = HELLO_BYTES
    put32(mem, packet.head, 0)
    put32(mem, packet.head + 4, MAGIC)
    put32(mem, packet.head + 8, (VERSION << 24) | (kind << 16) | (Ability.OpenChecksums << 8))
    put32(mem, packet.head + 12, nonce)
    this.#underlay.send(packet, peer, HELLO_BYTES, 0)
  }
}
