/**
 * Published ports and virtual services: what makes the router send a new connection elsewhere.
 *
 * One sorted list, searched by halving: a published range is one entry however many ports it has.
 *
 * ```text
 *   address (:: or 0.0.0.0 for any own one), protocol, first port
 *    specific before any: two searches a new connection, none for a known one
 * ```
 *
 * Addresses of somebody else may be aliases: what is published on the router's own address of that
 * family is asked for by them as well, and nothing else about them changes.
 *
 * Rules have small numbers that stay while they live, for the marks of connections. Changes copy
 * nothing but the list of references.
 */
import { type Address, formatAddress, MAPPED, sameAddress } from '../address.ts'
import { StackError } from '../errors.ts'
import type { Balance } from './balance.ts'
import { protocolName } from './conntrack_list.ts'
import { DST, PORTS, PROTOCOL } from './tuple.ts'

/** Ports of the node that lead to one sandbox. */
export interface PortMapping {
  /** TCP, UDP or SCTP. */
  readonly protocol: 6 | 17 | 132
  /** Left out: every own address of the target's family but virtual ones. */
  readonly address: Address | undefined
  readonly port: number
  /** So many ports from `port` on lead to as many from `targetPort` on. */
  readonly count: number
  readonly target: Address
  readonly targetPort: number
  /** True: for what comes in by an external leg alone. Left out: for all. */
  readonly outsideOnly?: boolean
}

/** An address and port that a balance answers for. */
export interface VirtualService {
  readonly protocol: 6 | 17
  /** 0.0.0.0 or ::, which must be shared: every own address of that family but virtual ones. */
  readonly address: Address
  readonly port: number
  /** So many ports from `port` on lead to as many from `targetPort` on; left out: 1. */
  readonly count?: number
  readonly targetPort: number
  readonly balance: Balance
  /** The address is the router's own and has other ports than services'; left out: it is not. */
  readonly shared?: boolean
  /** As in {@link PortMapping}. */
  readonly outsideOnly?: boolean
}

interface RuleFields {
  readonly address: Int32Array
  readonly any: boolean
  readonly protocol: number
  readonly port: number
  readonly count: number
  readonly targetPort: number
  /** Where all connections go, or who decides. */
  readonly mapping: PortMapping | undefined
  readonly service: VirtualService | undefined
}

/** A mapping or a service, in one form. */
export interface Rule extends RuleFields {
  /** Its number among the living; used again after its end. */
  readonly id: number
  /** Connections through it that live: nat.ts counts. */
  flows: number
}

interface Alias {
  readonly words: Int32Array
  /** The router's own address that it stands for. */
  readonly own: Int32Array
}

/** Looked through one by one, for a connection's first packet. */
export const ALIASES_MAX = 64
/** As many as the mark of a connection can tell apart (nat_marks.ts). */
export const RULES_MAX = 65_536
const PORT_MAX = 65_535

export class NatRules {
  /** By address, protocol and port. */
  readonly #sorted: Rule[] = []
  readonly #byId: (Rule | undefined)[] = []
  readonly #idle: number[] = []
  #aliases: readonly Alias[] = []
  /** Scratch: the address that {@link #before} is asked about. */
  readonly #words = new Int32Array(4)
  readonly #changed: () => void

  /** `changed` is called when a rule or an alias comes or goes: for caches of flows. */
  constructor(changed: () => void = () => {}) {
    this.#changed = changed
  }

  get count(): number {
    return this.#sorted.length
  }

  /** Precondition: the rule lives. */
  rule(id: number): Rule {
    return this.#byId[id]!
  }

  /**
   * @throws StackError `exists` if it shares a port with another rule, `bad-argument` for ports
   * out of range or two families, `exhausted`. Nothing is changed then.
   */
  publish(mapping: PortMapping): Rule {
    const { address, target, port, count, targetPort, protocol } = mapping
    if (address !== undefined && address.family !== target.family) {
      const text = `${formatAddress(address)} cannot lead to ${formatAddress(target)}`
      throw new StackError('bad-argument', `${text}: not of one family`)
    }
    return this.#add({
      address: address?.words ?? anyOf(target),
      any: address === undefined,
      protocol,
      port,
      count,
      targetPort,
      mapping,
      service: undefined,
    })
  }

  /** @throws as {@link publish}. */
  addService(service: VirtualService): Rule {
    const { address, protocol, port, count = 1, targetPort } = service
    return this.#add({
      address: address.words,
      any: compareWords(address.words, anyOf(address)) === 0,
      protocol,
      port,
      count,
      targetPort,
      mapping: undefined,
      service,
    })
  }

  /** Aliases of `own`, one of each family: at most {@link ALIASES_MAX} are heeded. */
  setAliases(aliases: readonly Address[], own: readonly Address[]): void {
    this.#changed()
    this.#aliases = aliases.slice(0, ALIASES_MAX).flatMap(({ family, words }) => {
      const stands = own.find((address) => address.family === family)
      return stands === undefined ? [] : [{ words, own: stands.words }]
    })
  }

  /** The rule of a mapping (or one equal to it) or of a service; undefined if it is not here. */
  find(what: PortMapping | VirtualService): Rule | undefined {
    return this.#sorted.find(({ mapping, service }) =>
      mapping === undefined ? service === what : mapping === what || isSame(mapping, what),
    )
  }

  /** Precondition: the rule lives, and no connection is marked with it. */
  remove(rule: Rule): void {
    this.#changed()
    this.#sorted.splice(this.#sorted.indexOf(rule), 1)
    this.#byId[rule.id] = undefined
    this.#idle.push(rule.id)
  }

  /** The rule of exactly the destination of a tuple, or undefined. */
  findExact(tuple: Int32Array): Rule | undefined {
    const words = this.#words
    for (let i = 0; i < 4; i++) words[i] = tuple[DST + i]!
    return this.#covering(tuple[PROTOCOL]! & 0xff, tuple[PORTS]! & 0xffff)
  }

  /** The rule of any own address for the port of a tuple; whether it is one, the caller asks. */
  findAny(tuple: Int32Array): Rule | undefined {
    const four = isFour(tuple)
    const words = this.#words
    words.fill(0)
    words[2] = four ? MAPPED : 0
    return this.#covering(tuple[PROTOCOL]! & 0xff, tuple[PORTS]! & 0xffff)
  }

  /** The rule of what an alias stands for, or undefined. */
  findAliased(tuple: Int32Array): Rule | undefined {
    const aliases = this.#aliases
    for (let i = 0; i < aliases.length; i++) {
      const { words, own } = aliases[i]!
      if (words[3] !== tuple[DST + 3] || words[2] !== tuple[DST + 2]) continue
      if (words[1] !== tuple[DST + 1] || words[0] !== tuple[DST]) continue
      this.#words.set(own)
      const exact = this.#covering(tuple[PROTOCOL]! & 0xff, tuple[PORTS]! & 0xffff)
      return exact ?? this.findAny(tuple)
    }
    return undefined
  }

  /** True if the destination of a tuple is the address of services alone, whatever the port. */
  isVirtual(tuple: Int32Array): boolean {
    const words = this.#words
    for (let i = 0; i < 4; i++) words[i] = tuple[DST + i]!
    const next = this.#sorted[this.#before(0, 0) + 1]
    return isAlone(next) && compareWords(next!.address, words) === 0
  }

  #add(fields: RuleFields): Rule {
    check(fields)
    const other = this.#sorted.find((rule) => isOverlap(rule, fields))
    if (other !== undefined) {
      throw new StackError('exists', `${describe(fields)}: ${describe(other)} is taken`)
    }
    const id = this.#idle.pop() ?? this.#byId.length
    if (id >= RULES_MAX) throw new StackError('exhausted', `more than ${RULES_MAX} published ports`)
    this.#changed()
    const rule: Rule = { id, flows: 0, ...fields }
    this.#words.set(rule.address)
    this.#sorted.splice(this.#before(rule.protocol, rule.port) + 1, 0, rule)
    this.#byId[id] = rule
    return rule
  }

  /** The rule of the address in scratch that has the port. */
  #covering(protocol: number, port: number): Rule | undefined {
    const at = this.#before(protocol, port)
    if (at < 0) return undefined
    const rule = this.#sorted[at]!
    if (rule.protocol !== protocol || port >= rule.port + rule.count) return undefined
    return compareWords(rule.address, this.#words) === 0 ? rule : undefined
  }

  /** Index of the last rule at or before the address in scratch, protocol and port; or -1. */
  #before(protocol: number, port: number): number {
    const sorted = this.#sorted
    let low = 0
    let high = sorted.length
    while (low < high) {
      const middle = (low + high) >>> 1
      const rule = sorted[middle]!
      const difference =
        compareWords(rule.address, this.#words) || rule.protocol - protocol || rule.port - port
      if (difference <= 0) low = middle + 1
      else high = middle
    }
    return low - 1
  }
}

/** True for what is there for other networks too: a virtual address is its own network's affair. */
export function isPublished({ service }: Rule): boolean {
  return service === undefined || service.shared === true
}

/** True if the source or destination words of a tuple are IPv4: both are of one family. */
export function isFour(tuple: Int32Array): boolean {
  return tuple[0] === 0 && tuple[1] === 0 && tuple[2] === MAPPED
}

function compareWords(a: Int32Array, b: Int32Array): number {
  for (let i = 0; i < 4; i++) {
    if (a[i] !== b[i]) return a[i]! >>> 0 < b[i]! >>> 0 ? -1 : 1
  }
  return 0
}

function anyOf({ family }: Address): Int32Array {
  return Int32Array.of(0, 0, family === 4 ? MAPPED : 0, 0)
}

function isOverlap(a: RuleFields, b: RuleFields): boolean {
  if (a.protocol !== b.protocol) return false
  if (a.port >= b.port + b.count || b.port >= a.port + a.count) return false
  if (compareWords(a.address, b.address) === 0) return true
  // An own address that is virtual is none of "any".
  if (isAlone(a) || isAlone(b)) return false
  return (a.any || b.any) && isFour(a.address) === isFour(b.address)
}

/** A service whose address is nothing else's. */
function isAlone(rule: RuleFields | undefined): boolean {
  return rule?.service !== undefined && rule.service.shared !== true
}

function check({ port, count, targetPort }: RuleFields): void {
  const whole = Number.isInteger(port) && Number.isInteger(count) && Number.isInteger(targetPort)
  const least = Math.min(port, targetPort, count)
  if (!whole || least < 1 || Math.max(port, targetPort) + count - 1 > PORT_MAX) {
    const text = `${count} ports from ${port} to ${targetPort}`
    throw new StackError('bad-argument', `${text}: ports go from 1 to ${PORT_MAX}`)
  }
}

function isSame(a: PortMapping, b: PortMapping | VirtualService): boolean {
  if (!('target' in b)) return false
  const address =
    a.address === undefined || b.address === undefined
      ? a.address === b.address
      : sameAddress(a.address, b.address)
  return (
    address &&
    a.protocol === b.protocol &&
    a.port === b.port &&
    a.count === b.count &&
    a.targetPort === b.targetPort &&
    sameAddress(a.target, b.target)
  )
}

function describe({ address, any, protocol, port, count }: RuleFields): string {
  const family = isFour(address) ? 4 : 6
  const text = any ? `any IPv${family} address` : formatAddress({ family, words: address })
  const ports = count === 1 ? `port ${port}` : `ports ${port}-${port + count - 1}`
  return `${ports}/${protocolName(protocol)} of ${text}`
}
