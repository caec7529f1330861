/**
 * Which endpoint has a MAC address, and which an address: the part of gossip that decides.
 *
 * Several nodes may claim one MAC or address in one network: since an endpoint moves, or by
 * mistake. The rule is a function of the records in force, so that all nodes that know the same
 * records decide the same:
 *
 * * The **older** claim (by Lamport time, then by the node's name) keeps it.
 * * Unless the newer one is **the same sandbox** by name: it has moved, and the newer has it now.
 * * Unless the older one's node still holds on to it: if a node does not withdraw its own endpoint
 *   within {@link CONTEST_MS} after another node claimed it, there are two of them. It writes into
 *   its record that it holds it, and has it again.
 *
 * So a move takes effect when the new node announces it, whether the old one withdraws before or
 * after, or is dead; and no other sandbox takes a working endpoint's traffic. What a newer endpoint
 * may not have is a conflict, and every node of the network reports it, once. An endpoint that may
 * not have one of its addresses is told without it; one that may not have its MAC is not told.
 *
 * ```text
 *   MAC ─> all records in force ─> pick ─> winner ─┐
 *   address ─> winners that have it ─────> pick ───┴─> told to the listener, minus what is lost
 * ```
 *
 * Every node does this for every endpoint of its networks, so what is kept of each is little: the
 * records as they came, decoded again whenever there is something to decide.
 */
import { type Address, sameAddress } from '../../stack/address.ts'
import type { EndpointConflict, EndpointRecord, PeerListener } from '../overlay/peer_source.ts'
import { decodeEndpoint, type EndpointValue, macOfKey } from './endpoint_value.ts'
import type { TableRecord } from './table_record.ts'

/** How long an endpoint may be in two places before that is a mistake: a slow move. */
export const CONTEST_MS = 10_000

/** A record in force, understood. */
interface Claim {
  readonly record: TableRecord
  readonly endpoint: EndpointValue
}

/** What is kept of a MAC. */
interface Entry {
  /** All that claim it, in force or not. Mostly it is one, which then has no list around it. */
  records: TableRecord | readonly TableRecord[]
  /** The one that has it. Undefined: none in force. */
  winner: TableRecord | undefined
  /** What the listener was told last, */
  told: TableRecord | undefined
  /** and with which of its addresses. Undefined: all of them. */
  kept: readonly Address[] | undefined
}

interface Contest {
  readonly rivalSince: number
  readonly startMs: number
}

/** What is decided over: of one network. */
export interface ClaimSource {
  readonly vni: number
  readonly self: string
  /** What this owner wrote counts. */
  readonly isInForce: (owner: string) => boolean
  readonly listener: Pick<PeerListener, 'setEndpoint' | 'removeEndpoint' | 'conflict'>
}

type AddressKey = number | string

export class Claims {
  /** Values that were no endpoints. */
  malformed = 0
  readonly #source: ClaimSource
  readonly #entries = new Map<number, Entry>()
  /** MACs of the winners that have an address; mostly it is one. */
  readonly #holders = new Map<AddressKey, number | readonly number[]>()
  readonly #conflicts = new Map<string, EndpointConflict>()
  /** By what they are about, to find those that are no more. */
  readonly #conflictsOf = new Map<number, string[]>()
  /** Of each owner, bounded as they are. */
  readonly #vteps = new Map<string, Address>()
  readonly #contests = new Map<number, Contest>()

  constructor(source: ClaimSource) {
    this.#source = source
  }

  /** Endpoints of other nodes, as the listener was told. */
  endpoints(): EndpointRecord[] {
    const all: EndpointRecord[] = []
    for (const { told, kept } of this.#entries.values()) {
      if (told !== undefined) all.push(this.#record(this.#claim(told)!, kept))
    }
    return all
  }

  conflicts(): EndpointConflict[] {
    return [...this.#conflicts.values()]
  }

  onRecord(old: TableRecord | undefined, now: TableRecord | undefined): void {
    const { key } = (now ?? old)!
    const entry = this.#entries.get(key) ?? newEntry()
    const next = listOf(entry.records).filter((record) => record !== old)
    if (now !== undefined) next.push(now)
    entry.records = next.length === 1 ? next[0]! : next
    this.#entries.set(key, entry)
    this.#decide(key, entry)
    if (next.length === 0) this.#entries.delete(key)
  }

  /** Records of one owner came into force, or are not any more. */
  onOwner(keys: Iterable<number>): void {
    for (const key of keys) {
      const entry = this.#entries.get(key)
      if (entry !== undefined) this.#decide(key, entry)
    }
  }

  /** Own claims that another node contests for too long: they are to be held against that time. */
  overdue(nowMs: number): { key: number; since: number }[] {
    const due: { key: number; since: number }[] = []
    for (const [key, { rivalSince, startMs }] of this.#contests) {
      if (startMs < 0) this.#contests.set(key, { rivalSince, startMs: nowMs })
      else if (nowMs - startMs >= CONTEST_MS) due.push({ key, since: rivalSince })
    }
    return due
  }

  /** The winner of a MAC may be another one now; then those of its addresses, too. */
  #decide(key: number, entry: Entry): void {
    const claims = this.#claimsOf(entry)
    const old = entry.winner
    const now = pick(claims)
    const affected = new Set<number>()
    if (old !== now?.record) {
      entry.winner = now?.record
      if (old !== undefined) this.#unhold(key, this.#claim(old)!, affected)
      if (now !== undefined) this.#hold(key, now, affected)
    }
    this.#tell(key, entry, claims)
    for (const mac of affected) {
      if (mac === key) continue
      const other = this.#entries.get(mac)!
      this.#tell(mac, other, this.#claimsOf(other))
    }
  }

  #claimsOf({ records }: Entry): Claim[] {
    const claims: Claim[] = []
    for (const record of listOf(records)) {
      if (!this.#source.isInForce(record.owner)) continue
      const claim = this.#claim(record)
      if (claim === undefined) this.malformed++
      else claims.push(claim)
    }
    return claims
  }

  /** All endpoints of a node share its VTEP, in memory too. Undefined: it is no endpoint. */
  #claim(record: TableRecord): Claim | undefined {
    const { owner, value } = record
    const endpoint = decodeEndpoint(value!)
    if (endpoint === undefined) return undefined
    const known = this.#vteps.get(owner)
    if (known !== undefined && sameAddress(known, endpoint.vtep)) {
      return { record, endpoint: { ...endpoint, vtep: known } }
    }
    this.#vteps.set(owner, endpoint.vtep)
    return { record, endpoint }
  }

  #unhold(key: number, { endpoint }: Claim, affected: Set<number>): void {
    for (const address of endpoint.addresses) {
      const at = addressKey(address)
      const rest = listOf(this.#holders.get(at) ?? NOBODY).filter((mac) => mac !== key)
      if (rest.length === 0) this.#holders.delete(at)
      else this.#holders.set(at, rest.length === 1 ? rest[0]! : rest)
      for (const mac of rest) affected.add(mac)
    }
  }

  #hold(key: number, { endpoint }: Claim, affected: Set<number>): void {
    for (const address of endpoint.addresses) {
      const at = addressKey(address)
      const holders = this.#holders.get(at)
      if (holders === undefined) {
        this.#holders.set(at, key)
        continue
      }
      const others = listOf(holders).filter((mac) => mac !== key)
      this.#holders.set(at, others.length === 0 ? key : [...others, key])
      for (const mac of others) affected.add(mac)
    }
  }

  /** Bring the listener up to date about one MAC. */
  #tell(key: number, entry: Entry, claims: readonly Claim[]): void {
    const { self, vni, listener } = this.#source
    const { winner: record, told } = entry
    const winner =
      record && (claims.find((claim) => claim.record === record) ?? this.#claim(record))
    const conflicts: EndpointConflict[] = []
    let rivalSince = this.#judgeLosers(winner, claims, conflicts)
    const addresses = winner?.endpoint.addresses ?? []
    const kept: Address[] = []
    for (const address of addresses) {
      const keeper = this.#keeper(address)
      if (keeper === record) kept.push(address)
      else if (isOlder(keeper, record!)) {
        conflicts.push(this.#conflict(address, this.#claim(keeper)!, winner!))
      } else if (record!.owner === self) rivalSince = Math.max(rivalSince, keeper.since)
    }
    this.#noteContest(key, rivalSince)
    this.#report(key, conflicts)
    if (winner === undefined || record!.owner === self) {
      entry.told = undefined
      entry.kept = undefined
      if (told !== undefined) listener.removeEndpoint(vni, macOfKey(key))
      return
    }
    const less = kept.length === addresses.length ? undefined : kept
    if (told === record && areSame(entry.kept ?? addresses, kept)) return
    entry.told = record
    entry.kept = less
    listener.setEndpoint(this.#record(winner, less))
  }

  /** Those who claimed the MAC and did not get it. Returns when a rival took it from this node. */
  #judgeLosers(
    winner: Claim | undefined,
    claims: readonly Claim[],
    conflicts: EndpointConflict[],
  ): number {
    let rivalSince = 0
    for (const loser of claims) {
      if (winner === undefined || loser.record === winner.record) continue
      if (isOlder(winner.record, loser.record)) {
        const address = loser.endpoint.addresses[0] ?? winner.endpoint.addresses[0]
        if (address !== undefined) conflicts.push(this.#conflict(address, winner, loser))
      } else if (loser.record.owner === this.#source.self) {
        rivalSince = Math.max(rivalSince, winner.record.since)
      }
    }
    return rivalSince
  }

  /** The one that has the address. Precondition: a winner has it. */
  #keeper(address: Address): TableRecord {
    const claims: Claim[] = []
    const holders = listOf(this.#holders.get(addressKey(address))!)
    if (holders.length === 1) return this.#entries.get(holders[0]!)!.winner!
    for (const mac of holders) claims.push(this.#claim(this.#entries.get(mac)!.winner!)!)
    return pick(claims)!.record
  }

  #noteContest(key: number, rivalSince: number): void {
    if (rivalSince === 0) this.#contests.delete(key)
    else if (this.#contests.get(key)?.rivalSince !== rivalSince) {
      this.#contests.set(key, { rivalSince, startMs: -1 })
    }
  }

  #report(key: number, conflicts: readonly EndpointConflict[]): void {
    const before = this.#conflictsOf.get(key) ?? []
    const names = conflicts.map(({ address, kept, refused }) =>
      [addressKey(address), kept.node, kept.name, refused.node, refused.name].join(' '),
    )
    for (const name of before) if (!names.includes(name)) this.#conflicts.delete(name)
    if (names.length === 0) this.#conflictsOf.delete(key)
    else this.#conflictsOf.set(key, names)
    for (const [i, name] of names.entries()) {
      const { address, kept, refused } = conflicts[i]!
      this.#conflicts.set(name, conflicts[i]!)
      if (!before.includes(name)) this.#source.listener.conflict(address, kept, refused)
    }
  }

  #conflict(address: Address, kept: Claim, refused: Claim): EndpointConflict {
    return { address, kept: this.#record(kept), refused: this.#record(refused) }
  }

  #record({ record, endpoint }: Claim, addresses = endpoint.addresses): EndpointRecord {
    const { vni } = this.#source
    return { vni, mac: macOfKey(record.key), node: record.owner, ...endpoint, addresses }
  }
}

const NOBODY: readonly never[] = []

function newEntry(): Entry {
  return { records: NOBODY, winner: undefined, told: undefined, kept: undefined }
}

function listOf<T>(some: T | readonly T[]): readonly T[] {
  return Array.isArray(some) ? some : [some as T]
}

function isOlder(a: TableRecord, b: TableRecord): boolean {
  if (a.since !== b.since) return a.since < b.since
  return a.owner === b.owner ? a.key < b.key : a.owner < b.owner
}

/** The one that has what all of them claim: see the head of the file. */
function pick(claims: readonly Claim[]): Claim | undefined {
  if (claims.length <= 1) return claims[0]
  const sorted = [...claims].sort((a, b) => (isOlder(a.record, b.record) ? -1 : 1))
  return sorted.reduce((kept, next) => {
    const moved = next.endpoint.name === kept.endpoint.name && kept.record.held < next.record.since
    return moved ? next : kept
  })
}

function areSame(a: readonly Address[], b: readonly Address[]): boolean {
  return a.length === b.length && a.every((address, i) => sameAddress(address, b[i]!))
}

function addressKey({ family, words }: Address): AddressKey {
  return family === 4 ? words[3]! : words.join(':')
}
