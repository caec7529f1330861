/**
 * The order of things: open a bed for each system, then rounds, and in each round every question
 * to every system in turn, so that systems that are compared are measured within seconds of each
 * other. A run that fails is told and counted, and the rest goes on.
 */
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { Bed, missingTools } from './bed.ts'
import { measureConnections } from './measure/connect.ts'
import { measureNames } from './measure/dns.ts'
import { measureLocal } from './measure/docker.ts'
import { measureFleet } from './measure/fleet.ts'
import { measureFlows, measureFrames } from './measure/frames.ts'
import { measureRtt } from './measure/rtt.ts'
import { measureTcp } from './measure/tcp.ts'
import type { PieceResult } from './micro/result.ts'
import { FAR, NEAR } from './names.ts'
import type { Options } from './options.ts'
import { PEERS } from './peers/list.ts'
import { PEER_NAMES, type PeerName } from './peers/peer.ts'
import { METRICS, type Metrics, QUESTIONS, type QuestionName } from './questions.ts'
import { formatNumber } from './report.ts'
import { Results } from './results.ts'
import { run } from './shell.ts'

type Measure = (bed: Bed, options: Options) => Promise<Metrics>

const tcp =
  (streams: number, bothWays: boolean, offloads: boolean): Measure =>
  (bed, options) =>
    measureTcp(bed, options, { streams, bothWays, offloads })

const tcpInwards: Measure = (bed, options) =>
  measureTcp(bed, options, { streams: 1, bothWays: false, offloads: true, inwards: true })

/** Questions that are put to a bed. */
const MEASURES: Readonly<Partial<Record<QuestionName, Measure>>> = {
  tcp: tcp(1, false, true),
  tcp8: tcp(8, false, true),
  'tcp-both': tcp(1, true, true),
  'tcp-plain': tcp(1, false, false),
  frames: measureFrames,
  rtt: (bed, options) => measureRtt(bed, options, { load: false }),
  'rtt-load': (bed, options) => measureRtt(bed, options, { load: true }),
  nat: tcp(1, false, true),
  publish: tcpInwards,
  'frames-nat': measureFlows,
  connect: measureConnections,
  vip: tcp(1, false, true),
  overlay: tcp(1, false, true),
  'overlay-frames': measureFrames,
  'overlay-rtt': (bed, options) => measureRtt(bed, options, { load: false }),
  dns: (bed, options) => measureNames(bed, options, NEAR),
  'dns-forward': (bed, options) => measureNames(bed, options, FAR),
  'docker-tcp': tcp(1, false, true),
  'docker-out': tcp(1, false, true),
  'docker-in': tcpInwards,
  'docker-local': measureLocal,
  'docker-run': (bed) => bed.trial(),
  cni: (bed) => bed.trial(),
}

/** Bringing hundreds of sandboxes up and down needs no more repetitions than this. */
const FLEET_ROUNDS = 3

export interface Outcome {
  readonly results: Results
  /** What each system was, by name; systems that could not be opened are missing. */
  readonly about: ReadonlyMap<PeerName, string>
  /** The I/O engine that tapline used. */
  readonly engine: string
  /** The pieces inside the process; empty if they were not asked for. */
  readonly pieces: readonly PieceResult[]
  /** Systems that were left out, as sentences that say what to install. */
  readonly skipped: readonly string[]
}

export async function runAll(options: Options): Promise<Outcome> {
  const results = new Results()
  const skipped: string[] = []
  const beds = await openBeds(options, { skipped, results })
  const progress = new Progress(options, beds)
  for (let round = 0; round < options.rounds; round++) {
    for (const question of options.questions) {
      const repeats = repeatsOf(question, options)
      for (let i = 0; i < repeats; i++) {
        await askAll({ results, progress, question, round: round * repeats + i }, beds, options)
      }
    }
  }
  for (const bed of beds.values()) await bed.close()
  await runFleet(options, { results, progress })
  const pieces = options.micro ? await measurePieces(options, results) : []
  const opened = PEER_NAMES.filter((name) => beds.has(name))
  const about = new Map(opened.map((name) => [name, beds.get(name)!.about]))
  const engine = beds.get('tapline')?.engine ?? options.engine
  return { results, about, engine, pieces, skipped }
}

function repeatsOf(question: QuestionName, { quick }: Options): number {
  return quick ? 1 : (QUESTIONS[question].repeats ?? 1)
}

/** One question to all systems that it is for, in turn. */
async function askAll(
  place: Omit<RunPlace, 'peer'>,
  beds: ReadonlyMap<PeerName, Bed>,
  options: Options,
): Promise<void> {
  const { question } = place
  const measure = MEASURES[question]
  if (measure === undefined) return
  for (const peer of QUESTIONS[question].peers) {
    const bed = beds.get(peer)
    if (bed !== undefined) await attempt({ ...place, peer }, () => measure(bed, options))
  }
}

async function runFleet(
  options: Options,
  { results, progress }: { results: Results; progress: Progress },
): Promise<void> {
  if (!wanted(options).has('tapline') || !options.questions.includes('fleet')) return
  for (let round = 0; round < Math.min(options.rounds, FLEET_ROUNDS); round++) {
    const place = { results, progress, question: 'fleet', peer: 'tapline', round } as const
    await attempt(place, () => measureFleet(options))
  }
}

async function measurePieces(options: Options, results: Results): Promise<PieceResult[]> {
  const script = join(import.meta.dirname, 'micro', 'main.js')
  const ms = options.quick ? QUICK_PIECE_MS : PIECE_MS
  process.stderr.write('pieces inside the process\n')
  try {
    return JSON.parse(await run([process.execPath, script, `${ms}`])) as PieceResult[]
  } catch (error) {
    results.failures.push(`pieces: ${messageOf(error)}`)
    return []
  }
}

/** Time for each piece. */
const PIECE_MS = 1000
const QUICK_PIECE_MS = 100

/** Systems that some question is put to. */
function wanted({ questions, systems }: Options): Set<PeerName> {
  const asked = new Set(questions.flatMap((question) => QUESTIONS[question].peers))
  return new Set(PEER_NAMES.filter((name) => asked.has(name) && systems.includes(name)))
}

/**
 * A few at a time: what a system waits for while it starts is a processor. What one that fails has
 * made stays, idle, until the end.
 */
async function openBeds(
  options: Options,
  { skipped, results }: { skipped: string[]; results: Results },
): Promise<Map<PeerName, Bed>> {
  const beds = new Map<PeerName, Bed>()
  if (options.questions.every((question) => MEASURES[question] === undefined)) return beds
  const tell = (list: string[], text: string): void => {
    list.push(text)
    process.stderr.write(`bench: ${text}\n`)
  }
  const open = async (name: PeerName): Promise<void> => {
    const missing = missingTools(PEERS[name])
    if (missing.length > 0) {
      return tell(skipped, `${name}: install ${missing.join(' and ')} to measure it`)
    }
    try {
      beds.set(name, await Bed.open(name, PEERS[name], options))
    } catch (error) {
      tell(results.failures, `${name} did not come up: ${messageOf(error)}`)
    }
  }
  const left = [...wanted(options)]
  const openNext = async (): Promise<void> => {
    for (let name = left.shift(); name !== undefined; name = left.shift()) await open(name)
  }
  await Promise.all(Array.from({ length: availableParallelism() }, openNext))
  return beds
}

interface RunPlace {
  readonly results: Results
  readonly progress: Progress
  readonly question: QuestionName
  readonly peer: PeerName
  readonly round: number
}

async function attempt(place: RunPlace, measure: () => Promise<Metrics>): Promise<void> {
  const { results, progress, question, peer, round } = place
  try {
    const metrics = await measure()
    results.add(question, peer, round, metrics)
    progress.done(place, describe(question, metrics))
  } catch (error) {
    results.failures.push(`${question} of ${peer}, round ${round + 1}: ${messageOf(error)}`)
    progress.done(place, `failed: ${messageOf(error)}`)
  }
}

function describe(question: QuestionName, metrics: Metrics): string {
  const { headline } = QUESTIONS[question]
  return `${formatNumber(metrics[headline] ?? Number.NaN)} ${METRICS[headline]}`
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** Lines on stderr, so that a long run is seen to go on. */
class Progress {
  readonly #total: number
  #done = 0

  constructor(options: Options, beds: ReadonlyMap<PeerName, Bed>) {
    const runs = options.questions.map((question) => {
      if (MEASURES[question] === undefined) return Math.min(options.rounds, FLEET_ROUNDS)
      const count = QUESTIONS[question].peers.filter((peer) => beds.has(peer)).length
      return count * options.rounds * repeatsOf(question, options)
    })
    this.#total = runs.reduce((sum, count) => sum + count, 0)
  }

  done({ question, peer, round }: RunPlace, outcome: string): void {
    this.#done++
    const place = `[${`${this.#done}`.padStart(`${this.#total}`.length)}/${this.#total}]`
    process.stderr.write(`${place} round ${round + 1} ${question} ${peer}: ${outcome}\n`)
  }
}
