/**
 * Queries at the gateway addresses of networks: no socket of the kernel's, a packet becomes its
 * answer where it lies.
 *
 * ```text
 *   UDP port 53 of the router -> to a gateway, from a station we know? -> else: port unreachable
 *     -> from its own device?   else it borrows the address of another: dropped as spoofed
 *     -> within its rate?       else dropped as rate-limited
 *     -> known here: the answer, at once      else: the packet ends, and another carries the answer
 * ```
 *
 * Who asks is known by the network and the source address. The uplink is no network: nothing is
 * answered to the outside, so this is no open resolver.
 */
import { type Address, addressAt, loadWords } from '../../stack/address.ts'
import { u8, u16 } from '../../stack/bytes.ts'
import type { Clock } from '../../stack/clock.ts'
import { DropReason } from '../../stack/drop.ts'
import * as eth from '../../stack/eth/frame.ts'
import { DEFAULT_TTL } from '../../stack/ip/egress.ts'
import { ipHeaderBytes, putChecksum, putIpHeader } from '../../stack/ip/header.ts'
import * as ipv4 from '../../stack/ip/ipv4.ts'
import * as ipv6 from '../../stack/ip/ipv6.ts'
import type { Router } from '../../stack/ip/router.ts'
import type { RouterInterface } from '../../stack/ip/router_interface.ts'
import * as udp from '../../stack/ip/udp.ts'
import { NO_FLOW, type Packet, type Pool } from '../../stack/packet.ts'
import { LATER, type NameServer } from './server.ts'
import type { Station, Stations } from './stations.ts'
import * as wire from './wire.ts'

export interface GatewayOptions {
  readonly pool: Pool
  readonly clock: Clock
  readonly router: Router
  readonly server: NameServer
  readonly stations: Stations
}

/** Where an answer that comes later must go. */
interface Return {
  readonly station: Station
  readonly from: RouterInterface
  /** The gateway that was asked. */
  readonly gateway: Address
  readonly srcPort: number
}

const HEADERS_MAX_BYTES = ipv6.HEADER_BYTES + udp.HEADER_BYTES

export class Gateway {
  /** Queries taken, and those of them that were answered at once. */
  asked = 0
  answered = 0
  readonly #options: GatewayOptions
  readonly #words = new Int32Array(4)
  #unbind: (() => void) | undefined
  /** Answers identify themselves one after the other, should they be fragmented. */
  #id = 0

  constructor(options: GatewayOptions) {
    this.#options = options
  }

  /** @throws StackError `exists` if something else has the port. */
  open(): void {
    this.#unbind ??= this.#options.router.bindUdp(wire.PORT, this.#receive, this.#accepts)
  }

  /** Idempotent. */
  close(): void {
    this.#unbind?.()
    this.#unbind = undefined
  }

  /** Is this ours to answer? `head` at the Ethernet header. */
  readonly #accepts = (packet: Packet, from: RouterInterface): boolean => {
    const { pool, stations } = this.#options
    const ip = packet.head + eth.HEADER_BYTES
    const six = u8(pool.mem, ip) >>> 4 === 6
    // Nobody puts extension headers before a query.
    if (six && u8(pool.mem, ip + ipv6.NEXT) !== UDP) return false
    return stations.find(packet, from) !== undefined
  }

  readonly #receive = (packet: Packet, from: RouterInterface): void => {
    const { pool, clock, server, stations } = this.#options
    const { mem } = pool
    const station = stations.find(packet, from)!
    if (packet.ingress !== station.port) return pool.drop(packet, DropReason.IpSpoofed)
    const { scope } = station.manner
    if (!scope.budget.take(clock.nowMs)) return pool.drop(packet, DropReason.RateLimited)
    const ip = packet.head + eth.HEADER_BYTES
    const four = u8(mem, ip) >>> 4 === 4
    const at = ip + (four ? ipv4.headerBytes(mem, ip) : ipv6.HEADER_BYTES)
    const data = at + udp.HEADER_BYTES
    if (data + wire.UDP_BYTES > packet.slot + packet.slotBytes) {
      return pool.drop(packet, DropReason.DnsMalformed)
    }
    const bytes = u16(mem, at + udp.LENGTH) - udp.HEADER_BYTES
    this.asked++
    const length = server.respond(mem, data, bytes, station.manner)
    if (length === 0) return pool.drop(packet, DropReason.DnsMalformed)
    const srcPort = udp.srcPort(mem, at)
    if (length === LATER) return this.#later(packet, { station, from, srcPort, ip, data })
    this.answered++
    loadWords(mem, ip + (four ? ipv4.DST : ipv6.DST), four ? 4 : 6, this.#words)
    this.#send(packet, from, { data, length, srcPort, station })
  }

  /** The packet ends; its answer will be another. */
  #later(
    packet: Packet,
    o: {
      readonly station: Station
      readonly from: RouterInterface
      readonly srcPort: number
      readonly ip: number
      readonly data: number
    },
  ): void {
    const { pool, server } = this.#options
    const { station, from, srcPort } = o
    const { family } = station.address
    const gateway = addressAt(pool.mem, o.ip + (family === 4 ? ipv4.DST : ipv6.DST), family)
    const pending = server.pending(pool.mem, o.data, station.manner)
    pool.drop(packet, DropReason.Delivered)
    const back: Return = { station, from, gateway, srcPort }
    server.forward(pending, (message) => this.#answer(back, message))
  }

  #answer({ station, from, gateway, srcPort }: Return, message: Uint8Array): void {
    const { pool, router, stations } = this.#options
    // The network may be gone meanwhile, or another station have the address.
    if (!stations.has(station) || !router.interfaces().includes(from)) return
    const packet = pool.alloc(eth.HEADER_BYTES + HEADERS_MAX_BYTES + message.length)
    if (packet === undefined) return pool.counters.dropped(station.port, DropReason.PoolEmpty)
    const data = packet.head + eth.HEADER_BYTES + HEADERS_MAX_BYTES
    pool.mem.set(message, data)
    this.#words.set(gateway.words)
    this.#send(packet, from, { data, length: message.length, srcPort, station })
  }

  /** Headers before the message at `data`; `#words` is the gateway that speaks. */
  #send(
    packet: Packet,
    from: RouterInterface,
    o: {
      readonly data: number
      readonly length: number
      readonly srcPort: number
      readonly station: Station
    },
  ): void {
    const { pool, router } = this.#options
    const { mem } = pool
    const { address: to } = o.station
    const bytes = udp.HEADER_BYTES + o.length
    const at = o.data - udp.HEADER_BYTES
    const ip = at - ipHeaderBytes(to)
    packet.head = ip
    packet.len = at + bytes - ip
    packet.flow = NO_FLOW
    packet.csumStart = 0
    packet.csumOffset = 0
    packet.ingress = 0
    const gateway = { family: to.family, words: this.#words }
    const [ttl, id] = [DEFAULT_TTL, this.#nextId()]
    putIpHeader(mem, ip, { from: gateway, to, protocol: UDP, bytes, ttl, id })
    udp.putHeader(mem, at, { srcPort: wire.PORT, dstPort: o.srcPort, bytes })
    putChecksum(mem, ip, { protocol: UDP, at, bytes, field: udp.CHECKSUM })
    router.originate(packet, from)
  }

  #nextId(): number {
    this.#id = (this.#id + 1) & 0xffff
    return this.#id
  }
}

const UDP = ipv4.Protocol.Udp
