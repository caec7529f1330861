/**
 * ICMP and ICMPv6 errors: what the router says when it must refuse a packet.
 *
 * The error is spoken from the address of the interface that leads back to the sender, which with
 * strict reverse path is the one the packet came in by: traceroute shows the gateway. About a
 * packet to any of the router's addresses, that address speaks (RFC 4443 §2.2 a).
 *
 * No error is sent about an error, a fragment other than the first, or a packet to or from a
 * group (RFC 1812 §4.3.2.7, RFC 4443 §2.4 e), nor over the rate of its interface (RFC 1812
 * §4.3.2.8, RFC 4443 §2.4 f). ICMPv6 would allow it about later fragments; they meet the fate of
 * their first one, which is told. As much is quoted as fits 576 or 1280 octets (RFC 1812 §4.3.2.3,
 * RFC 4443 §2.4 c). A quote is what the router holds: a partial checksum is quoted as it is.
 */
import { type Address, addressAt, formatAddress } from '../address.ts'
import { copy, put16, put32, u8 } from '../bytes.ts'
import { finish } from '../checksum.ts'
import type { Clock } from '../clock.ts'
import { DropReason } from '../drop.ts'
import { NO_FLOW, type Packet, type Pool } from '../packet.ts'
import { DEFAULT_TTL, type Egress } from './egress.ts'
import * as extension from './extension.ts'
import * as fragment from './fragment_header.ts'
import { ipHeaderBytes, pseudo, putIpHeader } from './header.ts'
import type { Hooks } from './hooks.ts'
import * as icmp from './icmp.ts'
import * as ipv4 from './ipv4.ts'
import * as ipv6 from './ipv6.ts'
import type { Problem } from './problems.ts'
import type { RouterInterface } from './router_interface.ts'
import { Scope, scope4, scope6 } from './scope.ts'

/** Largest error packet, IP header included. */
const ERROR4_BYTES = 576
const ERROR6_BYTES: number = ipv6.MIN_MTU_BYTES
/** Internetwork control precedence, and the type of service of the packet (RFC 1812 §4.3.2.5). */
const TOS_CONTROL = 0xc0
const TOS_MASK = 0x1e

export interface IcmpErrorsOptions {
  readonly pool: Pool
  readonly clock: Clock
  readonly egress: Egress
  readonly hooks: Hooks
}

export class IcmpErrors {
  readonly #pool: Pool
  readonly #clock: Clock
  readonly #egress: Egress
  readonly #hooks: Hooks

  constructor({ pool, clock, egress, hooks }: IcmpErrorsOptions) {
    this.#pool = pool
    this.#clock = clock
    this.#egress = egress
    this.#hooks = hooks
  }

  /**
   * Refuse a packet, `head` at its IP header: tell its sender if that is allowed, and drop it.
   * Takes ownership. `rest`: the MTU or the pointer, where the error has one. `from`: the interface
   * it came in by, undefined if that is no longer known. Counted as the problem's reason, or as
   * `icmp-rate-limited` or `pool-empty` if that is why nothing was said.
   */
  refuse(packet: Packet, what: Problem, rest = 0, from?: RouterInterface): void {
    this.#pool.drop(packet, this.tell(packet, what, rest, from))
  }

  /**
   * Tell the sender as {@link refuse} does. The packet stays the caller's, its addresses those that
   * its sender knows; returned is the reason to drop it with.
   */
  tell(packet: Packet, what: Problem, rest: number, from?: RouterInterface): number {
    const pool = this.#pool
    packet.recorded = false
    if (packet.flow !== NO_FLOW) this.#hooks.restore(packet)
    const four = u8(pool.mem, packet.head) >>> 4 === 4
    const about = four ? what.four : what.six
    if (about === 0 || !(four ? this.#mayTell4(packet) : this.#mayTell6(packet))) {
      return what.reason
    }
    const out = this.#back(packet, four, from)
    const speaker = out && this.#speaker(packet, four, out)
    if (out === undefined || speaker === undefined) return what.reason
    if (packet.traced) {
      pool.trace?.step('router', `would answer ICMP ${what.text} from ${formatAddress(speaker)}`)
      return what.reason
    }
    if (!out.icmpBudget.take(this.#clock.nowMs)) return DropReason.IcmpRateLimited
    const error = this.#build(packet, about, rest, speaker)
    if (error === undefined) return DropReason.PoolEmpty
    this.#egress.originate(error, out)
    return what.reason
  }

  /** The interface towards the sender. */
  #back(packet: Packet, four: boolean, from?: RouterInterface): RouterInterface | undefined {
    const { mem } = this.#pool
    if (four) return this.#egress.towards(mem, packet.head + ipv4.SRC, 4)
    const source = packet.head + ipv6.SRC
    return scope6(mem, source) === Scope.LinkLocal ? from : this.#egress.towards(mem, source, 6)
  }

  #speaker(packet: Packet, four: boolean, out: RouterInterface): Address | undefined {
    const { mem } = this.#pool
    const family = four ? 4 : 6
    const destination = packet.head + (four ? ipv4.DST : ipv6.DST)
    if (!four && out.isLinkLocal(mem, destination)) return out.linkLocal
    const own = this.#egress.own(mem, destination, family)
    if (own !== undefined) return own
    return out.sourceFor(mem, packet.head + (four ? ipv4.SRC : ipv6.SRC), family)
  }

  #mayTell4({ head, len }: Packet): boolean {
    const { mem } = this.#pool
    if (scope4(mem, head + ipv4.SRC) > Scope.LinkLocal) return false
    if (scope4(mem, head + ipv4.DST) > Scope.LinkLocal) return false
    if (ipv4.fragmentOffset(mem, head) !== 0) return false
    if (ipv4.protocol(mem, head) !== ipv4.Protocol.Icmp) return true
    const message = ipv4.headerBytes(mem, head)
    return len > message && !icmp.isError4(u8(mem, head + message))
  }

  #mayTell6({ head, len }: Packet): boolean {
    const { mem } = this.#pool
    if (scope6(mem, head + ipv6.SRC) > Scope.LinkLocal) return false
    if (scope6(mem, head + ipv6.DST) > Scope.LinkLocal) return false
    let step = extension.walk(mem, head, head + len)
    if ((step & 0xff) === ipv6.Next.Fragment) {
      const at = head + (step >>> 8)
      const after = (step >>> 8) + fragment.HEADER_BYTES
      if (after > len || fragment.offsetBytes(mem, at) !== 0) return false
      step = after * 256 + u8(mem, at)
    }
    if ((step & 0xff) !== ipv4.Protocol.Icmp6) return true
    const message = step >>> 8
    return message < len && !icmp.isError6(u8(mem, head + message))
  }

  #build(packet: Packet, typeCode: number, rest: number, from: Address): Packet | undefined {
    const { mem } = this.#pool
    const about = packet.head
    const four = from.family === 4
    const headerBytes = ipHeaderBytes(from)
    const room = (four ? ERROR4_BYTES : ERROR6_BYTES) - headerBytes - icmp.HEADER_BYTES
    const quoted = Math.min(packet.len, room)
    const bytes = icmp.HEADER_BYTES + quoted
    const error = this.#pool.alloc(headerBytes + bytes)
    if (error === undefined) return undefined
    error.len = headerBytes + bytes
    const { head } = error
    const protocol = four ? ipv4.Protocol.Icmp : ipv4.Protocol.Icmp6
    putIpHeader(mem, head, {
      from,
      to: addressAt(mem, about + (four ? ipv4.SRC : ipv6.SRC), from.family),
      protocol,
      bytes,
      ttl: DEFAULT_TTL,
      tos: four ? (u8(mem, about + 1) & TOS_MASK) | TOS_CONTROL : 0,
      id: four ? this.#egress.identify() : 0,
    })
    const at = head + headerBytes
    put16(mem, at, typeCode)
    put16(mem, at + icmp.CHECKSUM, four ? 0 : pseudo(mem, head, protocol, bytes))
    put32(mem, at + icmp.REST, rest)
    copy(mem, at + icmp.HEADER_BYTES, about, quoted)
    finish(mem, at, icmp.CHECKSUM, at + bytes)
    return error
  }
}
