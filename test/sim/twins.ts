/**
 * Two nodes that differ in one thing, the flow cache, and are given the same: every frame that
 * comes out is compared after each step, and all that users see every few steps.
 *
 * ```text
 *   seed -> choice -> configuration ---> with a cache ----> frames, view --+
 *        -> talks, acts -> steps ------> without ---------> frames, view --+-> the same?
 * ```
 *
 * Making nodes costs more than the traffic of a scenario, so a pair serves several scenarios, one
 * after the other: each begins with its first configuration and none of its connections.
 */

import type { Config } from '../../services/config/model.ts'
import { formatAddress, fromBytes } from '../../stack/address.ts'
import { AGE_MS } from '../../stack/eth/fdb.ts'
import type { Mac } from '../../stack/eth/mac.ts'
import { deleteConnections, listConnections } from '../../stack/ip/conntrack_list.ts'
import type { Pool } from '../../stack/packet.ts'
import { Random } from '../../stack/random.ts'
import { advertise, answerTo, arp, askedFor, type Frame, plain } from './twin_frames.ts'
import {
  type Choice,
  change,
  choose,
  configOf,
  placeOf,
  readAll,
  type Station,
  stationsOf,
} from './twin_plan.ts'
import { isSame, type Sent, Side, textOf, twinPool } from './twin_side.ts'
import { begin, complain, meet, next, type Put, reshape, spoil, type Talk } from './twin_talk.ts'

/** Scenarios that one pair of nodes serves. */
export const SCENARIOS_A_PAIR = 25
const TALKS = 4
/** Frames of one of them in a row. */
const BURST_MAX = 5
/** Steps after which everything is compared. */
const VIEW_EVERY = 20
/** For so long the node asks whom it was not sure of. */
const ANSWERS_S = 10
/** Questions that follow from answers. */
const ROUNDS_MAX = 12
const CACHES = [16, 64, 64, 1024]
const MULTIPLIER = 0x9e37_79b1

/** The nodes were not the same. */
class Difference extends Error {}

export interface Pools {
  readonly on: Pool
  readonly off: Pool
}

export function twinPools(): Pools {
  return { on: twinPool(), off: twinPool() }
}

export class Twins {
  /** Steps of the scenario: of frames, what was sent. */
  readonly #steps: (string | (Put & { readonly how: string; readonly nowMs: number }))[] = []
  /** Frames given to each node. */
  frames = 0
  readonly #on: Side
  readonly #off: Side
  /** All that its configurations are made of. */
  readonly #all: Config
  readonly #base: string
  #random: Random
  #choice: Choice
  #stations: Station[] = []
  #talks: Talk[] = []
  /** Of the frame at hand. */
  #talk: Talk | undefined

  constructor(pair: number, pools: Pools) {
    const random = new Random(Math.imul(pair + 1, MULTIPLIER))
    const seed = random.bits()
    this.#on = new Side(pools.on, seed, CACHES[random.below(CACHES.length)]!)
    this.#off = new Side(pools.off, seed, 0)
    this.#random = random
    this.#choice = choose(random)
    this.#all = readAll(this.#choice)
    this.#base = JSON.stringify(this.#choice)
  }

  /** One scenario. @throws Difference. */
  async run(seed: number): Promise<void> {
    this.#steps.length = 0
    const random = new Random(Math.imul(seed + 1, MULTIPLIER) ^ 0x5bd1_e995)
    this.#random = random
    this.#choice = JSON.parse(this.#base) as Choice
    this.#talks = []
    await this.#apply()
    this.#both('a new scenario', ({ node }) => {
      const { conntrack, policies } = node.context
      deleteConnections(conntrack, {})
      if (policies.count > 0) deleteConnections(policies.table, {})
    })
    this.#pass(1000)
    const count = 10 + random.below(40)
    for (let step = 0; step < count; step++) {
      if (random.chance(92)) this.#converse()
      else await this.#act()
      if (step % VIEW_EVERY === VIEW_EVERY - 1) this.#compareViews()
      this.#pass(random.chance(10) ? random.below(3000) : random.below(20))
    }
    this.#compareViews()
  }

  /** The last steps, for people. */
  story(count: number): string {
    const lines = this.#steps.slice(-count).map((step) => {
      return typeof step === 'string' ? step : `${step.nowMs} ms ${step.how} ${textOf(step)}`
    })
    return lines.join('\n  ')
  }

  /** @throws Difference: something is left. */
  async finish(): Promise<void> {
    const left = [...(await this.#on.finish()), ...(await this.#off.finish())]
    if (left.length > 0) throw new Difference(`left: ${left.join(', ')}`)
  }

  #say(text: string): void {
    this.#steps.push(text)
  }

  async #apply(): Promise<void> {
    const config = configOf(this.#all, this.#choice)
    await this.#on.apply(config)
    await this.#off.apply(config)
    this.#settle()
    this.#stations = stationsOf(this.#on.state, this.#random)
    const there = new Set(this.#stations.map(({ device }) => device))
    this.#talks = this.#talks.filter(({ client }) => there.has(client.device))
  }

  #pass(ms: number): void {
    this.#on.pass(ms)
    this.#off.pass(ms)
    this.#settle()
  }

  #both(what: string, work: (side: Side) => void): void {
    this.#say(what)
    work(this.#on)
    work(this.#off)
    this.#settle()
  }

  #put(device: string, frame: Frame): void {
    this.frames++
    this.#on.inject(device, frame)
    this.#off.inject(device, frame)
  }

  /** Compare what came out; stations answer. */
  #settle(): void {
    for (let round = 0; round < ROUNDS_MAX; round++) {
      const sent = this.#compareSent()
      if (sent.length === 0) return
      for (const { device, bytes } of sent) {
        if (this.#talk !== undefined) meet(this.#talk, device, bytes)
        this.#answer(device, bytes)
      }
    }
    this.#compareSent()
  }

  #answer(device: string, bytes: Buffer): void {
    const asked = askedFor(bytes)
    if (asked === undefined) return
    for (const station of this.#stations) {
      if (station.device !== device || station.silent) continue
      if (!station.addresses.some((own) => asked.equals(own))) continue
      this.#put(device, plain(answerTo(bytes, asked, station.mac)))
      return
    }
  }

  /** Frames of a conversation, sometimes of a new one. */
  #converse(): void {
    const random = this.#random
    if (this.#talks.length < TALKS && random.chance(40)) this.#greet()
    const talk = this.#talks[random.below(Math.max(1, this.#talks.length))]
    if (talk !== undefined) this.#speak(talk)
  }

  #speak(talk: Talk): void {
    const random = this.#random
    this.#talk = talk
    for (let more = 1 + random.below(BURST_MAX); more > 0; more--) {
      const put = random.chance(2) ? complain(random, talk) : next(random, talk, this.#macOf)
      if (put !== undefined) this.#transmit(put)
    }
    this.#talk = undefined
    const alone = talk.far === undefined && random.chance(50)
    if (alone) this.#talks = this.#talks.filter((other) => other !== talk)
  }

  #transmit(put: Put): void {
    const random = this.#random
    let made = put
    let how = ''
    if (random.chance(8)) how = spoil(random, made)
    if (random.chance(6)) made = reshape(random, made)
    this.#steps.push({ ...made, how, nowMs: this.#on.clock.nowMs })
    this.#put(made.device, made)
    this.#settle()
  }

  /** Begin a conversation between any two that could have one. */
  #greet(): void {
    const random = this.#random
    const client = this.#pick()
    if (client === undefined) return
    const own = client.addresses[random.below(client.addresses.length)]
    if (own === undefined) return
    const six = own.length === 16
    const to = this.#target(client, six)
    if (to === undefined) return
    const talk = begin(random, client, to)
    this.#say(`talk ${client.device} ${formatAddress(fromBytes(talk.from))} to ${to.join('.')}`)
    this.#talks.push(talk)
  }

  #target(client: Station, six: boolean): Uint8Array | undefined {
    const place = placeOf(this.#random, client, six, this.#choice.service)
    if (place !== undefined) return place
    return this.#pick()?.addresses.find(({ length }) => length === (six ? 16 : 4))
  }

  #pick(): Station | undefined {
    return this.#stations[this.#random.below(Math.max(1, this.#stations.length))]
  }

  readonly #macOf = (network: string, address: Uint8Array): Mac | undefined => {
    if (network === '') return undefined
    for (const station of this.#stations) {
      if (station.network !== network) continue
      for (const own of station.addresses)
        if (Buffer.compare(own, address) === 0) return station.mac
    }
    return undefined
  }

  /** Something else than traffic. */
  async #act(): Promise<void> {
    const random = this.#random
    switch (random.below(14)) {
      case 0:
      case 1:
        this.#say(change(this.#choice, random))
        return await this.#apply()
      case 2:
        return this.#lose()
      case 3:
        return this.#move()
      case 4:
        return this.#rename()
      case 5:
        return this.#fallSilent()
      case 6:
        return this.#age()
      case 7:
        this.#say('time passes')
        return this.#pass(1000 * random.below(40))
      case 8:
      case 12:
        return this.#forgetConnections()
      case 9:
        return this.#both('neighbors are forgotten', ({ node }) =>
          node.context.router.neighbors.flush(),
        )
      case 10:
        return this.#both('a capture', (side) => side.watch())
      case 11:
        this.#talks.splice(random.below(TALKS), 1)
        return
      default:
        return this.#trace()
    }
  }

  /** The stations of a conversation are not heard for about as long as a bridge remembers them. */
  #age(): void {
    const talk = this.#talks[this.#random.below(Math.max(1, this.#talks.length))]
    if (talk === undefined) return
    this.#speak(talk)
    this.#say('stations age')
    // Neighbors that are asked now must be able to answer.
    for (let s = 0; s < ANSWERS_S; s++) this.#pass(1000)
    this.#pass(AGE_MS - 1000 * (ANSWERS_S + 1) + this.#random.below(5000))
    this.#speak(talk)
  }

  #lose(): void {
    const station = this.#pick()
    if (station === undefined || this.#random.chance(50)) return
    this.#both(`${station.device} is lost`, (side) => side.lose(station.device))
  }

  /** A station is behind another device of its network from now on, and says something. */
  #move(): void {
    const movable = this.#stations.filter(({ free, network }) => free && network !== '')
    const one = movable[this.#random.below(Math.max(1, movable.length))]
    const place = movable.find((other) => {
      return other.network === one?.network && other.device !== one.device
    })
    if (one === undefined || place === undefined) return
    const moved: Station = { ...one, device: place.device }
    this.#stations[this.#stations.indexOf(one)] = moved
    this.#talks = this.#talks.map((talk) => {
      return talk.client === one ? { ...talk, client: moved } : talk
    })
    this.#say(`a station moves from ${one.device} to ${place.device}`)
    this.#introduce(moved)
  }

  /** A station has another MAC, and says so. */
  #rename(): void {
    const station = this.#pick()
    if (station === undefined || !station.free) return
    station.mac = { hi: 0x0206, lo: this.#random.below(1000) }
    this.#say(`a station at ${station.device} has another MAC`)
    if (this.#random.chance(70)) this.#introduce(station)
  }

  #introduce(station: Station): void {
    const { device, mac, gateway } = station
    for (const own of station.addresses) {
      const six = own.length === 16
      const frame = six
        ? advertise({ mac, own, dst: gateway, to: own })
        : arp({ operation: 1, mac, own, to: own })
      this.#put(device, plain(frame))
    }
    this.#settle()
  }

  #fallSilent(): void {
    const station = this.#pick()
    if (station === undefined) return
    station.silent = !station.silent
    this.#say(`${station.device} ${station.silent ? 'falls silent' : 'answers again'}`)
  }

  #forgetConnections(): void {
    const rows = listConnections(this.#on.node.context.conntrack)
    const row = rows[this.#random.below(Math.max(1, rows.length))]
    if (row === undefined) return
    const { src, srcPort: port } = row.original
    if (this.#random.chance(30)) {
      return this.#both('what policies admitted is forgotten', ({ node }) => {
        const { policies } = node.context
        if (policies.count > 0) deleteConnections(policies.table, {})
      })
    }
    this.#both(`connections of ${src} are forgotten`, ({ node }) => {
      deleteConnections(node.context.conntrack, { src, port })
    })
  }

  #trace(): void {
    const station = this.#pick()
    const to = this.#pick()?.addresses[0]
    if (station === undefined || station.network === '' || to === undefined) return
    if (this.#on.state.lost.size > 0) return
    const from = station.device
    const request = { from, to: formatAddress(fromBytes(to)), proto: 'udp' } as const
    this.#both(`trace from ${from}`, (side) => side.trace(request))
  }

  /** What the nodes sent since the last time. @throws Difference. */
  #compareSent(): Sent[] {
    const on = this.#on.sent.splice(0)
    const off = this.#off.sent.splice(0)
    for (let i = 0; i < Math.max(on.length, off.length); i++) {
      const a = on[i]
      const b = off[i]
      if (a === undefined || b === undefined || !isSame(a, b)) {
        throw new Difference(`frame ${i}\n  on:  ${textOf(a)}\n  off: ${textOf(b)}`)
      }
    }
    return on
  }

  #compareViews(): void {
    const on = this.#on.view()
    const off = this.#off.view()
    this.#on.told.length = 0
    this.#off.told.length = 0
    for (let i = 0; i < Math.max(on.length, off.length); i++) {
      if (on[i] === off[i]) continue
      throw new Difference(`view\n  on:  ${on[i]}\n  off: ${off[i]}`)
    }
  }
}
