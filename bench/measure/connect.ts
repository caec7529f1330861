/**
 * New TCP connections: how long one takes until it is answered, and how many there are a second.
 *
 * The first is asked of the kernel's sockets, one connection at a time: what a program sees. The
 * second is asked by ends that speak TCP by themselves (../raw/main.ts), because on few CPUs the
 * sockets of two ends cost more than the system between them, and would be what is measured.
 */
import type { Bed } from '../bed.ts'
import type { Connections } from '../connect.ts'
import type { Options } from '../options.ts'
import type { Metrics } from '../questions.ts'
import type { RawConnections } from '../raw/main.ts'
import { run } from '../shell.ts'

/** Connections open at once, while the rate is measured. */
const SLOTS = 256
/** For the longest of them to be answered or given up. */
const SPARE_MS = 30_000

export async function measureConnections(bed: Bed, options: Options): Promise<Metrics> {
  await bed.setOffloads(true)
  const single = await json<Connections>(bed.connectCommand({ slots: 1, seconds: 1 }), 1)
  const stop = await bed.startRawServer()
  try {
    const open = (seconds: number): Promise<RawConnections> =>
      json(bed.rawConnectCommand({ slots: SLOTS, seconds }), seconds)
    if (options.warmUpSeconds > 0) await open(options.warmUpSeconds)
    const many = await open(options.seconds)
    return {
      kConnects: many.done / many.seconds / 1000,
      medianUs: single.medianUs,
      p99Us: single.p99Us,
      busyP99Us: many.p99Us,
      failed: single.failed + many.failed,
      resent: many.resent,
    }
  } finally {
    await stop()
  }
}

async function json<T>(command: string[], seconds: number): Promise<T> {
  return JSON.parse(await run(command, seconds * 1000 + SPARE_MS)) as T
}
