/** A cluster in memory, on virtual time, by a seed. */
import { Joiner } from '../../../services/gossip/joiner.ts'
import { Keyring } from '../../../services/gossip/keyring.ts'
import {
  type Faults,
  MemoryNetwork,
  type MemoryTransport,
} from '../../../services/gossip/memory_transport.ts'
import { Serf, type SerfOptions } from '../../../services/gossip/serf.ts'
import { QUIET } from '../../../services/log.ts'
import { type Address, ipv4 } from '../../../stack/address.ts'
import { VirtualClock } from '../../../stack/clock.ts'
import { Random } from '../../../stack/random.ts'

export const PORT = 7946

export function hostAddress(n: number): Address {
  return ipv4(0x0a00_0000 + n)
}

/** What a member was told, in order, with times. */
export interface Told {
  readonly atMs: number
  readonly event: string
  readonly member: string
}

export interface Host {
  readonly serf: Serf
  readonly transport: MemoryTransport
  readonly joiner: Joiner
  readonly told: Told[]
  readonly messages: string[]
  readonly events: string[]
  alive: boolean
}

export interface HostOptions extends Partial<Pick<SerfOptions, 'tags' | 'label'>> {
  readonly keys?: readonly Uint8Array[]
  /** Hosts to join by. */
  readonly join?: readonly number[]
  /** Last octets of its address; default: its number. */
  readonly at?: number
}

export class GossipLab {
  readonly clock: VirtualClock = new VirtualClock()
  readonly random: Random
  readonly network: MemoryNetwork
  readonly hosts: Host[] = []

  constructor(seed: number, faults: Partial<Faults> = {}) {
    this.random = new Random(seed)
    const { clock, random } = this
    this.network = new MemoryNetwork({ clock, random, faults })
  }

  /** A new host; it joins by the first one unless told otherwise. */
  add(name: string, { keys, join = [1], at, ...rest }: HostOptions = {}): Host {
    const { clock, random } = this
    const transport = this.network.open(hostAddress(at ?? this.hosts.length + 1), PORT)
    const keyring = keys && new Keyring(keys)
    const serf = new Serf({
      clock,
      random,
      log: QUIET,
      transport,
      name,
      ...(keyring && { keyring }),
      ...rest,
    })
    const list = join.map((n) => ({ address: hostAddress(n), port: PORT }))
    const joiner = new Joiner({ clock, random, log: QUIET, serf, list: async () => list })
    const host: Host = { serf, transport, joiner, told: [], messages: [], events: [], alive: true }
    serf.subscribe({
      onMember: (event, { name: member }) => host.told.push({ atMs: clock.nowMs, event, member }),
      onMessage: (bytes) => host.messages.push(Buffer.from(bytes).toString()),
    })
    serf.onUserEvent((event) => host.events.push(event.name))
    serf.start()
    void joiner.start()
    this.hosts.push(host)
    return host
  }

  /** `count` hosts n1, n2, ... that know each other. */
  static async of(count: number, seed: number, faults?: Partial<Faults>): Promise<GossipLab> {
    const lab = new GossipLab(seed, faults)
    for (let i = 1; i <= count; i++) lab.add(`n${i}`)
    await lab.until(() => lab.agree(), 60_000)
    return lab
  }

  get living(): Host[] {
    return this.hosts.filter(({ alive }) => alive)
  }

  /** All living hosts see exactly the living ones alive. */
  agree(): boolean {
    const wanted = this.living.map(({ serf }) => serf.self.name).sort()
    return this.living.every(({ serf }) => {
      const seen = serf.members().flatMap(({ state, name }) => (state === 'alive' ? [name] : []))
      return seen.sort().join() === wanted.join()
    })
  }

  /** Let time pass. Promises are kept between any two instants. */
  async run(ms: number): Promise<void> {
    await this.until(() => false, ms)
  }

  /** Let time pass until it is so: how long that took; Infinity if it is not. */
  async until(isSo: () => boolean, limitMs: number): Promise<number> {
    const startMs = this.clock.nowMs
    const endMs = startMs + limitMs
    await settle()
    while (!isSo()) {
      if (!this.clock.step(endMs)) {
        this.clock.jump(endMs)
        return Number.POSITIVE_INFINITY
      }
      await settle()
    }
    return this.clock.nowMs - startMs
  }

  /** Dead without a word. */
  kill(host: Host): void {
    host.alive = false
    host.joiner.close()
    host.serf.close()
    void host.transport.close()
  }

  async leave(host: Host): Promise<void> {
    let left = false
    host.alive = false
    host.joiner.close()
    void host.serf.leave().then(() => {
      left = true
    })
    await this.until(() => left, 10_000)
    this.kill(host)
  }

  /** Times at which living hosts were told this of the member, since `sinceMs`. */
  timesTold(event: string, member: string, sinceMs = 0): number[] {
    return this.living.flatMap(({ told }) => {
      const one = told.find((t) => t.event === event && t.member === member && t.atMs >= sinceMs)
      return one === undefined ? [] : [one.atMs - sinceMs]
    })
  }

  close(): void {
    for (const host of this.living) this.kill(host)
  }
}

/** Keep the promises that are due. */
async function settle(): Promise<void> {
  for (let i = 0; i < 4; i++) await Promise.resolve()
}
