/**
 * The querier of a network: asks its hosts again and again which groups they want (RFC 3376 §6,
 * RFC 3810 §7), so that snooping (snooping.ts) knows it in full. Without multicast routers nobody
 * else would ask.
 *
 * ```text
 *   start   two general queries, a quarter of the interval apart     RFC 3376 §8.6, §8.7
 *   then    one every 125 s
 *   left    twice, a second apart: who else wants this group?
 *   poke    as at the start: somebody new has to learn what is wanted here
 * ```
 *
 * Queries are IGMPv3 and MLDv2, which hosts of older versions answer in theirs (RFC 3376 §7.2.1),
 * from the gateway's addresses. Of two queriers the one with the lower address asks (§6.6.2): ours
 * is silent while such a one is heard. A family in which the gateway has no address is not asked.
 *
 * Limits: {@link LEFT_MAX} groups at a time are asked for; beyond it, members that left stay until
 * their time is over.
 */
import { type Address, putAddress } from '../address.ts'
import { putAllNodes } from '../arp/nd_emit.ts'
import { i32, put16, put32 } from '../bytes.ts'
import type { Cancel, Clock } from '../clock.ts'
import { DropReason } from '../drop.ts'
import * as eth from '../eth/frame.ts'
import { type Mac, putMac } from '../eth/mac.ts'
import type { Output, Packet, Pool } from '../packet.ts'
import {
  type Asker,
  Family,
  LAST_MEMBER_MS,
  QUERIER_MS,
  QUERY_INTERVAL_MS,
  RESPONSE_MS,
  ROBUSTNESS,
} from './group_state.ts'
import * as igmp from './igmp.ts'
import * as ipv4 from './ipv4.ts'
import * as ipv6 from './ipv6.ts'
import * as mld from './mld.ts'
import type { Snooper } from './snooping.ts'

/** Groups asked for at a time. */
const LEFT_MAX = 64
/** Pokes within so long of each other are one. */
const POKE_MS = 1000
const START_INTERVAL_MS = QUERY_INTERVAL_MS / 4
const INTERVAL_S = QUERY_INTERVAL_MS / 1000
/** Internetwork control (RFC 3376 §4). */
const TOS = 0xc0
/** RFC 2113 §2.1, RFC 2711 §2.1: routers are to look at it. */
const ROUTER_ALERT4 = 0x9404_0000
const ROUTER_ALERT6 = 0x0502
/** What goes with it: it is about MLD, and an option of two octets for padding. */
const ALERT_OF_MLD = 0x0000_0100
const OPTION_BYTES = 4
const HOP_BY_HOP_BYTES = 8
const ALL_HOSTS = 0xe000_0001
const BYTES4: number = ipv4.HEADER_BYTES + OPTION_BYTES + igmp.QUERY3_BYTES
const BYTES6: number = ipv6.HEADER_BYTES + HOP_BY_HOP_BYTES + mld.QUERY2_BYTES

export interface QuerierOptions {
  readonly pool: Pool
  readonly clock: Clock
  readonly snooper: Snooper
  /** The VLAN that the gateway is in; 0 where tags are payload. */
  readonly vid: number
  readonly mac: Mac
  /** Undefined: that family is not asked. The IPv6 one is link-local (RFC 3810 §5.1.14). */
  readonly address4: Address | undefined
  readonly address6: Address | undefined
  /** Into the network. */
  readonly send: Output
}

/** A group that somebody left, and how often it is still to be asked for. */
interface Left {
  readonly family: number
  readonly group: Int32Array
  count: number
}

export class Querier implements Asker {
  readonly #o: QuerierOptions
  readonly #sources: readonly (Address | undefined)[]
  /** By family: until when another one asks. */
  readonly #quietMs = [0, 0]
  #left: Left[] = []
  #started = 0
  #pokedMs = Number.NEGATIVE_INFINITY
  #cancelNext: Cancel | undefined
  #cancelLeft: Cancel | undefined

  constructor(options: QuerierOptions) {
    this.#o = options
    this.#sources = [options.address4, options.address6]
    options.snooper.asker = this
    this.#cancelNext = options.clock.after(0, this.#next)
  }

  /** Ask as at the start. */
  poke(): void {
    const { clock } = this.#o
    if (clock.nowMs - this.#pokedMs < POKE_MS) return
    this.#pokedMs = clock.nowMs
    this.#started = 0
    this.#cancelNext?.()
    this.#cancelNext = clock.after(0, this.#next)
  }

  left(key: Int32Array, family: number): boolean {
    if (key[0] !== this.#o.vid || !this.isAtWork(family)) return false
    const group = key.slice(1)
    if (this.#left.some((one) => isSame(one.group, group))) return true
    if (this.#left.length >= LEFT_MAX) return false
    this.#left.push({ family, group, count: ROBUSTNESS })
    this.#cancelLeft ??= this.#o.clock.after(0, this.#ask)
    return true
  }

  heard(vid: number, family: number, mem: Uint8Array, source: number): void {
    const own = this.#sources[family]
    if (vid !== this.#o.vid || own === undefined || !isLower(mem, source, own)) return
    this.#quietMs[family] = this.#o.clock.nowMs + QUERIER_MS
    this.#o.snooper.setOwn(vid, family, false)
  }

  /** Stop all timers. Idempotent. */
  close(): void {
    this.#cancelNext?.()
    this.#cancelLeft?.()
    this.#cancelNext = undefined
    this.#cancelLeft = undefined
    this.#left = []
    this.#o.snooper.asker = undefined
  }

  readonly #next = (): void => {
    const { clock, snooper, vid } = this.#o
    for (const family of [Family.Four, Family.Six]) {
      if (!this.isAtWork(family)) continue
      snooper.setOwn(vid, family, true)
      this.#query(family, undefined)
    }
    this.#started++
    const delayMs = this.#started < ROBUSTNESS ? START_INTERVAL_MS : QUERY_INTERVAL_MS
    this.#cancelNext = clock.after(delayMs, this.#next)
  }

  readonly #ask = (): void => {
    for (const one of this.#left) {
      one.count--
      if (this.isAtWork(one.family)) this.#query(one.family, one.group)
    }
    this.#left = this.#left.filter(({ count }) => count > 0)
    const more = this.#left.length > 0
    this.#cancelLeft = more ? this.#o.clock.after(LAST_MEMBER_MS, this.#ask) : undefined
  }

  /** True if ours asks, and nobody else does. */
  isAtWork(family: number): boolean {
    return this.#sources[family] !== undefined && this.#quietMs[family]! <= this.#o.clock.nowMs
  }

  /** `group`: four words; undefined: all of them. */
  #query(family: number, group: Int32Array | undefined): void {
    const { pool, mac, send } = this.#o
    const packet = pool.alloc(eth.HEADER_BYTES + BYTES6)
    if (packet === undefined) return pool.counters.dropped(0, DropReason.PoolEmpty)
    putMac(pool.mem, packet.head + eth.SRC, mac)
    if (family === Family.Four) this.#put4(packet, group)
    else this.#put6(packet, group)
    send(packet)
  }

  #put4(packet: Packet, words: Int32Array | undefined): void {
    const { mem } = this.#o.pool
    const group = words === undefined ? 0 : words[3]!
    const ip = packet.head + eth.HEADER_BYTES
    const at = ip + ipv4.HEADER_BYTES + OPTION_BYTES
    const to = words === undefined ? ALL_HOSTS : group
    put16(mem, packet.head + eth.DST, 0x0100)
    put32(mem, packet.head + eth.DST + 2, 0x5e00_0000 | (to & 0x007f_ffff))
    eth.putType(mem, packet.head, eth.EtherType.Ipv4)
    putAddress(mem, ip + ipv4.SRC, this.#sources[Family.Four]!)
    put32(mem, ip + ipv4.DST, to)
    put32(mem, ip + ipv4.HEADER_BYTES, ROUTER_ALERT4)
    const lengths = { totalBytes: BYTES4, id: 0, fragment: ipv4.DONT_FRAGMENT }
    ipv4.putHeader(mem, ip, { ...lengths, ttl: 1, protocol: igmp.PROTOCOL, tos: TOS })
    mem[ip] = 0x40 | ((ipv4.HEADER_BYTES + OPTION_BYTES) >>> 2)
    ipv4.putChecksum(mem, ip)
    igmp.putQuery(mem, at, { group, ...responseFor(words) })
    packet.len = eth.HEADER_BYTES + BYTES4
  }

  #put6(packet: Packet, words: Int32Array | undefined): void {
    const { mem } = this.#o.pool
    const ip = packet.head + eth.HEADER_BYTES
    const options = ip + ipv6.HEADER_BYTES
    const at = options + HOP_BY_HOP_BYTES
    if (words === undefined) putAllNodes(mem, ip + ipv6.DST)
    for (let i = 0; i < 4; i++) {
      const word = words === undefined ? 0 : words[i]!
      put32(mem, at + mld.GROUP + 4 * i, word)
      if (words !== undefined) put32(mem, ip + ipv6.DST + 4 * i, word)
    }
    put16(mem, packet.head + eth.DST, 0x3333)
    put32(mem, packet.head + eth.DST + 2, i32(mem, ip + ipv6.DST + 12))
    eth.putType(mem, packet.head, eth.EtherType.Ipv6)
    putAddress(mem, ip + ipv6.SRC, this.#sources[Family.Six]!)
    const payloadBytes = BYTES6 - ipv6.HEADER_BYTES
    ipv6.putHeader(mem, ip, { payloadBytes, next: ipv6.Next.HopByHop, hopLimit: 1 })
    // Next header, no more octets than these, router alert of MLD, padding.
    put32(mem, options, (ipv4.Protocol.Icmp6 << 24) | ROUTER_ALERT6)
    put32(mem, options + 4, ALERT_OF_MLD)
    mld.putQuery(mem, ip, at, responseFor(words))
    packet.len = eth.HEADER_BYTES + BYTES6
  }
}

function responseFor(words: Int32Array | undefined): {
  readonly maxResponseMs: number
  readonly robustness: number
  readonly intervalS: number
} {
  const maxResponseMs = words === undefined ? RESPONSE_MS : LAST_MEMBER_MS
  return { maxResponseMs, robustness: ROBUSTNESS, intervalS: INTERVAL_S }
}

function isSame(a: Int32Array, b: Int32Array): boolean {
  return a.every((word, i) => word === b[i])
}

/** True if the address at `at` is lower than `own`, of its family. */
function isLower(mem: Uint8Array, at: number, { family, words }: Address): boolean {
  const first = family === 4 ? 3 : 0
  for (let i = first; i < 4; i++) {
    const other = i32(mem, at + 4 * (i - first)) >>> 0
    const own = words[i]! >>> 0
    if (other !== own) return other < own
  }
  return false
}
