/** The flow cache in rows, for people. */
import { type Address, formatAddress } from '../address.ts'
import { DROP_NAMES, type DropName } from '../drop.ts'
import { type FlowTable, INGRESS, PORTS, PROTOCOL, SRC } from '../flow_table.ts'
import type { FlowPath } from './flow_path.ts'

/** One end of a flow: `port` is 0 where the protocol has none, and an echo's identifier. */
export interface FlowEndpoint {
  readonly address: string
  readonly port: number
}

export interface FlowRow {
  readonly family: 4 | 6
  /** Number of the IP protocol. */
  readonly protocol: number
  /** Counters port of the device it comes in by, and of that it leaves by; 0: it is dropped. */
  readonly from: number
  readonly to: number
  readonly source: FlowEndpoint
  readonly destination: FlowEndpoint
  /** How it leaves, if that is not how it came. */
  readonly translated:
    | { readonly source: FlowEndpoint; readonly destination: FlowEndpoint }
    | undefined
  /** Between networks, not inside one. */
  readonly routed: boolean
  /** Its connection is tracked. */
  readonly tracked: boolean
  readonly drop: DropName | undefined
  /** Passed by the cache; the packets that it was learned from are not among them. */
  readonly packets: number
  readonly bytes: number
  readonly idleMs: number
}

/** An entry that was not used for so long is not listed: nothing else ends it. */
const IDLE_MAX_MS = 60_000

export interface FlowListOptions {
  readonly epoch: number
  readonly nowMs: number
  readonly paths: readonly FlowPath[]
}

export function listFlows(table: FlowTable, options: FlowListOptions): FlowRow[] {
  const rows: FlowRow[] = []
  for (let entry = table.next(0); entry >= 0; entry = table.next(entry + 1)) {
    const at = entry * table.stride
    const idleMs = (options.nowMs - table.words[at + table.usedAt]!) | 0
    const current = table.words[at + table.epochAt] === options.epoch
    if (current && idleMs <= IDLE_MAX_MS) rows.push(rowOf(table, entry, idleMs, options.paths))
  }
  return rows
}

function rowOf(
  table: FlowTable,
  entry: number,
  idleMs: number,
  paths: readonly FlowPath[],
): FlowRow {
  const { words, tally, addressWords } = table
  const at = entry * table.stride
  const path = paths[words[at + table.pathAt]! & 0xffff]!
  const protocol = words[at + PROTOCOL]!
  const end = (address: number, ports: number, low: boolean): FlowEndpoint => ({
    address: formatAddress(addressAt(words, address, addressWords)),
    port: low ? ports & 0xffff : ports >>> 16,
  })
  const pair = (addresses: number, ports: number) => ({
    source: end(addresses, ports, false),
    destination: end(addresses + addressWords, ports, true),
  })
  return {
    family: addressWords === 1 ? 4 : 6,
    protocol,
    from: words[at + INGRESS]! >>> 16,
    to: path.port,
    ...pair(at + SRC, words[at + PORTS]!),
    translated: path.translated
      ? pair(at + table.addressesAt, words[at + table.portsAt]!)
      : undefined,
    routed: path.mtuBytes > 0,
    tracked: words[at + table.flowAt]! >= 0,
    drop: path.output === undefined ? DROP_NAMES[path.reason] : undefined,
    packets: tally[2 * entry]!,
    bytes: tally[2 * entry + 1]!,
    idleMs,
  }
}

function addressAt(words: Int32Array, at: number, count: number): Address {
  if (count === 4) return { family: 6, words: words.slice(at, at + 4) }
  return { family: 4, words: Int32Array.of(0, 0, 0xffff, words[at]!) }
}
