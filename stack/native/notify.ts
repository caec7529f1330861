/**
 * Telling the service manager how far we are, as sd_notify(3) lays it down: one datagram of
 * `KEY=VALUE` lines to the unix socket that the environment names. Node has no datagrams of that
 * family, hence libc.
 *
 * ```text
 *   struct sockaddr_un: | family (2) | path, ended by a zero, or a zero first: abstract |
 * ```
 */
import { StackError } from '../errors.ts'
import { addressOf, check, close, send, socket, syscall6 } from './libc.ts'

const CONNECT = 42
const AF_UNIX = 1
const SOCK_DGRAM_CLOEXEC = 2 | 0x8_0000
const MSG_NOSIGNAL = 0x4000
/** sun_path with its zero. */
const PATH_BYTES_MAX = 108

/**
 * Send a datagram to a unix socket, by its path; `@` first: an abstract name.
 * @throws StackError if nobody is there.
 */
export function sendUnixDatagram(path: string, text: string): void {
  const name = unixName(path)
  const fd = check(socket(AF_UNIX, SOCK_DGRAM_CLOEXEC, 0), 'open a unix socket')
  try {
    check(syscall6(CONNECT, fd, addressOf(name), name.length, 0, 0), `connect to ${path}`)
    const data = Buffer.from(text)
    check(send(fd, data, data.length, MSG_NOSIGNAL), `send to ${path}`)
  } finally {
    close(fd)
  }
}

/** A sockaddr_un. @throws StackError if the path is too long. */
export function unixName(path: string): Uint8Array {
  const abstract = path.startsWith('@')
  const sun = Buffer.from(abstract ? `\0${path.slice(1)}` : `${path}\0`)
  if (sun.length > PATH_BYTES_MAX) throw new StackError('bad-config', `too long a path: ${path}`)
  return Uint8Array.of(AF_UNIX, 0, ...sun)
}
