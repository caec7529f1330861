/** New TCP connections: how many a second, and how long one takes until it is answered. */
import type { Bed } from '../bed.ts'
import type { Connections } from '../connect.ts'
import type { Options } from '../options.ts'
import type { Metrics } from '../questions.ts'
import { run } from '../shell.ts'

/** Connections open at once, while the rate is measured. */
const SLOTS = 64
/** For the longest of them to be answered or given up. */
const SPARE_MS = 30_000

/** One at a time for the latency of an idle system, then many for the rate of a busy one. */
export async function measureConnections(bed: Bed, options: Options): Promise<Metrics> {
  await bed.setOffloads(true)
  const open = async (slots: number, seconds: number): Promise<Connections> => {
    const command = bed.connectCommand({ slots, seconds })
    return JSON.parse(await run(command, seconds * 1000 + SPARE_MS)) as Connections
  }
  if (options.warmUpSeconds > 0) await open(SLOTS, options.warmUpSeconds)
  const single = await open(1, 1)
  const many = await open(SLOTS, options.seconds)
  return {
    kConnects: many.done / many.seconds / 1000,
    medianUs: single.medianUs,
    p99Us: single.p99Us,
    busyP99Us: many.p99Us,
    failed: single.failed + many.failed,
  }
}
