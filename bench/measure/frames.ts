/** The smallest frames: how many a second arrive at the far end while more are sent. */
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Bed, SINK_PORT } from '../bed.ts'
import { busySeconds } from '../cpu.ts'
import { counts } from '../netns.ts'
import type { Options } from '../options.ts'
import { FLOW_COUNTS, type Metrics } from '../questions.ts'
import { background } from '../shell.ts'

/** From the sender's first frames to a steady state, before the warm-up proper. */
const START_MS = 200

interface Sample {
  readonly atMs: number
  readonly busyS: number
  readonly sent: number
  readonly received: number
}

/**
 * What the sender's interface was given, and what the receiver's sockets got: an interface counts
 * datagrams that were joined on the way as one.
 */
function sample(senderPid: number, bed: Bed): Sample {
  const { txPackets, txDropped } = counts(senderPid)
  return {
    ...{ atMs: performance.now(), busyS: busySeconds() },
    ...{ sent: txPackets + txDropped, received: bed.serverDatagrams() },
  }
}

/** Frames of one flow. @throws Error if nothing arrived. */
export function measureFrames(bed: Bed, options: Options): Promise<Metrics> {
  return offer(bed, options, [bed.serverAddress, `${SINK_PORT}`])
}

/** The same with more and more flows; those of earlier runs are still known. */
export async function measureFlows(bed: Bed, options: Options): Promise<Metrics> {
  const address = bed.openFlows()
  const metrics: Metrics = {}
  for (const [name, flows] of Object.entries(FLOW_COUNTS)) {
    const { kFrames } = await offer(bed, options, [address, `${SINK_PORT}`, `${flows}`])
    metrics[name as keyof typeof FLOW_COUNTS] = kFrames
  }
  return metrics
}

async function offer(
  bed: Bed,
  options: Options,
  args: readonly string[],
): Promise<Required<Pick<Metrics, 'kFrames' | 'kSent' | 'cpuUs'>>> {
  await bed.setOffloads(true)
  const script = join(import.meta.dirname, '..', 'blast.js')
  const argv = [process.execPath, script, 'send', ...args]
  const sender = await background(bed.clientCommand(argv), { ready: /^sending\n/m })
  try {
    await sleep(START_MS + options.warmUpSeconds * 1000)
    const before = sample(sender.pid, bed)
    await sleep(options.seconds * 1000)
    const after = sample(sender.pid, bed)
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
