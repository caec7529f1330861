/** What hosts, a querier and senders do in a network, by a seed, so that a run repeats. */
import type { Random } from '../../../stack/random.ts'
import {
  asks,
  data,
  type GroupRecord,
  groupFrame,
  igmp,
  membership,
  mld,
  type QueryOptions,
  query,
  report,
} from '../../ip/group_lab.ts'
import { PORTS, type PortName, type Versions } from './both.ts'

/** Those in one column have the same MAC address. */
const GROUPS: readonly (readonly string[])[] = [
  ['239.1.2.3', '239.129.2.3', '224.1.2.3', '239.1.2.4', '232.9.9.9', '224.0.1.1'],
  ['ff05::1:3', 'ff0e::1:3', 'ff13::1:3', 'ff05::1:4', 'ff3e::9:9', 'ff08::1'],
]
/** Wanted from some sources only. */
export const SOURCE_GROUPS: readonly string[] = ['232.1.1.1', 'ff3e::1:1']
/** Of the link: both flood them. */
const LINK = ['224.0.0.251', 'ff02::1'] as const
/** Nobody ever joins. */
const LONELY = ['239.7.7.7', 'ff05::7:7'] as const
/** Of who has no address, and of questions about no group. */
export const NOWHERE: readonly string[] = ['0.0.0.0', '::']
export const QUERIERS = ['10.1.0.1', 'fe80::1'] as const
/** Of records: RFC 3376 §4.2.12. */
const IS_INCLUDE = 1
const IS_EXCLUDE = 2
const TO_INCLUDE = 3
const TO_EXCLUDE = 4
const ALLOW = 5
const BLOCK = 6

/** What an event is. Reports and leaves are told apart by version, since the kernel does so. */
export type Kind =
  | 'data'
  | 'source data'
  | 'report 1'
  | 'report 3'
  | 'leave 1'
  | 'query'
  | 'broken'
  | 'hello'
  | 'to all'

export interface Event {
  readonly kind: Kind
  readonly from: PortName
  readonly what: string
  readonly bytes: Uint8Array
}

/** A question about a group, and who of those asked answers in time. */
export interface Question {
  readonly asked: Event
  readonly answers: readonly Event[]
  readonly group: string
}

export class Script {
  readonly #random: Random
  readonly #versions: Versions

  constructor(random: Random, versions: Versions) {
    this.#random = random
    this.#versions = versions
  }

  next(): Event {
    const random = this.#random
    const family = random.below(2)
    const from = this.#pick(PORTS)
    if (random.chance(45)) return this.#data(from, family)
    if (random.chance(3)) return general(family)
    if (random.chance(4)) return broken(this.#join(from, this.#pick(GROUPS[family]!)))
    if (random.chance(6)) return this.#strange(from, family)
    if (random.chance(15)) return this.#sources(from, family)
    if (random.chance(12)) return this.#many(from, family)
    const group = this.#pick(GROUPS[family]!)
    return random.chance(55) ? this.#join(from, group) : this.#leave(from, group)
  }

  /** What tells where a group goes. */
  probe(from: PortName, group: string): Event {
    return { kind: 'data', from, what: `data to ${group}`, bytes: data(group, host(from)) }
  }

  question(): Question {
    const family = this.#random.below(2)
    const group = this.#pick(GROUPS[family]!)
    const bytes = asks(QUERIERS[family]!, group)
    const asked = { kind: 'query', from: 'q', what: `who wants ${group}?`, bytes } as const
    const answering = PORTS.filter(() => this.#random.chance(50))
    return { asked, group, answers: answering.map((name) => this.#join(name, group)) }
  }

  /** A multicast router says that it is there. */
  hello(from: PortName): Event {
    const fields = { to: '224.0.0.13', payload: [0x20, 0, 0, 0], protocol: 103 }
    const bytes = groupFrame({ station: host(from), ...fields })
    return { kind: 'hello', from, what: 'PIM hello', bytes }
  }

  #data(from: PortName, family: number): Event {
    const random = this.#random
    if (random.chance(12)) {
      const group = SOURCE_GROUPS[family]!
      return { ...this.probe(from, group), kind: 'source data' }
    }
    if (random.chance(8)) return this.probe(from, LINK[family]!)
    if (random.chance(8)) return this.probe(from, LONELY[family]!)
    const group = this.#pick(GROUPS[family]!)
    if (!random.chance(20)) return this.probe(from, group)
    // Protocols that no snooper knows.
    const protocol = this.#pick([1, 6, 132, 59])
    const payload = Array.from({ length: 1 + random.below(60) }, () => random.below(256))
    const bytes = groupFrame({ station: host(from), to: group, payload, protocol, hops: 4 })
    return { kind: 'data', from, what: `protocol ${protocol} to ${group}`, bytes }
  }

  #join(from: PortName, group: string): Event {
    const six = group.includes(':')
    if (this.#random.chance(50)) {
      const type = this.#pick([IS_EXCLUDE, TO_EXCLUDE])
      return this.#report(from, [{ type, group }])
    }
    const what = `report of ${group}`
    const payload = six ? mld(131, group) : igmp(this.#pick([0x12, 0x16]), 0, group)
    return { kind: 'report 1', from, what, bytes: told(from, group, payload) }
  }

  #leave(from: PortName, group: string): Event {
    if (this.#random.chance(50)) return this.#report(from, [{ type: TO_INCLUDE, group }])
    const six = group.includes(':')
    const what = `leave of ${group}`
    const payload = six ? mld(132, group) : igmp(0x17, 0, group)
    const bytes = told(from, six ? 'ff02::2' : '224.0.0.2', payload)
    return { kind: 'leave 1', from, what, bytes }
  }

  /** Joins and leaves of several groups at a time. */
  #many(from: PortName, family: number): Event {
    const records = GROUPS[family]!.filter(() => this.#random.chance(50)).map((group) => {
      return { type: this.#pick([IS_EXCLUDE, TO_EXCLUDE, TO_INCLUDE]), group }
    })
    return records.length > 0 ? this.#report(from, records) : this.next()
  }

  #sources(from: PortName, family: number): Event {
    const group = SOURCE_GROUPS[family]!
    const sources = PORTS.filter(() => this.#random.chance(50)).map((name) => address(name, family))
    if (sources.length === 0) return this.#report(from, [{ type: TO_INCLUDE, group }])
    const types = [IS_INCLUDE, IS_EXCLUDE, TO_INCLUDE, TO_EXCLUDE, ALLOW]
    // A kernel of the old versions takes this for a join: see the differences.
    if (this.#versions === 'new') types.push(BLOCK)
    return this.#report(from, [{ type: this.#pick(types), group, sources }])
  }

  /** What no sane host sends, and both take alike. */
  #strange(from: PortName, family: number): Event {
    const random = this.#random
    const group = this.#pick(GROUPS[family]!)
    // A kernel of the new versions takes whoever has no address yet for another station.
    const kind = random.below(this.#versions === 'new' ? 3 : 4)
    if (kind === 0) {
      // Whoever wants the group from elsewhere does not answer.
      const bytes = question(QUERIERS[family]!, group, { sources: [address(from, family)] })
      return { kind: 'query', from: 'q', what: `who wants ${group} from one source?`, bytes }
    }
    if (kind === 1) {
      const bytes = question(QUERIERS[family]!, NOWHERE[family]!, { to: group })
      return { kind: 'query', from, what: `who wants what? (to ${group})`, bytes }
    }
    if (kind === 2) {
      const event = random.chance(50) ? this.probe(from, group) : this.#join(from, group)
      const bytes = event.bytes.slice().fill(0xff, 0, 6)
      return { kind: 'to all', from, what: `${event.what}, to all stations`, bytes }
    }
    const to = family === 0 ? '224.0.0.22' : 'ff02::16'
    const payload = report({ type: TO_EXCLUDE, group })
    const bytes = told(from, to, payload, NOWHERE[family]!)
    return { kind: 'report 3', from, what: `report of ${group} from nowhere`, bytes }
  }

  #report(from: PortName, records: readonly GroupRecord[]): Event {
    const what = records.map(({ type, group, sources = [] }) => `${type} ${group} {${sources}}`)
    const bytes = membership(report(...records), records[0]!.group, host(from))
    return { kind: 'report 3', from, what: what.join(', '), bytes }
  }

  #pick<T>(from: readonly T[]): T {
    return from[this.#random.below(from.length)]!
  }
}

/** One station behind each port. */
export function host(port: PortName): number {
  return 0x10 + PORTS.indexOf(port)
}

export function general(family: number): Event {
  const bytes = asks(QUERIERS[family]!)
  return { kind: 'query', from: 'q', what: `who wants what? (family ${family})`, bytes }
}

/** Its last octet is of the group or a count, and the checksum tells that it is wrong. */
function broken(event: Event): Event {
  const bytes = event.bytes.slice()
  bytes[bytes.length - 1]! ^= 0x01
  return { ...event, kind: 'broken', what: `broken ${event.what}`, bytes }
}

/** A message about membership, from the port's station. */
export function told(
  from: PortName,
  to: string,
  payload: readonly number[],
  source: string = address(from, to.includes(':') ? 1 : 0),
): Uint8Array {
  const protocol = to.includes(':') ? 58 : 2
  return groupFrame({ station: host(from), source, to, payload, protocol })
}

/** A question of IGMPv3 or MLDv2 by a querier. The group NOWHERE: in general. */
export function question(
  source: string,
  group: string,
  { to, ...options }: QueryOptions & { readonly to?: string } = {},
): Uint8Array {
  const six = source.includes(':')
  const all = six ? 'ff02::1' : '224.0.0.1'
  const isGeneral = NOWHERE.includes(group)
  const payload = query(group, { code: six ? 100 : 1, ...options })
  const target = to ?? (isGeneral ? all : group)
  return groupFrame({ station: 0xee, source, to: target, payload, protocol: six ? 58 : 2 })
}

export function address(port: PortName, family: number): string {
  return family === 0 ? `10.1.0.${host(port)}` : `fe80::${host(port).toString(16)}`
}
