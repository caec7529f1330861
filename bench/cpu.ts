/**
 * Processor time, system-wide or of one process, in seconds.
 *
 * System-wide, because what a frame costs is spread over the sender, the system under test, the
 * receiver and the kernel's interrupt work, and only their sum compares a kernel bridge, which is
 * no process at all, with a switch that is one. So nothing else should run meanwhile.
 */
import { readFileSync } from 'node:fs'

/** USER_HZ: /proc counts in hundredths of a second on every Linux that Node runs on. */
const TICKS_PER_S = 100

/** Seconds that all CPUs together have been busy since the start of the system. */
export function busySeconds(): number {
  return parseBusy(readFileSync('/proc/stat', 'latin1'))
}

/** From the first line of /proc/stat: all but idle, waiting for I/O, and time given to guests. */
export function parseBusy(text: string): number {
  const line = text.slice(0, text.indexOf('\n'))
  const [user = 0, nice = 0, system = 0, , , irq = 0, softIrq = 0] = line
    .trim()
    .split(/\s+/)
    .slice(1)
    .map(Number)
  return (user + nice + system + irq + softIrq) / TICKS_PER_S
}

/** Seconds that one process has run, all its threads together. */
export function processSeconds(pid: number): number {
  return parseProcess(readFileSync(`/proc/${pid}/stat`, 'latin1'))
}

/** From /proc/PID/stat: utime and stime, the 14th and 15th field; the second may hold spaces. */
export function parseProcess(text: string): number {
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_S
}

/** Resident memory of a process, MB of 10⁶ octets. */
export function residentMb(pid: number): number {
  const text = readFileSync(`/proc/${pid}/status`, 'latin1')
  return (Number(/^VmRSS:\s+(\d+) kB/m.exec(text)?.[1] ?? Number.NaN) * 1024) / 1e6
}
