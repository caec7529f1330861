/**
 * UDP of an in-memory host: its ports, and datagrams to and from them.
 *
 * Where the device takes partial checksums and super-frames, they are used as a kernel would, so
 * that a fabric in memory exercises the node as TAPs do.
 */
import { type Address, formatAddress } from '../../stack/address.ts'
import { u16 } from '../../stack/bytes.ts'
import { sum } from '../../stack/checksum.ts'
import { StackError } from '../../stack/errors.ts'
import { ipHeaderBytes, pseudo } from '../../stack/ip/header.ts'
import { Protocol } from '../../stack/ip/ipv4.ts'
import * as udp from '../../stack/ip/udp.ts'
import { GsoType, type Packet } from '../../stack/packet.ts'
import type { IpHost, Plan } from './ip_host.ts'
import { bytesOf, type Endpoint, type Resolve, type SendOptions, UdpSocket } from './udp.ts'
import { compose, type Heading, type Problem, seal } from './wire.ts'

const EPHEMERAL_FIRST = 49_152
const PAYLOAD_MAX_BYTES = 65_507
/** Most segments of one super-frame: Linux's UDP_MAX_SEGMENTS. */
const SEGMENTS_MAX = 128
const DEFAULT_TTL = 64

export class UdpPorts {
  readonly #host: IpHost
  readonly #open = new Map<number, UdpSocket>()
  #ephemeral = EPHEMERAL_FIRST

  constructor(host: IpHost) {
    this.#host = host
  }

  /** Bind a port, or a free one. @throws StackError `exists` if it is taken. */
  bind(port: number = this.#freePort(), resolve: Resolve = (name) => name): UdpSocket {
    if (!Number.isInteger(port) || port < 1 || port > 0xffff) {
      throw new StackError('bad-argument', `${port} is not a UDP port`)
    }
    if (this.#open.has(port)) {
      throw new StackError('exists', `${this.#host.name}: UDP port ${port} is bound already`)
    }
    const { name: host, driver } = this.#host
    const socket = new UdpSocket({
      port,
      host,
      driver,
      resolve,
      send: (data, to, options) => this.#send(port, data, to, options),
      release: () => this.#open.delete(port),
    })
    this.#open.set(port, socket)
    return socket
  }

  close(): void {
    for (const socket of [...this.#open.values()]) socket.close()
  }

  /**
   * A datagram for this host; false if nobody listens. The packet stays the caller's.
   * Precondition: {@link UdpPorts.isIntact}.
   */
  receive(packet: Packet, { from, to, at, ttl }: Heading): boolean {
    const { mem } = this.#host.pool
    const socket = this.#open.get(udp.dstPort(mem, at))
    if (socket === undefined) return false
    const sender = { address: from, port: udp.srcPort(mem, at) }
    const end = at + u16(mem, at + udp.LENGTH)
    const stepBytes = packet.gsoType === GsoType.Udp ? packet.gsoSize : PAYLOAD_MAX_BYTES
    let payload = at + udp.HEADER_BYTES
    do {
      const data = mem.slice(payload, Math.min(end, payload + stepBytes))
      payload += stepBytes
      socket.deliver({
        data,
        text: new TextDecoder().decode(data),
        address: formatAddress(from),
        port: sender.port,
        to: formatAddress(to),
        ttl,
        reply: (answer) => this.#send(socket.port, bytesOf(answer), sender, {}, to),
      })
    } while (payload < end)
    return true
  }

  /** True if lengths and checksum of a datagram are right, or the checksum is still partial. */
  isIntact(packet: Packet, { at, bytes, to }: Heading): boolean {
    const { mem } = this.#host.pool
    if (!udp.isHeader(mem, at, bytes)) return false
    if (packet.csumStart !== 0) return true
    if (u16(mem, at + udp.CHECKSUM) === 0) return to.family === 4
    const length = u16(mem, at + udp.LENGTH)
    return sum(mem, at, length, pseudo(mem, packet.head, Protocol.Udp, length)) === 0xffff
  }

  /** An ICMP error quotes a datagram of this host. True if a socket may have sent it. */
  refused(mem: Uint8Array, { to, at, bytes }: Heading, problem: Problem, from?: string): boolean {
    const socket = bytes < 4 ? undefined : this.#open.get(udp.srcPort(mem, at))
    socket?.fail({ ...problem, address: formatAddress(to), port: udp.dstPort(mem, at), from })
    return socket !== undefined
  }

  #send(
    srcPort: number,
    data: Uint8Array,
    to: Endpoint,
    options: SendOptions,
    source?: Address,
  ): void {
    const { ttl = DEFAULT_TTL, dontFragment = false, segmentBytes = data.length } = options
    const host = this.#host
    if (data.length > PAYLOAD_MAX_BYTES) {
      throw new StackError('bad-argument', `${data.length} octets are too many for a datagram`)
    }
    const found = host.plan(to.address)
    const plan = source === undefined ? found : { ...found, from: source }
    const segments = Math.ceil(data.length / segmentBytes)
    if (segments > 1 && (!plan.device.offload.uso || segments > SEGMENTS_MAX)) {
      for (let at = 0; at < data.length; at += segmentBytes) {
        const piece = data.subarray(at, at + segmentBytes)
        this.#send(srcPort, piece, to, { ttl, dontFragment }, source)
      }
      return
    }
    const bytes = ipHeaderBytes(to.address) + udp.HEADER_BYTES + Math.min(data.length, segmentBytes)
    const fits = bytes <= plan.mtuBytes
    if (!fits && (dontFragment || segments > 1)) return this.#tooBig(srcPort, to, plan)
    // As Linux sends UDP: "don't fragment" on whole packets, so that the path MTU is learned.
    const packet = this.#compose(srcPort, data, to, plan, { ttl, dontFragment: fits })
    if (segments > 1) {
      packet.gsoType = GsoType.Udp
      packet.gsoSize = segmentBytes
    }
    host.transmit(packet, plan)
  }

  #tooBig(srcPort: number, { address, port }: Endpoint, { mtuBytes }: Plan): void {
    const text = `packet too big, MTU ${mtuBytes}`
    const to = formatAddress(address)
    this.#open
      .get(srcPort)
      ?.fail({ kind: 'too-big', text, mtuBytes, address: to, port, from: undefined })
  }

  #compose(
    srcPort: number,
    data: Uint8Array,
    { address: to, port: dstPort }: Endpoint,
    plan: Plan,
    { ttl, dontFragment }: { ttl: number; dontFragment: boolean },
  ): Packet {
    const host = this.#host
    const { mem } = host.pool
    const bytes = udp.HEADER_BYTES + data.length
    const headerBytes = ipHeaderBytes(to)
    const packet = compose(host.pool, {
      from: plan.from,
      to,
      protocol: Protocol.Udp,
      ttl,
      dontFragment,
      id: host.nextId(),
      bytes,
    })
    if (packet === undefined) throw new StackError('exhausted', 'no packet memory for a datagram')
    const at = packet.head + headerBytes
    udp.putHeader(mem, at, { srcPort, dstPort, bytes })
    mem.set(data, at + udp.HEADER_BYTES)
    const transport = { protocol: Protocol.Udp, at, bytes, field: udp.CHECKSUM }
    seal(mem, packet, transport, plan.device.offload.csum)
    return packet
  }

  #freePort(): number {
    for (let i = EPHEMERAL_FIRST; i <= 0xffff; i++) {
      const port = this.#ephemeral
      this.#ephemeral = port === 0xffff ? EPHEMERAL_FIRST : port + 1
      if (!this.#open.has(port)) return port
    }
    throw new StackError('exhausted', `${this.#host.name}: every UDP port is bound`)
  }
}
