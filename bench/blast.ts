/**
 * Two helpers of the small-frame measurement, each a process of its own inside an end's namespace:
 *
 *   blast.js send ADDRESS PORT   send 18-byte UDP datagrams (60-byte frames) as fast as it goes, 64
 *                                a system call, for a minute at most
 *   blast.js sink PORT           hold a socket on PORT and never read from it
 *
 * Each prints a line when it begins, and is ended by SIGTERM.
 *
 * What is counted is what arrives at the far interface, by the kernel's counters, so the sink has
 * only to spare the kernel from answering each datagram with an ICMP error; what overruns its
 * small buffer is dropped by the socket at the smallest cost there is. The sender runs ahead of
 * every system under test, alike for all: a system is asked for what it delivers under overload.
 */
import { writeSync } from 'node:fs'
import { check, mapMemory, socket, syscall6 } from '../stack/native/libc.ts'

const STDOUT = 1
const AF_INET = 2
const SOCK_DGRAM = 2
const SYS_CONNECT = 42
const SYS_BIND = 49
const SYS_SETSOCKOPT = 54
const SYS_SENDMMSG = 307
const SOL_SOCKET = 1
const SO_RCVBUF = 8

/** 14 + 20 + 8 + 18 = 60: the shortest Ethernet frame, its check sequence not counted. */
const PAYLOAD_BYTES = 18
const BATCH = 64
/** Between two looks at the time. */
const BATCHES = 1024
/** A sender that nobody ends must not go on for ever. */
const LIMIT_MS = 60_000

/** One page: a socket address, the payload, then an iovec and an mmsghdr for each of a batch. */
const ADDRESS_AT = 0
const ADDRESS_BYTES = 16
const PAYLOAD_AT = 64
const IOVEC_AT = 256
const IOVEC_BYTES = 16
const MESSAGE_AT: number = IOVEC_AT + BATCH * IOVEC_BYTES
const MESSAGE_BYTES = 64
const { buffer, address: base } = mapMemory(MESSAGE_AT + BATCH * MESSAGE_BYTES)
const view = new DataView(buffer)

/** struct sockaddr_in, in network order but for the family. */
function putSocketAddress(host: string, port: number): void {
  view.setUint16(ADDRESS_AT, AF_INET, true)
  view.setUint16(ADDRESS_AT + 2, port)
  for (const [i, octet] of host.split('.').entries()) {
    view.setUint8(ADDRESS_AT + 4 + i, Number(octet))
  }
}

/** Every message of the batch is the same datagram; struct mmsghdr begins with a msghdr. */
function putBatch(): void {
  for (let i = 0; i < BATCH; i++) {
    const iovec = IOVEC_AT + i * IOVEC_BYTES
    view.setBigUint64(iovec, BigInt(base + PAYLOAD_AT), true)
    view.setBigUint64(iovec + 8, BigInt(PAYLOAD_BYTES), true)
    const message = MESSAGE_AT + i * MESSAGE_BYTES
    view.setBigUint64(message + 16, BigInt(base + iovec), true)
    view.setBigUint64(message + 24, 1n, true)
  }
}

function send(host: string, port: number): void {
  const fd = check(socket(AF_INET, SOCK_DGRAM, 0), 'socket')
  putSocketAddress(host, port)
  check(syscall6(SYS_CONNECT, fd, base + ADDRESS_AT, ADDRESS_BYTES, 0, 0), 'connect')
  putBatch()
  writeSync(STDOUT, 'sending\n')
  const untilMs = performance.now() + LIMIT_MS
  while (performance.now() < untilMs) {
    for (let i = 0; i < BATCHES; i++) {
      syscall6(SYS_SENDMMSG, fd, base + MESSAGE_AT, BATCH, 0, 0)
    }
  }
}

function sink(port: number): void {
  const fd = check(socket(AF_INET, SOCK_DGRAM, 0), 'socket')
  view.setInt32(PAYLOAD_AT, 1, true)
  check(syscall6(SYS_SETSOCKOPT, fd, SOL_SOCKET, SO_RCVBUF, base + PAYLOAD_AT, 4), 'SO_RCVBUF')
  putSocketAddress('0.0.0.0', port)
  check(syscall6(SYS_BIND, fd, base + ADDRESS_AT, ADDRESS_BYTES, 0, 0), 'bind')
  writeSync(STDOUT, 'bound\n')
  setInterval(() => undefined, 60_000)
}

const [role, ...rest] = process.argv.slice(2)
if (role === 'send') send(rest[0] ?? '', Number(rest[1]))
else sink(Number(rest[0]))
