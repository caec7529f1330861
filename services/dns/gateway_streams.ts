/**
 * Questions at the gateways over TCP: for what does not fit into a datagram. Segments come as the
 * router hears them and go out as its own; there is no socket of the kernel's (stream.ts).
 *
 * Whoever is answered over UDP is answered here, from its own device only; others get the reset
 * that a closed port gives. Connections are few, by station and in all.
 */
import { type Address, addressAt, formatWords, loadWords } from '../../stack/address.ts'
import { u8, u16, u32 } from '../../stack/bytes.ts'
import type { Clock } from '../../stack/clock.ts'
import { DropReason } from '../../stack/drop.ts'
import * as eth from '../../stack/eth/frame.ts'
import { DEFAULT_TTL } from '../../stack/ip/egress.ts'
import { ipHeaderBytes, putChecksum, putIpHeader } from '../../stack/ip/header.ts'
import * as ipv4 from '../../stack/ip/ipv4.ts'
import * as ipv6 from '../../stack/ip/ipv6.ts'
import type { TcpService } from '../../stack/ip/local.ts'
import type { Router } from '../../stack/ip/router.ts'
import type { RouterInterface } from '../../stack/ip/router_interface.ts'
import * as tcp from '../../stack/ip/tcp.ts'
import type { Packet, Pool } from '../../stack/packet.ts'
import { LATER, type NameServer } from './server.ts'
import type { Station, Stations } from './stations.ts'
import { type Segment, Stream } from './stream.ts'
import * as wire from './wire.ts'

const CONNECTIONS_MAX = 256
/** Of one station. */
const STATION_MAX = 16
/** What a peer takes that does not say (RFC 9293 §3.7.1). */
const MSS_DEFAULT = 536

export interface GatewayStreamsOptions {
  readonly pool: Pool
  readonly clock: Clock
  readonly router: Router
  readonly server: NameServer
  readonly stations: Stations
  /** For initial sequence numbers. */
  readonly random16: () => number
}

interface Connection {
  readonly key: string
  readonly station: Station
  readonly from: RouterInterface
  readonly gateway: Address
  readonly peerPort: number
  readonly stream: Stream
}

export class GatewayStreams implements TcpService {
  /** Connections taken. */
  accepted = 0
  readonly #options: GatewayStreamsOptions
  readonly #connections = new Map<string, Connection>()
  readonly #words = new Int32Array(4)
  readonly #scratch = new Uint8Array(wire.TCP_BYTES_MAX)
  #unbind: (() => void) | undefined

  constructor(options: GatewayStreamsOptions) {
    this.#options = options
  }

  /** @throws StackError `exists` if something else has the port. */
  open(): void {
    this.#unbind ??= this.#options.router.bindTcp(wire.PORT, this)
  }

  /** Peers are told. Idempotent. */
  close(): void {
    this.#unbind?.()
    this.#unbind = undefined
    for (const { stream } of [...this.#connections.values()]) stream.abort()
  }

  get count(): number {
    return this.#connections.size
  }

  serves(packet: Packet, from: RouterInterface): boolean {
    return this.#options.stations.find(packet, from) !== undefined
  }

  accepts(packet: Packet, from: RouterInterface, at: number): boolean {
    const station = this.#options.stations.find(packet, from)
    if (station === undefined || station.port !== packet.ingress) return false
    if (this.#connections.has(this.#keyOf(packet, from, at))) return true
    const { head, len } = packet
    if (!tcp.isOpening(this.#options.pool.mem, at, head + len - at)) return false
    if (this.#connections.size >= CONNECTIONS_MAX) return false
    let own = 0
    for (const each of this.#connections.values()) if (each.station === station) own++
    return own < STATION_MAX
  }

  receive(packet: Packet, from: RouterInterface, at: number): void {
    const { pool, stations } = this.#options
    const { mem } = pool
    const station = stations.find(packet, from)!
    const key = this.#keyOf(packet, from, at)
    const segment = segmentOf(mem, at, packet.head + packet.len)
    const known = this.#connections.get(key)
    const mss = Math.min(peerMss(mem, at), from.mtuBytes - headerBytes(station.address))
    const peerPort = u16(mem, at)
    const gateway = this.#gatewayOf(packet, station.address.family)
    pool.drop(packet, DropReason.Delivered)
    if (known !== undefined) return known.stream.segment(segment)
    this.accepted++
    this.#open({ key, station, from, gateway, peerPort }, mss, segment)
  }

  #open(about: Omit<Connection, 'stream'>, mssBytes: number, first: Segment): void {
    const { clock, random16 } = this.#options
    const stream: Stream = new Stream(
      {
        clock,
        iss: ((random16() << 16) | random16()) >>> 0,
        mssBytes,
        send: (segment) => this.#send(about, segment),
        heard: (message) => this.#heard(about, () => stream, message),
        closed: () => this.#connections.delete(about.key),
      },
      first,
    )
    this.#connections.set(about.key, { ...about, stream })
  }

  #heard({ station }: Omit<Connection, 'stream'>, of: () => Stream, message: Uint8Array): void {
    const { clock, server } = this.#options
    const { scope } = station.manner
    const manner = { scope, maxBytes: wire.TCP_BYTES_MAX, isStream: true }
    if (!scope.budget.take(clock.nowMs)) return of().abort()
    const mem = this.#scratch
    mem.set(message)
    const length = server.respond(mem, 0, message.length, manner)
    if (length === 0) return of().abort()
    if (length !== LATER) return of().reply(mem.subarray(0, length))
    server.forward(server.pending(mem, 0, manner), (answer) => of().reply(answer))
  }

  #keyOf(packet: Packet, from: RouterInterface, at: number): string {
    const { mem } = this.#options.pool
    const ip = packet.head + eth.HEADER_BYTES
    const six = u8(mem, ip) >>> 4 === 6
    loadWords(mem, ip + (six ? ipv6.SRC : ipv4.SRC), six ? 6 : 4, this.#words)
    const source = formatWords(this.#words)
    loadWords(mem, ip + (six ? ipv6.DST : ipv4.DST), six ? 6 : 4, this.#words)
    return `${from.index} ${source} ${u16(mem, at)} ${formatWords(this.#words)}`
  }

  #gatewayOf(packet: Packet, family: 4 | 6): Address {
    const ip = packet.head + eth.HEADER_BYTES
    const at = ip + (family === 4 ? ipv4.DST : ipv6.DST)
    return addressAt(this.#options.pool.mem, at, family)
  }

  #send({ station, from, gateway, peerPort }: Omit<Connection, 'stream'>, s: Segment): void {
    const { pool, router, stations } = this.#options
    if (!stations.has(station) || !router.interfaces().includes(from)) return
    const optionBytes = (s.flags & tcp.Flag.Syn) !== 0 ? tcp.OPTION_MSS_BYTES : 0
    const ipBytes = ipHeaderBytes(gateway)
    const bytes = tcp.HEADER_BYTES + optionBytes + s.data.length
    const packet = pool.alloc(ipBytes + bytes)
    if (packet === undefined) return pool.counters.dropped(station.port, DropReason.PoolEmpty)
    const { mem } = pool
    const ip = packet.head
    const at = ip + ipBytes
    packet.len = ipBytes + bytes
    const protocol = ipv4.Protocol.Tcp
    const ends = { from: gateway, to: station.address }
    putIpHeader(mem, ip, { ...ends, protocol, bytes, ttl: DEFAULT_TTL, dontFragment: true })
    const headerBytes = tcp.HEADER_BYTES + optionBytes
    tcp.putHeader(mem, at, { ...s, srcPort: wire.PORT, dstPort: peerPort, headerBytes })
    const mssBytes = from.mtuBytes - ipBytes - tcp.HEADER_BYTES
    if (optionBytes > 0) tcp.putMss(mem, at + tcp.HEADER_BYTES, mssBytes)
    mem.set(s.data, at + headerBytes)
    putChecksum(mem, ip, { protocol, at, bytes, field: tcp.CHECKSUM })
    router.originate(packet, from)
  }
}

function segmentOf(mem: Uint8Array, at: number, end: number): Segment {
  return {
    seq: u32(mem, at + tcp.SEQ),
    ack: u32(mem, at + tcp.ACK),
    flags: tcp.flags(mem, at),
    window: u16(mem, at + tcp.WINDOW),
    data: mem.slice(at + tcp.headerBytes(mem, at), end),
  }
}

function headerBytes(address: Address): number {
  return ipHeaderBytes(address) + tcp.HEADER_BYTES
}

/** What the peer takes, by its SYN. */
function peerMss(mem: Uint8Array, at: number): number {
  const said = tcp.mssBytes(mem, at)
  return said < 0 ? MSS_DEFAULT : Math.max(MSS_MIN, said)
}

/** A peer that says less makes answers of many segments. */
const MSS_MIN = 88
