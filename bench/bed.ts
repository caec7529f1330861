/**
 * One system under test with its two ends, ready to be measured: namespaces, the system itself,
 * and the servers in the far end. Beds of all systems stand at the same time; an idle one costs
 * nothing, and so the rounds can go from one to the next without a pause.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { atExit } from './cleanup.ts'
import { addNetns, inNetns, listens, onCpus, PREFIX, setOffloads, txQueueLength } from './netns.ts'
import type { Options } from './options.ts'
import type { Opened, Peer, PeerName } from './peers/peer.ts'
import { type Background, background, hasTool, run, until } from './shell.ts'

export const IPERF_PORT = 5201
export const SINK_PORT = 9000

/** What every bed needs, with the Debian package that has it. */
const TOOLS: Readonly<Record<string, string>> = {
  ip: 'iproute2',
  ethtool: 'ethtool',
  iperf3: 'iperf3',
  ping: 'iputils-ping',
  taskset: 'util-linux',
}

/** What must be installed before this peer can be measured; empty: nothing is missing. */
export function missingTools(peer: Peer): string[] {
  const tools = Object.entries({ ...TOOLS, ...peer.tools })
  const missing = tools.filter(([tool]) => !hasTool(tool))
  return [...new Set(missing.map(([, debianPackage]) => debianPackage))]
}

export class Bed {
  readonly name: PeerName
  readonly about: string
  readonly engine: string | undefined
  readonly serverAddress: string
  readonly #client: string
  readonly #server: string
  readonly #clientCpus: string
  readonly #opened: Opened
  readonly #servers: Background[] = []
  #offloads = true

  private constructor(
    options: Options,
    { name, peer, opened }: { name: PeerName; peer: Peer; opened: Opened },
  ) {
    this.name = name
    this.serverAddress = peer.serverAddress
    this.#client = `${PREFIX}${name}-c`
    this.#server = `${PREFIX}${name}-s`
    this.#clientCpus = options.clientCpus
    this.#opened = opened
    const queue = peer.taps ? `, txqueuelen ${txQueueLength(this.#client)}` : ''
    this.engine = opened.engine
    this.about = opened.about + queue
  }

  /** Build the system and its ends. @throws Error that says what did not work. */
  static async open(name: PeerName, peer: Peer, options: Options): Promise<Bed> {
    const folder = mkdtempSync(join(tmpdir(), `${PREFIX}${name}-`))
    atExit(() => rmSync(folder, { recursive: true, force: true }))
    const place = {
      client: `${PREFIX}${name}-c`,
      server: `${PREFIX}${name}-s`,
      middle: `${PREFIX}${name}-m`,
      folder,
    }
    for (const netns of [place.client, place.server, place.middle]) addNetns(netns)
    const opened = await peer.open(place, options)
    const bed = new Bed(options, { name, peer, opened })
    await bed.#startServers(options.serverCpus)
    await bed.#tryPath()
    return bed
  }

  async #startServers(cpus: string): Promise<void> {
    const server = (argv: string[], ready?: RegExp): Promise<Background> =>
      background(inNetns(this.#server, onCpus(cpus, argv)), ready && { ready })
    const blast = join(import.meta.dirname, 'blast.js')
    const iperf = await server(['iperf3', '-s', '-p', `${IPERF_PORT}`])
    this.#servers.push(iperf)
    this.#servers.push(await server([process.execPath, blast, 'sink', `${SINK_PORT}`], /bound/))
    await until('the iperf3 server', () => listens(iperf.pid, IPERF_PORT))
  }

  /** One ping, so that a broken bed is told as such and addresses are resolved. */
  async #tryPath(): Promise<void> {
    await run(this.clientCommand(['ping', '-c', '1', '-w', '5', this.serverAddress]))
  }

  /** The command that runs `argv` at the client's end, on the client's CPUs. */
  clientCommand(argv: readonly string[]): string[] {
    return inNetns(this.#client, onCpus(this.#clientCpus, argv))
  }

  /** A process in the server's namespace, to read its counters through. */
  get serverPid(): number {
    return this.#servers[0]!.pid
  }

  /** Switch segmentation and checksum offloads at both ends. */
  async setOffloads(on: boolean): Promise<void> {
    if (on === this.#offloads) return
    for (const netns of [this.#client, this.#server]) await setOffloads(netns, on)
    this.#offloads = on
  }

  /** End what runs; the namespaces go with the process's end. */
  async close(): Promise<void> {
    for (const server of this.#servers) await server.stop()
    await this.#opened.close()
  }
}
