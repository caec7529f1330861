/**
 * What the router says of frames that are bridged, and so do not come to it: the gateway of a
 * network tells a sender that its packet is too big for a tunnel of the bridge. Nobody else could:
 * a bridge has no address to speak from, and the end of the tunnel is no party to the packet.
 *
 * ```text
 *   bridge -> tunnel: larger than the path below? ─> tooBig ─> a copy of its start, checked
 *               └ drops it, or cuts it to fit                   └> ICMP error from the gateway
 * ```
 *
 * The frame stays where it is, and its addresses are those that it was bridged with; only a copy of
 * as much as an error quotes is looked at. Nothing has checked the headers before, so that is done
 * here. Silent as every error is (icmp_errors.ts), and besides about
 *
 * * IPv4 without "don't fragment": RFC 1191 §3 has no word for that, and a bridge does not fragment
 * * frames to a group, and frames with a VLAN tag
 * * IPv6 packets of 1280 octets and less, which no sender could make smaller (RFC 8200 §5)
 * * a source that is not of this network, unless the router itself sent the packet there: nobody
 *   makes us send errors to others by a forged source
 */
import { copy } from '../bytes.ts'
import { DropReason } from '../drop.ts'
import * as eth from '../eth/frame.ts'
import { type Packet, type Pool, pull } from '../packet.ts'
import type { Egress } from './egress.ts'
import type { IcmpErrors } from './icmp_errors.ts'
import * as ipv4 from './ipv4.ts'
import * as ipv6 from './ipv6.ts'
import { Problems } from './problems.ts'
import type { RouterInterface } from './router_interface.ts'
import { Scope, scope6 } from './scope.ts'

/** As much of a frame as the longest error quotes, and more than the longest headers. */
const QUOTE_BYTES: number = eth.HEADER_BYTES + ipv6.MIN_MTU_BYTES
/** Less than this no IPv4 link carries (RFC 791 §3.2). */
const MIN_MTU4_BYTES = 68

export interface BridgedErrorsOptions {
  readonly pool: Pool
  readonly egress: Egress
  readonly errors: IcmpErrors
}

export class BridgedErrors {
  readonly #pool: Pool
  readonly #egress: Egress
  readonly #errors: IcmpErrors

  constructor({ pool, egress, errors }: BridgedErrorsOptions) {
    this.#pool = pool
    this.#egress = egress
    this.#errors = errors
  }

  /**
   * Tell the sender of a frame that IP packets of `mtuBytes` octets would have passed. The frame
   * stays the caller's. `from`: the leg in its network; `routed`: the router sent it there.
   */
  tooBig(frame: Packet, mtuBytes: number, from: RouterInterface, routed: boolean): void {
    const pool = this.#pool
    if (!this.#mayTell(frame, mtuBytes, from, routed)) return
    const quote = pool.alloc(Math.min(frame.len, QUOTE_BYTES))
    if (quote === undefined) return pool.counters.dropped(frame.ingress, DropReason.PoolEmpty)
    quote.len = Math.min(frame.len, QUOTE_BYTES)
    quote.ingress = frame.ingress
    quote.flow = frame.flow
    quote.traced = frame.traced
    copy(pool.mem, quote.head, frame.head, quote.len)
    pull(quote, eth.HEADER_BYTES)
    const six = eth.type(pool.mem, frame.head) === eth.EtherType.Ipv6
    const least = six ? ipv6.MIN_MTU_BYTES : MIN_MTU4_BYTES
    // The frame's end is not ours to count: the underlay drops it, or cuts it.
    this.#errors.tell(quote, Problems.TooBig, Math.max(mtuBytes, least), from)
    pool.free(quote)
  }

  #mayTell(frame: Packet, mtuBytes: number, from: RouterInterface, routed: boolean): boolean {
    const { mem } = this.#pool
    const { head } = frame
    const ip = head + eth.HEADER_BYTES
    const bytes = frame.len - eth.HEADER_BYTES
    if (eth.isGroup(mem, head + eth.DST)) return false
    const type = eth.type(mem, head)
    if (type === eth.EtherType.Ipv4) {
      if (!ipv4.isHeader(mem, ip, bytes) || !ipv4.isIntact(mem, ip)) return false
      if (!ipv4.dontFragment(mem, ip) || ipv4.totalBytes(mem, ip) <= mtuBytes) return false
      return routed || this.#egress.towards(mem, ip + ipv4.SRC, 4) === from
    }
    if (type !== eth.EtherType.Ipv6 || !ipv6.isHeader(mem, ip, bytes)) return false
    const packetBytes = ipv6.HEADER_BYTES + ipv6.payloadBytes(mem, ip)
    if (packetBytes <= Math.max(mtuBytes, ipv6.MIN_MTU_BYTES)) return false
    const source = ip + ipv6.SRC
    if (scope6(mem, source) === Scope.LinkLocal) return true
    return routed || this.#egress.towards(mem, source, 6) === from
  }
}
