/**
 * Proxy ARP and ND, with a guard: between an endpoint's device and its bridge port.
 *
 * ```text
 *   device ─> neither ARP nor ND ──────────────────────────────> bridge
 *          ─> guard: a false claim is dropped
 *               ─> asks the group for a bound address ─> answer back to the device
 *               ─> anything else ──────────────────────────────> bridge
 * ```
 *
 * **The guard** judges who the sender says it is by what the controller knows (bindings.ts): the
 * sender of an ARP message, the source of a solicitation, source and target of an advertisement
 * must not be bound to another port, nor, where stations share one (`shared`: a tunnel), to another
 * MAC; and the MAC in the message must be the frame's source. An
 * address that is not bound at all may be claimed, as endpoints may have addresses of their own,
 * unless `strict`; link-local IPv6 addresses may in any case, since hosts make them up. An
 * endpoint that is no router may not send router advertisements or redirects, which would draw
 * the traffic of all others to it (RFC 6105 §2; CVE-2020-13401).
 *
 * **The proxy** (`suppress`) answers what would be flooded, in the name of the owner and with its
 * MAC (RFC 1027; for ND RFC 9161 §3): so a broadcast domain of a thousand stays silent. Not
 * answered, and sent on: questions to one station, which ask whether it is still there and only
 * it can say so (RFC 1122 §2.3.2.1, RFC 4861 §7.3); announcements; questions for an address of
 * the asker itself, so that duplicate address detection works: a probe for an address of another
 * endpoint is answered, as its owner would (RFC 5227 §2.1.1, RFC 4862 §5.4.3).
 *
 * Addresses behind a tunnel ({@link ArpProxyOptions.remote}) are answered for in any case, also to
 * one station's question: whether they are there is known from the control plane, and no question
 * about a known address crosses the tunnel.
 *
 * Frames of a VLAN are a trunk's own business and pass. A priority tag (VID 0) means no VLAN and
 * hosts look behind it, so the guard does too; as it looks behind IPv6 extension headers, where
 * neighbor discovery has no business to be (RFC 6980 §5, RFC 7113 §3): dropped.
 */
import { i32, u8, u16 } from '../bytes.ts'
import { DropReason } from '../drop.ts'
import * as eth from '../eth/frame.ts'
import { formatMac } from '../eth/mac.ts'
import type { Output, Packet, Pool } from '../packet.ts'
import type { Bindings } from './bindings.ts'
import * as arp from './message.ts'
import * as nd from './nd.ts'
import { Option } from './nd_option.ts'
import { replyArp, replyNd } from './reply.ts'
import { mayBeNd, upperLayer } from './upper.ts'

/** 802.1ad's outer tag; hosts take it off with VID 0 as they do 802.1Q's. */
const SERVICE_TAG = 0x88a8
/** Offset of the type that a priority tag hides, from the tag's own type. */
const TAG_TYPE = 4

export interface ArpProxyOptions {
  readonly pool: Pool
  readonly bindings: Bindings
  /** For traces. */
  readonly name: string
  /** Counters port of the endpoint's device; 0: the network's gateway. */
  readonly port: number
  /** False: guard only; every question is flooded. */
  readonly suppress: boolean
  /** Only bound addresses may be claimed. Default: false. */
  readonly strict?: boolean
  /**
   * Many stations are behind this device, each known: an address is claimed from the MAC that it is
   * bound to. Default: false.
   */
  readonly shared?: boolean
  /** May send router advertisements and redirects. Default: true for port 0 only. */
  readonly router?: boolean
  /** Counters port of the tunnel to other nodes. Default: there is none. */
  readonly remote?: number
  /** Back to this device. */
  readonly reply: Output
  /** The bridge port's input. */
  readonly next: Output
}

/** The way from a device to its bridge port, guarded. The output takes ownership. */
export function arpProxy(options: ArpProxyOptions): Output {
  return new ArpProxy(options).input
}

class ArpProxy {
  readonly #pool: Pool
  readonly #mem: Uint8Array
  readonly #bindings: Bindings
  readonly #element: string
  readonly #port: number
  readonly #suppress: boolean
  readonly #strict: boolean
  readonly #shared: boolean
  readonly #router: boolean
  /** -1: none. */
  readonly #remote: number
  readonly #reply: Output
  readonly #next: Output

  constructor(o: ArpProxyOptions) {
    this.#pool = o.pool
    this.#mem = o.pool.mem
    this.#bindings = o.bindings
    this.#element = `arp proxy ${o.name}`
    this.#port = o.port
    this.#suppress = o.suppress
    this.#strict = o.strict ?? false
    this.#shared = o.shared ?? false
    this.#router = o.router ?? o.port === 0
    this.#remote = o.remote ?? -1
    this.#reply = o.reply
    this.#next = o.next
  }

  readonly input: Output = (packet) => {
    const mem = this.#mem
    const type = u16(mem, packet.head + eth.TYPE)
    if (type === eth.EtherType.Ipv4) return this.#next(packet)
    if (type === eth.EtherType.Ipv6) return this.#ipv6(packet, packet.head + eth.HEADER_BYTES)
    if (type === eth.EtherType.Arp) return this.#arp(packet, packet.head + eth.HEADER_BYTES)
    if (type === eth.EtherType.Vlan || type === SERVICE_TAG) return this.#tagged(packet)
    this.#next(packet)
  }

  /** Look behind priority tags, as the receiving host will. */
  #tagged(packet: Packet): void {
    const mem = this.#mem
    const end = packet.head + packet.len
    let at = packet.head + eth.TYPE
    let type = u16(mem, at)
    while (type === eth.EtherType.Vlan || type === SERVICE_TAG) {
      if (at + TAG_TYPE + 2 > end || (u16(mem, at + 2) & 0x0fff) !== 0) return this.#next(packet)
      at += TAG_TYPE
      type = u16(mem, at)
    }
    if (type === eth.EtherType.Arp) return this.#arp(packet, at + 2)
    if (type === eth.EtherType.Ipv6) return this.#ipv6(packet, at + 2)
    this.#next(packet)
  }

  /** `at`: the ARP message. */
  #arp(packet: Packet, at: number): void {
    const mem = this.#mem
    const bytes = packet.head + packet.len - at
    // Too short for its Ethernet header, so the type was not its own: the bridge drops it.
    if (bytes < 0) return this.#next(packet)
    if (!arp.isMessage(mem, at, bytes) || !arp.isSender(mem, at)) {
      return this.#pool.drop(packet, DropReason.ArpMalformed)
    }
    const sender = i32(mem, at + arp.SPA)
    if (!this.#isSource(packet, at + arp.SHA)) return this.#spoofed(packet)
    if (sender !== 0 && !this.#mayClaim(packet, this.#bindings.find4(sender), this.#strict)) {
      return this.#spoofed(packet)
    }
    if (!this.#suppress || arp.operation(mem, at) !== arp.Operation.Request) {
      return this.#next(packet)
    }
    const target = i32(mem, at + arp.TPA)
    if (target === sender) return this.#next(packet)
    const owner = this.#bindings.find4(target)
    if (!this.#isAnswered(packet, owner)) return this.#next(packet)
    if (packet.traced) return this.#explain(packet, owner)
    replyArp(mem, packet, at, this.#bindings.macHi(owner), this.#bindings.macLo(owner))
    this.#reply(packet)
  }

  /** `at`: the IPv6 header. */
  #ipv6(packet: Packet, at: number): void {
    const mem = this.#mem
    const end = packet.head + packet.len
    if (!mayBeNd(mem, at)) return this.#next(packet)
    const upper = upperLayer(mem, at, end)
    if (upper < 0) return this.#next(packet)
    if (upper === 0) return this.#pool.drop(packet, DropReason.NdMalformed)
    const type = u8(mem, upper)
    if (type < nd.Type.RouterAdvertisement || type > nd.Type.Redirect) return this.#next(packet)
    if (upper !== at + nd.TYPE) return this.#pool.drop(packet, DropReason.NdMalformed)
    if (type === nd.Type.RouterAdvertisement || type === nd.Type.Redirect) {
      if (this.#router) return this.#next(packet)
      return this.#pool.drop(packet, DropReason.RouterSpoofed)
    }
    if (packet.gsoType !== 0 || !nd.isMessage(mem, at, end - at, packet.csumStart === 0)) {
      return this.#pool.drop(packet, DropReason.NdMalformed)
    }
    if (type === nd.Type.Advertisement) return this.#advertised(packet, at)
    this.#solicited(packet, at)
  }

  #advertised(packet: Packet, at: number): void {
    if (!this.#mayClaim6(packet, at + nd.SRC) || !this.#mayClaim6(packet, at + nd.TARGET)) {
      return this.#spoofed(packet)
    }
    const option = nd.linkAddress(this.#mem, at, Option.Target)
    if (option !== 0 && !this.#isSource(packet, option)) return this.#spoofed(packet)
    this.#next(packet)
  }

  #solicited(packet: Packet, at: number): void {
    const mem = this.#mem
    const option = nd.linkAddress(mem, at, Option.Source)
    if (option !== 0 && !this.#isSource(packet, option)) return this.#spoofed(packet)
    const probe = nd.isUnspecified(mem, at + nd.SRC)
    if (!probe && !this.#mayClaim6(packet, at + nd.SRC)) return this.#spoofed(packet)
    if (!this.#suppress) return this.#next(packet)
    const owner = this.#bindings.find6(mem, at + nd.TARGET)
    if (!this.#isAnswered(packet, owner)) return this.#next(packet)
    if (packet.traced) return this.#explain(packet, owner)
    const hi = this.#bindings.macHi(owner)
    const lo = this.#bindings.macLo(owner)
    replyNd(mem, packet, at, hi, lo, this.#bindings.port(owner) === 0)
    this.#reply(packet)
  }

  /** True if the six octets at `mac` are the frame's source. */
  #isSource(packet: Packet, mac: number): boolean {
    const mem = this.#mem
    const source = packet.head + eth.SRC
    return u16(mem, mac) === u16(mem, source) && i32(mem, mac + 2) === i32(mem, source + 2)
  }

  #mayClaim6(packet: Packet, at: number): boolean {
    const linkLocal = (u16(this.#mem, at) & 0xffc0) === 0xfe80
    return this.#mayClaim(packet, this.#bindings.find6(this.#mem, at), this.#strict && !linkLocal)
  }

  /** `entry`: the binding of the claimed address; -1: it has none. */
  #mayClaim(packet: Packet, entry: number, strict: boolean): boolean {
    const bindings = this.#bindings
    if (entry < 0) return !strict
    if (bindings.port(entry) !== this.#port) return false
    if (!this.#shared) return true
    const mem = this.#mem
    const source = packet.head + eth.SRC
    return (
      u16(mem, source) === bindings.macHi(entry) && i32(mem, source + 2) === bindings.macLo(entry)
    )
  }

  /** True if a question for the address of `entry` is answered here: see the header. */
  #isAnswered(packet: Packet, entry: number): boolean {
    if (entry < 0) return false
    const port = this.#bindings.port(entry)
    if (port === this.#port) return false
    return port === this.#remote || eth.isGroup(this.#mem, packet.head)
  }

  #spoofed(packet: Packet): void {
    if (packet.traced) this.#pool.trace?.step(this.#element, 'claims what is not its own')
    this.#pool.drop(packet, DropReason.ArpSpoofed)
  }

  #explain(packet: Packet, owner: number): void {
    const mac = { hi: this.#bindings.macHi(owner), lo: this.#bindings.macLo(owner) }
    this.#pool.trace?.step(this.#element, 'asks the group for an address that is bound')
    this.#pool.trace?.end('consumed', `would answer with ${formatMac(mac)}`)
    this.#pool.free(packet)
  }
}
