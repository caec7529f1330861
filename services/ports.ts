/**
 * Published ports as Compose writes them:
 *
 * ```text
 *   [HOST_IP:]HOST[-END]:CONTAINER[-END][/tcp|udp|sctp]      8080:80   127.0.0.1:53:53/udp
 *   CONTAINER[-END][/...]                                    80: the host port is chosen
 *   HOST-END:CONTAINER                                       8000-8010:80: one of the range is
 *   [IPv6]:HOST:CONTAINER                                    [2001:db8::2]:8080:80
 * ```
 *
 * A range is one entry however many ports it has; both sides are of one length, unless a single
 * port is to have any free one of a range. Without an address a port is published on every address
 * of the node, of both families.
 */
import { type Address, type Family, formatAddress, parseAddress } from '../stack/address.ts'
import { StackError } from '../stack/errors.ts'

/** IP protocol numbers of what can be published. */
export const PORT_PROTOCOLS = { tcp: 6, udp: 17, sctp: 132 } as const
export type PortProtocol = keyof typeof PORT_PROTOCOLS

/** One entry of a sandbox's `ports`. */
export interface PortConfig {
  /** Undefined: every address of the node, of both families. */
  readonly address: Address | undefined
  /** First port of the node; undefined: chosen, of {@link among}. */
  readonly port: number | undefined
  /** Which one may be chosen; left out: from {@link AUTOMATIC_FIRST} on. */
  readonly among?: PortSpan
  readonly count: number
  /** First port of the sandbox. */
  readonly targetPort: number
  readonly protocol: PortProtocol
  /** What SRV questions call it. */
  readonly name?: string
}

/** Ports from `first` to `last`, both included. */
export interface PortSpan {
  readonly first: number
  readonly last: number
}

/** Where automatic ports come from: the dynamic range of RFC 6335 §6, as Docker has it. */
export const AUTOMATIC_FIRST = 49_153
export const PORT_MAX = 65_535

function refuse(message: string): never {
  throw new StackError('bad-argument', message)
}

/** @throws StackError `bad-argument` that says what is wrong and what would be right. */
export function parsePort(written: string): PortConfig {
  const [, body = '', name = 'tcp'] = /^(.*?)(?:\/(.*))?$/.exec(written.trim())!
  const parts = /^(?:(\[[^\]]*\]|[^:]*):)??(?:([^:]*):)?([^:]*)$/.exec(body)
  if (parts === null) {
    refuse(`"${written}" is not a published port, such as "8080:80", "127.0.0.1:53:53/udp"`)
  }
  const [, host, published, target = ''] = parts
  const container = range(target, written)
  const own = published === undefined || published === '' ? undefined : range(published, written)
  if (published === undefined && host !== undefined) refuse(`"${written}": a port is missing`)
  return checked({
    written,
    address: host === undefined || host === '' ? undefined : bind(host, written),
    own,
    container,
    protocol: protocolOf(name, written),
  })
}

/** The same from Compose's long form. @throws StackError `bad-argument`. */
export function longPort(entry: {
  readonly target: number | string
  readonly published?: number | string | undefined
  readonly host_ip?: string | undefined
  readonly protocol?: string | undefined
  readonly name?: string | undefined
}): PortConfig {
  const { target, published, host_ip: host, protocol = 'tcp', name } = entry
  const written = `${published ?? ''}:${target}`
  const port = checked({
    written,
    address: host === undefined ? undefined : bind(host, written),
    own: published === undefined ? undefined : range(String(published), written),
    container: range(String(target), written),
    protocol: protocolOf(protocol, written),
  })
  return name === undefined ? port : { ...port, name }
}

interface Range {
  readonly first: number
  readonly count: number
}

function checked(o: {
  readonly written: string
  readonly address: Address | undefined
  readonly own: Range | undefined
  readonly container: Range
  readonly protocol: PortProtocol
}): PortConfig {
  const { written, address, own, container, protocol } = o
  const { first, count } = container
  const port = { address, port: own?.first, count, targetPort: first, protocol }
  if (own === undefined || own.count === count) return port
  if (count > 1) refuse(`"${written}": ${own.count} ports cannot lead to ${count}`)
  const among = { first: own.first, last: own.first + own.count - 1 }
  return { ...port, port: undefined, among }
}

function range(text: string, written: string): Range {
  const [, from = '', to = from] = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text) ?? []
  const first = Number(from)
  const last = Number(to)
  if (from === '' || first < 1 || last > PORT_MAX) {
    refuse(`"${written}": "${text}" is not a port from 1 to ${PORT_MAX} or a range, such as 80-89`)
  }
  if (last < first) refuse(`"${written}": the range ${text} ends before it begins`)
  return { first, count: last - first + 1 }
}

function bind(host: string, written: string): Address {
  try {
    return parseAddress(host.replace(/^\[(.*)\]$/, '$1'))
  } catch {
    return refuse(`"${written}": "${host}" is not an address; IPv6 goes in brackets`)
  }
}

function protocolOf(name: string, written: string): PortProtocol {
  const lower = name.toLowerCase()
  if (lower === 'tcp' || lower === 'udp' || lower === 'sctp') return lower
  return refuse(`"${written}": "${name}" is not tcp, udp or sctp`)
}

/** True for 0.0.0.0 and ::, which mean every address of their family. */
export function isAny({ family, words }: Address): boolean {
  return family === 4 ? words[3] === 0 : words.every((word) => word === 0)
}

/** The families that an entry is published in. */
export function portFamilies({ address }: PortConfig): readonly Family[] {
  return address === undefined ? [4, 6] : [address.family]
}

/** True if two entries want one port of one address. */
export function portsClash(a: PortConfig, b: PortConfig): boolean {
  if (a.protocol !== b.protocol || a.port === undefined || b.port === undefined) return false
  if (a.port >= b.port + b.count || b.port >= a.port + a.count) return false
  if (a.address === undefined || b.address === undefined) return true
  if (a.address.family !== b.address.family) return false
  const same = formatAddress(a.address) === formatAddress(b.address)
  return same || isAny(a.address) || isAny(b.address)
}

/** As a person would write it: `203.0.113.2:5353:53/udp`. */
export function formatPort(entry: PortConfig): string {
  const { address, port, among, count, targetPort, protocol } = entry
  const span = (first: number): string =>
    count === 1 ? `${first}` : `${first}-${first + count - 1}`
  const host = address === undefined ? '' : `${hostText(address)}:`
  const choice = among === undefined ? '' : `${among.first}-${among.last}:`
  const published = port === undefined ? choice : `${span(port)}:`
  return `${host}${published}${span(targetPort)}/${protocol}`
}

/** The node's side of it, which no other has: `8080/tcp`, `203.0.113.2:9000-9010/udp`. */
export function formatPublished({ address, port, count, protocol }: PortConfig): string {
  const host = address === undefined ? '' : `${hostText(address)}:`
  const first = port ?? 0
  return `${host}${count === 1 ? first : `${first}-${first + count - 1}`}/${protocol}`
}

function hostText(address: Address): string {
  const text = formatAddress(address)
  return address.family === 6 ? `[${text}]` : text
}
