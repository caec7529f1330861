/**
 * What a node counts: packets and octets of devices, packet memory, and what ended undelivered. As
 * in views.ts, names of fields are a contract.
 */
import { Count } from '../stack/counters.ts'
import { DROP_COUNT, DROP_HELP, DROP_NAMES, DropReason } from '../stack/drop.ts'
import { SMALL_SLOT_BYTES } from '../stack/packet.ts'
import type { Node } from './node.ts'
import { UPLINK } from './uplink.ts'

/** The name under which drops of packets are listed that belong to no device. */
const NODE_DEVICE = '(node)'
/** The name of the socket that carries tunnels. */
const UNDERLAY_DEVICE = 'underlay'

/** What has counters of its own. */
export interface Counted {
  readonly device: {
    readonly name: string
    readonly kind: string
    readonly port: number
    readonly mtuBytes: number
  }
  readonly network: string
  readonly sandbox: string
}

export interface DropRow {
  /** The device by which the packets came in, or `(node)`. */
  readonly device: string
  readonly reason: string
  readonly count: number
  readonly help: string
}

export interface DeviceRow {
  readonly device: string
  readonly kind: string
  readonly network: string
  readonly sandbox: string
  readonly mtu: number
  readonly rxPackets: number
  readonly rxBytes: number
  readonly rxNoBuffer: number
  readonly txPackets: number
  readonly txBytes: number
  readonly txErrors: number
  /** Packets that came in by it and ended undelivered; see `drops`. */
  readonly dropped: number
}

export interface Stats {
  readonly uptimeMs: number
  /** What carries the frames: `tap (io_uring)`. */
  readonly links: string
  /** Devices lost from outside since the start. */
  readonly lostDevices: number
  readonly pool: {
    readonly smallCount: number
    readonly smallIdle: number
    readonly largeCount: number
    readonly largeIdle: number
  }
  readonly devices: readonly DeviceRow[]
}

export function stats(node: Node): Stats {
  const { pool, clock, links, tally } = node.context
  const smallCount = pool.packets.filter((p) => p.slotBytes === SMALL_SLOT_BYTES).length
  return {
    uptimeMs: Math.round(clock.nowMs - node.startedMs),
    links: links.describe,
    lostDevices: tally.lostDevices,
    pool: {
      smallCount,
      smallIdle: pool.idleSmall,
      largeCount: pool.packets.length - smallCount,
      largeIdle: pool.idleLarge,
    },
    devices: countedDevices(node).map(({ device, network, sandbox }) => {
      const value = (field: number): number => pool.counters.value(device.port, field)
      return {
        device: device.name,
        kind: device.kind,
        network,
        sandbox,
        mtu: device.mtuBytes,
        rxPackets: value(Count.RxPackets),
        rxBytes: value(Count.RxBytes),
        rxNoBuffer: value(Count.RxNoBuffer),
        txPackets: value(Count.TxPackets),
        txBytes: value(Count.TxBytes),
        txErrors: value(Count.TxErrors),
        dropped: dropsOf(node, device.port).reduce((sum, [, count]) => sum + count, 0),
      }
    }),
  }
}

/** The most frequent first. */
export function drops(node: Node): DropRow[] {
  const devices = countedDevices(node).map(({ device }) => [device.name, device.port] as const)
  const rows = [[NODE_DEVICE, 0] as const, ...devices].flatMap(([device, port]) =>
    dropsOf(node, port).map(([reason, count]) => ({
      device,
      reason: DROP_NAMES[reason]!,
      count,
      help: DROP_HELP[reason]!,
    })),
  )
  return rows.sort((a, b) => b.count - a.count)
}

/** A lost device has given its counters back. */
export function countedDevices(node: Node): Counted[] {
  const edges = node.edges().filter((edge) => edge.lost === undefined)
  const rows: Counted[] = edges.map(({ device, endpoint: { network, sandbox } }) => {
    return { device, network, sandbox }
  })
  for (const { state, parent } of node.networks()) {
    if (parent?.device === undefined) continue
    rows.push({ device: parent.device, network: state.name, sandbox: '' })
  }
  const { uplink: open } = node
  if (open !== undefined && open.lost === undefined) {
    rows.push({ device: open.device, network: UPLINK, sandbox: '' })
  }
  return [...rows, ...tunnels(node)]
}

/** Tunnels, and the underlay that carries them. */
function tunnels(node: Node): Counted[] {
  const { overlays } = node.context
  if (overlays.node === undefined) return []
  const { mtuBytes } = overlays.node
  const { port: under } = overlays.vtep.underlay
  const rows = node.networks().flatMap(({ state, overlay }): Counted[] =>
    (overlay?.segments ?? []).map(({ tunnel: { port }, port: { name } }) => ({
      device: {
        name: `${state.name}/${name}`,
        kind: 'tunnel',
        port,
        mtuBytes: state.options.mtuBytes,
      },
      network: state.name,
      sandbox: '',
    })),
  )
  const device = { name: UNDERLAY_DEVICE, kind: 'udp', port: under, mtuBytes }
  return [...rows, { device, network: UNDERLAY_DEVICE, sandbox: '' }]
}

/** What the node itself took in is counted with the drops, but is none. */
function dropsOf(node: Node, port: number): [number, number][] {
  const { counters } = node.context.pool
  return Array.from({ length: DROP_COUNT }, (_, reason): [number, number] => [
    reason,
    counters.drops(port, reason),
  ]).filter(([reason, count]) => count > 0 && reason !== DropReason.Delivered)
}
