/**
 * One system under test with its two ends, ready to be measured: namespaces, the system itself,
 * and the servers in the far end. Beds of all systems stand at the same time; an idle one costs
 * nothing, and so the rounds can go from one to the next without a pause.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { atExit } from './cleanup.ts'
import {
  addNetns,
  counts,
  datagrams,
  INTERFACE,
  type InterfaceCounts,
  inNetns,
  listens,
  onCpus,
  PREFIX,
  setOffloads,
  setSysctl,
  silence,
  txQueueLength,
} from './netns.ts'
import type { Options } from './options.ts'
import {
  CONNECT_PORT,
  IPERF_PORT,
  type Opened,
  type Peer,
  type PeerName,
  RAW_PORT,
  SWITCHED_SERVER,
} from './peers/peer.ts'
import type { Metrics } from './questions.ts'
import { type Background, background, hasTool, run, runSync, until } from './shell.ts'

export const SINK_PORT = 9000

/** Addresses that are all the server's, for many flows to one port of it. */
const FLOW_PREFIX = '198.18.0.0/15'
const FLOW_ADDRESS = '198.18.0.1'

/** For connections that follow each other faster than ports are forgotten. */
const CLIENT_PORTS = '1024 65535'

/** What every bed needs, with the Debian package that has it. */
const TOOLS: Readonly<Record<string, string>> = {
  ip: 'iproute2',
  ethtool: 'ethtool',
  iperf3: 'iperf3',
  ping: 'iputils-ping',
  taskset: 'util-linux',
  sysctl: 'procps',
  nft: 'nftables',
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
  readonly #peer: Peer
  readonly #client: string
  readonly #server: string
  readonly #clientCpus: string
  readonly #serverCpus: string
  readonly #opened: Opened
  readonly #servers: Background[] = []
  #offloads = true

  private constructor(
    options: Options,
    { name, peer, opened }: { name: PeerName; peer: Peer; opened: Opened },
  ) {
    this.name = name
    this.serverAddress = peer.serverAddress
    this.#peer = peer
    this.#client = `${PREFIX}${name}-c`
    this.#server = `${PREFIX}${name}-s`
    this.#clientCpus = options.clientCpus
    this.#serverCpus = options.serverCpus
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
    const makes: readonly string[] = peer.makes ?? []
    for (const end of ['client', 'server', 'middle'] as const) {
      if (makes.includes(end)) continue
      addNetns(place[end])
      setCongestion(place[end], options)
    }
    const opened = await peer.open(place, options)
    for (const netns of [place.client, place.server]) {
      setCongestion(netns, options)
      setSysctl(netns, 'net.ipv4.ip_local_port_range', CLIENT_PORTS)
    }
    const bed = new Bed(options, { name, peer, opened })
    await bed.#startServers()
    await bed.#tryPath()
    return bed
  }

  async #startServers(): Promise<void> {
    const start = async (command: string[], ready?: RegExp): Promise<Background> => {
      const server = await background(command, ready && { ready })
      this.#servers.push(server)
      return server
    }
    const iperf = ['iperf3', '-s', '-p', `${IPERF_PORT}`]
    const servers = [await start(this.serverCommand(iperf))]
    if (this.#peer.inwardAddress !== undefined) {
      servers.push(await start(this.clientCommand(iperf)))
    }
    await start(this.#serverScript('blast.js', 'sink', `${SINK_PORT}`), /bound/)
    await start(this.#serverScript('connect.js', 'serve', `${CONNECT_PORT}`), /listening/)
    const areUp = (): boolean => servers.every(({ pid }) => listens(pid, IPERF_PORT))
    await until('the iperf3 servers', areUp)
  }

  /** One connection, so that a broken bed is told as such and addresses are resolved. */
  async #tryPath(): Promise<void> {
    await run(this.connectCommand({ slots: 1, seconds: 0 }))
  }

  /** The client of connect.ts, to the server. */
  connectCommand({ slots, seconds }: { slots: number; seconds: number }): string[] {
    const script = join(import.meta.dirname, 'connect.js')
    const where = [this.serverAddress, `${CONNECT_PORT}`]
    const argv = [process.execPath, script, 'open', ...where, `${slots}`, `${seconds}`]
    return this.clientCommand(argv)
  }

  /**
   * Start the server that speaks TCP by itself, and keep both kernels from its port. The result
   * undoes that.
   */
  async startRawServer(): Promise<() => Promise<void>> {
    const link = this.#serverInterface
    const undo = [
      silence(this.#server, { link, match: 'dport', port: RAW_PORT }),
      silence(this.#client, { link: INTERFACE, match: 'sport', port: RAW_PORT }),
    ]
    const argv = this.#serverScript('raw/main.js', 'serve', link, `${RAW_PORT}`)
    const server = await background(argv, { ready: /listening/ })
    return async () => {
      await server.stop()
      for (const step of undo) step()
    }
  }

  /** The client that speaks TCP by itself. Precondition: its server is there, and resolved. */
  rawConnectCommand({ slots, seconds }: { slots: number; seconds: number }): string[] {
    const script = join(import.meta.dirname, 'raw', 'main.js')
    const where = [this.serverAddress, `${RAW_PORT}`]
    const argv = [process.execPath, script, 'open', ...where, `${slots}`, `${seconds}`]
    return this.clientCommand(argv)
  }

  #serverScript(name: string, ...args: string[]): string[] {
    return this.serverCommand([process.execPath, join(import.meta.dirname, name), ...args])
  }

  /** The command that runs `argv` at the client's end, on the client's CPUs. */
  clientCommand(argv: readonly string[]): string[] {
    return inNetns(this.#client, onCpus(this.#clientCpus, argv))
  }

  /** The same at the server's end. */
  serverCommand(argv: readonly string[]): string[] {
    return inNetns(this.#server, onCpus(this.#serverCpus, argv))
  }

  /** Where the client's iperf3 is found from the server's end. @throws Error: nowhere. */
  get inwardAddress(): string {
    const { inwardAddress } = this.#peer
    if (inwardAddress === undefined) throw new Error(`${this.name} has no way in`)
    return inwardAddress
  }

  /** Where the client's iperf3 is found from the system's host. @throws Error: nowhere. */
  get loopback(): string {
    const { loopback } = this.#peer
    if (loopback === undefined) throw new Error(`${this.name} has no host of its own`)
    return loopback
  }

  /** The command that runs `argv` on the system's host. @throws Error if it has none. */
  hostCommand(argv: readonly string[]): string[] {
    const { hostCommand } = this.#opened
    if (hostCommand === undefined) throw new Error(`${this.name} has no host of its own`)
    return onCpus(this.#serverCpus, hostCommand(argv))
  }

  /** Measure once what only this system does. @throws Error if there is nothing. */
  trial(): Promise<Metrics> {
    const { trial } = this.#opened
    if (trial === undefined) throw new Error(`${this.name} has no trial`)
    return trial()
  }

  /** Counters of the server's interface. */
  serverCounts(): InterfaceCounts {
    return counts(this.#servers[0]!.pid, this.#serverInterface)
  }

  /** UDP datagrams that reached the server's sockets. */
  serverDatagrams(): number {
    return datagrams(this.#servers[0]!.pid)
  }

  get #serverInterface(): string {
    return this.#peer.serverInterface ?? INTERFACE
  }

  /** Make many addresses the server's. The first of them; the rest follow. Idempotent. */
  openFlows(): string {
    const route = ['route', 'replace']
    runSync(['ip', '-n', this.#server, ...route, 'local', FLOW_PREFIX, 'dev', 'lo'])
    if (this.serverAddress === SWITCHED_SERVER) {
      runSync(['ip', '-n', this.#client, ...route, FLOW_PREFIX, 'via', this.serverAddress])
    }
    return FLOW_ADDRESS
  }

  /** Switch segmentation and checksum offloads at both ends. */
  async setOffloads(on: boolean): Promise<void> {
    if (on === this.#offloads) return
    await setOffloads(this.#client, INTERFACE, on)
    await setOffloads(this.#server, this.#serverInterface, on)
    this.#offloads = on
  }

  /** End what runs; the namespaces go with the process's end. */
  async close(): Promise<void> {
    for (const server of this.#servers) await server.stop()
    await this.#opened.close()
  }
}

/**
 * A namespace's own setting, not a socket's: a socket that leaves BBR for another control goes on
 * being paced.
 */
function setCongestion(netns: string, { congestion }: Options): void {
  if (congestion !== undefined) setSysctl(netns, 'net.ipv4.tcp_congestion_control', congestion)
}
