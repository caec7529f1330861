/** The command line of the benchmark, checked once. */
import { Command, InvalidArgumentError, Option } from 'commander'
import { PEER_NAMES, type PeerName, type Settings } from './peers/peer.ts'
import { GROUPS, QUESTION_NAMES, type QuestionName } from './questions.ts'

export interface Options extends Settings {
  readonly questions: readonly QuestionName[]
  readonly systems: readonly PeerName[]
  /** Measure the pieces inside the process too. */
  readonly micro: boolean
  readonly rounds: number
  /** Length of one run. */
  readonly seconds: number
  /** Of each run, at its start, not measured. */
  readonly warmUpSeconds: number
  readonly clientCpus: string
  readonly serverCpus: string
  /** TCP's congestion control; left out: the host's own choice. */
  readonly congestion: string | undefined
  readonly quick: boolean
  readonly json: boolean
  /** End with exit code 1 if a bar is missed. */
  readonly check: boolean
  /** Where the report goes; left out: bench/RESULTS.md if the run is a whole one. */
  readonly out: string | undefined
}

/** The pieces are no question to a system, but are asked for in the same way. */
const ONLY = [...QUESTION_NAMES, 'docker', 'micro'] as const

/** What commander hands back: the options, where not all have a value yet. */
interface Given extends Settings, Pick<Options, 'clientCpus' | 'serverCpus'> {
  readonly only?: readonly (typeof ONLY)[number][]
  readonly systems?: readonly PeerName[]
  readonly rounds?: number
  readonly seconds?: number
  readonly warmUp?: number
  readonly quick: boolean
  readonly json: boolean
  readonly check: boolean
  readonly congestion?: string
  readonly out?: string
}

/** `a,b` as a list of known names. */
function listOf<T extends string>(known: readonly T[]): (text: string) => T[] {
  return (text) =>
    text.split(',').map((part) => {
      const name = known.find((candidate) => candidate === part)
      if (name === undefined) {
        throw new InvalidArgumentError(`"${part}" is not one of ${known.join(', ')}.`)
      }
      return name
    })
}

function wholeFrom(least: number): (text: string) => number {
  return (text) => {
    const value = Number(text)
    if (Number.isInteger(value) && value >= least) return value
    throw new InvalidArgumentError(`Must be a whole number of ${least} or more.`)
  }
}

function cpuList(text: string): string {
  if (!/^\d+([,-]\d+)*$/.test(text)) {
    throw new InvalidArgumentError('Must be CPU numbers, such as 0 or 0,1 or 2-3.')
  }
  return text
}

/** One CPU each for client and server, all of them for the system between; fewer: all for all. */
function cpuDefaults(cpuCount: number): { client: string; server: string; system: string } {
  const all = cpuCount > 1 ? `0-${cpuCount - 1}` : '0'
  return cpuCount > 1
    ? { client: '0', server: '1', system: all }
    : { client: all, server: all, system: all }
}

/** A quick run takes every way of measuring once, and is done within a minute. */
const QUICK_ONLY = [
  'tcp',
  'tcp-plain',
  'frames',
  'rtt',
  'nat',
  'publish',
  'dns',
  'dns-forward',
  'fleet',
  'micro',
] as const
const QUICK = { rounds: 1, seconds: 1, warmUpSeconds: 0 } as const
const WHOLE = { rounds: 5, seconds: 5, warmUpSeconds: 1 } as const

/**
 * @throws CommanderError after it has printed help or what is wrong.
 * @param argv Arguments without `node` and the script.
 * @param cpuCount CPUs that this process may use.
 * @param complain Gets what is wrong, for people.
 */
export function parseOptions(
  argv: readonly string[],
  cpuCount: number,
  complain: (text: string) => void = (text) => process.stderr.write(text),
): Options {
  const cpus = cpuDefaults(cpuCount)
  const command = new Command('bench')
    .description('Measure tapline side by side with the kernel and with userspace switches.')
    .option('--quick', 'a smoke run: one short round of the main questions', false)
    .option('--only <questions>', `of ${ONLY.join(', ')}`, listOf(ONLY))
    .option('--systems <systems>', `of ${PEER_NAMES.join(', ')}`, listOf(PEER_NAMES))
    .option('--rounds <n>', 'interleaved rounds', wholeFrom(1))
    .option('--seconds <n>', 'length of a run', wholeFrom(1))
    .option('--warm-up <n>', 'seconds at the start of a run that are not measured', wholeFrom(0))
    .option('--client-cpus <list>', 'where the client runs', cpuList, cpus.client)
    .option('--server-cpus <list>', 'where the server runs', cpuList, cpus.server)
    .option('--system-cpus <list>', 'where the system under test runs', cpuList, cpus.system)
    .option('--congestion <name>', "TCP's congestion control (default: the host's)")
    .addOption(
      new Option('--engine <engine>', "tapline's input and output")
        .choices(['auto', 'io_uring', 'poll'])
        .default('auto'),
    )
    .option('--json', 'print all samples as JSON instead of the table', false)
    .option('--check', 'end with exit code 1 if a bar is missed', false)
    .option('--out <file>', 'write the report here, and the chart beside it')
    .exitOverride()
    .configureOutput({ writeErr: complain })
  command.parse(argv, { from: 'user' })
  const given = command.opts<Given>()
  const { only = given.quick ? QUICK_ONLY : ONLY, warmUp, ...rest } = given
  const named = only.flatMap((name): readonly (QuestionName | 'micro')[] => {
    return name === 'docker' ? GROUPS.docker : [name]
  })
  const chosen = new Set(named)
  const defaults = given.quick ? QUICK : WHOLE
  return {
    ...rest,
    questions: QUESTION_NAMES.filter((name) => chosen.has(name)),
    micro: chosen.has('micro'),
    systems: given.systems ?? PEER_NAMES,
    rounds: given.rounds ?? defaults.rounds,
    seconds: given.seconds ?? defaults.seconds,
    warmUpSeconds: warmUp ?? defaults.warmUpSeconds,
    congestion: given.congestion,
    out: given.out,
  }
}
