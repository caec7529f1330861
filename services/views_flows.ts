/** What a node shows of its flow cache. As in views.ts, names of fields are a contract. */
import { protocolName } from '../stack/ip/conntrack_list.ts'
import type { FlowEndpoint, FlowRow } from '../stack/ip/flow_list.ts'
import type { Node } from './node.ts'
import { notFound } from './not_found.ts'
import { countedDevices } from './views_counters.ts'

/** Addresses and ports; a port is 0 where the protocol has none, and an echo's identifier. */
export interface FlowSide {
  readonly src: string
  readonly srcPort: number
  readonly dst: string
  readonly dstPort: number
}

export interface CachedFlow {
  /** The device it comes in by. */
  readonly from: string
  /** The device it leaves by; null: it is dropped. */
  readonly to: string | null
  readonly protocol: string
  /** As it comes. */
  readonly original: FlowSide
  /** As it leaves; null: just so. */
  readonly translated: FlowSide | null
  /** From one network to another. */
  readonly routed: boolean
  /** Its connection is tracked. */
  readonly tracked: boolean
  /** Why it is dropped. */
  readonly drop: string | null
  /** Packets that the cache passed or dropped, without those it was learned from. */
  readonly packets: number
  readonly bytes: number
  readonly idleMs: number
}

/** Flows of the cache, the latest first; of one device only. @throws StackError `not-found`. */
export function flows(node: Node, device?: string): CachedFlow[] {
  const names = new Map(countedDevices(node).map(({ device: { port, name } }) => [port, name]))
  if (device !== undefined && ![...names.values()].includes(device)) {
    throw notFound('no device', device, names.values())
  }
  const rows = (node.context.flows?.list() ?? []).map((row) => rowOf(row, names))
  return rows.filter(({ from, to }) => device === undefined || from === device || to === device)
}

function rowOf(row: FlowRow, names: ReadonlyMap<number, string>): CachedFlow {
  const { protocol, translated, routed, tracked, drop, packets, bytes, idleMs } = row
  return {
    from: names.get(row.from) ?? `port ${row.from}`,
    to: drop === undefined ? (names.get(row.to) ?? `port ${row.to}`) : null,
    protocol: protocolName(protocol),
    original: sideOf(row),
    translated: translated === undefined ? null : sideOf(translated),
    routed,
    tracked,
    drop: drop ?? null,
    packets,
    bytes,
    idleMs,
  }
}

function sideOf(ends: { source: FlowEndpoint; destination: FlowEndpoint }): FlowSide {
  const { source, destination } = ends
  return {
    src: source.address,
    srcPort: source.port,
    dst: destination.address,
    dstPort: destination.port,
  }
}
