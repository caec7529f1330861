/**
 * Which port a connection gets at an egress address (RFC 4787, RFC 5382 for TCP, RFC 5508 for the
 * identifiers of ICMP echoes).
 *
 * ```text
 *   mappings   internal address, port, protocol, egress, (address outside)
 *                -> external port, connections through it
 *   egresses   external address, protocol               -> one bit a port: has a mapping
 * ```
 *
 * * Endpoint-independent (RFC 4787 REQ-1): an internal address and port keep one external port to
 *   all destinations for as long as a connection of theirs lives; nobody else gets it meanwhile.
 *   Address-dependent: one for each address outside, to all of its ports.
 * * The internal port is kept where it is free. Else the new one is random (RFC 6056 §3.3), on the
 *   same side of 1024 (REQ-3) and of the same parity (REQ-4) where there is one.
 * * When all ports have mappings, or `mode` is endpoint-dependent, connections share ports as long
 *   as they differ in destination: one address then serves as many as the connection table holds.
 *
 * Memory is bounded: the table of mappings is taken at construction, a map of ports (8 KB) when an
 * egress address is first used; beyond the bounds connections share. `choose` changes nothing, so
 * a traced packet may ask.
 */
import type { Random } from '../random.ts'
import { PERMANENT, Table } from '../table.ts'
import { DST, PORTS, PROTOCOL } from './tuple.ts'

/**
 * What of the outside something depends on, by RFC 4787: nothing, the address, or address and port.
 * Of mappings (§4.1) and of filters (§5).
 */
export type Dependence = 'endpoint-independent' | 'address-dependent' | 'endpoint-dependent'

/** How ports are chosen from now on. */
export interface PortPolicy {
  /** Default `endpoint-independent`. */
  readonly mode?: Dependence
  /** First and last of the ports above 1023 to give out. Default 1024 to 65535. */
  readonly portMin?: number
  readonly portMax?: number
}

export interface PortPoolOptions extends PortPolicy {
  readonly random: Random
  /** True if a connection has this tuple: the connection table's word. */
  readonly isTaken: (tuple: Int32Array) => boolean
  /** True if the destination of this tuple is not to be given out, such as a published port. */
  readonly isReserved?: (tuple: Int32Array) => boolean
  /** Default 65536; one takes about 50 octets. */
  readonly mappingsMax?: number
}

/** Ports below belong to system services (RFC 6335 §6). */
const SYSTEM_PORTS = 1024
const PORT_COUNT = 65_536
const MAPPINGS_MAX = 65_536
/** Addresses times protocols; each map takes 8 KB. */
const EGRESSES_MAX = 256
/** Free ports tried that turn out to be taken by connections without a mapping. */
const FREE_TRIES = 8
/** Ports tried for sharing: near exhaustion, a few look-ups, not 64,512. */
const SHARED_TRIES = 512
const EVEN = 0x5555_5555
const ALL = -1
/** Address, port, protocol, egress, address outside. */
const KEY_WORDS = 11
const VALUE_WORDS = 2
const PORT = 0
const USERS = 1
const ICMP = 1
const ICMP6 = 58

/** One external address and protocol, and which of its ports have mappings. */
class Egress {
  /** Address, protocol. */
  readonly words = new Int32Array(5)
  readonly taken = new Int32Array(PORT_COUNT / 32)
  count = 0
}

const Choice = { Shared: 0, Mapped: 1, Fresh: 2 } as const

export class PortPool {
  readonly #options: PortPoolOptions
  #mode: Dependence = 'endpoint-independent'
  #portMin = SYSTEM_PORTS
  #portMax = PORT_COUNT - 1
  readonly #mappings: Table
  /** From egress and external port to the mapping. */
  readonly #owners: Table
  readonly #egresses: Egress[] = []
  /** What the last `choose` found. */
  #choice: number = Choice.Shared
  #port = 0

  constructor(options: PortPoolOptions) {
    const { random, mappingsMax: entriesMax = MAPPINGS_MAX } = options
    const seed = random.bits()
    this.#options = options
    this.#mappings = new Table({ keyWords: KEY_WORDS, valueWords: VALUE_WORDS, entriesMax, seed })
    this.#owners = new Table({ keyWords: 1, valueWords: 1, entriesMax, seed })
    this.configure(options)
  }

  /** What connections have stays. */
  configure({ mode, portMin, portMax }: PortPolicy): void {
    this.#mode = mode ?? 'endpoint-independent'
    this.#portMin = portMin ?? SYSTEM_PORTS
    this.#portMax = portMax ?? PORT_COUNT - 1
  }

  /** Mappings in use. */
  get count(): number {
    return this.#mappings.count
  }

  /**
   * The external port for a new connection, or -1 if none is free for its destination; it is put
   * into `reply`. `original`: the tuple as the client sends; `reply`: what will come back, with the
   * egress address as destination. {@link hold} makes it last.
   */
  choose(original: Int32Array, reply: Int32Array): number {
    const port = original[PORTS]! >>> 16
    this.#choice = Choice.Shared
    const shared = this.#mode === 'endpoint-dependent'
    this.#port = shared ? -1 : this.#chooseOwn(original, reply, port)
    if (this.#port < 0) {
      this.#choice = Choice.Shared
      this.#port = this.chooseShared(original, reply)
    }
    return this.#port
  }

  /** As {@link choose}, but a port that others may have towards other destinations. */
  chooseShared(original: Int32Array, reply: Int32Array): number {
    const port = original[PORTS]! >>> 16
    const first = this.#first(original, port)
    const count = this.#last(original, port) - first + 1
    if (port >= first && port < first + count && this.#isFree(reply, port)) return port
    const start = this.#options.random.below(count)
    for (let i = 0; i < SHARED_TRIES && i < count; i++) {
      const candidate = first + ((start + i) % count)
      if (this.#isFree(reply, candidate)) return candidate
    }
    return -1
  }

  /**
   * The connection that {@link choose} was last asked about lives: its mapping is kept until
   * {@link release}. False if it has none: then nothing is to be released.
   */
  hold(original: Int32Array, reply: Int32Array): boolean {
    if (this.#choice === Choice.Shared) return false
    const mappings = this.#mappings
    const at = this.#egressAt(reply, true)
    if (at < 0) return false
    const mapping = this.#find(original, at, this.#mode)
    if (mapping >= 0) {
      mappings.values[mapping * VALUE_WORDS + USERS]!++
      return true
    }
    const fresh = mappings.insert(PERMANENT)
    if (fresh < 0) return false
    mappings.values[fresh * VALUE_WORDS + PORT] = this.#port
    mappings.values[fresh * VALUE_WORDS + USERS] = 1
    this.#owners.key[0] = (at << 16) | this.#port
    this.#owners.values[this.#owners.insert(PERMANENT)] = fresh
    const egress = this.#egresses[at]!
    egress.taken[this.#port >>> 5]! |= 1 << (this.#port & 31)
    egress.count++
    return true
  }

  /** A connection that was held has ended. */
  release(original: Int32Array, reply: Int32Array): void {
    const mappings = this.#mappings
    const at = this.#egressAt(reply, false)
    const port = reply[PORTS]! & 0xffff
    const mapping = at < 0 ? -1 : this.#findHeld(original, at, port)
    if (mapping < 0) return
    const users = --mappings.values[mapping * VALUE_WORDS + USERS]!
    if (users > 0) return
    mappings.remove(mapping)
    this.#owners.key[0] = (at << 16) | port
    this.#owners.remove(this.#owners.find())
    const egress = this.#egresses[at]!
    egress.taken[port >>> 5]! &= ~(1 << (port & 31))
    egress.count--
  }

  /**
   * Who has the external port that `tuple` is sent to: its address into the first four words of
   * `owner`, and its port is returned; -1: nobody has a mapping of it.
   */
  ownerOf(tuple: Int32Array, owner: Int32Array): number {
    const at = this.#egressAt(tuple, false)
    if (at < 0) return -1
    this.#owners.key[0] = (at << 16) | (tuple[PORTS]! & 0xffff)
    const found = this.#owners.find()
    if (found < 0) return -1
    const from = this.#owners.values[found]! * KEY_WORDS
    for (let i = 0; i < 4; i++) owner[i] = this.#mappings.keys[from + i]!
    return this.#mappings.keys[from + 4]!
  }

  /** A port of its own, by the mapping there is or a new one; -1 if that cannot be. */
  #chooseOwn(original: Int32Array, reply: Int32Array, port: number): number {
    const at = this.#egressAt(reply, false)
    const mapping = at < 0 ? -1 : this.#find(original, at, this.#mode)
    if (mapping >= 0) {
      const mapped = this.#mappings.values[mapping * VALUE_WORDS + PORT]!
      this.#choice = Choice.Mapped
      return this.#isFree(reply, mapped) ? mapped : -1
    }
    this.#choice = Choice.Fresh
    const taken = at < 0 ? undefined : this.#egresses[at]!.taken
    const inRange = port >= this.#first(original, port) && port <= this.#last(original, port)
    if (inRange && isUnmapped(taken, port) && this.#isFree(reply, port)) return port
    const parity = (port & 1) === 0 ? EVEN : ~EVEN
    const same = this.#chooseFree(original, reply, taken, parity)
    return same >= 0 ? same : this.#chooseFree(original, reply, taken, ALL)
  }

  #chooseFree(
    original: Int32Array,
    reply: Int32Array,
    taken: Int32Array | undefined,
    wanted: number,
  ): number {
    const port = original[PORTS]! >>> 16
    const first = this.#first(original, port)
    const last = this.#last(original, port)
    for (let i = 0; i < FREE_TRIES; i++) {
      const start = first + this.#options.random.below(last - first + 1)
      const candidate = nextFree(taken, { first, last, start, wanted })
      if (candidate < 0) return -1
      if (this.#isFree(reply, candidate)) return candidate
    }
    return -1
  }

  #first(original: Int32Array, port: number): number {
    if (isEcho(original)) return 0
    return port < SYSTEM_PORTS ? 1 : this.#portMin
  }

  #last(original: Int32Array, port: number): number {
    if (isEcho(original)) return PORT_COUNT - 1
    return port < SYSTEM_PORTS ? SYSTEM_PORTS - 1 : this.#portMax
  }

  /** Put the port into the tuple, and ask. */
  #isFree(reply: Int32Array, port: number): boolean {
    reply[PORTS] = (reply[PORTS]! & ~0xffff) | port
    if (!isEcho(reply) && (port === 0 || this.#options.isReserved?.(reply))) return false
    return !this.#options.isTaken(reply)
  }

  /** The mapping with this external port, whatever the mode was when it was made. */
  #findHeld(original: Int32Array, egress: number, port: number): number {
    const { values } = this.#mappings
    const wide = this.#find(original, egress, 'endpoint-independent')
    if (wide >= 0 && values[wide * VALUE_WORDS + PORT] === port) return wide
    const narrow = this.#find(original, egress, 'address-dependent')
    return narrow >= 0 && values[narrow * VALUE_WORDS + PORT] === port ? narrow : -1
  }

  #find(original: Int32Array, egress: number, mode: Dependence): number {
    const { key } = this.#mappings
    const narrow = mode === 'address-dependent'
    for (let i = 0; i < 4; i++) {
      key[i] = original[i]!
      key[7 + i] = narrow ? original[DST + i]! : 0
    }
    key[4] = original[PORTS]! >>> 16
    key[5] = original[PROTOCOL]!
    key[6] = egress
    return this.#mappings.find()
  }

  /** Index of the egress that `reply` comes back to; -1 if there is none. */
  #egressAt(reply: Int32Array, make: boolean): number {
    const egresses = this.#egresses
    let idle = -1
    for (let e = 0; e < egresses.length; e++) {
      const { words, count } = egresses[e]!
      let same = words[4] === reply[PROTOCOL]
      for (let i = 0; i < 4; i++) same &&= words[i] === reply[DST + i]
      if (same) return e
      if (count === 0) idle = e
    }
    if (!make) return -1
    if (idle < 0) {
      if (egresses.length === EGRESSES_MAX) return -1
      idle = egresses.push(new Egress()) - 1
    }
    const { words } = egresses[idle]!
    for (let i = 0; i < 4; i++) words[i] = reply[DST + i]!
    words[4] = reply[PROTOCOL]!
    return idle
  }
}

function isEcho(tuple: Int32Array): boolean {
  const protocol = tuple[PROTOCOL]! & 0xff
  return protocol === ICMP || protocol === ICMP6
}

function isUnmapped(taken: Int32Array | undefined, port: number): boolean {
  return taken === undefined || (taken[port >>> 5]! & (1 << (port & 31))) === 0
}

/** The first port from `start` on, round `first` to `last`, that has no bit in `taken`; -1. */
function nextFree(
  taken: Int32Array | undefined,
  range: { first: number; last: number; start: number; wanted: number },
): number {
  const { first, last, start, wanted } = range
  const high = freeBetween(taken, start, last, wanted)
  return high >= 0 ? high : freeBetween(taken, first, start - 1, wanted)
}

/** `wanted`: which bits of each word of 32 ports may be chosen. */
function freeBetween(
  taken: Int32Array | undefined,
  first: number,
  last: number,
  wanted: number,
): number {
  for (let word = first >>> 5; word <= last >>> 5; word++) {
    let free = ~(taken === undefined ? 0 : taken[word]!) & wanted
    if (word === first >>> 5) free &= ALL << (first & 31)
    if (free === 0) continue
    const port = (word << 5) + 31 - Math.clz32(free & -free)
    return port <= last ? port : -1
  }
  return -1
}
