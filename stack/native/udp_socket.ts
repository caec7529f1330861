/**
 * UDP sockets of the kernel's for tunnels (udp(7), ip(7), ipv6(7)): opened in the namespace that
 * the thread is in, never blocking, with the options that a tunnel's end needs.
 *
 * Two kinds. **Receiving** sockets are bound to the tunnel's port, one at the node's address and
 * one at each multicast group; they join datagrams of one sender and size (UDP_GRO), and tell the
 * outer TOS. **Sending** sockets have ports of their own,
 * one for each bucket of inner flows (RFC 7348 §5: 49152 to 65535), and hear nothing.
 *
 * All set DF (IP_PMTUDISC_DO): what is too big for the path is refused with EMSGSIZE instead of
 * being cut in pieces, and {@link pathMtu} asks what the kernel knows.
 */
import type { Address } from '../address.ts'
import { StackError } from '../errors.ts'
import { inetSocket, putSockaddr, SOCKADDR_BYTES, sockaddrBytes } from './inet_socket.ts'
import {
  addressOf,
  check,
  close,
  Errno,
  errno,
  errnoName,
  setOption,
  setSocketOption,
  syscall6,
} from './libc.ts'
import { joinGroup, setGroupOutput } from './multicast.ts'
import { attachFilter } from './packet_socket.ts'

const [CONNECT, BIND, GETSOCKOPT] = [42, 49, 55]
const SOL_SOCKET = 1
const SO_REUSEADDR = 2
const SO_SNDBUF = 7
const SO_RCVBUF = 8
const SO_BINDTODEVICE = 25
const SO_SNDBUFFORCE = 32
const SO_RCVBUFFORCE = 33
export const SOL_IP = 0
export const IP_TOS = 1
const IP_TTL = 2
const IP_MULTICAST_TTL = 33
const IP_MTU_DISCOVER = 10
const IP_RECVTOS = 13
const IP_MTU = 14
export const SOL_IPV6 = 41
const IPV6_UNICAST_HOPS = 16
const IPV6_MULTICAST_HOPS = 18
const IPV6_MTU_DISCOVER = 23
const IPV6_MTU = 24
const IPV6_V6ONLY = 26
const IPV6_RECVTCLASS = 66
export const IPV6_TCLASS = 67
const PMTUDISC_DO = 2
export const SOL_UDP = 17
export const UDP_SEGMENT = 103
export const UDP_GRO = 104
/** A hundred super-frames, less the kernel's own accounting. */
const BUFFER_BYTES = 7 << 20
/** RFC 7348 §5: the dynamic ports. */
const PORT_FIRST = 49_152
const PORT_COUNT = 16_384
const BIND_TRIES = 64

/** Where a socket is: its address, and the one interface that it may use. */
export interface Place {
  readonly address: Address
  readonly interfaceName: string | undefined
  /** Of the interface that multicast groups are on; 0: as the routes say. */
  readonly groupInterface: number
  /** Of what is sent; undefined: the host's, and 1 to multicast groups. */
  readonly hopLimit: number | undefined
}

/**
 * The receiving socket, bound. `segments`: this kernel cuts what is sent (UDP_SEGMENT, Linux 4.18).
 * Datagrams come joined where it can do that (UDP_GRO, Linux 5.0).
 * @throws StackError `exists` if the port is taken.
 */
export function openReceiver(
  place: Place,
  port: number,
): { readonly fd: number; readonly segments: boolean } {
  const fd = bound(place, place.address, port, false)
  return { fd, segments: getOption(fd, SOL_UDP, UDP_SEGMENT) === 0 }
}

/** One that hears what is sent to a multicast group, beside others that do. @throws StackError. */
export function openGroupReceiver(place: Place, group: Address, port: number): number {
  const fd = bound(place, group, port, true)
  try {
    joinGroup(fd, group, place.groupInterface)
    return fd
  } catch (error) {
    close(fd)
    throw error
  }
}

function bound(place: Place, address: Address, port: number, shared: boolean): number {
  const fd = open(place)
  try {
    setBuffer(fd, SO_RCVBUFFORCE, SO_RCVBUF, BUFFER_BYTES)
    if (shared) setOption(fd, SOL_SOCKET, SO_REUSEADDR, 1)
    if (address.family === 4) setOption(fd, SOL_IP, IP_RECVTOS, 1)
    else setOption(fd, SOL_IPV6, IPV6_RECVTCLASS, 1)
    if (!bind(fd, address, port)) {
      const code = errno() === Errno.AddrInUse ? 'exists' : 'syscall'
      throw new StackError(code, `bind UDP port ${port} of the underlay: ${errnoName(errno())}`)
    }
    tryOption(fd, SOL_UDP, UDP_GRO, 1)
    return fd
  } catch (error) {
    close(fd)
    throw error
  }
}

/** A sending socket on a dynamic port: the first free one from `start` (any number) on. */
export function openSender(place: Place, start: number): number {
  const fd = open(place)
  try {
    setBuffer(fd, SO_SNDBUFFORCE, SO_SNDBUF, BUFFER_BYTES)
    // Nobody has business with this port: what comes must not fill a queue that nobody reads.
    attachFilter(fd, [[0x06, 0, 0, 0]])
    for (let i = 0; i < BIND_TRIES; i++) {
      const port = PORT_FIRST + (((start >>> 0) + i) % PORT_COUNT)
      if (bind(fd, place.address, port)) return fd
      if (errno() !== Errno.AddrInUse) break
    }
    throw new StackError('syscall', `bind a UDP port to send from: ${errnoName(errno())}`)
  } catch (error) {
    close(fd)
    throw error
  }
}

function open({ address, interfaceName, groupInterface, hopLimit }: Place): number {
  const { family } = address
  const fd = inetSocket('udp', family)
  try {
    if (family === 6) {
      setOption(fd, SOL_IPV6, IPV6_V6ONLY, 1)
      setOption(fd, SOL_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_DO)
    } else setOption(fd, SOL_IP, IP_MTU_DISCOVER, PMTUDISC_DO)
    if (interfaceName !== undefined) bindToInterface(fd, interfaceName)
    setGroupOutput(fd, family, groupInterface)
    if (hopLimit !== undefined) setHopLimit(fd, family, hopLimit)
    return fd
  } catch (error) {
    close(fd)
    throw error
  }
}

function setHopLimit(fd: number, family: 4 | 6, hops: number): void {
  const level = family === 4 ? SOL_IP : SOL_IPV6
  const names = family === 4 ? [IP_TTL, IP_MULTICAST_TTL] : [IPV6_UNICAST_HOPS, IPV6_MULTICAST_HOPS]
  for (const name of names) setOption(fd, level, name, hops)
}

/** Use this interface, whatever the routes say. @throws StackError if there is none. */
function bindToInterface(fd: number, name: string): void {
  const bytes = new TextEncoder().encode(`${name}\0`)
  const result = setSocketOption(fd, SOL_SOCKET, SO_BINDTODEVICE, bytes)
  check(result, `use interface ${name} for the underlay`)
}

/** False, and errno says why. */
function bind(fd: number, address: Address, port: number): boolean {
  const name = new Uint8Array(SOCKADDR_BYTES)
  putSockaddr(name, 0, address, port)
  return syscall6(BIND, fd, addressOf(name), sockaddrBytes(address.family), 0, 0) >= 0
}

/** A socket for {@link pathMtu}. @throws StackError. */
export function openProber(place: Place): number {
  const fd = open(place)
  if (bind(fd, place.address, 0)) return fd
  const why = errnoName(errno())
  close(fd)
  throw new StackError('syscall', `bind a UDP socket: ${why}`)
}

/** Largest IP packet that the kernel believes to reach `to`; 0: there is no route. */
export function pathMtu(prober: number, to: Address, port: number): number {
  const name = new Uint8Array(SOCKADDR_BYTES)
  putSockaddr(name, 0, to, port)
  const result = syscall6(CONNECT, prober, addressOf(name), sockaddrBytes(to.family), 0, 0)
  if (result < 0) return 0
  const [level, option] = to.family === 4 ? [SOL_IP, IP_MTU] : [SOL_IPV6, IPV6_MTU]
  return Math.max(0, getOption(prober, level, option))
}

/** Root may exceed the host's limit; others get what it allows. */
function setBuffer(fd: number, forced: number, plain: number, bytes: number): void {
  if (!tryOption(fd, SOL_SOCKET, forced, bytes)) setOption(fd, SOL_SOCKET, plain, bytes)
}

function tryOption(fd: number, level: number, name: number, value: number): boolean {
  return setSocketOption(fd, level, name, Int32Array.of(value)) >= 0
}

/** Its value, or -1. */
function getOption(fd: number, level: number, name: number): number {
  const out = new Int32Array(16)
  out[4] = 4
  const at = addressOf(new Uint8Array(out.buffer))
  const six = syscall6(GETSOCKOPT, fd, level, name, at, at + 16)
  return six < 0 ? -1 : out[0]!
}
