/**
 * What is asked, of whom, and what the answer must be.
 *
 * A **question** is one way of measuring, put to several systems in turn; a run of it gives a few
 * numbers, its metrics. A **bar** is a line of the report: one metric of one system, alone or as a
 * quotient, against a limit. Bars without a limit are only told.
 */
import type { PeerName } from './peers/peer.ts'

export const QUESTION_NAMES = [
  'tcp',
  'tcp8',
  'tcp-both',
  'tcp-plain',
  'frames',
  'rtt',
  'rtt-load',
  'fleet',
] as const
export type QuestionName = (typeof QUESTION_NAMES)[number]

/** Names and units of all that a run may measure. */
export const METRICS = {
  gbit: 'Gbit/s',
  cpuSPerGb: 'CPU s/GB',
  retransmits: 'retransmits',
  kFrames: 'k frames/s',
  kSent: 'k frames/s sent',
  cpuUs: 'CPU µs/frame',
  medianUs: 'µs',
  p99Us: 'µs (p99)',
  idleCpuPct: '% of a core',
  rssMb: 'MB resident',
  upS: 's up',
  downS: 's down',
  leftovers: 'left behind',
} as const
export type MetricName = keyof typeof METRICS
export type Metrics = Partial<Record<MetricName, number>>

export interface Question {
  readonly title: string
  /** The metric that charts and progress lines show. */
  readonly headline: MetricName
  readonly lessIsBetter?: true
  readonly peers: readonly PeerName[]
}

const KERNEL_AND_OURS = ['tapline', 'kernel-bridge', 'tapline-route', 'kernel-route'] as const
const SWITCHES = ['tapline', 'kernel-bridge', 'ovs', 'vde', 'null'] as const

const ROUND_TRIP = { headline: 'medianUs', lessIsBetter: true } as const

/** Systems that are compared with each other follow one another, so that they share the weather. */
export const QUESTIONS: Readonly<Record<QuestionName, Question>> = {
  tcp: {
    title: 'TCP, 1 stream, offloads on',
    headline: 'gbit',
    peers: [...KERNEL_AND_OURS, 'ovs', 'ovs-tso', 'vde', 'null'],
  },
  tcp8: { title: 'TCP, 8 streams, offloads on', headline: 'gbit', peers: KERNEL_AND_OURS },
  'tcp-both': {
    title: 'TCP, both ways at once, offloads on',
    headline: 'gbit',
    peers: KERNEL_AND_OURS,
  },
  'tcp-plain': { title: 'TCP, 1 stream, offloads off', headline: 'gbit', peers: SWITCHES },
  frames: { title: '60-byte frames', headline: 'kFrames', peers: SWITCHES },
  rtt: {
    title: 'Round trip, idle',
    ...ROUND_TRIP,
    peers: [...SWITCHES, 'tapline-route'],
  },
  'rtt-load': { title: 'Round trip beside TCP', ...ROUND_TRIP, peers: SWITCHES },
  fleet: { title: 'Many sandboxes', headline: 'idleCpuPct', peers: ['tapline'] },
}

export interface Bar {
  readonly question: QuestionName
  readonly metric: MetricName
  readonly of: PeerName
  /** Left out: the value itself is judged. */
  readonly against?: PeerName
  readonly atLeast?: number
  readonly atMost?: number
  /** Not asked of the poll engine, which makes a system call a frame. */
  readonly smallFrames?: true
  /** Left out: the question's title. */
  readonly text?: string
}

/** So many sandboxes, spread evenly over so many networks. */
export interface FleetSize {
  readonly sandboxes: number
  readonly networks: number
}

export const IDLE_FLEET: FleetSize = { sandboxes: 20, networks: 2 }
export const LARGE_FLEET: FleetSize = { sandboxes: 200, networks: 10 }

const IDLE_TEXT = `Idle daemon with ${IDLE_FLEET.sandboxes} sandboxes`
const LARGE_TEXT = `${LARGE_FLEET.sandboxes} sandboxes on ${LARGE_FLEET.networks} networks`

type Limit = Pick<Bar, 'atLeast' | 'atMost' | 'smallFrames'>

/** A quotient of two systems in the headline of a question. */
function quotient(question: QuestionName, of: PeerName, against: PeerName, limit: Limit): Bar {
  return { question, metric: QUESTIONS[question].headline, of, against, ...limit }
}

/** A figure of tapline's own. */
function figure(question: QuestionName, metric: MetricName, text: string, limit: Limit = {}): Bar {
  return { question, metric, of: 'tapline', text, ...limit }
}

const BULK = ['tcp', 'tcp8', 'tcp-both'] as const
const SMALL = { atLeast: 1.7, smallFrames: true } as const

export const BARS: readonly Bar[] = [
  ...BULK.map((question) => quotient(question, 'tapline', 'kernel-bridge', { atLeast: 0.88 })),
  ...BULK.map((question) => quotient(question, 'tapline-route', 'kernel-route', { atLeast: 0.88 })),
  ...BULK.map((question) => quotient(question, 'tapline-route', 'tapline', { atLeast: 0.95 })),
  quotient('tcp-plain', 'tapline', 'ovs', SMALL),
  quotient('tcp-plain', 'tapline', 'vde', SMALL),
  quotient('frames', 'tapline', 'null', { atLeast: 0.9, smallFrames: true }),
  quotient('frames', 'tapline', 'ovs', SMALL),
  quotient('frames', 'tapline', 'vde', SMALL),
  quotient('rtt', 'tapline', 'vde', { atMost: 1.5 }),
  figure('rtt', 'p99Us', 'Round trip, idle, 99th percentile'),
  quotient('rtt-load', 'tapline', 'vde', {}),
  quotient('rtt-load', 'tapline', 'kernel-bridge', {}),
  figure('fleet', 'idleCpuPct', IDLE_TEXT, { atMost: 1 }),
  figure('fleet', 'rssMb', IDLE_TEXT),
  figure('fleet', 'upS', `${LARGE_TEXT}, up`, { atMost: 10 }),
  figure('fleet', 'downS', `${LARGE_TEXT}, down`, { atMost: 5 }),
  figure('fleet', 'leftovers', `${LARGE_TEXT}, namespaces, links and files`, { atMost: 0 }),
]
