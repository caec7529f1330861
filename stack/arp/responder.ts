/**
 * The listening half of neighbors.ts: takes ARP messages and neighbor solicitations and
 * advertisements from a link, answers for the link's own addresses, and tells the resolver what
 * was heard.
 *
 * ```text
 *   valid?  -> claims an address of ours? defend it, drop
 *           -> tell the resolver who and where the sender is
 *           -> asks for an address of ours? the packet becomes the answer
 * ```
 *
 * ARP trusts a sender as RFC 826 does: whoever we already know is updated, and whoever asks for us
 * is remembered, as we will answer. That a sandbox may not claim what is not its own is the
 * proxy's business (proxy.ts), at the edge where the sandbox is known. The Ethernet source is not
 * compared here, because redundancy protocols on an uplink answer with a virtual MAC.
 *
 * An answer to a solicitation without a source link-layer address goes to its Ethernet source
 * instead of starting a resolution (a deviation from RFC 4861 §7.2.4, which knows no Ethernet):
 * it is the same station, and an answer never costs state.
 */
import { type Family, isAt, loadWords } from '../address.ts'
import { i32, u8, u16 } from '../bytes.ts'
import type { Clock } from '../clock.ts'
import { DropReason } from '../drop.ts'
import * as eth from '../eth/frame.ts'
import { formatMac, isMacAt } from '../eth/mac.ts'
import type { Packet, Pool } from '../packet.ts'
import { announce } from './announce.ts'
import * as arp from './message.ts'
import * as nd from './nd.ts'
import { Option } from './nd_option.ts'
import type { NeighborLink } from './neighbor_link.ts'
import { replyArp, replyNd } from './reply.ts'
import { addressOf, onLink } from './solicit.ts'

/** What a message says about its sender, as bits. */
export const Heard = {
  /** Remember the sender if it is not known yet. */
  Create: 1,
  /** It answers our question: the sender is there and hears us. */
  Confirmed: 2,
  /** A different MAC replaces the known one. */
  Override: 4,
  /** It carries a MAC. */
  Mac: 8,
} as const

/** Most frequent defence of one address (RFC 5227 §1.1, DEFEND_INTERVAL). */
const DEFEND_MS = 10_000
/** Own addresses of a link whose defences are timed separately. A power of two. */
const DEFENDED_MAX = 64

export interface ResponderOptions {
  readonly pool: Pool
  readonly clock: Clock
  readonly router: boolean
  /** The station with the address in `words` is at this MAC. `how`: bits of {@link Heard}. */
  readonly heard: (
    link: NeighborLink,
    words: Int32Array,
    hi: number,
    lo: number,
    how: number,
  ) => void
}

export class Responder {
  readonly #pool: Pool
  readonly #clock: Clock
  readonly #router: boolean
  readonly #heard: ResponderOptions['heard']
  readonly #words = new Int32Array(4)
  /** When each address of each link was last defended. */
  readonly #defendedMs = new Map<NeighborLink, Float64Array>()

  constructor({ pool, clock, router, heard }: ResponderOptions) {
    this.#pool = pool
    this.#clock = clock
    this.#router = router
    this.#heard = heard
  }

  /** Forget when a link defended its addresses. */
  forget(link: NeighborLink): void {
    this.#defendedMs.delete(link)
  }

  /** A frame of EtherType ARP. Takes ownership. */
  receiveArp(link: NeighborLink, packet: Packet): void {
    const { mem } = this.#pool
    const at = packet.head + eth.HEADER_BYTES
    if (!arp.isMessage(mem, at, packet.len - eth.HEADER_BYTES) || !arp.isSender(mem, at)) {
      return this.#pool.drop(packet, DropReason.ArpMalformed)
    }
    const own = ownIndex(link, 4, mem, at + arp.SPA)
    if (own >= 0) return this.#claimed(link, packet, own, isMacAt(mem, at + arp.SHA, link.mac))
    const asked = ownIndex(link, 4, mem, at + arp.TPA) >= 0
    const answered = asked && arp.operation(mem, at) === arp.Operation.Request
    if (packet.traced) return this.#explain(link, packet, answered)
    if (i32(mem, at + arp.SPA) !== 0) this.#hearArp(link, packet, at, asked)
    if (!answered) return this.#pool.drop(packet, DropReason.Delivered)
    replyArp(mem, packet, at, link.mac.hi, link.mac.lo)
    link.output(packet)
  }

  #hearArp(link: NeighborLink, packet: Packet, at: number, asked: boolean): void {
    const { mem } = this.#pool
    const words = this.#words
    loadWords(mem, at + arp.SPA, 4, words)
    let how = Heard.Override | Heard.Mac
    if (asked && arp.operation(mem, at) === arp.Operation.Request) {
      if (onLink(link, addressOf(words, 0)) !== undefined) how |= Heard.Create
    } else if (asked && arp.operation(mem, at) === arp.Operation.Reply) {
      if (isMacAt(mem, packet.head + eth.DST, link.mac)) how |= Heard.Confirmed
    }
    const sender = at + arp.SHA
    this.#heard(link, words, u16(mem, sender), i32(mem, sender + 2), how)
  }

  /** A frame with ICMPv6 of type 135 or 136. Takes ownership. */
  receiveNd(link: NeighborLink, packet: Packet): void {
    const { mem } = this.#pool
    const at = packet.head + eth.HEADER_BYTES
    const bytes = packet.len - eth.HEADER_BYTES
    if (packet.gsoType !== 0 || !nd.isMessage(mem, at, bytes, packet.csumStart === 0)) {
      return this.#pool.drop(packet, DropReason.NdMalformed)
    }
    if (u8(mem, at + nd.TYPE) === nd.Type.Solicitation) this.#solicited(link, packet, at)
    else this.#advertised(link, packet, at)
  }

  /** RFC 4861 §7.2.3; from `::`, RFC 4862 §5.4.3. */
  #solicited(link: NeighborLink, packet: Packet, at: number): void {
    const { mem } = this.#pool
    const own = ownIndex(link, 6, mem, at + nd.SRC)
    if (own >= 0) {
      return this.#claimed(link, packet, own, isMacAt(mem, packet.head + eth.SRC, link.mac))
    }
    const asked = ownIndex(link, 6, mem, at + nd.TARGET) >= 0
    if (packet.traced) return this.#explain(link, packet, asked)
    if (!asked) return this.#pool.drop(packet, DropReason.Delivered)
    const option = nd.linkAddress(mem, at, Option.Source)
    if (option !== 0) {
      const words = this.#words
      loadWords(mem, at + nd.SRC, 6, words)
      let how = Heard.Override | Heard.Mac
      if (onLink(link, addressOf(words, 0)) !== undefined) how |= Heard.Create
      this.#heard(link, words, u16(mem, option), i32(mem, option + 2), how)
    }
    replyNd(mem, packet, at, link.mac.hi, link.mac.lo, this.#router)
    link.output(packet)
  }

  /** RFC 4861 §7.2.5. */
  #advertised(link: NeighborLink, packet: Packet, at: number): void {
    const { mem } = this.#pool
    const option = nd.linkAddress(mem, at, Option.Target)
    const own = ownIndex(link, 6, mem, at + nd.TARGET)
    if (own >= 0) {
      const sender = option === 0 ? packet.head + eth.SRC : option
      return this.#claimed(link, packet, own, isMacAt(mem, sender, link.mac))
    }
    if (packet.traced) return this.#explain(link, packet, false)
    const flags = u8(mem, at + nd.FLAGS)
    let how = (flags & nd.Flag.Override) === 0 ? 0 : Heard.Override
    if (option !== 0) how |= Heard.Mac
    const solicited = (flags & nd.Flag.Solicited) !== 0
    if (solicited && ownIndex(link, 6, mem, at + nd.DST) >= 0) how |= Heard.Confirmed
    loadWords(mem, at + nd.TARGET, 6, this.#words)
    const hi = option === 0 ? 0 : u16(mem, option)
    const lo = option === 0 ? 0 : i32(mem, option + 2)
    this.#heard(link, this.#words, hi, lo, how)
    this.#pool.drop(packet, DropReason.Delivered)
  }

  /**
   * A message from one of our own addresses: our own, come back, or another station's claim to it,
   * which is answered with an announcement, but not more than once in {@link DEFEND_MS} so that
   * two defenders do not fill the link (RFC 5227 §2.4 c).
   */
  #claimed(link: NeighborLink, packet: Packet, index: number, ours: boolean): void {
    if (ours) return this.#pool.drop(packet, DropReason.Delivered)
    if (!packet.traced) this.#defend(link, index)
    this.#pool.drop(packet, DropReason.ArpSpoofed)
  }

  #defend(link: NeighborLink, index: number): void {
    let defendedMs = this.#defendedMs.get(link)
    if (defendedMs === undefined) {
      defendedMs = new Float64Array(DEFENDED_MAX).fill(Number.NEGATIVE_INFINITY)
      this.#defendedMs.set(link, defendedMs)
    }
    const slot = index & (DEFENDED_MAX - 1)
    if (this.#clock.nowMs - defendedMs[slot]! < DEFEND_MS) return
    defendedMs[slot] = this.#clock.nowMs
    const packet = announce(this.#pool, link.addresses[index]!.address, link.mac, this.#router)
    if (packet === undefined) this.#pool.counters.dropped(0, DropReason.PoolEmpty)
    else link.output(packet)
  }

  #explain(link: NeighborLink, packet: Packet, answered: boolean): void {
    const text = answered ? `would answer with ${formatMac(link.mac)}` : 'would be heard'
    this.#pool.trace?.end('consumed', `${link.name}: ${text}`)
    this.#pool.free(packet)
  }
}

/** Which own address of that family is at `at`; -1: none. */
function ownIndex(link: NeighborLink, family: Family, mem: Uint8Array, at: number): number {
  const { addresses } = link
  for (let i = 0; i < addresses.length; i++) {
    const { address } = addresses[i]!
    if (address.family === family && isAt(mem, at, address)) return i
  }
  return -1
}
