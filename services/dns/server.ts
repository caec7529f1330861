/**
 * From a query to its answer, whoever brings it: a packet for a gateway, a datagram or a stream at
 * 127.0.0.11, or a person who asks how a name is resolved.
 *
 * ```text
 *   respond: read -> known here? -> the answer, written over the query   (in place, at once)
 *                       | no
 *   forward: may it leave? by which forwarders? -> the answer, later
 * ```
 *
 * A query is answered in the place where it lies: header and question stay, and what follows is
 * written behind them. Who asks over UDP what was asked just before gets the same octets again
 * (repeats.ts).
 */
import { type Address, isLoopback } from '../../stack/address.ts'
import type { Clock } from '../../stack/clock.ts'
import type { DnsConfig, ServerConfig } from '../config/dns_model.ts'
import { AnswerWriter, type Ending } from './answer.ts'
import type { Forwarder, Group, Outcome } from './forwarder.ts'
import { formatServer, type Server } from './host.ts'
import { FORWARD, LocalNames, type Say } from './local.ts'
import { formatName, isWithin, labelCount, type Name } from './name.ts'
import { Query, SILENCE } from './query.ts'
import type { Registry } from './registry.ts'
import { Repeats } from './repeats.ts'
import { nameOf, type Rec } from './reply.ts'
import type { Scope } from './scope.ts'
import * as wire from './wire.ts'
import { Flag, Rcode, Type } from './wire.ts'

/** {@link NameServer.respond}: ask {@link NameServer.forward}. */
export const LATER = -1
/** RFC 8767 §4. */
const STALE_TTL_S = 30
/** Of one sandbox, so that others have their share of what waits. */
const WAITING_MAX = 128

export interface NameServerOptions {
  readonly clock: Clock
  readonly registry: Registry
  /** Undefined: nothing can be asked outside. */
  readonly forwarder: Forwarder | undefined
  /** The host's resolvers, now. */
  readonly hostServers: () => readonly ServerConfig[]
}

/** A query that waits for its answer. */
export interface Pending {
  readonly query: Query
  /** All of it, as it came. */
  readonly message: Uint8Array
  readonly scope: Scope
  /** Largest answer. */
  readonly limitBytes: number
  /** Another who asks the same gets the same. */
  readonly repeats: boolean
}

export class NameServer {
  config!: DnsConfig
  /** What {@link respond} read. */
  readonly query: Query = new Query()
  readonly #writer = new AnswerWriter()
  readonly #local: LocalNames
  readonly #options: NameServerOptions
  readonly #message = new Uint8Array(wire.TCP_BYTES_MAX)
  readonly repeats: Repeats
  #changes = 0

  constructor(options: NameServerOptions, config: DnsConfig) {
    this.#options = options
    const { registry } = options
    const isInside = (address: Address): boolean => registry.isInside(address)
    this.#local = new LocalNames({ writer: this.#writer, isInside })
    const { clock, forwarder } = options
    const generation = (): number => this.#changes + registry.changes + (forwarder?.changes ?? 0)
    this.repeats = new Repeats({ clock, generation })
    this.configure(config)
  }

  configure(config: DnsConfig): void {
    this.#changes++
    this.config = config
    this.#local.ttlS = config.ttlS
  }

  /**
   * Answer the query at `at`, over it; octets of the answer, {@link LATER}, or 0: keep silent.
   * Precondition: there is room for `maxBytes`.
   */
  respond(
    mem: Uint8Array,
    at: number,
    bytes: number,
    { scope, maxBytes, isStream, say }: Manner,
  ): number {
    const { query, repeats } = this
    const mayRepeat = !isStream && say === undefined
    if (mayRepeat) {
      const known = repeats.answer(mem, at, bytes, scope.serial)
      if (known > 0) return this.#again(known, scope)
    }
    const verdict = query.read(mem, at, bytes)
    if (verdict === SILENCE) return 0
    scope.asked++
    this.#writer.begin(mem, at, query, limitOf(query, maxBytes, isStream))
    if (verdict !== Rcode.NoError) return this.#end(verdict, false)
    if (mayRepeat) repeats.note(mem, at, bytes)
    const rcode = this.#local.answer(query, scope, say)
    if (rcode !== FORWARD) {
      const length = this.#end(rcode, true)
      if (mayRepeat && this.#local.isSteady) {
        repeats.keep(mem, at, length, { asker: scope.serial, untilMs: FOREVER, learned: false })
      }
      return length
    }
    const refusal = this.#refusal(query, scope, say)
    return refusal === undefined ? LATER : this.#end(refusal, false)
  }

  /** An answer that was given before: counted as it was then. */
  #again(length: number, scope: Scope): number {
    scope.asked++
    const { forwarder } = this.#options
    if (this.repeats.learned && forwarder !== undefined) forwarder.cache.hits++
    return length
  }

  /** Of the query that {@link respond} was given last. */
  pending(mem: Uint8Array, at: number, { scope, maxBytes, isStream, say }: Manner): Pending {
    const query = this.query.keep()
    const message = mem.slice(at, at + query.bytes)
    const repeats = !isStream && say === undefined
    return { query, message, scope, repeats, limitBytes: limitOf(query, maxBytes, isStream) }
  }

  /** `done` is told once, maybe within the call; the message is valid until it returns. */
  forward(pending: Pending, done: (message: Uint8Array) => void, say?: Say): void {
    const { query, scope } = pending
    const forwarder = this.#options.forwarder!
    const { name, type, dnssecOk, checkingDisabled } = query
    scope.waiting++
    forwarder.ask(
      { name, type, dnssecOk, checkingDisabled },
      this.#group(name, scope, say),
      (outcome) => {
        scope.waiting--
        done(this.#compose(pending, outcome))
      },
      say,
    )
  }

  /** Why this is not asked outside; undefined: it is. */
  #refusal(query: Query, scope: Scope, say?: Say): number | undefined {
    const { name, type } = query
    if (!query.recursionDesired) {
      say?.('not ours, and recursion was not asked for')
      return Rcode.Refused
    }
    const single = (type === Type.A || type === Type.Aaaa) && labelCount(name) === 1
    if (single && scope.ndots > 0) {
      say?.('a single label is not asked outside, as the sandbox has ndots above 0')
      return Rcode.NoError
    }
    if (!scope.mayForward) {
      const where = scope.networks.length === 0 ? 'it is on no network' : 'all of them are internal'
      say?.(`${where}: nothing is asked outside`)
      return Rcode.ServFail
    }
    if (this.#zone(name)?.servers.length === 0) {
      say?.('a zone that is asked of nobody')
      return Rcode.NxDomain
    }
    if (this.#options.forwarder === undefined) {
      say?.('there is no forwarder to ask')
      return Rcode.ServFail
    }
    if (scope.waiting < WAITING_MAX) return undefined
    say?.(`${WAITING_MAX} questions of the sandbox wait already`)
    return Rcode.ServFail
  }

  #end(rcode: number, authoritative: boolean): number {
    const recursion = this.#options.forwarder !== undefined
    return this.#writer.finish({ rcode, authoritative, recursion } satisfies Ending)
  }

  /** Zone, sandbox, network, file, host: the first that says something. */
  #group(name: Name, scope: Scope, say?: Say): Group {
    const { strategy, servers } = this.config
    const parallel = strategy === 'parallel'
    const zone = this.#zone(name)
    const choose = (why: string, chosen: readonly ServerConfig[], inside = false): Group => {
      const list = inside ? fromInside(chosen, scope.netns) : fromInside(chosen, undefined)
      say?.(`${why}: ${list.map(formatServer).join(', ') || 'none'}`)
      return { servers: list, parallel }
    }
    if (zone !== undefined)
      return choose(`forwarders of zone ${formatName(zone.zone)}`, zone.servers)
    const own = scope.settings.servers
    if (own.length > 0) return choose('forwarders of the sandbox', own, true)
    for (const { network, internal } of scope.networks) {
      const given = internal ? undefined : this.#networkServers(network)
      if (given !== undefined) {
        return choose(`forwarders of network ${network}`, given, true)
      }
    }
    if (servers !== undefined) return choose('forwarders of the file', servers)
    return choose("the host's resolvers", this.#options.hostServers())
  }

  #networkServers(network: string): readonly ServerConfig[] | undefined {
    return this.config.networks.find((each) => each.network === network)?.servers
  }

  /** The longest zone that the name is in. */
  #zone(name: Name): DnsConfig['zones'][number] | undefined {
    let longest: DnsConfig['zones'][number] | undefined
    for (const each of this.config.zones) {
      if (!isWithin(name, each.zone)) continue
      if (longest === undefined || each.zone.length > longest.zone.length) longest = each
    }
    return longest
  }

  #compose(pending: Pending, { entry, ageS, isStale, untilMs }: Outcome): Uint8Array {
    const { query, message, limitBytes, scope, repeats } = pending
    const writer = this.#writer
    const mem = this.#message
    mem.set(message)
    if (repeats) this.repeats.note(mem, 0, message.length)
    writer.begin(mem, 0, query, limitBytes)
    const ttlOf = ({ ttlS }: Rec): number => {
      return isStale ? STALE_TTL_S : Math.max(0, Math.min(ttlS, TTL_MAX_S) - ageS)
    }
    for (const record of entry.answers) this.#add(record, ttlOf(record), query.name)
    if (entry.soa !== undefined) {
      writer.section('authority')
      this.#add(entry.soa, ttlOf(entry.soa), query.name)
    }
    const bytes = writer.finish({ rcode: entry.rcode, authoritative: false, recursion: true })
    if (repeats) {
      this.repeats.keep(mem, 0, bytes, { asker: scope.serial, untilMs, learned: true })
    }
    return mem.subarray(0, bytes)
  }

  #add(record: Rec, ttlS: number, asked: Name): void {
    const { type, data } = record
    const owner = record.owner === asked ? undefined : record.owner
    const isName = type === Type.Cname || type === Type.Ptr || type === Type.Ns
    if (isName) this.#writer.addName(type, nameOf(record), ttlS, owner)
    else this.#writer.addRaw(owner, type, ttlS, data)
  }
}

/** Until names change. */
const FOREVER = Number.POSITIVE_INFINITY
/** What is given out at most: a day, as it is kept. */
const TTL_MAX_S = 86_400

/**
 * As Docker asks a container's own forwarders: from inside the container, whose routes and policies
 * hold for it, and from nowhere else: outside the same address may be a stranger's. Those on
 * loopback are the host's own.
 */
function fromInside(servers: readonly ServerConfig[], netns: string | undefined): Server[] {
  return servers.map((server): Server => {
    return { ...server, netns: isLoopback(server.address) ? undefined : netns }
  })
}

/** How a query is answered. */
export interface Manner {
  readonly scope: Scope
  readonly maxBytes: number
  readonly isStream: boolean
  readonly say?: Say | undefined
}

function limitOf(query: Query, maxBytes: number, isStream: boolean): number {
  return isStream ? maxBytes : Math.min(maxBytes, query.udpBytes)
}

/** A query of this node's own, to explain what would be answered. */
export function ownQuery(name: Name, type: number): Uint8Array {
  const message = new Uint8Array(wire.HEADER_BYTES + name.length + 1 + wire.QUESTION_BYTES)
  message[wire.FLAGS] = Flag.RecursionDesired >>> 8
  message[wire.QDCOUNT + 1] = 1
  for (let i = 0; i < name.length; i++) message[wire.HEADER_BYTES + i] = name.charCodeAt(i)
  const end = wire.HEADER_BYTES + name.length + 1
  message[end] = type >>> 8
  message[end + 1] = type
  message[end + 3] = wire.Class.In
  return message
}
