/**
 * Internet sockets that are no more than descriptors (socket(2), bind(2)): made where the thread is
 * now, which decides the network namespace that they belong to, and then given to Node.js, which
 * takes them over and closes them.
 */
import { type Address, type Family, putAddress } from '../address.ts'
import { put16 } from '../bytes.ts'
import { StackError } from '../errors.ts'
import { addressOf, check, close, setSocketOption, socket, syscall6 } from './libc.ts'

const [BIND, PIDFD_OPEN] = [49, 434]
const [AF_INET, AF_INET6] = [2, 10]
const [SOCK_STREAM, SOCK_DGRAM] = [1, 2]
const NONBLOCK_CLOEXEC = 0x800 | 0x8_0000
const [SOL_SOCKET, SO_REUSEADDR] = [1, 2]
/** struct sockaddr_in6; a sockaddr_in is shorter. */
export const SOCKADDR_BYTES = 28

export interface Bound {
  readonly address: Address
  readonly port: number
}

/**
 * A socket of either kind, bound if it says where; port 0: one that nobody has. @throws StackError;
 * the caller closes it.
 */
export function inetSocket(kind: 'tcp' | 'udp', family: 4 | 6, bound?: Bound): number {
  const domain = family === 4 ? AF_INET : AF_INET6
  const type = kind === 'tcp' ? SOCK_STREAM : SOCK_DGRAM
  const fd = check(socket(domain, type | NONBLOCK_CLOEXEC, 0), `open a ${kind} socket`)
  if (bound === undefined) return fd
  try {
    // A port that the kernel is to choose must be nobody else's.
    if (bound.port !== 0) {
      check(setSocketOption(fd, SOL_SOCKET, SO_REUSEADDR, Int32Array.of(1)), 'set SO_REUSEADDR')
    }
    const name = new Uint8Array(sockaddrBytes(family))
    putSockaddr(name, 0, bound.address, bound.port)
    const what = `bind ${kind} port ${bound.port}`
    check(syscall6(BIND, fd, addressOf(name), name.length, 0, 0), what)
  } catch (error) {
    close(fd)
    throw error
  }
  return fd
}

/** A descriptor that becomes readable when a process ends. @throws StackError `not-found`. */
export function processHandle(pid: number): number {
  const fd = syscall6(PIDFD_OPEN, pid, 0, 0, 0, 0)
  if (fd < 0) throw new StackError('not-found', `no process ${pid}`)
  return fd
}

export function sockaddrBytes(family: Family): number {
  return family === 4 ? 16 : SOCKADDR_BYTES
}

/** Write a sockaddr_in or sockaddr_in6 at `at`. */
export function putSockaddr(mem: Uint8Array, at: number, address: Address, port: number): void {
  mem.fill(0, at, at + sockaddrBytes(address.family))
  mem[at] = address.family === 4 ? AF_INET : AF_INET6
  put16(mem, at + 2, port)
  putAddress(mem, at + (address.family === 4 ? 4 : 8), address)
}
