/**
 * Two helpers of the connection measurement, each a process of its own inside an end's namespace:
 *
 *   connect.js serve PORT                        answer each connection's octet with one, and close
 *   connect.js open ADDRESS PORT SLOTS SECONDS   open connections, SLOTS at once, for SECONDS, or
 *                                                until the first is through if SECONDS is 0
 *
 * A connection is one octet there and one back. Then the server closes, as one of HTTP/1.0 does,
 * and the client when it sees that: so TIME_WAIT is at the server, where it keeps no port busy.
 * What is timed is from `connect` to the answer, because a proxy completes the handshake by itself
 * before it has a backend.
 *
 * System calls are made directly, level-triggered on one epoll descriptor: with the sockets of
 * Node.js, a connection costs either end five times as much as any system between them.
 */
import { writeSync } from 'node:fs'
import { check, close, Errno, errno, mapMemory, socket, syscall6 } from '../stack/native/libc.ts'
import { quantile } from './stats.ts'

const STDOUT = 1
const AF_INET = 2
const SOCK_STREAM_NONBLOCK = 1 | 0x800
const [SYS_READ, SYS_WRITE, SYS_CONNECT, SYS_BIND, SYS_LISTEN] = [0, 1, 42, 49, 50] as const
const [SYS_SETSOCKOPT, SYS_EPOLL_WAIT, SYS_EPOLL_CTL, SYS_ACCEPT4] = [54, 232, 233, 288] as const
const SYS_EPOLL_CREATE1 = 291
const [SOL_SOCKET, SO_REUSEADDR] = [1, 2] as const
const EINPROGRESS = 115
const [EPOLL_CTL_ADD, EPOLL_CTL_MOD] = [1, 3] as const
const [EPOLLIN, EPOLLOUT] = [1, 4] as const
const BACKLOG = 4096

/** struct epoll_event is packed: 32 bits of events, 64 of data. */
const EVENT_BYTES = 12
const EVENTS_MAX = 256
const ADDRESS_AT = 0
const ADDRESS_BYTES = 16
const OCTET_AT = 16
const CHANGE_AT = 32
const EVENTS_AT = 64
const { buffer, address: base } = mapMemory(EVENTS_AT + EVENTS_MAX * EVENT_BYTES)
const view = new DataView(buffer)
const epoll: number = check(syscall6(SYS_EPOLL_CREATE1, 0, 0, 0, 0, 0), 'epoll_create1')

/** struct sockaddr_in, in network order but for the family. */
function putSocketAddress(host: string, port: number): void {
  view.setUint16(ADDRESS_AT, AF_INET, true)
  view.setUint16(ADDRESS_AT + 2, port)
  for (const [i, octet] of host.split('.').entries()) {
    view.setUint8(ADDRESS_AT + 4 + i, Number(octet))
  }
}

/** Be told of `events` of `fd`. */
function watch(change: number, fd: number, events: number): void {
  view.setUint32(CHANGE_AT, events, true)
  view.setUint32(CHANGE_AT + 4, fd, true)
  check(syscall6(SYS_EPOLL_CTL, epoll, change, fd, base + CHANGE_AT, 0), 'epoll_ctl')
}

/** Call `ready` for each descriptor that something happened to. */
function wait(timeoutMs: number, ready: (fd: number, events: number) => void): void {
  const count = syscall6(SYS_EPOLL_WAIT, epoll, base + EVENTS_AT, EVENTS_MAX, timeoutMs, 0)
  for (let at = EVENTS_AT; at < EVENTS_AT + count * EVENT_BYTES; at += EVENT_BYTES) {
    ready(view.getUint32(at + 4, true), view.getUint32(at, true))
  }
}

function readOctet(fd: number): number {
  return syscall6(SYS_READ, fd, base + OCTET_AT, 1, 0, 0)
}

function writeOctet(fd: number): number {
  return syscall6(SYS_WRITE, fd, base + OCTET_AT, 1, 0, 0)
}

function listen(port: number): number {
  const fd = check(socket(AF_INET, SOCK_STREAM_NONBLOCK, 0), 'socket')
  view.setInt32(OCTET_AT, 1, true)
  check(syscall6(SYS_SETSOCKOPT, fd, SOL_SOCKET, SO_REUSEADDR, base + OCTET_AT, 4), 'SO_REUSEADDR')
  putSocketAddress('0.0.0.0', port)
  check(syscall6(SYS_BIND, fd, base + ADDRESS_AT, ADDRESS_BYTES, 0, 0), 'bind')
  check(syscall6(SYS_LISTEN, fd, BACKLOG, 0, 0, 0), 'listen')
  return fd
}

/** Runs until it is ended from outside. */
function serve(port: number): void {
  const listener = listen(port)
  const acceptAll = (): void => {
    const accept = (): number => syscall6(SYS_ACCEPT4, listener, 0, 0, SOCK_STREAM_NONBLOCK & ~1, 0)
    for (let fd = accept(); fd >= 0; fd = accept()) watch(EPOLL_CTL_ADD, fd, EPOLLIN)
  }
  const answer = (fd: number): void => {
    if (readOctet(fd) > 0) writeOctet(fd)
    close(fd)
  }
  watch(EPOLL_CTL_ADD, listener, EPOLLIN)
  writeSync(STDOUT, 'listening\n')
  for (;;) wait(-1, (fd) => (fd === listener ? acceptAll() : answer(fd)))
}

/** What `open` prints, as JSON. */
export interface Connections {
  readonly done: number
  readonly failed: number
  readonly seconds: number
  /** From `connect` to the answer. */
  readonly medianUs: number
  readonly p99Us: number
}

/** The client: every slot opens its next connection when its last is over. */
class Client {
  readonly latenciesUs: number[] = []
  failed = 0
  /** When each open descriptor's connection began. */
  readonly #sinceMs = new Map<number, number>()
  readonly #slots: number

  constructor(slots: number) {
    this.#slots = slots
  }

  /** Open up to the number of slots. A failure waits for the next call, not to spin. */
  fill(): void {
    while (this.#sinceMs.size < this.#slots) {
      const fd = check(socket(AF_INET, SOCK_STREAM_NONBLOCK, 0), 'socket')
      const sinceMs = performance.now()
      const result = syscall6(SYS_CONNECT, fd, base + ADDRESS_AT, ADDRESS_BYTES, 0, 0)
      if (result < 0 && errno() !== EINPROGRESS) {
        this.failed++
        close(fd)
        return
      }
      this.#sinceMs.set(fd, sinceMs)
      watch(EPOLL_CTL_ADD, fd, EPOLLOUT)
    }
  }

  readonly ready = (fd: number, events: number): void => {
    if (events === EPOLLOUT) {
      if (writeOctet(fd) === 1) watch(EPOLL_CTL_MOD, fd, EPOLLIN)
      else this.#end(fd, true)
      return
    }
    const got = readOctet(fd)
    const sinceMs = this.#sinceMs.get(fd)!
    if (got === 1) {
      this.latenciesUs.push((performance.now() - sinceMs) * 1000)
      // Below 0 now: answered. What comes next, often already there, is the end.
      this.#sinceMs.set(fd, -1)
      const next = readOctet(fd)
      if (next < 0 && errno() === Errno.Again) return
      this.#end(fd, next !== 0)
    } else if (got === 0 || errno() !== Errno.Again) {
      this.#end(fd, got < 0 || sinceMs >= 0)
    }
  }

  #end(fd: number, failed: boolean): void {
    if (failed) this.failed++
    this.#sinceMs.delete(fd)
    close(fd)
  }
}

/** Between two looks at the time, and before another try after a failure. */
const LOOK_MS = 10
/** Without any answer, for SECONDS 0. */
const PATIENCE_MS = 5_000

function open(slots: number, seconds: number): Connections {
  const client = new Client(slots)
  const fromMs = performance.now()
  const untilMs = fromMs + (seconds > 0 ? seconds * 1000 : PATIENCE_MS)
  while (performance.now() < untilMs) {
    client.fill()
    wait(LOOK_MS, client.ready)
    if (seconds === 0 && client.latenciesUs.length > 0) break
  }
  const { latenciesUs, failed } = client
  return {
    done: latenciesUs.length,
    failed,
    seconds: (performance.now() - fromMs) / 1000,
    medianUs: quantile(latenciesUs, 0.5),
    p99Us: quantile(latenciesUs, 0.99),
  }
}

const [role, ...rest] = process.argv.slice(2)
if (role === 'serve') serve(Number(rest[0]))
else {
  const [host = '', port, slots, seconds] = rest
  putSocketAddress(host, Number(port))
  const connections = open(Number(slots), Number(seconds))
  writeSync(STDOUT, `${JSON.stringify(connections)}\n`)
  process.exitCode = connections.done === 0 ? 1 : 0
}
