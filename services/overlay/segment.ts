/**
 * One VNI of an overlay network: a tunnel, and the bridge port that it is.
 *
 * ```text
 *   bridge port -> tunnel -> other nodes
 *   bridge port <- proxy and guard <- [flow cache] <- tunnel <- other nodes
 * ```
 */
import type { Address } from '../../stack/address.ts'
import { announce } from '../../stack/arp/announce.ts'
import type { Bindings } from '../../stack/arp/bindings.ts'
import { arpProxy } from '../../stack/arp/proxy.ts'
import { DropReason } from '../../stack/drop.ts'
import type { Bridge } from '../../stack/eth/bridge.ts'
import type { BridgePort } from '../../stack/eth/bridge_port.ts'
import { SRC } from '../../stack/eth/frame.ts'
import { GroupRole } from '../../stack/eth/group_filter.ts'
import { isMacAt, type Mac } from '../../stack/eth/mac.ts'
import { DEFAULT_PVID } from '../../stack/eth/vlan.ts'
import type { RouterInterface } from '../../stack/ip/router_interface.ts'
import type { Snooper } from '../../stack/ip/snooping.ts'
import type { Packet, Pool } from '../../stack/packet.ts'
import { TUNNEL_PEERS_MAX } from '../../stack/vxlan/remotes.ts'
import { SEAL_BYTES } from '../../stack/vxlan/seal.ts'
import type { Tunnel } from '../../stack/vxlan/tunnel.ts'
import type { Context } from '../context.ts'
import type { NetworkGroups } from '../groups.ts'
import { nodeMac } from '../mac_pool.ts'
import type { NetworkState } from '../state.ts'

/** The bridge port that leads to other nodes; device names have a slash, so none is like it. */
const TUNNEL_PORT = 'tunnel'

export interface Segment {
  readonly vni: number
  /** Of the bridge; undefined: it does not filter VLANs. */
  readonly vid: number | undefined
  readonly tunnel: Tunnel
  readonly port: BridgePort
  /** Which node wants which group; undefined: every node gets all. */
  readonly groups: Snooper | undefined
}

export interface SegmentsOptions {
  readonly context: Context
  readonly state: NetworkState
  readonly bridge: Bridge
  readonly bindings: Bindings
  /** Undefined: every group goes to everybody. */
  readonly groups: NetworkGroups | undefined
  /** The leg in the network; undefined until there is one. */
  readonly leg: () => RouterInterface | undefined
}

/** All of a network, its own VNI first. @throws StackError; leaves nothing. */
export function openSegments(o: SegmentsOptions): Segment[] {
  const { overlay, options } = o.state
  const { vni, vlans } = overlay!
  const own = { vid: options.vlanFiltering ? DEFAULT_PVID : undefined, vni }
  const segments: Segment[] = []
  try {
    for (const each of [own, ...vlans]) segments.push(open(o, each.vni, each.vid))
  } catch (error) {
    closeSegments(o, segments)
    throw error
  }
  return segments
}

export function closeSegments(
  { context, bridge }: Pick<SegmentsOptions, 'context' | 'bridge'>,
  segments: readonly Segment[],
): void {
  for (const { tunnel, port, groups } of segments) {
    bridge.removePort(port)
    context.overlays.vtep.remove(tunnel)
    context.overlays.decrypt(tunnel.vni)
    groups?.close()
  }
}

function open(o: SegmentsOptions, vni: number, vid: number | undefined): Segment {
  const { context, state, bridge, bindings } = o
  const { pool, clock, random, flows, overlays } = context
  const { vtep } = overlays
  const overlay = state.overlay!
  const name = vni === overlay.vni ? TUNNEL_PORT : `${TUNNEL_PORT}.${vid}`
  const own: Address = vtep.underlay.address
  const groups = o.groups?.forTunnel(vid ?? 0, TUNNEL_PEERS_MAX)
  const { gatewayMac: mac } = state
  const gateway = mac && { mac, nodeMac: nodeMac(own) }
  const tunnel = vtep.open({
    name: vid === undefined || vni === overlay.vni ? state.name : `${state.name}.${vid}`,
    clock,
    seed: random.bits(),
    vni,
    ...(gateway && { gateway }),
    sealBytes: overlay.encrypted ? SEAL_BYTES : 0,
    // Of the other VLANs the gateway is no part.
    ...(vni === overlay.vni &&
      gateway && {
        tooBig: (frame, mtuBytes) => tellTooBig(o, frame, mtuBytes, gateway.nodeMac),
      }),
    learning: overlay.learning,
    dscp: overlay.dscp,
    innerVlan: overlay.innerVlan,
    ...(groups && { groups }),
  })
  try {
    if (overlay.encrypted) overlays.encrypt(vni)
    if (overlay.group !== undefined) tunnel.setGroup(overlay.group)
    const port = bridge.addPort({
      name,
      port: tunnel.port,
      output: tunnel.transmit,
      isolated: state.options.isolated,
      groupRole: GroupRole.Reports,
      ...(vid === undefined ? {} : { vlan: { pvid: vid } }),
    })
    const guarded = arpProxy({
      pool,
      bindings,
      name,
      port: tunnel.port,
      suppress: state.options.arpProxy,
      shared: true,
      router: false,
      reply: tunnel.transmit,
      next: port.input,
    })
    tunnel.output = flows?.input(tunnel.port, guarded) ?? guarded
    return { vni, vid, tunnel, port, groups }
  } catch (error) {
    vtep.remove(tunnel)
    overlays.decrypt(vni)
    groups?.close()
    throw error
  }
}

/** The network's gateway says so; frames that it sent itself have the MAC of the node here. */
function tellTooBig(
  { context, leg }: SegmentsOptions,
  frame: Packet,
  mtuBytes: number,
  node: Mac,
): void {
  const { pool, router } = context
  const own = leg()
  const routed = isMacAt(pool.mem, frame.head + SRC, node)
  if (own !== undefined) router.tellTooBig(frame, mtuBytes, own, routed)
}

/** Say to the sandboxes of this node where an address is now. */
export function announceHere(pool: Pool, port: BridgePort, address: Address, mac: Mac): void {
  const packet = announce(pool, address, mac)
  if (packet === undefined) pool.counters.dropped(0, DropReason.PoolEmpty)
  else port.input(packet)
}
