/**
 * Two helpers of the small-frame measurement, each a process of its own inside an end's namespace:
 *
 *   blast.js send ADDRESS PORT [FLOWS]   send 18-byte UDP datagrams (60-byte frames) as fast as it
 *                                        goes, 64 a system call, for a minute at most
 *   blast.js sink PORT                   hold a socket on PORT and never read from it
 *
 * Each prints a line when it begins, and is ended by SIGTERM.
 *
 * What is counted is what arrives at the sink's socket, by the kernel's counters; what overruns its
 * small buffer is dropped by the socket at the smallest cost there is, and counts as well. The sender runs ahead of
 * every system under test, alike for all: a system is asked for what it delivers under overload.
 *
 * With FLOWS, one datagram of each flow follows another, in an endless round: the worst order for
 * whoever keeps what it used last. Up to ten source ports send to as many addresses, from ADDRESS
 * upwards, as it takes. Sending to an address that the socket is not connected to costs more, so
 * the figures of 1 flow and of none (a connected socket) are not the same.
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

/** Source ports that many flows are spread over. */
const SOCKETS_MAX = 10

/** A payload and its iovec, then a socket address for each destination, then the messages. */
const PAYLOAD_AT = 0
const IOVEC_AT = 64
const ADDRESS_AT = 128
const ADDRESS_BYTES = 16
const MESSAGE_BYTES = 64

/** Memory for datagrams to so many destinations; short rounds are repeated to fill batches. */
class Messages {
  readonly count: number
  readonly address: number
  readonly #at: number
  readonly #base: number
  readonly #view: DataView

  constructor(destinations: number) {
    this.count = destinations < BATCH ? destinations * BATCH : destinations
    this.#at = ADDRESS_AT + destinations * ADDRESS_BYTES
    const { buffer, address } = mapMemory(this.#at + this.count * MESSAGE_BYTES)
    this.#base = address
    this.#view = new DataView(buffer)
    this.address = address + this.#at
    this.#view.setBigUint64(IOVEC_AT, BigInt(address + PAYLOAD_AT), true)
    this.#view.setBigUint64(IOVEC_AT + 8, BigInt(PAYLOAD_BYTES), true)
  }

  /** struct sockaddr_in, in network order but for the family; its address for system calls. */
  putSocketAddress(index: number, host: number, port: number): number {
    const at = ADDRESS_AT + index * ADDRESS_BYTES
    this.#view.setUint16(at, AF_INET, true)
    this.#view.setUint16(at + 2, port)
    this.#view.setUint32(at + 4, host)
    return this.#base + at
  }

  /** struct mmsghdr begins with a msghdr. `name` 0: the socket is connected. */
  putMessage(index: number, name: number): void {
    const message = this.#at + index * MESSAGE_BYTES
    this.#view.setBigUint64(message, BigInt(name), true)
    this.#view.setUint32(message + 8, name === 0 ? 0 : ADDRESS_BYTES, true)
    this.#view.setBigUint64(message + 16, BigInt(this.#base + IOVEC_AT), true)
    this.#view.setBigUint64(message + 24, 1n, true)
  }
}

/** An IPv4 address as a number. */
function hostNumber(text: string): number {
  return text.split('.').reduce((number, octet) => number * 256 + Number(octet), 0)
}

function openSocket(): number {
  return check(socket(AF_INET, SOCK_DGRAM, 0), 'socket')
}

/** One flow, by a connected socket. */
function sendOne(host: string, port: number): void {
  const fd = openSocket()
  const messages = new Messages(1)
  const name = messages.putSocketAddress(0, hostNumber(host), port)
  check(syscall6(SYS_CONNECT, fd, name, ADDRESS_BYTES, 0, 0), 'connect')
  for (let i = 0; i < BATCH; i++) messages.putMessage(i, 0)
  sendRounds([fd], messages)
}

function sendMany(host: string, port: number, flows: number): void {
  const sockets = Array.from({ length: Math.min(flows, SOCKETS_MAX) }, openSocket)
  const destinations = Math.ceil(flows / sockets.length)
  const messages = new Messages(destinations)
  for (let i = 0; i < messages.count; i++) {
    const index = i % destinations
    messages.putMessage(i, messages.putSocketAddress(index, hostNumber(host) + index, port))
  }
  sendRounds(sockets, messages)
}

/** All messages by each socket in turn, until the time is over. */
function sendRounds(sockets: readonly number[], { count, address }: Messages): void {
  writeSync(STDOUT, 'sending\n')
  const untilMs = performance.now() + LIMIT_MS
  while (performance.now() < untilMs) {
    for (let batch = 0; batch < BATCHES; ) {
      for (const fd of sockets) {
        for (let at = 0; at < count; at += BATCH, batch++) {
          const length = Math.min(BATCH, count - at)
          syscall6(SYS_SENDMMSG, fd, address + at * MESSAGE_BYTES, length, 0, 0)
        }
      }
    }
  }
}

function sink(port: number): void {
  const fd = openSocket()
  const messages = new Messages(1)
  const value = mapMemory(4)
  new DataView(value.buffer).setInt32(0, 1, true)
  check(syscall6(SYS_SETSOCKOPT, fd, SOL_SOCKET, SO_RCVBUF, value.address, 4), 'SO_RCVBUF')
  const name = messages.putSocketAddress(0, 0, port)
  check(syscall6(SYS_BIND, fd, name, ADDRESS_BYTES, 0, 0), 'bind')
  writeSync(STDOUT, 'bound\n')
  setInterval(() => undefined, 60_000)
}

const [role, ...rest] = process.argv.slice(2)
const [host = '', port, flows] = rest
if (role === 'sink') sink(Number(host))
else if (flows === undefined) sendOne(host, Number(port))
else sendMany(host, Number(port), Number(flows))
