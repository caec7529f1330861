/** The smallest frames: how many a second arrive at the far interface while more are sent. */
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Bed, SINK_PORT } from '../bed.ts'
import { busySeconds } from '../cpu.ts'
import { counts } from '../netns.ts'
import type { Options } from '../options.ts'
import type { Metrics } from '../questions.ts'
import { background } from '../shell.ts'

/** From the sender's first frames to a steady state, before the warm-up proper. */
const START_MS = 200

interface Sample {
  readonly atMs: number
  readonly busyS: number
  readonly sent: number
  readonly received: number
}

/** What the sender's interface was given, and what the receiver's got. */
function sample(senderPid: number, receiverPid: number): Sample {
  const { txPackets, txDropped } = counts(senderPid)
  const { rxPackets } = counts(receiverPid)
  return {
    ...{ atMs: performance.now(), busyS: busySeconds() },
    ...{ sent: txPackets + txDropped, received: rxPackets },
  }
}

/** @throws Error if nothing arrived. */
export async function measureFrames(bed: Bed, options: Options): Promise<Metrics> {
  await bed.setOffloads(true)
  const script = join(import.meta.dirname, '..', 'blast.js')
  const argv = [process.execPath, script, 'send', bed.serverAddress, `${SINK_PORT}`]
  const sender = await background(bed.clientCommand(argv), { ready: /^sending\n/m })
  try {
    await sleep(START_MS + options.warmUpSeconds * 1000)
    const before = sample(sender.pid, bed.serverPid)
    await sleep(options.seconds * 1000)
    const after = sample(sender.pid, bed.serverPid)
    const frames = after.received - before.received
    if (frames === 0) throw new Error('no frame arrived')
    const tookMs = after.atMs - before.atMs
    return {
      kFrames: frames / tookMs,
      kSent: (after.sent - before.sent) / tookMs,
      cpuUs: ((after.busyS - before.busyS) / frames) * 1e6,
    }
  } finally {
    await sender.stop()
  }
}
