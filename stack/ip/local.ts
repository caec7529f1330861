/**
 * What is addressed to the router itself.
 *
 * ```text
 *  receive -> fragment? reassemble -> ICMP  echo: the packet becomes the reply
 *                                          errors and the rest: the prober's, or just heard
 *                                  -> UDP   a bound service, the prober's, else port unreachable
 *                                  -> TCP   the prober's, a bound service, else reset
 *                                  -> other protocol unreachable
 * ```
 *
 * Frames come in with `head` at the Ethernet header, already checked by the router up to the IP
 * header. `group` says that the packet was sent to more than this station: then nothing is refused
 * aloud. Checksums are verified unless they are partial: then there is nothing to verify yet.
 */
import { u8, u16 } from '../bytes.ts'
import { pseudo4, pseudo6, sum } from '../checksum.ts'
import type { Clock } from '../clock.ts'
import { DropReason } from '../drop.ts'
import * as eth from '../eth/frame.ts'
import { GsoType, type Packet, type Pool, pull } from '../packet.ts'
import { consume } from './consume.ts'
import { replyEcho4, replyEcho6 } from './echo.ts'
import type { Egress } from './egress.ts'
import * as icmp from './icmp.ts'
import type { IcmpErrors } from './icmp_errors.ts'
import * as ipv4 from './ipv4.ts'
import * as ipv6 from './ipv6.ts'
import type { Prober } from './prober.ts'
import { Problems } from './problems.ts'
import { reset } from './reset.ts'
import type { RouterInterface } from './router_interface.ts'
import { segmentAt, segmentCount, superHeaderBytes } from './segment.ts'
import * as tcp from './tcp.ts'
import * as udp from './udp.ts'

/** Takes ownership: `head` at the Ethernet header, lengths and checksum of UDP are good. */
export type UdpReceiver = (packet: Packet, from: RouterInterface) => void
/** Is this datagram one for the receiver? False: as if nothing listened. Changes nothing. */
export type UdpFilter = (packet: Packet, from: RouterInterface) => boolean

/** A server of TCP on a port. Segments are whole, `head` at the Ethernet header, `at` at TCP. */
export interface TcpService {
  /** Is it for whoever sent this, also if it is refused? Changes nothing. */
  serves(packet: Packet, from: RouterInterface): boolean
  /** Is this segment one for it? False: as if nothing listened. Changes nothing. */
  accepts(packet: Packet, from: RouterInterface, at: number): boolean
  /** Takes ownership. It may be a super-frame. */
  receive(packet: Packet, from: RouterInterface, at: number): void
}

interface UdpService {
  readonly receive: UdpReceiver
  readonly accepts: UdpFilter | undefined
}

export interface LocalOptions {
  readonly pool: Pool
  readonly clock: Clock
  readonly egress: Egress
  readonly errors: IcmpErrors
  /** Takes what answers its probes. */
  readonly prober: Prober
}

export class Local {
  readonly #pool: Pool
  readonly #clock: Clock
  readonly #egress: Egress
  readonly #errors: IcmpErrors
  readonly #prober: Prober
  readonly #services = new Map<number, UdpService>()
  readonly #streams = new Map<number, TcpService>()

  constructor({ pool, clock, egress, errors, prober }: LocalOptions) {
    this.#pool = pool
    this.#clock = clock
    this.#egress = egress
    this.#errors = errors
    this.#prober = prober
  }

  /** Take the datagrams to a port, of all own addresses. False if another does. */
  bind(port: number, receive: UdpReceiver, accepts?: UdpFilter): boolean {
    if (this.#services.has(port)) return false
    this.#services.set(port, { receive, accepts })
    return true
  }

  unbind(port: number): void {
    this.#services.delete(port)
  }

  /** As {@link bind}, for TCP. */
  bindTcp(port: number, service: TcpService): boolean {
    if (this.#streams.has(port)) return false
    this.#streams.set(port, service)
    return true
  }

  unbindTcp(port: number): void {
    this.#streams.delete(port)
  }

  /**
   * True if a service listens for this packet, `head` at the Ethernet header, its transport header
   * at `at`. Changes nothing.
   */
  serves(from: RouterInterface, packet: Packet, protocol: number, at: number): boolean {
    const port = u16(this.#pool.mem, at + udp.DST_PORT)
    if (protocol === ipv4.Protocol.Tcp)
      return this.#streams.get(port)?.serves(packet, from) ?? false
    const service = protocol === ipv4.Protocol.Udp ? this.#services.get(port) : undefined
    return service !== undefined && (service.accepts?.(packet, from) ?? true)
  }

  /** A whole IPv4 datagram. Takes ownership. */
  receive4(from: RouterInterface, packet: Packet, group: boolean): void {
    const { mem } = this.#pool
    const ip = packet.head + eth.HEADER_BYTES
    const at = ip + ipv4.headerBytes(mem, ip)
    const protocol = ipv4.protocol(mem, ip)
    if (protocol === ipv4.Protocol.Icmp) return this.#icmp4(from, packet, at, group)
    this.#transport(from, packet, at, protocol, group, ipv4.PROTOCOL)
  }

  /**
   * A whole IPv6 datagram whose extension headers lead to `protocol` at `at`; `field`: offset
   * in the packet of the octet that names it. Takes ownership.
   */
  receive6(
    from: RouterInterface,
    packet: Packet,
    { at, protocol, group, field }: { at: number; protocol: number; group: boolean; field: number },
  ): void {
    if (protocol === ipv4.Protocol.Icmp6) return this.#icmp6(from, packet, at, group)
    if (protocol === ipv6.Next.None) return consume(this.#pool, packet, 'has nothing in it')
    this.#transport(from, packet, at, protocol, group, field)
  }

  #transport(
    from: RouterInterface,
    packet: Packet,
    at: number,
    protocol: number,
    group: boolean,
    field: number,
  ): void {
    if (protocol === ipv4.Protocol.Udp) return this.#udp(from, packet, at, group)
    if (group) return this.#deaf(packet)
    if (protocol === ipv4.Protocol.Tcp) return this.#tcp(from, packet, at)
    pull(packet, eth.HEADER_BYTES)
    this.#errors.refuse(packet, Problems.Protocol, this.#isFour(packet) ? 0 : field, from)
  }

  /** Sent to a group of which we are no member. */
  #deaf(packet: Packet): void {
    const four = eth.type(this.#pool.mem, packet.head) === eth.EtherType.Ipv4
    this.#pool.drop(packet, four ? DropReason.IpBroadcast : DropReason.IpMulticast)
  }

  #isFour({ head }: Packet): boolean {
    return u8(this.#pool.mem, head) >>> 4 === 4
  }

  #icmp4(from: RouterInterface, packet: Packet, at: number, group: boolean): void {
    const pool = this.#pool
    const { mem } = pool
    const bytes = packet.head + packet.len - at
    const partial = packet.csumStart === at
    if (bytes < icmp.HEADER_BYTES || (!partial && sum(mem, at, bytes) !== 0xffff)) {
      return pool.drop(packet, DropReason.IcmpMalformed)
    }
    if (u8(mem, at) !== icmp.Type4.Echo) {
      if (this.#prober.hears(from, packet)) return
      return consume(pool, packet, 'ICMP, heard')
    }
    if (group) return this.#deaf(packet)
    if (packet.traced) return consume(pool, packet, 'would answer the echo request')
    pull(packet, eth.HEADER_BYTES)
    replyEcho4(mem, packet, this.#egress.identify())
    this.#egress.originate(packet, from)
  }

  #icmp6(from: RouterInterface, packet: Packet, at: number, group: boolean): void {
    const pool = this.#pool
    const { mem } = pool
    const ip = packet.head + eth.HEADER_BYTES
    const bytes = packet.head + packet.len - at
    if (bytes < icmp.HEADER_BYTES || !this.#isIntact6(packet, ip, at, bytes, ipv4.Protocol.Icmp6)) {
      return pool.drop(packet, DropReason.IcmpMalformed)
    }
    if (u8(mem, at) !== icmp.Type6.Echo) {
      if (this.#prober.hears(from, packet)) return
      return consume(pool, packet, 'ICMPv6, heard')
    }
    if (packet.traced) return consume(pool, packet, 'would answer the echo request')
    const source = group ? from.sourceFor(mem, ip + ipv6.SRC, 6) : undefined
    if (group && source === undefined) return this.#deaf(packet)
    pull(packet, eth.HEADER_BYTES)
    replyEcho6(mem, packet, at, source)
    this.#egress.originate(packet, from)
  }

  #isIntact6(packet: Packet, ip: number, at: number, bytes: number, protocol: number): boolean {
    if (packet.csumStart !== 0) return packet.csumStart === at
    const { mem } = this.#pool
    return sum(mem, at, bytes, pseudo6(mem, ip + ipv6.SRC, protocol, bytes)) === 0xffff
  }

  #isIntact4(packet: Packet, ip: number, at: number, bytes: number, protocol: number): boolean {
    if (packet.csumStart !== 0) return packet.csumStart === at
    const { mem } = this.#pool
    return sum(mem, at, bytes, pseudo4(mem, ip + ipv4.SRC, protocol, bytes)) === 0xffff
  }

  #isUdp(packet: Packet, at: number): boolean {
    const { mem } = this.#pool
    const bytes = packet.head + packet.len - at
    if (!udp.isHeader(mem, at, bytes)) return false
    const length = u16(mem, at + udp.LENGTH)
    const ip = packet.head + eth.HEADER_BYTES
    if (u8(mem, ip) >>> 4 === 6) return this.#isIntact6(packet, ip, at, length, ipv4.Protocol.Udp)
    if (u16(mem, at + udp.CHECKSUM) === 0) return true
    return this.#isIntact4(packet, ip, at, length, ipv4.Protocol.Udp)
  }

  #udp(from: RouterInterface, packet: Packet, at: number, group: boolean): void {
    const pool = this.#pool
    if (!this.#isUdp(packet, at)) return pool.drop(packet, DropReason.TransportMalformed)
    const port = u16(pool.mem, at + udp.DST_PORT)
    const service = this.#services.get(port)
    if (service === undefined || !(service.accepts?.(packet, from) ?? true)) {
      if (group) return this.#deaf(packet)
      if (this.#prober.hears(from, packet)) return
      pull(packet, eth.HEADER_BYTES)
      return this.#errors.refuse(packet, Problems.Port, 0, from)
    }
    if (packet.traced) return consume(pool, packet, `for the service on UDP port ${port}`)
    if (packet.gsoType === GsoType.None) return service.receive(packet, from)
    this.#udpSuper(from, packet, service.receive)
  }

  /** A super-frame is as many datagrams. */
  #udpSuper(from: RouterInterface, packet: Packet, receive: UdpReceiver): void {
    const pool = this.#pool
    const ip = packet.head + eth.HEADER_BYTES
    const headerBytes = superHeaderBytes(pool.mem, packet, ip)
    if (headerBytes < 0) return pool.drop(packet, DropReason.FrameOffloadBad)
    const count = segmentCount(packet, headerBytes)
    for (let i = 0; i < count; i++) {
      const datagram = segmentAt(pool, packet, ip, headerBytes, i)
      if (datagram === undefined) return pool.drop(packet, DropReason.PoolEmpty)
      receive(datagram, from)
    }
    pool.free(packet)
  }

  #tcp(from: RouterInterface, packet: Packet, at: number): void {
    const pool = this.#pool
    const { mem } = pool
    const ip = packet.head + eth.HEADER_BYTES
    const bytes = packet.head + packet.len - at
    const four = u8(mem, ip) >>> 4 === 4
    const whole =
      tcp.isHeader(mem, at, bytes) &&
      (four
        ? this.#isIntact4(packet, ip, at, bytes, ipv4.Protocol.Tcp)
        : this.#isIntact6(packet, ip, at, bytes, ipv4.Protocol.Tcp))
    if (!whole) return pool.drop(packet, DropReason.TransportMalformed)
    if (this.#prober.hears(from, packet)) return
    const service = this.#streams.get(u16(mem, at + udp.DST_PORT))
    if (service?.accepts(packet, from, at)) {
      if (packet.traced) return consume(pool, packet, 'for the service on this TCP port')
      return service.receive(packet, from, at)
    }
    const told = (tcp.flags(mem, at) & tcp.Flag.Rst) === 0
    if (packet.traced) {
      if (told) pool.trace?.step('router', 'would answer with a TCP reset')
      return pool.drop(packet, DropReason.PortUnreachable)
    }
    if (!told) return pool.drop(packet, DropReason.PortUnreachable)
    if (!from.icmpBudget.take(this.#clock.nowMs)) {
      return pool.drop(packet, DropReason.IcmpRateLimited)
    }
    pull(packet, eth.HEADER_BYTES)
    const answer = reset(pool, packet, at, this.#egress.identify())
    pool.drop(packet, answer === undefined ? DropReason.PoolEmpty : DropReason.PortUnreachable)
    if (answer !== undefined) this.#egress.originate(answer, from)
  }
}
