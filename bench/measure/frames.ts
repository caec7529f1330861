/** The smallest frames: how many a second arrive at the far interface while more are sent. */
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Bed } from '../bed.ts'
import { SINK_PORT } from '../bed.ts'
import { busySeconds } from '../cpu.ts'
import { counts } from '../netns.ts'
import type { Options } from '../options.ts'
import type { Metrics } from '../questions.ts'
import { run } from '../shell.ts'

/** The sender needs a moment to start, and must not end before the measurement does. */
const START_MS = 300
const SPARE_MS = 200
const LIMIT_MS = 30_000

export async function measureFrames(bed: Bed, options: Options): Promise<Metrics> {
  await bed.setOffloads(true)
  const warmUpMs = options.warmUpSeconds * 1000 + START_MS
  const forMs = warmUpMs + options.seconds * 1000 + SPARE_MS
  const blast = [process.execPath, join(import.meta.dirname, '..', 'blast.js'), 'send']
  const argv = [...blast, bed.serverAddress, `${SINK_PORT}`, `${forMs}`]
  const sender = run(bed.clientCommand(argv), forMs + LIMIT_MS)
  sender.catch(() => undefined)
  await sleep(warmUpMs)
  const busyBefore = busySeconds()
  const before = counts(bed.serverPid)
  const fromMs = performance.now()
  await sleep(options.seconds * 1000)
  const after = counts(bed.serverPid)
  const tookS = (performance.now() - fromMs) / 1000
  const busyS = busySeconds() - busyBefore
  const sent = Number(await sender)
  const frames = after.rxPackets - before.rxPackets
  return {
    kFrames: frames / tookS / 1000,
    kSent: sent / forMs,
    cpuUs: (busyS / frames) * 1e6,
  }
}
