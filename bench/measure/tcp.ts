/** Bulk TCP: iperf3 from the client to the server, with what it cost beside what it moved. */
import type { Bed } from '../bed.ts'
import { busySeconds } from '../cpu.ts'
import type { Options } from '../options.ts'
import { IPERF_PORT } from '../peers/peer.ts'
import type { Metrics } from '../questions.ts'
import { run } from '../shell.ts'

export interface TcpShape {
  readonly streams: number
  readonly bothWays: boolean
  readonly offloads: boolean
  /** From the server's end to the client's. */
  readonly inwards?: true
}

/** For setting a transfer up and taking it down, on a slow system. */
export const SPARE_MS = 30_000

type Timing = Pick<Options, 'seconds' | 'warmUpSeconds'>

/** Arguments of the iperf3 client. */
export function iperfArguments(
  address: string,
  { seconds, warmUpSeconds }: Timing,
  { streams, bothWays }: Pick<TcpShape, 'streams' | 'bothWays'>,
): string[] {
  const where = ['iperf3', '-c', address, '-p', `${IPERF_PORT}`, '-J']
  const how = ['-t', `${seconds}`, '-O', `${warmUpSeconds}`, '-P', `${streams}`]
  return [...where, ...how, ...(bothWays ? ['--bidir'] : [])]
}

/**
 * Throughput without the warm-up; CPU time over the whole run, the warm-up included, divided by
 * all that the two interfaces' counters say was moved in that time.
 */
export async function measureTcp(bed: Bed, options: Options, shape: TcpShape): Promise<Metrics> {
  await bed.setOffloads(shape.offloads)
  const inwards = shape.inwards === true
  const address = inwards ? bed.inwardAddress : bed.serverAddress
  const argv = iperfArguments(address, options, shape)
  const command = inwards ? bed.serverCommand(argv) : bed.clientCommand(argv)
  const busyBefore = busySeconds()
  const before = bed.serverCounts()
  const limitMs = (options.seconds + options.warmUpSeconds) * 1000 + SPARE_MS
  const result = parseIperf(await run(command, limitMs))
  const after = bed.serverCounts()
  const busyS = busySeconds() - busyBefore
  const bytes = after.rxBytes - before.rxBytes + after.txBytes - before.txBytes
  return { ...result, cpuSPerGb: busyS / (bytes / 1e9) }
}

interface IperfSum {
  readonly bits_per_second: number
  readonly retransmits?: number
}

/** What the receivers got, both directions together. @throws Error if iperf3 reports one. */
export function parseIperf(text: string): { gbit: number; retransmits: number } {
  const report = JSON.parse(text) as {
    readonly error?: string
    readonly end: Readonly<Record<string, IperfSum | undefined>>
  }
  if (report.error !== undefined) throw new Error(`iperf3: ${report.error}`)
  const sums = (name: string): IperfSum[] =>
    [report.end[name], report.end[`${name}_bidir_reverse`]].filter((sum) => sum !== undefined)
  const gbit = sums('sum_received').reduce((total, sum) => total + sum.bits_per_second / 1e9, 0)
  const retransmits = sums('sum_sent').reduce((total, sum) => total + (sum.retransmits ?? 0), 0)
  return { gbit, retransmits }
}
