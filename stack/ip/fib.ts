/**
 * Forwarding table: longest-prefix match over one family's routes.
 *
 * A multibit trie in one Int32Array. The root is indexed by 16 bits, every further node by 4 (16
 * entries: one cache line). It is leaf-pushed: an entry either points to a node or is the answer,
 * so a look-up never goes back and does not compare lengths.
 *
 * ```text
 *   root[65536] --> entry >= 0: offset of a node [16] --> ... --> entry < 0: leaf, ~(route id + 1)
 *   10.1.0.0/24:  root[0x0a01] --> [0x0] --> [0x0] --> leaf        two nodes below the root
 * ```
 *
 * Changes are the control plane's: a route is painted over the entries that it covers and that a
 * longer one does not hold; removal paints the next shorter route over them and gives back nodes
 * that have become uniform. The array doubles when nodes run out, never during a look-up.
 *
 * One prefix may have several routes; the best is in the trie: the node's own addresses, then
 * connected ones, then static ones and blackholes by metric.
 *
 * Not a binary trie (32 or 128 dependent loads) and not one flat table of 2²⁴ entries (64 MB, and
 * nothing for IPv6). Cost: 256 KB for the root, 64 octets a node.
 */
import {
  type Address,
  type Family,
  familyBits,
  formatPrefix,
  networkOf,
  type Prefix,
} from '../address.ts'
import { StackError } from '../errors.ts'

/**
 * `local`: an address of the router itself; `broadcast`: of a connected IPv4 network. Both are
 * made by the router for its interfaces.
 */
export type RouteKind = 'local' | 'broadcast' | 'connected' | 'static' | 'blackhole'

export interface Route {
  readonly prefix: Prefix
  readonly kind: RouteKind
  /** The next router; left out: destinations are on the link. */
  readonly via?: Address | undefined
  /** Index of the router's interface; left out for a blackhole. */
  readonly link?: number | undefined
  /** Among static routes and blackholes of one prefix the lowest wins. Default 0. */
  readonly metric?: number | undefined
}

const RANK: Readonly<Record<RouteKind, number>> = {
  local: 0,
  broadcast: 0,
  connected: 1,
  static: 2,
  blackhole: 2,
}

const ROOT_BITS = 16
const ROOT_ENTRIES = 1 << ROOT_BITS
const STRIDE = 4
const NODE_ENTRIES = 1 << STRIDE
const NODES_AT_FIRST = 64
/** Full Internet tables have about a million IPv4 routes; beyond that is a mistake upstream. */
const ROUTES_MAX = 1_500_000
/** Leaf of an address that no route covers, and the length it counts with. */
const NO_LEAF = -1
const NO_LENGTH = -1

/** What the data path reads: one shape for all routes. */
class StoredRoute implements Route {
  readonly prefix: Prefix
  readonly kind: RouteKind
  readonly via: Address | undefined
  readonly link: number | undefined
  readonly metric: number
  readonly id: number

  constructor(route: Route, id: number) {
    this.prefix = { address: networkOf(route.prefix), bits: route.prefix.bits }
    this.kind = route.kind
    this.via = route.via
    this.link = route.link
    this.metric = route.metric ?? 0
    this.id = id
  }
}

export class Fib {
  readonly family: Family
  #trie: Int32Array
  /** First entry never used, and the first of the nodes given back (chained through entry 0). */
  #fresh = ROOT_ENTRIES
  #idle = 0
  readonly #firstWord: number
  readonly #changed: () => void
  /** By route id. */
  readonly #routes: (StoredRoute | undefined)[] = []
  readonly #bits: number[] = []
  readonly #idleIds: number[] = []
  /** Routes of each prefix, best first. */
  readonly #prefixes = new Map<string, StoredRoute[]>()
  /** How many prefixes there are of each length: which ones a removal must ask for. */
  readonly #lengths: Int32Array

  /** `changed` is called when a route comes or goes: for caches of flows. */
  constructor(family: Family, changed: () => void = () => {}) {
    this.family = family
    this.#changed = changed
    this.#firstWord = family === 4 ? 3 : 0
    this.#lengths = new Int32Array(familyBits(family) + 1)
    this.#trie = new Int32Array(ROOT_ENTRIES + NODES_AT_FIRST * NODE_ENTRIES)
    this.#trie.fill(NO_LEAF, 0, ROOT_ENTRIES)
  }

  /** Prefixes that have a route. */
  get size(): number {
    return this.#prefixes.size
  }

  /**
   * The route for the address in `words[at]` to `words[at + 3]` (IPv4-mapped if family 4), as an
   * id for {@link route}; -1 if there is none.
   */
  lookup(words: Int32Array, at: number): number {
    const trie = this.#trie
    const first = at + this.#firstWord
    let entry = trie[words[first]! >>> ROOT_BITS]!
    for (let bit = ROOT_BITS; entry >= 0; bit += STRIDE) {
      const word = words[first + (bit >>> 5)]!
      entry = trie[entry + ((word >>> (28 - (bit & 31))) & 15)]!
    }
    return -entry - 2
  }

  /** Precondition: `lookup` returned `id` and no route was removed since. */
  route(id: number): Route {
    return this.#routes[id]!
  }

  /**
   * Add a route; one of the same prefix, rank and metric is replaced.
   * @throws StackError `bad-argument` for the other family, `exhausted` over {@link ROUTES_MAX}.
   */
  add(route: Route): void {
    if (route.prefix.address.family !== this.family) {
      const text = formatPrefix(route.prefix)
      throw new StackError('bad-argument', `route ${text} is not of family ${this.family}`)
    }
    const id = this.#idleIds.pop() ?? this.#routes.length
    if (id >= ROUTES_MAX) throw new StackError('exhausted', `more than ${ROUTES_MAX} routes`)
    this.#changed()
    const stored = new StoredRoute(route, id)
    this.#routes[id] = stored
    this.#bits[id] = stored.prefix.bits
    const key = keyOf(stored.prefix)
    let routes = this.#prefixes.get(key)
    if (routes === undefined) {
      routes = []
      this.#prefixes.set(key, routes)
      this.#lengths[stored.prefix.bits]!++
    }
    const same = routes.findIndex((other) => compare(other, stored) === 0)
    const replaced = same < 0 ? undefined : routes.splice(same, 1)[0]
    routes.push(stored)
    if (routes.length > 1) routes.sort(compare)
    if (routes[0] === stored) this.#paint(stored.prefix, NO_LENGTH, id)
    if (replaced !== undefined) this.#forget(replaced)
  }

  /** Remove the routes of a prefix, or only those of `kinds`. False if there was none. */
  remove(prefix: Prefix, kinds?: readonly RouteKind[]): boolean {
    const key = keyOf({ address: networkOf(prefix), bits: prefix.bits })
    const routes = this.#prefixes.get(key) ?? []
    const gone = routes.filter((route) => kinds?.includes(route.kind) ?? true)
    if (gone.length === 0) return false
    this.#changed()
    const kept = routes.filter((route) => !gone.includes(route))
    if (kept.length > 0) this.#prefixes.set(key, kept)
    else {
      this.#prefixes.delete(key)
      this.#lengths[prefix.bits]!--
    }
    if (kept[0] !== routes[0]) {
      const next = kept[0] ?? this.#covering(prefix)
      this.#paint(routes[0]!.prefix, prefix.bits, next?.id ?? -1)
    }
    for (const route of gone) this.#forget(route)
    return true
  }

  /** The best route of exactly this prefix. */
  find(prefix: Prefix): Route | undefined {
    return this.#prefixes.get(keyOf({ address: networkOf(prefix), bits: prefix.bits }))?.[0]
  }

  /** All routes, by prefix; the best of a prefix first. */
  list(): Route[] {
    const all = [...this.#prefixes.values()].flat()
    return all.sort((a, b) => comparePrefixes(a.prefix, b.prefix) || compare(a, b))
  }

  #forget(route: StoredRoute): void {
    this.#routes[route.id] = undefined
    this.#idleIds.push(route.id)
  }

  /** The best route of the longest prefix that is shorter than `prefix` and covers it. */
  #covering({ address, bits }: Prefix): StoredRoute | undefined {
    for (let shorter = bits - 1; shorter >= 0; shorter--) {
      if (this.#lengths[shorter] === 0) continue
      const cover = { address: networkOf({ address, bits: shorter }), bits: shorter }
      const routes = this.#prefixes.get(keyOf(cover))
      if (routes !== undefined) return routes[0]
    }
    return undefined
  }

  /** Make route `id` the answer wherever in `prefix` the answer's length is `low` to its own. */
  #paint(prefix: Prefix, low: number, id: number): void {
    const { bits } = prefix
    const { words } = prefix.address
    const path: number[] = []
    let node = 0
    let depth = 0
    let stride = ROOT_BITS
    while (bits > depth + stride) {
      const index = node + slice(words[this.#firstWord + (depth >>> 5)]!, depth, stride)
      if (this.#trie[index]! < 0) this.#split(index)
      path.push(index)
      node = this.#trie[index]!
      depth += stride
      stride = STRIDE
    }
    const from = slice(words[this.#firstWord + (depth >>> 5)]!, depth, stride)
    const count = 1 << (depth + stride - bits)
    this.#fill(node + from, count, low, bits, -id - 2)
    while (path.length > 0 && this.#join(path.pop()!)) {}
  }

  #fill(first: number, count: number, low: number, high: number, leaf: number): void {
    const trie = this.#trie
    const lengths = this.#bits
    for (let index = first; index < first + count; index++) {
      const entry = trie[index]!
      if (entry >= 0) this.#fill(entry, NODE_ENTRIES, low, high, leaf)
      else {
        const length = entry === NO_LEAF ? NO_LENGTH : lengths[-entry - 2]!
        if (low <= length && length <= high) trie[index] = leaf
      }
    }
  }

  /** Put a node below a leaf: the leaf's answer goes to all its entries. */
  #split(index: number): void {
    let node = this.#idle
    if (node !== 0) this.#idle = this.#trie[node]!
    else {
      node = this.#fresh
      this.#fresh += NODE_ENTRIES
      if (this.#fresh > this.#trie.length) {
        const grown = new Int32Array(2 * this.#trie.length)
        grown.set(this.#trie)
        this.#trie = grown
      }
    }
    this.#trie.fill(this.#trie[index]!, node, node + NODE_ENTRIES)
    this.#trie[index] = node
  }

  /** If all entries of the node below say the same, one leaf does. */
  #join(index: number): boolean {
    const trie = this.#trie
    const node = trie[index]!
    const leaf = trie[node]!
    if (leaf >= 0) return false
    for (let i = 1; i < NODE_ENTRIES; i++) if (trie[node + i] !== leaf) return false
    trie[index] = leaf
    trie[node] = this.#idle
    this.#idle = node
    return true
  }
}

function slice(word: number, depth: number, stride: number): number {
  return (word >>> (32 - stride - (depth & 31))) & ((1 << stride) - 1)
}

function keyOf({ address: { words }, bits }: Prefix): string {
  return `${words[0]},${words[1]},${words[2]},${words[3]}/${bits}`
}

function compare(a: StoredRoute, b: StoredRoute): number {
  return RANK[a.kind] - RANK[b.kind] || a.metric - b.metric
}

function comparePrefixes(a: Prefix, b: Prefix): number {
  for (let i = 0; i < 4; i++) {
    const difference = (a.address.words[i]! >>> 0) - (b.address.words[i]! >>> 0)
    if (difference !== 0) return difference
  }
  return a.bits - b.bits
}
