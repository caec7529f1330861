/** A sandbox of a fabric, as a test sees it: an end host that pings, sends and receives. */
import { StackError } from '../../stack/errors.ts'
import type { EndpointOptions } from './desired.ts'
import { type ExecOptions, type ExecResult, execIn, pingIn } from './exec.ts'
import type { Host } from './host.ts'
import { PingError, type PingOptions, type PingReply } from './ping.ts'
import type { UdpSocket } from './udp.ts'

/** What a sandbox asks of its fabric. */
export interface SandboxHome {
  /** The stack behind the sandbox; undefined on TAPs. @throws StackError if it is gone. */
  host(netns: string): Host | undefined
  /** Addresses with prefix length, by network. */
  addressesOf(sandbox: string): ReadonlyMap<string, readonly string[]>
  join(sandbox: string, network: string, options: EndpointOptions): Promise<void>
  leave(sandbox: string, network: string): Promise<void>
  removeSandbox(sandbox: string): Promise<void>
}

const HOPS_MAX = 30

export class Sandbox {
  readonly name: string
  /** Name of its stack; on TAPs a namespace under /var/run/netns. */
  readonly netns: string
  readonly #home: SandboxHome

  constructor(name: string, netns: string, home: SandboxHome) {
    this.name = name
    this.netns = netns
    this.#home = home
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
   * One echo request, and its answer.
   * @throws PingError (in memory) or StackError that says why there is none.
   */
  ping(to: string | Sandbox, options: PingOptions = {}): Promise<PingReply> {
    const host = this.#home.host(this.netns)
    const address = typeof to === 'string' ? to : to.ipv4()
    return host === undefined ? pingIn(this.netns, address, options) : host.ping(address, options)
  }

  /**
   * Who is on the way, hop by hop, the destination last; undefined for a hop that keeps silent.
   * In memory only.
   */
  async traceroute(to: string, options: PingOptions = {}): Promise<(string | undefined)[]> {
    const hops: (string | undefined)[] = []
    for (let ttl = 1; ttl <= HOPS_MAX; ttl++) {
      try {
        hops.push((await this.#memory('traceroute').ping(to, { ...options, ttl })).from)
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
    return this.#memory('udp').udp(port)
  }

  /** Run a command inside and wait for its end. On TAPs only. */
  exec(argv: readonly string[], options: ExecOptions = {}): Promise<ExecResult> {
    if (this.#home.host(this.netns) === undefined) return execIn(this.netns, argv, options)
    throw new StackError('unsupported', 'exec needs a kernel: createFabric({ devices: "tap" })')
  }

  /** Join one more network. */
  join(network: string, options: EndpointOptions = {}): Promise<void> {
    return this.#home.join(this.name, network, options)
  }

  leave(network: string): Promise<void> {
    return this.#home.leave(this.name, network)
  }

  remove(): Promise<void> {
    return this.#home.removeSandbox(this.name)
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
