/**
 * Multicast groups of UDP sockets (ip(7), ipv6(7)): which interface groups are reached by, and
 * joining them (RFC 3678's MCAST_JOIN_GROUP, the same for both families). Interfaces are those of
 * the namespace that the thread is in.
 *
 * `struct group_req`: interface u32 | 4 unused | sockaddr_storage of 128 octets.
 */
import { type Address, formatAddress } from '../address.ts'
import { StackError } from '../errors.ts'
import { putSockaddr } from './inet_socket.ts'
import { errno, errnoName, setOption, setSocketOption } from './libc.ts'
import { type LinkInfo, withNetlink } from './netlink.ts'

const [SOL_IP, SOL_IPV6] = [0, 41]
const IP_MULTICAST_IF = 32
const IP_MULTICAST_LOOP = 34
const IPV6_MULTICAST_IF = 17
const IPV6_MULTICAST_LOOP = 19
const MCAST_JOIN_GROUP = 42
const GROUP_REQ_BYTES = 136
const GROUP_AT = 8

/** The interface of that name, or with that address; undefined: there is none. */
export function interfaceOf(address: Address, name: string | undefined): LinkInfo | undefined {
  return withNetlink((netlink) => {
    if (name !== undefined) return netlink.link(name)
    const index = netlink.linkWith(address)
    return netlink.links().find((link) => link.index === index)
  })
}

/**
 * Send to groups by this interface, 0: as the kernel's routes say; and not to this host itself,
 * whose own datagrams would come back.
 */
export function setGroupOutput(fd: number, family: 4 | 6, index: number): void {
  const isV4 = family === 4
  const [level, output] = isV4 ? [SOL_IP, IP_MULTICAST_IF] : [SOL_IPV6, IPV6_MULTICAST_IF]
  setOption(fd, level, isV4 ? IP_MULTICAST_LOOP : IPV6_MULTICAST_LOOP, 0)
  // IPv4: struct ip_mreqn, whose addresses say nothing here.
  if (index > 0) setOption(fd, level, output, isV4 ? Int32Array.of(0, 0, index) : index)
}

/** Hear what is sent to a group on that interface. @throws StackError. */
export function joinGroup(fd: number, group: Address, index: number): void {
  const bytes = new Uint8Array(GROUP_REQ_BYTES)
  new DataView(bytes.buffer).setUint32(0, index, true)
  putSockaddr(bytes, GROUP_AT, group, 0)
  const level = group.family === 4 ? SOL_IP : SOL_IPV6
  if (setSocketOption(fd, level, MCAST_JOIN_GROUP, bytes) >= 0) return
  throw new StackError('syscall', `join group ${formatAddress(group)}: ${errnoName(errno())}`)
}
