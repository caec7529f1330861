/**
 * What a link cannot work without, and no policy stops: ARP, neighbor discovery and router
 * discovery, group membership, and DHCP where hosts have no address yet.
 *
 * ```text
 *   ND     ICMPv6 133-137, hop limit 255: from this link (RFC 4861 §6.1, §7.1)
 *   MLD    ICMPv6 130-132 and 143, hop limit 1 (RFC 2710 §3, RFC 3810 §5)
 *   IGMP   protocol 2, TTL 1
 *   DHCP   UDP 67 and 68 to 255.255.255.255
 *   DHCPv6 UDP 546 and 547 between fe80::/10 and ff02::/16
 * ```
 *
 * None of them leaves the link: a router does not send them on, and the guard against spoofed
 * answers (arp/proxy.ts) is asked in any case.
 */
import { i32, u8 } from '../bytes.ts'
import * as icmp from './icmp.ts'
import * as ipv4 from './ipv4.ts'
import * as ipv6 from './ipv6.ts'
import { Scope, scope6 } from './scope.ts'

const IGMP = 2
const ND_HOPS = 255
const LINK_HOPS = 1
const EVERYBODY = -1
/** Scope of groups that stay on their link (RFC 4291 §2.7). */
const LINK_GROUPS = 2
const DHCP_LOW = 67
const DHCP_HIGH = 68
const DHCP6_LOW = 546
const DHCP6_HIGH = 547

/**
 * True if no policy is to stop the IP packet at `ip`. `protocol`, `ports` and `at`, where its
 * transport header is, are as tuple.ts read them. Precondition: it is no later fragment.
 */
export function isNeeded(
  mem: Uint8Array,
  ip: number,
  at: number,
  protocol: number,
  ports: number,
): boolean {
  const low = ports >>> 16
  const high = ports & 0xffff
  if (u8(mem, ip) >>> 4 === 4) {
    if (protocol === IGMP) return ipv4.ttl(mem, ip) === LINK_HOPS
    if (protocol !== ipv4.Protocol.Udp || i32(mem, ip + ipv4.DST) !== EVERYBODY) return false
    return (low === DHCP_LOW && high === DHCP_HIGH) || (low === DHCP_HIGH && high === DHCP_LOW)
  }
  if (protocol === ipv4.Protocol.Icmp6) return isNeeded6(u8(mem, at), ipv6.hopLimit(mem, ip))
  if (protocol !== ipv4.Protocol.Udp) return false
  const dhcp =
    (low === DHCP6_LOW && high === DHCP6_HIGH) || (low === DHCP6_HIGH && high === DHCP6_LOW)
  return dhcp && isOfLink(mem, ip + ipv6.SRC) && isOfLink(mem, ip + ipv6.DST)
}

function isNeeded6(type: number, hops: number): boolean {
  if (type >= icmp.Type6.RouterSolicitation && type <= icmp.Type6.Redirect) return hops === ND_HOPS
  const { MldQuery, MldDone, MldReport2 } = icmp.Type6
  return hops === LINK_HOPS && ((type >= MldQuery && type <= MldDone) || type === MldReport2)
}

/** Link-local, or a group of the link. */
function isOfLink(mem: Uint8Array, at: number): boolean {
  const scope = scope6(mem, at)
  if (scope === Scope.LinkLocal) return true
  return scope === Scope.Multicast && (u8(mem, at + 1) & 0x0f) === LINK_GROUPS
}
