/**
 * IGMP and MLD snooping (RFC 4541): group frames go only where somebody asked for them.
 *
 * ```text
 *   reports, leaves   learned; sent on to ports with a router, and to who snoops too
 *   queries           flooded; the port leads to a router; of one group: its members must confirm
 *   PIM hello         flooded; the port leads to a router
 *   data              link groups: flooded. Others: members and routers; without a querier: flooded
 * ```
 *
 * Without a querier nobody is asked to repeat what he wants, so what is known would be less and
 * less true: everything is flooded until one has been there for as long as hosts take to answer.
 * That may be our own (querier.ts), which says so by {@link Snooper.setOwn}. The filter of a tunnel
 * has peers for ports; there the answers to each peer's own querier keep what is known true.
 *
 * A port that may not hold another membership (membership.ts) gets every group instead, for as long
 * as the membership would have lasted: more traffic for that port, and no loss.
 *
 * Groups are told apart by IP address, not by MAC; sources of IGMPv3 and MLDv2 are not: who wants a
 * group from one source gets it from all. Groups of the link (224.0.0.0/24, ff02::/16, and the
 * smaller scopes) are always flooded and not held. A tag that is payload hides what is behind it:
 * such frames are flooded. Limits: GROUPS_MAX, MEMBERS_MAX.
 */
import { loadWords } from '../address.ts'
import { i32, u8, u16 } from '../bytes.ts'
import { DropReason } from '../drop.ts'
import * as eth from '../eth/frame.ts'
import { Audience, type GroupFilter, type GroupPort, NO_PORT } from '../eth/group_filter.ts'
import type { Packet, Pool } from '../packet.ts'
import * as extension from './extension.ts'
import * as record from './group_record.ts'
import {
  type Asker,
  type EveryGroup,
  Family,
  GroupState,
  type GroupStateOptions,
} from './group_state.ts'
import * as icmp from './icmp.ts'
import * as igmp from './igmp.ts'
import * as ipv4 from './ipv4.ts'
import * as ipv6 from './ipv6.ts'
import type { MemberRow } from './membership.ts'
import * as mld from './mld.ts'
import { Scope, scope6 } from './scope.ts'

/** Audiences of our own, less the family: below those of group_filter.ts. */
const ROUTERS = -3
const REPORTERS = -5

const PIM = 103
const PIM_HELLO = 0x20
const PIM_BYTES = 4
/** 224.0.0.x without its last octet, and the scope of IPv6's groups of the link. */
const LINK_GROUPS = 0xe00000
const LINK_SCOPE = 2
/** Where general queries go, and nowhere else (RFC 3376 §4.1.12, RFC 3810 §5.1.15). */
const ALL_HOSTS = 0xe000_0001
const ALL_NODES = 0xff02_0000

export interface SnooperOptions extends GroupStateOptions {
  readonly pool: Pool
}

export class Snooper implements GroupFilter {
  readonly #mem: Uint8Array
  readonly #state: GroupState

  constructor(options: SnooperOptions) {
    this.#mem = options.pool.mem
    this.#state = new GroupState(options)
  }

  addPort(port: number, options: GroupPort): void {
    this.#state.addPort(port, options)
  }

  removePort(port: number): void {
    this.#state.removePort(port)
  }

  /** Behind ports with others who snoop is a new one: they get every group until it was asked. */
  awaitNews(): void {
    this.#state.awaitNews()
  }

  /** Who asks from now on; undefined: nobody here. */
  set asker(asker: Asker | undefined) {
    this.#state.asker = asker
  }

  /** Our own querier is at work in the VLAN, or gave way to one that was heard just now. */
  setOwn(vid: number, family: number, atWork: boolean): void {
    this.#state.setOwn(vid, family, atWork)
  }

  /** True if what is known of a family in a VLAN is complete. */
  hasQuerier(vid: number, family: number): boolean {
    return this.#state.hasQuerier(vid, family)
  }

  audience(packet: Packet, vid: number, port: number): number {
    const mem = this.#mem
    this.#state.refresh()
    // To all stations is to all stations, and hosts take no report that came so for one.
    if (eth.isBroadcast(mem, packet.head + eth.DST)) return Audience.Everybody
    let at = packet.head + eth.TYPE
    if (u16(mem, at) === eth.EtherType.Vlan) {
      if (vid === 0) return Audience.Everybody
      at += eth.TAG_BYTES
    }
    const type = u16(mem, at)
    const from = packet.traced ? NO_PORT : port
    if (type === eth.EtherType.Ipv4) return this.#four(packet, at + 2, vid, from)
    if (type === eth.EtherType.Ipv6) return this.#six(packet, at + 2, vid, from)
    return Audience.Everybody
  }

  wants(audience: number, port: number): boolean {
    const state = this.#state
    if (audience === Audience.Everybody) return true
    if (audience <= REPORTERS) {
      return state.isReporter(port) || state.isRouter(port, REPORTERS - audience)
    }
    if (state.getsAll(port)) return true
    if (audience < 0) return state.isRouter(port, ROUTERS - audience)
    return state.isMember(audience, port)
  }

  unwanted(audience: number): number {
    if (audience === Audience.Everybody) return DropReason.BridgeNoPort
    return audience <= REPORTERS ? DropReason.Delivered : DropReason.GroupNoMember
  }

  /** Every membership. Not for the data path. */
  list(): MemberRow[] {
    return this.#state.list()
  }

  /** Ports that get every group. Not for the data path. */
  everyGroup(): EveryGroup[] {
    return this.#state.everyGroup()
  }

  /** Forget all, and stop the timer. Idempotent. */
  close(): void {
    this.#state.close()
  }

  /** `ip`: offset of the IPv4 header. */
  #four(packet: Packet, ip: number, vid: number, port: number): number {
    const mem = this.#mem
    const bytes = packet.head + packet.len - ip
    if (!ipv4.isHeader(mem, ip, bytes)) return Audience.Everybody
    const to = i32(mem, ip + ipv4.DST)
    if (!isGroup4(to)) return Audience.Everybody
    const protocol = ipv4.protocol(mem, ip)
    const at = ip + ipv4.headerBytes(mem, ip)
    const rest = ipv4.totalBytes(mem, ip) - (at - ip)
    if (protocol === igmp.PROTOCOL && !ipv4.isFragment(mem, ip)) {
      if (!ipv4.isIntact(mem, ip) || !igmp.isMessage(mem, at, rest)) return Audience.Malformed
      return this.#igmp(ip, at, rest, vid, port)
    }
    if (isLinkGroup4(to)) {
      if (protocol === PIM) this.#pim(at, rest, port, Family.Four)
      return Audience.Everybody
    }
    return this.#data(ip + ipv4.DST, vid, Family.Four)
  }

  /** `ip`: offset of the IPv6 header. */
  #six(packet: Packet, ip: number, vid: number, port: number): number {
    const mem = this.#mem
    const bytes = packet.head + packet.len - ip
    if (!ipv6.isHeader(mem, ip, bytes)) return Audience.Everybody
    if (u8(mem, ip + ipv6.DST) !== 0xff) return Audience.Everybody
    const end = ip + ipv6.HEADER_BYTES + ipv6.payloadBytes(mem, ip)
    const next = ipv6.nextHeader(mem, ip)
    // Every message of MLD has a router alert in front (RFC 2710 §3): without it, hosts ignore it.
    if (next === ipv6.Next.HopByHop) {
      const step = extension.walk(mem, ip, end)
      const at = ip + (step >>> 8)
      const isIcmp = step >= 0 && (step & 0xff) === ipv4.Protocol.Icmp6 && at < end
      if (isIcmp && mld.isType(u8(mem, at))) {
        if (!this.#isMld(packet, ip, at, end - at)) return Audience.Malformed
        return this.#mld(ip, at, end - at, vid, port)
      }
    }
    if (isLinkGroup6(mem, ip + ipv6.DST)) {
      if (next === PIM) {
        const at = ip + ipv6.HEADER_BYTES
        this.#pim(at, end - at, port, Family.Six)
      }
      return Audience.Everybody
    }
    return this.#data(ip + ipv6.DST, vid, Family.Six)
  }

  /** RFC 2710 §3, RFC 3810 §5: one hop, from a link-local address; a report also from none. */
  #isMld(packet: Packet, ip: number, at: number, bytes: number): boolean {
    const mem = this.#mem
    if (ipv6.hopLimit(mem, ip) !== 1 || !mld.isMessage(mem, at, bytes)) return false
    if (packet.csumStart === 0 && !mld.isIntact(mem, ip, at, bytes)) return false
    if (scope6(mem, ip + ipv6.SRC) === Scope.LinkLocal) return true
    if (u8(mem, at) === icmp.Type6.MldQuery) return false
    return isUnspecified(mem, ip + ipv6.SRC)
  }

  #data(group: number, vid: number, family: number): number {
    if (!this.#state.decides(vid, family)) return Audience.Everybody
    this.#load(group, vid, family)
    const found = this.#state.find()
    return found < 0 ? ROUTERS - family : found
  }

  #igmp(ip: number, at: number, bytes: number, vid: number, port: number): number {
    const mem = this.#mem
    const { Query, Report1, Report2, Leave, Report3 } = igmp.Type
    const type = igmp.type(mem, at)
    if (type === Query) {
      const ms = igmp.maxResponseMs(mem, at, bytes)
      const group = igmp.group(mem, at) === 0 ? -1 : at + igmp.GROUP
      if (group < 0 && i32(mem, ip + ipv4.DST) >>> 0 !== ALL_HOSTS) return Audience.Malformed
      if (group >= 0 && !igmp.asksAll(mem, at, bytes)) return Audience.Everybody
      this.#query(ip + ipv4.SRC, group, ms, vid, port, Family.Four)
      return Audience.Everybody
    }
    if (port >= 0) {
      if (type === Report1 || type === Report2) {
        this.#join(at + igmp.GROUP, vid, port, Family.Four)
      } else if (type === Leave) {
        this.#leave(at + igmp.GROUP, vid, port, Family.Four)
      } else if (type === Report3) {
        this.#records(at + igmp.RECORDS, igmp.recordCount(mem, at), vid, port, Family.Four)
      }
    }
    const isReport = type === Report1 || type === Report2 || type === Leave || type === Report3
    return isReport ? REPORTERS - Family.Four : Audience.Everybody
  }

  #mld(ip: number, at: number, bytes: number, vid: number, port: number): number {
    const mem = this.#mem
    const { MldQuery, MldReport, MldDone } = icmp.Type6
    const type = u8(mem, at)
    if (type === MldQuery) {
      const ms = mld.maxResponseMs(mem, at, bytes)
      const group = isUnspecified(mem, at + mld.GROUP) ? -1 : at + mld.GROUP
      if (group < 0 && !isAllNodes(mem, ip + ipv6.DST)) return Audience.Malformed
      if (group >= 0 && !mld.asksAll(mem, at, bytes)) return Audience.Everybody
      this.#query(ip + ipv6.SRC, group, ms, vid, port, Family.Six)
      return Audience.Everybody
    }
    if (port >= 0) {
      if (type === MldReport) this.#join(at + mld.GROUP, vid, port, Family.Six)
      else if (type === MldDone) this.#leave(at + mld.GROUP, vid, port, Family.Six)
      else this.#records(at + mld.RECORDS, mld.recordCount(mem, at), vid, port, Family.Six)
    }
    return REPORTERS - Family.Six
  }

  #records(at: number, count: number, vid: number, port: number, family: number): void {
    const mem = this.#mem
    const addressBytes = family === Family.Four ? igmp.ADDRESS_BYTES : mld.ADDRESS_BYTES
    for (let i = 0; i < count; i++) {
      const group = at + record.GROUP
      if (record.isJoin(mem, at)) this.#join(group, vid, port, family)
      else if (record.isLeave(mem, at)) this.#leave(group, vid, port, family)
      at += record.recordBytes(mem, at, addressBytes)
    }
  }

  #join(group: number, vid: number, port: number, family: number): void {
    if (!this.#isHeld(group, family)) return
    this.#load(group, vid, family)
    this.#state.join(port)
  }

  #leave(group: number, vid: number, port: number, family: number): void {
    if (!this.#isHeld(group, family)) return
    this.#load(group, vid, family)
    this.#state.leave(port, family)
  }

  /** `group`: where the group is that was asked for, or -1: in general. */
  #query(
    source: number,
    group: number,
    responseMs: number,
    vid: number,
    port: number,
    family: number,
  ): void {
    const state = this.#state
    if (port < 0 || !state.mayLead(port)) return
    if (group >= 0) {
      if (!this.#isHeld(group, family)) return
      this.#load(group, vid, family)
      return state.asked(responseMs)
    }
    // A snooper's question, from nowhere: there is no router behind it (RFC 4541 §2.1.1).
    if (family === Family.Four && i32(this.#mem, source) === 0) return
    state.leads(port, family)
    state.asker?.heard(vid, family, this.#mem, source)
    state.querier(vid, family, responseMs)
  }

  #pim(at: number, bytes: number, port: number, family: number): void {
    if (port < 0 || bytes < PIM_BYTES || u8(this.#mem, at) !== PIM_HELLO) return
    if (this.#state.mayLead(port)) this.#state.leads(port, family)
  }

  #isHeld(group: number, family: number): boolean {
    const mem = this.#mem
    if (family === Family.Four) {
      const word = i32(mem, group)
      return isGroup4(word) && !isLinkGroup4(word)
    }
    return u8(mem, group) === 0xff && !isLinkGroup6(mem, group)
  }

  #load(group: number, vid: number, family: number): void {
    const { key } = this.#state
    key[0] = vid
    loadWords(this.#mem, group, family === Family.Four ? 4 : 6, key, 1)
  }
}

function isGroup4(word: number): boolean {
  return word >>> 28 === 14
}

function isLinkGroup4(word: number): boolean {
  return word >>> 8 === LINK_GROUPS
}

/** Of the link or less (RFC 4291 §2.7). Precondition: a group. */
function isLinkGroup6(mem: Uint8Array, at: number): boolean {
  return (u8(mem, at + 1) & 0x0f) <= LINK_SCOPE
}

function isUnspecified(mem: Uint8Array, at: number): boolean {
  return (i32(mem, at) | i32(mem, at + 4) | i32(mem, at + 8) | i32(mem, at + 12)) === 0
}

function isAllNodes(mem: Uint8Array, at: number): boolean {
  const rest = i32(mem, at + 4) | i32(mem, at + 8) | (i32(mem, at + 12) ^ 1)
  return i32(mem, at) >>> 0 === ALL_NODES && rest === 0
}
