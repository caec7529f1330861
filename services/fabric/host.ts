/**
 * A host in memory: what a sandbox is when there is no kernel behind it. A small IPv4 and IPv6 end
 * system with ARP, neighbor discovery, echo, UDP sockets, TCP streams, path MTU discovery,
 * fragmentation and reassembly: enough to see a network as its sandboxes see it.
 *
 * ```text
 *   device ─► for us? ─► ARP, ND ─► neighbors
 *                    └─► IP ─► whole? ─► ICMP ─► pings, errors to sockets, echo replies
 *                                  └───► UDP, TCP ─► sockets, streams
 *   sockets, pings ─► route ─► fragments ─► neighbors ─► device
 * ```
 *
 * It does not forward, does no duplicate address detection and takes no address from router
 * advertisements: its addresses are given.
 */
import { type Address, formatAddress, formatPrefix, parseAddress } from '../../stack/address.ts'
import { linkLocal } from '../../stack/arp/nd_emit.ts'
import { type NeighborEntry, Neighbors } from '../../stack/arp/neighbors.ts'
import { u8 } from '../../stack/bytes.ts'
import { type Device, sender } from '../../stack/device.ts'
import { DropReason } from '../../stack/drop.ts'
import * as eth from '../../stack/eth/frame.ts'
import { isMacAt, type Mac, mac as macAt, sameMac } from '../../stack/eth/mac.ts'
import { fragment4, fragment6, payloadBytes4, payloadBytes6 } from '../../stack/ip/fragment.ts'
import { HEADER_BYTES as FRAGMENT_HEADER_BYTES } from '../../stack/ip/fragment_header.ts'
import * as icmp from '../../stack/ip/icmp.ts'
import * as ipv4 from '../../stack/ip/ipv4.ts'
import * as ipv6 from '../../stack/ip/ipv6.ts'
import { Reassembly } from '../../stack/ip/reassembly.ts'
import { completeChecksum } from '../../stack/ip/segment.ts'
import { type Packet, type Pool, pull } from '../../stack/packet.ts'
import type { Random } from '../../stack/random.ts'
import type { LinkRequest } from '../links.ts'
import type { Driver } from './driver.ts'
import { answerEcho, complain } from './host_icmp.ts'
import { type HostInterface, HostRoutes, isFor } from './host_routes.ts'
import type { IpHost, Plan } from './ip_host.ts'
import { Pinger, type PingOptions, type PingReply } from './ping.ts'
import type { TcpStream } from './tcp.ts'
import { type ListenOptions, type TcpListener, TcpPorts } from './tcp_ports.ts'
import type { Resolve, UdpSocket } from './udp.ts'
import { UdpPorts } from './udp_ports.ts'
import {
  type Heading,
  isIcmpIntact,
  isUnicast,
  type Problem,
  readHeading,
  readProblem,
} from './wire.ts'

export interface HostOptions {
  readonly name: string
  readonly pool: Pool
  readonly driver: Driver
  readonly random: Random
}

const UNREACHABLE: Problem = { kind: 'unreachable', text: 'host unreachable', mtuBytes: 0 }
const { Protocol } = ipv4

export class Host implements IpHost {
  readonly name: string
  readonly pool: Pool
  readonly driver: Driver
  readonly #routes = new HostRoutes()
  readonly #neighbors: Neighbors
  readonly #reassembly: Reassembly
  readonly #pinger: Pinger
  readonly #udp: UdpPorts
  readonly #tcp: TcpPorts
  /** Whom this host cannot hear: see {@link Fabric.partition}. */
  readonly #deafTo = new Set<Host>()
  #nextIndex = 0
  #nextId: number

  constructor({ name, pool, driver, random }: HostOptions) {
    const { clock } = driver
    this.name = name
    this.pool = pool
    this.driver = driver
    this.#nextId = random.bits()
    this.#neighbors = new Neighbors({
      pool,
      clock,
      random,
      router: false,
      entriesMax: 256,
      unreachable: (_, packet) => this.#undeliverable(packet),
    })
    const timedOut = (first: Packet): void => pool.drop(first, DropReason.FragmentTimeout)
    this.#reassembly = new Reassembly({ pool, clock, seed: random.bits(), timedOut })
    this.#pinger = new Pinger(this)
    this.#udp = new UdpPorts(this)
    this.#tcp = new TcpPorts(this)
  }

  /** Make `device` an interface of this host. */
  attach(device: Device, request: LinkRequest): void {
    const { interfaceName, mac, mtuBytes, routes } = request
    const six = request.addresses.some(({ address }) => address.family === 6)
    const addresses = six
      ? [...request.addresses, { address: linkLocal(mac), bits: 64 }]
      : request.addresses
    const output = sender(this.pool, device)
    const link = { index: this.#nextIndex++, name: interfaceName, mac, output, addresses }
    const iface: HostInterface = { name: interfaceName, device, mtuBytes, link, routes }
    this.#routes.add(iface)
    this.#neighbors.addLink(link)
    device.output = (packet) => this.#receive(iface, packet)
  }

  /** Forget an interface. Its device is the caller's to close. */
  detach(device: Device): void {
    const iface = this.#routes.interfaces.find((each) => each.device === device)
    if (iface === undefined) return
    this.#routes.remove(iface)
    this.#neighbors.removeLink(iface.link)
    this.#reassembly.forget(iface.link.index)
  }

  /** Addresses of all interfaces, or of one, link-local ones included: `10.1.0.11/24`. */
  addresses(interfaceName?: string): string[] {
    return this.#routes.interfaces
      .filter(({ name }) => interfaceName === undefined || name === interfaceName)
      .flatMap(({ link }) => link.addresses.map(formatPrefix))
  }

  /** Ask for an echo. @throws PingError; StackError if there is no route. */
  ping(to: string, options: PingOptions = {}): Promise<PingReply> {
    return this.#pinger.ping(parseAddress(to), options)
  }

  /** A UDP socket on this port, or on a free one. @throws StackError `exists`. */
  udp(port?: number, resolve?: Resolve): UdpSocket {
    return this.#udp.bind(port, resolve)
  }

  /** Take TCP connections to this port. @throws StackError `exists`. */
  listen(port: number, accept: (stream: TcpStream) => void, o?: ListenOptions): TcpListener {
    return this.#tcp.listen(port, accept, o)
  }

  /** A TCP connection, not open yet. @throws StackError if there is no route. */
  connect(to: string, port: number): TcpStream {
    return this.#tcp.connect(parseAddress(to), port)
  }

  neighbors(): NeighborEntry[] {
    return this.#neighbors.list()
  }

  /** Hear nothing from `other` any more, whichever way it comes; false: hear it again. */
  setDeaf(other: Host, deaf: boolean): void {
    if (deaf) this.#deafTo.add(other)
    else this.#deafTo.delete(other)
  }

  plan(to: Address): Plan {
    return this.#routes.plan(to)
  }

  nextId(): number {
    this.#nextId = (this.#nextId + 1) | 0
    return this.#nextId >>> 0
  }

  transmit(packet: Packet, plan: Plan): void {
    const { link, nextHop, mtuBytes } = plan
    if (packet.gsoSize === 0 && packet.len > mtuBytes) return this.#fragment(packet, plan)
    this.#neighbors.send(link, packet, nextHop.words, 0)
  }

  /** Idempotent. Its devices are the caller's to close. */
  close(): void {
    this.#pinger.close()
    this.#udp.close()
    this.#tcp.close()
    for (const { device } of [...this.#routes.interfaces]) this.detach(device)
    this.#reassembly.forget()
    this.#neighbors.close()
  }

  #fragment(packet: Packet, { link, nextHop, mtuBytes }: Plan): void {
    const { pool } = this
    const { mem } = pool
    completeChecksum(mem, packet)
    const four = u8(mem, packet.head) >>> 4 === 4
    const id = this.nextId()
    const total = packet.len - (four ? ipv4.HEADER_BYTES : ipv6.HEADER_BYTES)
    for (let from = 0; from < total; ) {
      const piece = four
        ? fragment4(pool, packet, mtuBytes, from)
        : fragment6(pool, packet, { mtuBytes, from, id })
      if (piece === undefined) return pool.drop(packet, DropReason.PoolEmpty)
      from += four ? payloadBytes4(mem, piece) : payloadBytes6(piece)
      this.#neighbors.send(link, piece, nextHop.words, 0)
    }
    pool.free(packet)
  }

  #receive(iface: HostInterface, packet: Packet): void {
    const { pool } = this
    const { mem } = pool
    const { head } = packet
    if (!eth.isGroup(mem, head) && !isMacAt(mem, head, iface.link.mac)) return pool.free(packet)
    if (this.#isDeafTo(iface, macAt(mem, head + eth.SRC))) {
      return pool.drop(packet, DropReason.LinkLost)
    }
    const type = eth.type(mem, head)
    if (type === eth.EtherType.Arp) return this.#neighbors.receiveArp(iface.link, packet)
    if (type !== eth.EtherType.Ipv4 && type !== eth.EtherType.Ipv6) return pool.free(packet)
    const ip = head + eth.HEADER_BYTES
    const heading = readHeading(mem, ip, packet.len - eth.HEADER_BYTES)
    if (heading === undefined || u8(mem, ip) >>> 4 !== (type === eth.EtherType.Ipv4 ? 4 : 6)) {
      return pool.drop(packet, DropReason.IpMalformed)
    }
    if (!isFor(iface, heading.to)) return pool.free(packet)
    if (this.#isDeafToAddress(heading.from)) return pool.drop(packet, DropReason.LinkLost)
    // What follows the datagram in its frame is padding.
    packet.len = heading.at + heading.bytes - head
    if (heading.isFragment) return this.#gather(iface, packet, heading)
    this.#deliver(iface, packet, heading)
  }

  #gather({ link }: HostInterface, packet: Packet, { at, bytes, to }: Heading): void {
    if (packet.gsoSize !== 0 || packet.csumStart !== 0) {
      return this.pool.drop(packet, DropReason.FrameOffloadBad)
    }
    const { index } = link
    const { mem } = this.pool
    if (to.family === 6 && bytes < FRAGMENT_HEADER_BYTES) {
      return this.pool.drop(packet, DropReason.FragmentMalformed)
    }
    const whole =
      to.family === 4
        ? this.#reassembly.add4(packet, index)
        : this.#reassembly.add6(packet, index, at)
    if (whole === undefined) return
    const ip = whole.head + eth.HEADER_BYTES
    const heading = readHeading(mem, ip, whole.len - eth.HEADER_BYTES)
    if (heading === undefined) return this.pool.drop(whole, DropReason.IpMalformed)
    const iface = this.#routes.interfaces.find((each) => each.link === link)
    if (iface === undefined) return this.pool.drop(whole, DropReason.DeviceDown)
    this.#deliver(iface, whole, heading)
  }

  /** A whole datagram, `head` at the Ethernet header. */
  #deliver(iface: HostInterface, packet: Packet, heading: Heading): void {
    const { pool } = this
    const { protocol, to } = heading
    if (protocol === (to.family === 4 ? Protocol.Icmp : Protocol.Icmp6)) {
      return this.#receiveIcmp(iface, packet, heading)
    }
    pull(packet, eth.HEADER_BYTES)
    const { from } = heading
    if (protocol === Protocol.Udp) {
      if (!this.#udp.isIntact(packet, heading)) {
        return pool.drop(packet, DropReason.TransportMalformed)
      }
      if (this.#udp.receive(packet, heading)) return pool.free(packet)
      if (isUnicast(heading.to)) complain(this, packet.head, heading, 'port')
      return pool.drop(packet, DropReason.PortUnreachable)
    }
    if (protocol === Protocol.Tcp) {
      if (this.#tcp.receive(packet, heading)) return pool.free(packet)
      return pool.drop(packet, DropReason.TransportMalformed)
    }
    if (isUnicast(heading.to) && !isNoNextHeader(from, protocol)) {
      complain(this, packet.head, heading, 'protocol')
    }
    pool.drop(packet, DropReason.ProtocolUnreachable)
  }

  #receiveIcmp({ link }: HostInterface, packet: Packet, heading: Heading): void {
    const { pool } = this
    const { mem } = pool
    const { at, bytes, to } = heading
    const four = to.family === 4
    const partial = packet.csumStart !== 0
    const ip = packet.head + eth.HEADER_BYTES
    if (bytes < icmp.HEADER_BYTES || !(partial || isIcmpIntact(mem, ip, at, bytes))) {
      return pool.drop(packet, DropReason.IcmpMalformed)
    }
    const type = u8(mem, at)
    if (!four && isNeighborMessage(type)) return this.#neighbors.receiveNd(link, packet)
    if (type === (four ? icmp.Type4.Echo : icmp.Type6.Echo)) answerEcho(this, heading)
    else if (type === (four ? icmp.Type4.EchoReply : icmp.Type6.EchoReply)) {
      this.#pinger.reply(mem, heading)
    } else if (four ? icmp.isError4(type) : icmp.isError6(type)) this.#told(heading)
    pool.free(packet)
  }

  /** An ICMP error: believed if it is about something that this host has sent. */
  #told({ at, bytes, from, to }: Heading): void {
    const { mem } = this.pool
    const problem = readProblem(mem, at, to.family === 4)
    if (problem === undefined) return
    const quote = at + icmp.HEADER_BYTES
    const about = readHeading(mem, quote, bytes - icmp.HEADER_BYTES, true)
    if (about === undefined || !this.#routes.isOwn(about.from)) return
    if (!this.#blame(about, problem, formatAddress(from))) return
    if (problem.kind === 'too-big') this.#routes.learn(about.to, problem.mtuBytes)
  }

  /** Tell whoever sent the packet with this heading what became of it. */
  #blame(about: Heading, problem: Problem, from?: string): boolean {
    const { mem } = this.pool
    if (about.protocol === Protocol.Udp) return this.#udp.refused(mem, about, problem, from)
    if (about.protocol === Protocol.Tcp) return this.#tcp.refused(mem, about, problem)
    const isIcmp = about.protocol === (about.to.family === 4 ? Protocol.Icmp : Protocol.Icmp6)
    return isIcmp && this.#pinger.refused(mem, about, problem, from)
  }

  /** A packet of ours whose next hop does not answer. */
  #undeliverable(packet: Packet): void {
    const heading = readHeading(this.pool.mem, packet.head, packet.len, true)
    if (heading !== undefined) this.#blame(heading, UNREACHABLE)
    this.pool.drop(packet, DropReason.NeighborFailed)
  }

  #isDeafTo(iface: HostInterface, mac: Mac): boolean {
    if (this.#deafTo.size === 0) return false
    return [...this.#deafTo].some((other) =>
      other.#routes.interfaces.some(({ link }) => sameMac(link.mac, mac) && link !== iface.link),
    )
  }

  #isDeafToAddress(from: Address): boolean {
    return [...this.#deafTo].some((other) => other.#routes.isOwn(from))
  }
}

function isNoNextHeader({ family }: Address, protocol: number): boolean {
  return family === 6 && protocol === ipv6.Next.None
}

function isNeighborMessage(type: number): boolean {
  return type === icmp.Type6.NeighborSolicitation || type === icmp.Type6.NeighborAdvertisement
}
