/**
 * Which processors this thread may use and which of them have time, from the scheduler's own books:
 * sched_setaffinity(2), /proc/thread-self/schedstat and the per-processor lines of /proc/stat.
 */
import { readFileSync } from 'node:fs'
import { addressOf, check, syscall6 } from './libc.ts'

const SET_AFFINITY = 203
const GET_AFFINITY = 204
/** Of a mask: room for 1,024 processors, as glibc has. */
const MASK_BYTES = 128
const NS_PER_MS = 1_000_000
/** /proc/stat counts in hundredths of a second on every architecture. */
const MS_PER_TICK = 10
/** Columns of a line `cpuN user nice system idle iowait ...`. */
const [IDLE, IOWAIT] = [4, 5]

/** What a thread did since it started. */
export interface ThreadTimes {
  readonly ranMs: number
  /** Ready to run, and some other thread had the processor. */
  readonly waitedMs: number
}

/** Numbers of the processors that this thread may use. */
export function allowedProcessors(): number[] {
  const mask = new Uint8Array(MASK_BYTES)
  check(syscall6(GET_AFFINITY, 0, mask.length, addressOf(mask), 0, 0), 'sched_getaffinity')
  const numbers: number[] = []
  for (let n = 0; n < MASK_BYTES * 8; n++) if ((mask[n >> 3]! >> (n & 7)) & 1) numbers.push(n)
  return numbers
}

/** Keep this thread to these processors. False if the kernel refuses: they are gone. */
export function confineThread(processors: readonly number[]): boolean {
  const mask = new Uint8Array(MASK_BYTES)
  for (const n of processors) mask[n >> 3]! |= 1 << (n & 7)
  return syscall6(SET_AFFINITY, 0, mask.length, addressOf(mask), 0, 0) === 0
}

/** @throws Error where the kernel keeps no such book (no CONFIG_SCHED_INFO). */
export function threadTimes(): ThreadTimes {
  const [ran, waited] = readFileSync('/proc/thread-self/schedstat', 'latin1').split(' ')
  return { ranMs: Number(ran) / NS_PER_MS, waitedMs: Number(waited) / NS_PER_MS }
}

/** Milliseconds that each processor has idled, by its number. */
export function idleTimes(): Map<number, number> {
  const idle = new Map<number, number>()
  for (const line of readFileSync('/proc/stat', 'latin1').split('\n')) {
    if (!/^cpu\d/.test(line)) continue
    const columns = line.split(' ')
    const ticks = Number(columns[IDLE]) + Number(columns[IOWAIT])
    idle.set(Number(columns[0]!.slice('cpu'.length)), ticks * MS_PER_TICK)
  }
  return idle
}
