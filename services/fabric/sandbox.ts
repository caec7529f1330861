/** A sandbox of a fabric, as a test sees it: an end host that pings, sends and receives. */
import type { RequestListener } from 'node:http'
import { StackError } from '../../stack/errors.ts'
import { PORT_MAX } from '../ports.ts'
import type { EndpointOptions } from './desired.ts'
import type { Driver } from './driver.ts'
import { type ExecOptions, type ExecResult, Programs, type SandboxProcess } from './exec.ts'
import type { Host } from './host.ts'
import { FabricAgent, type FetchOptions, fetchHttp, type HttpReply, serveHttp } from './http.ts'
import { checkOptions, EXEC, FETCH, PING } from './options.ts'
import { PingError, type PingOptions, type PingReply } from './ping.ts'
import type * as tapTcp from './tap_tcp.ts'
import type { FabricStream } from './tcp.ts'
import type { ListenOptions, TcpListener } from './tcp_ports.ts'
import type { UdpSocket } from './udp.ts'

/** What a sandbox asks of its fabric. */
export interface SandboxHome {
  driver(): Driver
  /** Sockets of namespaces. Precondition: on TAPs. */
  tcp(): typeof tapTcp
  /** The stack behind it; undefined on TAPs. @throws StackError: it, or its fabric, is gone. */
  host(netns: string): Host | undefined
  /** Addresses with prefix length, by network. */
  addressesOf(sandbox: string): ReadonlyMap<string, readonly string[]>
  /** What it would be told of a name, if somebody here is called so. @throws StackError. */
  addressNamed(sandbox: string, name: string): string | undefined
  join(sandbox: string, network: string, options: EndpointOptions): Promise<void>
  leave(sandbox: string, network: string): Promise<void>
  removeSandbox(sandbox: string): Promise<void>
}

const HOPS_MAX = 30

/** A host of a fabric: its life is the fabric's, or ends with {@link Sandbox.remove}. */
export class Sandbox {
  readonly name: string
  /** Name of its stack; on TAPs a namespace under /var/run/netns. */
  readonly netns: string
  readonly #home: SandboxHome
  readonly #programs: Programs
  readonly #listeners: tapTcp.TapListener[] = []

  constructor(name: string, netns: string, home: SandboxHome) {
    this.name = name
    this.netns = netns
    this.#home = home
    this.#programs = new Programs(netns)
  }

  /** Its IPv4 address, in one network or the first that has one. @throws StackError. */
  ipv4(network?: string): string {
    return this.#address(network, '.', 'IPv4')
  }

  /** As {@link ipv4}, for IPv6. */
  ipv6(network?: string): string {
    return this.#address(network, ':', 'IPv6')
  }

  /**
   * One echo request to an address, a name or another sandbox, and its answer.
   * @throws PingError that says why there is none; StackError: it cannot be sent.
   */
  async ping(to: string | Sandbox, options: PingOptions = {}): Promise<PingReply> {
    checkOptions('options of a ping', PING, options)
    const host = this.#home.host(this.netns)
    const address = typeof to === 'string' ? to : to.ipv4()
    if (host === undefined) return await this.#programs.ping(address, options)
    return await host.ping(this.resolve(address), options)
  }

  /**
   * Who is on the way, hop by hop, the destination last; undefined for a hop that keeps silent.
   * In memory only.
   */
  async traceroute(to: string, options: PingOptions = {}): Promise<(string | undefined)[]> {
    checkOptions('options of traceroute', PING, options)
    const hops: (string | undefined)[] = []
    for (let ttl = 1; ttl <= HOPS_MAX; ttl++) {
      try {
        const host = this.#memory('traceroute')
        hops.push((await host.ping(this.resolve(to), { ...options, ttl })).from)
        return hops
      } catch (error) {
        if (!(error instanceof PingError)) throw error
        hops.push(error.from)
        if (error.kind !== 'time-exceeded' && error.kind !== 'timeout') return hops
      }
    }
    return hops
  }

  /** A UDP socket on this port, or on a free one. In memory only. @throws StackError `exists`. */
  udp(port?: number): UdpSocket {
    return this.#memory('udp').udp(port, (name) => this.resolve(name))
  }

  /** Take TCP connections to this port. @throws StackError `exists`. */
  listen(
    port: number,
    accept: (stream: FabricStream) => void,
    options: ListenOptions = {},
  ): TcpListener {
    const host = this.#home.host(this.netns)
    checkPort(port)
    if (host !== undefined) return host.listen(port, accept, options)
    const listener = this.#home.tcp().listenIn(this.netns, port, accept, options)
    this.#listeners.push(listener)
    return listener
  }

  /**
   * A TCP connection to an address, or to a name as {@link resolve} has it. It is not open yet: it
   * emits `connect`, or `error` with the codes of Node's own sockets.
   *
   * @throws StackError `not-found`: no such name, no route.
   */
  connect(to: string, port: number): FabricStream {
    const host = this.#home.host(this.netns)
    const address = this.resolve(to)
    checkPort(port)
    if (host !== undefined) return host.connect(address, port)
    return this.#home.tcp().connectIn(this.netns, address, port)
  }

  /**
   * The address of a name, as the node's name service tells it this sandbox: sandboxes and services
   * of its networks, aliases, wildcards, `NAME.NETWORK`, `localhost`, but none outside. An address
   * is its own.
   *
   * @throws StackError `not-found`; `bad-argument`: that is no name.
   */
  resolve(name: string): string {
    if (/^[\d.]+$|:/.test(name)) return name.replace(/^\[|\]$/g, '')
    const address = this.#home.addressNamed(this.name, name)
    if (address !== undefined) return address
    throw new StackError('not-found', `${this.name} knows no ${name}: no network of it has one`)
  }

  /** Serve a port with a handler of `node:http`. @throws StackError `exists`. */
  serve(port: number, handler: RequestListener): TcpListener {
    return serveHttp((accept) => this.listen(port, accept, { allowHalfOpen: true }), handler)
  }

  /** One HTTP request and its whole answer. @throws TcpError, StackError. */
  async fetch(url: string, options: FetchOptions = {}): Promise<HttpReply> {
    checkOptions(`options of fetch ${url}`, FETCH, options)
    return await fetchHttp(this.#home.driver(), this.agent(), url, options)
  }

  /** For clients of `node:http` that are to be this sandbox's. */
  agent(): FabricAgent {
    return new FabricAgent((name, port) => this.connect(name, port))
  }

  /** Start a program inside, and let it run until the sandbox is removed. On TAPs only. */
  start(argv: readonly string[]): SandboxProcess {
    if (this.#home.host(this.netns) !== undefined) {
      throw new StackError('unsupported', 'start needs a kernel: createFabric({ devices: "tap" })')
    }
    return this.#programs.start(argv)
  }

  /** Run a command inside and wait for its end. On TAPs only. */
  async exec(argv: readonly string[], options: ExecOptions = {}): Promise<ExecResult> {
    checkOptions('options of exec', EXEC, options)
    if (this.#home.host(this.netns) === undefined) return await this.#programs.exec(argv, options)
    throw new StackError('unsupported', 'exec needs a kernel: createFabric({ devices: "tap" })')
  }

  /** Join one more network. @throws StackError `exists`, `bad-argument`, `bad-config`. */
  join(network: string, options: EndpointOptions = {}): Promise<void> {
    return this.#home.join(this.name, network, options)
  }

  /** Take its interface in a network away. @throws StackError `not-found`. */
  leave(network: string): Promise<void> {
    return this.#home.leave(this.name, network)
  }

  /** Take it away, with its interfaces and all that runs inside. */
  async remove(): Promise<void> {
    await this.stopAll()
    await this.#home.removeSandbox(this.name)
  }

  /** End what runs inside and what {@link listen} has started, on TAPs. */
  async stopAll(): Promise<void> {
    for (const listener of this.#listeners.splice(0)) listener.stop()
    await this.#programs.stop()
  }

  #memory(what: string): Host {
    const host = this.#home.host(this.netns)
    if (host !== undefined) return host
    throw new StackError('unsupported', `${what} is for fabrics in memory: use exec on TAPs`)
  }

  #address(network: string | undefined, mark: string, family: string): string {
    const all = this.#home.addressesOf(this.name)
    const lists = network === undefined ? [...all.values()] : [all.get(network) ?? []]
    const address = lists.flat().find((each) => each.includes(mark))
    if (address !== undefined) return address.slice(0, address.indexOf('/'))
    const where = network === undefined ? '' : ` in ${network}`
    throw new StackError('not-found', `${this.name} has no ${family} address${where}`)
  }
}

function checkPort(port: number): void {
  if (Number.isInteger(port) && port >= 1 && port <= PORT_MAX) return
  throw new StackError('bad-argument', `${port} is not a TCP port: they are from 1 to ${PORT_MAX}`)
}
