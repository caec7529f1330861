/**
 * Router advertisements of one interface (RFC 4861 §6.2): a few at first, then one every few
 * minutes at a random time, sooner when a host solicits, and a last one with lifetime 0.
 *
 * ```text
 *  IPv6 | type 134 | code | checksum | hop limit 64 | flags 0 | lifetime | 0 | 0 | options …
 *  options: source link-layer address, MTU, one prefix each, RDNSS, DNSSL (RFC 8106)
 * ```
 *
 * Addresses come from IPAM, so prefixes are on-link (L) but not for autoconfiguration (A is off),
 * and the M and O flags are off as no DHCPv6 server is here. An interface of an internal network
 * advertises lifetime 0: it is no way out.
 */

import { type Prefix, putAddress } from '../address.ts'
import { linkLocal, putAllNodes, putGroupMac } from '../arp/nd_emit.ts'
import { i32, put16, put32, putBytes, u8 } from '../bytes.ts'
import { pseudo6, sum } from '../checksum.ts'
import type { Cancel, Clock } from '../clock.ts'
import { DropReason } from '../drop.ts'
import { StackError } from '../errors.ts'
import * as eth from '../eth/frame.ts'
import { putMac } from '../eth/mac.ts'
import type { Packet, Pool } from '../packet.ts'
import type { Random } from '../random.ts'
import { consume } from './consume.ts'
import { DEFAULT_TTL } from './egress.ts'
import * as icmp from './icmp.ts'
import * as ipv4 from './ipv4.ts'
import * as ipv6 from './ipv6.ts'
import type { Advertise, RouterInterface } from './router_interface.ts'

/** RFC 4861 §6.2.1: MaxRtrAdvInterval and MinRtrAdvInterval. */
const INTERVAL_MAX_MS = 600_000
const INTERVAL_MIN_MS = 200_000
/** RFC 4861 §10. */
const INITIAL_INTERVAL_MS = 16_000
const INITIAL_COUNT = 3
const BETWEEN_MIN_MS = 3_000
const DELAY_MAX_MS = 500
/** RFC 4861 §6.2.1: AdvDefaultLifetime, three intervals; RFC 8106 §5.1 advises as much. */
const LIFETIME_S = 1_800
/** RFC 4861 §6.2.1: AdvValidLifetime and AdvPreferredLifetime. */
const VALID_S = 2_592_000
const PREFERRED_S = 604_800
const ON_LINK = 0x80
const HOP_LIMIT = 255
const MESSAGE_BYTES = 16
const Option = { SourceLink: 1, Prefix: 3, Mtu: 5, Rdnss: 25, Dnssl: 31 } as const

export interface AdvertiserOptions {
  readonly pool: Pool
  readonly clock: Clock
  readonly random: Random
  readonly iface: RouterInterface
  readonly advertise: Advertise
}

export class Advertiser {
  readonly #pool: Pool
  readonly #clock: Clock
  readonly #random: Random
  readonly #iface: RouterInterface
  readonly #options: Uint8Array
  readonly #lifetimeS: number
  #sent = 0
  #sentMs = Number.NEGATIVE_INFINITY
  #dueMs = Number.POSITIVE_INFINITY
  #timer: Cancel | undefined

  /** @throws StackError `bad-argument` if a search domain or the whole does not fit. */
  constructor({ pool, clock, random, iface, advertise }: AdvertiserOptions) {
    this.#pool = pool
    this.#clock = clock
    this.#random = random
    this.#iface = iface
    this.#lifetimeS = iface.internal ? 0 : LIFETIME_S
    this.#options = Uint8Array.from(options(iface, advertise))
    if (ipv6.HEADER_BYTES + MESSAGE_BYTES + this.#options.length > ipv6.MIN_MTU_BYTES) {
      throw new StackError('bad-argument', `${iface.name}: too much for one router advertisement`)
    }
  }

  /** The first advertisement follows after a short random time. */
  start(): void {
    this.#schedule(this.#clock.nowMs + this.#random.below(DELAY_MAX_MS))
  }

  /** A router solicitation, `head` at the Ethernet header. Takes it over. Drops `nd-malformed`. */
  solicited(packet: Packet): void {
    if (!isSolicitation(this.#pool.mem, packet)) {
      return this.#pool.drop(packet, DropReason.NdMalformed)
    }
    if (!packet.traced) {
      const earliestMs = Math.max(this.#clock.nowMs, this.#sentMs + BETWEEN_MIN_MS)
      const atMs = earliestMs + this.#random.below(DELAY_MAX_MS)
      if (atMs < this.#dueMs) this.#schedule(atMs)
    }
    consume(this.#pool, packet, 'a router advertisement would follow')
  }

  /** Say that the router goes away (RFC 4861 §6.2.5), and stop. */
  close(): void {
    this.#timer?.()
    this.#send(0)
  }

  #schedule(atMs: number): void {
    this.#timer?.()
    this.#dueMs = atMs
    this.#timer = this.#clock.after(atMs - this.#clock.nowMs, this.#due)
  }

  readonly #due = (): void => {
    this.#send(this.#lifetimeS)
    this.#sent++
    this.#sentMs = this.#clock.nowMs
    const random = INTERVAL_MIN_MS + this.#random.below(INTERVAL_MAX_MS - INTERVAL_MIN_MS)
    const delayMs = this.#sent < INITIAL_COUNT ? Math.min(random, INITIAL_INTERVAL_MS) : random
    this.#schedule(this.#sentMs + delayMs)
  }

  #send(lifetimeS: number): void {
    const bytes = MESSAGE_BYTES + this.#options.length
    const packet = this.#pool.alloc(eth.HEADER_BYTES + ipv6.HEADER_BYTES + bytes)
    if (packet === undefined) return this.#pool.counters.dropped(0, DropReason.PoolEmpty)
    packet.len = eth.HEADER_BYTES + ipv6.HEADER_BYTES + bytes
    const { mem } = this.#pool
    const ip = packet.head + eth.HEADER_BYTES
    const at = ip + ipv6.HEADER_BYTES
    ipv6.putHeader(mem, ip, {
      payloadBytes: bytes,
      next: ipv4.Protocol.Icmp6,
      hopLimit: HOP_LIMIT,
    })
    putAddress(mem, ip + ipv6.SRC, linkLocal(this.#iface.mac))
    putAllNodes(mem, ip + ipv6.DST)
    putGroupMac(mem, packet.head, ip + ipv6.DST)
    putMac(mem, packet.head + eth.SRC, this.#iface.mac)
    eth.putType(mem, packet.head, eth.EtherType.Ipv6)
    put32(mem, at, icmp.Type6.RouterAdvertisement << 24)
    mem[at + 4] = DEFAULT_TTL
    mem[at + 5] = 0
    put16(mem, at + 6, lifetimeS)
    put32(mem, at + 8, 0)
    put32(mem, at + 12, 0)
    putBytes(mem, at + MESSAGE_BYTES, this.#options)
    const pseudo = pseudo6(mem, ip + ipv6.SRC, ipv4.Protocol.Icmp6, bytes)
    put16(mem, at + icmp.CHECKSUM, ~sum(mem, at, bytes, pseudo))
    this.#iface.link.output(packet)
  }
}

/** RFC 4861 §6.1.1. Precondition: it is ICMPv6 of type 133, right after the IP header. */
function isSolicitation(mem: Uint8Array, { head, len, csumStart }: Packet): boolean {
  const ip = head + eth.HEADER_BYTES
  const at = ip + ipv6.HEADER_BYTES
  const end = head + len
  const bytes = end - at
  if (bytes < icmp.HEADER_BYTES || u8(mem, at + 1) !== 0) return false
  if (ipv6.hopLimit(mem, ip) !== HOP_LIMIT) return false
  let unspecified = true
  for (let i = 0; i < 4; i++) unspecified &&= i32(mem, ip + ipv6.SRC + 4 * i) === 0
  for (let option = at + icmp.HEADER_BYTES; option < end; ) {
    if (option + 2 > end || u8(mem, option + 1) === 0) return false
    if (unspecified && u8(mem, option) === Option.SourceLink) return false
    option += 8 * u8(mem, option + 1)
    if (option > end) return false
  }
  if (csumStart === at) return true
  return sum(mem, at, bytes, pseudo6(mem, ip + ipv6.SRC, ipv4.Protocol.Icmp6, bytes)) === 0xffff
}

function options(
  iface: RouterInterface,
  { dnsAddresses = [], dnsSearch = [] }: Advertise,
): number[] {
  const link = new Uint8Array(8)
  link[0] = Option.SourceLink
  link[1] = 1
  putMac(link, 2, iface.mac)
  const mtu = new Uint8Array(8)
  mtu[0] = Option.Mtu
  mtu[1] = 1
  put32(mtu, 4, iface.mtuBytes)
  const prefixes = iface.networks().filter(({ address }) => address.family === 6)
  const resolvers = dnsAddresses.filter(({ family }) => family === 6)
  const parts = [link, mtu, ...prefixes.map(prefixOption)]
  if (resolvers.length > 0) {
    const rdnss = dnsOption(Option.Rdnss, 16 * resolvers.length)
    for (const [i, address] of resolvers.entries()) putAddress(rdnss, 8 + 16 * i, address)
    parts.push(rdnss)
  }
  if (dnsSearch.length > 0) {
    const names = dnsSearch.flatMap(labels)
    const dnssl = dnsOption(Option.Dnssl, names.length)
    dnssl.set(names, 8)
    parts.push(dnssl)
  }
  return parts.flatMap((part) => [...part])
}

/** RFC 4861 §4.6.2. */
function prefixOption({ address, bits }: Prefix): Uint8Array {
  const option = new Uint8Array(32)
  option[0] = Option.Prefix
  option[1] = 4
  option[2] = bits
  option[3] = ON_LINK
  put32(option, 4, VALID_S)
  put32(option, 8, PREFERRED_S)
  putAddress(option, 16, address)
  return option
}

/** An option with a lifetime and `bytes` octets, zeros after them to a multiple of 8. */
function dnsOption(type: number, bytes: number): Uint8Array {
  const option = new Uint8Array((8 + bytes + 7) & ~7)
  option[0] = type
  option[1] = option.length / 8
  put32(option, 4, LIFETIME_S)
  return option
}

/** A domain name as labels (RFC 1035 §3.1). */
function labels(name: string): number[] {
  const parts = name.replace(/\.$/, '').split('.')
  const bytes = parts.flatMap((part) => [part.length, ...Buffer.from(part, 'latin1')])
  const fits = parts.every((part) => /^[\x21-\x7e]{1,63}$/.test(part)) && bytes.length < 255
  if (!fits) throw new StackError('bad-argument', `"${name}" is not a domain name`)
  return [...bytes, 0]
}
