/**
 * One simulation: a whole node with hosts in memory, driven by a seed through traffic, faults,
 * lost links and changes of configuration, on virtual time. After every act the books must
 * balance; at the end, with all faults gone, exactly those reach each other who should; and after
 * closing, nothing is left.
 */
import type { Config } from '../../services/config/model.ts'
import { parseConfig } from '../../services/config/parse.ts'
import { Controller } from '../../services/controller.ts'
import { VirtualDriver } from '../../services/fabric/driver.ts'
import type { Host } from '../../services/fabric/host.ts'
import { MemoryLinks } from '../../services/fabric/memory_links.ts'
import type { Message } from '../../services/fabric/udp.ts'
import type { LinkRequest } from '../../services/links.ts'
import type { Device } from '../../stack/device.ts'
import { StackError } from '../../stack/errors.ts'
import type { CableFaults } from '../../stack/eth/lane.ts'
import type { Cable } from '../../stack/eth/memory.ts'
import { PcapngWriter } from '../../stack/eth/pcapng.ts'
import { Random } from '../../stack/random.ts'
import { corpus, type Frame, type Parties } from '../fuzz/corpus.ts'
import { mutate } from '../fuzz/mutate.ts'
import { Ledger } from './ledger.ts'
import {
  address4,
  changeWorld,
  configText,
  newWorld,
  reaches,
  reachesGateway,
  type SandboxPlan,
  type World,
} from './world.ts'

const ACTS_MAX = 24
const PORT = 7
/** Where fuzzed frames go to, so that they are never taken for a host's own (see corpus.ts). */
const SETTLE_MS = 190_000
const PING_MS = 12_000
const QUIET = { info: () => {}, warn: () => {}, error: () => {} }

export interface SimulationOptions {
  readonly seed: number
  /** Remember allocations and poison freed packets: for looking into a failure. */
  readonly checked?: boolean
  /** Receives the blocks of a capture of everything. */
  readonly record?: (bytes: Uint8Array) => void
}

/** What a run came to: equal for equal seeds. */
export interface Outcome {
  readonly messages: number
  readonly pings: number
  readonly digest: number
  readonly acts: readonly string[]
}

export class Simulation {
  readonly #random: Random
  readonly #ledger: Ledger
  readonly #driver = new VirtualDriver()
  readonly #links: MemoryLinks
  readonly #controller: Controller
  readonly #acts: string[] = []
  /** Hosts whose socket is open, and the cables that were ever made. */
  readonly #listening = new Set<Host>()
  readonly #options: SimulationOptions
  /** With flipped bits about, a checksum may once be right by chance. */
  readonly #corrupting: boolean
  #world: World
  #messages = 0
  #pings = 0
  #digest = 0
  #faults: string[] = []

  constructor(options: SimulationOptions) {
    this.#options = options
    const { seed, checked = false } = options
    // Neighboring seeds must not begin alike.
    this.#random = new Random(Math.imul(seed + 1, 0x9e3779b1))
    const random = this.#random
    this.#ledger = new Ledger({ smallCount: 512, largeCount: 24, checked })
    const { pool } = this.#ledger
    const driver = this.#driver
    this.#corrupting = random.chance(30)
    this.#world = newWorld(random)
    this.#links = new MemoryLinks({ pool, driver, random: new Random(random.bits()) })
    this.#controller = new Controller({
      pool,
      clock: driver.clock,
      random: new Random(random.bits()),
      links: this.#watchedLinks(),
      log: QUIET,
      onDevice: (device, added) => (added ? driver.add(device) : driver.remove(device)),
    })
  }

  /** @throws Error with everything that was found wrong, and what had been done. */
  async run(): Promise<Outcome> {
    const { record } = this.#options
    if (record !== undefined) this.#record(record)
    try {
      await this.#apply('up')
      const acts = 4 + this.#random.below(ACTS_MAX)
      for (let i = 0; i < acts && this.#faults.length === 0; i++) {
        await this.#act()
        this.#audit()
      }
      if (this.#random.chance(85)) await this.#calm()
      await this.#close()
    } catch (error) {
      this.#faults.push(error instanceof Error ? (error.stack ?? error.message) : String(error))
    }
    if (this.#faults.length > 0) {
      throw new Error([...this.#faults, 'after:', ...this.#acts].join('\n'))
    }
    const [messages, pings] = [this.#messages, this.#pings]
    return { messages, pings, digest: this.#digest, acts: this.#acts }
  }

  /** The links, with every cable in the ledger. */
  #watchedLinks(): MemoryLinks {
    const links = this.#links
    const attach = links.attach.bind(links)
    links.attach = (request: LinkRequest): Device => {
      const device = attach(request)
      this.#ledger.add(links.cable(request.deviceName))
      return device
    }
    return links
  }

  #record(write: (bytes: Uint8Array) => void): void {
    const writer = new PcapngWriter({ write })
    const interfaces = new Map<string, number>()
    this.#controller.attachCapture('all', (device, direction, mem, at, bytes) => {
      const id = interfaces.get(device) ?? writer.addInterface(device)
      interfaces.set(device, id)
      writer.packet(id, mem, at, bytes, this.#driver.clock.nowMs * 1000, direction)
    })
  }

  async #act(): Promise<void> {
    const random = this.#random
    const act = random.below(100)
    if (act < 30) this.#datagrams()
    else if (act < 42) this.#ping()
    else if (act < 52) this.#throwFrames()
    else if (act < 66) this.#injectFaults()
    else if (act < 72) this.#cut()
    else if (act < 78) this.#trace()
    else if (act < 90) await this.#change()
    else this.#driver.pass(random.below(40_000))
    this.#driver.pass(random.below(act % 7 === 0 ? 3000 : 20))
  }

  #audit(): void {
    const faults = this.#ledger.audit()
    if (faults.length > 0) this.#faults.push(`after act ${this.#acts.length}:`, ...faults)
    if (this.#controller.fdb().length > 8192 * 3) this.#faults.push('the FDB is out of bounds')
    if (this.#controller.neigh().length > 8192) this.#faults.push('too many neighbors')
  }

  #hosts(): Host[] {
    const found = this.#world.sandboxes.map(({ name }) => this.#links.host(name))
    return found.filter((host) => host !== undefined)
  }

  #one<T>(list: readonly T[]): T | undefined {
    return list[this.#random.below(Math.max(1, list.length))]
  }

  /** An address of somebody, the gateway's, or nobody's. */
  #target(): string {
    const random = this.#random
    const network = this.#one(this.#world.networks)
    if (network === undefined || random.chance(5)) return '10.77.0.1'
    const last = random.chance(10) ? 1 : 10 + random.below(8)
    if (!network.six || random.chance(60)) return `10.${network.n}.0.${last}`
    const six = this.#controller
      .inspect()
      .sandboxes.flatMap(({ endpoints }) => endpoints.flatMap(({ addresses }) => addresses))
      .filter((address) => address.includes(':'))
    const address = this.#one(six)
    return address === undefined || last === 1
      ? `fd00:${network.n}::1`
      : address.slice(0, address.indexOf('/'))
  }

  #datagrams(): void {
    const random = this.#random
    const count = 1 + random.below(20)
    this.#acts.push(`${count} datagrams`)
    for (let i = 0; i < count; i++) {
      const host = this.#one(this.#hosts())
      if (host === undefined) return
      const bytes = [8, 100, 1400, 1472, 4000, random.below(9000), 60_000][random.below(7)]!
      const data = pattern(bytes, random.chance(30))
      const options = random.chance(20)
        ? { segmentBytes: 200 + random.below(1200) }
        : { dontFragment: random.chance(20), ttl: random.chance(10) ? 1 : 64 }
      const socket = host.udp()
      try {
        socket.send(data, this.#target(), PORT, 'segmentBytes' in options ? {} : options)
        if ('segmentBytes' in options) socket.send(data, this.#target(), 9, options)
      } catch (error) {
        // No route: this host has no way there. No memory: the pool is small on purpose.
        const { code } = error as StackError
        if (code !== 'not-found' && code !== 'exhausted') throw error
      }
      socket.close()
    }
  }

  #ping(): void {
    const host = this.#one(this.#hosts())
    const to = this.#target()
    this.#acts.push(`ping ${host?.name} to ${to}`)
    const options = { bytes: this.#random.below(3000), timeoutMs: 3000 }
    void host?.ping(to, options).then(
      () => this.#pings++,
      () => {},
    )
  }

  /** Frames of every kind and damaged ones, from where a sandbox is. */
  #throwFrames(): void {
    const random = this.#random
    const cable = this.#cable()
    const parties = this.#parties()
    if (cable === undefined || parties === undefined) return
    const all = corpusOf(parties)
    const count = 1 + random.below(30)
    this.#acts.push(`${count} frames into ${cable.name}`)
    for (let i = 0; i < count; i++) {
      const frame = all[random.below(all.length)]!
      const other = all[random.below(all.length)]!
      this.#inject(cable, random.chance(40) ? frame : mutate(random, frame, other))
    }
  }

  #inject(cable: Cable, { bytes, facts }: Frame): void {
    const { pool } = this.#ledger
    const packet = pool.alloc(bytes.length)
    if (packet === undefined) return
    pool.mem.set(bytes, packet.head)
    packet.len = bytes.length
    packet.gsoType = facts.gsoType
    packet.gsoSize = facts.gsoSize
    packet.csumStart = facts.csumStart === 0 ? 0 : packet.head + facts.csumStart
    packet.csumOffset = facts.csumOffset
    cable.b.transmit(packet)
  }

  #cables(): Cable[] {
    const { sandboxes } = this.#controller.ls()
    return sandboxes
      .flatMap(({ endpoints }) => endpoints)
      .filter(({ state, device }) => state === 'up' && device !== null)
      .map(({ device }) => this.#links.cable(device!))
  }

  #cable(): Cable | undefined {
    return this.#one(this.#cables())
  }

  /** Somebody who knows somebody, for frames. */
  #parties(): Parties | undefined {
    const { networks, sandboxes } = this.#controller.inspect()
    const network = this.#one(networks)
    const far = this.#one(networks)
    if (network === undefined || far === undefined || network.gatewayMac === null) return undefined
    const members = sandboxes.flatMap(({ endpoints }) =>
      endpoints.filter((endpoint) => endpoint.network === network.name && endpoint.mac !== null),
    )
    const [a, b] = [this.#one(members), this.#one(members)]
    if (a === undefined || b === undefined) return undefined
    const pick = (list: readonly string[], mark: string, otherwise: string): string => {
      const found = list.find((address) => address.includes(mark))
      return found === undefined ? otherwise : found.replace(/\/.*/, '')
    }
    return {
      mac: a.mac!,
      ip4: pick(a.addresses, '.', '10.1.0.250'),
      ip6: pick(a.addresses, ':', 'fd00:1::250'),
      peerMac: b.mac!,
      peerIp4: pick(b.addresses, '.', '10.1.0.251'),
      peerIp6: pick(b.addresses, ':', 'fd00:1::251'),
      gatewayMac: network.gatewayMac,
      gatewayIp4: pick(network.gateways, '.', '10.1.0.1'),
      gatewayIp6: pick(network.gateways, ':', 'fd00:1::1'),
      farIp4: pick(far.gateways, '.', '10.2.0.1').replace(/1$/, '11'),
      farIp6: pick(far.gateways, ':', 'fd00:2::1').replace(/1$/, '11'),
    }
  }

  #injectFaults(): void {
    const random = this.#random
    const cable = this.#cable()
    if (cable === undefined) return
    const some = (pct: number, value: number): number => (random.chance(pct) ? value : 0)
    const faults: CableFaults = {
      delayMs: some(50, random.below(50)),
      jitterMs: some(30, random.below(20)),
      lossPct: some(50, random.below(60)),
      duplicatePct: some(30, random.below(50)),
      reorderPct: some(30, random.below(50)),
      corruptPct: this.#corrupting ? some(50, random.below(20)) : 0,
      bandwidthBitsPerS: some(20, 100_000 + random.below(10_000_000)),
      queueFrames: 1 + random.below(50),
      partitioned: random.chance(10),
    }
    this.#acts.push(`faults of ${cable.name}: ${JSON.stringify(faults)}`)
    if (random.chance(30)) cable.a.setFaults(faults)
    else cable.setFaults(faults)
  }

  /** A cable is pulled out; sometimes it is plugged in again, by an `apply` that changes nothing. */
  #cut(): void {
    const cable = this.#cable()
    if (cable === undefined) return
    this.#acts.push(`cut ${cable.name}`)
    this.#links.cut(cable.name)
  }

  /** A trace goes through the real elements and must change nothing at all. */
  #trace(): void {
    const random = this.#random
    const from = this.#one(this.#world.sandboxes)?.name
    if (from === undefined) return
    const request = {
      from,
      to: this.#target(),
      proto: (['icmp', 'udp', 'tcp'] as const)[random.below(3)]!,
      size: random.below(3000),
      df: random.chance(50),
      ttl: random.chance(20) ? 1 : 64,
      arp: random.chance(10),
    }
    this.#acts.push(`trace ${JSON.stringify(request)}`)
    this.#driver.pass(0)
    const before = this.#snapshot()
    try {
      const { ends } = this.#controller.trace(request)
      if (ends.length === 0) this.#faults.push('a trace without an end')
    } catch (error) {
      if (!(error instanceof StackError)) throw error
    }
    this.#driver.settle()
    if (this.#snapshot() !== before) this.#faults.push('a trace changed something')
  }

  /** All that a trace could have changed. */
  #snapshot(): string {
    const { controller: it, timers } = {
      controller: this.#controller,
      timers: this.#driver.pending,
    }
    const stats = { ...it.stats(), uptimeMs: 0 }
    const live = this.#ledger.live
    return JSON.stringify([live, timers, it.fdb(), it.neigh(), it.drops(), it.routes(), stats])
  }

  /** Another configuration, sometimes given up half-way, while traffic goes on. */
  async #change(): Promise<void> {
    const random = this.#random
    const before = this.#world
    if (random.chance(75)) this.#world = changeWorld(random, this.#world)
    if (random.chance(15)) {
      const abort = new AbortController()
      const applying = this.#applyDuring('apply, aborted', abort.signal)
      for (let turns = random.below(4); turns > 0; turns--) await turn()
      abort.abort(new Error('given up'))
      if (!(await applying)) this.#world = before
    }
    await this.#apply('apply')
  }

  async #apply(what: string): Promise<void> {
    if (!(await this.#applyDuring(what))) throw new Error('a sound configuration was refused')
    for (const host of this.#hosts()) {
      if (this.#listening.has(host)) continue
      this.#listening.add(host)
      host.udp(PORT).onMessage((message) => this.#heard(message))
    }
  }

  /** Apply the world, with traffic between its steps. False if it was aborted. */
  async #applyDuring(what: string, signal?: AbortSignal): Promise<boolean> {
    this.#acts.push(`${what}: ${configText(this.#world)}`)
    let done = false
    const applying = this.#controller
      .apply(this.#config(), signal)
      .then(
        () => true,
        (error: unknown) => {
          if (signal?.aborted === true) return false
          throw error
        },
      )
      .finally(() => {
        done = true
      })
    while (!done) {
      this.#driver.pass(1)
      await turn()
    }
    return applying
  }

  #config(): Config {
    const { config, faults } = parseConfig(configText(this.#world), 'sim')
    if (config !== undefined) return config
    throw new Error(faults.map(({ message }) => message).join('\n'))
  }

  /** A datagram arrived: it must be whole, and from where it may be from. */
  #heard(message: Message): void {
    const { data } = message
    this.#messages++
    this.#digest = (Math.imul(this.#digest, 31) + data.length + message.ttl) | 0
    const isWhole = Buffer.compare(data, pattern(data.length, data[0] === 1)) === 0
    if (!isWhole && !this.#corrupting) {
      this.#faults.push(`a damaged datagram of ${data.length} octets from ${message.address}`)
    }
    if (data[0] !== 1) return
    try {
      message.reply(pattern(data.length, false))
    } catch (error) {
      if (!(error instanceof StackError)) throw error
    }
  }

  /** No faults any more: after a while, exactly those reach each other who should. */
  async #calm(): Promise<void> {
    for (const cable of this.#cables()) cable.setFaults({})
    await this.#apply('calm')
    this.#driver.pass(SETTLE_MS)
    let wrong = await this.#wrongPaths(this.#paths())
    // What was learned from damaged frames is found wrong when it is used, and then forgotten.
    for (let tries = 0; tries < 3 && wrong.length > 0; tries++)
      wrong = await this.#wrongPaths(wrong)
    for (const { from, to, expected } of wrong) {
      this.#faults.push(`${from.name} ${expected ? 'does not reach' : 'reaches'} ${to}`)
    }
    this.#audit()
  }

  #paths(): Path[] {
    const world = this.#world
    const { sandboxes, networks } = this.#controller.inspect()
    const paths: Path[] = []
    for (const a of world.sandboxes) {
      for (const network of networks) {
        const n = Number(network.name.slice(3))
        for (const to of network.gateways) {
          paths.push({ from: a, to, expected: reachesGateway(world, a, n, to.includes(':')) })
        }
      }
      for (const b of world.sandboxes.filter(({ name }) => name !== a.name)) {
        for (const { network, addresses } of sandboxes.find((s) => s.name === b.name)!.endpoints) {
          const n = Number(network.slice(3))
          for (const address of addresses) {
            const to = address.replace(/\/.*/, '')
            if (!to.includes(':') && to !== address4(b, n)) this.#faults.push(`${b.name} has ${to}`)
            paths.push({ from: a, to, expected: reaches(world, a, b, n, to.includes(':')) })
          }
        }
      }
    }
    return paths
  }

  async #wrongPaths(paths: readonly Path[]): Promise<Path[]> {
    const results = paths.map(({ from, to }) => {
      const host = this.#links.host(from.name)!
      return host.ping(to, { bytes: 10, timeoutMs: PING_MS - 1000 }).then(
        () => true,
        () => false,
      )
    })
    this.#driver.pass(PING_MS)
    const reached = await Promise.all(results)
    return paths.filter(({ expected }, i) => reached[i] !== expected)
  }

  /** In the middle of whatever goes on: everything must come back. */
  async #close(): Promise<void> {
    this.#acts.push('close')
    await this.#controller.close()
    this.#faults.push(...this.#ledger.audit())
    this.#links.close()
    this.#driver.close()
    const { pool } = this.#ledger
    for (const leak of pool.leaks()) this.#faults.push(`leaked ${leak}`)
    if (this.#driver.pending > 0) this.#faults.push(`${this.#driver.pending} timers are left`)
    this.#faults.push(...this.#ledger.audit())
  }
}

interface Path {
  readonly from: SandboxPlan
  readonly to: string
  readonly expected: boolean
}

/** Building a corpus takes longer than a simulation, and the same parties come again. */
const corpora = new Map<string, Frame[]>()
function corpusOf(parties: Parties): Frame[] {
  const key = Object.values(parties).join()
  const known = corpora.get(key)
  if (known !== undefined) return known
  const made = corpus(parties)
  if (corpora.size < 200) corpora.set(key, made)
  return made
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

/** Octets that say what they should be; the first: whether an answer is wanted. */
function pattern(bytes: number, answer: boolean): Uint8Array {
  const data = Uint8Array.from({ length: bytes }, (_, i) => (i * 13 + bytes) & 0xff)
  if (bytes > 0) data[0] = answer ? 1 : 0
  return data
}
