/**
 * The one door to the kernel: libc through koffi. Everything native goes through the functions of
 * this file and its neighbors in this folder; nothing else imports koffi.
 *
 * Pointers are declared `uintptr_t` and passed as Numbers wherever a call is hot: user-space
 * addresses are below 2⁴⁷, so Numbers hold them exactly, and koffi converts integers fastest.
 * A declaration costs far more than a call, so each is made once, here.
 *
 * Memory whose address the kernel keeps must stay referenced from JavaScript, or the collector
 * frees it under the kernel's writes: hence {@link mapMemory} for everything long-lived, and the
 * rule that short-lived buffers are only valid during the call.
 */
import koffi from 'koffi'
import { StackError } from '../errors.ts'

const libc = koffi.load(null)

/** Another function of this program, libc's or of a library in it. @throws Error: there is none. */
export function native(
  name: string,
  result: string,
  parameters: string[],
): (...values: readonly number[]) => number {
  return libc.func(name, result, parameters)
}

/** Six integer arguments: koffi's fast path. */
export const syscall6: (
  number: number,
  a: number,
  b: number,
  c: number,
  d: number,
  e: number,
) => number = libc.func('syscall', 'long', [
  'long',
  'uintptr_t',
  'uintptr_t',
  'uintptr_t',
  'uintptr_t',
  'uintptr_t',
])
export const read: (fd: number, address: number, bytes: number) => number = libc.func(
  'read',
  'long',
  ['int', 'uintptr_t', 'size_t'],
)
export const write: (fd: number, address: number, bytes: number) => number = libc.func(
  'write',
  'long',
  ['int', 'uintptr_t', 'size_t'],
)
export const open: (path: string, flags: number, mode: number) => number = libc.func(
  'open',
  'int',
  ['str', 'int', 'int'],
)
export const close: (fd: number) => number = libc.func('close', 'int', ['int'])
/** Closes under way: libuv has four threads, and koffi refuses more than 256 calls at a time. */
const CLOSING_MAX = 16
const toClose: number[] = []
let closing = 0
/** {@link close} on a thread of libuv's, in its turn: for what takes the kernel long. */
export function closeAway(fd: number): void {
  toClose.push(fd)
  closeNext()
}
function closeNext(): void {
  const away = close as unknown as { async(fd: number, done: () => void): void }
  while (closing < CLOSING_MAX && toClose.length > 0) {
    closing++
    away.async(toClose.shift()!, () => {
      closing--
      closeNext()
    })
  }
}
export const ioctlPointer: (fd: number, request: number, argument: Uint8Array) => number =
  libc.func('ioctl', 'int', ['int', 'unsigned long', 'void *'])
export const ioctlValue: (fd: number, request: number, argument: number) => number = libc.func(
  'ioctl',
  'int',
  ['int', 'unsigned long', 'uintptr_t'],
)
export const socket: (domain: number, type: number, protocol: number) => number = libc.func(
  'socket',
  'int',
  ['int', 'int', 'int'],
)
export const send: (fd: number, data: Uint8Array, bytes: number, flags: number) => number =
  libc.func('send', 'long', ['int', 'void *', 'size_t', 'int'])
export const recv: (fd: number, data: Uint8Array, bytes: number, flags: number) => number =
  libc.func('recv', 'long', ['int', 'void *', 'size_t', 'int'])
/** {@link send} on a thread of libuv's: netlink does its work inside the sender's call. */
export function sendAsync(fd: number, data: Uint8Array, bytes: number): Promise<number> {
  return onThread(send, fd, data, bytes)
}
/** {@link recv} on a thread of libuv's: of a list, netlink makes the next part inside the call. */
export function recvAsync(fd: number, data: Uint8Array, bytes: number): Promise<number> {
  return onThread(recv, fd, data, bytes)
}
function onThread(
  call: typeof send,
  ...[fd, data, bytes]: [fd: number, data: Uint8Array, bytes: number]
): Promise<number> {
  return new Promise((resolve, reject) => {
    const done = (error: Error | null, result: number): void => {
      if (error === null) resolve(result)
      else reject(error)
    }
    ;(call as unknown as AsyncCall).async(fd, data, bytes, 0, done)
  })
}
interface AsyncCall {
  async(
    fd: number,
    data: Uint8Array,
    bytes: number,
    flags: number,
    done: (error: Error | null, result: number) => void,
  ): void
}
export const eventfd: (value: number, flags: number) => number = libc.func('eventfd', 'int', [
  'uint',
  'int',
])
export const setns: (fd: number, type: number) => number = libc.func('setns', 'int', ['int', 'int'])
export const unshare: (flags: number) => number = libc.func('unshare', 'int', ['int'])
export const mount: (
  source: string,
  target: string,
  type: string,
  flags: number,
  data: number,
) => number = libc.func('mount', 'int', ['str', 'str', 'str', 'unsigned long', 'uintptr_t'])
export const flock: (fd: number, operation: number) => number = libc.func('flock', 'int', [
  'int',
  'int',
])
export const umount2: (target: string, flags: number) => number = libc.func('umount2', 'int', [
  'str',
  'int',
])
const mmap = libc.func('mmap', 'void *', ['uintptr_t', 'size_t', 'int', 'int', 'int', 'int64_t'])

/** errno of the last call. Precondition: asked right after it. */
export function errno(): number {
  return koffi.errno()
}

const NAMES = new Map(Object.entries(koffi.os.errno).map(([name, value]) => [value, name]))

export function errnoName(code: number): string {
  return NAMES.get(code) ?? `errno ${code}`
}

export const Errno = {
  Intr: 4,
  Io: 5,
  Again: 11,
  Busy: 16,
  Inval: 22,
  MsgSize: 90,
  AddrInUse: 98,
  NoBufs: 105,
  BadFd: 77,
  BadF: 9,
} as const

/** The result, or a StackError `syscall` that names what failed and why. */
export function check(result: number, what: string): number {
  if (result >= 0) return result
  throw new StackError('syscall', `${what}: ${errnoName(errno())}`)
}

/** A mapping seen from both sides. Never unmapped: views of it may outlive whoever made it. */
export interface Mapping {
  readonly buffer: ArrayBuffer
  readonly address: number
}

const PROT_READ_WRITE = 3
const MAP_SHARED = 1
const MAP_PRIVATE_ANONYMOUS = 0x22
const MAP_POPULATE = 0x8000

/** Anonymous memory, zeroed, taken from the system only as it is touched. */
export function mapMemory(bytes: number): Mapping {
  return map(bytes, MAP_PRIVATE_ANONYMOUS, -1, 0)
}

/** A part of a file, such as a ring of the kernel's. */
export function mapFile(bytes: number, fd: number, offset: number): Mapping {
  return map(bytes, MAP_SHARED | MAP_POPULATE, fd, offset)
}

function map(bytes: number, flags: number, fd: number, offset: number): Mapping {
  const pointer: bigint = mmap(0, bytes, PROT_READ_WRITE, flags, fd, offset)
  const address = Number(pointer)
  if (address <= 0 || address >= 2 ** 47) {
    throw new StackError('syscall', `mmap of ${bytes} bytes: ${errnoName(errno())}`)
  }
  return { buffer: koffi.view(pointer, bytes), address }
}

/** Nobody else may need it after its address was taken, and yet it must not be collected. */
const addressed: { last: Uint8Array | Uint32Array | undefined } = { last: undefined }

/** Address of a buffer, for the one call that follows. */
export function addressOf(data: Uint8Array | Uint32Array): number {
  addressed.last = data
  return Number(koffi.address(data))
}

const SETSOCKOPT = 54

/** setsockopt(2); a negative result and errno tell why not. */
export function setSocketOption(
  fd: number,
  level: number,
  name: number,
  value: Uint8Array | Int32Array,
): number {
  const bytes = new Uint8Array(value.buffer, value.byteOffset, value.byteLength)
  return syscall6(SETSOCKOPT, fd, level, name, addressOf(bytes), bytes.length)
}

/** Set an option, of one word or as it is in memory. @throws StackError `syscall` that names it. */
export function setOption(
  fd: number,
  level: number,
  name: number,
  value: number | Uint8Array | Int32Array,
): void {
  const bytes = typeof value === 'number' ? Int32Array.of(value) : value
  check(setSocketOption(fd, level, name, bytes), `option ${level}/${name} of a socket`)
}

/** Calls back when a descriptor is readable, from the event loop. */
export interface Watch {
  stop(): void
}

interface KoffiPoll {
  stop(): void
  close(): void
}
interface KoffiNode {
  poll(
    fd: number,
    events: { readable: boolean },
    callback: (status: number, events: unknown) => void,
  ): KoffiPoll
}

/** Handles that nothing referenced would be collected, and their callbacks would silently stop. */
const pinned = new Set<KoffiPoll>()

const pollDescriptors: (descriptors: Uint8Array, count: number, timeoutMs: number) => number =
  libc.func('poll', 'int', ['void *', 'unsigned long', 'int'])
const POLLOUT = 4

/** True if the kernel would take a write now: a TAP takes none while its interface is down. */
export function isWritable(fd: number): boolean {
  // struct pollfd: fd i32, events u16, revents u16.
  const asked = new DataView(new ArrayBuffer(8))
  asked.setInt32(0, fd, true)
  asked.setUint16(4, POLLOUT, true)
  pollDescriptors(new Uint8Array(asked.buffer), 1, 0)
  return (asked.getUint16(6, true) & POLLOUT) !== 0
}

export function watchReadable(fd: number, ready: () => void): Watch {
  const handle = (koffi as unknown as { node: KoffiNode }).node.poll(fd, { readable: true }, ready)
  pinned.add(handle)
  return {
    stop() {
      if (!pinned.delete(handle)) return
      handle.stop()
      handle.close()
    },
  }
}
