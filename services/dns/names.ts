/**
 * The names of one network: what sandboxes, their aliases, services and endpoints of other nodes
 * are called there, and what their addresses are called.
 *
 * ```text
 *   name      -> entry -> sources: a service before all others, else every one of them
 *   *.suffix  -> entry, for what is below the suffix and not there itself
 *   address   -> names of who has it
 * ```
 *
 * A name is held without its network; `web.front` is found in network `front` as `web`. Nothing is
 * forgotten by itself: whoever told of a source takes it back, so that names of another node stay
 * while that is out of reach.
 */
import { type Address, sameAddress } from '../../stack/address.ts'
import { isWithin, join, type Name, parent } from './name.ts'

/** Somebody with addresses, behind a name. */
export interface Member {
  /** Its own name, with its network. */
  readonly target: Name
  readonly addresses: readonly Address[]
  readonly weight: number
  /** Is it to be answered with now? Left out: always. */
  readonly isReady?: (address: Address) => boolean
}

export interface NamedPort {
  readonly port: number
  readonly count: number
  readonly protocol: 6 | 17 | 132
  /** As the configuration calls it. */
  readonly name: string | undefined
}

/** What stands behind a name: a sandbox, a service, or the tasks of one. */
export interface Source {
  readonly kind: 'sandbox' | 'service' | 'tasks' | 'remote'
  /** A service with an address of its own. */
  readonly isVirtual: boolean
  readonly members: readonly Member[]
  readonly ports: readonly NamedPort[]
  readonly texts: readonly string[]
}

export class Entry {
  readonly name: Name
  readonly sources: Source[] = []
  /** Where the next answer begins. */
  turn = 0

  constructor(name: Name) {
    this.name = name
  }

  /** Add the addresses of one family that may be answered with; a service hides all others. */
  collect(family: 4 | 6, out: Address[]): void {
    const before = out.length
    for (let i = 0; i < this.sources.length; i++) {
      const source = this.sources[i]!
      if (this.#isHidden(source)) continue
      for (let m = 0; m < source.members.length; m++) {
        const { addresses, isReady } = source.members[m]!
        for (let a = 0; a < addresses.length; a++) {
          const address = addresses[a]!
          if (address.family !== family) continue
          if (isReady === undefined || isReady(address)) out.push(address)
        }
      }
    }
    if (out.length - before > 1) this.turn = (this.turn + 1) % (out.length - before)
  }

  /** Does it lead to the same at all times, while its sources are the same? */
  get isSteady(): boolean {
    return this.sources.every(({ members }) => members.every(({ isReady }) => !isReady))
  }

  /** What it leads to now, in both families; no turn is taken. */
  addresses(): readonly Address[] {
    const { turn } = this
    const found: Address[] = []
    this.collect(4, found)
    this.collect(6, found)
    this.turn = turn
    return found
  }

  /** Sources that count. */
  visible(): Source[] {
    return this.sources.filter((source) => !this.#isHidden(source))
  }

  #isHidden({ kind }: Source): boolean {
    return kind !== 'service' && this.sources[0]!.kind === 'service'
  }
}

export class NetworkNames {
  readonly network: string
  readonly suffix: Name
  readonly internal: boolean
  readonly #entries = new Map<Name, Entry>()
  /** By what follows the asterisk. */
  readonly #wild = new Map<Name, Entry>()
  readonly #reverse = new Map<number, Reverse[]>()

  constructor(network: string, suffix: Name, internal: boolean) {
    this.network = network
    this.suffix = suffix
    this.internal = internal
  }

  get size(): number {
    return this.#entries.size + this.#wild.size
  }

  add(names: readonly Name[], source: Source): void {
    for (const name of names) {
      const [map, key] = this.#place(name)
      let entry = map.get(key)
      if (entry === undefined) {
        entry = new Entry(name)
        map.set(key, entry)
      }
      if (source.kind === 'service') entry.sources.unshift(source)
      else entry.sources.push(source)
    }
    for (const { target, addresses } of reversible(source)) {
      for (const address of addresses) this.#addReverse({ address, target, source })
    }
  }

  /** Idempotent. */
  remove(names: readonly Name[], source: Source): void {
    for (const name of names) {
      const [map, key] = this.#place(name)
      const entry = map.get(key)
      const at = entry?.sources.indexOf(source) ?? -1
      if (entry === undefined || at < 0) continue
      entry.sources.splice(at, 1)
      if (entry.sources.length === 0) map.delete(key)
    }
    for (const { addresses } of reversible(source)) {
      for (const address of addresses) this.#removeReverse(address, source)
    }
  }

  /** The entry of a name, with or without the network behind it; or of a wildcard above it. */
  find(name: Name): Entry | undefined {
    const found = this.#find(name)
    if (found !== undefined) return found
    const { suffix } = this
    if (name.length <= suffix.length || !isWithin(name, suffix)) return undefined
    return this.#find(name.slice(0, name.length - suffix.length) as Name)
  }

  /** What somebody with this address is called. */
  namesOf(address: Address): readonly Name[] {
    const list = this.#reverse.get(hash(address)) ?? []
    const own = list.filter((each) => sameAddress(each.address, address))
    return [...new Set(own.map(({ target }) => target))]
  }

  /** All names, wildcards with their asterisk. */
  entries(): readonly Entry[] {
    return [...this.#entries.values(), ...this.#wild.values()]
  }

  #find(name: Name): Entry | undefined {
    const exact = this.#entries.get(name)
    if (exact !== undefined || this.#wild.size === 0) return exact
    for (let above = name; above !== ''; ) {
      above = parent(above)
      const wild = this.#wild.get(above)
      if (wild !== undefined) return wild
      // RFC 4592 §3.3.1: a name that is there is the closest encloser, and hides what is above it.
      if (this.#entries.has(above)) return undefined
    }
    return undefined
  }

  #place(name: Name): [Map<Name, Entry>, Name] {
    return name.startsWith('\x01*') ? [this.#wild, parent(name)] : [this.#entries, name]
  }

  #addReverse(entry: Reverse): void {
    const key = hash(entry.address)
    const list = this.#reverse.get(key)
    if (list === undefined) this.#reverse.set(key, [entry])
    else list.push(entry)
  }

  #removeReverse(address: Address, source: Source): void {
    const key = hash(address)
    const list = this.#reverse.get(key)?.filter((each) => each.source !== source) ?? []
    if (list.length === 0) this.#reverse.delete(key)
    else this.#reverse.set(key, list)
  }
}

interface Reverse {
  readonly address: Address
  readonly target: Name
  readonly source: Source
}

/** Those who have addresses of their own: not the backends of a service, which are sandboxes. */
function reversible({ isVirtual, kind, members }: Source): readonly Member[] {
  return kind === 'sandbox' || kind === 'remote' || isVirtual ? members : []
}

/** One number for an address; several may share one. */
export function hash({ words }: Address): number {
  return hashWords(words, 0)
}

export function hashWords(words: Int32Array, at: number): number {
  return words[at]! ^ Math.imul(words[at + 1]!, 3) ^ Math.imul(words[at + 2]!, 5) ^ words[at + 3]!
}

/** `name.network`; the name itself if that would be too long. */
export function within(name: Name, network: Name): Name {
  return join(name, network) ?? name
}
