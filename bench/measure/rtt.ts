/**
 * Round trips of ICMP echo, idle or beside one bulk TCP stream. The far kernel answers by itself,
 * so nothing but the system under test and the kernel's own path is in the figure.
 */
import type { Bed } from '../bed.ts'
import type { Options } from '../options.ts'
import type { Metrics } from '../questions.ts'
import { run } from '../shell.ts'
import { quantile } from '../stats.ts'
import { iperfArguments, parseIperf, SPARE_MS } from './tcp.ts'

const PINGS_PER_S = 200

export async function measureRtt(
  bed: Bed,
  options: Options,
  { load }: { load: boolean },
): Promise<Metrics> {
  await bed.setOffloads(true)
  if (!load) return roundTrips(await ping(bed, options.seconds))
  const seconds = options.seconds + options.warmUpSeconds + 1
  const shape = { streams: 1, bothWays: false }
  const argv = iperfArguments(bed.serverAddress, { ...options, seconds, warmUpSeconds: 0 }, shape)
  const stream = run(bed.clientCommand(argv), seconds * 1000 + SPARE_MS)
  stream.catch(() => undefined)
  await ping(bed, options.warmUpSeconds + WARM_UP_S)
  const answers = await ping(bed, options.seconds)
  const { gbit } = parseIperf(await stream)
  return { ...roundTrips(answers), gbit }
}

/** Pings before the measured ones, until the stream beside them runs at its speed. */
const WARM_UP_S = 0.5

function ping(bed: Bed, seconds: number): Promise<string> {
  const count = Math.ceil(seconds * PINGS_PER_S)
  const how = [
    '-n',
    '-i',
    `${1 / PINGS_PER_S}`,
    '-c',
    `${count}`,
    '-w',
    `${Math.ceil(seconds) + 2}`,
  ]
  const limitMs = seconds * 1000 + SPARE_MS
  return run(bed.clientCommand(['ping', ...how, bed.serverAddress]), limitMs)
}

function roundTrips(text: string): Metrics {
  const times = parsePing(text)
  return { medianUs: quantile(times, 0.5), p99Us: quantile(times, 0.99) }
}

/** Microseconds of each answer that ping lists. */
export function parsePing(text: string): number[] {
  return [...text.matchAll(/time=([\d.]+) ms/g)].map((match) => Number(match[1]) * 1000)
}
