/**
 * One simulation: a whole node with hosts in memory, driven by a seed through traffic, faults,
 * lost links and changes of configuration, on virtual time. After every act the books must
 * balance; at the end, with all faults gone, exactly those reach each other who should; and after
 * closing, nothing is left.
 */
import type { Config } from '../../services/config/model.ts'
import { parseConfig } from '../../services/config/parse.ts'
import type { Host } from '../../services/fabric/host.ts'
import type { Message } from '../../services/fabric/udp.ts'
import { StackError } from '../../stack/errors.ts'
import { cut, datagrams, injectFaults, PORT, pattern, ping, throwFrames, trace } from './acts.ts'
import { Lab, type LabOptions } from './lab.ts'
import { wrongs } from './reach.ts'
import { changeWorld, configText } from './world.ts'

const ACTS_MAX = 24
const EPHEMERAL_FIRST = 49_152
const SETTLE_MS = 190_000
/** Of three bridges. */
const STATIONS_MAX = 3 * 8192
const NEIGHBORS_MAX = 8192

/** What a run came to: equal for equal seeds. */
export interface Outcome {
  readonly messages: number
  readonly pings: number
  readonly digest: number
  readonly acts: readonly string[]
}

export class Simulation {
  readonly #lab: Lab
  /** Hosts whose socket is open. */
  readonly #listening = new Set<Host>()
  #messages = 0
  #digest = 0

  constructor(options: LabOptions) {
    this.#lab = new Lab(options)
  }

  /** @throws Error with everything that was found wrong, and what had been done. */
  async run(): Promise<Outcome> {
    const { random, faults, acts } = this.#lab
    try {
      await this.#apply('up')
      const count = 4 + random.below(ACTS_MAX)
      for (let i = 0; i < count && faults.length === 0; i++) {
        await this.#act()
        this.#audit()
      }
      if (random.chance(85)) await this.#calm()
      await this.#close()
    } catch (error) {
      faults.push(error instanceof Error ? (error.stack ?? error.message) : String(error))
    }
    if (faults.length > 0) throw new Error([...faults, 'after:', ...acts].join('\n'))
    return { messages: this.#messages, pings: this.#lab.pings, digest: this.#digest, acts }
  }

  async #act(): Promise<void> {
    const { random, driver } = this.#lab
    const act = random.below(100)
    if (act < 30) datagrams(this.#lab)
    else if (act < 42) ping(this.#lab)
    else if (act < 52) throwFrames(this.#lab)
    else if (act < 66) injectFaults(this.#lab)
    else if (act < 72) cut(this.#lab)
    else if (act < 78) trace(this.#lab)
    else if (act < 90) await this.#change()
    else driver.pass(random.below(40_000))
    driver.pass(random.below(act % 7 === 0 ? 3000 : 20))
  }

  #audit(): void {
    const { ledger, faults, acts, controller } = this.#lab
    const wrong = ledger.audit()
    if (wrong.length > 0) faults.push(`after act ${acts.length}:`, ...wrong)
    if (controller.fdb().length > STATIONS_MAX) faults.push('the FDB is out of bounds')
    if (controller.neigh().length > NEIGHBORS_MAX) faults.push('too many neighbors')
  }

  /** Another configuration, sometimes given up half-way, while traffic goes on. */
  async #change(): Promise<void> {
    const random = this.#lab.random
    const before = this.#lab.world
    if (random.chance(75)) this.#lab.world = changeWorld(random, this.#lab.world)
    if (random.chance(15)) {
      const abort = new AbortController()
      const applying = this.#applyDuring('apply, aborted', abort.signal)
      for (let turns = random.below(4); turns > 0; turns--) await turn()
      abort.abort(new Error('given up'))
      if (!(await applying)) this.#lab.world = before
    }
    await this.#apply('apply')
  }

  async #apply(what: string): Promise<void> {
    if (!(await this.#applyDuring(what))) throw new Error('a sound configuration was refused')
    for (const host of this.#lab.hosts()) {
      if (this.#listening.has(host)) continue
      this.#listening.add(host)
      host.udp(PORT).onMessage((message) => this.#heard(message))
    }
  }

  /** Apply the world, with traffic between its steps. False if it was aborted. */
  async #applyDuring(what: string, signal?: AbortSignal): Promise<boolean> {
    this.#lab.acts.push(`${what}: ${configText(this.#lab.world)}`)
    let done = false
    const applying = this.#lab.controller
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
      this.#lab.driver.pass(1)
      await turn()
    }
    return applying
  }

  #config(): Config {
    const { config, faults } = parseConfig(configText(this.#lab.world), 'sim')
    if (config !== undefined) return config
    throw new Error(faults.map(({ message }) => message).join('\n'))
  }

  /** A datagram arrived: it must be whole, and from where it may be from. */
  #heard(message: Message): void {
    const { data } = message
    this.#messages++
    this.#digest = (Math.imul(this.#digest, 31) + data.length + message.ttl) | 0
    const isWhole = Buffer.compare(data, pattern(data.length, data[0] === 1)) === 0
    // Fuzzed frames may be sound datagrams too; their source port is not one of a host's.
    const isOurs = message.port === PORT || message.port >= EPHEMERAL_FIRST
    if (!isWhole && isOurs && !this.#lab.corrupting) {
      this.#lab.faults.push(`a damaged datagram of ${data.length} octets from ${message.address}`)
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
    for (const cable of this.#lab.cables()) cable.setFaults({})
    await this.#apply('calm')
    this.#lab.driver.pass(SETTLE_MS)
    this.#lab.faults.push(...(await wrongs(this.#lab)))
    this.#audit()
  }

  /** In the middle of whatever goes on: everything must come back. */
  async #close(): Promise<void> {
    const { acts, faults, ledger, controller, links, driver } = this.#lab
    acts.push('close')
    await controller.close()
    faults.push(...ledger.audit())
    links.close()
    driver.close()
    for (const leak of ledger.pool.leaks()) faults.push(`leaked ${leak}`)
    if (driver.pending > 0) faults.push(`${driver.pending} timers are left`)
    faults.push(...ledger.audit())
  }
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
