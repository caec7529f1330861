/**
 * What is known here: the names of the networks that a sandbox is on, and some that mean the same
 * everywhere (RFC 6761, RFC 7686).
 *
 * ```text
 *   own hosts -> localhost, invalid, onion -> addresses (PTR) -> _port._protocol (SRV)
 *     -> each network, in the order of its interfaces -> not ours: forward
 * ```
 *
 * A name that is there in one family only has no data in the other, which is an answer: it is not
 * looked for elsewhere. Of several networks that know a name, the first with an address of the
 * family that was asked for answers.
 */
import { type Address, fromBytes, parseAddress, putAddress } from '../../stack/address.ts'
import type { AnswerWriter } from './answer.ts'
import {
  firstLabel,
  formatName,
  isWithin,
  labelCount,
  type Name,
  parent,
  parseName,
} from './name.ts'
import type { Entry, NamedPort, Source } from './names.ts'
import type { Query } from './query.ts'
import type { Scope } from './scope.ts'
import { portOf } from './well_known.ts'
import { Rcode, Type, typeName } from './wire.ts'

/** {@link LocalNames.answer}: somebody else knows. */
export const FORWARD = -1
/** Told what is looked at, in order; for people. */
export type Say = (step: string) => void

const LOCALHOST = parseName('localhost')
const NEVER: readonly Name[] = [parseName('invalid'), parseName('onion')]
const LOOPBACK: readonly Address[] = [parseAddress('127.0.0.1'), parseAddress('::1')]
const ARPA4 = parseName('in-addr.arpa')
const ARPA6 = parseName('ip6.arpa')
const PROTOCOLS: Readonly<Record<string, 6 | 17 | 132>> = { _tcp: 6, _udp: 17, _sctp: 132 }

export interface LocalOptions {
  readonly writer: AnswerWriter
  /** Is this address of a network of this node? Then nobody outside knows its name. */
  readonly isInside: (address: Address) => boolean
}

export class LocalNames {
  ttlS = 0
  /** The next to ask the same gets the same as the last. */
  isSteady = true
  readonly #writer: AnswerWriter
  readonly #isInside: (address: Address) => boolean
  readonly #found: Address[] = []

  constructor({ writer, isInside }: LocalOptions) {
    this.#writer = writer
    this.#isInside = isInside
  }

  /** Write the answers; the response code, or {@link FORWARD}. Precondition: `writer` has begun. */
  answer(query: Query, scope: Scope, say?: Say): number {
    const { name, type } = query
    this.isSteady = true
    const own = scope.hosts.get(name)
    if (own !== undefined) {
      say?.(`${formatName(name)} is one of the sandbox's extra_hosts`)
      return this.#addresses([own], type)
    }
    if (name.length <= 1) return FORWARD
    const special = this.#special(name, type, say)
    if (special !== undefined) return special
    if (isWithin(name, ARPA4) || isWithin(name, ARPA6)) return this.#pointer(query, scope, say)
    if (name.charCodeAt(1) === UNDERSCORE) {
      const service = this.#service(query, scope, say)
      if (service !== FORWARD) return service
    }
    return this.#named(query, scope, say)
  }

  #special(name: Name, type: number, say?: Say): number | undefined {
    if (isWithin(name, LOCALHOST)) {
      say?.('localhost is loopback everywhere (RFC 6761)')
      for (const address of LOOPBACK) if (asks(type, address)) this.#add(address)
      return Rcode.NoError
    }
    if (!NEVER.some((top) => isWithin(name, top))) return undefined
    say?.('a name that never exists (RFC 6761, RFC 7686)')
    return Rcode.NxDomain
  }

  #named({ name, type }: Query, scope: Scope, say?: Say): number {
    let known = false
    for (let i = 0; i < scope.networks.length; i++) {
      const network = scope.networks[i]!
      const entry = network.find(name)
      if (entry === undefined) {
        say?.(`network ${network.network} has no name ${formatName(name)}`)
        continue
      }
      say?.(`network ${network.network} has ${describe(entry)}`)
      known = true
      if (this.#entry(entry, type)) return Rcode.NoError
    }
    if (!known) return FORWARD
    say?.(`there is no ${typeName(type)} of it, which is the answer`)
    return Rcode.NoError
  }

  #addresses(entries: readonly Entry[], type: number): number {
    for (const entry of entries) if (this.#entry(entry, type)) break
    return Rcode.NoError
  }

  /** Write what an entry has of this type; false: nothing. */
  #entry(entry: Entry, type: number): boolean {
    if (type === Type.A || type === Type.Aaaa) {
      const found = this.#found
      found.length = 0
      entry.collect(type === Type.A ? 4 : 6, found)
      const { length } = found
      if (length > 1 || !entry.isSteady) this.isSteady = false
      for (let i = 0; i < length; i++) this.#add(found[(entry.turn + i) % length]!)
      return length > 0
    }
    if (type === Type.Any) return this.#writer.addMinimalAny(this.ttlS)
    if (type !== Type.Txt) return false
    const sources = entry.visible().filter(({ texts }) => texts.length > 0)
    for (const { texts } of sources) this.#writer.addTxt(this.ttlS, texts)
    return sources.length > 0
  }

  #add(address: Address): void {
    this.#writer.addAddress(address, this.ttlS)
  }

  /** What is an address called? */
  #pointer({ name, type }: Query, scope: Scope, say?: Say): number {
    const address = addressOf(name)
    if (address === undefined) return FORWARD
    for (const network of scope.networks) {
      const names = network.namesOf(address)
      if (names.length === 0) continue
      say?.(`network ${network.network} has this address: ${names.map(formatName).join(', ')}`)
      if (type === Type.Ptr) {
        for (const target of names) this.#writer.addName(Type.Ptr, target, this.ttlS)
      }
      return Rcode.NoError
    }
    if (!this.#isInside(address)) return FORWARD
    say?.('an address of this node that the sandbox shares no network with, or that is free')
    return Rcode.NxDomain
  }

  /** `_http._tcp.web`: who serves it there, and where (RFC 2782). */
  #service(query: Query, scope: Scope, say?: Say): number {
    const { name } = query
    const rest = parent(name)
    const protocol = rest === '' ? undefined : PROTOCOLS[firstLabel(rest)]
    if (protocol === undefined) return FORWARD
    const wanted = firstLabel(name).slice(1)
    const base = parent(rest)
    let known = false
    for (const network of scope.networks) {
      const entry = base === '' ? undefined : network.find(base)
      if (entry === undefined) continue
      known = true
      if (!entry.isSteady) this.isSteady = false
      const sources = entry.visible()
      const offers = sources.map((source) => records(source, wanted, protocol))
      const served = offers.flatMap((offer) => offer ?? [])
      const what = `${served.length} of it at port "${wanted}"`
      say?.(`network ${network.network} has ${describe(entry)}; ${what}`)
      if (offers.every((offer) => offer === undefined)) continue
      if (query.type === Type.Srv) this.#services(served)
      return Rcode.NoError
    }
    return known ? Rcode.NxDomain : FORWARD
  }

  #services(served: readonly Served[]): void {
    for (const { target, weight, port } of served) {
      this.#writer.addSrv(this.ttlS, { priority: 0, weight, port, target })
    }
    this.#writer.section('additional')
    for (const { target, addresses } of served) {
      for (const address of addresses) this.#writer.addAddress(address, this.ttlS, target)
    }
  }
}

const UNDERSCORE = 0x5f

interface Served {
  readonly target: Name
  readonly weight: number
  readonly port: number
  readonly addresses: readonly Address[]
}

/** Undefined: it has no such port; empty: nobody is ready there. */
function records(
  { members, ports }: Source,
  wanted: string,
  protocol: number,
): Served[] | undefined {
  const found = ports.find((port) => port.protocol === protocol && isCalled(port, wanted))
  if (found === undefined) return undefined
  const port = /^\d+$/.test(wanted) ? Number(wanted) : found.port
  return members.flatMap(({ target, weight, addresses, isReady }) => {
    const own = addresses.filter((address) => isReady?.(address) ?? true)
    return own.length === 0 ? [] : [{ target, weight, port, addresses: own }]
  })
}

/** By the name that the file gives it; by the usual name of its number; by its number. */
function isCalled({ port, count, name }: NamedPort, wanted: string): boolean {
  if (name !== undefined && name.toLowerCase() === wanted) return true
  const number = /^\d{1,5}$/.test(wanted) ? Number(wanted) : portOf(wanted)
  return number !== undefined && number >= port && number < port + count
}

function asks(type: number, { family }: Address): boolean {
  return type === (family === 4 ? Type.A : Type.Aaaa)
}

function describe(entry: Entry): string {
  const kinds = [...new Set(entry.visible().map(({ kind }) => kind))]
  return `${formatName(entry.name)} (${kinds.join(', ')})`
}

/** `11.0.1.10.in-addr.arpa` is 10.1.0.11; undefined: not a whole address (RFC 1035 §3.5). */
function addressOf(name: Name): Address | undefined {
  const four = isWithin(name, ARPA4)
  const wanted = four ? 4 : 32
  if (labelCount(name) !== wanted + 2) return undefined
  const digits: number[] = []
  for (let rest = name; digits.length < wanted; rest = parent(rest)) {
    const label = firstLabel(rest)
    const good = four ? /^(0|[1-9]\d{0,2})$/.test(label) : /^[0-9a-f]$/.test(label)
    const digit = Number.parseInt(label, four ? 10 : 16)
    if (!good || digit > 0xff) return undefined
    digits.unshift(digit)
  }
  if (four) return fromBytes(Uint8Array.from(digits))
  return fromBytes(
    Uint8Array.from({ length: 16 }, (_, i) => digits[2 * i]! * 16 + digits[2 * i + 1]!),
  )
}

/** The name that is asked for PTR of an address: `11.0.1.10.in-addr.arpa`. */
export function reverseName(address: Address): Name {
  const bytes = new Uint8Array(address.family === 4 ? 4 : 16)
  putAddress(bytes, 0, address)
  if (address.family === 4) return parseName(`${bytes.reverse().join('.')}.in-addr.arpa`)
  const nibbles = [...Buffer.from(bytes).toString('hex')].reverse()
  return parseName(`${nibbles.join('.')}.ip6.arpa`)
}
