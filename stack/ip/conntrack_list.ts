/** Connections as values: for listings, filters and events. Never on the data path. */
import { formatWords } from '../address.ts'
import { TCP_STATE_NAMES } from './conntrack_tcp.ts'
import * as ipv4 from './ipv4.ts'
import { DST, PORTS, PROTOCOL, Sctp, SRC, TUPLE_WORDS } from './tuple.ts'

/** What listing needs of a conntrack. */
export interface ConnectionTable {
  nextLive(flow: number): number
  loadTuple(flow: number, words: Int32Array): void
  state(flow: number): number
  isAnswered(flow: number): boolean
  isAssured(flow: number): boolean
  remainingMs(flow: number): number
  packets(flow: number): number
  octets(flow: number): number
}

export interface ConntrackSide {
  readonly src: string
  readonly dst: string
  /** 0 where the protocol has none; of an echo, its identifier. */
  readonly srcPort: number
  readonly dstPort: number
  readonly packets: number
  readonly bytes: number
}

export interface ConntrackRow {
  /** `tcp`, `udp`, `icmp`, `icmp6`, `sctp`, or the number. */
  readonly protocol: string
  readonly zone: number
  /** Of TCP, by Linux's names; else `unreplied`, `replied` or `assured`. */
  readonly state: string
  readonly assured: boolean
  readonly timeoutS: number
  readonly original: ConntrackSide
  readonly reply: ConntrackSide
}

/** What is given must be so. */
export interface ConntrackFilter {
  readonly protocol?: string
  readonly state?: string
  /** An address of either side and direction. */
  readonly address?: string
  readonly src?: string
  readonly dst?: string
  /** A port of either side and direction. */
  readonly port?: number
}

const NAMES = new Map<number, string>([
  [ipv4.Protocol.Tcp, 'tcp'],
  [ipv4.Protocol.Udp, 'udp'],
  [ipv4.Protocol.Icmp, 'icmp'],
  [ipv4.Protocol.Icmp6, 'icmp6'],
  [Sctp, 'sctp'],
])
const PROTOCOL_MASK = 0xff

/** The name of an IP protocol, or its number. */
export function protocolName(number: number): string {
  return NAMES.get(number) ?? String(number)
}

/** Protocols as lists name them; others go by their numbers. */
export const PROTOCOL_NAMES: readonly string[] = [...NAMES.values()]

/** All that a connection's state may be called. */
export const STATE_NAMES: readonly string[] = [
  ...TCP_STATE_NAMES,
  'unreplied',
  'replied',
  'assured',
]

export function describeFlow(table: ConnectionTable, flow: number): ConntrackRow {
  const words = new Int32Array(TUPLE_WORDS)
  const side = (direction: number): ConntrackSide => {
    table.loadTuple(direction, words)
    return {
      src: formatWords(words, SRC),
      dst: formatWords(words, DST),
      srcPort: words[PORTS]! >>> 16,
      dstPort: words[PORTS]! & 0xffff,
      packets: table.packets(direction),
      bytes: table.octets(direction),
    }
  }
  const original = side(flow & ~1)
  const reply = side(flow | 1)
  const number = words[PROTOCOL]! & PROTOCOL_MASK
  const answered = table.isAnswered(flow) ? 'replied' : 'unreplied'
  const assured = table.isAssured(flow)
  const idle = assured ? 'assured' : answered
  return {
    protocol: protocolName(number),
    zone: words[PROTOCOL]! >>> 8,
    state: number === ipv4.Protocol.Tcp ? TCP_STATE_NAMES[table.state(flow)]! : idle,
    assured,
    timeoutS: Math.round(table.remainingMs(flow) / 1000),
    original,
    reply,
  }
}

/** True if a connection is as the filter says. */
export function fits(
  { protocol, state, original, reply }: ConntrackRow,
  filter: ConntrackFilter,
): boolean {
  const sides = [original, reply]
  const addresses = sides.flatMap(({ src, dst }) => [src, dst])
  const ports = sides.flatMap(({ srcPort, dstPort }) => [srcPort, dstPort])
  return (
    (filter.protocol === undefined || filter.protocol === protocol) &&
    (filter.state === undefined || filter.state === state) &&
    (filter.src === undefined || filter.src === original.src) &&
    (filter.dst === undefined || filter.dst === original.dst) &&
    (filter.address === undefined || addresses.includes(filter.address)) &&
    (filter.port === undefined || ports.includes(filter.port))
  )
}

/** Original flows that fit, and their rows. */
function listFlows(
  table: ConnectionTable,
  filter: ConntrackFilter,
): { readonly flow: number; readonly row: ConntrackRow }[] {
  const all: { flow: number; row: ConntrackRow }[] = []
  for (let flow = table.nextLive(0); flow >= 0; flow = table.nextLive(flow + 2)) {
    const row = describeFlow(table, flow)
    if (fits(row, filter)) all.push({ flow, row })
  }
  return all
}

/** Connections that fit, oldest place first. */
export function listConnections(
  table: ConnectionTable,
  filter: ConntrackFilter = {},
): ConntrackRow[] {
  return listFlows(table, filter).map(({ row }) => row)
}

/** Forget the connections that fit; returns how many. */
export function deleteConnections(
  table: ConnectionTable & { remove(flow: number): void },
  filter: ConntrackFilter,
): number {
  const all = listFlows(table, filter)
  for (const { flow } of all) table.remove(flow)
  return all.length
}
