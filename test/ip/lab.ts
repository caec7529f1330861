/**
 * A router with legs in up to three networks, and nothing behind them: what it sends is kept as
 * bytes. Hosts are known to its neighbors, so that no resolution comes between.
 */
import { expect } from 'vitest'
import { type Address, parseAddress, parsePrefix, toBytes } from '../../stack/address.ts'
import { sum } from '../../stack/checksum.ts'
import { VirtualClock } from '../../stack/clock.ts'
import { DROP_NAMES, type DropName } from '../../stack/drop.ts'
import { type Mac, parseMac } from '../../stack/eth/mac.ts'
import type { HookParts, Hooks } from '../../stack/ip/hooks.ts'
import { Router } from '../../stack/ip/router.ts'
import type { RouterInterface, RouterInterfaceOptions } from '../../stack/ip/router_interface.ts'
import { type Packet, Pool } from '../../stack/packet.ts'
import { Random } from '../../stack/random.ts'
import { Trace } from '../../stack/trace.ts'

/** A frame that the router sent, with its offload facts relative to its start. */
export interface Sent {
  readonly leg: string
  readonly bytes: Uint8Array
  readonly gsoType: number
  readonly gsoSize: number
  readonly csumStart: number
  readonly csumOffset: number
}

export interface Facts {
  readonly gsoType?: number
  readonly gsoSize?: number
  readonly csumStart?: number
  readonly csumOffset?: number
  readonly traced?: boolean
}

export const HOST_MAC: Mac = parseMac('02:00:00:00:00:aa')
export const INGRESS_PORT = 7

export interface LabOptions {
  readonly largeCount?: number
  readonly icmpPerS?: number
  readonly hooks?: (lab: Lab, parts: HookParts) => Hooks
}

export class Lab {
  readonly pool: Pool
  readonly clock: VirtualClock = new VirtualClock()
  readonly router: Router
  readonly sent: Sent[] = []
  /** False: what the router sends is only given back to the pool, without a trace. */
  keep = true

  constructor({ largeCount = 40, icmpPerS, hooks }: LabOptions = {}) {
    this.pool = new Pool({ smallCount: 400, largeCount, checked: true })
    this.router = new Router({
      pool: this.pool,
      clock: this.clock,
      random: new Random(1),
      ...(icmpPerS === undefined ? {} : { icmpPerS }),
      ...(hooks === undefined ? {} : { hooks: (parts) => hooks(this, parts) }),
    })
  }

  leg(
    name: string,
    addresses: readonly string[],
    options: Partial<RouterInterfaceOptions> = {},
  ): RouterInterface {
    return this.router.addInterface({
      name,
      mac: gatewayMac(name),
      mtuBytes: 1500,
      addresses: addresses.map(parsePrefix),
      internal: false,
      output: (packet) => this.#send(name, packet),
      ...options,
    })
  }

  host(iface: RouterInterface, address: string): void {
    this.router.neighbors.setPermanent(iface.link, parseAddress(address), HOST_MAC)
  }

  /** A static route; without `via`, a blackhole. */
  route(prefix: string, via?: string): void {
    const to = parsePrefix(prefix)
    if (via === undefined) this.router.addRoute({ prefix: to, kind: 'blackhole' })
    else this.router.addRoute({ prefix: to, kind: 'static', via: parseAddress(via) })
  }

  /** Hand the router a frame. */
  receive(iface: RouterInterface, frame: Uint8Array, facts: Facts = {}): void {
    const packet = this.pool.alloc(frame.length)!
    this.pool.mem.set(frame, packet.head)
    packet.len = frame.length
    packet.ingress = INGRESS_PORT
    packet.gsoType = facts.gsoType ?? 0
    packet.gsoSize = facts.gsoSize ?? 0
    packet.csumStart = facts.csumStart === undefined ? 0 : packet.head + facts.csumStart
    packet.csumOffset = facts.csumOffset ?? 0
    packet.traced = facts.traced ?? false
    iface.input(packet)
  }

  /** Send an IP packet to the router in a frame to its MAC. */
  ip(iface: RouterInterface, packet: Uint8Array, facts: Facts = {}): void {
    this.receive(iface, frame(iface.mac, packet), facts)
  }

  /** The words of a traced packet's way and end. */
  trace(iface: RouterInterface, packet: Uint8Array): string[] {
    const trace = new Trace()
    this.pool.trace = trace
    this.ip(iface, packet, { traced: true })
    this.pool.trace = undefined
    const steps = trace.steps.map(({ element, text }) => `${element}: ${text}`)
    return [...steps, ...trace.ends.map(({ verdict, detail }) => `${verdict}: ${detail}`)]
  }

  /** Take the frames sent since the last call. */
  take(): Sent[] {
    return this.sent.splice(0)
  }

  /** The one frame sent since the last call. */
  one(): Sent {
    const all = this.take()
    expect(all.length).toBe(1)
    return all[0]!
  }

  run(ms: number): void {
    const until = this.clock.nowMs + ms
    while (this.clock.step(until)) {}
    this.clock.jump(until)
  }

  /** Drops of all devices by name, those at zero left out. */
  drops(): Partial<Record<DropName, number>> {
    const counts = DROP_NAMES.map((name, reason) => [name, this.#dropsOf(reason)] as const)
    return Object.fromEntries(counts.filter(([, count]) => count > 0))
  }

  /** End the test: everything is given back. */
  end(): void {
    this.router.close()
    expect(this.pool.leaks()).toEqual([])
    expect(this.clock.pending).toBe(0)
  }

  #dropsOf(reason: number): number {
    const { counters } = this.pool
    return counters.drops(0, reason) + counters.drops(INGRESS_PORT, reason)
  }

  #send(leg: string, packet: Packet): void {
    if (packet.traced) this.pool.trace?.end('transmitted', leg)
    else if (this.keep) {
      const { head, len, gsoType, gsoSize, csumStart, csumOffset } = packet
      const bytes = this.pool.mem.slice(head, head + len)
      const start = csumStart === 0 ? 0 : csumStart - head
      this.sent.push({ leg, bytes, gsoType, gsoSize, csumStart: start, csumOffset })
    }
    this.pool.free(packet)
  }
}

export function gatewayMac(name: string): Mac {
  return { hi: 0x0200, lo: 0x0a00_0000 + name.charCodeAt(0) }
}

export function frame(destination: Mac, ip: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(14 + ip.length)
  const view = new DataView(bytes.buffer)
  view.setUint16(0, destination.hi)
  view.setUint32(2, destination.lo)
  view.setUint16(6, HOST_MAC.hi)
  view.setUint32(8, HOST_MAC.lo)
  view.setUint16(12, ip[0]! >>> 4 === 6 ? 0x86dd : 0x0800)
  bytes.set(ip, 14)
  return bytes
}

export interface Ip4 {
  readonly from: string
  readonly to: string
  readonly protocol?: number
  readonly ttl?: number
  readonly id?: number
  readonly tos?: number
  /** The 16 bits of flags and offset. */
  readonly fragment?: number
  readonly options?: Uint8Array
}

export function ip4(header: Ip4, payload: Uint8Array): Uint8Array {
  const { from, to, protocol = 17, ttl = 64, id = 1, fragment = 0, tos = 0, options } = header
  const headerBytes = 20 + (options?.length ?? 0)
  const bytes = new Uint8Array(headerBytes + payload.length)
  const view = new DataView(bytes.buffer)
  bytes[0] = 0x40 | (headerBytes / 4)
  bytes[1] = tos
  view.setUint16(2, bytes.length)
  view.setUint16(4, id)
  view.setUint16(6, fragment)
  bytes[8] = ttl
  bytes[9] = protocol
  bytes.set(octets(from), 12)
  bytes.set(octets(to), 16)
  if (options !== undefined) bytes.set(options, 20)
  view.setUint16(10, ~sum(bytes, 0, headerBytes) & 0xffff)
  bytes.set(payload, headerBytes)
  return bytes
}

export interface Ip6 {
  readonly from: string
  readonly to: string
  readonly next?: number
  readonly hops?: number
}

export function ip6(header: Ip6, payload: Uint8Array): Uint8Array {
  const { from, to, next = 17, hops = 64 } = header
  const bytes = new Uint8Array(40 + payload.length)
  const view = new DataView(bytes.buffer)
  bytes[0] = 0x60
  view.setUint16(4, payload.length)
  bytes[6] = next
  bytes[7] = hops
  bytes.set(octets(from), 8)
  bytes.set(octets(to), 24)
  bytes.set(payload, 40)
  return bytes
}

/** A UDP datagram in an IP packet of either family, its checksum right. */
export function udp(
  header: Ip4 | Ip6,
  ports: { readonly from?: number; readonly to: number },
  payload: Uint8Array,
): Uint8Array {
  const bytes = new Uint8Array(8 + payload.length)
  const view = new DataView(bytes.buffer)
  view.setUint16(0, ports.from ?? 5000)
  view.setUint16(2, ports.to)
  view.setUint16(4, bytes.length)
  bytes.set(payload, 8)
  return transport({ ...header, protocol: 17, next: 17 }, bytes, 6)
}

export interface Tcp {
  readonly from?: number
  readonly to: number
  readonly seq?: number
  readonly ack?: number
  readonly flags: number
  readonly options?: Uint8Array
}

export function tcp(header: Ip4 | Ip6, fields: Tcp, payload: Uint8Array): Uint8Array {
  const headerBytes = 20 + (fields.options?.length ?? 0)
  const bytes = new Uint8Array(headerBytes + payload.length)
  const view = new DataView(bytes.buffer)
  view.setUint16(0, fields.from ?? 5000)
  view.setUint16(2, fields.to)
  view.setUint32(4, fields.seq ?? 0)
  view.setUint32(8, fields.ack ?? 0)
  bytes[12] = (headerBytes / 4) << 4
  bytes[13] = fields.flags
  view.setUint16(14, 0xffff)
  if (fields.options !== undefined) bytes.set(fields.options, 20)
  bytes.set(payload, headerBytes)
  return transport({ ...header, protocol: 6, next: 6 }, bytes, 16)
}

export function echo4(header: Ip4, data: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(8 + data.length)
  bytes.set([8, 0, 0, 0, 0x12, 0x34, 0, 1])
  bytes.set(data, 8)
  new DataView(bytes.buffer).setUint16(2, ~sum(bytes, 0, bytes.length) & 0xffff)
  return ip4({ ...header, protocol: 1 }, bytes)
}

export function icmp6(header: Ip6, message: Uint8Array): Uint8Array {
  return transport({ ...header, protocol: 58, next: 58 }, message.slice(), 2)
}

export function echo6(header: Ip6, data: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(8 + data.length)
  bytes.set([128, 0, 0, 0, 0x12, 0x34, 0, 1])
  bytes.set(data, 8)
  return icmp6(header, bytes)
}

/** Put the checksum into a transport segment, and the segment into a packet. */
function transport(
  header: (Ip4 | Ip6) & { readonly protocol: number; readonly next: number },
  segment: Uint8Array,
  field: number,
): Uint8Array {
  const view = new DataView(segment.buffer)
  const value = ~sum(segment, 0, segment.length, pseudo(header, segment.length)) & 0xffff
  view.setUint16(field, value === 0 && header.protocol === 17 ? 0xffff : value)
  return header.from.includes(':') ? ip6(header, segment) : ip4(header, segment)
}

/** Sum of the pseudo-header, written independently of the stack's. */
export function pseudo(
  { from, to, protocol }: { from: string; to: string; protocol: number },
  bytes: number,
): number {
  const header = [...octets(from), ...octets(to), 0, 0, bytes >>> 8, bytes & 0xff, 0, protocol]
  let total = 0
  for (let i = 0; i < header.length; i += 2) total += header[i]! * 256 + header[i + 1]!
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16)
  return total
}

/** True if the transport checksum of a whole packet of either family is right. */
export function isTransportIntact(ip: Uint8Array): boolean {
  const six = ip[0]! >>> 4 === 6
  const at = six ? 40 : (ip[0]! & 15) * 4
  const addresses = six ? [...ip.slice(8, 40)] : [...ip.slice(12, 20)]
  const protocol = six ? ip[6]! : ip[9]!
  const bytes = ip.length - at
  const header = [...addresses, 0, 0, bytes >>> 8, bytes & 0xff, 0, protocol]
  let total = 0
  for (let i = 0; i < header.length; i += 2) total += header[i]! * 256 + header[i + 1]!
  for (let i = at; i < ip.length; i += 2) total += ip[i]! * 256 + (ip[i + 1] ?? 0)
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16)
  return total === 0xffff
}

export function octets(address: string | Address): Uint8Array {
  return toBytes(typeof address === 'string' ? parseAddress(address) : address)
}

/** The IP packet of a frame. */
export function ipOf({ bytes }: Sent): Uint8Array {
  return bytes.slice(14)
}

export function u16(bytes: Uint8Array, at: number): number {
  return bytes[at]! * 256 + bytes[at + 1]!
}

export function u32(bytes: Uint8Array, at: number): number {
  return u16(bytes, at) * 65_536 + u16(bytes, at + 2)
}

/** Octets that tell where they belong. */
export function pattern(bytes: number): Uint8Array {
  return Uint8Array.from({ length: bytes }, (_, i) => (i * 7 + (i >>> 8)) & 0xff)
}

/** Hosts of {@link twoNetworks}. */
export const A4 = '10.1.0.11'
export const B4 = '10.2.0.22'
export const A6 = 'fd00:1::11'
export const B6 = 'fd00:2::22'

/** Two legs of both families with a host each: MTU 1500 in front, 1400 at the back. */
export function twoNetworks(): { lab: Lab; front: RouterInterface; back: RouterInterface } {
  const lab = new Lab()
  const front = lab.leg('front', ['10.1.0.1/24', 'fd00:1::1/64'])
  const back = lab.leg('back', ['10.2.0.1/24', 'fd00:2::1/64'], { mtuBytes: 1400 })
  lab.host(front, A4)
  lab.host(front, A6)
  lab.host(back, B4)
  lab.host(back, B6)
  return { lab, front, back }
}

/** Make the IPv4 header checksum of a frame right again, if the header is whole. */
export function mendChecksum(bytes: Uint8Array): void {
  const header = 14 + (bytes[14]! & 15) * 4
  if (header > bytes.length) return
  bytes.set([0, 0], 24)
  let total = 0
  for (let at = 14; at < header; at += 2) total += bytes[at]! * 256 + bytes[at + 1]!
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16)
  bytes.set([(~total >>> 8) & 0xff, ~total & 0xff], 24)
}
