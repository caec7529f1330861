/**
 * A TCP socket that is no more than a descriptor (socket(2)): made where the thread is now, which
 * decides the network namespace that it belongs to, and connected later by whoever takes it.
 */
import { check, socket } from './libc.ts'

const [AF_INET, AF_INET6] = [2, 10]
const SOCK_STREAM_NONBLOCK_CLOEXEC = 1 | 0x800 | 0x8_0000

/** The caller closes it. @throws StackError if there is no descriptor left. */
export function tcpSocket(family: 4 | 6): number {
  const domain = family === 4 ? AF_INET : AF_INET6
  return check(socket(domain, SOCK_STREAM_NONBLOCK_CLOEXEC, 0), 'open a TCP socket')
}
