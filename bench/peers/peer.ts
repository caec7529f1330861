/**
 * A system under test, and the bed it is measured in:
 *
 * ```text
 *   [ client namespace ] eth0 --- system under test --- eth0 [ server namespace ]
 *     iperf3 -c, ping, blast         [ middle ]           iperf3 -s, sink
 * ```
 *
 * Every system gets the same namespaces, the same interface name, the same addresses and the
 * same programs on the same CPUs; only what is between the two interfaces differs. A system that
 * switches puts both into one subnet, one that routes has a gateway between two. One that
 * translates has the server outside, behind its uplink, and a published port inwards; a load
 * balancer has an address of its own, at which the server is found.
 *
 * A container runtime makes the namespaces of its containers itself; which, the system says.
 */
import type { Metrics } from '../questions.ts'

/** The order is that of the tables. */
export const PEER_NAMES = [
  'tapline',
  'tapline-route',
  'kernel-bridge',
  'kernel-route',
  'ovs',
  'ovs-tso',
  'vde',
  'null',
  'tapline-nat',
  'kernel-nat',
  'pasta',
  'slirp4netns',
  'tapline-vip',
  'haproxy',
  'nginx',
  'tapline-overlay',
  'tapline-sealed',
  'kernel-vxlan',
  'ovs-vxlan',
  'tapline-to-kernel',
  'kernel-to-tapline',
  'tapline-dns',
  'dnsmasq',
  'unbound',
  'tapline-docker',
  'docker-bridge',
  'tapline-docker-out',
  'docker-out',
  'docker-out-plain',
  'tapline-cni',
  'cni-bridge',
] as const
export type PeerName = (typeof PEER_NAMES)[number]

/** What a system is told. */
export interface Settings {
  /** CPUs it may run on, if it is a process. */
  readonly systemCpus: string
  /** tapline's way of talking to the kernel; `auto`: what it finds. */
  readonly engine: 'auto' | 'io_uring' | 'poll'
}

/** Where a system is built. All of it is removed for it afterwards. */
export interface Place {
  readonly client: string
  readonly server: string
  /** A namespace of the system's own, so that nothing of the host's is measured with it. */
  readonly middle: string
  /** For files and sockets. */
  readonly folder: string
}

export interface Opened {
  /** Version and settings, for the report. */
  readonly about: string
  /** The I/O engine in use, where it is one of ours. */
  readonly engine?: string
  /** Something of this system's own that is measured, once a call. */
  readonly trial?: () => Promise<Metrics>
  /** The command that runs `argv` on the host of the system, where it has one of its own. */
  readonly hostCommand?: (argv: readonly string[]) => string[]
  /** End what {@link Peer.open} started. */
  readonly close: () => Promise<unknown>
}

export interface Peer {
  /** What people read in tables and charts. */
  readonly title: string
  /** Programs it needs, each with the Debian package that has it. */
  readonly tools: Readonly<Record<string, string>>
  readonly serverAddress: string
  /** Where the client's own port {@link IPERF_PORT} is reached from the server's end. */
  readonly inwardAddress?: string
  /** Where that port is reached from the system's host itself. */
  readonly loopback?: string
  /** Ends whose namespaces the system makes, under the names of the place. */
  readonly makes?: readonly ('client' | 'server')[]
  /** Name of the server's interface, where the system chooses it; left out: eth0. */
  readonly serverInterface?: string
  /** True if it opens TAPs, whose queue length matters. */
  readonly taps: boolean
  /** Bring the system up. @throws Error that says what did not work. */
  open(place: Place, settings: Settings): Promise<Opened>
}

/** Addresses, for all systems alike. */
export const CLIENT = '10.77.1.11'
export const SWITCHED_SERVER = '10.77.1.12'
export const ROUTED_SERVER = '10.77.2.12'
export const CLIENT_GATEWAY = '10.77.1.1'
export const SERVER_GATEWAY = '10.77.2.1'
/** Of the far end of an uplink, and of the system that translates at the near one. */
export const OUTSIDE = '203.0.113.1'
export const OUTER_ADDRESS = '203.0.113.2'
/** Of a load balancer, in the client's subnet. */
export const VIP = '10.77.1.100'

/** Ports that systems publish or balance. */
export const IPERF_PORT = 5201
export const CONNECT_PORT = 9001
/** Of the ends that speak TCP by themselves (raw/main.ts). */
export const RAW_PORT = 9002

/**
 * Frames a TAP of a peer may queue towards its switch: at least a TCP window of single segments,
 * so that no peer is measured by the losses of a short default queue. tapline chooses its own.
 */
export const TX_QUEUE_FRAMES = 4096
