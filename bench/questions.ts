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
  'nat',
  'publish',
  'frames-nat',
  'connect',
  'vip',
  'overlay',
  'overlay-frames',
  'overlay-rtt',
  'dns',
  'dns-forward',
  'docker-tcp',
  'docker-out',
  'docker-in',
  'docker-local',
  'docker-run',
  'cni',
  'fleet',
] as const
export type QuestionName = (typeof QUESTION_NAMES)[number]

/** Names that stand for several questions. */
export const GROUPS: { readonly docker: readonly QuestionName[] } = {
  docker: ['docker-tcp', 'docker-out', 'docker-in', 'docker-local', 'docker-run'],
}

/** Names and units of all that a run may measure. */
export const METRICS = {
  gbit: 'Gbit/s',
  cpuSPerGb: 'CPU s/GB',
  retransmits: 'retransmits',
  kFrames: 'k frames/s',
  kFrames100: 'k frames/s, 100 flows',
  kFrames10k: 'k frames/s, 10,000 flows',
  kFrames100k: 'k frames/s, 100,000 flows',
  kSent: 'k frames/s sent',
  cpuUs: 'CPU µs/frame',
  medianUs: 'µs',
  p99Us: 'µs (p99)',
  kConnects: 'k connections/s',
  busyP99Us: 'µs (p99), 256 at once',
  failed: 'failed',
  resent: 'segments resent',
  replyMs: 'ms to the first reply',
  startMs: 'ms, docker run',
  removeMs: 'ms, docker rm',
  addMs: 'ms, ADD',
  delMs: 'ms, DEL',
  idleCpuPct: '% of a core',
  rssMb: 'MB resident',
  upS: 's up',
  downS: 's down',
  leftovers: 'left behind',
  kQueries: 'k queries/s',
  averageUs: 'µs (mean)',
  lost: 'queries lost',
} as const
export type MetricName = keyof typeof METRICS
export type Metrics = Partial<Record<MetricName, number>>

/** Numbers of flows by the metric that says what arrived of so many. */
export const FLOW_COUNTS = {
  kFrames: 1,
  kFrames100: 100,
  kFrames10k: 10_000,
  kFrames100k: 100_000,
} as const

export interface Question {
  readonly title: string
  /** The metric that charts and progress lines show. */
  readonly headline: MetricName
  readonly lessIsBetter?: true
  readonly peers: readonly PeerName[]
  /** So often in each round, in turn with the other systems; left out: once. */
  readonly repeats?: number
}

const KERNEL_AND_OURS = ['tapline', 'kernel-bridge', 'tapline-route', 'kernel-route'] as const
const SWITCHES = ['tapline', 'kernel-bridge', 'ovs', 'vde', 'null'] as const

const TRANSLATORS = ['tapline', 'tapline-nat', 'kernel-nat', 'pasta', 'slirp4netns'] as const
const BALANCERS = ['tapline-vip', 'haproxy', 'nginx'] as const

const OVERLAYS = [
  'tapline-overlay',
  'tapline-sealed',
  'kernel-vxlan',
  'ovs-vxlan',
  'tapline-to-kernel',
  'kernel-to-tapline',
] as const

const RESOLVERS = ['tapline-dns', 'dnsmasq', 'unbound'] as const
const DOCKERS = ['tapline-docker', 'docker-bridge'] as const
const DOCKERS_OUT = ['tapline-docker-out', 'docker-out'] as const
const DOCKERS_IN = [...DOCKERS_OUT, 'docker-out-plain'] as const
/** Of what takes a moment: twenty samples in five rounds. */
const REPEATS = 4

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
  nat: { title: 'TCP out through NAT', headline: 'gbit', peers: TRANSLATORS },
  publish: { title: 'TCP in by a published port', headline: 'gbit', peers: TRANSLATORS },
  'frames-nat': {
    title: '60-byte frames out through NAT',
    headline: 'kFrames',
    peers: ['tapline', 'tapline-nat', 'kernel-nat'],
  },
  connect: {
    title: 'New connections through a balancer',
    headline: 'kConnects',
    peers: [...BALANCERS, 'tapline', 'kernel-route'],
  },
  vip: { title: 'TCP through a balancer', headline: 'gbit', peers: BALANCERS },
  overlay: { title: 'TCP between two nodes, VXLAN', headline: 'gbit', peers: OVERLAYS },
  'overlay-frames': {
    title: '60-byte frames between two nodes, VXLAN',
    headline: 'kFrames',
    peers: OVERLAYS,
  },
  'overlay-rtt': {
    title: 'Round trip between two nodes, VXLAN',
    ...ROUND_TRIP,
    peers: ['tapline-overlay', 'kernel-vxlan', 'ovs-vxlan'],
  },
  dns: { title: 'Names, own', headline: 'kQueries', peers: RESOLVERS },
  'dns-forward': { title: 'Names, of an upstream', headline: 'kQueries', peers: RESOLVERS },
  'docker-tcp': { title: 'TCP between two containers', headline: 'gbit', peers: DOCKERS },
  'docker-out': { title: 'TCP from a container out', headline: 'gbit', peers: DOCKERS_OUT },
  'docker-in': { title: "TCP in by a container's port", headline: 'gbit', peers: DOCKERS_IN },
  'docker-local': {
    title: "TCP from the host itself to a container's port",
    headline: 'gbit',
    peers: DOCKERS_IN,
  },
  'docker-run': {
    title: 'docker run to the first reply',
    headline: 'replyMs',
    lessIsBetter: true,
    peers: DOCKERS,
    repeats: REPEATS,
  },
  cni: {
    title: 'A container attached by CNI',
    headline: 'addMs',
    lessIsBetter: true,
    peers: ['tapline-cni', 'cni-bridge'],
    repeats: REPEATS,
  },
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

/** Frames of so many flows, against the same frames over our own bridge. */
function flows(metric: MetricName, count: string, limit: Limit = {}): Bar {
  const text = `${QUESTIONS['frames-nat'].title}, ${count}`
  return { question: 'frames-nat', metric, of: 'tapline-nat', against: 'tapline', text, ...limit }
}

/** From a connection's opening to its answer. */
function latency(metric: MetricName, load: string, against: PeerName): Bar {
  const text = `Connection answered, ${load}`
  return { question: 'connect', metric, of: 'tapline-vip', against, text }
}

/** Names through the gateway, beside another resolver in its place. */
function names(against: PeerName, limit: Limit = {}): Bar[] {
  return [
    quotient('dns', 'tapline-dns', against, limit),
    quotient('dns-forward', 'tapline-dns', against, {}),
  ]
}

function lostNames(question: 'dns' | 'dns-forward'): Bar {
  const text = `${QUESTIONS[question].title}, lost`
  return { question, metric: 'lost', of: 'tapline-dns', text, atMost: 0 }
}

/** One call of a CNI plugin. */
function call(metric: MetricName, text: string): Bar {
  return { question: 'cni', metric, of: 'tapline-cni', against: 'cni-bridge', text }
}

const BULK = ['tcp', 'tcp8', 'tcp-both'] as const
const TRANSLATED = ['nat', 'publish'] as const
const PROXIES = ['haproxy', 'nginx'] as const
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
  ...TRANSLATED.flatMap((question) => [
    quotient(question, 'tapline-nat', 'tapline', { atLeast: 0.95 }),
    quotient(question, 'tapline-nat', 'kernel-nat', { atLeast: 0.85 }),
    quotient(question, 'tapline-nat', 'pasta', { atLeast: 2 }),
    quotient(question, 'tapline-nat', 'slirp4netns', { atLeast: 2 }),
  ]),
  flows('kFrames', '1 flow', { atLeast: 0.85, smallFrames: true }),
  flows('kFrames100', '100 flows'),
  flows('kFrames10k', '10,000 flows'),
  flows('kFrames100k', '100,000 flows'),
  ...PROXIES.map((proxy) => quotient('connect', 'tapline-vip', proxy, { atLeast: 2 })),
  ...[...PROXIES, 'tapline' as const].flatMap((against) => [
    latency('p99Us', 'one at a time, 99th percentile', against),
    latency('busyP99Us', '256 at a time, 99th percentile', against),
  ]),
  ...PROXIES.map((proxy) => quotient('vip', 'tapline-vip', proxy, { atLeast: 1.5 })),
  quotient('overlay', 'tapline-overlay', 'kernel-vxlan', { atLeast: 0.6 }),
  quotient('overlay', 'tapline-overlay', 'ovs-vxlan', { atLeast: 3 }),
  quotient('overlay', 'tapline-sealed', 'tapline-overlay', {}),
  quotient('overlay', 'tapline-to-kernel', 'kernel-vxlan', {}),
  quotient('overlay', 'kernel-to-tapline', 'kernel-vxlan', {}),
  quotient('overlay-frames', 'tapline-overlay', 'kernel-vxlan', {}),
  quotient('overlay-frames', 'tapline-overlay', 'ovs-vxlan', { atLeast: 1, smallFrames: true }),
  quotient('overlay-rtt', 'tapline-overlay', 'kernel-vxlan', {}),
  quotient('overlay-rtt', 'tapline-overlay', 'ovs-vxlan', { atMost: 1.5 }),
  ...names('dnsmasq', { atLeast: 1 }),
  ...names('unbound'),
  lostNames('dns'),
  lostNames('dns-forward'),
  quotient('docker-tcp', 'tapline-docker', 'docker-bridge', { atLeast: 0.9 }),
  quotient('docker-out', 'tapline-docker-out', 'docker-out', {}),
  ...(['docker-in', 'docker-local'] as const).flatMap((question) => [
    quotient(question, 'tapline-docker-out', 'docker-out', {}),
    quotient(question, 'tapline-docker-out', 'docker-out-plain', {}),
  ]),
  quotient('docker-run', 'tapline-docker', 'docker-bridge', { atMost: 1 }),
  call('addMs', 'A container attached by CNI, ADD'),
  call('delMs', 'A container let go by CNI, DEL'),
  figure('fleet', 'idleCpuPct', IDLE_TEXT, { atMost: 1 }),
  figure('fleet', 'rssMb', IDLE_TEXT),
  figure('fleet', 'upS', `${LARGE_TEXT}, up`, { atMost: 10 }),
  figure('fleet', 'downS', `${LARGE_TEXT}, down`, { atMost: 5 }),
  figure('fleet', 'leftovers', `${LARGE_TEXT}, namespaces, links and files`, { atMost: 0 }),
]
