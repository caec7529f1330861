/**
 * One io_uring: the shared rings and the three system calls (io_uring_setup(2)).
 *
 * ```text
 *  submission ring: we write entries and the tail, the kernel the head
 *  completion ring: the kernel writes entries and the tail, we the head
 *  buffer ring:     we write buffers and the tail; a multishot read takes from its head
 * ```
 * The ring belongs to one thread (SINGLE_ISSUER) and completions are made when this thread enters
 * the kernel (DEFER_TASKRUN), so nothing runs behind our back and plain loads would do on x86;
 * Atomics keep the compiler from caching the tails.
 *
 * Sleeping: an eventfd is signalled when there is work, and only after {@link Uring.rest} asked
 * for it; while we turn, the kernel sets a flag in shared memory instead (TASKRUN_FLAG), so that
 * looking for work costs no system call either.
 */
import { StackError } from '../errors.ts'
import {
  addressOf,
  check,
  close,
  errno,
  errnoName,
  eventfd,
  mapFile,
  mapMemory,
  syscall6,
} from './libc.ts'

const SETUP = 425
const ENTER = 426
const REGISTER = 427
const OFFSET_SQES = 0x1000_0000
const SINGLE_ISSUER = 1 << 12
const DEFER_TASKRUN = 1 << 13
const CQSIZE = 1 << 3
const TASKRUN_FLAG = 1 << 9
const ENTER_GETEVENTS = 1
const REGISTER_EVENTFD = 4
const REGISTER_PROBE = 8
/** In the submission ring's flags: completions wait to be made by `enter`; or did not fit. */
const WORK_WAITS = 4 | 2
/** In the completion ring's flags. */
const EVENTFD_DISABLED = 1
const EFD_NONBLOCK_CLOEXEC = 0x800 | 0x8_0000
const REGISTER_BUFFER_RING = 22
const PARAMS_WORDS = 30
const SQ_OFFSETS = 10
const CQ_OFFSETS = 20
const SQE_WORDS = 16
const CQE_WORDS = 4
const POLLIN = 1
/** Storing a pointer to a word keeps its low half; the high half is divided out. */
const TWO_32 = 0x1_0000_0000

export const Op = { PollAdd: 6, AsyncCancel: 14, Write: 23, ReadMultishot: 49 } as const
export const SqeFlag = { BufferSelect: 0x20 } as const
export const CqeFlag = { Buffer: 1, More: 2 } as const

export class Uring {
  readonly fd: number
  /** Readable when there is work, once {@link rest} was called. */
  readonly eventFd: number
  /** Completion entries, four words each: see {@link cqe}. */
  readonly #ring: Int32Array
  readonly #sqes: Int32Array
  readonly #entries: number
  readonly #sqTailAt: number
  readonly #sqFlagsAt: number
  readonly #cqHeadAt: number
  readonly #cqFlagsAt: number
  readonly #cqTailAt: number
  readonly #cqMask: number
  readonly #cqesAt: number
  #tail = 0
  #head = 0
  #end = 0
  /** Entries written and not yet handed to the kernel. */
  pending = 0

  /** @throws StackError `unsupported` if the kernel has none or forbids it. */
  constructor(entries: number, completions: number) {
    const params = new Uint32Array(PARAMS_WORDS)
    params[1] = completions
    params[2] = SINGLE_ISSUER | DEFER_TASKRUN | CQSIZE | TASKRUN_FLAG
    this.fd = syscall6(SETUP, entries, addressOf(params), 0, 0, 0)
    if (this.fd < 0) throw new StackError('unsupported', `io_uring_setup: ${errnoName(errno())}`)
    const sqEntries = params[0]!
    const cqEntries = params[1]!
    const arrayAt = params[SQ_OFFSETS + 6]!
    const cqesAt = params[CQ_OFFSETS + 5]!
    const ringBytes = Math.max(arrayAt + sqEntries * 4, cqesAt + cqEntries * 4 * CQE_WORDS)
    this.#ring = new Int32Array(mapFile(ringBytes, this.fd, 0).buffer)
    this.#sqes = new Int32Array(mapFile(sqEntries * 4 * SQE_WORDS, this.fd, OFFSET_SQES).buffer)
    this.#entries = sqEntries
    this.#sqTailAt = params[SQ_OFFSETS + 1]! >> 2
    this.#sqFlagsAt = params[SQ_OFFSETS + 4]! >> 2
    this.#cqFlagsAt = params[CQ_OFFSETS + 6]! >> 2
    this.#cqHeadAt = params[CQ_OFFSETS]! >> 2
    this.#cqTailAt = params[CQ_OFFSETS + 1]! >> 2
    this.#cqMask = cqEntries - 1
    this.#cqesAt = cqesAt >> 2
    for (let i = 0; i < sqEntries; i++) this.#ring[(arrayAt >> 2) + i] = i
    this.eventFd = this.#registerEventFd()
  }

  #registerEventFd(): number {
    const fd = check(eventfd(0, EFD_NONBLOCK_CLOEXEC), 'eventfd')
    const argument = Uint32Array.of(fd)
    const result = syscall6(REGISTER, this.fd, REGISTER_EVENTFD, addressOf(argument), 1, 0)
    check(result, 'register an eventfd')
    return fd
  }

  /** True if {@link enter} would find or do something. */
  get due(): boolean {
    return this.pending > 0 || (Atomics.load(this.#ring, this.#sqFlagsAt) & WORK_WAITS) !== 0
  }

  /** Ask to be woken by the eventfd. False if work came meanwhile: then look again at once. */
  rest(): boolean {
    Atomics.store(this.#ring, this.#cqFlagsAt, 0)
    return !this.due && this.ready() === 0
  }

  /** No wake-ups for now. */
  stir(): void {
    Atomics.store(this.#ring, this.#cqFlagsAt, EVENTFD_DISABLED)
  }

  /** Room for another submission entry? */
  get full(): boolean {
    return this.pending === this.#entries
  }

  /**
   * Queue one entry; `low` and `high` come back with its completion. Precondition: not `full`.
   * `head` is the operation with its flags in the second octet; `offset` is -1 or 0.
   */
  submit(
    head: number,
    fd: number,
    offset: number,
    address: number,
    bytes: number,
    low: number,
    high: number,
    group: number,
  ): void {
    const sqes = this.#sqes
    const at = (this.#tail & (this.#entries - 1)) * SQE_WORDS
    sqes[at] = head
    sqes[at + 1] = fd
    sqes[at + 2] = offset
    sqes[at + 3] = offset
    sqes[at + 4] = address
    sqes[at + 5] = Math.floor(address / TWO_32)
    sqes[at + 6] = bytes
    sqes[at + 7] = 0
    sqes[at + 8] = low
    sqes[at + 9] = high
    sqes[at + 10] = group
    sqes[at + 11] = 0
    this.#tail = (this.#tail + 1) | 0
    this.pending++
  }

  /** Queue a question: complete once when the descriptor is readable. Precondition: not `full`. */
  submitPoll(fd: number, low: number, high: number): void {
    const at = (this.#tail & (this.#entries - 1)) * SQE_WORDS
    this.submit(Op.PollAdd, fd, 0, 0, 0, low, high, 0)
    this.#sqes[at + 7] = POLLIN
  }

  /** Submit what is queued, run due completions, and wait for at least `least` of them. */
  enter(least: number): void {
    Atomics.store(this.#ring, this.#sqTailAt, this.#tail)
    const done = syscall6(ENTER, this.fd, this.pending, least, ENTER_GETEVENTS, 0)
    // EINTR, EAGAIN and EBUSY: what was not taken stays queued and goes with the next call.
    if (done > 0) this.pending -= done
  }

  /** Completions ready to be read with {@link cqe}; they stay until {@link consume}. */
  ready(): number {
    this.#end = Atomics.load(this.#ring, this.#cqTailAt)
    return (this.#end - this.#head) | 0
  }

  /** Word `field` (0 low, 1 high, 2 result, 3 flags) of the oldest completion. */
  cqe(field: number): number {
    return this.#ring[this.#cqesAt + (this.#head & this.#cqMask) * CQE_WORDS + field]!
  }

  /** Done with the oldest completion. */
  consume(): void {
    this.#head = (this.#head + 1) | 0
    Atomics.store(this.#ring, this.#cqHeadAt, this.#head)
  }

  /** True if the kernel knows all these operations. */
  supports(operations: readonly number[]): boolean {
    const count = 64
    const probe = new Uint8Array(16 + count * 8)
    const result = syscall6(REGISTER, this.fd, REGISTER_PROBE, addressOf(probe), count, 0)
    if (result < 0) return false
    return operations.every((op) => op <= probe[0]! && (probe[16 + op * 8 + 2]! & 1) === 1)
  }

  registerBufferRing(address: number, entries: number, group: number): void {
    const request = new Uint8Array(40)
    const view = new DataView(request.buffer)
    view.setBigUint64(0, BigInt(address), true)
    view.setUint32(8, entries, true)
    view.setUint16(12, group, true)
    const result = syscall6(REGISTER, this.fd, REGISTER_BUFFER_RING, addressOf(request), 1, 0)
    if (result < 0) throw new StackError('unsupported', `buffer ring: ${errnoName(errno())}`)
  }

  close(): void {
    close(this.fd)
    close(this.eventFd)
  }
}

/** Buffers that a multishot read may use, by number. Entry: address u64, length u32, number u16. */
export class BufferRing {
  readonly address: number
  readonly entries: number
  readonly #words: Int32Array
  readonly #halves: Uint16Array
  #tail = 0

  /** Precondition: `entries` is a power of two. */
  constructor(entries: number) {
    const { buffer, address } = mapMemory(entries * 16)
    this.address = address
    this.entries = entries
    this.#words = new Int32Array(buffer)
    this.#halves = new Uint16Array(buffer)
  }

  give(number: number, address: number, bytes: number): void {
    const slot = this.#tail & (this.entries - 1)
    this.#words[slot * 4] = address
    this.#words[slot * 4 + 1] = Math.floor(address / TWO_32)
    this.#words[slot * 4 + 2] = bytes
    this.#halves[slot * 8 + 6] = number
    this.#tail = (this.#tail + 1) | 0
  }

  /** Show the kernel what was given. The tail lies in the unused end of entry 0. */
  publish(): void {
    this.#halves[7] = this.#tail
  }
}
