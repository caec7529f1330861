/** Who begins which conversation, and which goes on next. */
import type { Random } from '../../../stack/random.ts'
import { EXTERNAL, GATEWAYS, INSIDE, OUTSIDE, PUBLISHED, type StationName } from './bed.ts'
import { Conversation, type Event } from './conversation.ts'
import type { Protocol, Tuple } from './packet.ts'

const REMOTES = {
  4: ['198.51.100.7', '198.51.100.8', OUTSIDE[4]],
  6: ['2001:db8:9::7', '2001:db8:9::8', OUTSIDE[6]],
} as const
const SERVER_PORTS = [53, 80, 443] as const
/** So few that two clients will use the same towards the same server. */
const CLIENT_PORTS = { first: 40_000, count: 12 } as const
/** Nobody's. */
const CLOSED_PORT = 7777
const PROTOCOLS: readonly Protocol[] = ['tcp', 'udp', 'icmp']
/** Those that were begun last go on. */
const OPEN_MAX = 40

/** Ports that translators do not choose. */
export const KNOWN_PORTS: ReadonlySet<number> = new Set<number>([
  ...PUBLISHED.map(({ port }) => port),
  ...PUBLISHED.map(({ target }) => target),
  ...SERVER_PORTS,
  CLOSED_PORT,
])

type Family = 4 | 6
type Kind = 'out' | 'in' | 'hairpin' | 'routed' | 'closed' | 'direct' | 'own'
/** The more often named, the more often begun. */
const KINDS: readonly Kind[] = [
  ...(['out', 'out', 'out', 'in', 'in', 'hairpin', 'hairpin', 'routed'] as const),
  ...(['closed', 'direct', 'own'] as const),
]

interface Ends {
  readonly client: StationName
  readonly from: string
  readonly to: string
  readonly toPort: number
  readonly protocol: Protocol
}

export class Script {
  readonly #random: Random
  readonly #used = new Set<string>()
  #open: Conversation[] = []

  constructor(random: Random) {
    this.#random = random
  }

  next(): Event {
    this.#open = this.#open.filter(({ phase }) => phase !== 'over')
    if (this.#open.length === 0 || this.#random.chance(25)) this.#begin()
    const last = this.#open.at(-1)!
    if (last.phase === 'new') return last.next(this.#random)
    return this.#pick(this.#open).next(this.#random)
  }

  #begin(): void {
    const random = this.#random
    const kind = this.#pick(KINDS)
    const family = random.chance(45) ? 6 : 4
    const { client, ...ends } = this.#ends(kind, family)
    const fromPort = CLIENT_PORTS.first + random.below(CLIENT_PORTS.count)
    const isEcho = ends.protocol === 'icmp'
    const tuple: Tuple = { ...ends, fromPort, toPort: isEcho ? fromPort : ends.toPort }
    const key = JSON.stringify(tuple)
    if (this.#used.has(key)) return this.#begin()
    this.#used.add(key)
    const conversation = new Conversation(random, { kind, client, tuple })
    this.#open = [...this.#open.slice(1 - OPEN_MAX), conversation]
  }

  #ends(kind: Kind, family: Family): Ends {
    const inside = this.#pick(['in1', 'in2'] as const)
    const other = inside === 'in1' ? 'in2' : 'in1'
    const from = INSIDE[inside][family]
    const remote = this.#pick(REMOTES[family])
    const protocol = this.#pick(PROTOCOLS)
    const toPort = this.#pick(SERVER_PORTS)
    const outer = EXTERNAL[family]
    const closed = { to: outer, toPort: CLOSED_PORT, protocol }
    switch (kind) {
      case 'out':
        return { client: inside, from, to: remote, toPort, protocol }
      case 'in':
        return { client: 'out', from: remote, to: outer, ...this.#published() }
      case 'hairpin':
        return { client: inside, from, to: outer, ...this.#published(other) }
      case 'routed':
        return { client: inside, from, to: INSIDE[other][family], toPort, protocol }
      case 'closed':
        return { client: 'out', from: remote, ...closed }
      case 'direct':
        return { client: 'out', from: remote, to: from, toPort, protocol }
      case 'own': {
        const to = this.#pick([outer, GATEWAYS[inside][family]])
        return { client: inside, from, to, toPort: CLOSED_PORT, protocol }
      }
    }
  }

  /** One of the mappings, or of those to a station. */
  #published(station?: StationName): { toPort: number; protocol: Protocol } {
    const candidates = PUBLISHED.filter((one) => station === undefined || one.station === station)
    const { port, protocol } = this.#pick(candidates)
    return { toPort: port, protocol }
  }

  #pick<T>(list: readonly T[]): T {
    return list[this.#random.below(list.length)]!
  }
}
